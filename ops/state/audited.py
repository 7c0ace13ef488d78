"""Restoring from the audit table what the log no longer has: whom accounts tried to pay, and their normal months.

Every payment that was decided is counted again by the state store's own scripts, as it was counted then, up to the
oldest record that the log still has. The worker's rebuild goes on from there.

Invariants
1. A partition passes for whole only where the table has it from its first payment on and knows a payment that the log
   still has. Otherwise the state remembers since when it is whole, and what came before is UNKNOWN.
2. A payment is counted in the order of its log, or nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from pipeline.domain.decision import Decision
from pipeline.domain.features import COLUMN, NONE
from pipeline.domain.payment import payment_digest
from pipeline.domain.refusals import EVENT_TIME_MS_MAX, EVENT_TIME_MS_MIN, canonical_ip_address
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection, statements
from pipeline.state.state_event import CLAIM_DIGEST_BYTES, StateEvent
from pipeline.state.store import RedisState
from pipeline.state.windows import PartitionEvents
from pipeline.terminal.failures import Failure

ROWS_A_READ: Final = 2_000
HELD_BACK_S: Final = 60.0
"""Decisions stand in the order of the workers' clocks. One that is older than this can no longer be overtaken by one of
the same partition, unless clocks differ by more, which is found out and refused."""

_AMOUNT: Final = COLUMN["amount_gbp_minor"]
_COUNTED: Final = COLUMN["account_count_1h"]
_SQL: Final = statements("ops.state", "audited")


class Audited(NamedTuple):
    """A row of the audit table."""

    made_at: datetime
    partition: int
    offset: int
    record: bytes


class Refilled(NamedTuple):
    """What became of one partition."""

    payments: int
    position: int
    is_whole: bool  # up to where the log begins


def read_audited(connection: Connection) -> Iterator[Audited]:
    """Yield all decisions in the order in which they were made."""
    with connection.transaction(), connection.cursor("audited") as cursor:
        cursor.itersize = ROWS_A_READ
        cursor.execute(_SQL["read_decisions"])
        for made_at, partition, offset, record in cursor:
            yield Audited(made_at, partition, offset, bytes(record))


async def refill(
    state: RedisState, rows: Iterable[Audited], oldest: Mapping[int, int], wire: WireFormat
) -> dict[int, Refilled]:
    """Count what the log no longer has, from an empty state on.

    oldest: partition → offset of the oldest record that the log has. Raises Failure or StateUnavailable.
    """
    partitions = {partition: _Partition(state, partition, end) for partition, end in oldest.items() if end > 0}
    waiting: list[Audited] = []
    for row in rows:
        partition = partitions.get(row.partition)
        if partition is None:
            continue
        if row.offset >= partition.end:
            partition.is_met = True
            continue
        waiting.append(row)
        if len(waiting) >= 2 * ROWS_A_READ and (row.made_at - waiting[0].made_at).total_seconds() > HELD_BACK_S:
            due = [each for each in waiting if (row.made_at - each.made_at).total_seconds() > HELD_BACK_S]
            waiting = waiting[len(due) :]
            await _count(partitions, due, wire)
    await _count(partitions, waiting, wire)
    return {number: await partition.finished() for number, partition in partitions.items()}


async def _count(partitions: Mapping[int, _Partition], due: Iterable[Audited], wire: WireFormat) -> None:
    shares: dict[int, dict[int, StateEvent]] = {}
    for row in due:
        decision = wire.decode_decision_record(row.record)
        if not isinstance(decision, Decision):
            raise Failure(
                f"The decision about the payment at {row.partition}:{row.offset} can't be read.", "Verify it."
            )
        shares.setdefault(row.partition, {}).setdefault(row.offset, _event_of(decision))
    for number, events in shares.items():
        await partitions[number].count([events[offset] for offset in sorted(events)])


class _Partition:
    def __init__(self, state: RedisState, number: int, end: int) -> None:
        self._state, self._number, self.end = state, number, end
        self._reached: int | None = None
        self._is_from_first = False
        self._payments = 0
        self.is_met = False  # whether the table knows a payment that the log still has

    async def count(self, events: list[StateEvent]) -> None:
        """Count payments that all follow on those before."""
        first = events[0]
        if self._reached is None:
            self._is_from_first = first.offset == 0
            await self._state.begin(self._number, first.offset, None if self._is_from_first else first.log_time_ms)
            self._reached = first.offset
        if first.offset < self._reached:
            raise Failure(
                f"Decisions about partition {self._number} stand in another order than its payments.",
                "Clocks of workers differed by more than a minute. Delete the state, and let workers rebuild it.",
            )
        await self._observe(events[-1].offset + 1, events)
        self._payments += len(events)

    async def finished(self) -> Refilled:
        """Pass over what became no decision, up to the log's oldest record, where the table is known to reach it."""
        if self._reached is not None and self.is_met:
            await self._observe(self.end, [])
        reached = self._reached or 0
        return Refilled(self._payments, reached, self._is_from_first and reached == self.end)

    async def _observe(self, end: int, events: list[StateEvent]) -> None:
        assert self._reached is not None
        share = PartitionEvents(self._number, self._reached, end, end, events)
        await self._state.observe([share], is_rebuild=True)
        self._reached = end


def _event_of(decision: Decision) -> StateEvent:
    """Return the payment as it was counted then. Whether it came near a limit matters for a day, and not any more."""
    payment, features = decision.snapshot.transaction, decision.snapshot.features
    return StateEvent(
        decision.source_offset,
        payment.transaction_id,
        payment_digest(payment)[:CLAIM_DIGEST_BYTES],
        payment.account_id,
        payment.beneficiary_account_id,
        payment.event_time_ms,
        min(max(decision.source_timestamp_ms, EVENT_TIME_MS_MIN), EVENT_TIME_MS_MAX),
        max(features[_AMOUNT], 0),
        False,
        None if payment.ip_address is None else canonical_ip_address(payment.ip_address),
        payment.device_id,
        features[_COUNTED] != NONE,
        payment.source_system,
    )
