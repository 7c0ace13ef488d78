"""Counts labels by what they make of the decisions they are about, as they arrive on labels.v1.

What no reader takes in is counted by its cause, so that somebody hears of labels that teach nobody.

A label is counted once by its place on the topic: its position moves in the transaction that looked its decision up. A
label that was published again, saying the same, is counted once while it is among the last SEEN_MAX.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from pipeline.domain.context import Label
from pipeline.domain.decision import Outcome
from pipeline.domain.log import Presented, Prove, Record, Unproved
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.reconcile.labelled import LabelVerdict, verdict_of
from pipeline.reconcile.metrics import LABELS_PASSED_OVER, PassedOver, count_label
from pipeline.reconcile.reading_on_service import ReadOn, Stretch

CONSUMER: Final = "reconcile-labels"
EARLY_MS: Final = 60_000
"""A label this young may be ahead of its decision, and waits; an older one is counted as it is. Labels come days after
their payments, so whoever publishes them at once is a demonstration."""
SEEN_MAX: Final = 100_000
"""Some 20 MB."""

_SQL: Final = statements("pipeline.reconcile", "reconcile")
log = structlog.get_logger("reconcile")


class Labelled(NamedTuple):
    """A label's verdict, with the amount and the outcome of the decision. None where no decision is known."""

    verdict: LabelVerdict
    outcome: Outcome | None
    currency: str | None
    amount_minor: int | None


class OncePassedOver:
    """Counts labels that are passed over, each once, however often a partition is read again. For one thread."""

    def __init__(self) -> None:
        self._counted: dict[tuple[PassedOver, int], int] = {}  # the last offset that was, by cause and partition

    def count(self, cause: PassedOver, partition: int, offset: int) -> None:
        if offset > self._counted.get((cause, partition), -1):
            self._counted[cause, partition] = offset
            LABELS_PASSED_OVER.labels(cause).inc()

    def counting(self, prove: Prove) -> Prove:
        """Return the same check, which counts what it finds unproved."""

        def checked(record: Presented) -> Unproved | None:
            unproved = prove(record)
            if unproved is not None:
                self.count(PassedOver.UNPROVED, record.partition, record.offset)
            return unproved

        return checked


class LabelWatch:
    """For one thread, with a reader of its own. Raises what the adapters raise."""

    def __init__(
        self, reader: LogReader, wire: WireFormat, topic: str, now_ms: Callable[[], int], passed_over: OncePassedOver
    ) -> None:
        """passed_over: counts what the reader's own check passes over, too."""
        self._log, self._wire, self._now_ms = ReadOn(reader, topic, CONSUMER), wire, now_ms
        self._passed_over = passed_over
        self._seen: OrderedDict[tuple[str, str, bool], None] = OrderedDict()

    @property
    def is_behind(self) -> bool:
        return self._log.is_behind

    def forget(self) -> None:
        """After a failure it isn't known what was stored."""
        self._log.forget()

    def step(self, connection: Connection) -> None:
        """Count what has come since; without the topic nobody publishes labels here."""
        for stretch in self._log.stretches(connection):
            self._count(connection, stretch)

    def _count(self, connection: Connection, stretch: Stretch) -> None:
        """Count up to the first label whose decision may still be on its way to the audit log."""
        partition, records, end = stretch
        labels = {record.source.offset: label for record in records if (label := self._label(record)) is not None}
        with failures_named(), connection.transaction():
            found = judged_labels(connection, list(labels.values()))
            end = self._first_early(records, dict(zip(labels, found, strict=True)), end)
            self._log.advance(connection, partition, end)
        self._log.moved(partition, end)
        for (offset, label), judged in zip(labels.items(), found, strict=True):
            if offset < end and self._is_new(label):
                count_label(*judged)

    def _label(self, record: Record) -> Label | None:
        """Return the label of a record, or None for what the workers refuse."""
        content = self._wire.decode_label(record.value)
        if not isinstance(content, Refusal):
            return content
        partition, offset, _ = record.source
        self._passed_over.count(PassedOver.UNREADABLE, partition, offset)
        return None

    def _first_early(self, records: Sequence[Record], found: Mapping[int, Labelled], end: int) -> int:
        for record in records:
            _, offset, timestamp_ms = record.source
            is_unmatched = offset in found and found[offset].verdict is LabelVerdict.UNMATCHED
            if is_unmatched and 0 <= self._now_ms() - timestamp_ms < EARLY_MS:
                self._log.is_behind = False  # more of this partition would only be read again
                return offset
        return end

    def _is_new(self, label: Label) -> bool:
        """Whether the label was not counted just now under another offset."""
        name = label.transaction_id, label.account_id, label.fraud
        is_new = name not in self._seen
        self._seen[name] = None
        self._seen.move_to_end(name)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return is_new


def judged_labels(connection: Connection, labels: Sequence[Label]) -> list[Labelled]:
    """Return what each label makes of the first decision on its payment. Call it within failures_named."""
    if not labels:
        return []
    wanted = [label.transaction_id for label in labels], [label.account_id for label in labels]
    rows = connection.execute(_SQL["decisions_of_labels"], wanted).fetchall()
    known = {(transaction_id, account_id): rest for transaction_id, account_id, *rest in rows}
    judged = []
    for label in labels:
        rest = known.get((label.transaction_id, label.account_id))
        if rest is None:
            judged.append(Labelled(verdict_of(label.fraud, None, None), None, None, None))
            continue
        decided, reviewed, currency, amount_minor = rest
        outcome = Outcome(decided)
        verdict = verdict_of(label.fraud, outcome, None if reviewed is None else Outcome(reviewed))
        judged.append(Labelled(verdict, outcome, currency, amount_minor))
    return judged
