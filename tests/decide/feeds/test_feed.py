"""A feed is read whole, or refused with a sentence that names what is wrong."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import date
from decimal import Decimal
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decide.event_features import EventRows
from pipeline.decide.feeds.feed import (
    FEED_BYTES_MAX,
    NO_FEEDS,
    ExchangeRates,
    FeedKind,
    FeedRefused,
    Feeds,
    Sanctions,
    feed_versions,
    parse_feed,
    parse_new_feed,
)
from pipeline.decide.feeds.feed_files import SHIPPED, in_force_path, shipped_as_of, shipped_feeds
from pipeline.domain.features import EVENT, NONE
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from tests.records import NOON_MS, PAYMENT, policy

RATES, SANCTIONS = (in_force_path(SHIPPED, kind).read_text() for kind in FeedKind)


def refused(text: str) -> str:
    with pytest.raises(FeedRefused) as caught:
        parse_new_feed(text.encode())
    return str(caught.value)


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


def test_the_shipped_feeds_parse_and_carry_their_hashes() -> None:
    for text, kind in ((RATES, FeedKind.EXCHANGE_RATES), (SANCTIONS, FeedKind.SANCTIONS)):
        feed = parse_new_feed(text.encode(), kind)
        assert feed.sha256 == hashlib.sha256(text.encode()).digest()
        assert feed.as_of_ms == 1_795_910_400_000
    assert shipped_feeds().exchange_rates is not None
    assert feed_versions(shipped_feeds()) == dict.fromkeys(FeedKind, "shipped-2026-11-29")
    assert feed_versions(NO_FEEDS) == dict.fromkeys(FeedKind, "none")
    assert feed_versions(None) == dict.fromkeys(FeedKind, "")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("format = 1", "format = 2", "format: this release reads format 1, not 2"),
        ("format = 1\n", "", "format: is missing"),
        ('kind = "exchange_rates"', 'kind = "rates"', "kind: must be one of exchange_rates, sanctions, not 'rates'"),
        ('kind = "exchange_rates"\n', "", "kind: is missing"),
        ('kind = "exchange_rates"', "kind = [[[]]]", "kind: must be one of"),
        ('version = "shipped-2026-11-29"', 'version = "none"', "version: 'none' is what a decision names"),
        ('version = "shipped-2026-11-29"', 'version = ""', "version: "),
        ('version = "shipped-2026-11-29"', 'version = "a b"', "version: "),
        ("as_of = 2026-11-29T00:00:00Z", "as_of = 2026-11-29", "as_of: it must be a date and a time with a zone"),
        ("as_of = 2026-11-29T00:00:00Z", "as_of = 2026-11-29T00:00:00", "as_of: it must be a date and a time with"),
        ("as_of = 2026-11-29T00:00:00Z", 'as_of = "2026-11-29T00:00:00Z"', "as_of: it must be a date and a time"),
        ("as_of = 2026-11-29T00:00:00Z", "as_of = 1_795_910_400", "as_of: it must be a date and a time with a zone"),
        ("as_of = 2026-11-29T00:00:00Z", "as_of = 1999-12-31T00:00:00Z", "as_of: it lies outside the years 2000"),
        ("as_of = 2026-11-29T00:00:00Z", "as_of = 9999-12-31T23:59:59-12:00", "as_of: it lies outside"),
        ('source = "Illustrative rates, shipped with the program"', 'source = ""', "source: "),
        ('currency = "GBP"', 'currency = "EUR"', "currency: the rates are into EUR; the policy's limits are in GBP"),
        ('worth = "0.8720"', "worth = 0.8720", "rates.0.worth: "),
        ('worth = "0.8720"', 'worth = "0"', "rates.0.worth: a rate must be above 0"),
        ('worth = "0.8720"', 'worth = "0.0000"', "rates.0.worth: a rate must be above 0"),
        ('worth = "0.8720"', 'worth = "-0.8720"', "rates.0.worth: "),
        ('worth = "0.8720"', 'worth = "1e-1"', "rates.0.worth: "),
        ('worth = "0.8720"', 'worth = "nan"', "rates.0.worth: "),
        ('worth = "0.8720"', 'worth = "0.0000001"', "rates: EUR at 0.0000001 GBP is outside 0.000001 to 10000"),
        ('worth = "0.8720"', 'worth = "10000.1"', "rates: EUR at 10000.1 GBP is outside 0.000001 to 10000"),
        ('code = "EUR"', 'code = "USD"', "rates: USD stands twice"),
        ('code = "EUR"', 'code = "GBP"', "rates: GBP is what rates are into, and has none"),
        ('code = "EUR"', 'code = "eur"', "rates.0.code: "),
        ('code = "EUR"', 'code = "EUE"', "rates: EUE is no currency that ISO 4217 gives"),
        ('code = "EUR"', 'code = "XAU"', "rates: XAU is no currency that ISO 4217 gives"),
        (
            '"JPY", worth = "0.00496", minor_digits = 0',
            '"JPY", worth = "0.00496", minor_digits = 2',
            "rates: JPY is given 2",
        ),
        ("minor_digits = 2 },", "minor_digits = true },", "rates.0.minor_digits: "),
        ("rates = [", "rates = []\nothers = [", "rates: Tuple should have at least 1 item"),
        ("rates = [", "due = 1\nrates = [", "due: unknown key"),
        ("rates = [", 'sha256 = "x"\nrates = [', "sha256: unknown key; the hash is computed"),
    ],
)
def test_each_mistake_in_exchange_rates_is_refused_with_its_place(old: str, new: str, sentence: str) -> None:
    assert refused(changed(RATES, old, new)).startswith(sentence)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "until = 2025-05-20",
            "until = 2001-05-20",
            "sanctioned_countries.2: the sanction on SY ends before it starts",
        ),
        ("from = 2006-10-14", 'from = "2006-10-14"', "sanctioned_countries.0.from: "),
        ("from = 2006-10-14", "from = 2006-10-14T00:00:00Z", "sanctioned_countries.0.from: "),
        ('{ country = "KP", from = 2006-10-14 }', '{ country = "KP" }', "sanctioned_countries.0.from: is missing"),
        (
            'country = "IR", from = 2012-03-23',
            'country = "KP", from = 2006-10-14',
            "sanctioned_countries: the sanction on KP",
        ),
        ('  "KP", ', "  ", "sanctioned_countries: KP is not among known_countries"),
        ('"GB", ', '"GB", "GB", ', "known_countries: GB stands twice"),
        ('"GB", ', '"gb", ', "known_countries."),
        ('"GB", ', '"GB", "UK", ', "known_countries: UK: ISO 3166-1 has no such country"),
        ('"GB", ', '"GB", "ZZ", "AA", "SU", ', "known_countries: AA, SU, ZZ: ISO 3166-1 has no such country"),
        ('country = "IR"', 'country = "BU"', "sanctioned_countries: BU is not among known_countries"),
        (
            "sanctioned_countries = [",
            "sanctioned_countries = []\nothers = [",
            "sanctioned_countries: Tuple should have",
        ),
    ],
)
def test_each_mistake_in_sanctions_is_refused_with_its_place(old: str, new: str, sentence: str) -> None:
    assert refused(changed(SANCTIONS, old, new)).startswith(sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "format: is missing"),
        (b"\xef\xbb\xbf" + RATES.encode(), "the feed begins with a byte order mark"),
        (RATES.encode("utf-16"), "the feed is not UTF-8 at byte 0"),
        (RATES.encode() + b"# \xff", "the feed is not UTF-8 at byte"),
        (RATES.encode() + b"#" * FEED_BYTES_MAX, f"the feed is larger than {FEED_BYTES_MAX} bytes"),
        (RATES.encode() + b"a" + b".a" * 100_000, "the feed has a line of more than 1000 characters"),
        (RATES.encode() + b"x = " + b"[" * 900, "the feed "),
        (RATES.encode().replace(b"minor_digits = 2", b"minor_digits = 0x" + b"F" * 900), "rates.0.minor_digits: "),
        (b'{"format": 1}', "the feed is not valid TOML"),
        (bytes(1000), "the feed is not valid TOML"),
    ],
)
def test_bytes_that_are_no_feed_are_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(FeedRefused) as caught:
        parse_new_feed(content)
    assert str(caught.value).startswith(sentence)
    assert len(str(caught.value)) < 500


def test_a_feed_of_the_other_kind_is_refused() -> None:
    with pytest.raises(FeedRefused, match="kind: the feed is one of sanctions, where one of exchange_rates belongs"):
        parse_new_feed(SANCTIONS.encode(), FeedKind.EXCHANGE_RATES)


def test_every_half_written_feed_is_refused() -> None:
    for text in (RATES, SANCTIONS):
        lines = text.splitlines(keepends=True)
        for length in range(len(lines)):
            with pytest.raises(FeedRefused):
                parse_new_feed("".join(lines[:length]).encode())


def test_a_rate_that_no_currency_has_is_read_where_a_decision_was_made_by_it() -> None:
    """What may come into force is held to more than what was: an old decision is verified as it was made."""
    assert parse_feed(changed(RATES, '"0.8720"', '"100000"').encode()).kind is FeedKind.EXCHANGE_RATES


def test_the_shipped_countries_are_those_of_iso_3166_and_kosovo() -> None:
    """The list is the feed's, so that a decision names it; only this test asks a library."""
    table = files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text(encoding="utf-8")
    listed = {line.split("\t")[0] for line in table.splitlines() if not line.startswith("#")}
    assert len(listed) == 249
    sanctions = shipped_feeds().sanctions
    assert sanctions is not None
    assert list(sanctions.known_countries) == sorted(listed | {"XK"})


def test_the_shipped_feeds_of_a_day_are_the_same_bytes_whenever_they_are_made() -> None:
    for kind in FeedKind:
        morning, evening = (shipped_as_of(kind, NOON_MS + hours * 3_600_000) for hours in (-12, 11))
        assert morning == evening != shipped_as_of(kind, NOON_MS + 12 * 3_600_000)
        feed = parse_new_feed(morning, kind)
        assert (feed.version, feed.as_of_ms) == ("shipped-2025-11-25", NOON_MS - 12 * 3_600_000)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([RATES, SANCTIONS]), st.integers(0, 2_000), st.integers(0, 40), st.binary(max_size=40))
def test_whatever_the_bytes_are_the_feed_is_read_or_refused(
    text: str, place: int, length: int, inserted: bytes
) -> None:
    content = text.encode()
    with suppress(FeedRefused):
        assert parse_feed(content[:place] + inserted + content[place + length :]).format == 1


def test_only_what_is_to_be_mended_is_counted() -> None:
    """One wrong rate of one was told "(and 1 more)": without it the list is too short."""
    head, _, _ = RATES.partition("rates = [")
    one = '{ code = "EUR", worth = "0,87", minor_digits = 2 }'
    assert "more" not in refused(f"{head}rates = [{one}]\n")
    assert "(and 1 more)" in refused(f"{head}rates = [{one}, {one}]\n")
    assert refused(f"{head}rates = []\n").startswith("rates: Tuple should have at least 1 item")


def test_a_feed_that_gave_a_rate_to_no_currency_is_still_read_as_what_was_decided_by() -> None:
    assert "EUE" in rates_of("0.8720", "EUE").currencies


DIGITS = st.integers(1, 10**12).map(lambda number: f"{number // 10**6}.{number % 10**6:06d}")


def rates_of(worth: str, code: str = "EUR") -> ExchangeRates:
    content = changed(RATES, 'code = "EUR", worth = "0.8720"', f'code = "{code}", worth = "{worth}"')
    feed = parse_feed(content.encode())
    assert isinstance(feed, ExchangeRates)
    return feed


@settings(max_examples=200, deadline=None)
@given(DIGITS, st.integers(0, AMOUNT_MINOR_MAX))
def test_an_amount_is_worth_what_the_feed_says_rounded_up_and_never_less(worth: str, amount_minor: int) -> None:
    if Decimal(worth) >= 1_000_000:
        return
    rows = EventRows(policy(), Feeds(rates_of(worth), shipped_feeds().sanctions))
    row = rows.row(PAYMENT._replace(currency="EUR", amount_minor=amount_minor), NOON_MS)
    exact = Decimal(amount_minor) * Decimal(worth)
    found = row[EVENT.index("amount_gbp_minor")]
    assert found == AMOUNT_MINOR_MAX < exact or exact <= found < exact + 1


COUNTRY = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2)


@settings(max_examples=200, deadline=None)
@given(COUNTRY, st.integers(0, 10_000), st.integers(0, 400))
def test_a_country_is_sanctioned_on_the_days_that_the_feed_names(country: str, day: int, delay_days: int) -> None:
    sanctions = shipped_feeds().sanctions
    assert isinstance(sanctions, Sanctions)
    event_ms = (10_957 + day) * 86_400_000
    log_ms = event_ms + delay_days * 86_400_000
    rows = EventRows(policy(), shipped_feeds())
    row = rows.row(PAYMENT._replace(beneficiary_country=country, event_time_ms=event_ms), log_ms)
    found = row[EVENT.index("is_beneficiary_country_sanctioned")]
    days = (date.fromordinal(date(1970, 1, 1).toordinal() + 10_957 + day + more) for more in range(delay_days + 1))
    is_sanctioned = any(country in sanctions.in_force(each) for each in days)
    assert found == (NONE if country not in sanctions.known_countries else int(is_sanctioned))
