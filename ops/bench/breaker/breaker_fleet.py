"""Four workers on the real stack: how soon a trip that one of them sees routes all, and kill -9 amid every transition.

The breaker's times are short here (TIMES), so that it goes through all of its states again and again. What trips it is
counted under the model's scope as a worker would count payments that the model failed on. Transitions are judged by
what stands on alerts.v1: each is one of the table, each goes on from the one before it unless Redis was killed, and
none that Redis has is missing. Decisions are judged by their own records: from 2 s after a trip until the breaker says
otherwise, none is the model's. `--size trips=N`, `workers=N` and `redis=N` change how many trips
and kills there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from ops.bench.loss.checker import Checker
from ops.bench.loss.rig import START_S, DecidingRig, deciding
from ops.bench.rig.evidence import Say
from ops.bench.rig.stored import Tail, decision_of
from ops.bench.rig.topics_io import prepare_topics
from ops.bench.rig.waiting import wait_until
from ops.stack.real import RealStack
from pipeline.breaker import Switches, Transition
from pipeline.breaker.answer_counts import MODEL_PREFIX, Counts
from pipeline.breaker.states import TRANSITIONS, Event
from pipeline.breaker.store import UNTOLD_AFTER_MS, BreakerStore, BreakerUnavailable
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState, Route
from pipeline.io.avro.wire import WireFormat

WORKERS: Final = 4
PARTITIONS: Final = 8
RATE_PER_S: Final = 80
SEED: Final = 20_264
ROUTED_S_MAX: Final = 2.0
QUICK_ROUTED_S_MAX: Final = 4.5
"""A quick run may share its machine with others; this is still before the breaker tries the model again."""
CYCLE_S: Final = 11.0
"""A kill comes at a random moment of so long after what trips: in it the breaker trips, tries and closes again."""
WAIT_S: Final = 300.0
ASK_S: Final = 20.0
"""Patience with Redis of the bench itself, which says nothing of the workers'."""
TOLD_S: Final = UNTOLD_AFTER_MS / 1000 + 120
"""Time in which a transition is told whose worker died before, on a machine that others keep busy."""
LOST_S: Final = 60.0
"""Time after a kill of Redis in which a transition may go on from an older state: its file is a second old at most."""
FAILURES: Final = 400
INJECTED: Final = 9_999
"""The partition under which the failures are counted; transactions.v1 has none of this number."""
TIMES: Final = {
    "evaluation_interval_s": 1,
    "window_s": 5,
    "error_window_s": 2,
    "confirmations": 1,
    "open_period_s": 5,
    "open_period_max_s": 10,
    "state_lost_open_s": 2,
    "half_open_s": 1,
    "half_open_shares_percent": "[50]",
    "half_open_minimum_sample": 20,
}


Answer = TypeVar("Answer")


class Sizes(NamedTuple):
    """Trips without a kill, kills of a worker, kills of Redis."""

    trips: int
    workers: int
    redis: int


FULL: Final = Sizes(8, 16, 8)
QUICK: Final = Sizes(2, 3, 1)


class Told(NamedTuple):
    """A transition as alerts.v1 tells it."""

    scope: str
    version: int
    before: BreakerState
    event: Event
    after: BreakerState
    at_ms: int


class Decided(NamedTuple):
    at_ms: int
    partition: int
    route: str


class Routed(NamedTuple):
    """The outcome of a trip. seconds: until the last decision by the model. late: such after the limit."""

    seconds: float
    late: int
    partitions: int


def run(
    say: Say, folder: Path, *, is_quick: bool, sizes: Mapping[str, int] = MappingProxyType({})
) -> dict[str, object]:
    """Trip, kill and judge."""
    size = (QUICK if is_quick else FULL)._replace(**sizes)
    with RealStack(folder / "stack") as stack:
        prepare_topics(stack.bootstrap_servers, "", PARTITIONS)
        rig = DecidingRig(folder, stack.bootstrap_servers, stack.redis_url, RATE_PER_S, SEED, partitions=PARTITIONS)
        rig.policy_path.write_text(quick_policy(rig.policy_path.read_text("utf-8")), "utf-8")
        rig.checker = Checker(stack.bootstrap_servers, "", [rig.policy_path])
        with deciding(rig, workers=WORKERS):
            fleet = Fleet(say, rig, stack)
            for number in range(size.trips):
                fleet.trip(f"trip {number + 1}")
            killed_ms = list(fleet.kills(size.workers, size.redis))
            kept = fleet.transitions_kept()
            with contextlib.suppress(TimeoutError):  # what is untold even then is judged
                wait_until(lambda: not untold(stack.bootstrap_servers, kept), TOLD_S, "telling", every_s=1.0)
            report = rig.settle()
            limit_s = QUICK_ROUTED_S_MAX if is_quick else ROUTED_S_MAX
            return judged(stack.bootstrap_servers, kept, killed_ms, dict(report.violations), size, limit_s)


def quick_policy(text: str) -> str:
    """Return the shipped policy with the breaker's TIMES."""
    for name, figure in TIMES.items():
        text, found = re.subn(rf"(?m)^{name} = .*$", f"{name} = {figure}", text)
        assert found == 1, f"the policy has {found} lines for {name}"
    return text


class Fleet:
    """The workers, and what is done to them."""

    def __init__(self, say: Say, rig: DecidingRig, stack: RealStack) -> None:
        self._say, self._rig, self._stack = say, rig, stack
        self._random, self._injected = random.Random(SEED), 0  # noqa: S311 - a schedule, seeded on purpose
        self.model = ""

    def trip(self, what: str) -> None:
        """Count failures under the model's scope, and wait until all is CLOSED again."""
        self._await_closed()
        began = time.monotonic()
        self._fail()
        wait_until(lambda: self._state() is not BreakerState.CLOSED, WAIT_S, f"{what}: the trip", every_s=0.05)
        self._say(f"{what}: out of the loop {time.monotonic() - began:.1f} s after the failures were counted")
        self._await_closed()

    def kills(self, workers: int, redis: int) -> Iterator[float]:
        """Kill workers and Redis at random moments of the breaker's course; yield when Redis was, in milliseconds."""
        due = ["worker"] * workers + ["redis"] * redis
        self._random.shuffle(due)
        for what in due:
            self._await_closed()
            self._fail()
            time.sleep(self._random.uniform(0, CYCLE_S))
            before, at_ms = self._state(), time.time() * 1000
            if what == "redis":
                self._stack.redis.kill()
                self._stack.redis.start(deadline_s=START_S)
                yield at_ms
            else:
                self._rig.kill_worker(self._random.randrange(WORKERS))
            seconds = self._rig.recovery(at_ms).all_partitions_s
            self._say(f"kill -9 of {what} while {before}: decisions on all partitions after {seconds:.1f} s")

    def transitions_kept(self) -> set[tuple[str, int]]:
        """Return the transitions that Redis has, once all is CLOSED again."""
        self._await_closed()
        return {(each.after.scope, each.after.version) for each in _asked(self._stack, _history)}

    def _await_closed(self) -> None:
        wait_until(lambda: self._state() is BreakerState.CLOSED, WAIT_S, "closing again", meanwhile=self._rig.supervise)

    def _state(self) -> BreakerState:
        """Return the worst state of everything and of the model; UNKNOWN where Redis can't be read."""
        try:
            states = _asked(self._stack, _states)
        except BreakerUnavailable:
            return BreakerState.UNKNOWN
        return next((state for state in _WORST_FIRST if state in states), BreakerState.UNKNOWN)

    def _fail(self) -> None:
        if not self.model:
            self.model = next(each for each in _asked(self._stack, _scopes) if each.startswith(MODEL_PREFIX))
        self._injected += 1
        span = (INJECTED, self._injected, self._injected + 1)

        async def count(store: BreakerStore) -> bool:
            return await store.record([span], {self.model: Counts(errors=FAILURES)})

        assert _asked(self._stack, count), "these were not counted before"


_WORST_FIRST: Final = (BreakerState.UNKNOWN, BreakerState.FORCED_OPEN, BreakerState.OPEN, BreakerState.HALF_OPEN,
                       BreakerState.CLOSED)  # fmt: skip


def _asked(stack: RealStack, ask: Callable[[BreakerStore], Awaitable[Answer]]) -> Answer:
    """Ask the store something, by a connection of its own."""

    async def asking() -> Answer:
        store = BreakerStore(stack.redis_url, timeout_s=ASK_S)
        try:
            return await ask(store)
        finally:
            await store.close()

    return asyncio.run(asking())


async def _states(store: BreakerStore) -> set[BreakerState]:
    return {record.state for record in (await store.read(Switches())).records.values()}


async def _history(store: BreakerStore) -> list[Transition]:
    return await store.history(10_000)


async def _scopes(store: BreakerStore) -> list[str]:
    return await store.scopes()


def judged(
    servers: str,
    kept: set[tuple[str, int]],
    killed_ms: Sequence[float],
    violations: Mapping[str, int],
    size: Sizes,
    routed_s_max: float = ROUTED_S_MAX,
) -> dict[str, object]:
    """Read both topics and judge. kept: scope and version of the transitions that Redis has."""
    told, decided = transitions_told(servers), decisions_made(servers)
    routed = [routed_after(trip, told, decided, routed_s_max) for trip in trips_of(told)]
    faults, missing = transition_faults(told, killed_ms), untold(servers, kept)
    seconds = [each.seconds for each in routed]
    # A Redis that is killed may forget the failures that were counted last, or the trip that followed.
    seen = len(routed) >= size.trips + size.workers
    return {
        "ok": seen and not (faults or missing or violations) and not any(each.late for each in routed),
        "trips": len(routed),
        "seconds_to_route_all_median": round(statistics.median(seconds), 2) if seconds else None,
        "seconds_to_route_all_worst": round(max(seconds), 2) if seconds else None,
        "routed_s_max": routed_s_max,
        "decisions_by_the_model_later": sum(each.late for each in routed),
        "partitions_decided_by_the_fallback_least": min((each.partitions for each in routed), default=0),
        "kills": {"worker": size.workers, "redis": size.redis},
        "transitions_told": len(told),
        "transitions_untold": missing,
        "transition_faults": faults,
        "violations": violations,
        "decisions": len(decided),
    }


def untold(servers: str, kept: set[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(kept - {(each.scope, each.version) for each in transitions_told(servers)})


def transitions_told(servers: str) -> list[Told]:
    wire, found = WireFormat(), dict[str, Told]()
    for record in Tail(servers, "alerts.v1").news():
        alert = wire.decode_alert(record.value)
        if isinstance(alert, Alert) and alert.code.startswith("BREAKER_"):
            said = alert.evidence
            found[alert.alert_id] = Told(
                alert.scope, int(said["version"]), BreakerState(said["before"]), Event(said["event"]),
                BreakerState(said["after"]), alert.raised_at_ms,
            )  # fmt: skip
    return sorted(found.values(), key=lambda each: (each.scope, each.version))


def decisions_made(servers: str) -> list[Decided]:
    read = [decision_of(each.key, each.value).fields for each in Tail(servers, "decisions.v1").news()]
    return [Decided(each["decided_at_ms"], each["source_partition"], each["route"]) for each in read]


def transition_faults(told: Sequence[Told], killed_ms: Sequence[float]) -> list[str]:
    """Return what is wrong with transitions that are in the order of scope and version."""
    faults, before = [], dict[str, Told]()
    for each in told:
        if TRANSITIONS.get((each.before, each.event)) is not each.after:
            faults.append(f"{each.before} on {each.event} to {each.after} is no transition")
        last = before.get(each.scope)
        is_lost = any(0 <= each.at_ms - at_ms < LOST_S * 1000 for at_ms in killed_ms)
        if last is not None and last.after is not each.before and not is_lost:
            faults.append(f"{each.scope} was {last.after} and went on from {each.before} at {each.at_ms}")
        before[each.scope] = each
    return faults


def trips_of(told: Sequence[Told]) -> list[Told]:
    return [each for each in told if each.event is Event.TRIP and each.after is BreakerState.OPEN]


def routed_after(
    trip: Told, told: Sequence[Told], decided: Sequence[Decided], routed_s_max: float = ROUTED_S_MAX
) -> Routed:
    """Return what was decided from a trip until its scope's next transition."""
    later = [each.at_ms for each in told if each.scope == trip.scope and each.version > trip.version]
    until_ms = min(later, default=2**63)
    within = [each for each in decided if trip.at_ms <= each.at_ms < until_ms]
    by_model = [(each.at_ms - trip.at_ms) / 1000 for each in within if each.route == Route.MODEL]
    fallback = {each.partition for each in within if each.route == Route.FALLBACK}
    late = sum(seconds > routed_s_max for seconds in by_model)
    return Routed(max(by_model, default=0.0), late, len(fallback))
