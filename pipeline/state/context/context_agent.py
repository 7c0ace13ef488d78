"""The context that decisions need (accounts, risk signals and labels), taken in by idempotent upserts.

At-least-once delivery is enough: of statements about an entity the newest holds, a withdrawal takes back those before
it (`facts`), and a label marks the same payment however often it comes.

Each record is taken in in its turn: the state holds how far every partition was taken in, and refuses what doesn't
follow on. What it lacks is read again from the log, whoever's reading the records were part of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final, NamedTuple

import structlog

from pipeline.domain.context import Account, Label, RiskSignal
from pipeline.domain.log import Presented, Prove, Record
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS, Refusal, RefusalCode, is_log_time
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import Extent, LogReader
from pipeline.state.context.context_checks import AccountWithdrawn, RiskSignalWithdrawn, checked, withdrawn
from pipeline.state.context.context_store import ACCOUNTS, LABELS, SIGNALS, ContextBehind, LabelFate, Turn, WaitingLabel
from pipeline.state.context.facts import LogPlace
from pipeline.state.store import RedisState, StateLost, StateUnavailable

CONTEXT_TOPICS: Final = (ACCOUNTS, SIGNALS, LABELS)
"""Topics of context, in the order in which a rebuild replays them."""
RECORDS_MAX: Final = 1000
RETRY_INTERVAL_S: Final = 0.25
COMPARED_MAX: Final = 5
"""Comparisons with the log after which connections that change all the time are an outage."""
UNMATCHED: Final = Refusal(RefusalCode.LABEL_UNMATCHED, "no payment with this id is in the beneficiary's windows")
NO_ROOM: Final = Refusal(
    RefusalCode.LABEL_UNMATCHED,
    "its payment was not observed yet, and too many labels wait for theirs already; publish it again",
)

PAYMENTS: Final = "transactions.v1"
NEVER_MS: Final = 1 << 48

Tell = Callable[[Refusal], Awaitable[None]]

log = structlog.get_logger("context")


@asynccontextmanager
async def reading(open_reader: Callable[[], LogReader]) -> AsyncIterator[LogReader]:
    """Open a reader, and close it in a thread: that asks the broker, and payments are decided meanwhile."""
    reader = open_reader()
    try:
        yield reader
    finally:
        await asyncio.to_thread(reader.close)


class Reading(NamedTuple):
    """A reading of a context partition beside the live one."""

    topic: str
    partition: int
    is_beginning: bool  # nothing before its start can be had any more, or it is to be had from there on again
    waiting_since_ms: int = 0  # labels that are older by the log's time don't wait for their payments


class Context:
    def __init__(
        self,
        state: RedisState,
        wire: WireFormat,
        open_reader: Callable[[], LogReader],
        full_name: Callable[[str], str],
        proves: Mapping[str, Prove] = MappingProxyType({}),
    ) -> None:
        """Keep what to read with. full_name: gives a topic's name with its prefix.

        proves: by topic with its prefix, as for LogReader; what `open_reader` opens has the same.
        """
        self._proves = proves
        self._state, self._open_reader, self._full_name = state, open_reader, full_name
        self._decode: Mapping[str, Callable[[bytes | None], Account | RiskSignal | Label | Refusal]] = {
            ACCOUNTS: wire.decode_account,
            SIGNALS: wire.decode_risk_signal,
            LABELS: wire.decode_label,
        }
        self._next: dict[tuple[str, int], int] = {}  # offset behind the last record that this worker was given
        self._known: dict[tuple[str, int], int] = {}  # the furthest position that this worker knows of
        self._comparing = asyncio.Lock()
        self.tell_of_label: Callable[[Record, Refusal], Awaitable[None]] = _log_of_label
        """Tells of a label that can't wait, or waited in vain; it is set later."""

    async def apply(
        self,
        topic: str,
        record: Record,
        turn: Turn | None = None,
        *,
        may_wait: bool = True,
        refused: Refusal | None = None,
    ) -> Refusal | None:
        """Take in one record; a Refusal says why it can't be used. A label waits for its payment, where it may.

        refused: why it isn't looked into. turn: None for a record that is handed in ahead of its turn; it moves no
        position, and its label doesn't wait. Raises StateUnavailable, or ContextBehind where records before it are
        missing.
        """
        place = _place_of(record)
        match refused or self.content_of(topic, record):
            case Account() as account:
                await self._state.upsert_account(account, place, turn)
            case RiskSignal() as signal:
                await self._state.upsert_risk_signal(signal, place, turn)
            case Label() as label:
                return await self._label(label, record, turn, may_wait)
            case AccountWithdrawn(account_id):
                await self._state.withdraw_account(account_id, place, turn)
            case RiskSignalWithdrawn(kind, entity):
                await self._state.withdraw_risk_signal(kind, entity, place, turn)
            case Refusal() as refusal:
                if turn is not None:
                    await self._state.pass_context(topic, place, turn)
                return refusal
        return None

    def content_of(
        self, topic: str, record: Record
    ) -> Account | RiskSignal | Label | AccountWithdrawn | RiskSignalWithdrawn | Refusal:
        """Return what a record comes to."""
        if record.value is None:
            return withdrawn(topic, record)
        content = self._decode[topic](record.value)
        return content if isinstance(content, Refusal) else checked(content, record)

    async def take_in(
        self, topic: str, record: Record, patience_s: float, tell: Tell, presented: Presented | None = None
    ) -> None:
        """Call `apply` in the record's turn, and `tell` of a refusal, once for each record however often it comes.

        presented: the record with what says who wrote it, which a topic that is sealed needs.
        What the state lacks before the record is read from the log first. While the state store is away it is tried
        again, for at most `patience_s`; then StateUnavailable is raised. A worker that ends between telling and
        remembering it, which is one command to the store, tells once more.
        """
        deadline, refused = time.monotonic() + patience_s, self._unproved(topic, presented)
        while True:
            try:
                refusal = await self._apply_in_turn(topic, record, refused)
                if refusal is not None and not await self._is_told(topic, record):
                    await tell(refusal)
                    await self._state.tell_refusal(topic, _place_of(record))
                return
            except (StateUnavailable, ContextBehind):  # the latter where Redis goes back while records are read again
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY_INTERVAL_S)

    def reading_anew(self) -> None:
        """Note that partitions are assigned anew: the next record of each need not follow the last one."""
        self._next.clear()

    async def compare(self) -> None:
        """Take in whatever the log has and the state lacks; then payments may be counted over today's connections.

        Raises StateUnavailable, TopicMissing, BrokerAway or BrokerFailed.
        """
        async with self._comparing:
            for _ in range(COMPARED_MAX):
                if self._state.is_context_trusted:
                    return
                connections = await self._state.connect()
                survey = await self._state.survey([])
                try:
                    if survey.is_shared_ready:  # else nothing is decided until a rebuild has replayed everything
                        log.info("context_compared", records=await self._take_in_missing())
                except ContextBehind as behind:  # Redis went back once more
                    log.warning("context_behind", topic=behind.topic, partition=behind.partition)
                    continue
                if self._state.trust_context(connections):
                    return
        raise StateUnavailable("the connections to Redis change all the time")

    async def look(self) -> None:
        """Compare with the log where the state may have lost something, or has less than this worker knows of.

        Raises what `compare` raises.
        """
        for topic in CONTEXT_TOPICS:
            known = {each: position for (its, each), position in self._known.items() if its == topic}
            held = await self._state.context_positions(topic)
            lacking = [each for each, position in known.items() if held.get(each, 0) < position]
            if lacking:
                log.error("context_lost", topic=topic, partitions=sorted(lacking))
                for each in lacking:
                    del self._known[topic, each]
                self._state.distrust_context()
            self._know(topic, held)
        await self.compare()

    async def replay(self) -> int:
        """Take in all context that the log keeps once more; return how many records were read.

        Withdrawals come first, so that what they take back never stands beside what the live reading has stated since.
        Raises TopicMissing, BrokerAway or BrokerFailed where a topic can't be read as a whole: a rebuild without it
        would hold that nothing was ever reported; StateLost where Redis goes back meanwhile.
        """
        try:
            return await self._replay()
        except ContextBehind as behind:
            raise StateLost(behind.partition, behind.position) from behind

    async def _replay(self) -> int:
        count = 0
        async with reading(self._open_reader) as reader:
            undecided_ms = await self._undecided_since_ms(reader)
            for topic in CONTEXT_TOPICS:
                held = await self._state.context_positions(topic)
                extents = await asyncio.to_thread(reader.extents, self._full_name(topic))
                for partition, extent in extents.items():
                    await self._begin_anew_if_made_anew(topic, partition, held.get(partition, 0), extent)
                    if topic != LABELS:
                        await self._withdraw_ahead(topic, reader, partition, extent)
                    beside = Reading(topic, partition, is_beginning=True, waiting_since_ms=undecided_ms)
                    count += await self._read_on(beside, reader, extent.low, extent.high)
                    self._know(topic, {partition: extent.high})
        return count

    def _unproved(self, topic: str, presented: Presented | None) -> Refusal | None:
        """Return why the record is nobody's word, where its topic is sealed."""
        prove = self._proves.get(self._full_name(topic))
        if prove is None:
            return None
        unproved = None if presented is None else prove(presented)
        if presented is not None and unproved is None:
            return None
        why = "it was handed over without a seal" if unproved is None else unproved.why
        return Refusal(RefusalCode.LABEL_UNPROVED, f"it isn't proved who wrote it: {why}")

    async def _apply_in_turn(self, topic: str, record: Record, refused: Refusal | None) -> Refusal | None:
        partition, offset, _ = record.source
        place = topic, partition
        turn = Turn(min(self._next.get(place, offset), offset))
        try:
            refusal = await self.apply(topic, record, turn, refused=refused)
        except ContextBehind as behind:
            log.warning("context_behind", topic=topic, partition=partition, position=behind.position, offset=offset)
            async with reading(self._open_reader) as reader:
                low = (await asyncio.to_thread(reader.extents, self._full_name(topic), [partition]))[partition].low
                start = max(behind.position, low)
                beside = Reading(topic, partition, is_beginning=start > behind.position)
                await self._read_on(beside, reader, start, offset)
            refusal = await self.apply(topic, record, Turn(offset), refused=refused)
        self._next[place] = offset + 1
        self._know(topic, {partition: offset + 1})
        return refusal

    def _know(self, topic: str, held: Mapping[int, int]) -> None:
        for partition, position in held.items():
            self._known[topic, partition] = max(self._known.get((topic, partition), 0), position)

    async def _take_in_missing(self) -> int:
        """Read each partition from where the state stands to its end, as it is now; return the number of records."""
        count = 0
        async with reading(self._open_reader) as reader:
            for topic in CONTEXT_TOPICS:
                held = await self._state.context_positions(topic)
                extents = await asyncio.to_thread(reader.extents, self._full_name(topic))
                for partition, extent in extents.items():
                    position = held.get(partition, 0)
                    if await self._begin_anew_if_made_anew(topic, partition, position, extent):
                        position = extent.low
                    start = max(position, extent.low)
                    beside = Reading(topic, partition, is_beginning=start > position)
                    count += await self._read_on(beside, reader, start, extent.high)
                    self._know(topic, {partition: extent.high})
        return count

    async def _begin_anew_if_made_anew(self, topic: str, partition: int, position: int, extent: Extent) -> bool:
        if position <= extent.high:
            return False
        log.error("context_topic_made_anew", topic=topic, partition=partition, position=position, end=extent.high)
        await self._state.begin_context_anew(topic, partition, position, extent.low)
        self._known.pop((topic, partition), None)
        return True

    async def _read_on(self, beside: Reading, reader: LogReader, start: int, end: int) -> int:
        """Take in the records from `start` to `end`. Refusals are told by the worker that has them delivered."""
        topic, partition, _, since_ms = beside
        count, offset, name = 0, start, self._full_name(topic)
        while offset < end:
            found = await asyncio.to_thread(reader.read_range, name, partition, offset, end, RECORDS_MAX, _itself)
            for record in found.taken:
                turn = Turn(offset, beside.is_beginning and offset == start)
                await self.apply(topic, record, turn, may_wait=record.source.timestamp_ms >= since_ms)
                offset = record.source.offset + 1
            count += len(found.taken)
            after = end if found.is_at_end else found.end_offset
            is_beginning = beside.is_beginning and offset == start
            await self._state.reach_context(topic, partition, offset, after, is_beginning=is_beginning)
            offset = after
        return count

    async def _undecided_since_ms(self, reader: LogReader) -> int:
        """Return the log time since which labels may be about payments that were not observed yet.

        Of all labels before it, those whose payment isn't there have waited for it already.
        """
        name, times_ms = self._full_name(PAYMENTS), [NEVER_MS]
        extents = await asyncio.to_thread(reader.extents, name)
        survey = await self._state.survey(list(extents))
        for partition, (low, high) in extents.items():
            start = max(survey.reached(partition) or 0, low)
            if start < high:
                found = await asyncio.to_thread(reader.read_range, name, partition, start, high, 1, _itself)
                times_ms += [record.source.timestamp_ms - FUTURE_TOLERANCE_MS for record in found.taken]
        return min(times_ms)

    async def _withdraw_ahead(self, topic: str, reader: LogReader, partition: int, extent: Extent) -> None:
        offset, name, is_at_end = extent.low, self._full_name(topic), extent.low >= extent.high
        while not is_at_end:
            found = await asyncio.to_thread(
                reader.read_range, name, partition, offset, extent.high, RECORDS_MAX, _itself
            )
            for record in found.taken:
                if record.value is None:
                    await self.apply(topic, record)
            offset, is_at_end = found.end_offset, found.is_at_end

    async def _label(self, label: Label, record: Record, turn: Turn | None, may_wait: bool) -> Refusal | None:
        if turn is None:
            return None if await self._state.label(label) else UNMATCHED
        waiting = WaitingLabel(record, time.time_ns() // 1_000_000) if may_wait else None
        match await self._state.take_label(label, _place_of(record), turn, waiting):
            case LabelFate.NO_ROOM:
                await self.tell_of_label(record, NO_ROOM)
                return None
            case LabelFate.UNMATCHED:
                return UNMATCHED
        return None

    async def _is_told(self, topic: str, record: Record) -> bool:
        """Offset and time both: a topic that was made anew begins at 0 again, and times may run backwards."""
        told, place = await self._state.refusal_told(topic, record.source.partition), _place_of(record)
        return told is not None and place.offset <= told.offset and place.log_time_ms <= told.log_time_ms


def _place_of(record: Record) -> LogPlace:
    """Return where a record stands. A timestamp that is no time of the log's says nothing: the record is refused, and
    its place is passed over like any other, whatever number a producer put there."""
    partition, offset, log_time_ms = record.source
    return LogPlace(log_time_ms if is_log_time(log_time_ms) else 0, offset, partition)


def _itself(record: Record) -> Record:
    return record


async def _log_of_label(record: Record, refusal: Refusal) -> None:
    log.warning("label_refused", partition=record.source.partition, offset=record.source.offset, **refusal._asdict())
