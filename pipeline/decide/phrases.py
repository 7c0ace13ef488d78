"""Features in plain English: the one place where a number becomes words.

Invariants
1. Every feature has a phrase for every value it can take, and one each for NONE and UNKNOWN; a phrase states a fact and
   no judgement.
2. No phrase holds an id, name, address or reference (I10).
3. A phrase names what it counts: what was attempted, what stands (was not blocked or refused), or what was completed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.domain.features import UNKNOWN
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
    if amount is None or observed < 0:
        return fact
    if observed > limit:
        return f"{fact}, {amount(observed - limit)} over the limit of {amount(limit)}"
    return f"{fact}, {amount(limit - observed)} short of the required {amount(limit)}"


def with_typical(feature: str, fact: str, observed: int, typical: int) -> str:
    """The fact, as `fact_of` gives it, and what is typical."""
    if typical < 0 or observed < 0 or observed == typical:
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


def _told(fact: Callable[[int], str], asked: str, none: str | None = None) -> Callable[[int], str]:
    """The words of a fact. `asked` is what it answers, and what is said where the answer is UNKNOWN; `none` is said of
    NONE, which most features have only where nobody asked: a payment that the policy blocks unseen."""
    unknown, absent = f"{asked} is not known", none or f"{asked} was not looked up"
    return lambda value: fact(value) if value >= 0 else unknown if value == UNKNOWN else absent


def _flag(yes: str, no: str, asked: str, none: str | None = None) -> Phrase:
    return Phrase(_told(lambda value: yes if value else no, asked, none), None)


def _counted(sentence: str, noun: str, asked: str) -> Phrase:
    """`sentence` holds {} where "3 payments" goes."""
    return Phrase(_told(lambda number: sentence.format(_count(number, noun)), asked), _unit(noun))


def _attempted_count(span: str) -> Phrase:
    when = f"in the last {span}"
    asked = f"how many payments the account attempted {when}"
    return _counted(f"the account attempted {{}} {when}", "payment", asked)


def _attempted_sum(span: str) -> Phrase:
    what = f"the payments that the account attempted in the last {span}"
    return _summed(f"{what} come to {{}}", f"what {what} come to")


def _standing_sum(span: str) -> Phrase:
    what = f"the account's payments in the last {span}, without those that were blocked or refused,"
    return _summed(f"{what} come to {{}}", f"what {what} come to")


def _summed(sentence: str, asked: str, none: str | None = None) -> Phrase:
    return Phrase(_told(lambda minor: sentence.format(pounds_text(minor)), asked, none), pounds_text)


def _average(span: str) -> Phrase:
    asked = f"the average payment that the account attempted in the last {span}"
    return _summed(f"{asked} is {{}}", asked, f"the account attempted no payment in the last {span}")


def _named_by(when: str, noun: str = "attempted payment") -> Phrase:
    return _counted(f"the beneficiary is named by {{}} {when}", noun, f"how many {noun}s {when} name the beneficiary")


def _senders(span: str) -> Phrase:
    when = f"attempted payments to the beneficiary in the last {span}"
    return _counted(f"{{}} {when}", "account", f"how many accounts {when}")


def _reports(entity: str, none: str) -> Phrase:
    fact = f"{entity} is linked to {{}}"
    asked = f"how many fraud reports {entity} is linked to"
    told = _told(lambda number: fact.format(_count(number, "fraud report")), asked, none)
    return Phrase(told, _unit("fraud report"))


def _risk(window: str) -> Phrase:
    asked = f"what share of the payments to the beneficiary in the checked {window} turned out to be fraud"

    def fact(ppm: int) -> str:
        share = percent_of_bp(ppm // 100)
        return f"{share} of the payments to the beneficiary in the checked {window} turned out to be fraud"

    none = f"the beneficiary has no payments in the checked {window}"
    return Phrase(_told(fact, asked, none), lambda ppm: percent_of_bp(ppm // 100))


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


_MONTH: Final = "the account's payments in the last 30 days, without those that were blocked or refused,"


def _volume(percent: int) -> str:
    if percent > 100:
        return f"{_MONTH} are {percent - 100:,} % above its normal month"
    return f"{_MONTH} are {percent} % of its normal month"


def _percent(percent: int) -> str:
    return f"{percent:,} %"


PHRASES: Final[dict[str, Phrase]] = {
    "amount_gbp_minor": _summed(
        "the payment is {}", "what the payment is worth", "the payment's currency has no exchange rate"
    ),
    "is_beneficiary_country_sanctioned": _flag(
        "the beneficiary's country is under sanctions",
        "the beneficiary's country is not under sanctions",
        "whether the beneficiary's country is under sanctions",
        "the beneficiary's country is not one that the policy knows",
    ),
    "is_reference_missing": _flag(
        "the payment reference is missing", "the payment has a reference", "whether the payment has a reference"
    ),
    "is_beneficiary_name_missing": _flag(
        "the beneficiary's name is missing", "the beneficiary is named", "whether the beneficiary is named"
    ),
    "account_age_days": Phrase(
        _told(lambda days: f"the account is {_unit('day')(days)} old", "the account's age"), _unit("day")
    ),
    "beneficiary_age_hours": Phrase(
        _told(
            lambda hours: f"the beneficiary account was opened {_hours(hours)} ago",
            "when the beneficiary account was opened",
            "nobody says when the beneficiary account was opened",
        ),
        _hours,
        _rounded_hours,
    ),
    "local_minute_of_day": Phrase(
        _told(lambda minute: f"the payment was made at {_clock(minute)} local time", "the payment's local time"), None
    ),
    "is_weekend": _flag(
        "the payment was made at a weekend",
        "the payment was made on a weekday",
        "whether the payment was made at a weekend",
    ),
    "event_age_hours": Phrase(
        _told(lambda hours: f"the payment reached us {_hours(hours)} after it was made", "the payment's delay"),
        _hours,
        _rounded_hours,
    ),
    "logged_minute_of_day": Phrase(
        _told(
            lambda minute: f"the payment reached us at {_clock(minute)} local time, later than it was made",
            "the local time at which the payment reached us",
            "the payment reached us when it was made",
        ),
        None,
    ),
    "exchange_rate_age_hours": Phrase(
        _told(
            lambda hours: f"the exchange rate was {_hours(hours)} old",
            "how old the exchange rate was",
            "the payment needed no exchange rate",
        ),
        _hours,
        _rounded_hours,
    ),
    "sanctions_list_age_hours": Phrase(
        _told(
            lambda hours: f"the list of sanctions was {_hours(hours)} old",
            "how old the list of sanctions was",
            "the list of sanctions had no date of its own",
        ),
        _hours,
        _rounded_hours,
    ),
    "account_count_1h": _attempted_count("hour"),
    "account_sum_minor_1h": _attempted_sum("hour"),
    "account_count_24h": _attempted_count("24 hours"),
    "account_sum_minor_24h": _attempted_sum("24 hours"),
    "account_count_7d": _attempted_count("7 days"),
    "account_sum_minor_7d": _attempted_sum("7 days"),
    "account_count_30d": _attempted_count("30 days"),
    "account_sum_minor_30d": _attempted_sum("30 days"),
    "account_ms_since_last": Phrase(
        _told(
            lambda ms: f"the account attempted its last payment {_span(ms)} earlier",
            "when the account attempted its last payment",
            "this is the first payment that the account attempts",
        ),
        _span,
        _rounded_span,
    ),
    "account_distinct_beneficiaries_24h": Phrase(
        _told(
            lambda number: (
                f"the account attempted to pay {_count(number, 'different beneficiary account')} in the last 24 hours"
            ),
            "how many beneficiaries the account attempted to pay in the last 24 hours",
        ),
        _unit("beneficiary account"),
    ),
    "account_near_limit_count_24h": _counted(
        "the account attempted {} just under the single-payment limit in the last 24 hours",
        "payment",
        "how many payments just under the single-payment limit the account attempted in the last 24 hours",
    ),
    "account_normal_month_minor": _summed(
        "the account's normal month is {}", "the account's normal month", "the account has no normal month yet"
    ),
    "is_new_beneficiary": _flag(
        "the account has never attempted to pay this beneficiary before",
        "the account has attempted to pay this beneficiary before",
        "whether the account has attempted to pay this beneficiary before",
    ),
    "account_volume_minor_24h": _standing_sum("24 hours"),
    "account_volume_count_30d": _counted(
        "the account attempted {} in the last 30 days that were not blocked or refused",
        "payment",
        "how many payments of the account in the last 30 days were not blocked or refused",
    ),
    "account_volume_minor_30d": _standing_sum("30 days"),
    "is_unpaid_beneficiary": _flag(
        "no payment from the account to this beneficiary was completed a day or more ago",
        "the account paid this beneficiary a day or more ago",
        "whether the account has paid this beneficiary before",
    ),
    "beneficiary_count_24h": _named_by("of the last 24 hours"),
    "beneficiary_count_7d": _named_by("of the last 7 days"),
    "beneficiary_senders_24h": _senders("24 hours"),
    "beneficiary_senders_7d": _senders("7 days"),
    "beneficiary_labelled_1d": _named_by("of the checked day"),
    "beneficiary_frauds_1d": _named_by("of the checked day", "fraudulent payment"),
    "beneficiary_labelled_7d": _named_by("of the checked 7 days"),
    "beneficiary_frauds_7d": _named_by("of the checked 7 days", "fraudulent payment"),
    "beneficiary_labelled_30d": _named_by("of the checked 30 days"),
    "beneficiary_frauds_30d": _named_by("of the checked 30 days", "fraudulent payment"),
    "ip_fraud_reports": _reports("the IP address", "no IP address is given"),
    "device_fraud_reports": _reports("the device", "no device is given"),
    "beneficiary_confirmed_frauds": _counted(
        "the beneficiary is linked to {}", "confirmed fraud", "how many confirmed frauds the beneficiary is linked to"
    ),
    "account_average_minor_24h": _average("24 hours"),
    "account_average_minor_7d": _average("7 days"),
    "account_average_minor_30d": _average("30 days"),
    "amount_percent_of_average_30d": Phrase(
        _told(
            lambda p: f"the payment is {p:,} % of the average that the account attempted in the last 30 days",
            "how the payment compares with the account's average",
            "the account attempted no payment in the last 30 days to compare with",
        ),
        _percent,
    ),
    "account_volume_percent_of_normal_month": Phrase(
        _told(
            _volume,
            "how the account's payments in the last 30 days compare with its normal month",
            "the account has no normal month yet",
        ),
        _percent,
    ),
    "beneficiary_risk_ppm_1d": _risk("day"),
    "beneficiary_risk_ppm_7d": _risk("7 days"),
    "beneficiary_risk_ppm_30d": _risk("30 days"),
    "amount_percent_of_earlier_average_30d": Phrase(
        _told(
            lambda p: f"the payment is {p:,} % of the average of the account's earlier payments in 30 days",
            "how the payment compares with the account's earlier payments",
            "the account has no earlier payment in 30 days to compare with",
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
