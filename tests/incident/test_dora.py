"""DORA's classification: each threshold at its value and one step above, and what isn't known is never not met."""

from __future__ import annotations

from itertools import product

import pytest

from pipeline.domain.alert import IncidentKind
from pipeline.incident.dora import (
    ARTICLES,
    DAY_MS,
    Answer,
    Class,
    Classification,
    Criterion,
    Finding,
    classify,
)
from pipeline.incident.incidents import EventKind, Incident, PersonEvent
from pipeline.incident.radius import Radius, Usual
from tests.incident.given import LOOKBACK_MS
from tests.records import NOON_MS

NOW_MS = NOON_MS + 3_600_000
USUAL = Usual(NOON_MS - 30 * DAY_MS, NOON_MS, decisions=300_000, customers=5_000, amount_gbp_minor=3_000_000_000)
OPEN = tuple(each for each in Criterion if each not in (Criterion.CRITICAL_SERVICES, Criterion.CLIENTS))


def radius(**changed: object) -> Radius:
    plain = Radius([], [], 10, 5, 100_000, 0, {"GB": 10}, None, None, {0: 10}, USUAL, [])
    return plain._replace(**changed)


def incident(*answers: tuple[Criterion, Answer], kind: str = "MODEL", resolved_ms: int | None = None) -> Incident:
    events = [
        PersonEvent(n + 1, EventKind.NOTED, "olga", NOON_MS, "as legal says", str(criterion), str(answer), None, "act")
        for n, (criterion, answer) in enumerate(answers)
    ]
    if resolved_ms is not None:
        events.append(PersonEvent(9, EventKind.RESOLVED, "olga", resolved_ms, "over", None, None, "{}", "act"))
    return Incident("id", kind, NOON_MS, NOON_MS - LOOKBACK_MS, ["all"], [], [], [], events, [])


def classified(found: Incident, of: Radius | None = None, now_ms: int = NOW_MS) -> Classification:
    return classify(found, of or radius(), [], now_ms)


def finding(of: Classification, criterion: Criterion) -> Finding:
    return next(each for each in of.findings if each.criterion is criterion)


@pytest.mark.parametrize(
    ("changed", "is_met"),
    [
        ({"customers": 500}, False),  # (a) more than 10 % of the clients
        ({"customers": 501}, True),
        ({"decisions": 1_000}, False),  # (d) more than 10 % of the daily average number: 10,000
        ({"decisions": 1_001}, True),
        ({"worth_gbp_minor": 10_000_000}, False),  # (e) more than 10 % of the daily average value
        ({"worth_gbp_minor": 10_000_001}, True),
        ({"customers": 100_000, "usual": None}, False),  # (b) more than 100,000 clients
        ({"customers": 100_001, "usual": None}, True),
    ],
)
def test_clients_and_transactions_meet_their_thresholds_above_them(changed: dict[str, object], is_met: bool) -> None:
    found = finding(classified(incident(), radius(**changed)), Criterion.CLIENTS)
    assert (Answer.MET if is_met else Answer.NOT_KNOWN) is found.answer
    assert any("counterparts" in question for question in found.open)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"usual": None}, "less than a day"),
        ({"worth_unknown": 3}, "no rate for (3)"),
        ({"left_out": ["Gone."]}, "Gone."),
    ],
)
def test_1_what_could_not_be_counted_is_named(changed: dict[str, object], named: str) -> None:
    found = finding(classified(incident(), radius(**changed)), Criterion.CLIENTS)
    assert Answer.NOT_KNOWN is found.answer
    assert any(named in question for question in found.open)


def test_duration_is_met_after_24_hours_and_not_before() -> None:
    began_ms = NOON_MS - LOOKBACK_MS
    for end_ms, expected in ((began_ms + DAY_MS, Answer.NOT_KNOWN), (began_ms + DAY_MS + 1, Answer.MET)):
        assert expected is finding(classified(incident(), now_ms=end_ms), Criterion.DURATION).answer
        resolved = classified(incident(resolved_ms=end_ms), now_ms=NOW_MS + 90 * DAY_MS)
        assert expected is finding(resolved, Criterion.DURATION).answer


def test_1_nothing_is_not_met_before_a_person_says_so() -> None:
    found = classified(incident())
    assert Answer.NOT_MET not in {each.answer for each in found.findings}
    assert Class.UNDECIDED is found.major
    for each in found.findings:
        assert bool(each.open) == (each.answer is Answer.NOT_KNOWN)
        assert ARTICLES[each.criterion] == each.article


def test_two_thresholds_of_article_9_1_to_6_make_a_major_incident_and_one_does_not() -> None:
    for one, other in product(OPEN, OPEN):
        if Criterion.MALICIOUS_ACCESS in (one, other) or one is other:
            continue
        rest = [(each, Answer.NOT_MET) for each in Criterion if each not in (one, other)][1:]
        both = incident((one, Answer.MET), (other, Answer.MET), *rest)
        assert Class.MAJOR is classified(both).major
        single = incident((one, Answer.MET), (other, Answer.NOT_MET), *rest)
        assert Class.NOT_MAJOR is classified(single).major


def test_malicious_access_alone_makes_a_major_incident() -> None:
    answers = [(each, Answer.NOT_MET) for each in (Criterion.CLIENTS, *OPEN) if each is not Criterion.MALICIOUS_ACCESS]
    assert Class.UNDECIDED is classified(incident(*answers)).major
    assert Class.MAJOR is classified(incident(*answers, (Criterion.MALICIOUS_ACCESS, Answer.MET))).major
    assert Class.NOT_MAJOR is classified(incident(*answers, (Criterion.MALICIOUS_ACCESS, Answer.NOT_MET))).major


def test_nothing_is_major_where_no_critical_service_was_affected() -> None:
    answers = [(each, Answer.MET) for each in OPEN]
    assert Class.MAJOR is classified(incident(*answers)).major
    assert Class.NOT_MAJOR is classified(incident(*answers, (Criterion.CRITICAL_SERVICES, Answer.NOT_MET))).major


def test_2_nobody_answers_the_system_s_own_figures_away() -> None:
    found = classified(incident((Criterion.CLIENTS, Answer.NOT_MET)), radius(customers=5_000))
    assert Answer.MET is finding(found, Criterion.CLIENTS).answer
    assert "olga" == (finding(found, Criterion.CLIENTS).word or pytest.fail("the word is shown")).by


def test_the_latest_answer_counts() -> None:
    found = classified(incident((Criterion.ECONOMIC, Answer.MET), (Criterion.ECONOMIC, Answer.NOT_MET)))
    assert Answer.NOT_MET is finding(found, Criterion.ECONOMIC).answer


@pytest.mark.parametrize("kind", IncidentKind)
def test_every_kind_of_incident_is_classified(kind: IncidentKind) -> None:
    found = classified(incident(kind=kind))
    assert list(Criterion) == [each.criterion for each in found.findings]
    if kind is IncidentKind.FORGERY:
        assert "stolen" in finding(found, Criterion.MALICIOUS_ACCESS).known
