"""What every phrase book must do, whatever its words are."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.phrase_books.books import BOOKS, CURRENT, PhraseBook
from pipeline.decide.phrase_books.money import Money
from pipeline.decide.phrase_books.v2.book import NOTHING_TO_COMPARE
from pipeline.decide.reasons.families import is_measured
from pipeline.domain.decision import Outcome
from pipeline.domain.features import FEATURES, NONE, UNKNOWN
from pipeline.domain.money import CURRENCIES, money_text
from tests.decide.phrase_books.wording import NO_BOUND, customer_lines

ALL: Final = list(BOOKS.values())
FEED_AGES: Final = ("exchange_rate_age_hours", "sanctions_list_age_hours")
TIMES: Final = (
    "account_ms_since_last",
    "beneficiary_age_hours",
    "event_age_hours",
    "account_age_days",
    "beneficiary_fraud_run_hours_30d",
    *FEED_AGES,
)
WORDED_AND_CONFIDENCE: Final = [(book, name) for book in ALL for name in book.features]
WORDED: Final = [(book, name) for book, name in WORDED_AND_CONFIDENCE if name in FEATURES]
"""A feature that is younger than a book has no words in it."""
ROUNDED: Final = [
    *("account_ms_since_last", "beneficiary_age_hours", "event_age_hours", "beneficiary_risk_ppm_7d"),
    *("amount_percent_of_average_30d", "account_volume_percent_of_normal_month"),
]
VALUES = st.one_of(st.integers(0, 200), st.integers(0, 200_000), st.integers(0, 10**9))


@pytest.mark.parametrize(("book", "name"), WORDED)
def test_every_feature_tells_none_unknown_and_a_value_apart(book: PhraseBook, name: str) -> None:
    none, unknown, known = (book.fact(name, value) for value in (NONE, UNKNOWN, 1))
    assert len({none, unknown, known}) == 3
    assert unknown.endswith(" is not known"), "so that what can't be had is never taken for what isn't there"
    assert not any(text.endswith(".") or text[0].isupper() for text in (none, unknown, known))


@pytest.mark.parametrize("book", ALL)
@pytest.mark.parametrize("name", ROUNDED)
@given(value=VALUES)
def test_a_value_and_the_value_it_is_rounded_to_are_told_in_the_same_words(
    book: PhraseBook, name: str, value: int
) -> None:
    rounded = book.rounded(name, value)
    assert 0 <= rounded <= value
    assert book.fact(name, rounded) == book.fact(name, value)
    assert book.rounded(name, rounded) == rounded


def measures(text: str) -> list[tuple[float, str]]:
    """The numbers of a text, each with its unit: the first word behind it, in the singular."""
    found = re.findall(r"(\bno\b|£?\d[\d,]*(?:\.\d+)?) ?(%|[a-z]*)", text)
    units = ["£" if "£" in number else _singular(unit) for number, unit in found]
    numbers = [0.0 if number == "no" else float(number.lstrip("£").replace(",", "")) for number, _ in found]
    return list(zip(numbers, units, strict=True))


def _singular(unit: str) -> str:
    return "%" if unit == "percentage" else unit.removesuffix("s")


TAIL: Final = re.compile(r"^(.*), (?:(.+?) (?:over|short of|below|above)|exactly) the (?:limit of|required) (.+)$")


@pytest.mark.parametrize(("book", "name"), [each for each in WORDED_AND_CONFIDENCE if is_measured(each[1])])
@given(value=VALUES, limit=st.integers(1, 100_000))
def test_a_value_its_limit_and_their_difference_stand_in_one_unit_and_add_up(
    book: PhraseBook, name: str, value: int, limit: int
) -> None:
    """Met or not, from below or from above: a reader can check each."""
    for low, high in ((limit + 1, NO_BOUND), (0, limit - 1)):
        is_met = low <= value <= high
        text = (book.over if is_met else book.clear)(name, value, low, high)
        found = TAIL.search(text)
        if found is None:
            assert value == 0, text
            assert name in (*TIMES, *NOTHING_TO_COMPARE), text
            continue
        fact, difference, bound = found.groups()
        [(bound_number, bound_unit)] = measures(bound)
        [(gap, gap_unit)] = measures(difference) if difference else [(0.0, bound_unit)]
        assert gap_unit == bound_unit
        said = [number for number, unit in measures(fact) if unit == bound_unit]
        ways = {round(abs(bound_number + sign * gap), 4) for sign in (1, -1)}
        assert ways & {round(number, 4) for number in said} or (value == 0 and text.startswith("none of")), text


@pytest.mark.parametrize("book", ALL)
@pytest.mark.parametrize(
    ("value", "high", "said"),
    [
        (47, 47, "opened 47 hours ago, 1 hour short of the required 48 hours"),
        (48, 48, "opened 48 hours ago, 1 hour short of the required 49 hours"),
        (72, 95, "opened 3 days ago, 1 day short of the required 4 days"),
        (24, 47, "opened 24 hours ago, 24 hours short of the required 48 hours"),
        (0, 47, "opened less than 1 hour ago, against the required 48 hours"),
    ],
)
def test_what_is_a_unit_short_reads_right(book: PhraseBook, value: int, high: int, said: str) -> None:
    assert book.over("beneficiary_age_hours", value, 0, high).endswith(said)


@pytest.mark.parametrize("book", ALL)
def test_a_share_of_a_normal_month_is_told_on_the_base_of_its_limit(book: PhraseBook) -> None:
    text = book.over("account_volume_percent_of_normal_month", 360, 301, NO_BOUND)
    assert text.endswith("come to 360 % of its normal month, 60 percentage points over the limit of 300 %")
    assert "0 %" not in book.fact("account_volume_percent_of_normal_month", 0)


@pytest.mark.parametrize("book", ALL)
@pytest.mark.parametrize("told", ["over", "met", "clear", "brief"])
def test_a_rule_of_hours_names_the_hours(book: PhraseBook, told: str) -> None:
    for name in ("local_minute_of_day", "logged_minute_of_day"):
        assert "between 01:00 and 04:59" in getattr(book, told)(name, 130, 60, 299)


@pytest.mark.parametrize(("book", "name"), WORDED)
def test_what_comes_to_a_sum_says_which_payments(book: PhraseBook, name: str) -> None:
    text = book.fact(name, 5)
    if "come to" in text or "average" in text:
        assert "attempted" in text or "earlier payments" in text, text


@pytest.mark.parametrize("book", ALL)
@given(ms=st.integers(0, 999))
def test_a_last_payment_is_never_no_time_ago(book: PhraseBook, ms: int) -> None:
    """A late payment has an interval of 0, as the account's clock never runs back."""
    text = book.fact("account_ms_since_last", ms)
    assert " 0 " not in text
    assert text.endswith("a later one" if ms == 0 else "less than 1 second earlier")
    assert " 0 " not in book.over("account_ms_since_last", 0, 0, 59_999)


@pytest.mark.parametrize("book", ALL)
@given(gbp=st.integers(0, 10**9), own=st.integers(0, 10**9), low=st.integers(1, 10**8))
def test_money_is_told_in_the_payments_currency_and_its_worth_beside_it(
    book: PhraseBook, gbp: int, own: int, low: int
) -> None:
    worth = book.fact("amount_gbp_minor", gbp).removeprefix("the payment is ")
    for told in (book.over, book.met, book.clear, book.brief):
        text = told("amount_gbp_minor", gbp, low, NO_BOUND, Money("EUR", own))
        assert text.startswith(f"the payment is EUR {own // 100:,}.{own % 100:02d} ({worth})")


@pytest.mark.parametrize("book", ALL)
def test_nothing_is_said_to_be_over_a_limit_that_is_not_known(book: PhraseBook) -> None:
    name = "account_volume_minor_24h"
    assert "limit" not in book.over(name, UNKNOWN, 20_000_001, NO_BOUND)
    assert book.typical(name, UNKNOWN, 5) is book.typical(name, NONE, 5) is None


@pytest.mark.parametrize(("book", "name"), WORDED)
@given(value=st.integers(0, 10**6), typical=st.integers(0, 10**6))
def test_what_is_told_beside_what_is_typical_differs_from_it_in_words(
    book: PhraseBook, name: str, value: int, typical: int
) -> None:
    told = book.typical(name, value, typical)
    assert (told is None) == (book.rounded(name, value) == book.rounded(name, typical))
    if name == "amount_gbp_minor" and told is not None:
        assert f"{value // 100:,}.{value % 100:02d}" not in told.replace(f"{typical // 100:,}.{typical % 100:02d}", "")


FORBIDDEN: Final = re.compile(
    r"\d|%|£|\bfraud|\bsuspic|\brisk|\bscore|\bmodel|\bthreshold|\blimit|\brule|\breport|\bsanction|\bpayee"
    r"|\bbeneficiar|\brecipient|\bcountry|\bdevice|\baddress|\bIP\b|\baccount|\bpolice|\bmoney launder|\bwatch"
    r"|\bprobab|\bunusual"
    r"|\bnew\b|\bnight|\bhour|\bamount|\bvelocity|_",
    re.IGNORECASE,
)
"""Numbers, codes, thresholds, reports, hints about whom is paid, and what would tell somebody that they are watched."""


@pytest.mark.parametrize("book", ALL)
def test_a_customers_text_gives_nothing_away_and_says_how_to_contest(book: PhraseBook) -> None:
    texts = list(customer_lines(book))
    for text in texts:
        found = FORBIDDEN.search(text)
        assert found is None, f"{found and found[0]!r} in {text!r}"
        assert not re.search(r"[A-Z]{2,}", text), "a code"
        assert "If you " in text, "how to contest"
        assert text.endswith("Please reach us in the way that you usually do.")
    assert {text for text in texts if "currency" in text or "field" in text} <= {
        book.customer(Outcome.BLOCK, mendable, None)
        for mendable in _subsets(("is_reference_missing", "is_beneficiary_name_missing", "amount_gbp_minor"))
    }


def _subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [tuple(n for place, n in enumerate(names) if bits >> place & 1) for bits in range(1 << len(names))]


@pytest.mark.parametrize(
    "planted", ["over £500", "HARD_MAX", "a fraud report", "the limit", "whom you pay: the beneficiary", "our model"]
)
def test_what_must_not_reach_a_customer_would_be_found(planted: str) -> None:
    assert FORBIDDEN.search(planted)


def test_a_policys_contact_is_what_the_text_ends_with() -> None:
    assert CURRENT.customer(Outcome.BLOCK, (), "Ring 1234.").endswith("Ring 1234.")


@pytest.mark.parametrize("feature", NOTHING_TO_COMPARE)
def test_a_zero_that_says_that_nothing_compares_is_compared_with_nothing(feature: str) -> None:
    """Neither "bears the same time as this one (typically 6 hours)", nor "compares with none, 499 points below"."""
    fact = CURRENT.fact(feature, 0)
    assert not CURRENT.is_number(feature, 0)
    assert fact == CURRENT.typical(feature, 0, 23_824_360)
    assert CURRENT.clear(feature, 0, 500, NO_BOUND) in (fact, f"{fact}, against the limit of 499 %")
    assert CURRENT.over(feature, 0, 0, 499).startswith(f"{fact}, against the required ")
    assert CURRENT.is_number(feature, 1)
    assert "(typically" in str(CURRENT.typical(feature, 5_000, 23_824_360))


@pytest.mark.parametrize("currency", sorted(CURRENCIES))
def test_an_amount_reads_as_everywhere_else(currency: str) -> None:
    """Reasons, and whatever else shows the payment, agree where its point stands."""
    payment_text = money_text(1_234_567, currency)
    told = CURRENT.fact("amount_gbp_minor", 1_234_567, Money(currency, 1_234_567))
    assert told == f"the payment is {payment_text}" + ("" if currency == "GBP" else " (£12,345.67)")
