"""How far each partition of transactions.v1 was decided, read from the decisions and dead letters themselves.

The group's committed offsets are where a worker goes on, but they may be gone (expired, deleted) or moved by hand.
What was decided stands on decisions.v1 and on the dead letters, each of which names its source. They are written in the
transaction that commits the offset, without gaps and each kind in log order, so behind the latest of them nothing was
decided, and before it everything was. The latest needn't stand last: copies of earlier ones may follow it. The broker
acknowledges them before it is told to commit, so a reader that has come to the end that includes open transactions has
all that any offset stands for, whichever partition learns of the commit first.

The record that was decided last must still stand where it stood. A log that lost records, as by an unclean election of
a leader, or that was made anew, gives their offsets to others, which would be passed over as decided.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import structlog

from pipeline.domain.decision import Decision
from pipeline.domain.features import NONE
from pipeline.domain.log import Record
from pipeline.domain.payment import Decoded
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerAway, BrokerFailed
from pipeline.io.kafka.log_reader import Extent, LogReader
from pipeline.resume.runs import Run, joined, runs_of
from pipeline.resume.starts import Decided, start_of

RECORDS_FIRST: Final = 64
RECORDS_MAX: Final = 4_096
"""Offsets that are read at once, from a topic's end backwards: few at first, and twice as many each time."""
LOOKED_AT_MAX: Final = 4_096
"""Records of decisions.v1 that are looked at for what the group committed. With none, its offset was moved ahead."""
HOLES_MAX: Final = 256
"""Most looks at what stands between letters that don't follow one another; each takes milliseconds."""
LEADER_S: Final = 20.0
"""Time that a change of a partition's leader may take."""
LEADER_PAUSE_S: Final = 0.5
SKEW_MS: Final = 10 * 60 * 1000
"""Most by which two clocks that stamp the decisions and the dead letters of one transaction may differ."""


log = structlog.get_logger("decide")


class DecidedTopics(NamedTuple):
    """Names of the topics, with their prefix."""

    transactions: str
    decisions: str
    dead_letters: str


class Start(NamedTuple):
    """Where a partition is read from, and the offset that the group had committed, None for none."""

    partition: int
    committed: int | None
    offset: int
    is_moved: bool  # the committed offset is not what was decided
    outcomes_position: int = NONE  # of the latest decision; NONE or UNKNOWN where it doesn't say


class DecidedLog:
    """Says where to go on. For one thread at a time; raises BrokerAway, BrokerFailed, TopicMissing."""

    def __init__(
        self,
        open_reader: Callable[[], LogReader],
        wire: WireFormat,
        topics: DecidedTopics,
        *,
        begins_at_committed: bool = False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """begins_at_committed: see `start_of`. pause: waits for seconds."""
        self._open_reader, self._wire, self._topics = open_reader, wire, topics
        self._begins_at_committed, self._pause = begins_at_committed, pause

    def starts(self, committed: Mapping[int, int | None]) -> list[Start]:
        """Return the start of each partition, by what the group committed and what was decided.

        Ask when no commit for these partitions is pending, as the broker's answer about committed offsets says. While a
        partition's leader changes, its broker may be away, or know less of the log than was committed; that passes, and
        is waited for.
        """
        deadline_s = time.monotonic() + LEADER_S
        while True:
            try:
                return self._starts(committed)
            except BrokerAway:
                if time.monotonic() > deadline_s:
                    raise
            self._pause(LEADER_PAUSE_S)

    def _starts(self, committed: Mapping[int, int | None]) -> list[Start]:
        if not committed:
            return []
        with self._open_reader() as reader:
            extents = reader.extents(self._topics.transactions, committed)
            held = [
                each
                for each, extent in extents.items()
                if extent.low < extent.high or _is_ahead(committed[each], extent)
            ]
            latest = {each: self._latest_decision(reader, each, committed[each]) for each in held}
            decided = self._decided(reader, latest, committed, extents)
            # Whoever has a partition goes on deciding while this is asked, so an end that was asked before is outdated.
            beyond = [each for each, found in decided.items() if (found.end or 0) > extents[each].high]
            extents |= reader.extents(self._topics.transactions, beyond)
            for each, found in latest.items():
                self._require_same(reader, each, extents[each], found)
        starts = [self._start(each, offset, extents[each], decided.get(each)) for each, offset in committed.items()]
        seen = {partition: each.outcomes_position for partition, each in latest.items()}
        return [start._replace(outcomes_position=seen.get(start.partition, NONE)) for start in starts]

    def _require_same(self, reader: LogReader, partition: int, extent: Extent, latest: _Latest) -> None:
        """Raise BrokerFailed where another record stands where the payment that was decided last stood.

        A copy of the topic may have been put back with other times; another release may read a payment otherwise.
        """
        offset = latest.offset
        if offset is None or not extent.low <= offset < extent.high:
            return
        topic = self._topics.transactions

        def is_same(record: Record) -> bool:
            if record.source.timestamp_ms == latest.logged_ms:
                return True
            read = self._wire.decode_transaction(record.value)
            return isinstance(read, Decoded) and read.transaction.transaction_id == latest.transaction_id

        if reader.read_range(topic, partition, offset, offset + 1, 1, is_same).taken != [True]:
            raise BrokerFailed(
                f"the record of {topic}[{partition}] at {offset} isn't the one that was decided: the log lost records"
                " and gave their offsets out anew, or it is another log"
            )

    def _start(self, partition: int, committed: int | None, extent: Extent, decided: Decided | None) -> Start:
        """`decided`: None where the log holds nothing, and the group's offset is of it, so that nothing can be lost or
        decided again."""
        if decided is None:
            return Start(partition, committed, extent.low if committed is None else committed, False)
        name = f"{self._topics.transactions}[{partition}]"
        if decided.end is not None and decided.end > extent.high:
            raise BrokerAway(
                f"{name} ends at {extent.high}, but was decided up to {decided.end}: its leader is behind, or it is"
                " another log"
            )
        start = start_of(committed, decided, extent.low, begins_at_committed=self._begins_at_committed)
        if start is None:
            raise BrokerFailed(f"the group has no offset for {name}, and what was decided of it is no longer kept")
        is_first = committed is None and decided.end is None
        return Start(partition, committed, start, start != committed and not is_first)

    def _decided(
        self,
        reader: LogReader,
        latest: Mapping[int, _Latest],
        committed: Mapping[int, int | None],
        extents: Mapping[int, Extent],
    ) -> dict[int, Decided]:
        letters = self._latest_letters(reader, {partition: each.written_ms for partition, each in latest.items()})
        found: dict[int, Decided] = {}
        for partition, decision in latest.items():
            behind = None if decision.offset is None else decision.offset + 1
            known = max(behind or 0, committed[partition] or 0, extents[partition].low)
            end = self._set_aside_up_to(reader, partition, known, letters.runs.get(partition, []))
            ends = [each for each in (behind, end) if each is not None]
            found[partition] = Decided(max(ends, default=None), decision.is_whole and letters.is_whole)
        return found

    def _set_aside_up_to(self, reader: LogReader, partition: int, known: int, runs: Iterable[Run]) -> int | None:
        """Return the offset behind the last payment that was set aside, by the letters; None for none.

        Behind `known`, up to where the group or a decision says that all is done, each record has a letter of its own.
        Letters that leave out a record were written by nobody who decides: payments would be passed over on the word of
        one record. No seal proves letters.
        """
        topic, end, looks = self._topics.transactions, known, 0
        before: int | None = None
        for first, past in runs:
            if first < known:
                before = min(past, known)
            if past <= end:
                continue
            if first > end:
                looks += 1
                is_next = looks <= HOLES_MAX and self._is_empty(reader, partition, end, first)
                if not is_next:
                    log.error("letters_unfounded", topic=topic, partition=partition, behind=end, about=first)
                    break
            end = past
        if end > known:  # asked now, as others go on deciding: a record that isn't there yet has no letter
            end = min(end, reader.extents(topic, [partition])[partition].high)
        return end if end > known else before

    def _is_empty(self, reader: LogReader, partition: int, first: int, end: int) -> bool:
        """Return whether the log holds no record between; commit markers have offsets too."""
        topic = self._topics.transactions
        low, high = reader.extents(topic, [partition])[partition]
        if end > high:
            return False
        return not reader.read_range(topic, partition, max(first, low), end, 1, _offset_of).taken

    def _latest_decision(self, reader: LogReader, partition: int, committed: int | None) -> _Latest:
        """Look for the decision about the latest payment, which needn't stand last: somebody may publish a copy of an
        earlier one. So the search goes on, within bounds, until it has found what the group committed."""
        topic = self._topics.decisions
        extent = reader.extents(topic, [partition])[partition]
        end = reader.uncommitted_ends(topic, [partition])[partition]
        latest, looked_at = _Latest(None, 0, extent.low == 0), 0
        for records in _backwards(reader, topic, partition, extent.low, end):
            for record in records:
                decision = self._decision(record, partition)
                # The first of a decision and its copies counts: dead letters are looked for from its time on.
                if decision is not None and (latest.offset is None or decision.source_offset >= latest.offset):
                    position, transaction_id = decision.snapshot.outcomes_position, decision.transaction_id
                    written_ms = record.source.timestamp_ms
                    if decision.source_offset == latest.offset:
                        written_ms = min(written_ms, latest.written_ms)
                    logged_ms = decision.source_timestamp_ms
                    latest = _Latest(decision.source_offset, written_ms, True, position, logged_ms, transaction_id)
            looked_at += len(records)
            if latest.offset is not None and (latest.offset + 1 == committed or looked_at >= LOOKED_AT_MAX):
                break
        return latest

    def _decision(self, record: Record, partition: int) -> Decision | None:
        """Return the record's decision where it is one of this partition; what is none isn't written by the worker."""
        stored = self._wire.decode_stored_decision(record.value)
        if stored is None or isinstance(stored, Refusal) or stored.decision.source_partition != partition:
            return None
        return stored.decision

    def _latest_letters(self, reader: LogReader, since_ms: Mapping[int, int]) -> _Letters:
        """Look for each partition's latest dead letter that may be later than its latest decision."""
        topic = self._topics.dead_letters
        found: dict[int, list[Run]] = {}
        is_whole = True
        if not since_ms:
            return _Letters(found, is_whole)
        ends = reader.uncommitted_ends(topic)
        for place, extent in reader.extents(topic).items():
            is_whole &= extent.low == 0
            wanted = dict(since_ms)
            for records in _backwards(reader, topic, place, extent.low, ends[place]):
                self._take_letters(records, wanted, found)
                oldest_ms = records[0].source.timestamp_ms if records else None
                if oldest_ms is not None:
                    wanted = {each: ms for each, ms in wanted.items() if ms - SKEW_MS <= oldest_ms}
                if not wanted:
                    break
        return _Letters(found, is_whole)

    def _take_letters(self, records: Iterable[Record], wanted: Mapping[int, int], found: dict[int, list[Run]]) -> None:
        offsets: dict[int, list[int]] = {}
        for record in records:
            letter = self._wire.decode_dead_letter(record.value)
            if isinstance(letter, Refusal) or letter.source_topic != self._topics.transactions:
                continue
            if letter.source_partition in wanted:
                offsets.setdefault(letter.source_partition, []).append(letter.source_offset)
        for partition, its in offsets.items():
            found[partition] = joined([*found.get(partition, []), *runs_of(its)])


class _Latest(NamedTuple):
    offset: int | None  # of the payment that was decided last; None for none
    written_ms: int  # when that was written; 0 for none
    is_whole: bool  # the topic was read far enough, or holds everything that ever stood on it
    outcomes_position: int = NONE
    logged_ms: int = NONE  # of the payment that was decided last: its record's time
    transaction_id: str = ""  # likewise


class _Letters(NamedTuple):
    runs: Mapping[int, list[Run]]
    is_whole: bool


def _offset_of(record: Record) -> int:
    return record.source.offset


def _is_ahead(committed: int | None, extent: Extent) -> bool:
    """Return whether the group's offset lies where the log has not come to: it was moved, or is of another log."""
    return committed is not None and committed > extent.high


def _backwards(reader: LogReader, topic: str, partition: int, low: int, end: int) -> Iterable[list[Record]]:
    """Yield stretches of committed records from the end to the beginning; within each they stand in order."""
    width = RECORDS_FIRST
    while end > low:
        start = max(low, end - width)
        yield list(reader.read_settled(topic, partition, start, end))
        end, width = start, min(2 * width, RECORDS_MAX)
