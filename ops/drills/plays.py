"""The ten drills: what goes wrong, what shows that it was seen, who is paged, what counts as leaked, and what mends it.

Every drill has the same course: all goes well; the fault; it is seen, contained and told; the fault is mended; all goes
well again. What differs stands in a play.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Final

import psycopg

from ops.demo.summary import BreakerChange
from ops.drills.lane import remove_keys
from ops.drills.notes import Course
from ops.drills.pager import beats_since, paged_at_s, switched_at_s
from ops.drills.proxies.lane_proxies import cut, mend
from ops.drills.stage import TARGET_SEGMENT, Stage
from pipeline.alerts.catalogue import AlertCode
from pipeline.breaker.answer_counts import ALL, segment_scope
from pipeline.breaker.settings import Condition
from pipeline.domain.decision import BreakerState, Decision, Outcome, Route
from pipeline.drills.drills import DrillName

OPEN: Final = frozenset({BreakerState.OPEN, BreakerState.FORCED_OPEN})
IN_FLIGHT_S: Final = 2.0
"""Batches under way when a server goes away were observed before, and may be committed this much later."""
CONNECT_S: Final = 2


class Play(ABC):
    """A drill's fault. It is used from one thread."""

    codes: ClassVar[frozenset[AlertCode]] = frozenset({AlertCode.BREAKER_TRIP})
    """The alerts of which any one that pages tells of the fault; none where only the dead man's switch can."""
    has_trip: ClassVar[bool] = True
    needs_closed: ClassVar[bool] = True
    """Whether all is well only with a closed breaker: not where the fault touches nothing that decides."""
    harm: ClassVar[str]
    """The decisions that count as leaked, in words."""
    checked: ClassVar[tuple[str, ...]] = ()
    """What `faults` looks for, in sentences without a full stop."""

    def __init__(self, stage: Stage, course: Course) -> None:
        self.stage, self.course = stage, course

    @abstractmethod
    def go_wrong(self) -> None:
        """Put the fault in."""

    @abstractmethod
    def is_seen(self) -> bool:
        """Whether the system, or what watches it, shows that it has noticed."""

    @abstractmethod
    def is_contained(self) -> bool:
        """Whether the model is out of the loop where it must be."""

    @abstractmethod
    def mend(self) -> None:
        """Take the fault out, as people would."""

    @abstractmethod
    def leaked(self) -> list[Decision] | None:
        """Return the decisions that the fault got wrong; None where that can't be said."""

    def keep_up(self) -> None:  # noqa: B027 - most plays have nothing to keep up
        """Do what a supervisor would, while things are wrong."""

    def paged_at_s(self, now_s: float) -> float | None:
        if self.codes:
            return paged_at_s(self.stage.pager, self.codes, self.course.fault_ms)
        return switched_at_s(self.stage.switch, self.stage.rhythm, self.course.fault_s, now_s)

    def is_well(self) -> bool:
        """Whether what this drill broke works again, besides the worker and the breaker."""
        return True

    def faults(self) -> Iterable[str]:
        """Yield what was found beside the figures, in sentences."""
        return ()


def opened_since(changes: Iterable[BreakerChange], since_s: float) -> set[str]:
    """Return the scopes of whose loop the breaker took the model."""
    return {change.scope for change in changes if change.after == BreakerState.OPEN and change.second >= since_s}


class ModelPlay(Play):
    """A wrong model becomes champion."""

    conditions: ClassVar[frozenset[Condition]]
    """The breaker's conditions of which any one that holds is the fault seen."""
    outcomes: ClassVar[frozenset[Outcome]] = frozenset(Outcome)
    """The answers by which the fault does harm."""
    harm = "what the wrong model decided"
    version = ""

    def go_wrong(self) -> None:
        self.version = self.stage.models.add_wrong(self.stage.asked.drill)
        self.stage.models.name_champion(self.version)

    def scopes(self) -> set[str]:
        """The scopes of which any one that is open contains the fault."""
        return {ALL, f"model:{self.version}"}

    def is_seen(self) -> bool:
        held = self.stage.breaker.held(self.stage.policy.breaker, self.version)
        is_held = any(scope in self.scopes() and condition in self.conditions for scope, condition in held)
        return is_held or self.is_contained()

    def is_contained(self) -> bool:
        return any(self.stage.breaker.state_of(scope) in OPEN for scope in self.scopes())

    def mend(self) -> None:
        self.stage.models.name_champion(self.stage.models.good)

    def leaked(self) -> list[Decision]:
        return [
            decision
            for _, decision in self.stage.decided.since()
            if decision.route is Route.MODEL
            and decision.model_version == self.version
            and decision.outcome in self.outcomes
        ]


class Blocks(ModelPlay):
    conditions = frozenset({Condition.BLOCK_RATE_SPIKE})
    outcomes = frozenset({Outcome.BLOCK})
    harm = "what the wrong model blocked"


class Allows(ModelPlay):
    """Soft guardrails escalate as before, so few more are allowed: it shows as a lasting fall of what is stopped."""

    conditions = frozenset({Condition.ALLOW_RATE_SPIKE})
    outcomes = frozenset({Outcome.ALLOW})
    harm = "what the wrong model allowed"


class OnePostcode(ModelPlay):
    conditions = frozenset({Condition.BLOCK_RATE_SPIKE})
    outcomes = frozenset({Outcome.BLOCK})
    harm = "what the wrong model blocked of that postcode"
    checked = ("the model stays in the loop everywhere but in that postcode",)

    def scopes(self) -> set[str]:
        return {segment_scope(TARGET_SEGMENT, self.stage.target)}

    def leaked(self) -> list[Decision]:
        target = self.stage.target
        return [each for each in super().leaked() if each.snapshot.transaction.segments.get(TARGET_SEGMENT) == target]

    def faults(self) -> Iterable[str]:
        opened = opened_since(self.stage.breaker.changes, self.course.fault_s)
        if others := sorted(opened - self.scopes()):
            yield f"the model was also taken out of the loop where it was right: {', '.join(others)}"


class Slow(ModelPlay):
    conditions = frozenset({Condition.LATENCY_P99})

    def scopes(self) -> set[str]:
        return {ALL}


class Failing(ModelPlay):
    conditions = frozenset({Condition.ERROR_RATE})


class Drift(ModelPlay):
    """The champion's own scores rise, and come back: drift is judged by a version's own days."""

    conditions = frozenset({Condition.MODEL_DRIFT})
    harm = "what the model decided while it drifted"

    def go_wrong(self) -> None:
        self.version = self.stage.models.good
        self.stage.models.drift()

    def mend(self) -> None:
        self.stage.models.drift_no_more()

    def leaked(self) -> list[Decision]:
        """Return what the version decided while it drifted; it answers rightly before and after."""
        from_ms, mended_s = self.course.fault_ms, self.course.mended_s
        assert mended_s is not None
        return [
            decision
            for at_s, decision in self.stage.decided.since()
            if decision.route is Route.MODEL and decision.decided_at_ms >= from_ms and at_s < mended_s + IN_FLIGHT_S
        ]


class RedisLost(Play):
    """Redis goes away, loses what the lane keeps in it, and comes back."""

    codes = frozenset({AlertCode.BREAKER_STATE_LOST})
    harm = "what the model decided before it was on probation again, though nobody knew what accounts had done"

    def go_wrong(self) -> None:
        self.stage.proxies.redis.cut()
        remove_keys(self.stage.direct.redis_url, self.stage.names)
        self.is_back = False

    def is_seen(self) -> bool:
        return not self.stage.is_ready()

    def keep_up(self) -> None:
        """Bring Redis back, empty, once it was missed: nothing can trip or page before that."""
        if not self.is_back and self.course.detected_s is not None:
            self.stage.proxies.redis.mend()
            self.is_back = True
            self.course.note("Redis is back, without its state")

    def is_contained(self) -> bool:
        return self.is_back and self.stage.breaker.state_of(ALL) in OPEN

    def mend(self) -> None:
        self.stage.proxies.redis.mend()

    def leaked(self) -> list[Decision]:
        """Return what the model decided before it was on probation: nobody knew what accounts had done."""
        changes = self.stage.breaker.changes
        probation_s = (each.second for each in changes if each.after == BreakerState.HALF_OPEN)
        until_s = next((at_s for at_s in probation_s if at_s >= self.course.fault_s), float("inf"))
        return [
            decision
            for at_s, decision in self.stage.decided.since()
            if self.course.fault_s + IN_FLIGHT_S <= at_s < until_s and decision.route is Route.MODEL
        ]


class Outage(Play):
    """A server goes away on which the telling of alerts depends, so the dead man's switch pages."""

    codes = frozenset()
    has_trip = False
    harm = "second decisions about a payment"
    checked: ClassVar[tuple[str, ...]] = ("the model, which is sound, stays in the loop",)

    def is_contained(self) -> bool:
        return True

    def keep_up(self) -> None:
        for process in self.stage.services.values():
            if not process.is_running:
                process.launch()

    def is_well(self) -> bool:
        assert self.course.mended_s is not None
        return self.stage.are_ready() and beats_since(self.stage.switch, self.course.mended_s) > 0

    def leaked(self) -> list[Decision] | None:
        """Return the decisions about payments that were decided before: each payment has one."""
        seen: dict[str, str] = {}
        twice = []
        for _, decision in self.stage.decided.since():
            if seen.setdefault(decision.transaction_id, decision.decision_id) != decision.decision_id:
                twice.append(decision)
        return twice

    def faults(self) -> Iterable[str]:
        """The model is sound: taken out of the loop, it would make the outage worse, and end none."""
        if opened := sorted(opened_since(self.stage.breaker.changes, self.course.fault_s)):
            yield f"the model was taken out of the loop, though it was sound: {', '.join(opened)}"


class BrokerLost(Outage):
    def go_wrong(self) -> None:
        cut(self.stage.proxies.kafka)

    def is_seen(self) -> bool:
        return not self.stage.is_ready()

    def mend(self) -> None:
        mend(self.stage.proxies.kafka)


_UNDER_WAY: Final = b"""
    SELECT count(*) FROM ledger.execution_state
    WHERE state IS NULL OR state IN ('SUBMITTED', 'IN_DOUBT', 'RECALLING', 'RECALL_IN_DOUBT', 'PART_RECALLING',
        'PART_RECALL_IN_DOUBT')
"""
_DOUBTFUL: Final = b"SELECT count(*) FROM ledger.execution_state WHERE state = 'IN_DOUBT'"
_HEARD: Final = b"SELECT count(*) FROM ledger.execution"
_AUDITED: Final = b"SELECT count(*) FROM audit.ai_decision_log"
_UNSOUND: Final = b"""
    SELECT currency FROM ledger.entry GROUP BY currency HAVING sum(amount_minor) <> 0
"""
_SETTLED: Final = b"""
    SELECT currency, count(*), sum(amount_minor)::bigint FROM ledger.execution_state
    WHERE state = 'SETTLED' GROUP BY currency
"""


class Paying(Outage):
    """A drill in which the lane's executor pays."""

    needs_closed = False
    checked = (
        *Outage.checked,
        "the ledger sums to zero in every currency",
        "the rail has made the payments that the ledger has as settled, and no others",
    )

    def is_well(self) -> bool:
        """Whether everything decided so far is audited, executed and out of doubt."""
        decided = len(self.stage.decided.since())
        found = self.counts(_AUDITED, _HEARD, _UNDER_WAY)
        return super().is_well() and found is not None and found[0] >= decided and found[1] >= decided and not found[2]

    def counts(self, *statements: bytes) -> list[int] | None:
        """Ask the lane's database past the proxy; None where it does not answer."""
        try:
            with psycopg.connect(self.stage.database_url, connect_timeout=CONNECT_S) as connection:
                return [int((connection.execute(each).fetchone() or (0,))[0]) for each in statements]
        except psycopg.OperationalError:
            return None

    def faults(self) -> Iterable[str]:
        yield from super().faults()
        with psycopg.connect(self.stage.database_url, connect_timeout=CONNECT_S) as connection:
            for (currency,) in connection.execute(_UNSOUND).fetchall():
                yield f"the ledger doesn't sum to zero in {currency}"
            settled = connection.execute(_SETTLED).fetchall()
        in_ledger = (sum(row[1] for row in settled), {currency: int(amount) for currency, _, amount in settled})
        at_rail = self.stage.books_of_rail()
        if at_rail is None:
            yield "the rail's books can't be read, so nobody knows what was paid"
        elif in_ledger != at_rail:
            yield (
                f"the ledger has {in_ledger[0]:,} payments as settled ({in_ledger[1]}), the rail {at_rail[0]:,} "
                f"as made ({at_rail[1]})"
            )


class RailLost(Paying):
    codes = frozenset({AlertCode.EXECUTION_IN_DOUBT})

    def go_wrong(self) -> None:
        self.stage.proxies.rail.cut()

    def is_seen(self) -> bool:
        found = self.counts(_DOUBTFUL)
        return found is not None and found[0] > 0

    def mend(self) -> None:
        self.stage.proxies.rail.mend()


class PostgresLost(Paying):
    def go_wrong(self) -> None:
        self.stage.proxies.postgres.cut()

    def is_seen(self) -> bool:
        return not self.stage.are_ready()

    def mend(self) -> None:
        self.stage.proxies.postgres.mend()


PLAYS: Final[dict[DrillName, type[Play]]] = {
    DrillName.MODEL_BLOCKS: Blocks,
    DrillName.MODEL_ALLOWS: Allows,
    DrillName.ONE_POSTCODE: OnePostcode,
    DrillName.SLOW_MODEL: Slow,
    DrillName.FAILING_MODEL: Failing,
    DrillName.DRIFT: Drift,
    DrillName.REDIS_LOST: RedisLost,
    DrillName.BROKER_LOST: BrokerLost,
    DrillName.RAIL_LOST: RailLost,
    DrillName.POSTGRES_LOST: PostgresLost,
}
