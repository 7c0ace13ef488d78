"""A released phrase book says what it said when it was released, to the byte.

To word something otherwise, add a version. `python -m tests.decide.phrase_books.release VERSION` writes its lines and
digest, once.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

import pytest

from pipeline.decide.phrase_books.books import BOOKS, CURRENT, PhraseBook, book_of
from pipeline.decide.phrase_books.v2.book import CUT_OFF, RATIO_PERCENT_MAX, TO_NOTHING
from pipeline.domain.features import FEATURES, GREATEST
from pipeline.domain.features import RATIO_PERCENT_MAX as LARGEST_RATIO
from tests.decide.phrase_books.wording import FEW, MANY, lines

HERE: Final = Path(__file__).parent
RELEASED: Final = {
    "1": "fe7afdc220881148103b3a58dd657abbafabdec1cfede8b0c481f569aa37e557",
    "2": "e45590fc9036cdf40b54fc026af71bd71a8de891694c26ff970330e21a5837a1",
}
"""The SHA-256 over all the wording of every version that was ever released. A line of it never changes."""


RATIO: Final = re.compile(r"(?<![\d.,])([\d,]+) (?:%|percentage point)")


def digest(book: PhraseBook) -> str:
    return hashlib.sha256("\n".join(lines(book, MANY)).encode()).hexdigest()


def test_every_version_that_was_released_is_still_here_and_no_other() -> None:
    assert BOOKS.keys() == RELEASED.keys()
    assert book_of(CURRENT.version) is CURRENT
    assert book_of("") is book_of("0") is None


@pytest.mark.parametrize("version", RELEASED)
def test_a_released_book_says_what_it_said(version: str) -> None:
    book = BOOKS[version]
    assert book.version == version
    kept = (HERE / f"v{version}.txt").read_text(encoding="utf-8").splitlines()
    assert list(dict.fromkeys(lines(book, FEW))) == kept, "a changed wording is a new version"
    assert digest(book) == RELEASED[version], "a changed wording is a new version"


def test_the_current_book_has_words_for_every_feature() -> None:
    """A new feature's words are of a new version: decisions of before don't have it."""
    assert set(CURRENT.features) == {*FEATURES, "confidence_bp"}


def test_book_2_says_of_what_book_1_knows_what_that_says_but_of_ratios_that_nobody_reads_as_a_per_cent() -> None:
    first, second = set(lines(BOOKS["1"], FEW)), set(lines(BOOKS["2"], FEW))
    same_time = {line for line in first if line.startswith("another payment of the account bears the same time")}
    no_number = {line for line in same_time if "(typically " in line}
    assert no_number
    assert no_number.isdisjoint(second)
    assert {line.partition(" (typically ")[0] for line in no_number} <= second
    beyond = {line for line in first if any(int(number.replace(",", "")) >= 1_000 for number in RATIO.findall(line))}
    assert beyond
    assert beyond.isdisjoint(second)
    reworded = first - second - no_number - beyond
    assert reworded, "when a payment reached us that was made earlier is one"
    assert reworded <= {_as_book_1_says(line) for line in second - first}


def _as_book_1_says(line: str) -> str:
    plain = line.replace("at least ", "").replace("(or that is nothing; ", "(").replace(" (or that is nothing)", "")
    earlier, reached, rest = plain.partition("the payment was made earlier and reached us at ")
    if not reached:
        return plain
    at, local_time, more = rest.partition(" local time")
    return f"{earlier}the payment reached us at {at}{local_time}, later than it was made{more}"


@pytest.mark.parametrize("feature", CUT_OFF)
def test_a_ratio_that_was_cut_off_is_told_as_a_least_and_not_as_a_fact(feature: str) -> None:
    assert RATIO_PERCENT_MAX == GREATEST[feature] == LARGEST_RATIO
    for told in (
        CURRENT.fact(feature, LARGEST_RATIO),
        CURRENT.over(feature, LARGEST_RATIO, 301, 2**62),
        CURRENT.met(feature, LARGEST_RATIO, 301, 2**62),
        CURRENT.clear(feature, LARGEST_RATIO, 0, 300),
        str(CURRENT.typical(feature, LARGEST_RATIO, 100)),
        CURRENT.beside(feature, LARGEST_RATIO, 300),
        str(CURRENT.number(feature, LARGEST_RATIO, 300)),
    ):
        assert "at least 10,000 times " in told
    that = CURRENT.number(feature, 300, LARGEST_RATIO)
    assert that in ("3 times that average", "3 times that month")
    assert CURRENT.distance(feature, LARGEST_RATIO, 300) == f"at least {that.replace('3', '9,997')}"
    assert "at least" not in CURRENT.fact(feature, LARGEST_RATIO - 1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (999, "999 % of the average of"),
        (1_000, "10 times the average of"),
        (1_239, "12.3 times the average of"),
        (9_999, "99.9 times the average of"),
        (10_099, "100 times the average of"),
        (102_988, "1,029 times the average of"),
        (999_999, "9,999 times the average of"),
    ],
)
def test_a_ratio_that_nobody_reads_as_a_per_cent_is_told_in_times(value: int, said: str) -> None:
    rest = "the account's earlier payments in 30 days"
    for told in (CURRENT.fact, CURRENT.brief):
        more = () if told == CURRENT.fact else (301, 2**62)
        assert told("amount_percent_of_earlier_average_30d", value, *more) == f"the payment is {said} {rest}"


def test_a_ratio_in_times_and_its_limit_add_up_to_the_last_per_cent() -> None:
    rest = "the average of the account's earlier payments in 30 days"
    over = CURRENT.over("amount_percent_of_earlier_average_30d", 102_988, 301, 2**62)
    limit = "1,026.88 times that average over the limit of 3 times that average"
    assert over == f"the payment is 1,029.88 times {rest}, {limit}"
    clear = CURRENT.clear("amount_percent_of_earlier_average_30d", 85, 5_001, 2**62)
    limit = "49.15 times that average below the limit of 50 times that average"
    assert clear == f"the payment is 0.85 times {rest}, {limit}"
    month = CURRENT.over("account_volume_percent_of_normal_month", 1_210, 301, 2**62)
    assert month.endswith(
        "come to 12.1 times its normal month, 9.1 times that month over the limit of 3 times that month"
    )


@pytest.mark.parametrize("feature", CUT_OFF)
def test_a_ratio_to_nothing_is_not_told_as_one_to_something(feature: str) -> None:
    """A normal month of nothing gives the same number as one that the payments came to 10,000 times of."""
    greatest, ends = LARGEST_RATIO, feature in TO_NOTHING
    for told in (
        CURRENT.fact(feature, greatest),
        CURRENT.over(feature, greatest, 301, 2**62),
        CURRENT.met(feature, greatest, 301, 2**62),
        CURRENT.brief(feature, greatest, 301, 2**62),
        CURRENT.beside(feature, greatest, 300),
        str(CURRENT.typical(feature, greatest, 95)),
    ):
        assert told.count("or that is nothing") == ends, told
        assert ") (" not in told
    assert "£0.00" not in CURRENT.fact(feature, greatest - 1)


def test_when_a_payment_reached_us_is_told_apart_from_when_it_was_made() -> None:
    """ "at 02:10 local time, later than it was made, between 01:00 and 04:59" left open which of them was so."""
    said = CURRENT.over("logged_minute_of_day", 130, 60, 299)
    assert said == "the payment was made earlier and reached us at 02:10 local time, between 01:00 and 04:59"


def test_every_ratio_that_is_cut_off_is_told_so() -> None:
    assert set(CUT_OFF) == {
        name for name, greatest in GREATEST.items() if greatest == LARGEST_RATIO and "percent" in name
    }


class Reworded(PhraseBook):
    def no_rule(self) -> str:
        return "no fallback rule applies"


class RewordedFarAway(PhraseBook):
    """In a number that the kept lines don't have."""

    def fact(self, feature: str, observed: int, own: object = None) -> str:
        return super().fact(feature, 2 if observed == 301 else observed, own)  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", [Reworded(), RewordedFarAway()])
def test_a_changed_wording_is_found(changed: PhraseBook) -> None:
    assert digest(changed) != RELEASED["1"]
