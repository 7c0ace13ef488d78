"""The page of a report: whatever it quotes is shown, never acted upon; what is missing is said."""

import re

import pytest

from ops.drills.charts import HEIGHT, Mark, stacked
from ops.drills.course import Performed
from ops.drills.notes import Course, Moment
from ops.drills.page import page
from ops.drills.plays import PLAYS
from ops.drills.report import Setting, report_of
from ops.drills.stage import Asked
from pipeline.drills.drills import DrillName

SIGNED = {"sha256": "00" * 32, "key_id": "0123456789abcdef", "signature": "c2ln"}
REPORT = {
    "drill": "model-blocks",
    "drill_id": "0a1b2c3d",
    "about": "a model that blocks every payment becomes champion",
    "verdict": "FAILED",
    "why": "",
    "started_at": "2026-11-29T12:00:00.000Z",
    "ended_at": "2026-11-29T12:30:00.000Z",
    "carried_out_by": "ann <b>on</b> a machine",
    "is_full": True,
    "is_live": False,
    "is_embedded": False,
    "where": "a lane of its own, behind fault proxies",
    "payments_per_second": 100,
    "seed": 7,
    "policy": {"version": "2026-11-29", "sha256": "ab" * 32},
    "model": "glass-2026-11-02",
    "release": "1.0",
    "due_every_days": 92,
    "findings": [
        {"measure": "detect_s", "figure": 2.35, "objective": 120, "is_met": True, "why": ""},
        {"measure": "trip_s", "figure": None, "objective": 180, "is_met": False, "why": "it was not seen"},
        {"measure": "leaked", "figure": 332, "objective": None, "is_met": False, "why": "no objective"},
        {"measure": "leaked_minor", "figure": {"GBP": 849129}, "objective": {"GBP": 100}, "is_met": False, "why": "x"},
    ],
    "faults": ["<script>alert(1)</script>"],
    "moments": [{"second": 0.0, "what": "the fault begins"}, {"second": 2.35, "what": "it is seen"}],
    "samples": [
        {"second": second, "allow": 90, "block": 5, "escalate": 5, "by_model": 100, "by_fallback": 0, "state": "CLOSED",
         "is_ready": True}
        for second in range(-5, 30)
    ],
    "checked": ["no payment has two decisions"],
    "leaked_means": "what the wrong model blocked",
    "decided_by_version": {"glass-2026-11-02": 3500, "glass-2026-11-02-blocks": 332},
    "breaker_in_place_of_policy": {},
    "records": {"published": 4000, "decisions": 3990, "set_aside": {"DUPLICATE": 10}},
}  # fmt: skip


def test_page_shows_figures_objectives_and_charts():
    text = page(REPORT, SIGNED)
    assert text.count("<svg") == 3
    assert "All times are UTC." in text
    for said in ("2.4 s of 120 s", "not seen of 180 s", "no objective", "£8,491.29", "fault, 0.0 s", "seen, 2.4 s"):
        assert said in text, said


SHAPE = re.compile(r'<(?:rect|text|line)[^>]*? y1?="([\d.]+)"[^>]*>([^<]*)')


def test_nothing_stands_over_the_layers_of_a_chart():
    """The legend lay over the layers, and hid what they told where they are lowest."""
    chart = stacked(REPORT["samples"], ("allow", "escalate", "block"), [Mark(0.0, "fault")], "by outcome")
    points = re.findall(r"[\d.]+,([\d.]+)", " ".join(re.findall(r'points="([^"]+)"', chart)))
    top, base = min(map(float, points)), max(map(float, points))
    for height, said in SHAPE.findall(chart):
        is_scale = said in ("0", "100")
        assert is_scale or not top < float(height) < base, said
    legend = [height for height, said in SHAPE.findall(chart) if said in ("allowed", "escalated", "blocked")]
    assert len(legend) == 3
    assert all(base < float(height) < HEIGHT for height in legend)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (-5, 30, ["-5 s", "0 s", "5 s", "10 s", "15 s", "20 s", "25 s", "30 s"]),
        (0, 3, ["0 s", "1 s", "2 s", "3 s"]),
        (-118, 889, ["0 s", "120 s", "240 s", "360 s", "480 s", "600 s", "720 s", "840 s"]),
        (
            -60,
            5_400,
            ["0 s", "600 s", "1,200 s", "1,800 s", "2,400 s", "3,000 s", "3,600 s", "4,200 s", "4,800 s", "5,400 s"],
        ),
    ],
)
def test_seconds_below_a_chart_are_round(first, last, said):
    samples = [{"second": second, "allow": 1} for second in range(first, last + 1)]
    chart = stacked(samples, ("allow",), [], "by outcome")
    assert [text for _, text in SHAPE.findall(chart) if text.endswith(" s")] == said


def test_page_quotes_and_does_not_act():
    text = page(REPORT, SIGNED)
    assert "<script" not in text
    assert "<b>on</b>" not in text


def test_page_of_a_drill_that_was_not_carried_out_says_so_and_draws_nothing():
    nothing = {"findings": [], "faults": [], "moments": [], "samples": [], "records": None}
    text = page({**REPORT, **nothing, "verdict": "NOT_CARRIED_OUT", "why": "Redis is no single server"}, SIGNED)
    assert "it has neither passed nor failed: Redis is no single server." in text
    assert "<svg" not in text


def test_page_of_a_rehearsal_names_the_settings_that_it_had_in_place_of_the_policys():
    changed = {"window_s": 12, "half_open_shares_percent": [1, 50]}
    text = page({**REPORT, "is_full": False, "breaker_in_place_of_policy": changed}, SIGNED)
    assert "window_s 12, half_open_shares_percent 1/50" in text
    assert "in place of the policy" not in page(REPORT, SIGNED)


def test_page_says_what_counts_as_leaked_what_was_looked_for_and_that_nothing_was_found():
    text = page({**REPORT, "faults": []}, SIGNED)
    for said in (
        "Leaked is what the wrong model blocked.",
        "<li>no payment has two decisions",
        "nothing else was found",
    ):
        assert said in text, said
    assert "glass-2026-11-02 3,500, glass-2026-11-02-blocks 332" in text
    assert "nothing else was found" not in page(REPORT, SIGNED)


def test_page_is_made_of_the_report_of_what_was_performed():
    """From what was noted to the page: an outage in which the breaker took the sound model out."""
    play, course = PLAYS[DrillName.RAIL_LOST], Course(detected_s=3.0, paged_s=7.0, mended_s=9.0, recovered_s=12.0)
    course.note("breaker CLOSED to OPEN for channel:CARD: before", -2.5)
    course.faults.append("the model was taken out of the loop, though it was sound: model:m")
    performed = Performed(
        course.measured([]), course, [], 20, 18, {"DUPLICATE": 2}, {"m": 17}, play.checked, play.harm, {"window_s": 6}
    )
    asked = Asked(DrillName.RAIL_LOST, rate=100, seed=7, seconds_max=900, is_full=False)
    setting = Setting("0a1b2c3d", asked, 0, 60_000, "p", "ab" * 32, "m", "1.0", "ann", is_embedded=False)
    report = report_of(setting, None, performed, "")
    assert (report["verdict"], report["decided_by_version"]) == ("FAILED", {"m": 17})
    text = page(report, SIGNED)
    for said in (*play.checked, *course.faults, "Leaked is second decisions about a payment.", "window_s 6", "m 17"):
        assert said in text, said


def test_page_of_a_live_drill_needs_nothing_that_only_a_lane_has():
    of_lane = ("checked", "leaked_means", "decided_by_version", "breaker_in_place_of_policy")
    live = {name: value for name, value in REPORT.items() if name not in of_lane}
    text = page({**live, "is_live": True, "is_full": False, "live": None}, SIGNED)
    assert "On the live breaker" in text
    assert "Looked for besides" not in text


def test_every_play_says_what_it_counts_as_leaked():
    assert all(play.harm for play in PLAYS.values())


def test_what_was_noted_before_the_fault_stays_noted_and_is_told_in_seconds_before_it():
    course = Course()
    course.note("breaker CLOSED to OPEN", 1_000.0)
    course.begin_fault(1_012.5, 1_790_812_800_000)
    course.note("the fault begins", 1_012.5)
    assert course.moments == [Moment(-12.5, "breaker CLOSED to OPEN"), Moment(0.0, "the fault begins")]


def test_page_of_a_rehearsal_says_that_it_does_not_count():
    assert "doesn&#x27;t count towards the schedule" in page({**REPORT, "is_full": False}, SIGNED).replace(
        "'", "&#x27;"
    )
