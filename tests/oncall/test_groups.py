"""Groups: what is one thing, when it is told, escalated and over. Invariants of pipeline/oncall/groups.py."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerts.catalogue import AlertCode, alert, backup_alert, over
from pipeline.domain.alert import Alert, Severity
from pipeline.oncall.groups import (
    AGAIN_MS,
    ALERTS_KEPT_MAX,
    FOLD_AGAIN_MS,
    GROUPS_MAX,
    OTHER_CODES,
    OTHER_SCOPES,
    OTHER_WIDE_SCOPES,
    SCOPES_MAX,
    TRANSITIONS,
    UNPROVED_SCOPE,
    WIDE_SCOPES_MAX,
    AlertTurn,
    EventKind,
    Group,
    GroupEvent,
    GroupKey,
    State,
    advanced,
    begins_anew,
    bounded,
    group_id_of,
    is_all_over,
    is_ended_by,
    is_quiet,
    is_to_be_told,
    key_of,
    open_key,
    put_back,
    told_of,
    turn_after,
    turns_ended_by,
)
from tests.oncall.given import conflict, good, group, trip
from tests.records import NOON_MS

HOUR_MS = 3_600_000


def turn_of(about: Alert, turn: int = 1, *, is_over: bool = False) -> AlertTurn:
    return AlertTurn(turn, is_over, about.code, about.scope, about.raised_at_ms)


def raised(records: int, at: Group | None = None) -> Group:
    return advanced(at or group(), GroupEvent(EventKind.RAISED, NOON_MS, records, raised_at_ms=NOON_MS))


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", EventKind)
def test_what_is_over_stays_over_and_only_a_person_s_answer_stops_escalation(state: State, event: EventKind) -> None:
    expected = state is not State.RESOLVED and (state, event) != (State.ACKNOWLEDGED, EventKind.ESCALATED)
    assert expected == ((state, event) in TRANSITIONS)


def test_1_alerts_of_one_code_scope_and_severity_are_one_group() -> None:
    assert key_of(conflict(1)) == key_of(conflict(2))
    assert key_of(trip("all")) != key_of(trip("segment:E1"))


def test_1_what_people_did_is_told_each_by_itself() -> None:
    def changed(number: str) -> Alert:
        return alert(AlertCode.ROLLBACK_APPLIED, "", "all", {"plan": number}, NOON_MS)

    assert key_of(changed("1")) != key_of(changed("2"))
    assert key_of(changed("1")) == key_of(changed("1"))


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 200)), min_size=1, max_size=300))
def test_codes_and_scopes_that_are_made_up_open_no_more_groups_than_the_bound(made_up: list[tuple[int, int]]) -> None:
    taken = {GroupKey(f"C{number}", "all", Severity.CRITICAL) for number in range(GROUPS_MAX - 100)}
    for code, scope in made_up:
        taken.add(open_key(GroupKey(f"X{code}", f"s{scope}", Severity.CRITICAL), taken))
    assert len(taken) <= GROUPS_MAX + 1
    scopes = Counter(key.code for key in taken)
    assert max(scopes.values()) <= SCOPES_MAX + 1


def test_group_follows_from_the_place_of_its_first_record() -> None:
    key = key_of(conflict())
    assert group_id_of(key, "alerts.v1", 0, 7) == group_id_of(key, "alerts.v1", 0, 7)
    assert group_id_of(key, "alerts.v1", 0, 7) != group_id_of(key, "alerts.v1", 1, 7)


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=40))
def test_4_a_flood_is_told_of_with_the_logarithm_of_its_alerts(arrivals: list[int]) -> None:
    at, told = group(), 0
    for records in arrivals:
        at = raised(records, at)
        if is_to_be_told(at, NOON_MS, wait_ms=0):
            at = advanced(at, GroupEvent(EventKind.TOLD, NOON_MS, at.records))
            told += 1
    assert 1 <= told <= len(str(sum(arrivals)))
    assert at.records < 10 * at.told_records


def test_4_first_message_waits_so_that_it_can_count() -> None:
    assert not is_to_be_told(raised(1), NOON_MS + 2_999, wait_ms=3_000)
    assert is_to_be_told(raised(1), NOON_MS + 3_000, wait_ms=3_000)


def test_2_group_is_over_when_each_of_its_alerts_is() -> None:
    both = {"a": turn_of(conflict()), "b": turn_of(conflict(), 2, is_over=True)}
    assert not is_all_over(replace(group(), turns=both))
    assert is_all_over(replace(group(), turns={**both, "a": turn_of(conflict(), 2, is_over=True)}))
    assert not is_all_over(group()), "nothing is known of it"


def test_2_what_was_only_counted_is_not_known_to_be_over() -> None:
    full = {str(number): turn_of(conflict()) for number in range(ALERTS_KEPT_MAX)}
    flooded = replace(group(), turns=full)
    assert turn_after(flooded, conflict()) is None
    over_all = replace(flooded, turns={name: turn_of(conflict(), 2, is_over=True) for name in full}, is_counted=True)
    assert not is_all_over(over_all)


def test_alert_that_comes_back_after_it_was_over_fires_again() -> None:
    first = conflict()
    at = replace(group(), turns={first.alert_id: turn_of(first, 2, is_over=True)})
    assert turn_of(first, 3) == turn_after(at, first)
    assert turn_after(at, first._replace(is_over=True)) is None
    assert turn_after(at, conflict(2)._replace(is_over=True)) is None, "it was never raised"


def test_6_older_word_that_it_is_over_ends_nothing() -> None:
    first = backup_alert(NOON_MS, NOON_MS)
    at = replace(group(first), turns={first.alert_id: turn_of(first)})
    again = turn_after(at, first._replace(raised_at_ms=NOON_MS + 10))
    assert again == turn_of(first, 2)._replace(raised_at_ms=NOON_MS + 10)
    raised_again = replace(at, turns={first.alert_id: again})
    assert turn_after(raised_again, over(first, NOON_MS + 9)) is None
    ended = turn_after(raised_again, over(first, NOON_MS + 10))
    assert ended is not None
    assert ended.is_over


def test_6_older_good_news_ends_no_newer_trip() -> None:
    at = advanced(group(trip()), GroupEvent(EventKind.RAISED, NOON_MS, 2, raised_at_ms=NOON_MS + 600_000))
    assert not is_ended_by(at, good(at_ms=NOON_MS + 300_000))
    assert not is_ended_by(at, good(at_ms=NOON_MS + 600_000)), "nobody knows which was first"
    assert is_ended_by(at, good(at_ms=NOON_MS + 600_001))


SEGMENTS = {key_of(trip(f"segment:postcode_area=A{number}")) for number in range(SCOPES_MAX)}


@pytest.mark.parametrize("scope", ["all", "model:m2", "channel:MOBILE"])
def test_5_trip_of_many_payments_is_never_among_those_of_segments(scope: str) -> None:
    key = key_of(trip(scope))
    made_up = {GroupKey(f"X{number}", "all", Severity.CRITICAL) for number in range(GROUPS_MAX)}
    for taken in (SEGMENTS, SEGMENTS | {key_of(trip(OTHER_SCOPES))}, SEGMENTS | made_up):
        assert key == open_key(key, taken)


def test_5_made_up_models_are_one_group_beyond_a_bound_and_not_that_of_segments() -> None:
    taken = set(SEGMENTS)
    for number in range(WIDE_SCOPES_MAX + 10):
        taken.add(open_key(key_of(trip(f"model:{number}")), taken))
    assert SCOPES_MAX + WIDE_SCOPES_MAX + 1 == len(taken)
    assert key_of(trip(OTHER_WIDE_SCOPES)) in taken
    assert key_of(trip("all")) == open_key(key_of(trip("all")), taken)


def folded(*scopes: str) -> Group:
    trips = [trip(f"segment:{scope}", NOON_MS + number) for number, scope in enumerate(scopes)]
    key = key_of(trip(OTHER_SCOPES))
    return replace(group(trips[0]), key=key, turns={each.alert_id: turn_of(each) for each in trips})


def test_4_group_of_further_scopes_is_told_of_in_time_and_names_them() -> None:
    at = advanced(raised(40, folded("E1", "E2")), GroupEvent(EventKind.TOLD, NOON_MS, 40))
    more = raised(1, at)
    assert not is_to_be_told(more, NOON_MS + FOLD_AGAIN_MS - 1, 0)
    assert is_to_be_told(more, NOON_MS + FOLD_AGAIN_MS, 0)
    assert not is_to_be_told(at, NOON_MS + 1_000 * HOUR_MS, 0), "there is nothing new to tell"
    assert "segment:E2, segment:E1" in told_of(more).summary


def test_2_group_of_further_scopes_is_over_when_each_of_them_is() -> None:
    at = folded("E1", "E2")
    for scope, is_over in (("E1", False), ("E2", True)):
        news = good(f"segment:{scope}", NOON_MS + 10)
        at = replace(at, turns={**at.turns, **turns_ended_by(at, news)})
        assert is_over == is_all_over(at)
    assert turns_ended_by(folded("E1"), good("segment:E1", NOON_MS)) == {}, "it is no later"


def test_4_one_more_alert_is_told_of_after_a_quiet_time() -> None:
    told = advanced(raised(1), GroupEvent(EventKind.TOLD, NOON_MS, 1))
    assert not is_to_be_told(raised(1, told), NOON_MS + AGAIN_MS - 1, 0)
    assert is_to_be_told(raised(1, told), NOON_MS + AGAIN_MS, 0)
    assert not is_to_be_told(told, NOON_MS + 1_000 * HOUR_MS, 0)


def test_2_good_probe_ends_the_trip_of_its_own_scope() -> None:
    at = group(trip("segment:E1"))
    assert is_ended_by(at, good("segment:E1", NOON_MS + 1))
    assert not is_ended_by(at, good("all"))
    assert not is_ended_by(at, good("segment:E1")._replace(is_over=True))
    assert not is_ended_by(group(), good())


def test_2_silence_of_the_raiser_ends_nothing_that_nobody_has_acknowledged() -> None:
    fired = raised(1)
    assert not is_quiet(fired, NOON_MS + 1_000 * HOUR_MS, 24 * HOUR_MS)
    known = advanced(fired, GroupEvent(EventKind.ACKNOWLEDGED, NOON_MS, actor="ann"))
    assert not is_quiet(known, NOON_MS + 24 * HOUR_MS - 1, 24 * HOUR_MS)
    assert is_quiet(known, NOON_MS + 24 * HOUR_MS, 24 * HOUR_MS)


@pytest.mark.parametrize("code", ["BREAKER_TRIP", "BREAKER_FORCE_OPEN", "BREAKER_STATE_LOST"])
def test_2_model_out_of_the_loop_is_not_over_because_nothing_more_came(code: str) -> None:
    """A message that said so on the second day was false: the fallback still answered."""
    out = alert(AlertCode(code), "", "all", {}, NOON_MS)
    known = advanced(raised(1, group(out)), GroupEvent(EventKind.ACKNOWLEDGED, NOON_MS, actor="ann"))
    assert not is_quiet(known, NOON_MS + 1_000 * HOUR_MS, 24 * HOUR_MS)
    others = replace(known, key=known.key._replace(code=OTHER_CODES), turns={out.alert_id: turn_of(out)})
    assert not is_quiet(others, NOON_MS + 1_000 * HOUR_MS, 24 * HOUR_MS)
    assert is_quiet(replace(known, key=known.key._replace(scope=UNPROVED_SCOPE)), NOON_MS + 24 * HOUR_MS, 24 * HOUR_MS)


def test_9_acknowledgement_covers_no_later_trip() -> None:
    first = trip()
    firing = replace(raised(1, group(first)), turns={first.alert_id: turn_of(first)})
    known = advanced(firing, GroupEvent(EventKind.ACKNOWLEDGED, NOON_MS, actor="ann"))
    again, before = trip(at_ms=NOON_MS + 1), trip(at_ms=NOON_MS - 1)
    assert [False, True, False, False] == [
        begins_anew(firing, again, NOON_MS),
        begins_anew(known, again, NOON_MS),
        begins_anew(known, first, NOON_MS),
        begins_anew(known, before, NOON_MS),
    ]
    fold = replace(known, key=known.key._replace(scope=OTHER_SCOPES))
    assert begins_anew(fold, trip("segment:E1", NOON_MS - 1), NOON_MS), "it is another outage, whenever it began"
    unproved = replace(known, key=known.key._replace(scope=UNPROVED_SCOPE))
    assert not begins_anew(unproved, again, NOON_MS + AGAIN_MS - 1), "whoever forges can't call people all the time"
    assert begins_anew(unproved, again, NOON_MS + AGAIN_MS), "it may be true, and only the key be unknown"


def test_9_acknowledgement_of_what_anybody_may_raise_lasts_an_hour_against_what_comes_anew() -> None:
    """Whoever may write alerts.v1 had one acknowledged that was false, and what was true joined it without a call."""
    first, again = conflict(1), conflict(2)
    firing = replace(raised(1, group(first)), turns={first.alert_id: turn_of(first)})
    known = advanced(firing, GroupEvent(EventKind.ACKNOWLEDGED, NOON_MS, actor="ann"))
    assert not begins_anew(known, again, NOON_MS + AGAIN_MS - 1)
    assert begins_anew(known, again, NOON_MS + AGAIN_MS)
    assert not begins_anew(firing, again, NOON_MS + AGAIN_MS), "nobody has acknowledged it, so it escalates"
    assert not begins_anew(known, first, NOON_MS + AGAIN_MS), "it was known then"
    assert not begins_anew(known, again._replace(severity=Severity.WARNING), NOON_MS + AGAIN_MS)
    tripped = trip()
    open_still = advanced(raised(1, group(tripped)), GroupEvent(EventKind.ACKNOWLEDGED, NOON_MS, actor="ann"))
    bad = alert(AlertCode.BREAKER_STILL_BAD, "Still bad.", "all", {}, NOON_MS + AGAIN_MS)
    assert not begins_anew(open_still, bad, NOON_MS + AGAIN_MS), "a worker's word is no forgery, and this no news"


@given(st.integers(0, 10**13), st.integers(0, 10**13), st.integers(1, 10**6), st.integers(1, 100))
def test_clock_that_was_put_back_keeps_no_group_waiting(opened_ms: int, now_ms: int, wait_ms: int, count: int) -> None:
    at = put_back(replace(group(), opened_at_ms=opened_ms, raised_at_ms=opened_ms, records=count), now_ms)
    assert is_to_be_told(at, now_ms + wait_ms, wait_ms)
    told = put_back(replace(at, told_records=1, told_at_ms=opened_ms, last_told_at_ms=opened_ms, records=2), now_ms)
    assert is_to_be_told(told, now_ms + AGAIN_MS, wait_ms)
    assert (told.told_at_ms or 0) <= now_ms, "from then on it is escalated"


def test_notice_that_nobody_was_told_of_is_not_forgotten() -> None:
    assert not is_quiet(raised(1, group(good())), NOON_MS + HOUR_MS, HOUR_MS)


@given(st.text(max_size=3_000), st.dictionaries(st.text(max_size=300), st.text(max_size=3_000), max_size=60))
def test_every_alert_can_be_stored(text: str, evidence: dict[str, str]) -> None:
    """NUL, controls and endless texts would be refused by the database, and stop everything behind them."""
    kept = bounded(Alert(text, NOON_MS, Severity.CRITICAL, text, text, text, evidence))
    for each in (kept.alert_id, kept.code, kept.scope, kept.summary, *kept.evidence, *kept.evidence.values()):
        assert each
        assert not {"Cc", "Cs"} & {unicodedata.category(character) for character in each}
    assert (100, 100, 300, 2_000) >= (len(kept.alert_id), len(kept.code), len(kept.scope), len(kept.summary))
    assert len(kept.evidence) <= 30


def test_diagram_of_the_documentation_is_the_table() -> None:
    text = Path("docs/alerting.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^    ([A-Z]+) --> ([A-Z]+): ([A-Z]+)$", text, re.MULTILINE))
    assert drawn == {(before, after, event) for (before, event), after in TRANSITIONS.items() if before is not after}
