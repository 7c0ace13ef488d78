"""The bench of hostile payments: its sizes and figures, and its quick form on the real stack."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from ops.bench.hostile import hostile
from ops.bench.hostile.attacks import ATTACKS, QUICK, Sizes, phases_of
from ops.bench.hostile.machine_pauses import MachinePauses
from ops.bench.hostile.redis_watch import RedisWatch
from ops.bench.hostile.traffic import latencies
from pipeline.domain.payment import Decoded
from pipeline.io.avro.wire import WireFormat
from pipeline.state.requests import Keys
from tests.decisions import DECISION, written
from tests.ops.bench.saying import say
from tests.records import PAYMENT


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_no_attack_stops_the_worker(tmp_path: Path) -> None:
    result = hostile.run(say, tmp_path, is_quick=True)
    figures = result["attacks"]
    assert isinstance(figures, dict)
    assert {} == result["faults"]
    assert set(ATTACKS) == set(figures)
    for each in figures.values():
        assert (each["ordinary"], 0) == (each["ordinary_ms"]["measured"], each["ordinary_ms"]["again"])
        assert each["ordinary"] > 0
        assert each["scripts"]["calls"] > 0


@pytest.mark.parametrize("name", [name for name in ATTACKS if not name.startswith("junk")])
def test_the_payments_of_an_attack_are_sound_and_their_ids_differ(name: str) -> None:
    wire, ids = WireFormat(), set()
    for phase in phases_of(name, QUICK):
        for number in range(0, phase.payments, 97):
            decoded = wire.decode_transaction(phase.payment(number, 1_767_225_600_000 + phase.day * 86_400_000).value)
            assert isinstance(decoded, Decoded)
            ids.add(decoded.transaction.transaction_id)
    assert len(ids) == sum(len(range(0, phase.payments, 97)) for phase in phases_of(name, QUICK))


@pytest.mark.parametrize("name", ["burst", "large-burst"])
def test_a_burst_comes_at_the_rate_of_attacks_and_at_once_with_one_event_time(name: str) -> None:
    wire = WireFormat()
    for attack, is_at_once in ((name, False), (f"{name}-at-once", True)):
        burst = phases_of(attack, QUICK)[0]
        assert burst.is_at_once is is_at_once
        decoded = [wire.decode_transaction(burst.payment(number, 7_000).value) for number in (0, burst.payments - 1)]
        assert [7_000, 7_000] == [each.transaction.event_time_ms for each in decoded if isinstance(each, Decoded)]


def decided(name: str) -> bytes:
    payment = PAYMENT._replace(transaction_id=name)
    return written(DECISION._replace(snapshot=DECISION.snapshot._replace(transaction=payment)))


def test_ordinary_payments_count_from_their_number_on_whatever_their_time() -> None:
    names = ("ordinary-1000-6", "ordinary-1000-7", "ordinary-999-8", "peaceful-9", "ordinary-1000-8")
    found = latencies([(1_100, decided(name)) for name in names], first=7)
    assert (found["measured"], found["again"], found["max"]) == (2, 1, 101)


def test_sizes_are_changed_by_name_only() -> None:
    assert Sizes().changed({"made_up": 7}).made_up == 7
    for name, size in (("made-up", 7), ("made_up", 0)):
        with pytest.raises(ValueError, match="is no size of an attack"):
            Sizes().changed({name: size})


def figures(**changes: object) -> dict[str, object]:
    sound: dict[str, object] = {
        "is_stuck": False,
        "left": 0,
        "restarts": 0,
        "decisions": 1,
        "is_at_once": False,
        "ordinary": 1,
        "scripts": {"calls": 1, "p99.9_ms": 10, "longest_ms": 50},
        "ordinary_ms": {"measured": 1, "again": 0, "p99": 150},
        "drained_per_s": 7_000,
        "redis_bytes": {"kept": {"ids": 10**7, "accounts": 10**9, "answers": 5 * 10**6, "other": 200_000}},
    }
    return sound | changes


def test_what_reaches_the_goal_has_no_fault() -> None:
    assert hostile._faults(figures(), 10_000, is_quick=False) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"is_stuck": True, "left": 5}, "stuck with 5 records left"),
        ({"restarts": 1}, "1 restarts"),
        ({"scripts": {"p99.9_ms": 10.1, "longest_ms": 1}}, "scripts: the 99.9th percentile is 10.1 ms"),
        ({"scripts": {"p99.9_ms": 1, "longest_ms": 50.1}}, "scripts: the longest took 50.1 ms"),
        ({"ordinary_ms": {"measured": 1, "again": 0, "p99": 151}}, "ordinary payments: p99 is 151 ms"),
        ({"ordinary": 0, "ordinary_ms": {"measured": 0, "again": 0}}, "ordinary payments: p99 is unknown ms"),
        ({"ordinary": 2}, "of 2 ordinary payments 1 were decided, 0 again"),
        (
            {"ordinary_ms": {"measured": 1, "again": 1, "p99": 1}},
            "of 1 ordinary payments 1 were decided, 1 again",
        ),
        ({"drained_per_s": 6_900}, "drained at 0.69 of the rate of ordinary payments"),
        (
            {"redis_bytes": {"kept": {"ids": 0, "accounts": 0, "answers": 0, "other": 3 * 10**6}}},
            "Redis keeps 3,000,000 bytes after expiry",
        ),
        (
            {"redis_bytes": {"kept": {"ids": 0, "accounts": 0, "answers": 2 * 10**7, "other": 0}}},
            "Redis keeps 20,000,000 bytes of answers",
        ),
        (
            {"redis_bytes": {"kept": {"ids": 4 * 10**7, "accounts": 0, "answers": 0, "other": 0}}},
            "Redis keeps 40,000,000 bytes of ids after expiry",
        ),
    ],
)
def test_what_falls_short_is_a_fault(changes: dict[str, object], fault: str) -> None:
    assert hostile._faults(figures(**changes), 10_000, is_quick=False) == [fault]


def test_what_never_expires_is_told_by_kind(redis_at: str) -> None:
    keys = Keys("memory", 1)
    with redis.Redis.from_url(redis_at) as client:
        client.flushall()
        client.hset(f"{keys.buckets(0)}7", mapping={b"id": b"claim"})
        client.set(f"{keys.accounts(3)}mira", b"windows")
        client.hset(keys.account_progress(3), mapping={b"7": b"rows"})
        client.set("memory:somebody's", b"own")
        client.set("memory:expiring", b"soon", px=100_000)
    watch = RedisWatch(redis_at)
    kept = watch.expire()
    watch.close()
    assert set(kept) == {"ids", "accounts", "answers", "other"}
    assert all(0 < held < 500 for held in kept.values())


def test_the_machines_pauses_are_measured_until_the_block_ends() -> None:
    with MachinePauses() as pauses:
        assert pauses.figures == {}
    assert 0 <= pauses.figures["p99.9"] <= pauses.figures["longest"]


def test_what_waits_behind_a_burst_that_was_written_at_once_is_not_judged_by_its_latency() -> None:
    late = {"measured": 1, "again": 0, "p99": 5_000}
    assert hostile._faults(figures(is_at_once=True, ordinary_ms=late), 10_000, is_quick=False) == []


@pytest.mark.parametrize("changes", [{"ordinary": 2}, {"restarts": 1}, {"is_stuck": True}])
def test_a_quick_run_judges_what_no_busy_machine_excuses(changes: dict[str, object]) -> None:
    slow = {"measured": 1, "again": 0, "p99": 5_000}
    assert hostile._faults(figures(ordinary_ms=slow), 10_000, is_quick=True) == []
    assert len(hostile._faults(figures(**changes), 10_000, is_quick=True)) == 1
