from datetime import UTC, datetime

import pytest

from pipeline.decide.event_features import EventRows
from pipeline.domain.features import EVENT, NONE
from tests.records import NOON_MS, PAYMENT, policy

ROWS = EventRows(policy())


def value(name, **changes):
    payment = PAYMENT._replace(**changes)
    return ROWS.row(payment, payment.event_time_ms)[EVENT.index(name)]


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


@pytest.mark.parametrize(("text", "expected"), [(None, 1), ("", 1), ("  ", 1), ("rent", 0)])
def test_blank_required_fields_are_missing(text, expected):
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
