"""Where an alert belongs, and what is kept of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerts.catalogue import AlertCode, alert_id_of
from pipeline.alerts.incident_kinds import KIND_OF, kind_of
from pipeline.domain.alert import Alert, IncidentKind, Severity
from pipeline.domain.times import CLAIM_MS_MAX, CLAIM_MS_MIN
from pipeline.incident.placing import (
    JOINED_MS,
    OPEN_MAX,
    TEXT_CHARACTERS_MAX,
    Standing,
    incident_id_of,
    joined,
    kept,
    suspect_since,
)
from tests.incident.given import LOOKBACK_MS, closed, tripped
from tests.records import NOON_MS

TEXTS = st.text(max_size=30)
ALERTS = st.builds(
    Alert,
    alert_id=TEXTS,
    raised_at_ms=st.integers(-(2**63), 2**63 - 1),
    severity=st.sampled_from(Severity),
    code=TEXTS,
    summary=TEXTS,
    scope=TEXTS,
    evidence=st.dictionaries(TEXTS, TEXTS, max_size=5),
)


def standing(incident_id: str, scope: str, at_ms: int) -> Standing:
    return Standing(incident_id, frozenset({scope}), at_ms, at_ms)


def test_every_alert_of_the_catalogue_says_what_it_opens() -> None:
    assert list(AlertCode) == list(KIND_OF)


def test_only_what_is_critical_opens_an_incident() -> None:
    assert IncidentKind.LEDGER is kind_of("RECONCILIATION_GAP", Severity.CRITICAL)
    assert kind_of("RECONCILIATION_GAP", Severity.WARNING) is None


def test_a_critical_alert_of_a_later_release_is_seen_by_somebody() -> None:
    assert IncidentKind.ALERTING is kind_of("SURPRISE", Severity.CRITICAL)


def test_an_alert_joins_the_latest_open_incident_of_its_scope_however_long_ago() -> None:
    known = [standing("a", "all", NOON_MS - 90 * JOINED_MS), standing("b", "all", NOON_MS - 80 * JOINED_MS)]
    found = joined(tripped("all"), known)
    assert found is not None
    assert "b" == found.incident_id


def test_an_alert_of_another_scope_joins_within_the_hour_and_no_later() -> None:
    told = tripped("segment:postcode_area=SW")
    known = [standing("a", "model:wrong-1", NOON_MS - JOINED_MS)]
    assert known[0] == joined(told, known)
    assert joined(told, [standing("a", "model:wrong-1", NOON_MS - JOINED_MS - 1)]) is None
    assert joined(told, [standing("a", "model:wrong-1", NOON_MS + JOINED_MS + 1)]) is None


def test_an_alert_of_a_wrong_clock_takes_nothing_else_in() -> None:
    wrong = Standing("a", frozenset({"model:wrong-1"}), NOON_MS, CLAIM_MS_MAX)
    assert joined(tripped("all", NOON_MS + JOINED_MS + 1), [wrong]) is None


def test_alerts_of_made_up_scopes_and_times_open_no_more_incidents_than_people_can_see_to() -> None:
    """Each forged record of another scope and hour opened one; beside 20,000 that were open an alert took 17 ms."""
    known: dict[str, Standing] = {}
    for number in range(3 * OPEN_MAX):
        told = tripped(f"segment:a={number}", NOON_MS + 3 * JOINED_MS * number)
        found = joined(told, list(known.values())) or standing(str(number), told.scope, told.raised_at_ms)
        known[found.incident_id] = found.joined_by(told)
    assert OPEN_MAX == len(known)
    late = joined(tripped("all", NOON_MS - 9 * JOINED_MS), list(known.values()))
    assert late is not None
    assert "0" == late.incident_id, "it joins the nearest"


def test_an_alert_that_is_read_late_joins_the_incident_that_it_comes_before() -> None:
    known = [standing("a", "all", NOON_MS + 5)]
    found = joined(tripped("model:wrong-1"), known)
    assert found is not None
    assert (NOON_MS, NOON_MS + 5) == found.joined_by(tripped("model:wrong-1"))[2:4]


@given(ALERTS)
def test_1_the_same_raising_leads_to_the_same_incident(told: Alert) -> None:
    once, again = kept(told), kept(told._replace(alert_id="claimed otherwise"))
    assert incident_id_of(IncidentKind.MODEL, once) == incident_id_of(IncidentKind.MODEL, again)
    other = kept(told._replace(evidence={**told.evidence, "more": "evidence"}))
    assert incident_id_of(IncidentKind.MODEL, once) != incident_id_of(IncidentKind.MODEL, other)


@given(ALERTS)
def test_3_what_is_kept_fits_its_columns(told: Alert) -> None:
    stored = kept(told)
    texts = [stored.code, stored.summary, stored.scope, *stored.evidence, *stored.evidence.values()]
    assert all("\x00" not in text and len(text) <= TEXT_CHARACTERS_MAX for text in texts)
    assert CLAIM_MS_MIN <= stored.raised_at_ms <= CLAIM_MS_MAX
    assert alert_id_of(told.code, told.scope, told.evidence) == stored.alert_id


def test_3_a_text_without_end_is_cut() -> None:
    told = tripped()._replace(summary="x" * 10**6, evidence={str(n): "y" * 10**4 for n in range(10**3)})
    stored = kept(told)
    assert TEXT_CHARACTERS_MAX == len(stored.summary)
    assert 100 == len(stored.evidence)


def test_an_alert_keeps_the_id_that_it_was_raised_with() -> None:
    for told in (tripped(), closed()):
        assert told.alert_id == kept(told).alert_id


def test_decisions_are_suspect_from_the_breaker_s_window_where_that_is_longer() -> None:
    def since(window_from_ms: object) -> int:
        told = tripped()._replace(evidence={"window_from_ms": str(window_from_ms)})
        return suspect_since(told, LOOKBACK_MS)

    plain = NOON_MS - LOOKBACK_MS
    assert plain == suspect_since(tripped(), LOOKBACK_MS)
    assert plain == since(NOON_MS - LOOKBACK_MS + 1), "what is suspect is never less than what is looked back"
    assert NOON_MS - JOINED_MS == since(NOON_MS - JOINED_MS)
    assert plain == since(0) == since("") == since(1) == since(NOON_MS + 1)


def test_3_what_a_worker_is_proved_to_have_told_joins_no_incident_in_which_nothing_is():
    made_up = Standing("made-up", frozenset({"model:wrong-1"}), NOON_MS, NOON_MS)
    assert joined(tripped(), [made_up], is_proved=True) is None
    assert joined(tripped(), [made_up]) is made_up
    flood = [made_up._replace(incident_id=str(number)) for number in range(OPEN_MAX)]
    assert joined(tripped(), flood, is_proved=True) is None, "they can't keep it from opening one either"
    proved = made_up.joined_by(tripped(), is_proved=True)
    assert joined(tripped(), [*flood, proved], is_proved=True) is proved
    assert proved.joined_by(tripped()).is_proved, "what anybody may have written takes nothing from it"
