"""Clocks that are wrong by years, on whatever writes to decisions.v1: no payment waits for a month's partition."""

from __future__ import annotations

import time

import pytest

from pipeline.domain.times import claim_ms
from pipeline.io.kafka.positioned_log import LogBatch
from tests.execute.given import PAYEE, Desk, decision, reversal

DAY_MS = 86_400_000
NOW_MS = time.time_ns() // 1_000_000
WRONG_MS = [0, DAY_MS, 1_546_300_800_000, NOW_MS + 430 * DAY_MS, NOW_MS + 40 * DAY_MS, -1, 2**62, -(2**62)]
"""1970, 1970-01-02, 2019, 14 months and 40 days ahead, and what is no time at all."""


def stamped(desk: Desk, at_ms: int, record) -> LogBatch:
    """A batch with the broker's time, which the audit log holds."""
    batch = desk.unaudited(record)
    return desk.audited(LogBatch([record._replace(timestamp_ms=at_ms) for record in batch.records], batch.spans))


def filed(owner, table="transition"):
    query = (
        f"SELECT DISTINCT tableoid::regclass::text, (extract(epoch FROM caused_at) * 1000)::bigint FROM ledger.{table}"
    )
    return owner.execute(query.encode()).fetchall()


@pytest.mark.parametrize("at_ms", WRONG_MS, ids=range(len(WRONG_MS)))
def test_brokers_wrong_clock_stops_no_payment(desk, owner, at_ms):
    desk.open(GB29_0001=10_000)
    wrong, right = decision(), decision()
    desk.execution.accept(desk.connection, stamped(desk, at_ms, wrong))
    desk.execution.accept(desk.connection, stamped(desk, NOW_MS, right))
    assert (desk.state(wrong), desk.state(right)) == ("SETTLED", "SETTLED")
    month = time.strftime("%Y_%m", time.gmtime(NOW_MS / 1000))
    assert sorted(filed(owner)) == [
        (f"ledger.transition_{month}", NOW_MS),
        ("ledger.transition_unfiled", 0),
    ]
    kept = owner.execute(
        "SELECT (extract(epoch FROM logged_at) * 1000)::bigint FROM ledger.execution WHERE decision_id = %s",
        [wrong.decision_id],
    ).fetchone()
    assert kept == (claim_ms(at_ms),)
    desk.execution.accept(desk.connection, stamped(desk, at_ms, reversal(wrong, "BLOCK")))
    desk.resume()
    assert (desk.state(wrong), desk.balance(PAYEE)) == ("REVERSED", 700)
    assert desk.findings() == []


@pytest.mark.parametrize("at_ms", WRONG_MS, ids=range(len(WRONG_MS)))
def test_claimed_times_stop_nothing(desk, at_ms):
    desk.open(GB29_0001=10_000)
    paid = decision()._replace(decided_at_ms=at_ms, source_timestamp_ms=at_ms)
    desk.hear(paid)
    desk.hear(reversal(paid, "BLOCK")._replace(reversed_at_ms=at_ms))
    assert desk.state(paid) == "REVERSED"


@pytest.mark.parametrize("at_ms", WRONG_MS, ids=range(len(WRONG_MS)))
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Apia"])
def test_claimed_time_is_the_same_wherever_the_session_is(owner, at_ms, zone):
    owner.execute("SELECT set_config('timezone', %s, false)", [zone])
    (found,) = owner.execute("SELECT (extract(epoch FROM ledger.claimed_time(%s)) * 1000)::bigint", [at_ms]).fetchone()
    assert found == claim_ms(at_ms)


def test_claimed_time_becomes_a_part_of_the_query(owner):
    """The guard of executions asks for it with every row; a call of a function costs as much as looking a row up."""
    plan = owner.execute(
        "EXPLAIN (VERBOSE) SELECT ledger.claimed_time(at_ms) FROM generate_series(1::bigint, 2) AS at_ms"
    ).fetchall()
    assert not any("claimed_time" in line for (line,) in plan)


def test_month_without_a_partition_stops_no_payment(desk, owner):
    """The job that makes partitions has not run, and nobody has looked."""
    month = time.strftime("%Y_%m", time.gmtime(NOW_MS / 1000))
    owner.execute(f"DROP TABLE ledger.transition_{month}, ledger.posting_{month}".encode())
    desk.open(GB29_0001=10_000)
    paid = decision()
    desk.execution.accept(desk.connection, stamped(desk, NOW_MS, paid))
    assert desk.state(paid) == "SETTLED"
    assert filed(owner, "posting") == [("ledger.posting_unfiled", 0)]
    owner.execute("SELECT control.ensure_all_partitions(2)")
    later = decision()
    desk.execution.accept(desk.connection, stamped(desk, NOW_MS, later))
    assert (f"ledger.posting_{month}", NOW_MS) in filed(owner, "posting")
