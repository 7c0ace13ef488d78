"""Features in plain English: the one place where a number becomes words.

Invariants
1. Every feature has a phrase for every value it can take, NONE included; a phrase states a fact and no judgement.
2. No phrase holds an id, name, address or reference (I10).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.domain.features import NONE
from pipeline.domain.money import pounds_text

WORDS_REMEMBERED: Final = 8192
"""Texts remembered for each feature or rule, 300 bytes each: most payments say what many said before them."""


class Phrase(NamedTuple):
    fact: Callable[[int], str]
    amount: Callable[[int], str] | None
    """The value with its unit, for limits and differences; None for a yes or no."""
    rounded: Callable[[int], int] | None = None
    """The least known value of which `fact` says the same; None where each has words of its own."""
    short: Callable[[int], str] | None = None
    """The fact where it falls short of a limit; None where it is said in the same words."""


def percent_of_bp(basis_points: int) -> str:
    return f"{basis_points // 100}.{basis_points % 100:02d} %"


def join(facts: list[str]) -> str:
    """a; a and b; a, b, and c."""
    if len(facts) < 3:
        return " and ".join(facts)
    return ", ".join(facts[:-1]) + ", and " + facts[-1]


def fact_of(feature: str, observed: int) -> str:
    return PHRASES[feature].fact(observed)


def short_fact_of(feature: str, observed: int) -> str:
    """The fact, as `fact_of` gives it, of a value that falls short of a limit."""
    phrase = PHRASES[feature]
    return phrase.fact(observed) if phrase.short is None else phrase.short(observed)


def compared(feature: str, fact: str, observed: int, limit: int) -> str:
    """The fact, and by how much the observed value is over or short of the limit."""
    amount = PHRASES[feature].amount
    if amount is None or observed == NONE:
        return fact
    if observed > limit:
        return f"{fact}, {amount(observed - limit)} over the limit of {amount(limit)}"
    return f"{fact}, {amount(limit - observed)} short of the required {amount(limit)}"


def with_typical(feature: str, fact: str, observed: int, typical: int) -> str:
    """The fact, as `fact_of` gives it, and what is typical."""
    if typical == NONE or observed == typical:
        return fact
    amount = typical_of(feature, typical)
    return fact if amount is None else f"{fact} ({amount} is typical)"


@lru_cache(maxsize=1024)
def typical_of(feature: str, typical: int) -> str | None:
    """A model's typical values are few, a feature each."""
    amount = PHRASES[feature].amount
    return None if amount is None else amount(typical)


def _count(number: int, noun: str) -> str:
    return (
        f"{number:,} {noun}" if number == 1 else f"{number or 'no'} {noun}s" if number < 1000 else f"{number:,} {noun}s"
    )


def _unit(noun: str) -> Callable[[int], str]:
    return lambda number: f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _known(fact: Callable[[int], str], unknown: str) -> Callable[[int], str]:
    return lambda value: unknown if value == NONE else fact(value)


def _flag(yes: str, no: str, unknown: str = "this was not looked up") -> Phrase:
    return Phrase(lambda value: unknown if value == NONE else yes if value else no, None)


def _counted(sentence: str, noun: str) -> Phrase:
    """`sentence` holds {} where "3 payments" goes."""
    unknown = sentence.format(f"an unknown number of {noun}s")
    return Phrase(_known(lambda number: sentence.format(_count(number, noun)), unknown), _unit(noun))


def _summed(sentence: str) -> Phrase:
    return Phrase(
        _known(lambda minor: sentence.format(pounds_text(minor)), sentence.format("an unknown amount")), pounds_text
    )


def _risk(window: str) -> Phrase:
    def fact(ppm: int) -> str:
        share = percent_of_bp(ppm // 100)
        return f"{share} of the payments to the beneficiary in the checked {window} turned out to be fraud"

    unknown = f"the beneficiary has no payments in the checked {window}"
    return Phrase(_known(fact, unknown), lambda ppm: percent_of_bp(ppm // 100))


_SPANS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def _span(ms: int) -> str:
    seconds = ms // 1000
    for length, noun in _SPANS:
        if seconds >= 2 * length:
            return f"{seconds // length:,} {noun}s"
    return _unit("second")(seconds)


def _rounded_span(ms: int) -> int:
    seconds = ms // 1000
    for length, _ in _SPANS:
        if seconds >= 2 * length:
            return seconds // length * length * 1000
    return seconds * 1000


def _hours(hours: int) -> str:
    return _unit("hour")(hours) if hours < 48 else _unit("day")(hours // 24)


def _rounded_hours(hours: int) -> int:
    return hours if hours < 48 else hours // 24 * 24


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _volume(percent: int) -> str:
    if percent > 100:
        return f"the account's payments in the last 30 days are {percent - 100:,} % above its normal month"
    return f"the account's payments in the last 30 days are {percent} % of its normal month"


def _percent(percent: int) -> str:
    return f"{percent:,} %"


_UNKNOWN_AVERAGE = "the account has no average payment yet"

PHRASES: Final[dict[str, Phrase]] = {
    "amount_gbp_minor": Phrase(
        _known(lambda minor: f"the payment is {pounds_text(minor)}", "the payment's currency has no exchange rate"),
        pounds_text,
    ),
    "is_beneficiary_country_sanctioned": _flag(
        "the beneficiary's country is under sanctions",
        "the beneficiary's country is not under sanctions",
        "the beneficiary's country is not one that the policy knows",
    ),
    "is_reference_missing": _flag("the payment reference is missing", "the payment has a reference"),
    "is_beneficiary_name_missing": _flag("the beneficiary's name is missing", "the beneficiary is named"),
    "account_age_days": Phrase(
        _known(lambda days: f"the account is {_unit('day')(days)} old", "the account's age is unknown"), _unit("day")
    ),
    "beneficiary_age_hours": Phrase(
        _known(
            lambda hours: f"the beneficiary account was opened {_hours(hours)} ago",
            "the beneficiary account's age is unknown",
        ),
        _hours,
        _rounded_hours,
    ),
    "local_minute_of_day": Phrase(lambda minute: f"the payment was made at {_clock(minute)} local time", None),
    "is_weekend": _flag("the payment was made at a weekend", "the payment was made on a weekday"),
    "account_count_1h": _counted("the account made {} in the last hour", "payment"),
    "account_sum_minor_1h": _summed("the account's payments in the last hour come to {}"),
    "account_count_24h": _counted("the account made {} in the last 24 hours", "payment"),
    "account_sum_minor_24h": _summed("the account's payments in the last 24 hours come to {}"),
    "account_count_7d": _counted("the account made {} in the last 7 days", "payment"),
    "account_sum_minor_7d": _summed("the account's payments in the last 7 days come to {}"),
    "account_count_30d": _counted("the account made {} in the last 30 days", "payment"),
    "account_sum_minor_30d": _summed("the account's payments in the last 30 days come to {}"),
    "account_ms_since_last": Phrase(
        _known(lambda ms: f"the account's last payment was {_span(ms)} earlier", "this is the account's first payment"),
        _span,
        _rounded_span,
    ),
    "account_distinct_beneficiaries_24h": Phrase(
        _known(
            lambda number: f"the account paid {_count(number, 'different beneficiary account')} in the last 24 hours",
            "how many beneficiaries the account paid in the last 24 hours is unknown",
        ),
        _unit("beneficiary account"),
    ),
    "account_near_limit_count_24h": _counted(
        "the account made {} just under the single-payment limit in the last 24 hours", "payment"
    ),
    "account_normal_month_minor": _summed("the account's normal month is {}"),
    "is_new_beneficiary": _flag(
        "the account has never paid this beneficiary before", "the account has paid this beneficiary before"
    ),
    "beneficiary_count_24h": _counted("the beneficiary received {} in the last 24 hours", "payment"),
    "beneficiary_count_7d": _counted("the beneficiary received {} in the last 7 days", "payment"),
    "beneficiary_senders_24h": _counted("the beneficiary was paid from {} in the last 24 hours", "account"),
    "beneficiary_senders_7d": _counted("the beneficiary was paid from {} in the last 7 days", "account"),
    "beneficiary_labelled_1d": _counted("the beneficiary received {} on the checked day", "payment"),
    "beneficiary_frauds_1d": _counted("the beneficiary received {} on the checked day", "fraudulent payment"),
    "beneficiary_labelled_7d": _counted("the beneficiary received {} in the checked 7 days", "payment"),
    "beneficiary_frauds_7d": _counted("the beneficiary received {} in the checked 7 days", "fraudulent payment"),
    "beneficiary_labelled_30d": _counted("the beneficiary received {} in the checked 30 days", "payment"),
    "beneficiary_frauds_30d": _counted("the beneficiary received {} in the checked 30 days", "fraudulent payment"),
    "ip_fraud_reports": Phrase(
        _known(lambda n: f"the IP address is linked to {_count(n, 'fraud report')}", "no IP address is known"),
        _unit("fraud report"),
    ),
    "device_fraud_reports": Phrase(
        _known(lambda n: f"the device is linked to {_count(n, 'fraud report')}", "no device is known"),
        _unit("fraud report"),
    ),
    "account_average_minor_24h": Phrase(
        _known(lambda m: f"the account's average payment of the last 24 hours is {pounds_text(m)}", _UNKNOWN_AVERAGE),
        pounds_text,
    ),
    "account_average_minor_7d": Phrase(
        _known(lambda m: f"the account's average payment of the last 7 days is {pounds_text(m)}", _UNKNOWN_AVERAGE),
        pounds_text,
    ),
    "account_average_minor_30d": Phrase(
        _known(lambda m: f"the account's average payment of the last 30 days is {pounds_text(m)}", _UNKNOWN_AVERAGE),
        pounds_text,
    ),
    "amount_percent_of_average_30d": Phrase(
        _known(lambda p: f"the payment is {p:,} % of the account's 30-day average", _UNKNOWN_AVERAGE), _percent
    ),
    "account_volume_percent_of_normal_month": Phrase(_known(_volume, "the account has no normal month yet"), _percent),
    "beneficiary_risk_ppm_1d": _risk("day"),
    "beneficiary_risk_ppm_7d": _risk("7 days"),
    "beneficiary_risk_ppm_30d": _risk("30 days"),
    "event_age_hours": Phrase(
        lambda hours: f"the payment reached us {_hours(hours)} after it was made", _hours, _rounded_hours
    ),
    "account_volume_minor_24h": _summed(
        "the account's payments in the last 24 hours, without those that were refused, come to {}"
    ),
    "account_volume_count_30d": _counted(
        "the account made {} in the last 30 days, not counting those that were refused", "payment"
    ),
    "account_volume_minor_30d": _summed(
        "the account's payments in the last 30 days, without those that were refused, come to {}"
    ),
    "is_unpaid_beneficiary": _flag(
        "no payment from the account to this beneficiary was completed a day or more ago",
        "the account has paid this beneficiary before",
    ),
    "beneficiary_confirmed_frauds": _counted("the beneficiary received {}", "payment known to be fraudulent"),
    "amount_percent_of_earlier_average_30d": Phrase(
        _known(
            lambda p: f"the payment is {p:,} % of the average of the account's earlier payments in 30 days",
            "the account has made no earlier payment in 30 days",
        ),
        _percent,
    ),
    # No feature, but what a soft guardrail may read beside them.
    "confidence_bp": Phrase(
        lambda bp: f"the model is {percent_of_bp(bp)} sure that the payment is honest",
        percent_of_bp,
        short=lambda bp: f"the model is only {percent_of_bp(bp)} sure that the payment is honest",
    ),
}
