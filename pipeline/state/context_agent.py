"""The context that decisions need (accounts, risk signals and labels), taken in by idempotent upserts.

At-least-once delivery is enough: the newest value wins, and a label marks the same payment however often it comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.log import Record
from pipeline.domain.refusals import Refusal, RefusalCode, canonical_ip_address
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.state.store import RedisState, StateUnavailable

CONTEXT_TOPICS: Final = ("accounts.v1", "risk_signals.v1", "labels.v1")
"""Topics of context, in the order in which a rebuild replays them."""
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

    async def apply(self, topic: str, value: bytes | None) -> Refusal | None:
        """Take in one record; a Refusal says why it can't be used. Raises StateUnavailable."""
        match self._decode[topic](value):
            case Account() as account:
                return await self._account(account)
            case RiskSignal() as signal:
                return await self._risk_signal(signal)
            case Label() as label:
                return await self._label(label)
            case refusal:
                return refusal

    async def apply_held(self, topic: str, value: bytes | None, patience_s: float) -> Refusal | None:
        """Call `apply`, and try again while the state store is away, for at most `patience_s`."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return await self.apply(topic, value)
            except StateUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY_INTERVAL_S)

    async def replay(self) -> int:
        """Take in all context that the log keeps once more; return how many records were read."""
        count = 0
        with self._open_reader() as reader:
            for topic in CONTEXT_TOPICS:
                extents = await asyncio.to_thread(reader.extents, self._full_name(topic))
                for partition, (low, high) in extents.items():
                    count += await self._replay_partition(topic, reader, partition, low, high)
        return count

    async def _replay_partition(self, topic: str, reader: LogReader, partition: int, offset: int, end: int) -> int:
        count, is_at_end = 0, False
        while not is_at_end:
            found = await asyncio.to_thread(
                reader.read_range, self._full_name(topic), partition, offset, end, RECORDS_MAX, _value
            )
            for value in found.taken:
                await self.apply(topic, value)
            offset, is_at_end = found.end_offset, found.is_at_end
            count += len(found.taken)
        return count

    async def _account(self, account: Account) -> Refusal | None:
        normal_month = account.normal_month_gbp_minor
        if normal_month is not None and normal_month < 0:
            return Refusal(RefusalCode.AMOUNT_OUT_OF_RANGE, "normal_month_gbp_minor is below 0")
        await self._state.upsert_account(account.account_id, account.updated_at_ms, normal_month)
        return None

    async def _risk_signal(self, signal: RiskSignal) -> Refusal | None:
        kind, entity, fraud_reports, observed_at_ms = signal
        if fraud_reports < 0:
            return Refusal(RefusalCode.AMOUNT_OUT_OF_RANGE, "fraud_reports is below 0")
        named = canonical_ip_address(entity) if kind is RiskSignalKind.IP_ADDRESS else entity
        if not named:
            return Refusal(RefusalCode.IP_ADDRESS_INVALID, "entity is no address and no device")
        await self._state.upsert_risk_signal(kind, named, fraud_reports, observed_at_ms)
        return None

    async def _label(self, label: Label) -> Refusal | None:
        if await self._state.label(label):
            return None
        return Refusal(RefusalCode.LABEL_UNMATCHED, "no payment with this id is in the beneficiary's windows")


def _value(record: Record) -> bytes | None:
    return record.value
