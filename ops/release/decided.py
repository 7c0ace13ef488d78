"""Decisions of every kind, made by the code that runs, without a server: the same ones whenever it makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from models.artefact.files import load_champion
from models.artefact.plain_files import read_plain
from ops.bench.rig.payments import START_MS, paid
from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide.batch import Judge, Judged, TopicNames
from pipeline.decide.feeds.feed import NO_FEEDS, FeedKind, parse_new_feed
from pipeline.decide.feeds.feed_files import shipped_as_of
from pipeline.decide.policy import parse_new_policy
from pipeline.decide.verdict import Mode, Regime, regime
from pipeline.domain.decision import BreakerState, Decision, Outcome
from pipeline.domain.features import STATE, UNKNOWN
from pipeline.domain.identities import ReviewId, reversal_id, review_id
from pipeline.domain.log import Outgoing, Record, Source, Span
from pipeline.domain.payment import Transaction
from pipeline.domain.reversal import RecordKind, Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.avro.schema_files import releases
from pipeline.io.avro.wire import WireFormat
from pipeline.io.avro.writers import Release, down_to, header_of
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.settings import Settings
from pipeline.state.windows import MemoryState, PartitionObservation

PAYMENTS: Final = 160
STREAM: Final = 2_000
ACCOUNTS: Final = 100
KEPT_ACCOUNTS: Final = 10
"""Few, so that windows fill."""
PARTITIONS: Final = 2
AGENT_ID: Final = "decide/promise"
DECIDED_AFTER_MS: Final = 40
_MODES: Final = (
    Mode(BreakerState.CLOSED, "all", True),
    Mode(BreakerState.CLOSED, "all", True),
    Mode(BreakerState.OPEN, "model:any", False),
    Mode(BreakerState.HALF_OPEN, "segment:age_band=30-39", True),
    Mode(BreakerState.HALF_OPEN, "all", False),
    Mode(BreakerState.UNKNOWN, "all", False),
    Mode(BreakerState.FORCED_OPEN, "all", False),
)
_ALTERED: Final[Sequence[Callable[[Transaction], Transaction]]] = (
    lambda payment: payment,
    lambda payment: payment._replace(currency="EUR"),
    lambda payment: payment._replace(beneficiary_country="KP"),
    lambda payment: payment._replace(reference=None, beneficiary_name=None),
    lambda payment: payment._replace(currency="XAU"),
    lambda payment: payment._replace(ip_address=None, device_id=None, segments={}),
    lambda payment: payment._replace(amount_minor=5_000_000),
    lambda payment: payment._replace(amount_minor=0),
    lambda payment: payment._replace(reference="Miete März — «zwölf» 🏠", segments={"z": "1", "a": "ß"}),
    lambda payment: payment._replace(beneficiary_opened_at_ms=None),
)
"""What is changed of every payment in turn; most stay as they are."""
_LOST: Final = ("device_fraud_reports", "beneficiary_count_7d")


class Written(NamedTuple):
    """A record of decisions.v1. payment: for a decision the value on transactions.v1 that it is about, else empty."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes
    payment: bytes


def feed_files() -> dict[str, bytes]:
    """The feeds that the records are decided by, by file name: as of the day of the first, whenever they are made."""
    return {f"{kind}.toml": shipped_as_of(kind, START_MS) for kind in FeedKind}


def written(settings: Settings) -> list[Written]:
    """Records as this code writes them under the settings' policy and model, in the topic's order.

    Every seventh payment was written in the first release of its schema. Now and then a review or a reversal follows.
    """
    wire, place = WireFormat(), Partitioning(Partitioner.CRC32, PARTITIONS).of
    judge = Judge(_in_force(settings), wire, TopicNames("decisions.v1", "alerts.v1"), AGENT_ID, place)
    records = sorted(_records(wire, place), key=lambda record: record.source)
    spans = [_span(records, partition) for partition in range(PARTITIONS)]
    reading = judge.read(records)
    observed = [_with_losses(each) for each in MemoryState().observe(judge.state_events(reading, spans))]
    modes = _Modes()
    now_ms = max(record.source.timestamp_ms for record in records) + DECIDED_AFTER_MS
    judged = Judged.whole(judge.judge(reading, observed, modes.of, now_ms))
    decisions = [record for record in judged.outgoing if record.topic == "decisions.v1"]
    about = [payment.record.value or b"" for payment in judged.decided]
    return list(_on_topic(wire, place, list(zip(decisions, about, strict=True)), now_ms))


def _in_force(settings: Settings) -> Regime:
    feeds = NO_FEEDS
    for content in feed_files().values():
        feeds = feeds.with_feed(parse_new_feed(content))
    policy = parse_new_policy(read_plain(settings.policy_path, POLICY_BYTES_MAX))
    return regime(policy, load_champion(settings.model_registry), feeds)


class _Modes:
    """The breaker's words, in turn: what it says of a payment depends on nothing but its place."""

    def __init__(self) -> None:
        self._asked = 0

    def of(self, _transaction: Transaction) -> Mode:
        self._asked += 1
        return _MODES[self._asked % len(_MODES)]


def _records(wire: WireFormat, place: Callable[[bytes], int]) -> Iterator[Record]:
    offsets = dict.fromkeys(range(PARTITIONS), 0)
    for number, payment in enumerate(_payments()):
        altered = _ALTERED[number // 2 % len(_ALTERED)](payment) if number % 2 else payment
        key = altered.account_id.encode()
        partition = place(key)
        value = wire.encode_transaction(altered)
        if number % 7 == 3:
            first = Release("transaction.v1", releases("transaction.v1")[0])
            value = header_of(first) + down_to(first).resolved(value[10:])
        yield Record(key, value, Source(partition, offsets[partition], altered.event_time_ms + 1_000 * (number % 5)))
        offsets[partition] += 1


def _payments() -> list[Transaction]:
    """The first payments of a few accounts of the project's seeded traffic."""
    stream = list(paid(STREAM, accounts=ACCOUNTS))
    kept = set(sorted({payment.account_id for payment in stream})[:KEPT_ACCOUNTS])
    return [payment for payment in stream if payment.account_id in kept][:PAYMENTS]


def _span(records: Sequence[Record], partition: int) -> Span:
    count = sum(record.source.partition == partition for record in records)
    return Span(partition, 0, count, 0)


def _with_losses(observation: PartitionObservation) -> PartitionObservation:
    """Of some payments, something that the state had was lost."""
    state = observation.state.copy()
    for number, name in enumerate(_LOST):
        state[5 + number :: 11, STATE.index(name)] = UNKNOWN
    return observation._replace(state=state)


def _on_topic(
    wire: WireFormat, place: Callable[[bytes], int], decided: Sequence[tuple[Outgoing, bytes]], now_ms: int
) -> Iterator[Written]:
    offsets = dict.fromkeys(range(PARTITIONS), 0)
    for number, (record, payment) in enumerate(decided):
        key, value = record.key or b"", record.value
        partition = place(key)
        decision = wire.decode_decision_record(value)
        assert isinstance(decision, Decision), "it was just made"
        for each in (value, *_after(wire, number, decision)):
            about = payment if each is value else b""
            yield Written(partition, offsets[partition], now_ms + number, key, each, about)
            offsets[partition] += 1


def _after(wire: WireFormat, number: int, decision: Decision) -> Iterator[bytes]:
    """What people said of a decision later."""
    about = decision.decision_id, decision.transaction_id, decision.account_id
    at_ms = decision.decided_at_ms + 60_000
    if number % 9 == 4:
        name: ReviewId = review_id(decision.decision_id, 1)
        why = 'The customer said so, "in person" \\ twice'
        yield wire.encode(ReviewOutcome(name, *about, at_ms, Outcome.ALLOW, why, "rita", None))
    if number % 9 == 7:
        plan = "plan-1"
        yield wire.encode(
            Reversal(
                reversal_id(plan, decision.decision_id),
                *about,
                plan_id=plan,
                reversed_at_ms=at_ms,
                reversed_outcome=decision.outcome,
                corrected_outcome=None if number % 2 else Outcome.ESCALATE,
                reason="A bad model",
                requested_by="ana",
                approved_by="bo",
                replaces_kind=RecordKind.DECISION,
                replaces_id=decision.decision_id,
                plan_digest="ab" * 32,
            )
        )
