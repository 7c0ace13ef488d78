"""The bench of scale: what it compares and whom it kills, and its quick form on the real stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.scale import scale
from ops.bench.scale.kills import kills
from ops.bench.scale.scale import FULL, QUICK, Sizes, Spent
from ops.bench.scale.servers import partition_of_id
from tests.ops.bench.saying import say


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_more_workers_decide_the_same_and_any_process_may_be_killed(tmp_path: Path) -> None:
    result = scale.run(say, tmp_path, is_quick=True)
    constellations = {name: result[name] for name in ("reference", "workers-1", "workers-3")}
    for checked in constellations.values():
        assert isinstance(checked, dict)
        assert {} == checked["violations"]
        assert {"IDENTICAL": QUICK.records} == checked["verify"]
        assert 0 == checked["account_features_differing"]
    struck = result["kills"]
    assert isinstance(struck, dict)
    assert {} == struck["violations"]
    assert {"IDENTICAL": struck["decisions"]} == struck["verify"]
    assert 0 == struck["account_features_differing"]
    assert {kill.name for kill in kills(scale.SHARDS) if kill.is_quick} == set(struck["recovery_s"])
    assert result["ok"]


def test_one_and_three_workers_are_compared_at_the_same_mean_time() -> None:
    places = {workers: [n for n, each in enumerate(FULL.rounds) if each == workers] for workers in FULL.rounds}
    assert {1, 2, 3} == set(places)
    assert len(places[1]) == len(places[3])
    assert sum(places[1]) == sum(places[3])


@pytest.mark.parametrize("sizes", [FULL, QUICK])
def test_the_reference_decides_all_that_any_constellation_does(sizes: Sizes) -> None:
    assert sizes.reference_rounds == max(sizes.rounds.count(workers) for workers in sizes.rounds)


def test_sizes_are_changed_by_name_only() -> None:
    assert Sizes(600, 9_000, QUICK.rounds, QUICK.reference_rounds) == QUICK.changed({"measured": 9_000})
    for name, size in (("rounds", 7), ("measured", 0)):
        with pytest.raises(ValueError, match="is no size of scale"):
            QUICK.changed({name: size})


def test_what_rounds_took_adds_up_to_microseconds_a_decision() -> None:
    spent = Spent().plus(Spent(1_000, 0.5, 0.06, 0.03, 0.1)).plus(Spent(3_000, 1.5, 0.14, 0.05, 0.3))
    expected = {
        "measured": 4_000,
        "decisions_per_s": 2_000,
        "process_cpu_us": 50.0,
        "redis_cpu_us": 20.0,
        "broker_cpu_us": 100.0,
    }
    assert expected == spent.as_json()


@pytest.mark.parametrize(
    ("transactional_id", "partition"),
    [
        ("hello", 99_162_322 % 50),
        ("fraud-decide-1", 906_653_611 % 50),  # its hash is negative
        ("polygenelubricants", 0),  # its hash is the least of all integers, whose size Java can't say
        ("\U0001f600", 1_772_899 % 50),  # two units of UTF-16
    ],
)
def test_a_transactional_id_has_the_partition_that_kafka_gives_it(transactional_id: str, partition: int) -> None:
    assert partition == partition_of_id(transactional_id, 50)


def test_every_kind_of_process_is_killed() -> None:
    names = [kill.name for kill in kills(scale.SHARDS)]
    assert len(names) == len(set(names))
    for kind in ("worker", "keeper", "broker", "master", "replica", "coordinates the group", "leads the controllers"):
        assert any(kind in name for name in names), kind
    assert {"broker", "worker", "Redis"} <= {word for kill in kills(1) if kill.is_quick for word in kill.name.split()}
