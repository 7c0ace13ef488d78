"""A drill from the command line to the record, on the embedded servers; and what a drill is that shows nothing."""

import json
import os
import subprocess
import sys
from contextlib import closing
from itertools import product
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from ops.drills.command import EXIT_CODES
from ops.drills.drill_command import exit_code_of
from pipeline.drills.drills import MEASURES, DrillName, Verdict
from tests.servers import TEMPLATE

pytestmark = pytest.mark.timeout(1200)
DRILL = DrillName.MODEL_BLOCKS


def drilled(stack, database_url, folder, *arguments, **environment):
    settings = {
        "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "FRAUD_REDIS_URL": stack.redis_url,
        "FRAUD_DATABASE_URL": database_url,
        **environment,
    }
    command = [sys.executable, "-m", "ops.cli", "drill", *arguments, "--short", "--json", "--directory", str(folder)]
    ended = subprocess.run(command, cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True)
    return ended, [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def carried_out(stack, postgres, tmp_path_factory):
    name = "drilled"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    folder = tmp_path_factory.mktemp("drill")
    url = f"postgresql://fraud_owner@127.0.0.1:{postgres.port}/{name}"
    ended, lines = drilled(stack, url, folder, DRILL)
    yield ended, lines, folder, url
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_model_that_blocks_everyone_is_seen_tripped_told_and_recovered_from(carried_out):
    ended, [line], folder, _ = carried_out
    logs = {path.name: path.read_text()[-800:] for path in folder.glob("lanes/*/*.log")}
    assert (line["verdict"], line["faults"], ended.returncode) == ("PASSED", [], 0), (line, ended.stderr, logs)
    assert [each["measure"] for each in line["findings"]] == list(MEASURES[DRILL])
    figures = {each["measure"]: each["figure"] for each in line["findings"]}
    # What is detected is seen by looking every second or so, later on a busy machine; a trip has the time of its own
    # record.
    assert 0 < figures["detect_s"] <= figures["trip_s"] + 30
    assert figures["trip_s"] > 0
    # A channel may trip before the version does, and what trips first pages.
    [report] = [json.loads(path.read_bytes()) for path in folder.glob(f"{DRILL}-{line['drill_id']}.json")]
    opened = [each["second"] for each in report["moments"] if " to OPEN for " in each["what"]]
    assert 0 < min(opened) <= figures["page_s"]
    assert figures["leaked"] > 0
    assert sum(figures["leaked_minor"].values()) > 0


def test_its_report_is_signed_and_a_change_of_it_is_noticed(carried_out):
    _, [line], folder, _ = carried_out
    verifying = [sys.executable, "-m", "ops.cli", "drills", "verify", line["report"], "--key-set"]
    keys = str(folder / "drills.key.keys")
    assert subprocess.run([*verifying, keys], capture_output=True).returncode == 0
    with open(line["report"]) as report:
        text = report.read()
    with open(line["report"], "w") as report:
        report.write(text.replace('"leaked"', '"leaky"', 1))
    assert subprocess.run([*verifying, keys], capture_output=True).returncode == 1
    with open(line["report"], "w") as report:
        report.write(text)


def test_it_is_recorded_and_a_rehearsal_does_not_count(carried_out):
    _, [line], _, url = carried_out
    with closing(psycopg.connect(url)) as connection:
        rows = connection.execute("SELECT drill_id, drill, verdict, is_full FROM control.drill_record").fetchall()
    assert rows == [(line["drill_id"], DRILL, "PASSED", False)]


def test_nothing_of_the_lane_is_left_in_redis(carried_out, stack):
    _, [line], _, _ = carried_out
    parts = urlsplit(stack.redis_url)
    with redis.Redis(parts.hostname, parts.port) as client:
        assert list(client.scan_iter(f"drill-{line['drill_id']}*")) == []


def test_its_page_loads_nothing_and_shows_the_charts(carried_out):
    _, [line], _, _ = carried_out
    with open(line["report"].replace(".json", ".html")) as page:
        text = page.read()
    assert text.count("<svg") == 3
    assert "http" not in text.replace("http-equiv", "")
    assert "src=" not in text


def test_a_drill_that_can_not_be_carried_out_has_neither_passed_nor_failed(stack, database_url, tmp_path):
    """One proxy stands before one server: behind a cluster the lane could reach Redis past it."""
    ended, [line] = drilled(stack, database_url, tmp_path, DRILL, FRAUD_REDIS_URL="redis+cluster://127.0.0.1:1/0")
    assert (line["verdict"], ended.returncode) == ("NOT_CARRIED_OUT", 2)
    assert line["why"]
    assert line["findings"] == []


def test_a_drill_that_there_is_not_is_refused(stack, database_url, tmp_path):
    ended, lines = drilled(stack, database_url, tmp_path, "model-sleeps")
    assert (ended.returncode, lines) == (2, [])
    assert "There is no drill 'model-sleeps'" in ended.stderr


@pytest.mark.parametrize(
    ("verdicts", "is_recorded", "code"),
    [
        ([Verdict.PASSED], True, 0),
        ([Verdict.PASSED], False, 2),
        ([Verdict.NOT_CARRIED_OUT, Verdict.PASSED], True, 2),
        ([Verdict.PASSED, Verdict.FAILED, Verdict.NOT_CARRIED_OUT], True, 3),
        ([Verdict.FAILED], False, 3),
    ],
)
def test_the_worst_of_the_drills_is_the_exit_code(verdicts, is_recorded, code):
    assert exit_code_of(verdicts, is_recorded=is_recorded) == code


def test_each_verdict_has_an_exit_code_of_its_own():
    assert len(set(EXIT_CODES.values())) == len(Verdict)
    for one, other in product(Verdict, repeat=2):
        assert (one is other) or EXIT_CODES[one] != EXIT_CODES[other]
