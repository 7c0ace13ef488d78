"""The report's page: it loads nothing, its tags are sound, and what people and alerts wrote is text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from pipeline.domain.alert import IncidentKind
from pipeline.incident.dora import classify
from pipeline.incident.incidents import AlertGroup, EventKind, Incident, PersonEvent, timeline
from pipeline.incident.page import MOMENTS_MAX, page
from pipeline.incident.radius import Affected, Group, Radius, Share, Usual
from pipeline.incident.whole import Whole, whole_json
from pipeline.web.html import escape
from tests.incident.given import LOOKBACK_MS, as_read, tripped
from tests.records import NOON_MS

LOADING = re.compile(r"https?:|url\(|@import|<script|<link|<img|<iframe|\ssrc=|\son[a-z]+=", re.IGNORECASE)
HOSTILE = '<script>alert("x")</script><img src=//evil> \u202e'
DAY_MS = 86_400_000


def whole(text: str = "39 % are blocked", alerts: int = 1) -> Whole:
    told = [as_read(tripped()._replace(summary=text, scope=f"segment:{text}={n}")) for n in range(alerts)]
    events = [
        PersonEvent(1, EventKind.ACKNOWLEDGED, "olga", NOON_MS + 1, text, None, None, None, "act"),
        PersonEvent(2, EventKind.NOTED, "olga", NOON_MS + 2, text, "ECONOMIC", "NOT_MET", None, "act"),
    ]
    radius = Radius(
        [Share("MODEL", "BLOCK", "GBP", 5, 50_000), Share("MODEL", "BLOCK", "JPY", 1, 700)],
        [Group("MODEL", "BLOCK", 6, 6), Group(text, text, 1, 1)],
        6, 6, 50_000, 1, {"GB": 5, "JP": 1},
        Affected("d-1", "tx-1", NOON_MS, 0, 4), None,
        {0: 1_234}, Usual(NOON_MS - 2 * DAY_MS, NOON_MS, 4_000, 900, 10**9), [text],
    )._replace(shares=[Share("MODEL", "BLOCK", "GBP", 5, 50_000), Share(text, text, "GBP", 1, 1)])  # fmt: skip
    scopes = sorted({each.scope for each in told})
    found = Incident(
        "0b5c0a4e-0000-5000-8000-000000000000",
        "MODEL",
        NOON_MS,
        NOON_MS - LOOKBACK_MS,
        scopes,
        told,
        [AlertGroup("BREAKER_TRIP", alerts, NOON_MS, NOON_MS)],
        [],
        events,
        [PersonEvent(3, EventKind.RESOLVED, text, NOON_MS + 3, text, None, None, "{}", "act")],
    )
    return Whole(found, radius, classify(found, radius, ["other"], NOON_MS + DAY_MS), NOON_MS + DAY_MS)


class Balanced(HTMLParser):
    """Fails where a tag that was opened is not closed in its turn."""

    VOID = ("meta", "html", "title", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("text", ["39 % are blocked", HOSTILE])
def test_a_page_loads_nothing_and_is_sound(text: str) -> None:
    found = page(whole(text))
    shown = found.replace("&lt;img src=//evil&gt;", "")
    assert not LOADING.findall(shown)
    assert "<script" not in found
    assert "\u202e" not in found
    parser = Balanced()
    parser.feed(found)
    assert [] == parser.open


def test_a_page_says_what_is_not_known_and_what_is_not_proved() -> None:
    found = page(whole())
    for words in (
        "All times are UTC.",
        "count as nothing",
        "Left to a person",
        "whether media",
        "partition 0 to 1,234",
        "Article 8(2)",
    ):
        assert words in found


def test_a_page_of_a_large_incident_says_what_it_leaves_out() -> None:
    found = page(whole(alerts=MOMENTS_MAX + 5))
    assert f"the first {MOMENTS_MAX:,} each are" in found


def test_a_flood_of_alerts_hides_nothing_that_people_did() -> None:
    """Who acknowledged, answered and resolved it is what a regulator asks; alerts come first, and by thousands."""
    found = page(whole(alerts=10_000))
    acts = [each for each in timeline(whole(alerts=10_000).incident) if each.source in ("PERSON", "UNPROVED")]
    assert len(acts) == 3
    assert all(escape(act.text) in found for act in acts)
    assert found.count('">ALERT</span>') == MOMENTS_MAX


def test_only_a_model_that_was_taken_out_is_said_to_have_been() -> None:
    taken_out = "before it was taken out or on probation"
    assert taken_out in page(whole())
    told = whole()
    forged = told._replace(incident=told.incident._replace(kind=IncidentKind.FORGERY))
    assert taken_out not in page(forged)
    assert "the model" in page(forged)


def test_json_has_everything_that_the_page_has() -> None:
    found: dict[str, Any] = whole_json(whole())
    assert ["ACKNOWLEDGED", "NOTED", "RESOLVED"] == [each["kind"] for each in found["events"]]
    assert [True, True, False] == [each["is_proved"] for each in found["events"]]
