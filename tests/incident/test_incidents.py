"""An incident's state, its timeline and when the decisions of its scopes are affected."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.breaker.alerts import breaker_alert
from pipeline.breaker.evaluating import Transition
from pipeline.breaker.states import BreakerRecord, Cause, Event
from pipeline.breaker.told_transitions import UNPROVED, conditions_of, told_transition
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState
from pipeline.incident.incidents import (
    TRANSITIONS,
    AlertGroup,
    EventKind,
    Exposure,
    Incident,
    IncidentState,
    PersonEvent,
    diagram,
    exposures,
    state_after,
    timeline,
)
from tests.incident.given import COUNTS, LOOKBACK_MS, MINUTE_MS, as_read, closed, held, tripped
from tests.records import NOON_MS

NOW_MS = NOON_MS + 60 * MINUTE_MS
ACK, NOTE, RESOLVE = EventKind.ACKNOWLEDGED, EventKind.NOTED, EventKind.RESOLVED


def incident(told: list[Alert], moved: list[Alert], events: list[PersonEvent] | None = None) -> Incident:
    transitions = [transition for each in moved if (transition := told_transition(each)) is not None]
    alerts = [as_read(each) for each in told]
    groups = [AlertGroup(each.code, 1, each.raised_at_ms, each.raised_at_ms) for each in told]
    scopes = sorted({each.scope for each in told})
    first_ms = told[0].raised_at_ms
    since_ms = first_ms - LOOKBACK_MS
    return Incident("id", "MODEL", first_ms, since_ms, scopes, alerts, groups, transitions, events or [], [])


def event(kind: EventKind, at_ms: int, sequence: int = 1) -> PersonEvent:
    return PersonEvent(sequence, kind, "olga", at_ms, "because", None, None, None, "act")


def test_an_incident_that_nobody_has_touched_is_open() -> None:
    assert IncidentState.OPEN == state_after([])


def test_states_follow_the_table_and_nothing_leads_out_of_resolved() -> None:
    for before, kind in product(IncidentState, EventKind):
        found = state_after([*_way_to(before), kind])
        assert TRANSITIONS.get((before, kind), before) == found
    assert all(TRANSITIONS.get((IncidentState.RESOLVED, kind)) in (None, IncidentState.RESOLVED) for kind in EventKind)


def _way_to(state: IncidentState) -> list[EventKind]:
    return {IncidentState.OPEN: [], IncidentState.ACKNOWLEDGED: [ACK], IncidentState.RESOLVED: [RESOLVE]}[state]


def test_decisions_are_suspect_from_before_the_alert_until_the_breaker_closed() -> None:
    back = closed(at_ms=NOON_MS + 20 * MINUTE_MS)
    found = incident([tripped()], [tripped(), back])
    expected = Exposure("model:wrong-1", NOON_MS - LOOKBACK_MS, back.raised_at_ms)
    assert [expected] == exposures(found, NOW_MS)


def test_what_trips_anew_is_a_time_of_its_own() -> None:
    """Nobody had resolved the incident, and three weeks of sound decisions were counted as affected."""
    days_ms = 21 * 1_440 * MINUTE_MS
    back, again = closed(at_ms=NOON_MS + 20 * MINUTE_MS), tripped(at_ms=NOON_MS + days_ms)
    scope, now_ms = "model:wrong-1", NOON_MS + days_ms + 60 * MINUTE_MS
    found = incident([tripped(), again], [tripped(), back, again])
    first = Exposure(scope, NOON_MS - LOOKBACK_MS, back.raised_at_ms)
    assert [first, Exposure(scope, again.raised_at_ms - LOOKBACK_MS, now_ms)] == exposures(found, now_ms)
    soon = tripped(at_ms=back.raised_at_ms + MINUTE_MS)
    found = incident([tripped(), soon], [tripped(), back, soon])
    assert [first, Exposure(scope, back.raised_at_ms, now_ms)] == exposures(found, now_ms), "no decision counts twice"


def test_time_between_what_was_read_of_a_scope_is_affected_unless_it_is_known_to_be_well() -> None:
    """Of thousands of transitions the first and the last are read, and between them it may have tripped."""
    back, last = closed(at_ms=NOON_MS + 20 * MINUTE_MS), closed(at_ms=NOON_MS + 50 * MINUTE_MS)
    found = incident([tripped()], [tripped(), back, last])
    assert [Exposure("model:wrong-1", NOON_MS - LOOKBACK_MS, last.raised_at_ms)] == exposures(found, NOW_MS)


def test_alert_that_nobody_sealed_makes_no_incident_of_the_breaker_s_older_or_longer() -> None:
    """Forged, dated back to 1970 or to after the way back, it joined the true incident by its scope, and all that the
    version had ever decided was affected, for 56 years: more than DORA's thresholds, whatever a person answers."""
    back, scope = closed(at_ms=NOON_MS + 20 * MINUTE_MS), "model:wrong-1"
    forged = [
        alert(AlertCode.MODEL_UNWATCHED, "It can't be judged.", scope, {"at": str(at_ms)}, at_ms)
        for at_ms in (MINUTE_MS, NOON_MS - MINUTE_MS, back.raised_at_ms + MINUTE_MS)
    ]
    before, between, after = forged
    for told in ([before, tripped(), after], [tripped(), between], [before, tripped()]):
        found = incident(told, [tripped(), back])
        assert [Exposure(scope, NOON_MS - LOOKBACK_MS, back.raised_at_ms)] == exposures(found, NOW_MS)
        assert NOON_MS - LOOKBACK_MS == found.suspect_ms
    alone = incident([between], [])
    assert [between.raised_at_ms - LOOKBACK_MS] == [each.since_ms for each in exposures(alone, NOW_MS)]
    assert between.raised_at_ms - LOOKBACK_MS == alone.suspect_ms


def test_decisions_are_suspect_until_now_while_the_breaker_is_not_closed() -> None:
    assert [NOW_MS] == [each.until_ms for each in exposures(incident([tripped()], [tripped()]), NOW_MS)]
    assert [NOW_MS] == [each.until_ms for each in exposures(incident([tripped()], []), NOW_MS)]


def test_a_resolution_ends_what_nothing_else_has_ended() -> None:
    resolved = event(RESOLVE, NOON_MS + 5 * MINUTE_MS)
    found = incident([tripped()], [tripped()], [resolved])
    assert [resolved.at_ms] == [each.until_ms for each in exposures(found, NOW_MS)]


def test_each_scope_has_its_own_time() -> None:
    later = tripped("segment:postcode_area=SW", NOON_MS + 7 * MINUTE_MS)
    found = exposures(incident([tripped(), later], [tripped(), later]), NOW_MS)
    assert [NOON_MS - LOOKBACK_MS, later.raised_at_ms - LOOKBACK_MS] == [each.since_ms for each in found]


def test_page_says_what_became_of_the_model_then_why_and_by_whom() -> None:
    assert tripped().summary == "The breaker took the model out of the loop: 39 % are blocked, and 2 % are usual"
    switch = BreakerRecord("all", BreakerState.FORCED_OPEN, 0, 0, 0, Cause("it blocks payrolls", "ana"))
    told = breaker_alert(Transition(BreakerState.CLOSED, Event.FORCE_OPEN, switch, 0, COUNTS))
    assert told.summary == "A person took the model out of the loop, by ana: it blocks payrolls"
    causes = [each.cause for one in (tripped(), told) if (each := told_transition(one)) is not None]
    assert causes == ["39 % are blocked, and 2 % are usual", "it blocks payrolls"]


def test_an_alert_of_an_earlier_release_says_its_cause_alone() -> None:
    for summary in ("39 % are blocked: of 500", "The model failed its probation.", "The breaker took the model", ""):
        read = told_transition(tripped()._replace(summary=summary))
        assert read is not None
        assert read.cause == summary


def test_timeline_tells_a_transition_once_and_everything_in_order() -> None:
    noted = event(NOTE, NOON_MS + 2 * MINUTE_MS)
    found = incident([tripped(), held(NOON_MS + MINUTE_MS)], [tripped(), closed(at_ms=NOON_MS + 3)], [noted])
    moments = timeline(found)
    assert ["BREAKER", "BREAKER", "ALERT", "PERSON"] == [each.source for each in moments]
    assert sorted(moments, key=lambda each: each.at_ms) == moments


def test_what_is_not_proved_is_shown_as_that_and_changes_no_state() -> None:
    forged = event(RESOLVE, NOON_MS + 1)
    found = incident([tripped()], [tripped()])._replace(unproved=[forged])
    assert IncidentState.OPEN == found.state
    assert "UNPROVED" in [each.source for each in timeline(found)]
    assert NOW_MS == exposures(found, NOW_MS)[0].until_ms
    assert 2 == found.next_sequence


def test_page_of_incidents_has_the_diagram_of_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "incidents.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{diagram()}```" in page


def test_a_transition_is_read_back_as_it_was_told_whatever_else_is_said() -> None:
    told = tripped()
    read = told_transition(told)
    assert read is not None
    assert ("TRIP", "CLOSED", "OPEN", NOON_MS, "monitor") == (
        read.event,
        read.before,
        read.after,
        read.version,
        read.author,
    )
    assert {"allow": 300, "block": 200, "escalate": 12, "errors": 0} == read.counts
    wider = told._replace(code="BREAKER_SHARE_GROWN", evidence={**told.evidence, "share_percent": "5"})
    assert "SHARE_GROWN" == (told_transition(wider) or read).event


def test_a_transition_that_says_nothing_readable_is_unknown() -> None:
    for wrong in ("", "-1", "1e3", "99999999999999999999", "٣"):
        read = told_transition(tripped()._replace(evidence={"version": wrong, "block": wrong}))
        assert read is not None
        assert (None, {}, "UNKNOWN", "UNKNOWN") == (read.version, read.counts, read.before, read.after)
    assert told_transition(held()) is None


def test_conditions_are_read_where_they_are_said_and_nothing_else_is() -> None:
    said = '[{"condition": "block_rate", "count": 200, "limit": 15.0}, 7]'
    assert [{"condition": "block_rate", "count": "200", "limit": "15.0"}] == conditions_of({"conditions": said})
    for wrong in ("", "{}", "[" * 100_000, "null", "not json"):
        assert [] == conditions_of({"conditions": wrong})
    assert [] == conditions_of({})


def test_only_a_proved_way_back_ends_what_is_affected_and_says_how_a_scope_stands() -> None:
    back = told_transition(closed(at_ms=NOON_MS + MINUTE_MS))
    assert back is not None
    found = incident([tripped()], [tripped()])
    forged = found._replace(transitions=[*found.transitions, back.unproved("SEAL_MISSING")])
    assert [NOW_MS] == [each.until_ms for each in exposures(forged, NOW_MS)]
    assert ("OPEN", "CLOSED") == (
        forged.state_of("model:wrong-1"),
        incident([tripped()], [tripped(), closed()]).state_of("model:wrong-1"),
    )
    assert "NOT PROVED" in timeline(forged)[-1].text


def test_nobody_s_alert_claims_the_author_of_what_is_not_proved() -> None:
    raised = tripped()
    claimed = told_transition(raised._replace(evidence={**raised.evidence, "author": UNPROVED}))
    assert claimed is not None
    assert claimed.is_proved
