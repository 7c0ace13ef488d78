"""The features in the words of phrase book 1.

Invariants
1. Every feature has words for every value that it can take, and for NONE and UNKNOWN; they state a fact, no judgement.
2. No words hold an id, name, address or reference (I10).
3. What counts or adds up payments says which: what was attempted, what stands (was not blocked or refused as far as is
   known), or what was completed; and whether this payment is among them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.decide.phrase_books.v1.numbers import (
    BASIS_POINTS,
    CLOCK,
    DAYS,
    HOURS,
    PERCENT,
    POUNDS,
    PPM,
    SPAN,
    Unit,
    count_of,
)

AMOUNT: Final = "amount_gbp_minor"
CONFIDENCE: Final = "confidence_bp"


class Phrase(NamedTuple):
    """`sentence` holds {} where the value goes. `unit` None: a yes or no, and `sentence`, `zero` are its words."""

    sentence: str
    unit: Unit | None
    unknown: str  # what is said where the value is UNKNOWN
    none: str  # and where it is NONE
    zero: str | None = None  # and of 0, where that is no number like others


def _phrase(sentence: str, unit: Unit | None, asked: str, none: str | None = None, zero: str | None = None) -> Phrase:
    """`asked` is what the feature answers; most features have NONE only where nobody asked."""
    return Phrase(sentence, unit, f"{asked} is not known", none or f"{asked} was not looked up", zero)


def _flag(yes: str, no: str, asked: str, none: str | None = None) -> Phrase:
    return _phrase(yes, None, asked, none, no)


def _attempted_count(span: str) -> Phrase:
    when = f"in the last {span}, this one included"
    asked = f"how many payments the account attempted in the last {span}"
    return _phrase(f"the account attempted {{}} {when}", count_of("payment"), asked)


def _attempted_sum(span: str) -> Phrase:
    what = f"the payments that the account attempted in the last {span}, this one included,"
    return _phrase(f"{what} come to {{}}", POUNDS, f"what {what} come to")


def _standing(span: str) -> str:
    return (
        f"the payments that the account attempted in the last {span}, this one included and those left out that are"
        " known to be blocked or refused,"
    )


def _standing_sum(span: str) -> Phrase:
    what = _standing(span)
    return _phrase(f"{what} come to {{}}", POUNDS, f"what {what} come to")


def _average(span: str) -> Phrase:
    what = f"the average payment that the account attempted in the last {span}, this one included,"
    return _phrase(f"{what} is {{}}", POUNDS, what, f"the account attempted no payment in the last {span}")


def _named_by(when: str, noun: str = "attempted payment") -> Phrase:
    asked = f"how many {noun}s {when} name the beneficiary"
    return _phrase(f"the beneficiary is named by {{}} {when}", count_of(noun), asked)


def _senders(span: str) -> Phrase:
    when = f"attempted payments to the beneficiary in the last {span}"
    return _phrase(f"{{}} {when}", count_of("account"), f"how many accounts {when}")


def _reports(entity: str, none: str) -> Phrase:
    asked = f"how many fraud reports {entity} is linked to"
    return _phrase(f"{entity} is linked to {{}}", count_of("fraud report"), asked, none)


def _risk(window: str) -> Phrase:
    of = f"of the payments to the beneficiary in the checked {window} turned out to be fraud"
    none = f"the beneficiary has no payments in the checked {window}"
    return _phrase(f"{{}} {of}", PPM, f"what share {of}", none, f"none {of}")


PHRASES: Final[dict[str, Phrase]] = {
    AMOUNT: _phrase(
        "the payment is {}", POUNDS, "what the payment is worth", "the payment's currency has no exchange rate"
    ),
    "is_beneficiary_country_sanctioned": _flag(
        "the beneficiary's country is under sanctions",
        "the beneficiary's country is not under sanctions",
        "whether the beneficiary's country is under sanctions",
        "the beneficiary's country is not one that is known",
    ),
    "is_reference_missing": _flag(
        "the payment reference is missing", "the payment has a reference", "whether the payment has a reference"
    ),
    "is_beneficiary_name_missing": _flag(
        "the beneficiary's name is missing", "the beneficiary is named", "whether the beneficiary is named"
    ),
    "account_age_days": _phrase("the account is {} old", DAYS, "the account's age"),
    "beneficiary_age_hours": _phrase(
        "the beneficiary account was opened {} ago",
        HOURS,
        "when the beneficiary account was opened",
        "nobody says when the beneficiary account was opened",
    ),
    "local_minute_of_day": _phrase("the payment was made at {} local time", CLOCK, "the payment's local time"),
    "is_weekend": _flag(
        "the payment was made at a weekend",
        "the payment was made on a weekday",
        "whether the payment was made at a weekend",
    ),
    "event_age_hours": _phrase("the payment reached us {} after it was made", HOURS, "the payment's delay"),
    "logged_minute_of_day": _phrase(
        "the payment reached us at {} local time, later than it was made",
        CLOCK,
        "the local time at which the payment reached us",
        "the payment reached us when it was made",
    ),
    "exchange_rate_age_hours": _phrase(
        "the exchange rate was {} old", HOURS, "how old the exchange rate was", "the payment needed no exchange rate"
    ),
    "sanctions_list_age_hours": _phrase(
        "the list of sanctions was {} old",
        HOURS,
        "how old the list of sanctions was",
        "the list of sanctions had no date of its own",
    ),
    "account_count_1h": _attempted_count("hour"),
    "account_sum_minor_1h": _attempted_sum("hour"),
    "account_count_24h": _attempted_count("24 hours"),
    "account_sum_minor_24h": _attempted_sum("24 hours"),
    "account_count_7d": _attempted_count("7 days"),
    "account_sum_minor_7d": _attempted_sum("7 days"),
    "account_count_30d": _attempted_count("30 days"),
    "account_sum_minor_30d": _attempted_sum("30 days"),
    "account_ms_since_last": _phrase(
        "the account attempted its last payment {} earlier",
        SPAN,
        "when the account attempted its last payment",
        "this is the first payment that the account attempts",
        "another payment of the account bears the same time as this one, or a later one",
    ),
    "account_distinct_beneficiaries_24h": _phrase(
        "the account attempted to pay {} in the last 24 hours, this one included",
        count_of("different beneficiary account"),
        "how many beneficiaries the account attempted to pay in the last 24 hours",
    ),
    "account_near_limit_count_24h": _phrase(
        "the account attempted {} just under the single-payment limit in the last 24 hours",
        count_of("payment"),
        "how many payments just under the single-payment limit the account attempted in the last 24 hours",
    ),
    "account_normal_month_minor": _phrase(
        "the account's normal month is {}", POUNDS, "the account's normal month", "the account has no normal month yet"
    ),
    "is_new_beneficiary": _flag(
        "the account has never attempted to pay this beneficiary before",
        "the account has attempted to pay this beneficiary before",
        "whether the account has attempted to pay this beneficiary before",
    ),
    "account_volume_minor_24h": _standing_sum("24 hours"),
    "account_volume_count_30d": _phrase(
        "the account attempted {} in the last 30 days, this one included, that are not known to be blocked or refused",
        count_of("payment"),
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
    "beneficiary_confirmed_frauds": _phrase(
        "the beneficiary is linked to {}",
        count_of("confirmed fraud"),
        "how many confirmed frauds the beneficiary is linked to",
    ),
    "account_average_minor_24h": _average("24 hours"),
    "account_average_minor_7d": _average("7 days"),
    "account_average_minor_30d": _average("30 days"),
    "amount_percent_of_average_30d": _phrase(
        "the payment is {} of the average that the account attempted in the last 30 days, this one included",
        PERCENT,
        "how the payment compares with the account's average",
        "the account attempted no payment in the last 30 days to compare with",
    ),
    "account_volume_percent_of_normal_month": _phrase(
        f"{_standing('30 days')} come to {{}} of its normal month",
        PERCENT,
        "how the account's payments in the last 30 days compare with its normal month",
        "the account has no normal month yet",
    ),
    "beneficiary_risk_ppm_1d": _risk("day"),
    "beneficiary_risk_ppm_7d": _risk("7 days"),
    "beneficiary_risk_ppm_30d": _risk("30 days"),
    "amount_percent_of_earlier_average_30d": _phrase(
        "the payment is {} of the average of the account's earlier payments in 30 days",
        PERCENT,
        "how the payment compares with the account's earlier payments",
        "the account has no earlier payment in 30 days to compare with",
    ),
    # No feature, but what a soft guardrail may read beside them.
    CONFIDENCE: Phrase("the model is {} sure that the payment is honest", BASIS_POINTS, "", ""),
}
