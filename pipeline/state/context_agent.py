"""The context that decisions need (accounts, risk signals and labels), taken in by idempotent upserts.

At-least-once delivery is enough: of statements about an entity the newest holds, a withdrawal takes back those before
it (`facts`), and a label marks the same payment however often it comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from pipeline.domain.context import Account, Label, RiskSignal
from pipeline.domain.log import Record
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import Extent, LogReader
from pipeline.state.context_checks import AccountWithdrawn, RiskSignalsWithdrawn, checked, withdrawn
from pipeline.state.facts import LogPlace
from pipeline.state.store import RedisState, StateUnavailable

CONTEXT_TOPICS: Final = ("accounts.v1", "risk_signals.v1", "labels.v1")
"""Topics of context, in the order in which a rebuild replays them."""
_WITHDRAWN_FROM: Final = ("accounts.v1", "risk_signals.v1")
RECORDS_MAX: Final = 1000
RETRY_INTERVAL_S: Final = 0.25


class Context:
    def __init__(
        self,
        state: RedisState,
        wire: WireFormat,
        open_reader: Callable[[], LogReader],
        full_name: Callable[[str], str],
    ) -> None:
        """Keep what to read with. full_name: gives a topic's name with its prefix."""
        self._state, self._open_reader, self._full_name = state, open_reader, full_name
        self._decode: Mapping[str, Callable[[bytes | None], Account | RiskSignal | Label | Refusal]] = {
            "accounts.v1": wire.decode_account,
            "risk_signals.v1": wire.decode_risk_signal,
            "labels.v1": wire.decode_label,
        }

    async def apply(self, topic: str, record: Record) -> Refusal | None:
        """Take in one record; a Refusal says why it can't be used. Raises StateUnavailable."""
        place = _place_of(record)
        match self._read(topic, record):
            case Account() as account:
                await self._state.upsert_account(account, place)
            case RiskSignal() as signal:
                await self._state.upsert_risk_signal(signal, place)
            case Label() as label:
                if not await self._state.label(label):
                    why = "no payment with this id is in the beneficiary's windows"
                    return Refusal(RefusalCode.LABEL_UNMATCHED, why)
            case AccountWithdrawn(account_id):
                await self._state.withdraw_account(account_id, place)
            case RiskSignalsWithdrawn(entities):
                for kind, entity in entities:
                    await self._state.withdraw_risk_signal(kind, entity, place)
            case Refusal() as refusal:
                return refusal
        return None

    async def take_in(
        self, topic: str, record: Record, patience_s: float, tell: Callable[[Refusal], Awaitable[None]]
    ) -> None:
        """Call `apply`, and `tell` of a refusal, once for each record however often it is delivered.

        While the state store is away it is tried again, for at most `patience_s`; then StateUnavailable is raised. A
        worker that ends between telling and remembering it, which is one command to the store, tells once more.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                refusal = await self.apply(topic, record)
                if refusal is not None and not await self._is_told(topic, record):
                    await tell(refusal)
                    await self._state.tell_refusal(topic, record.source.partition, _place_of(record))
                return
            except StateUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY_INTERVAL_S)

    async def replay(self) -> int:
        """Take in all context that the log keeps once more; return how many records were read.

        Withdrawals come first, so that what they take back never stands beside what the live reading has stated since.
        Raises TopicMissing, BrokerAway or BrokerFailed where a topic can't be read as a whole: a rebuild without it
        would hold that nothing was ever reported.
        """
        count = 0
        with self._open_reader() as reader:
            for topic in CONTEXT_TOPICS:
                extents = await asyncio.to_thread(reader.extents, self._full_name(topic))
                for partition, extent in extents.items():
                    if topic in _WITHDRAWN_FROM:
                        await self._replay_partition(topic, reader, partition, extent, _is_tombstone)
                    count += await self._replay_partition(topic, reader, partition, extent, _is_any)
        return count

    async def _replay_partition(
        self, topic: str, reader: LogReader, partition: int, extent: Extent, is_wanted: Callable[[Record], bool]
    ) -> int:
        count, offset, is_at_end = 0, extent.low, False
        while not is_at_end:
            found = await asyncio.to_thread(
                reader.read_range, self._full_name(topic), partition, offset, extent.high, RECORDS_MAX, _itself
            )
            for record in found.taken:
                if is_wanted(record):
                    await self.apply(topic, record)
            offset, is_at_end = found.end_offset, found.is_at_end
            count += len(found.taken)
        return count

    def _read(
        self, topic: str, record: Record
    ) -> Account | RiskSignal | Label | AccountWithdrawn | RiskSignalsWithdrawn | Refusal:
        if record.value is None:
            return withdrawn(topic, record)
        content = self._decode[topic](record.value)
        return content if isinstance(content, Refusal) else checked(content, record)

    async def _is_told(self, topic: str, record: Record) -> bool:
        """Offset and time both: a topic that was made anew begins at 0 again, and times may run backwards."""
        told, place = await self._state.refusal_told(topic, record.source.partition), _place_of(record)
        return told is not None and place.offset <= told.offset and place.log_time_ms <= told.log_time_ms


def _place_of(record: Record) -> LogPlace:
    return LogPlace(record.source.timestamp_ms, record.source.offset)


def _is_tombstone(record: Record) -> bool:
    return record.value is None


def _is_any(_record: Record) -> bool:
    return True


def _itself(record: Record) -> Record:
    return record
