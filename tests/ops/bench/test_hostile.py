"""The bench of hostile payments: its sizes and figures, and its quick form on the real stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.hostile import hostile
from ops.bench.hostile.attacks import ATTACKS, QUICK, Sizes, phases_of
from pipeline.domain.payment import Decoded
from pipeline.io.avro.wire import WireFormat
from tests.ops.bench.saying import say


@pytest.mark.real
@pytest.mark.timeout(1200)
def test_no_attack_stops_the_worker(tmp_path: Path) -> None:
    result = hostile.run(say, tmp_path, is_quick=True)
    figures = result["attacks"]
    assert isinstance(figures, dict)
    assert {} == result["faults"]
    assert set(ATTACKS) == set(figures)
    for each in figures.values():
        assert each["ordinary"] == each["ordinary_ms"]["measured"] + QUICK.ordinary_rate * hostile.QUICK_WARM_S
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
        "scripts": {"calls": 1, "p99.9_ms": 10, "longest_ms": 50},
        "ordinary_ms": {"measured": 1, "p99": 150},
        "drained_per_s": 7_000,
        "redis_bytes": {"before": 10**6, "peak": 10**9, "after": 10**9, "after_expiry": 10**8},
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
        ({"ordinary_ms": {"measured": 1, "p99": 151}}, "ordinary payments: p99 is 151 ms"),
        ({"ordinary_ms": {"measured": 0}}, "ordinary payments: p99 is unknown ms"),
        ({"drained_per_s": 6_900}, "drained at 0.69 of the rate of ordinary payments"),
        (
            {"redis_bytes": {"before": 0, "peak": 10**8, "after": 0, "after_expiry": 2 * 10**7}},
            "Redis keeps 20,000,000 bytes after expiry",
        ),
    ],
)
def test_what_falls_short_is_a_fault(changes: dict[str, object], fault: str) -> None:
    assert hostile._faults(figures(**changes), 10_000, is_quick=False) == [fault]
