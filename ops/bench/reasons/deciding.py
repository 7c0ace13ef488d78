"""Decisions made in this process by the worker's own path: read, observed by the state, judged, encoded.

What is left out is the transport. The state is the reference in memory, which Redis is held to. Outcomes follow as the
execution service would tell them, so that payees become known and volume is what stands. Some of the stream is made
to meet what ordinary traffic seldom does: the breaker keeps the model out, outcomes are late, or a payment is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from models.simulator import LabelledTransaction, TrafficEvent
from pipeline.decide.batch import Judge, Judged, TopicNames
from pipeline.decide.event_features import HOUR_MS
from pipeline.decide.verdict import Mode, Regime
from pipeline.domain.context import Account, Label
from pipeline.domain.decision import BreakerState, Decision, Outcome
from pipeline.domain.features import COLUMN, LATE_HOURS, NONE
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.state.context.facts import LogPlace
from pipeline.state.windows import MemoryState

DECISIONS: Final = "decisions.v1"
BATCH: Final = 256
AGENT: Final = "bench/reasons"
OPEN_EVERY: Final = 8
"""One batch in so many is decided by the fallback."""
BEHIND_EVERY: Final = 31
"""One batch in so many is decided before outcomes are there, so that some of what is known of accounts is UNKNOWN."""
LATE_EVERY: Final = 211
"""One payment in so many is dated more than a week before it comes."""
_LATE_MS: Final = (LATE_HOURS + 5) * HOUR_MS
_LOG_DELAY_MS: Final = 200
_AMOUNT: Final = COLUMN["amount_gbp_minor"]
_COUNT: Final = COLUMN["account_count_1h"]
_CLOSED: Final = Mode(BreakerState.CLOSED, "all", True)
_OPEN: Final = Mode(BreakerState.OPEN, "all", False)


class Made(NamedTuple):
    """The decisions of a stream in order, and how many payments were set aside."""

    decisions: list[Decision]
    set_aside: int


class Deciding:
    """One partition's log, decided batch by batch; `warm` counts payments without deciding on them."""

    def __init__(self, in_force: Regime) -> None:
        self._wire, self._state = WireFormat(), MemoryState()
        topics = TopicNames(DECISIONS, "alerts.v1")
        self._judge = Judge(in_force, self._wire, topics, AGENT, lambda _: 0)
        self._waiting: list[Record] = []
        self._offset = self._committed = self._batches = self._told = self._context = 0
        self._last_ms = 0
        self.set_aside = 0

    def warm(self, stream: Iterable[TrafficEvent]) -> None:
        for event in stream:
            if not isinstance(event, LabelledTransaction):
                self._observe()
                self._take_in(event)
                continue
            self._append(event.transaction, is_late=False)
            if len(self._waiting) == BATCH:
                self._observe()
        self._observe()

    def decisions(self, stream: Iterable[TrafficEvent]) -> Iterator[Decision]:
        for event in stream:
            if not isinstance(event, LabelledTransaction):
                yield from self._decided()
                self._take_in(event)
                continue
            self._append(event.transaction, is_late=self._offset % LATE_EVERY == LATE_EVERY - 1)
            if len(self._waiting) == BATCH:
                yield from self._decided()
        yield from self._decided()

    def _append(self, payment: Transaction, *, is_late: bool) -> None:
        log_ms = max(payment.event_time_ms + _LOG_DELAY_MS, self._last_ms)
        self._last_ms = log_ms
        if is_late:
            payment = payment._replace(event_time_ms=payment.event_time_ms - _LATE_MS)
        value = self._wire.encode_transaction(payment)
        self._waiting.append(Record(payment.account_id.encode(), value, Source(0, self._offset, log_ms)))
        self._offset += 1

    def _observe(self) -> None:
        """Count what waits."""
        records, self._waiting = self._waiting, []
        if records:
            self._state.observe(self._judge.state_events(self._judge.read(records), [self._span()]))
            self._committed = self._offset

    def _span(self) -> Span:
        return Span(0, self._committed, self._offset, self._committed)

    def _decided(self) -> Iterator[Decision]:
        records, self._waiting = self._waiting, []
        if not records:
            return
        self._batches += 1
        reading = self._judge.read(records)
        [share] = self._judge.state_events(reading, [self._span()])
        if self._batches % BEHIND_EVERY == 0:
            share = share._replace(outcomes_due=self._told + 1)
        observed = self._state.observe([share])
        mode = _OPEN if self._batches % OPEN_EVERY == 0 else _CLOSED
        judged = Judged.whole(self._judge.judge(reading, observed, lambda _: mode, self._last_ms))
        self._committed = self._offset
        self.set_aside += len(judged.set_aside)
        made = [self._read(each.value) for each in judged.outgoing if each.topic == DECISIONS]
        self._tell([each for decision in made if (each := _outcome_of(decision)) is not None])
        yield from made

    def _read(self, value: bytes) -> Decision:
        decision = self._wire.decode_decision_record(value)
        assert isinstance(decision, Decision), "what the worker's own path writes can be read"
        return decision

    def _tell(self, outcomes: list[PaymentOutcome]) -> None:
        first, self._told = self._told, self._told + len(outcomes)
        self._state.apply_outcomes(0, first, self._told, outcomes)

    def _take_in(self, context: TrafficEvent) -> None:
        place = LogPlace(self._last_ms, self._context)
        self._context += 1
        if isinstance(context, Label):
            self._state.label(context)
        elif isinstance(context, Account):
            self._state.upsert_account(context, place)
        elif not isinstance(context, LabelledTransaction):
            self._state.upsert_risk_signal(context, place)


def _outcome_of(decision: Decision) -> PaymentOutcome | None:
    """Tell what becomes of a payment: an ALLOW is made, a BLOCK is not, and of an ESCALATE nobody has heard yet."""
    payment = decision.snapshot.transaction
    if decision.outcome is Outcome.ESCALATE:
        return None
    is_made = decision.outcome is Outcome.ALLOW
    is_unseen = decision.snapshot.features[_COUNT] == NONE  # what a rule blocks by itself never counts
    return PaymentOutcome(
        payment.account_id,
        payment.beneficiary_account_id,
        OutcomeKind.MADE if is_made else OutcomeKind.WITHDRAWN,
        payment.event_time_ms,
        payment.event_time_ms + HOUR_MS if is_made else -1,
        NONE if is_unseen else decision.snapshot.features[_AMOUNT],
        bytes.fromhex(decision.decision_id.replace("-", "")),
    )
