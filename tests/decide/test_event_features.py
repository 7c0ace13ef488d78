import unicodedata
from datetime import UTC, date, datetime

import numpy as np
import pytest

from pipeline.decide.event_features import EventRows
from pipeline.decide.feeds.feed import NO_FEEDS, Sanction
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.policy import ExchangeRate, ExchangeRates
from pipeline.decide.rules import hits_of, rule_book
from pipeline.domain.decision import Outcome, Reason
from pipeline.domain.features import EVENT, NONE, UNKNOWN
from pipeline.domain.log import Source
from pipeline.domain.refusals import refusal_of
from tests.records import NOON_MS, PAYMENT, feeds, policy

ROWS = EventRows(policy(), feeds())
GBP = ExchangeRate(code="GBP", gbp="1", minor_digits=2)
EUR = ExchangeRate(code="EUR", gbp="0.8720", minor_digits=2)


def value(name, *, log_time_ms=None, rows=ROWS, **changes):
    payment = PAYMENT._replace(**changes)
    return rows.row(payment, payment.event_time_ms if log_time_ms is None else log_time_ms)[EVENT.index(name)]


def ms(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("currency", "amount_minor", "gbp_minor"),
    [
        ("GBP", 100, 100),
        ("EUR", 100, 88),  # 87.2 pence, rounded up
        ("JPY", 1000, 496),  # 1000 yen at 0.00496
        ("KWD", 1000, 248),  # 1 dinar of 1000 fils at 2.478, rounded up
        ("XAU", 1, NONE),
    ],
)
def test_amounts_are_converted_and_rounded_up(currency, amount_minor, gbp_minor):
    assert value("amount_gbp_minor", currency=currency, amount_minor=amount_minor) == gbp_minor


@pytest.mark.parametrize(
    ("country", "when", "expected"),
    [
        ("GB", "2025-01-01T00:00", 0),
        ("RU", "2022-02-23T23:59", 0),
        ("RU", "2022-02-24T00:00", 1),
        ("SY", "2025-05-19T23:59", 1),
        ("SY", "2025-05-20T00:00", 0),
    ],
)
def test_sanctions_hold_from_the_first_day_to_before_the_last(country, when, expected):
    changes = {"beneficiary_country": country, "event_time_ms": ms(when)}
    assert value("is_beneficiary_country_sanctioned", **changes) == expected


@pytest.mark.parametrize(
    ("country", "event", "log", "expected"),
    [
        ("RU", "2022-02-23T23:59", "2022-02-24T00:00", 1),  # dated the evening before, handed in when it is in force
        ("RU", "2022-02-20T12:00", "2022-02-23T23:59", 0),
        ("RU", "2022-02-24T00:01", "2022-02-23T23:58", 1),  # ahead of the log, by less than is refused
        ("SY", "2025-05-19T23:59", "2025-06-01T00:00", 1),  # it was in force when the payment was made
        ("SY", "2025-05-20T00:00", "2025-06-01T00:00", 0),
        ("SY", "2011-05-01T00:00", "2025-06-01T00:00", 1),  # it began and ended in between
    ],
)
def test_a_sanction_counts_on_every_day_from_event_to_log_time(country, event, log, expected):
    changes = {"beneficiary_country": country, "event_time_ms": ms(event), "log_time_ms": ms(log)}
    assert value("is_beneficiary_country_sanctioned", **changes) == expected


@pytest.mark.parametrize("country", ["ZZ", "XX", "UK", "AA", "SU", "EU", "QM", "AN", "YU"])
def test_a_country_that_the_policy_does_not_know_is_blocked(country):
    payment = PAYMENT._replace(beneficiary_country=country)
    row = np.array([ROWS.row(payment, NOON_MS)], dtype=np.int64)
    assert row[0, EVENT.index("is_beneficiary_country_sanctioned")] == NONE
    [[rule]] = hits_of(rule_book(policy()).static_hard, row).values()
    assert (rule.code, rule.outcome) == ("HARD_UNKNOWN_COUNTRY", Outcome.BLOCK)
    reasons: list[Reason] = []
    rule.tell(row[0], None, 0, [], reasons)
    assert [each.text for each in reasons] == ["the beneficiary's country is not one that is known"]


@pytest.mark.parametrize("country", ["GB", "XK", "SS", "CW"])
def test_a_country_that_there_is_passes(country):
    assert value("is_beneficiary_country_sanctioned", beneficiary_country=country) == 0


OLDER = policy().model_copy(
    update={
        "exchange_rates": ExchangeRates(as_of=date(2026, 11, 1), currencies=(GBP, EUR)),
        "sanctioned_countries": (Sanction.model_validate({"country": "RU", "from": date(2022, 2, 24)}),),
    }
)
"""A policy of a release before there were feeds, and one that knew no list of countries either."""


def test_a_policy_of_a_release_without_feeds_is_replayed_as_it_was():
    older = EventRows(OLDER, None)
    assert value("is_beneficiary_country_sanctioned", rows=older, beneficiary_country="ZZ") == 0
    late = {"beneficiary_country": "RU", "event_time_ms": ms("2022-02-23T23:59"), "log_time_ms": ms("2022-03-01T00:00")}
    assert value("is_beneficiary_country_sanctioned", rows=older, **late) == 0
    assert value("amount_gbp_minor", rows=older, currency="EUR", amount_minor=100) == 88
    for name in ("exchange_rate_age_hours", "sanctions_list_age_hours"):
        assert value(name, rows=older, currency="EUR") == NONE, "nothing was said of it then"


def test_without_feeds_every_payment_is_decided_strictly():
    """Pounds are worth what they are; nobody knows what else is, or who is under sanctions."""
    rows = EventRows(policy(), NO_FEEDS)
    assert value("amount_gbp_minor", rows=rows, amount_minor=100) == 100
    assert value("amount_gbp_minor", rows=rows, currency="EUR") == NONE
    assert value("is_beneficiary_country_sanctioned", rows=rows) == UNKNOWN
    assert value("sanctions_list_age_hours", rows=rows) == UNKNOWN
    assert value("exchange_rate_age_hours", rows=rows, currency="EUR") == UNKNOWN
    for paid in (PAYMENT, PAYMENT._replace(currency="EUR"), PAYMENT._replace(beneficiary_country="KP")):
        row = np.array([rows.row(paid, NOON_MS)], dtype=np.int64)
        [rules] = hits_of(rule_book(policy()).static_hard, row).values()
        assert {rule.outcome for rule in rules} == {Outcome.BLOCK}
        assert {"HARD_SANCTIONED_COUNTRY", "HARD_UNKNOWN_COUNTRY"} <= {rule.code for rule in rules}
    assert EventRows(policy(), None).row(PAYMENT, NOON_MS) == rows.row(PAYMENT, NOON_MS), "None is no leave either"


@pytest.mark.parametrize(
    ("log", "hours"),
    [
        ("2026-11-29T00:00", 0),
        ("2026-11-29T00:59", 0),
        ("2026-11-29T01:00", 1),
        ("2026-12-05T23:59", 167),
        ("2026-12-06T00:00", 168),
        ("2026-11-28T23:00", 0),  # the feed came after the payment
    ],
)
def test_a_feed_is_as_old_as_the_log_says(log, hours):
    rows = EventRows(policy(), shipped_feeds())
    asked = {"rows": rows, "log_time_ms": ms(log), "event_time_ms": ms("2020-01-01T00:00")}
    assert value("sanctions_list_age_hours", **asked) == hours
    assert value("exchange_rate_age_hours", currency="EUR", **asked) == hours
    assert value("exchange_rate_age_hours", currency="GBP", **asked) == NONE, "pounds need no rate"
    assert value("exchange_rate_age_hours", currency="XAU", **asked) == UNKNOWN, "there is no rate to be old"


def test_what_no_reader_shows_is_missing():
    """Every character that Unicode calls a separator, a control or a format, but for those that Arabic and Indic
    scripts show, is refused as a control or does not count as text."""
    shown = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    for point in range(0x110000):
        if unicodedata.category(chr(point)) in ("Zs", "Zl", "Zp", "Cc", "Cf") and point not in shown:
            payment = PAYMENT._replace(reference=chr(point) * 3)
            refusal = refusal_of(payment, payment.account_id.encode(), Source(0, 0, NOON_MS))
            assert refusal is not None or value("is_reference_missing", reference=chr(point) * 3), hex(point)


@pytest.mark.parametrize(("text", "expected"), [(None, 1), ("", 1), ("  ", 1), ("rent", 0)])
def test_blank_required_fields_are_missing(text, expected):
    assert value("is_reference_missing", reference=text) == expected
    assert value("is_beneficiary_name_missing", beneficiary_name=text) == expected


@pytest.mark.parametrize("day", [0, -25_567])
def test_an_opening_day_that_stands_for_none_is_unknown_and_never_old(day):
    assert value("account_age_days", account_opened_epoch_day=day) == UNKNOWN
    assert value("account_age_days", account_opened_epoch_day=day + 1) == NOON_MS // 86_400_000 - day - 1
    row = ROWS.row(PAYMENT._replace(account_opened_epoch_day=day, amount_minor=500_000), NOON_MS)
    hits = hits_of(rule_book(policy()).static_hard, np.array([row]))
    assert [rule.code for rule in hits[0]] == ["HARD_YOUNG_ACCOUNT_HIGH_VALUE"]


@pytest.mark.parametrize(
    ("opened_at_ms", "is_said"),
    [
        (0, False),
        (-3_600_000, False),  # midnight of 1970 in British Standard Time
        (NOON_MS // 1000, False),  # in seconds
        (-25_567 * 86_400_000, False),
        (-86_400_000, True),
        (315_532_800_000, True),  # 1980
    ],
)
def test_a_beneficiarys_opening_time_that_stands_for_none_is_none(opened_at_ms, is_said):
    expected = (NOON_MS - opened_at_ms) // 3_600_000 if is_said else NONE
    assert value("beneficiary_age_hours", beneficiary_opened_at_ms=opened_at_ms) == expected


@pytest.mark.parametrize(
    ("account_id", "expected"),
    [
        ("IR580540105180021273113007", 1),
        ("ir580540105180021273113007", 1),
        ("IR58-0540-1051-8002-1273-1130-07", 1),
        (":I.R_580540105180021273113007", 1),
        ("BY13NBRB3600900000002Z00AB00", 1),
        ("IR590540105180021273113007", 0),  # its check digits don't fit, so it is no IBAN
        ("GB82WEST12345698765432", 0),
        ("IR-customer-7", 0),
        ("SY580540105180021273113007", 0),  # no sanction on SY is in force any more
    ],
)
def test_an_iban_of_a_country_under_sanctions_counts_whatever_country_is_said(account_id, expected):
    for country in ("GB", "XK"):
        said = {"beneficiary_country": country, "beneficiary_account_id": account_id}
        assert value("is_beneficiary_country_sanctioned", **said) == expected
    unknown = {"beneficiary_country": "ZZ", "beneficiary_account_id": account_id}
    assert value("is_beneficiary_country_sanctioned", **unknown) == (expected or NONE)


def test_an_iban_says_nothing_where_there_is_no_list():
    rows = EventRows(policy(), NO_FEEDS)
    asked = {"rows": rows, "beneficiary_account_id": "IR580540105180021273113007"}
    assert value("is_beneficiary_country_sanctioned", **asked) == UNKNOWN


NOTHINGS = (
    "NOTPROVIDED",
    "Not provided",
    "NOT-PROVIDED",
    "NONREF",
    "null",
    "NULL",
    " None ",
    "N/A",
    "nan",
    "undefined",
)
UNSEEN = ("\u0301", "\ue000", "\ufffd\ufffd", "\u0378", "\U000f0000", "nu\u200bll", "\u00ad\u0301")
SAYING = ("rent", "x", "7", "€", "\U0001f382", "家賃", "Nulla", "none of it", "N. A. Smith", "a" + "\u0301")


@pytest.mark.parametrize(
    ("text", "expected"), [*((each, 1) for each in (*NOTHINGS, *UNSEEN)), *((each, 0) for each in SAYING)]
)
def test_a_word_for_nothing_and_what_nobody_sees_are_missing(text, expected):
    assert value("is_reference_missing", reference=text) == expected
    assert value("is_beneficiary_name_missing", beneficiary_name=text) == expected


@pytest.mark.parametrize(
    ("zone", "when", "minute", "weekend"),
    [
        ("Europe/London", "2025-01-06T12:34", 754, 0),
        ("Europe/London", "2025-07-06T23:30", 30, 0),  # Sunday in UTC, Monday 00:30 in summer time
        ("Europe/London", "2025-03-30T00:59", 59, 1),
        ("Europe/London", "2025-03-30T01:00", 120, 1),  # the clocks go forward
        ("Asia/Kathmandu", "2025-01-03T18:15", 0, 1),  # +05:45: Saturday 00:00
        ("America/St_Johns", "2025-01-06T00:00", 1230, 1),  # -03:30: Sunday 20:30
    ],
)
def test_local_time_follows_the_account_s_zone(zone, when, minute, weekend):
    changes = {"account_time_zone": zone, "event_time_ms": ms(when)}
    assert (value("local_minute_of_day", **changes), value("is_weekend", **changes)) == (minute, weekend)


def test_ages():
    assert value("beneficiary_age_hours", beneficiary_opened_at_ms=None) == NONE
    assert value("beneficiary_age_hours", beneficiary_opened_at_ms=NOON_MS - 6 * 3_600_000) == 6
    assert value("beneficiary_age_hours", beneficiary_opened_at_ms=NOON_MS + 5) == 0
    assert value("account_age_days", account_opened_epoch_day=NOON_MS // 86_400_000 - 3) == 3


@pytest.mark.parametrize(
    ("minor", "expected"), [(4_499_999, False), (4_500_000, True), (5_000_000, True), (5_000_001, False)]
)
def test_near_limit_is_the_last_tenth_below_the_limit(minor, expected):
    assert ROWS.is_near_limit(minor) is expected


@pytest.mark.parametrize(
    ("event", "log", "zone", "minute"),
    [
        ("2025-11-25T23:59", "2025-11-26T03:00", "Europe/London", 180),
        ("2025-07-01T22:59", "2025-07-02T03:00", "Europe/London", 240),  # summer time
        ("2025-11-25T12:00", "2025-11-25T18:30", "Asia/Kolkata", 0),
        ("2025-11-26T03:00", "2025-11-26T03:05", "Europe/London", NONE),  # handed in when it was made
        ("2025-11-26T00:54", "2025-11-26T01:00", "Europe/London", 60),
        ("2025-11-26T03:05", "2025-11-26T03:00", "Europe/London", NONE),  # dated ahead, by as much as may be
    ],
)
def test_the_hour_at_which_a_payment_was_handed_in_counts_where_it_was_made_before(event, log, zone, minute):
    changes = {"event_time_ms": ms(event), "account_time_zone": zone}
    assert value("logged_minute_of_day", log_time_ms=ms(log), **changes) == minute
