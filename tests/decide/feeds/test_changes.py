"""What may follow the feed in force, and what only a person may let in."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decide.feeds.changes import Objection, refusal_of
from pipeline.decide.feeds.feed import AHEAD_MS_MAX, Feed, FeedKind, parse_feed
from pipeline.decide.feeds.feed_files import shipped_as_of
from tests.records import NOON_MS, policy

DAY_MS = 86_400_000
LIMITS = policy().feeds


def feed(kind: FeedKind, *changes: tuple[str, str], days: int = 0) -> Feed:
    text = shipped_as_of(kind, NOON_MS + days * DAY_MS).decode()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return parse_feed(text.encode())


def objection(before: Feed | None, after: Feed, now_ms: int = NOON_MS + 10 * DAY_MS) -> tuple[str, str] | None:
    assert LIMITS is not None
    refused = refusal_of(before, after, LIMITS, now_ms)
    return None if refused is None else (refused.objection, refused.why)


RATES, SANCTIONS = FeedKind.EXCHANGE_RATES, FeedKind.SANCTIONS


@pytest.mark.parametrize("kind", FeedKind)
def test_a_later_feed_follows_and_so_does_the_same_and_the_first(kind: FeedKind) -> None:
    assert objection(feed(kind), feed(kind, days=1)) is None
    assert objection(feed(kind), feed(kind)) is None
    assert objection(None, feed(kind)) is None


@pytest.mark.parametrize("kind", FeedKind)
def test_an_older_feed_another_of_the_same_moment_or_version_does_not_follow(kind: FeedKind) -> None:
    later = feed(kind, days=1)
    for older in (feed(kind), feed(kind, days=-300), feed(kind, ('source = "', 'source = "x'), days=1)):
        assert (objection(later, older) or ("",))[0] == Objection.OLDER
    renamed = feed(kind, ('version = "shipped-2025-11-27"', 'version = "shipped-2025-11-26"'), days=2)
    assert "has a new version" in (objection(later, renamed) or ("", ""))[1]


@pytest.mark.parametrize("kind", FeedKind)
def test_a_feed_of_the_future_is_refused_whoever_means_it(kind: FeedKind) -> None:
    assert LIMITS is not None
    later = feed(kind, days=3)
    for before in (None, feed(kind)):
        refused = refusal_of(before, later, LIMITS, later.as_of_ms - AHEAD_MS_MAX - 1)
        assert refused is not None
        assert (refused.objection, refused.may_be_forced) == (Objection.FUTURE, False)
        assert refusal_of(before, later, LIMITS, later.as_of_ms - AHEAD_MS_MAX) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('"0.8720"', '"1.0464"'), None),  # 20 % more
        (('"0.8720"', '"1.0465"'), (Objection.MOVED, "EUR")),
        (('"0.8720"', '"0.7267"'), None),  # 20 % of the smaller
        (('"0.8720"', '"0.7266"'), (Objection.MOVED, "EUR from 0.8720 to 0.7266 GBP")),
        (('"0.00496"', '"0.496"'), (Objection.MOVED, "JPY")),  # a unit taken for its hundredth
        (('  { code = "KWD", worth = "2.4780", minor_digits = 3 },\n', ""), (Objection.SHRUNKEN, "KWD had a rate")),
        (('"2.4780", minor_digits = 3', '"2.4780", minor_digits = 2'), (Objection.MOVED, "KWD would have another")),
        (("rates = [", 'rates = [\n  { code = "CZK", worth = "0.0350", minor_digits = 2 },'), None),
    ],
)
def test_rates_move_by_what_the_policy_allows(change: tuple[str, str], expected: tuple[str, str] | None) -> None:
    found = objection(feed(RATES), feed(RATES, change, days=1))
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == expected[0]
        assert expected[1] in found[1]


def known(*codes: str) -> tuple[str, str]:
    return '  "AD", ', "  " + "".join(f'"{code}", ' for code in ("AD", *codes))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('{ country = "RU", from = 2022-02-24 }', '{ country = "RU", from = 2022-02-24, until = 2025-11-01 }'), None),
        (('  { country = "RU", from = 2022-02-24 },\n', ""), "RU stood in the list and would not"),
        (('{ country = "RU", from = 2022-02-24 }', '{ country = "RU", from = 2022-02-25 }'), None),
        (("sanctioned_countries = [", 'sanctioned_countries = [\n  { country = "MM", from = 2021-02-01 },'), None),
        (('"AD", "AE", "AF", "AG", "AI", ', ""), None),
        (('"AD", "AE", "AF", "AG", "AI", "AL", ', ""), "AD, AE, AF, AG, AI, AL would come off the list"),
        (known("QZ"), None),
        (known("QX", "QY", "QZ", "XA", "XB"), None),
        (known("QX", "QY", "QZ", "XA", "XB", "XC"), "QX, QY, QZ, XA, XB, XC would come off"),
    ],
)
def test_a_list_of_sanctions_changes_by_what_the_policy_allows(change: tuple[str, str], expected: str | None) -> None:
    found = objection(feed(SANCTIONS), feed(SANCTIONS, change, days=1))
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == Objection.SHRUNKEN
        assert expected in found[1]


def test_sanctions_that_all_end_at_once_are_a_shrunken_list() -> None:
    """Nobody takes an entry out here: each is told to have ended."""
    many = tuple(
        (f'{{ country = "{code}", from = {day} }}', f'{{ country = "{code}", from = {day}, until = 2025-11-01 }}')
        for code, day in (("KP", "2006-10-14"), ("IR", "2012-03-23"), ("BY", "2020-08-09"), ("RU", "2022-02-24"))
    )
    assert objection(feed(SANCTIONS), feed(SANCTIONS, *many[:2], days=1)) is None, (
        "two are within what the policy allows"
    )
    all_of_four = objection(feed(SANCTIONS), feed(SANCTIONS, *many, days=1))
    assert all_of_four is not None
    assert "BY, IR, KP, RU would come off the list, more than half" in all_of_four[1]
    tomorrow = tuple((old, new.replace("until = 2025-11-01", "until = 2030-01-01")) for old, new in many)
    assert objection(feed(SANCTIONS), feed(SANCTIONS, *tomorrow, days=1)) == all_of_four, "whenever they end"
    more = (("sanctioned_countries = [", 'sanctioned_countries = [\n  { country = "MM", from = 2021-02-01 },\n'
             '  { country = "CU", from = 2021-02-01 },'),)  # fmt: skip
    before = feed(SANCTIONS, *more)
    ended = tuple((text, text.replace(" }", ", until = 2025-11-01 }")) for text in (
        '{ country = "MM", from = 2021-02-01 }', '{ country = "CU", from = 2021-02-01 }'))  # fmt: skip
    found = objection(before, feed(SANCTIONS, *more, *ended, *many, days=1))
    assert found is not None
    assert found[0] == Objection.SHRUNKEN


PRICES = st.decimals(Decimal("0.01"), Decimal(99), places=4).map(lambda worth: f"{worth:.4f}")


@settings(max_examples=100, deadline=None)
@given(PRICES, PRICES)
def test_a_move_is_refused_in_both_directions_alike(one: str, other: str) -> None:
    def move(before: str, after: str) -> bool:
        was, now = feed(RATES, ('"0.8720"', f'"{before}"')), feed(RATES, ('"0.8720"', f'"{after}"'), days=1)
        return objection(was, now) is not None

    assert move(one, other) == move(other, one)
    low, high = sorted((Decimal(one), Decimal(other)))
    assert move(one, other) == (high > low * Decimal("1.2"))
