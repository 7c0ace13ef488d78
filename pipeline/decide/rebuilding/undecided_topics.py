"""Which past payments were set aside without a decision, read from the dead letters.

Where decisions of a partition are kept, a payment without one was set aside. Before the first of them, and where there
is none, only the dead letters tell. Without them a rebuild would claim the id of poison, and the same payment,
published again once the fault is mended, would be a duplicate and never decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.decide.batch import DUPLICATE
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.log import RecordUndecodable
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader

OF_PAYMENTS: Final = frozenset({RefusalCode.POISON, RefusalCode.TRANSACTION_ID_CONFLICT, DUPLICATE})
"""Codes of letters about records that a rebuild would read as payments; it refuses the others as they were refused."""


class UndecidedPayments:
    """The payments of `transactions.v1` that have a dead letter."""

    def __init__(self, wire: WireFormat, transactions: str, dead_letters: str) -> None:
        """transactions, dead_letters: the topics' names, with their prefix."""
        self._wire, self._transactions, self._dead_letters = wire, transactions, dead_letters

    def below(self, reader: LogReader, partition: int, end: int | None) -> frozenset[int]:
        """Return the offsets of such payments of a partition, below `end`; None for all.

        It blocks. Raises BrokerFailed, or RecordUndecodable where a letter can't be read.
        """
        return frozenset(
            letter.source_offset
            for letter in self._letters(reader)
            if letter.source_topic == self._transactions
            and letter.source_partition == partition
            and letter.code in OF_PAYMENTS
            and (end is None or letter.source_offset < end)
        )

    def _letters(self, reader: LogReader) -> Iterator[DeadLetter]:
        ends = reader.uncommitted_ends(self._dead_letters)
        for place, extent in reader.extents(self._dead_letters).items():
            for record in reader.read_settled(self._dead_letters, place, extent.low, ends[place]):
                letter = self._wire.decode_dead_letter(record.value)
                if isinstance(letter, Refusal):
                    raise RecordUndecodable(f"a record of {self._dead_letters}[{place}] can't be read: {letter.detail}")
                yield letter
