"""Amounts on boards stand in the whole unit of their currency, whichever its decimals are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from ops.monitoring.boards import BOARDS
from ops.monitoring.boards.panel import Unit, in_whole_units
from ops.monitoring.grafana import board_json
from tests.ops.monitoring.test_rules import run

MONEY: Final = [
    pytest.param(panel, line.query, id=f"{board.name}: {panel.title}: {line.legend}")
    for board in BOARDS
    for panel in board.panels
    for line in panel.lines
    if "_minor" in line.query
]
MINOR: Final = {"GBP": 123_450, "XAU": 500, "JPY": 1_200, "KWD": 12_500, "CLF": 30_000}
WHOLE: Final = {"GBP": 1234.5, "XAU": 5, "JPY": 1200, "KWD": 12.5, "CLF": 3}
"""ISO 4217 gives gold no decimals; it is shown as with two, as everywhere else."""
SELECTOR: Final = re.compile(r"(fraud_\w*_minor\w*)(\{[^}]*\})?")
FIXED: Final = re.compile(r'(step|verdict|outcome|reason)=~?"(\w+)[^"]*"')


@pytest.mark.parametrize(("panel", "query"), MONEY)
def test_every_query_for_amounts_divides_by_what_makes_a_whole_unit(panel, query: str) -> None:
    assert panel.unit is Unit.MONEY
    assert "minor" not in panel.says
    for selected in SELECTOR.finditer(query):
        assert "currency" in (selected[2] or ""), selected[0]


def test_no_panel_is_of_money_whose_queries_are_not() -> None:
    panels = [panel for board in BOARDS for panel in board.panels if panel.unit is Unit.MONEY]
    assert [] == [panel.title for panel in panels if any("_minor" not in line.query for line in panel.lines)]


def test_a_query_that_leaves_the_currency_open_is_none() -> None:
    with pytest.raises(AssertionError):
        in_whole_units("sum by (currency) (fraud_money_held_minor)")


def test_a_legend_of_money_ends_with_its_currency_and_has_its_decimals() -> None:
    """Grafana gives decimals by the end of a line's name."""
    for board in BOARDS:
        for panel, made in zip(board.panels, json.loads(board_json(board))["panels"], strict=True):
            if panel.unit is not Unit.MONEY:
                assert made["fieldConfig"]["overrides"] == []
                continue
            assert all(line.legend.endswith("{{currency}}") for line in panel.lines), panel.title
            assert 2 == made["fieldConfig"]["defaults"]["decimals"]
            decimals = {
                each["matcher"]["options"]: each["properties"][0]["value"]
                for each in made["fieldConfig"]["overrides"]
            }  # fmt: skip
            shown = {
                currency: [digits for pattern, digits in decimals.items() if re.search(pattern.strip("/"), currency)]
                for currency in MINOR
            }
            assert {"GBP": [], "XAU": [], "JPY": [0], "KWD": [3], "CLF": [4]} == shown


@pytest.mark.real
@pytest.mark.parametrize(("panel", "query"), MONEY)
def test_prometheus_answers_in_whole_units(panel, query: str, tmp_path: Path) -> None:
    """Gauges stand for months; counters rose by the amount in a window of any length, by one step in its middle."""
    [name] = {selected[1] for selected in SELECTOR.finditer(query)}
    # GIVE_BACK is taken off what RECALL yields, so nothing is given back here.
    fixed = {label: value for label, value in FIXED.findall(query) if value != "GIVE_BACK"}
    window = re.search(r"\[(\d+[hd])\]", query)
    case = {
        "rule_files": [],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": f"{name}{_labels({**fixed, **more, 'currency': currency})}", "values": values}
                    for currency, minor in MINOR.items()
                    for more, values in _series(name, minor, window is not None)
                ],
                "promql_expr_test": [
                    {
                        "expr": f"round({_briefly(query)}, 0.01)",
                        "eval_time": "60m",
                        "exp_samples": [
                            {"labels": _labels(_kept(query, {**fixed, "currency": currency})), "value": whole}
                            for currency, whole in WHOLE.items()
                        ],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "case.yml"
    path.write_text(json.dumps(case), encoding="utf-8")
    code, said = run("promtool", "test", "rules", path)
    assert 0 == code, said


def _briefly(query: str) -> str:
    """The query over an hour, whatever its window."""
    return re.sub(r"\[\d+[hd]\]", "[1h]", query)


def _series(name: str, minor: int, is_counted: bool) -> list[tuple[dict[str, str], str]]:
    told = ({}, f"0x30 {minor}x40") if is_counted else ({}, f"{minor}x70")
    if name != "fraud_money_moved_minor_total":
        return [told]
    return [told, ({"step": "GIVE_BACK"}, "0x70")]


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def _kept(query: str, labels: dict[str, str]) -> dict[str, str]:
    by = re.search(r"by \(([\w, ]+)\)", query)
    assert by is not None
    return {name: value for name, value in labels.items() if name in by[1].split(", ")}
