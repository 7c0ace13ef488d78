"""Phrase book 2: book 1, with words for what an account ever attempted and for a beneficiary's run of frauds, and with
ratios that were cut off at their greatest value: each is "at least" that, and so is how far it is from a limit. A ratio
that nobody reads as a per cent is so many times what it compares with. A ratio to nothing is the same number as the
greatest, so the words leave open that it is one. A zero that says that there was nothing to compare is compared with
nothing. What two windows of the same payments say is said of one of them.

Invariants
1. Of every feature that book 1 knows it says what that says, to the byte, but of a ratio beside ten times or more, of a
   payment that bears the time of another one beside what is typical, of when a payment reached us that was made
   earlier, and of amounts in UYI, which has no decimals.
2. RATIO_PERCENT_MAX is the book's own copy, so that no change elsewhere can reword what was released.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.decide.phrase_books.money import Money
from pipeline.decide.phrase_books.v1.book import PhraseBook as FirstBook
from pipeline.decide.phrase_books.v1.features import PHRASES as FIRST_PHRASES
from pipeline.decide.phrase_books.v1.features import Phrase
from pipeline.decide.phrase_books.v1.numbers import HOURS, PERCENT, POUNDS, TIMES, Unit, count_of

RATIO_PERCENT_MAX: Final = 1_000_000
"""A ratio that is greater is reported as this."""
CUT_OFF: Final = (
    "amount_percent_of_average_30d",
    "account_volume_percent_of_normal_month",
    "amount_percent_of_earlier_average_30d",
    "amount_percent_of_earlier_average_ever",
    "account_percent_of_earlier_average_max_7d",
)

_EARLIER_MAX: Final = "account_percent_of_earlier_average_max_7d"
TO_NOTHING: Final = frozenset(CUT_OFF) - {"amount_percent_of_average_30d"}
"""Ratios whose greatest value also says that there was something where what it compares with came to nothing. The
average that holds the payment itself is nothing only where that is."""
_OR_NOTHING: Final = " (or that is nothing)"
NOTHING_TO_COMPARE: Final = ("account_ms_since_last", _EARLIER_MAX)
"""Features whose 0 says that there is nothing to compare, and so is no number."""


TIMES_FROM: Final = 1_000
"""From ten times on nobody reads a ratio as a per cent: "102,988 % of the average" is 1,029 times that."""
_TENTHS_BELOW: Final = 10_000
"""Below a hundred times a ratio is told with one decimal, above without: at most one part in a hundred is left out."""


def _times(number: int) -> str:
    """Exactly, with no more decimals than it needs."""
    whole, part = divmod(number, 100)
    return f"{whole:,}" + (f".{part:02d}".rstrip("0") if part else "")


def _rounded(number: int) -> int:
    if number < TIMES_FROM:
        return number
    return number // 10 * 10 if number < _TENTHS_BELOW else number // 100 * 100


def _ratio_to(base: str) -> Unit:
    """Make the words of a ratio to an average or a month: a per cent, and from ten of them on so many times that.

    A limit is exact however great it is; only a value was cut off.
    """

    def one(number: int) -> str:
        if number < TIMES_FROM:
            return PERCENT.one(number)
        said = f"{_times(_rounded(number))} times that {base}"
        return f"at least {said}" if number >= RATIO_PERCENT_MAX else said

    def exact(value: int, limit: int) -> Callable[[int], str]:
        if max(value, limit) < TIMES_FROM:
            return PERCENT.exact(value, limit)
        return lambda number: (
            f"{'at least ' if number == value >= RATIO_PERCENT_MAX else ''}{_times(number)} times that {base}"
        )

    def difference(value: int, limit: int) -> Callable[[int], str]:
        if max(value, limit) < TIMES_FROM:
            return PERCENT.difference(value, limit)
        least = "at least " if value >= RATIO_PERCENT_MAX else ""
        return lambda number: f"{least}{_times(number)} times that {base}"

    return Unit(one, exact, difference, _rounded)


_TIMES_THAT: Final = " times that "
_TO_AVERAGE, _TO_MONTH = _ratio_to("average"), _ratio_to("month")
_EVER: Final = (
    "the payments that the account has ever attempted, this one as a whole and each before it as far as it was usual,"
)
_APART: Final = "unusual amounts and small genuine payments apart"

_PHRASES: Final[dict[str, Phrase]] = {
    **FIRST_PHRASES,
    "logged_minute_of_day": FIRST_PHRASES["logged_minute_of_day"]._replace(
        sentence="the payment was made earlier and reached us at {} local time"
    ),
    "account_count_ever": Phrase(
        "the account has attempted {} since it was first seen, this one included",
        count_of("payment"),
        "how many payments the account has ever attempted is not known",
        "how many payments the account has ever attempted was not looked up",
    ),
    "account_sum_minor_ever": Phrase(
        f"{_EVER} come to {{}}", POUNDS, f"what {_EVER} come to is not known", f"what {_EVER} come to was not looked up"
    ),
    "account_percent_of_earlier_average_max_7d": Phrase(
        "the most unusual of the payments that the account attempted before in the last 7 days was {} of its average"
        " until then",
        PERCENT,
        "how the account's payments in the last 7 days compare with its earlier ones is not known",
        "how the account's payments in the last 7 days compare with its earlier ones was not looked up",
        "none of the payments that the account attempted before in the last 7 days compares with earlier ones",
    ),
    "beneficiary_fraud_run_30d": Phrase(
        f"the beneficiary's checked 30 days end with {{}} in a row, {_APART}",
        count_of("fraudulent payment"),
        "how many fraudulent payments in a row the beneficiary's checked 30 days end with is not known",
        "how many fraudulent payments in a row the beneficiary's checked 30 days end with was not looked up",
        f"the beneficiary's checked 30 days end with no fraudulent payment, {_APART}",
    ),
    "beneficiary_fraud_run_hours_30d": Phrase(
        "the beneficiary's fraudulent payments in a row began {} ago",
        HOURS,
        "when the beneficiary's fraudulent payments in a row began is not known",
        "the beneficiary's checked 30 days end with no fraudulent payments in a row",
    ),
    "amount_percent_of_earlier_average_ever": Phrase(
        "the payment is {} of the average of all the account's earlier payments, each as far as it was usual",
        PERCENT,
        "how the payment compares with all the account's earlier payments is not known",
        "the account has no earlier payment to compare with",
    ),
}

PHRASES: Final[dict[str, Phrase]] = {
    **_PHRASES,
    **{name: _PHRASES[name]._replace(unit=_TO_MONTH if "month" in name else _TO_AVERAGE) for name in CUT_OFF},
}


class PhraseBook(FirstBook):
    """Version 2. A later version inherits, as this one does."""

    tells_windows_once = True

    def __init__(self, version: str = "2", phrases: dict[str, Phrase] = PHRASES) -> None:
        super().__init__(version, phrases)

    def fact(self, feature: str, observed: int, own: Money | None = None) -> str:
        return _as_told(super().fact(feature, observed, own)) + _or_nothing(feature, observed)

    def met(self, feature: str, observed: int, low: int, high: int, own: Money | None = None) -> str:
        return _in_one_bracket(super().met(feature, observed, low, high, own))

    def over(self, feature: str, observed: int, low: int, high: int, own: Money | None = None) -> str:
        if feature == _EARLIER_MAX and observed == 0 and low <= 0:
            return self._against(feature, "required", high + 1)
        return super().over(feature, observed, low, high, own)

    def clear(self, feature: str, observed: int, low: int, high: int, own: Money | None = None) -> str:
        if feature == _EARLIER_MAX and observed == 0 and 0 < low <= high:
            return self._against(feature, "limit of", low - 1)
        return super().clear(feature, observed, low, high, own)

    def typical(self, feature: str, observed: int, typical: int) -> str | None:
        told = super().typical(feature, observed, typical)
        if told is None or (observed == 0 and feature in NOTHING_TO_COMPARE):
            return told and self.fact(feature, observed)
        return _in_one_bracket(told)

    def is_number(self, feature: str, observed: int) -> bool:
        """False for a 0 that is told in words of its own."""
        phrase = self._phrases[feature]
        is_told_as_one = observed != 0 or (phrase.zero is None and phrase.unit not in TIMES)
        return is_told_as_one and super().is_number(feature, observed)

    def kept_out(self, silence: str) -> str:
        return f"the circuit breaker kept the model from deciding, and besides {silence}"

    def left_aside(self) -> str:
        return ", the currency and the beneficiary's country aside,"

    def _against(self, feature: str, name: str, limit: int) -> str:
        return f"{self.fact(feature, 0)}, against the {name} {self.number(feature, limit, 0)}"

    def _in_unit(self, phrase: Phrase, feature: str, observed: int, value: str, own: Money | None) -> str:
        return _as_told(super()._in_unit(phrase, feature, observed, value, own)) + _or_nothing(feature, observed)

    def _money(self, own: Money) -> str:
        return f"UYI {own.amount_minor:,}" if own.currency == "UYI" else super()._money(own)


def _as_told(fact: str) -> str:
    """Put "12 times that average of the account's ..." as "12 times the average of the account's ..."."""
    before, is_times, after = fact.partition(_TIMES_THAT)
    return f"{before} times {after.partition(' of ')[2]}" if is_times else fact


def _in_one_bracket(text: str) -> str:
    return text.replace(f"{_OR_NOTHING} (", f"{_OR_NOTHING[:-1]}; ")


def _or_nothing(feature: str, observed: int) -> str:
    return _OR_NOTHING if observed >= RATIO_PERCENT_MAX and feature in TO_NOTHING else ""
