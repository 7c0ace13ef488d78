"""Two checkouts' benches in turns: each runs its own code, and figures are compared run by run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops.bench.speed.turns import BenchFailed, Side, compared, figures_of, in_turns, main


def _checkout(folder: Path, name: str, source: str) -> Side:
    """Make a checkout whose bench is `source`."""
    package = folder / name / "ops" / "bench"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(source)
    return Side(name, folder / name, Path(sys.executable))


def test_each_checkout_runs_its_own_bench_in_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = "import json, sys\nprint('warm')\nprint(json.dumps({{'rate': {}, 'asked': sys.argv[1:]}}, indent=1))\n"
    sides = (_checkout(tmp_path, "before", bench.format(10)), _checkout(tmp_path, "after", bench.format(9)))
    before, after = in_turns(sides, "throughput", 2, is_quick=True)
    assert (before, after) == ([{"rate": 10}] * 2, [{"rate": 9}] * 2)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told] == ["round 1 of 2"] * 2 + ["round 2 of 2"] * 2
    assert [" of before, " in line for line in told] == [True, False, True, False]


def test_a_bench_that_missed_its_goal_has_figures(tmp_path: Path) -> None:
    side = _checkout(tmp_path, "late", "print('{\"rate\": 3}')\nraise SystemExit(1)\n")
    assert in_turns((side, side), "throughput", 1, is_quick=False) == ([{"rate": 3}], [{"rate": 3}])


def test_a_bench_that_broke_is_no_comparison(tmp_path: Path) -> None:
    side = _checkout(tmp_path, "broken", "raise SystemExit('no broker')\n")
    with pytest.raises(BenchFailed, match=r"throughput of .*broken ended with 1 without figures"):
        in_turns((side, side), "throughput", 1, is_quick=False)


def test_a_bench_that_broke_off_is_no_comparison_though_it_has_figures(tmp_path: Path) -> None:
    bench = "import json\nprint(json.dumps({'cores': 2, 'error': 'no worker'}))\nraise SystemExit(1)\n"
    side = _checkout(tmp_path, "cut", bench)
    with pytest.raises(BenchFailed, match=r"throughput of .*cut broke off: no worker"):
        in_turns((side, side), "throughput", 1, is_quick=False)


def test_figures_are_the_numbers_of_a_document_by_their_paths() -> None:
    document = {"ok": True, "worker": {"us": 56.5, "name": "w"}, "turns": [{"s": 1}, {"s": 2}], "missing": None}
    assert figures_of(document) == {"worker.us": 56.5, "turns.0.s": 1, "turns.1.s": 2}


def test_a_change_is_between_medians_of_what_every_run_has() -> None:
    before = [{"us": 50.0, "gone": 1.0}, {"us": 40.0, "gone": 1.0}, {"us": 60.0}]
    after = [{"us": 55.0, "new": 1.0}, {"us": 54.0, "new": 1.0}, {"us": 99.0, "new": 1.0}]
    assert compared(before, after) == {
        "us": {"before": [50.0, 40.0, 60.0], "after": [55.0, 54.0, 99.0], "change_percent": 10.0}
    }


def test_a_change_from_nothing_has_no_percentage() -> None:
    assert compared([{"lost": 0}], [{"lost": 2}])["lost"]["change_percent"] is None


@pytest.mark.parametrize("arguments", [["{}", "throughput"], [".", "throughput", "--rounds", "0"]])
def test_what_cannot_be_compared_is_refused_in_a_sentence(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([argument.format(tmp_path) for argument in arguments])
    assert ended.value.code == 2
    assert "has no environment" in (said := capsys.readouterr().err) or "at least one round" in said
