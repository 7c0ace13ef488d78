"""What became of past payments, read from the decisions that are kept, so that a rebuild counts what was counted then.

A payment that a static guardrail blocked was not counted; under today's limits it might be, and the other way round.
Decisions of a partition of transactions.v1 stand in the partition of decisions.v1 with its number, in log order, so
both are read side by side. Before the first decision that is kept, today's policy says what counts.

A payment that was set aside then (poison, a copy, another payment under a known id, refused) has no decision although
later and earlier ones have; before the first decision that is kept, its dead letter says so. It counts nowhere and
holds no id: poison may be decided yet, and whoever reads partitions in another order than then must not take it for the
first under its id.

A batch that is too heavy to be unpacked here may have been read by a worker that had the memory for it. What was
decided of it is taken from the decisions, which hold the payments whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from pipeline.decide.batch import Payment, Reading
from pipeline.domain.decision import Decision
from pipeline.domain.features import COLUMN
from pipeline.domain.log import UNREADABLE, Record, RecordUndecodable, Source
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.verdict_heads import VerdictHead
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader

RECORDS_MAX: Final = 2_000
PROBED_RECORDS: Final = 16
"""Records that a look into the topic's midst takes: reviews and reversals stand between the decisions."""
HOME_CURRENCY: Final = "GBP"
_AMOUNT: Final = COLUMN["amount_gbp_minor"]


class PastDecision:
    """A decision that was made about one payment."""

    def __init__(self, head: VerdictHead, value: bytes, wire: WireFormat) -> None:
        self.was_counted = head.was_counted
        self._value, self._wire = value, wire

    def amount_gbp_minor(self) -> int:
        """Return the amount as the exchange rates of that time had it."""
        return self._decision().snapshot.features[_AMOUNT]

    def record(self, at: Source) -> Record:
        """Return the payment as it stood at that place, but for how it was written."""
        decision = self._decision()
        payment = decision.snapshot.transaction
        source = at._replace(timestamp_ms=decision.source_timestamp_ms)
        return Record(payment.account_id.encode(), self._wire.encode_transaction(payment), source)

    def _decision(self) -> Decision:
        stored = self._wire.decode_decision_record(self._value)
        if isinstance(stored, Refusal):
            raise RecordUndecodable(f"a decision can't be read: {stored.detail}")
        return stored  # type: ignore[return-value]  # its head says that it is a decision


class PastDecisions:
    """The decisions about one partition's payments, in log order. It blocks; for one thread at a time."""

    def __init__(
        self, open_reader: Callable[[], LogReader], wire: WireFormat, topic: str, partition: int, end: int
    ) -> None:
        """topic: decisions.v1 with its prefix. end: nothing at or behind this offset of the topic is read."""
        self._reader, self._wire, self._topic, self._partition = open_reader(), wire, topic, partition
        self._at, self._end = 0, end
        self._ahead: list[tuple[VerdictHead, bytes]] = []  # read, but of payments that nobody asked for yet
        self._first: int | None = None

    @property
    def first(self) -> int | None:
        """The payment that the first decision that is kept is about, once `begin` was called; None for none."""
        return self._first

    def close(self) -> None:
        self._reader.close()

    def begin(self, offset: int) -> None:
        """Begin with the decisions about payments from this offset on, by halving what is kept of the topic."""
        low, high = self._reader.extents(self._topic)[self._partition]
        first, past = low, min(high, self._end)
        self._first = self._first_payment(first, past)
        while past - first > RECORDS_MAX:
            middle = (first + past) // 2
            about = self._first_payment(middle, past)
            if about is None or about >= offset:
                past = middle
            else:
                first = middle
        self._at, self._ahead = first, []

    def _first_payment(self, at: int, end: int) -> int | None:
        """Return the payment of the first decision in a range of the topic; None where there is no decision."""
        while at < end:
            found = self._reader.read_range(self._topic, self._partition, at, end, PROBED_RECORDS, _value_of)
            for value in found.taken:
                if (head := self._head(value)) is not None:
                    return head.offset
            at = end if found.is_at_end else found.end_offset
        return None

    def below(self, offset: int) -> Mapping[int, PastDecision]:
        """Return the decisions about payments below this offset that were not returned before, by the payment's."""
        while self._at < self._end and not (self._ahead and self._ahead[-1][0].offset >= offset):
            found = self._reader.read_range(self._topic, self._partition, self._at, self._end, RECORDS_MAX, _value_of)
            self._ahead += [(head, value) for value in found.taken if (head := self._head(value)) is not None]
            self._at = self._end if found.is_at_end else found.end_offset
        taken = [pair for pair in self._ahead if pair[0].offset < offset]
        self._ahead = [pair for pair in self._ahead if pair[0].offset >= offset]
        return {head.offset: PastDecision(head, value, self._wire) for head, value in taken}

    def _head(self, value: bytes) -> VerdictHead | None:
        head = self._wire.decode_verdict_head(value)
        if isinstance(head, Refusal):
            raise RecordUndecodable(f"a record of {self._topic}[{self._partition}] can't be read: {head.detail}")
        return head if head is not None and head.partition == self._partition else None


def readable(records: Sequence[Record], past: Mapping[int, PastDecision]) -> Sequence[Record]:
    """Return the records, those that nobody unpacks here and that were decided as their decisions hold them."""
    if not any(record.value is UNREADABLE for record in records):
        return records
    decided = ((record, past.get(record.source.offset)) for record in records)
    return [
        record if record.value is not UNREADABLE or decision is None else decision.record(record.source)
        for record, decision in decided
    ]


def counted_as_then(
    reading: Reading, past: Mapping[int, PastDecision], first: int | None, undecided: Collection[int]
) -> Reading:
    """Let payments count as their decisions say that they did, at the amounts of that time.

    first: the first payment of which the decision is kept. A later one without a decision was set aside, and is left
    out; so is an earlier one that is among the `undecided`.
    """
    kept: list[Payment] = []
    for payment in reading.payments:
        offset = payment.record.source.offset
        decision = past.get(offset)
        if decision is None:
            if (first is None or offset < first) and offset not in undecided:
                kept.append(payment)
            continue
        kept.append(payment)
        payment.is_counted = decision.was_counted
        if payment.is_counted and payment.decoded.transaction.currency != HOME_CURRENCY:
            payment.event = (decision.amount_gbp_minor(), *payment.event[1:])
    return Reading(kept, reading.refused)


def _value_of(record: Record) -> bytes:
    return record.value or b""
