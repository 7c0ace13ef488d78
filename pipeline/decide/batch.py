"""From a batch of records to what they come to: decisions and alerts to be sent, and records that are set aside.

Invariants
1. Every record of a batch comes to exactly one decision, or is set aside with a code (I1).
2. What a batch comes to is a function of its records, their observations, the breaker's modes and the time given.
3. A payment that counts is judged on what was observed of it, or not at all (I4).

What is set aside becomes a dead letter, which the shell makes: sealing a payload takes randomness.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from librt.strings import BytesWriter, write_i64_le
from numpy.typing import NDArray

from pipeline.alerts.catalogue import conflict_alert, mismatch_alert, poison_alert
from pipeline.alerts.encoding import alert_record
from pipeline.alerts.floods import Flood
from pipeline.breaker.answer_counts import Answer, is_part
from pipeline.decide.decision_encoder import DecisionEncoder, with_position
from pipeline.decide.event_features import EventRows
from pipeline.decide.phrase_books.money import foreign_money
from pipeline.decide.rollout.candidate import Candidate, Encoding
from pipeline.decide.rollout.sharing import Rollout
from pipeline.decide.rules import hits_of
from pipeline.decide.verdict import Mode, ModelAnswer, Regime, Verdict, verdicts_of
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState, Outcome, Route, Silence, unmarked_scope
from pipeline.domain.features import COLUMN, EVENT, NONE, STATE, UNKNOWN, Matrix, feature_matrix
from pipeline.domain.log import Outgoing, Record, Source, Span
from pipeline.domain.log import outgoing as outgoing_of
from pipeline.domain.payment import Decoded, Transaction
from pipeline.domain.refusals import (
    EVENT_TIME_MS_MAX,
    EVENT_TIME_MS_MIN,
    Refusal,
    RefusalCode,
    canonical_ip_address,
    refusal_of,
)
from pipeline.io.avro.wire import WireFormat
from pipeline.state.state_event import CLAIM_DIGEST_BYTES, StateEvent
from pipeline.state.windows import Freshness, PartitionEvents, PartitionObservation

DUPLICATE: Final = "DUPLICATE"
SLICE_RECORDS: Final = 100
"""A few ms of work: what a reply of Redis may wait for the event loop, and a reply takes several turns of it."""
_AMOUNT: Final = EVENT.index("amount_gbp_minor")
_COUNT_24H, _COUNT_30D = COLUMN["account_count_24h"], COLUMN["account_count_30d"]
_NORMAL_MONTH: Final = COLUMN["account_normal_month_minor"]
_WINDOW_COUNTS: Final = ("_count_", "_senders_", "_distinct_beneficiaries_")
_IS_SUM: Final = np.array([name.startswith(("account_sum_minor_", "account_volume_minor_")) for name in STATE])
_LEAST: Final = np.array(
    [1 if any(part in name for part in _WINDOW_COUNTS) and "near_limit" not in name else NONE for name in STATE]
)
"""The least value of each STATE feature of a payment that counts, but for sums: those hold the payment."""

ModesOf = Callable[[Transaction], Mode]
"""The breaker's word on a payment."""
PartitionOf = Callable[[bytes], int]
"""The partition that a record with this key belongs to (pipeline.io.partitioner)."""


class Payment:
    """A record that can be decided, with its EVENT features."""

    def __init__(self, record: Record, decoded: Decoded, event: tuple[int, ...]) -> None:
        self.record, self.decoded, self.event = record, decoded, event
        self.is_counted = True  # False where a static guardrail blocks it
        self.is_of_known_account = False  # True where its account has a profile, or paid before the last 24 hours
        self.is_candidates = False  # True where a model that is being rolled out answers it


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch decoded: payments in log order within each partition, and what could not be read."""

    payments: Sequence[Payment]
    refused: Sequence[tuple[Record, Refusal]]
    seconds: float = 0.0  # that reading took

    @classmethod
    def whole(cls, parts: Sequence[Reading], seconds: float = 0.0) -> Reading:
        payments = [payment for part in parts for payment in part.payments]
        return cls(payments, [refused for part in parts for refused in part.refused], seconds)


class SetAside(NamedTuple):
    """A record that is not decided, and why. Its dead letter keeps no payload where another record holds the same."""

    record: Record
    code: str
    detail: str
    keep_payload: bool = True


@dataclass(slots=True)
class Judged:
    """The results of a batch."""

    outgoing: list[Outgoing] = field(default_factory=list)  # decisions and alerts
    decided: list[Payment] = field(default_factory=list)  # for each decision in `outgoing`, in that order
    verdicts: list[Verdict] = field(default_factory=list)  # likewise
    set_aside: list[SetAside] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)  # of the champion, route MODEL or not
    candidate_answers: list[Answer] = field(default_factory=list)  # likewise, of the model that is being rolled out
    outcomes: Counter[tuple[Outcome, Route]] = field(default_factory=Counter)  # of decisions
    currencies: Counter[tuple[Outcome, str]] = field(default_factory=Counter)  # decisions by outcome and currency
    amounts_minor: Counter[tuple[Outcome, str]] = field(default_factory=Counter)  # and what they are about
    rules: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    shadow_disagreements: int = 0
    unasked: int = 0  # decisions whose model wasn't asked because something is UNKNOWN
    model_faults: Counter[str] = field(default_factory=Counter)  # payments that it failed on, by the error's class
    seconds: float = 0.0  # of reading and judging, without any waiting

    @property
    def accounted_for(self) -> int:
        """Records that came to a decision, a dead letter or a duplicate (I1)."""
        return self.outcomes.total() + self.dead_letters.total() + self.duplicates

    @property
    def set_aside_in_log_order(self) -> list[SetAside]:
        """Return what was set aside, by partition and offset.

        Judging finds what can't be read before what was published before. Letters in that order would make the last one
        of a partition look like the last record of it that was accounted for (pipeline.resume.decided_topics).
        """
        return sorted(self.set_aside, key=_source)

    @classmethod
    def whole(cls, parts: Iterable[Judged]) -> Judged:
        judged = cls()
        for part in parts:
            judged.extend(part)
        return judged

    def extend(self, other: Judged, *, keeps_decided: bool = True) -> None:
        """keeps_decided: whether anybody will ask for `decided` and `verdicts`. What nobody keeps is given back while
        the cache still holds it."""
        self.outgoing += other.outgoing
        if keeps_decided:
            self.decided += other.decided
            self.verdicts += other.verdicts
        self.set_aside += other.set_aside
        self.answers += other.answers
        self.candidate_answers += other.candidate_answers
        self.outcomes.update(other.outcomes)
        self.currencies.update(other.currencies)
        self.amounts_minor.update(other.amounts_minor)
        self.rules.update(other.rules)
        self.dead_letters.update(other.dead_letters)
        self.duplicates += other.duplicates
        self.shadow_disagreements += other.shadow_disagreements
        self.unasked += other.unasked
        self.model_faults.update(other.model_faults)
        self.seconds += other.seconds

    def count(self, payments: Sequence[Payment], verdicts: Sequence[Verdict]) -> None:
        """Count what metrics and the breaker hear of decisions."""
        self.outcomes.update([(verdict.outcome, verdict.route) for verdict in verdicts])
        self.rules.update([code for verdict in verdicts for code in verdict.rules_triggered])
        worths: defaultdict[tuple[Outcome, str], list[int]] = defaultdict(list)  # one look-up a payment
        for payment, verdict in zip(payments, verdicts, strict=True):
            transaction, route, answer = payment.decoded.transaction, verdict.route, verdict.model_answer
            worths[verdict.outcome, transaction.currency].append(transaction.amount_minor)
            if route is Route.GUARDRAIL:
                continue
            if answer is None:
                self._count_silence(payment, verdict)
                continue
            answers = self.candidate_answers if payment.is_candidates else self.answers
            answers.append(_answer(payment, verdict, answer))
            if route is Route.FALLBACK and answer.outcome is not verdict.outcome:
                self.shadow_disagreements += 1
        for worth, amounts_minor in worths.items():
            self.currencies[worth] += len(amounts_minor)
            self.amounts_minor[worth] += sum(amounts_minor)

    def _count_silence(self, payment: Payment, verdict: Verdict) -> None:
        """A model that fails, or that there is none of, is an error for the breaker; one that nobody asked is not."""
        if verdict.silence is Silence.NOT_ASKED:
            self.unasked += 1
            return
        answers = self.candidate_answers if payment.is_candidates else self.answers
        answers.append(_answer(payment, verdict, None))
        if verdict.silence is Silence.FAILED:
            self.model_faults[verdict.fault] += 1


def _answer(payment: Payment, verdict: Verdict, answer: ModelAnswer | None) -> Answer:
    transaction, (state, scope, use_model, _) = payment.decoded.transaction, verdict.mode
    if state is not BreakerState.CLOSED:
        scope = unmarked_scope(scope)
    return Answer(
        None if answer is None else answer.outcome,
        None if answer is None else answer.fraud_probability_ppm,
        transaction.segments,
        transaction.channel.value,
        transaction.account_id,
        is_of_nothing=transaction.amount_minor == 0,
        is_of_known_account=payment.is_of_known_account,
        apart=scope if state is not BreakerState.CLOSED and is_part(scope) else None,
        probed=scope if use_model and state is BreakerState.HALF_OPEN else None,
        is_doubted=None if answer is None else answer.is_doubted,
    )


class TopicNames(NamedTuple):
    decisions: str
    alerts: str


class Judge:
    """Decides under one regime; made anew when policy, model or a feed changes."""

    def __init__(
        self,
        in_force: Regime,
        wire: WireFormat,
        topics: TopicNames,
        agent_id: str,
        partition_of: PartitionOf,
        floods: dict[RefusalCode, Flood] | None = None,
        rollout: Rollout | None = None,
    ) -> None:
        """partition_of: of transactions.v1; a payment on another partition than its account's is refused. floods: what
        is not told yet of refused payments, which outlives a Judge; None for one that begins with nothing. rollout: a
        model that answers the payments whose mode says so; None where there is none.
        """
        self.in_force, self.rollout = in_force, rollout
        self._wire, self._topics, self._partition_of = wire, topics, partition_of
        self._event_rows = EventRows(in_force.policy, in_force.feeds)
        self._floods = {} if floods is None else floods
        self._encoder: DecisionEncoder = DecisionEncoder(wire.header("decision.v1"), in_force, agent_id)
        self._candidate = None if rollout is None else Candidate.of(wire.header("decision.v1"), rollout, agent_id)

    def read(self, records: Iterable[Record]) -> Reading:
        payments: list[Payment] = []
        refused: list[tuple[Record, Refusal]] = []
        decode, row = self._wire.decode_transaction, self._event_rows.row
        for record in records:
            decoded = decode(record.value)
            refusal = (
                decoded
                if isinstance(decoded, Refusal)
                else refusal_of(decoded.transaction, record.key, record.source) or self._misplaced(record)
            )
            if refusal is not None:
                refused.append((record, refusal))
            else:
                assert isinstance(decoded, Decoded)
                payments.append(Payment(record, decoded, row(decoded.transaction, record.source.timestamp_ms)))
        for blocked in hits_of(self.in_force.rules.static_hard, _event_matrix(payments)):
            payments[blocked].is_counted = False
        return Reading(payments, refused)

    def state_events(self, reading: Reading, spans: Iterable[Span]) -> list[PartitionEvents]:
        """The events of a batch that the state store must see, by partition."""
        events: dict[int, list[StateEvent]] = {span.partition: [] for span in spans}
        for payment in reading.payments:
            events[payment.record.source.partition].append(self._state_event(payment))
        return [PartitionEvents(*span, events[span.partition]) for span in spans]

    def judge(
        self, reading: Reading, observations: Sequence[PartitionObservation], modes: ModesOf, now_ms: int
    ) -> Iterator[Judged]:
        """Judge the batch in slices, so that the event loop can serve the next batch's sockets in between.

        `observations` answer `state_events(reading, spans)`, where spans are in the order of their partitions.
        """
        judged = Judged()
        for record, refusal in reading.refused:
            _refuse(judged, record, refusal)
        # By partition, as the observations are; the sort is stable, so each partition stays in log order.
        payments = sorted(reading.payments, key=_partition)
        state = np.concatenate([observation.state for observation in observations])
        freshness = np.concatenate([observation.freshness for observation in observations])
        positions = np.concatenate([observation.outcomes_position for observation in observations])
        _refuse_incomplete(len(payments), state, freshness, positions)
        fresh = freshness == Freshness.FRESH
        for place in np.flatnonzero(~fresh).tolist():
            self._set_aside(judged, payments[place].record, Freshness(freshness[place]))
        self._alert_of_floods(judged, reading, now_ms)
        yield judged
        if not fresh.all():
            payments = [payments[place] for place in np.flatnonzero(fresh).tolist()]
            state, positions = state[fresh], positions[fresh]
        event = _event_matrix(payments)
        state = _of_counted(payments, state)
        _refuse_impossible(payments, event, state)
        features = feature_matrix(event, state)
        for payment, is_known in zip(payments, _known_accounts(features), strict=True):
            payment.is_of_known_account = is_known
        transactions = [payment.decoded.transaction for payment in payments]
        own = [foreign_money(transaction) for transaction in transactions]
        told = [modes(each) for each in transactions]
        if self._candidate is None:
            verdicts = verdicts_of(features, told, self.in_force, own=own)
        else:
            for payment, mode in zip(payments, told, strict=True):
                payment.is_candidates = mode.is_candidates
            verdicts = self._candidate.verdicts(features, told, self.in_force, own)
        observed = with_position(features, positions)
        for start in range(0, len(payments), SLICE_RECORDS):
            end = start + SLICE_RECORDS
            part = payments[start:end]
            yield self._decided(part, observed[start:end], list(islice(verdicts, len(part))), now_ms)

    def poison(self, record: Record, now_ms: int) -> Judged:
        """A record that made this code fail again and again, set aside."""
        judged = Judged()
        _refuse(judged, record, Refusal(RefusalCode.POISON, "deciding this record failed repeatedly"))
        self._alert(judged, poison_alert(record.source, now_ms))
        return judged

    def _misplaced(self, record: Record) -> Refusal | None:
        assert record.key is not None, "a payment's key is its account"
        if self._partition_of(record.key) == record.source.partition:
            return None
        detail = "the record is on another partition than FRAUD_PARTITIONER gives its account"
        return Refusal(RefusalCode.PARTITION_MISMATCH, detail)

    def _alert_of_floods(self, judged: Judged, reading: Reading, now_ms: int) -> None:
        """Raise one alert a minute for each partition with refused payments of a kind that a publisher chooses."""
        refused: dict[RefusalCode, defaultdict[int, list[int]]] = {}
        for each in judged.set_aside:
            if each.code in _FLOODING:
                source = each.record.source
                refused.setdefault(RefusalCode(each.code), defaultdict(list))[source.partition].append(source.offset)
        if not refused and not self._floods:
            return
        begins = _begins(reading)
        for code in _FLOODING:
            if code in refused and code not in self._floods:
                self._floods[code] = Flood()
            if (flood := self._floods.get(code)) is not None:
                for due in flood.due(refused.get(code, {}), begins, now_ms):
                    self._alert(judged, _FLOODING[code](*due, now_ms))

    def _state_event(self, payment: Payment) -> StateEvent:
        transaction, amount_gbp_minor = payment.decoded.transaction, payment.event[_AMOUNT]
        ip_address = transaction.ip_address
        return StateEvent(
            payment.record.source.offset,
            transaction.transaction_id,
            payment.decoded.digest[:CLAIM_DIGEST_BYTES],
            transaction.account_id,
            transaction.beneficiary_account_id,
            transaction.event_time_ms,
            min(max(payment.record.source.timestamp_ms, EVENT_TIME_MS_MIN), EVENT_TIME_MS_MAX),
            max(amount_gbp_minor, 0),
            self._event_rows.is_near_limit(amount_gbp_minor),
            None if ip_address is None else canonical_ip_address(ip_address),
            transaction.device_id,
            payment.is_counted,
            transaction.source_system,
        )

    def _decided(
        self, payments: Sequence[Payment], observed: Matrix, verdicts: Sequence[Verdict], now_ms: int
    ) -> Judged:
        decoded, sources = [p.decoded for p in payments], [p.record.source for p in payments]
        encoding = Encoding(decoded, sources, observed, verdicts, [now_ms] * len(payments))
        if self._candidate is None:
            values = self._encoder.encode(*encoding)
        else:
            values = self._candidate.encode(self._encoder, encoding)
        topic = self._topics.decisions
        keyed = zip(payments, values, strict=True)
        outgoing = [outgoing_of(topic, payment.record.key, value) for payment, value in keyed]
        judged = Judged(outgoing, list(payments), list(verdicts))
        judged.count(payments, verdicts)
        return judged

    def _set_aside(self, judged: Judged, record: Record, freshness: Freshness) -> None:
        """Set aside a payment whose id was seen before."""
        match freshness:
            case Freshness.DUPLICATE:
                judged.duplicates += 1
                detail = "the same payment was published before"
                judged.set_aside.append(SetAside(record, DUPLICATE, detail, keep_payload=False))
            case Freshness.CONFLICT:
                detail = "another payment was published before under the same transaction id"
                _refuse(judged, record, Refusal(RefusalCode.TRANSACTION_ID_CONFLICT, detail))
            case Freshness.FRESH:
                raise AssertionError("a fresh payment is decided")

    def _alert(self, judged: Judged, raised: Alert) -> None:
        judged.outgoing.append(alert_record(self._wire, self._topics.alerts, raised))


def _begins(reading: Reading) -> dict[int, int]:
    """Return the first offset that a batch holds of each of its partitions."""
    begins: dict[int, int] = {}
    for record in (*[payment.record for payment in reading.payments], *[record for record, _ in reading.refused]):
        partition, offset, _ = record.source
        begins[partition] = min(begins.get(partition, offset), offset)
    return begins


_FLOODING: Final = {
    RefusalCode.PARTITION_MISMATCH: mismatch_alert,
    RefusalCode.TRANSACTION_ID_CONFLICT: conflict_alert,
}
"""What whoever publishes payments can cause as often as they like, and its alert."""


def _known_accounts(features: Matrix) -> list[bool]:
    """Say of each payment whether its account was known before: whoever names accounts can't make such at will.

    What is UNKNOWN is below every count, so its account isn't known.
    """
    is_older = features[:, _COUNT_30D] > np.maximum(features[:, _COUNT_24H], 0)
    known: list[bool] = (is_older | (features[:, _NORMAL_MONTH] > 0)).tolist()
    return known


class ObservationWrong(Exception):
    """What was observed of a payment that counts can't be true of it: a fault of ours, which nothing is judged on."""


def _refuse_incomplete(count: int, state: Matrix, freshness: NDArray[np.int8], positions: Matrix) -> None:
    """Raises ObservationWrong. One row too few would be spread over all payments, as numpy does it."""
    if not (state.shape == (count, len(STATE)) and freshness.shape == positions.shape == (count,)):
        raise ObservationWrong(f"{len(state)} observations answer {count} payments")


def _of_counted(payments: Sequence[Payment], state: Matrix) -> Matrix:
    """Return the rows with nothing told of payments that don't count, whatever was answered.

    By such an answer its outcome would take out of the volume what was never in it.
    """
    counts = np.array([payment.is_counted for payment in payments], dtype=np.bool_)
    return state if counts.all() else np.where(counts[:, np.newaxis], state, NONE)


def _refuse_impossible(payments: Sequence[Payment], event: Matrix, state: Matrix) -> None:
    """Raises ObservationWrong. A payment that counts is itself in every window, so no count is 0 and no sum below it.

    A row of −1s, of zeros, or of a smaller payment is thus never taken for an account that has done nothing.
    """
    least = np.where(_IS_SUM, np.maximum(event[:, _AMOUNT : _AMOUNT + 1], 0), _LEAST)
    is_wrong = ((state < least) & (state != UNKNOWN)).any(axis=1)
    for place in np.flatnonzero(is_wrong).tolist():
        if payments[place].is_counted:
            source = payments[place].record.source
            raise ObservationWrong(f"the features of partition {source.partition} at {source.offset} can't be so")


def _refuse(judged: Judged, record: Record, refusal: Refusal) -> None:
    judged.dead_letters[refusal.code] += 1
    judged.set_aside.append(SetAside(record, *refusal))


def _event_matrix(payments: Sequence[Payment]) -> Matrix:
    """(n, len(EVENT)): written as bytes, since numpy looks at each integer several times."""
    rows = BytesWriter()
    for payment in payments:
        for number in payment.event:
            write_i64_le(rows, number)
    return np.frombuffer(rows.getvalue(), dtype="<i8").reshape(-1, len(EVENT))


def _partition(payment: Payment) -> int:
    return payment.record.source.partition


def _source(each: SetAside) -> Source:
    return each.record.source
