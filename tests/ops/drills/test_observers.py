"""What the stand-ins of PagerDuty and of the dead man's switch say, and the lane's payments of one postcode."""

import json

import pytest

from models.simulator import LabelledTransaction, TrafficSettings, traffic_events
from ops.bench.alerts.sinks import HttpSink, Manner, Taken
from ops.demo.summary import BreakerChange
from ops.drills.notes import Course
from ops.drills.pager import MISSED_BEATS, Rhythm, beats_since, paged_at_s, switched_at_s
from ops.drills.plays import opened_since
from ops.drills.stage import LONG_AGO_MS, TARGET_SEGMENT, with_postcode, with_usual
from pipeline.domain.decision import BreakerState
from pipeline.domain.times import utc_text

FAULT_MS = 1_800_000_000_000
RHYTHM = Rhythm(1.0, 10)


def paged(code, opened_ms, at_s, action="trigger"):
    payload = {"class": code, "timestamp": utc_text(opened_ms)}
    event = {"event_action": action, **({"payload": payload} if action == "trigger" else {})}
    return Taken("/v2/enqueue", {}, json.dumps(event).encode(), Manner.TAKES, at_s)


def test_only_scopes_that_opened_since_the_fault_count_as_out_of_the_loop():
    closed, opened, probing = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
    changes = [
        BreakerChange(9.9, "channel:CARD", closed, opened, "before"),
        BreakerChange(10.0, "model:m", closed, opened, "since"),
        BreakerChange(12.0, "channel:CARD", opened, probing, "its period is over"),
        BreakerChange(14.0, "segment:age_band=65+", probing, opened, "not as usual"),
    ]
    assert opened_since(changes, 10.0) == {"model:m", "segment:age_band=65+"}


def beaten(*at_s):
    return HttpSink(asked=[Taken("/hook", {}, b"{}", Manner.TAKES, each) for each in at_s])


@pytest.mark.parametrize(
    ("event", "at_s"),
    [
        (paged("BREAKER_TRIP", FAULT_MS, 7.0), 7.0),
        (paged("BREAKER_TRIP", FAULT_MS - 1, 7.0), None),
        (paged("BREAKER_STATE_LOST", FAULT_MS, 7.0), None),
        (paged("BREAKER_TRIP", FAULT_MS, 7.0, "resolve"), None),
    ],
)
def test_only_a_page_about_what_came_of_the_fault_counts(event, at_s):
    assert paged_at_s(HttpSink(asked=[event]), {"BREAKER_TRIP"}, FAULT_MS) == at_s


def test_the_dead_mans_switch_pages_once_heartbeats_stay_away():
    sink = beaten(0.0, 10.0, 20.0)
    due_s = 20.0 + MISSED_BEATS * RHYTHM.beat_s
    assert switched_at_s(sink, RHYTHM, 15.0, due_s) is None
    assert switched_at_s(sink, RHYTHM, 15.0, due_s + 0.1) == due_s
    assert beats_since(sink, 10.0) == 2


def test_a_gap_of_before_the_fault_is_not_its_page():
    assert switched_at_s(beaten(0.0, 100.0, 110.0), RHYTHM, 105.0, 120.0) is None


def test_a_switch_that_never_heard_anything_tells_nothing():
    assert switched_at_s(beaten(), RHYTHM, 0.0, 1_000.0) is None


def test_a_moment_that_was_not_seen_is_no_figure():
    measured = Course(fault_s=10.0, detected_s=12.5).measured(None)
    assert (measured.detect_s, measured.trip_s, measured.recover_s, measured.leaked) == (2.5, None, None, None)


def test_one_postcode_has_some_accounts_and_many_of_its_payments_say_little_of_the_payee():
    settings = TrafficSettings(seed=3, accounts=2_000, start_ms=FAULT_MS, days=3)
    events = [with_postcode(event, "NE") for event in traffic_events(settings)]
    payments = [event.transaction for event in events if isinstance(event, LabelledTransaction)]
    there = [payment for payment in payments if payment.segments.get(TARGET_SEGMENT) == "NE"]
    silent = [payment for payment in payments if payment.beneficiary_opened_at_ms is None]
    assert 0.01 < len(there) / len(payments) < 0.05
    assert 0.25 < len(silent) / len(there) < 0.55
    assert all(payment.segments[TARGET_SEGMENT] == "NE" for payment in silent)


def test_one_payment_in_forty_goes_to_a_payee_that_is_blocked_as_usual():
    settings = TrafficSettings(seed=3, accounts=2_000, start_ms=FAULT_MS, days=3)
    events = [with_usual(event) for event in traffic_events(settings)]
    payments = [event.transaction for event in events if isinstance(event, LabelledTransaction)]
    usual = [payment for payment in payments if payment.beneficiary_opened_at_ms == LONG_AGO_MS]
    assert 0.02 < len(usual) / len(payments) < 0.03
