"""Carrying a plan out against the very code that serves: read, observed, judged, and what follows on each decision.

Invariants
1. What became of a payment is what the worker's own path decided; nothing here decides.
2. Equal plans against equal targets have equal courses.
3. A payment is observed with what followed on those before it only as far as that was known by its time in the log.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from models.redteam.costs import (
    LABELLED_AFTER_MS,
    OUTCOME_AFTER_MS,
    REPORTED_AFTER_MS,
    REVIEWED_AFTER_MS,
    SUCCESS_MINOR,
)
from models.redteam.plan import Act, Plan, Role
from models.redteam.target import CLOSED, Target
from models.redteam.watching import BreakerWatching
from models.redteam.world import record_of
from pipeline.decide.batch import Judged, Payment
from pipeline.decide.verdict import Verdict
from pipeline.domain.context import Label, RiskSignal, RiskSignalKind
from pipeline.domain.decision import Outcome
from pipeline.domain.features import EVENT
from pipeline.domain.log import Span
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.refusals import canonical_ip_address
from pipeline.io.avro.wire import WireFormat
from pipeline.state.context.facts import LogPlace
from pipeline.state.windows import MemoryState

REFUSED: Final = "REFUSED"
"""A payment that the pipeline accepts no decision about: it is a dead letter, and nobody is paid."""
FRESH: Final = "fresh"
"""Begins the names of devices that were bought for a plan, which nobody but the thief uses."""
FRESH_ADDRESS: Final = "198.18."
BREAKER_FROM: Final = 60
"""A plan with fewer payments in each of the breaker's windows is carried out under a closed breaker."""
_AMOUNT: Final = EVENT.index("amount_gbp_minor")


class Course(NamedTuple):
    """The fate of a plan, in the order of its acts; money in pence."""

    outcomes: tuple[str, ...]  # an Outcome, or REFUSED
    routes: tuple[str, ...]
    rules: tuple[tuple[str, ...], ...]  # the codes of the rules that each met, in the policy's order
    sought_minor: int
    through_minor: int  # stolen: it ended in ALLOW
    escalated_minor: int
    stopped_minor: int
    cost_minor: int
    at_risk_minor: int  # most that the thief's own payments held at once, had all been kept
    trips: tuple[tuple[int, str, str], ...]  # of the breaker: when, which scope, to which state

    @property
    def net_minor(self) -> int:
        return self.through_minor - self.cost_minor

    @property
    def is_evasion(self) -> bool:
        """At least half of what the plan was after got through."""
        return self.sought_minor > 0 and 2 * self.through_minor >= self.sought_minor

    @property
    def is_success(self) -> bool:
        return self.through_minor >= SUCCESS_MINOR and self.net_minor > 0


class _Ended(NamedTuple):
    """The answer that an act of the attack was given."""

    outcome: str
    route: str
    amount_minor: int
    rules: tuple[str, ...]


class _Follower(NamedTuple):
    """Something that a decision leads to, at a time."""

    due_ms: int
    number: int
    told: PaymentOutcome | Label | RiskSignal


def carry_out(plan: Plan, target: Target) -> Course:
    """Have every payment of the plan decided, in log order."""
    return _Thief(plan, target).course()


class _Thief:
    def __init__(self, plan: Plan, target: Target) -> None:
        self._plan, self._target, self._wire = plan, target, WireFormat()
        self._state: MemoryState = target.world.part(plan.accounts, plan.beneficiaries)
        self._offset = self._base = target.world.next_offset
        self._told = self._state.outcomes_position(0) or 0
        self._followers: list[_Follower] = []
        self._made = 0
        self._reports: dict[tuple[RiskSignalKind, str], int] = {}
        self._breaker = self._watching()

    def course(self) -> Course:
        ended: list[_Ended] = []
        for acts in self._batches():
            ended += self._decided(acts)
        return self._summed(ended)

    def _watching(self) -> BreakerWatching | None:
        acts = self._plan.acts
        window_ms = self._target.in_force.policy.breaker.window_s * 1000
        first = 0
        for place, act in enumerate(acts):
            while acts[first].logged_at_ms <= act.logged_at_ms - window_ms:
                first += 1
            if place - first >= BREAKER_FROM:
                return BreakerWatching(self._target, acts[first].logged_at_ms, f"{self._target.world.seed}")
        return None

    def _batches(self) -> Iterator[Sequence[Act]]:
        """Yield acts that reach the log before anything that follows on them is known, and one evaluation at a time."""
        acts, begin = self._plan.acts, 0
        for place, act in enumerate(acts):
            if act.logged_at_ms >= acts[begin].logged_at_ms + OUTCOME_AFTER_MS:
                yield acts[begin:place]
                begin = place
        if acts:
            yield acts[begin:]

    def _decided(self, acts: Sequence[Act]) -> list[_Ended]:
        now_ms = acts[0].logged_at_ms
        self._take_in(now_ms)
        if self._breaker is not None:
            self._breaker.run_to(now_ms)
        span = Span(0, self._offset, self._offset + len(acts), self._offset)
        records = [
            record_of(self._wire, act.transaction, self._offset + place, act.logged_at_ms)
            for place, act in enumerate(acts)
        ]
        begin, self._offset = self._offset, self._offset + len(acts)
        judge = self._target.judge
        reading = judge.read(records)
        observed = self._state.observe(judge.state_events(reading, [span]))
        modes = (lambda _: CLOSED) if self._breaker is None else self._breaker.mode_of
        judged = Judged.whole(judge.judge(reading, observed, modes, acts[-1].logged_at_ms))
        if self._breaker is not None:
            self._breaker.add(judged.answers)
        ended = [_Ended(REFUSED, "", 0, ())] * len(acts)
        for payment, verdict in zip(judged.decided, judged.verdicts, strict=True):
            place = payment.record.source.offset - begin
            ended[place] = _Ended(
                verdict.outcome.value,
                verdict.route.value,
                max(payment.event[_AMOUNT], 0),
                tuple(verdict.rules_triggered),
            )
            self._follow(acts[place], payment, verdict)
        return ended

    def _follow(self, act: Act, payment: Payment, verdict: Verdict) -> None:
        outcome, now_ms = verdict.outcome, act.logged_at_ms
        if outcome is Outcome.ALLOW:
            self._later(now_ms + OUTCOME_AFTER_MS, self._outcome(payment, OutcomeKind.MADE, now_ms + OUTCOME_AFTER_MS))
        else:
            delay_ms = REVIEWED_AFTER_MS if outcome is Outcome.ESCALATE else OUTCOME_AFTER_MS
            self._later(now_ms + delay_ms, self._outcome(payment, OutcomeKind.WITHDRAWN, now_ms + delay_ms))
        if act.role is Role.STEAL:
            self._told_of(act, outcome)
        elif act.is_said_honest and outcome is Outcome.ALLOW:
            self._later(now_ms + LABELLED_AFTER_MS, self._label(act, now_ms + LABELLED_AFTER_MS, is_fraud=False))

    def _told_of(self, act: Act, outcome: Outcome) -> None:
        """Plan what a theft leads to: labels, and reports of what was bought for it."""
        now_ms, payment = act.logged_at_ms, act.transaction
        if outcome is Outcome.BLOCK:
            return  # what was blocked has no label: nobody asks the victim
        delay_ms = LABELLED_AFTER_MS if outcome is Outcome.ALLOW else REVIEWED_AFTER_MS
        self._later(now_ms + delay_ms, self._label(act, now_ms + delay_ms, is_fraud=True))
        bought = (
            (RiskSignalKind.DEVICE, payment.device_id, FRESH),
            (RiskSignalKind.IP_ADDRESS, payment.ip_address, FRESH_ADDRESS),
        )
        for kind, entity, beginning in bought:
            if entity is not None and entity.startswith(beginning):
                name = entity if kind is RiskSignalKind.DEVICE else str(canonical_ip_address(entity))
                count = self._reports[kind, name] = self._reports.get((kind, name), 0) + 1
                self._later(now_ms + REPORTED_AFTER_MS, RiskSignal(kind, name, count, now_ms + REPORTED_AFTER_MS))

    def _outcome(self, payment: Payment, kind: OutcomeKind, at_ms: int) -> PaymentOutcome:
        transaction = payment.decoded.transaction
        return PaymentOutcome(
            transaction.account_id, transaction.beneficiary_account_id, kind, transaction.event_time_ms,
            at_ms if kind is OutcomeKind.MADE else -1, payment.event[_AMOUNT] if payment.is_counted else -1,
            payment.decoded.digest[:16], payment.record.source.timestamp_ms,
        )  # fmt: skip

    def _label(self, act: Act, at_ms: int, *, is_fraud: bool) -> Label:
        t = act.transaction
        by = "customer" if is_fraud else "analyst"
        return Label(t.transaction_id, t.account_id, t.beneficiary_account_id, t.event_time_ms, is_fraud, at_ms, by)

    def _later(self, due_ms: int, told: PaymentOutcome | Label | RiskSignal) -> None:
        self._made += 1
        heapq.heappush(self._followers, _Follower(due_ms, self._made, told))

    def _take_in(self, now_ms: int) -> None:
        while self._followers and self._followers[0].due_ms <= now_ms:
            match heapq.heappop(self._followers).told:
                case PaymentOutcome() as outcome:
                    self._told = self._state.apply_outcomes(0, self._told, self._told + 1, [outcome])
                case Label() as label:
                    self._state.label(label)
                case RiskSignal() as signal:
                    self._state.upsert_risk_signal(signal, LogPlace(signal.observed_at_ms, self._made))

    def _summed(self, ended: Sequence[_Ended]) -> Course:
        stolen = {outcome.value: 0 for outcome in Outcome} | {REFUSED: 0}
        own = 0
        for act, each in zip(self._plan.acts, ended, strict=True):
            if act.role is Role.STEAL:
                stolen[each.outcome] += each.amount_minor
            else:
                own += each.amount_minor
        return Course(
            outcomes=tuple(each.outcome for each in ended),
            routes=tuple(each.route for each in ended),
            rules=tuple(each.rules for each in ended),
            sought_minor=sum(stolen.values()),
            through_minor=stolen[Outcome.ALLOW.value],
            escalated_minor=stolen[Outcome.ESCALATE.value],
            stopped_minor=stolen[Outcome.BLOCK.value] + stolen[REFUSED],
            cost_minor=self._plan.cost_minor,
            at_risk_minor=own,
            trips=() if self._breaker is None else tuple(self._breaker.trips),
        )
