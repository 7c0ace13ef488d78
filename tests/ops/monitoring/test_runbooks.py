"""Alerts, rules, runbooks, boards and commands belong together: none without the others."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from typer.core import TyperGroup

from ops.monitoring.boards import BOARDS
from ops.monitoring.boards.panel import Kind
from ops.monitoring.grafana import FOLDER as BOARD_FILES
from ops.monitoring.grafana import board_json
from ops.monitoring.listing import PAGE, metrics_of, page_with_list
from ops.monitoring.server import FOLDER
from pipeline.alerts.catalogue import CATALOGUE
from pipeline.domain.alert import Severity
from tests.ops.test_command_table import QUOTED, commands, fault_of

ROOT = Path(__file__).parents[3]
RUNBOOKS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "runbooks").glob("*.md")}
SECTIONS = ["What it means", "What to look at", "What to do", "When it is over"]
PANEL = re.compile(r'[Pp]anel "([^"]+)"(?: \(([a-z-]+)\))?')
PANELS = {board.name: {panel.title for panel in board.panels} for board in BOARDS}
METRIC = re.compile(r"\bfraud_[a-z0-9_]+")
RECORDED = re.compile(r"\bfraud:[a-z_]+:[a-z0-9_]+")
RULE_FILES = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "rules").glob("*.yml"))
}
RULES = [rule for content in RULE_FILES.values() for group in content["groups"] for rule in group["rules"]]
QUERIES = [
    *(line.query for board in BOARDS for panel in board.panels for line in panel.lines),
    *(rule["expr"] for rule in RULES),
]


class Told(NamedTuple):
    """What is known of an alert where it is raised."""

    severities: str
    meaning: str


def _alerts() -> dict[str, Told]:
    """Those of the catalogue, and those of the rules, each with all its severities."""
    found = {str(code): Told(", ".join(entry.severities), entry.meaning) for code, entry in CATALOGUE.items()}
    severities: dict[str, set[Severity]] = {}
    for rule in RULES:
        if "alert" in rule:
            severities.setdefault(rule["alert"], set()).add(Severity(rule["labels"]["severity"]))
    for rule in RULES:
        if "alert" in rule:
            ordered = [each for each in Severity if each in severities[rule["alert"]]]
            found[rule["alert"]] = Told(", ".join(ordered), rule["annotations"]["summary"])
    return found


ALERTS = _alerts()
_IN_PLACE = {"TIME": "2026-11-24T09:00:00Z", "PARTITION": "0", "OFFSET": "7", "NUMBER": "7"}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert ALERTS.keys() == RUNBOOKS.keys()


def test_no_rule_takes_the_name_of_an_alert_of_the_catalogue() -> None:
    assert {rule["alert"] for rule in RULES if "alert" in rule}.isdisjoint(CATALOGUE)


@pytest.mark.parametrize("code", sorted(ALERTS))
def test_runbook_has_its_sections_and_begins_as_the_alert_does(code: str) -> None:
    head, *sections = re.split(r"^## (.+)$", RUNBOOKS[code], flags=re.MULTILINE)
    assert f"# {code}\n{ALERTS[code].severities}. {ALERTS[code].meaning}\n\n" == head
    assert SECTIONS == sections[::2]
    assert all(len(text.strip()) > 10 for text in sections[1::2])


@pytest.mark.parametrize("code", sorted(RUNBOOKS))
def test_runbook_names_a_panel_and_none_that_is_not_there(code: str) -> None:
    found = PANEL.findall(RUNBOOKS[code])
    assert [(title, board) for title, board in found if title not in _titles(board)] == []
    _, _, look, *_ = re.split(r"^## .+$", RUNBOOKS[code], flags=re.MULTILINE)
    assert PANEL.search(look) or QUOTED.search(look), "where to look"


def _titles(board: str) -> set[str]:
    return PANELS[board] if board else set().union(*PANELS.values())


@pytest.mark.parametrize("code", sorted(RUNBOOKS))
def test_commands_of_a_runbook_are_there(code: str) -> None:
    faults = {line: fault for line in QUOTED.findall(RUNBOOKS[code]) if (fault := fault_of(line)) is not None}
    assert faults == {}


@pytest.mark.parametrize("code", sorted(RUNBOOKS))
def test_commands_of_a_runbook_can_be_typed_as_they_stand(code: str) -> None:
    """Whoever is on call at three has no time to find out what is missing."""
    for line in QUOTED.findall(RUNBOOKS[code]):
        words = [_IN_PLACE.get(word, word) for word in shlex.split(line)]
        command: Any = commands()
        while isinstance(command, TyperGroup):
            command, words = command.commands[words[0]], words[1:]
        command.make_context(command.name, words)
        if line.startswith("rollback plan"):
            assert "--good-" in line, f"{line}: a plan decides again under what is good"


def test_every_runbook_but_one_names_a_command_and_a_panel() -> None:
    """A new deployment has nothing on any board yet."""
    assert {code for code, text in RUNBOOKS.items() if not QUOTED.search(text)} == set()
    assert {code for code, text in RUNBOOKS.items() if not PANEL.search(text)} == {"BREAKER_INITIALISE"}


@pytest.mark.parametrize("rule", [each for each in RULES if "alert" in each], ids=lambda rule: rule["alert"])
def test_rule_links_to_its_runbook(rule: dict) -> None:
    assert f"docs/runbooks/{rule['alert']}.md" == rule["annotations"]["runbook_url"]


def test_operations_tells_of_every_rule_as_it_is() -> None:
    named = {rule["alert"] for rule in RULES if "alert" in rule}
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| ([A-Z, ]+) \| (.+) \| \[runbook\]\(runbooks/([A-Z_]+)\.md\) \|$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    told = {code: Told(severities, meaning) for code, severities, meaning, link in rows if code == link}
    assert {code: ALERTS[code] for code in named} == {code: told.get(code) for code in named}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_grafana_s_file_is_what_the_board_says(board) -> None:
    text = (BOARD_FILES / f"{board.name}.json").read_text(encoding="utf-8")
    assert board_json(board) == text, "run python -m ops.monitoring"
    panels = json.loads(text)["panels"]
    assert [panel.title for panel in board.panels] == [panel["title"] for panel in panels]
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_no_number_is_coloured_by_what_grafana_takes_for_good(board) -> None:
    """Where a file says nothing, all below 80 is green there and the rest red: an availability of 0.5, and EUR 80."""
    for panel, made in zip(board.panels, json.loads(board_json(board))["panels"], strict=True):
        if panel.kind in (Kind.NUMBER, Kind.BARS):
            defaults = made["fieldConfig"]["defaults"]
            steps = [(step["value"], step["color"]) for step in defaults["thresholds"]["steps"]]
            good = panel.objective
            assert steps == ([(None, "blue")] if good is None else [(None, "red"), (good, "green")])
            assert defaults["noValue"] == "not known"
        else:
            assert panel.objective is None


def test_every_objective_that_a_panel_names_is_the_one_that_colours_it() -> None:
    named = {
        panel.title: (float(found[1]) / 100, panel.objective)
        for board in BOARDS
        for panel in board.panels
        if (found := re.search(r"Objective: ([0-9.]+) %", panel.says))
    }
    assert len(named) == 3
    assert [round(said, 9) for said, _ in named.values()] == [coloured for _, coloured in named.values()]


def test_no_file_is_of_a_board_that_is_gone() -> None:
    assert {f"{board.name}.json" for board in BOARDS} == {path.name for path in BOARD_FILES.iterdir()}


def test_titles_name_one_panel() -> None:
    titles = [panel.title for board in BOARDS for panel in board.panels]
    assert sorted(set(titles)) == sorted(titles)


def test_the_list_of_metrics_is_the_code_s() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_list(page) == page, "run python -m ops.monitoring"
    assert len(metrics_of()) > 50


def test_queries_ask_for_metrics_that_there_are() -> None:
    suffixes = ("", "_bucket", "_count", "_sum")
    known = {each.name + suffix for each in metrics_of() for suffix in suffixes}
    assert {name for query in QUERIES for name in METRIC.findall(query)} - known == set()
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    assert {name for query in QUERIES for name in RECORDED.findall(query)} - recorded == set()


def test_every_metric_that_a_rule_needs_fires_where_it_is_absent() -> None:
    """A rule on a metric that isn't there never fires. Two have rules of their own."""
    [absent] = [rule["expr"] for rule in RULES if rule.get("alert") == "METRIC_ABSENT"]
    watched = set(re.findall(r'absent_over_time\((fraud_[a-z_0-9]+)\{job="[a-z]+"\}', absent))
    needed = {name for rule in RULES for name in METRIC.findall(rule["expr"])}
    # Their series begin with the first message and the first payment: before these there is nothing to tell of.
    by_themselves = {"fraud_alerts_messages_total", "fraud_breaker_state"}
    assert needed - by_themselves == watched
    assert all(f'"metric", "{name}"' in absent for name in watched)


def test_every_job_of_prometheus_fires_where_it_is_down_and_where_it_is_no_target() -> None:
    jobs = {each["job_name"] for each in yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]}
    down, absent = [rule["expr"] for rule in RULES if rule.get("alert") == "PROCESS_DOWN"]
    assert [jobs] * 2 == [set(found.split("|")) for found in re.findall(r'job=~"([a-z|]+)"', down)]
    assert jobs == set(re.findall(r'absent_over_time\(up\{job="([a-z]+)"\}', absent))


def test_no_metric_is_declared_twice() -> None:
    names = [each.name for each in metrics_of()]
    assert sorted(set(names)) == sorted(names)
