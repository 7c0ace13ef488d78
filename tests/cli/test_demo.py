"""The whole demonstration, short, as a program sees it."""

import json
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "pipeline.cli", "demo", "--seconds", "20", "--json"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=115)
    logs = [path.read_text()[-2000:] for path in folder.glob("var/demo/run/worker.log")]
    assert ended.returncode == 0, (ended.stderr, ended.stdout[-2000:], logs)
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def summary(events):
    return events[-1]


def test_every_record_is_accounted_for(summary):
    """I1 and I2."""
    dead = sum(summary["dead_letters"].values())
    assert summary["published"] == summary["offsets_in"] == summary["decisions"] + dead
    assert summary["decisions"] == summary["distinct_decisions"]
    assert summary["duplicates"] > 0
    assert dead > summary["duplicates"], "broken records are among them"
    assert summary["is_whole"]


def test_the_breaker_trips_and_closes_again(summary):
    assert summary["has_tripped"]
    assert summary["has_recovered"]
    steps = [(change["before"], change["after"]) for change in summary["breaker"]]
    assert ("CLOSED", "OPEN") in steps
    assert ("OPEN", "HALF_OPEN") in steps
    assert ("HALF_OPEN", "CLOSED") in steps


def test_all_three_routes_and_outcomes_are_shown(summary):
    assert set(summary["routes"]) == {"GUARDRAIL", "MODEL", "FALLBACK"}
    assert {example["outcome"] for example in summary["examples"]} == {"ALLOW", "BLOCK", "ESCALATE"}


def test_its_examples_are_made_again_byte_for_byte(summary):
    assert {example["verified"]["result"] for example in summary["examples"]} == {"IDENTICAL"}


def test_it_tells_what_it_does(events):
    told = " ".join(event["sentence"] for event in events if event["event"] == "step")
    for expected in ("first explained decision", "GOES WRONG, on purpose", "rolled back", "the model decides again"):
        assert expected in told
