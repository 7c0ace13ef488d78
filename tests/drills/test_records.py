"""The records of drills, and the alert about those that are overdue."""

import json
from datetime import UTC, datetime

import psycopg
import pytest

from pipeline.alerts.catalogue import AlertCode
from pipeline.drills.drills import DrillName
from pipeline.drills.schedule import DAY_MS
from pipeline.drills.store import DrillRecord, append_drill, read_latest_drills
from pipeline.drills.watch_service import DrillWatch


def now_ms(owner):
    return int(owner.execute("SELECT extract(epoch FROM clock_timestamp()) * 1000").fetchone()[0])


def record(owner, **changed):
    at_ms = now_ms(owner)
    made = DrillRecord(
        "0a1b2c3d", "drift", "PASSED", "", True, at_ms - 60_000, at_ms, "somebody", "2026-11-29", bytes(32),
        "glass-2026-11-02", [{"measure": "detect_s", "figure": 1.5}], bytes(range(32)), "0123456789abcdef", bytes(64),
    )  # fmt: skip
    return made._replace(**changed)


def test_a_record_is_read_as_it_was_written(owner):
    made = record(owner)
    append_drill(owner, made)
    [carried] = read_latest_drills(owner)
    assert carried == ("drift", made.ended_at_ms, "PASSED", True)
    figures, at = owner.execute("SELECT figures, ended_at FROM control.drill_record").fetchone()
    assert figures == json.loads(json.dumps(made.figures))
    assert at == datetime.fromtimestamp(made.ended_at_ms / 1000, UTC)


def test_a_rehearsal_and_what_could_not_be_carried_out_do_not_count(owner):
    append_drill(owner, record(owner, is_full=False))
    append_drill(owner, record(owner, drill_id="11111111", verdict="NOT_CARRIED_OUT", report_sha256=b"x" * 32))
    assert read_latest_drills(owner) == []


def test_nobody_fills_in_a_quarter_that_was_missed(owner):
    long_ago_ms = now_ms(owner) - 30 * DAY_MS
    with pytest.raises(psycopg.errors.CheckViolation, match="recorded when it ends"):
        append_drill(owner, record(owner, started_at_ms=long_ago_ms, ended_at_ms=long_ago_ms))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE control.drill_record SET verdict = 'PASSED'",
        "DELETE FROM control.drill_record",
        "TRUNCATE control.drill_record",
    ],
)
def test_even_the_owner_changes_no_record(owner, statement):
    append_drill(owner, record(owner, verdict="FAILED"))
    with pytest.raises(psycopg.Error, match="append-only"):
        owner.execute(statement.encode())


class Watching:
    def __init__(self, every_days=92):
        self.told, self.now_ms = [], 0
        self.watch = DrillWatch(self.told.extend, lambda: every_days, lambda: self.now_ms)

    def look(self, owner, days_later=0):
        self.told.clear()
        self.now_ms = now_ms(owner) + days_later * DAY_MS
        self.watch.look(owner)
        return {alert.evidence["drill"]: alert for alert in self.told}


def test_every_drill_that_was_never_carried_out_is_told_of_as_one_group(owner):
    told = Watching().look(owner)
    assert set(told) == set(DrillName)
    assert {(alert.code, alert.scope, alert.is_over) for alert in told.values()} == {
        (AlertCode.DRILL_OVERDUE, "drills", False)
    }


def test_a_drill_that_was_carried_out_is_over_under_the_id_it_was_told_of(owner):
    watching = Watching()
    before = watching.look(owner)["drift"]
    append_drill(owner, record(owner))
    after = watching.look(owner)["drift"]
    assert (after.is_over, after.alert_id) == (True, before.alert_id)
    assert "drift" not in watching.look(owner), "once is enough"


def test_a_process_that_starts_says_again_what_is_not_overdue(owner):
    append_drill(owner, record(owner))
    assert Watching().look(owner)["drift"].is_over


def test_a_drill_becomes_overdue_again_and_says_when_it_was_carried_out(owner):
    append_drill(owner, record(owner))
    watching = Watching()
    watching.look(owner)
    told = watching.look(owner, days_later=93)["drift"]
    assert not told.is_over
    assert "was last carried out on" in told.summary
