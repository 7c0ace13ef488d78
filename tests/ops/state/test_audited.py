"""What the log no longer has comes back from the audit table, as it was counted then; what neither has is UNKNOWN."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.state.audited import Audited, Refilled, read_audited, refill
from pipeline.domain.decision import InputSnapshot
from pipeline.domain.features import COLUMN, FEATURES, NONE, STATE, UNKNOWN
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import connect
from pipeline.state.state_event import StateEvent
from pipeline.state.store import RedisState
from pipeline.state.windows import MemoryState
from pipeline.terminal.failures import Failure
from tests.audit.logs import Bench
from tests.decisions import DECISION, record_of, written
from tests.records import PAYMENT
from tests.servers import Postgres
from tests.state.stores import DAY_MS, START_MS, SyncRedisState, column, payment, same, share

WIRE = WireFormat()
BLOCKED = 3
COUNT = 60
OLDEST = 40
"""The log begins here."""


def event_at(offset: int, **fields: object) -> StateEvent:
    """A payment every five days, as the worker would have the store count it."""
    return payment(
        offset,
        START_MS + offset * 5 * DAY_MS,
        beneficiary_account_id=f"payee-{offset % 30}",
        amount_gbp_minor=100 + offset,
        log_time_ms=START_MS + offset * 5 * DAY_MS,
        is_counted=offset != BLOCKED,
        **fields,
    )


def audited(offset: int, *, partition: int = 0, late_s: float = 0.0) -> Audited:
    """The row of the decision about that payment."""
    event = event_at(offset)
    transaction = PAYMENT._replace(
        transaction_id=event.transaction_id,
        account_id=event.account_id,
        beneficiary_account_id=event.beneficiary_account_id,
        event_time_ms=event.event_time_ms,
        ip_address=None,
        device_id=None,
        account_opened_epoch_day=0,
    )
    features = [0] * len(FEATURES)
    features[COLUMN["amount_gbp_minor"]] = event.amount_gbp_minor
    features[COLUMN["account_count_1h"]] = 1 if event.is_counted else NONE
    made_at = datetime.fromtimestamp(event.log_time_ms / 1000 + late_s, UTC)
    decision = DECISION._replace(
        transaction_id=transaction.transaction_id,
        account_id=transaction.account_id,
        source_partition=partition,
        source_offset=offset,
        source_timestamp_ms=event.log_time_ms,
        decided_at_ms=int(made_at.timestamp() * 1000),
        snapshot=InputSnapshot(transaction, tuple(features)),
    )
    return Audited(made_at, partition, offset, written(decision))


def refilled(url: str, rows: Iterable[Audited], oldest: int = OLDEST) -> Refilled:
    async def run() -> Refilled:
        state = RedisState(url)
        try:
            return (await refill(state, rows, {0: oldest, 1: 0}, WIRE))[0]
        finally:
            await state.close()

    return asyncio.run(run())


def test_accounts_are_as_if_the_log_had_never_ended(redis_at: str) -> None:
    assert refilled(redis_at, map(audited, range(COUNT))) == Refilled(OLDEST, OLDEST, True)
    restored, whole = SyncRedisState(redis_at), MemoryState()
    whole.observe([share([event_at(offset) for offset in range(OLDEST)])])
    rest = [share([event_at(offset) for offset in range(OLDEST, COUNT)], start=OLDEST)]
    (expected,), (actual,) = whole.observe(rest), restored.observe(rest)
    restored.close()
    assert set(column(expected.state, "is_new_beneficiary")) == {0}
    assert same([expected], [actual])


def test_what_the_table_lacks_in_the_beginning_is_unknown(redis_at: str) -> None:
    assert refilled(redis_at, map(audited, range(2, COUNT))) == Refilled(OLDEST - 2, OLDEST, False)
    store = SyncRedisState(redis_at)
    stranger = replace(event_at(60), beneficiary_account_id="stranger")
    (observation,) = store.observe([share([stranger], start=OLDEST)])
    store.close()
    row = dict(zip(STATE, observation.state[0].tolist(), strict=True))
    assert (row["is_new_beneficiary"], row["account_count_30d"]) == (UNKNOWN, 1)


def test_a_table_that_may_end_before_the_log_begins_leaves_a_gap(redis_at: str) -> None:
    assert refilled(redis_at, map(audited, range(20))) == Refilled(20, 20, False)
    store = SyncRedisState(redis_at)
    assert store.positions(0) == 20
    store.close()


def test_decisions_that_overtook_each_other_are_counted_in_the_logs_order(redis_at: str) -> None:
    rows = [audited(offset) for offset in range(COUNT)]
    rows[4], rows[5] = rows[5]._replace(made_at=rows[4].made_at), rows[4]._replace(made_at=rows[5].made_at)
    assert refilled(redis_at, rows) == Refilled(OLDEST, OLDEST, True)


def test_decisions_in_another_order_than_the_log_are_refused(redis_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.state.audited.ROWS_A_READ", 2)
    rows = [audited(offset) for offset in range(COUNT)]
    rows.insert(30, rows.pop(10)._replace(made_at=rows[29].made_at + timedelta(seconds=1)))
    with pytest.raises(Failure, match="another order"):
        refilled(redis_at, rows)


def logged(place: int, value: bytes) -> LogRecord[DecisionRecord]:
    content = record_of(value)
    return LogRecord(0, place, START_MS, content.account_id.encode(), value, content)


def test_the_table_is_read_in_the_order_of_the_decisions(postgres: Postgres, database_url: str, tmp_path: Path) -> None:
    bench = Bench(postgres.server, database_url, tmp_path)
    bench.open()
    rows = [audited(offset) for offset in range(3)]
    bench.store([logged(place, row.record) for place, row in enumerate(rows)])
    with connect(bench.owner_url, "test") as connection:
        assert [row[1:] for row in read_audited(connection)] == [row[1:] for row in rows]
    bench.close()
