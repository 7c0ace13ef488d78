"""The EVENT columns of the features: all that follows from a payment, the policy and the feeds alone.

Invariants
1. A row is a function of (transaction, log time, policy, feeds, time zone rules); the row itself is in the snapshot, so
   a later change of the zone rules changes no replay.
2. A converted amount is rounded up: never below what the payment is worth.
3. What the feeds don't name (a currency, a country) is NONE, and never "not sanctioned"; without a list it is UNKNOWN.
   A beneficiary whose IBAN is of a country under sanctions is in it, whatever country the payment says.
4. An account's opening day that stands for none is UNKNOWN, and never an old account's.
5. A feed's age is by the log's time, and UNKNOWN where there is no feed: never 0 for want of one.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

from pipeline.decide.feeds.feed import HOME_CURRENCY, HOME_WORTH, Feeds, Sanction
from pipeline.decide.policy import Policy, feeds_under
from pipeline.domain.features import NONE, PROMPT_MS, UNKNOWN
from pipeline.domain.payment import AMOUNT_MINOR_MAX, Transaction
from pipeline.domain.refusals import EPOCH_DAY_MIN, EVENT_TIME_MS_MAX, iban_in, says_nothing, zone_of

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
QUARTER_MS: Final = 900_000
MINUTE_MS: Final = 60_000
_ZONES_MS: Final = 14 * HOUR_MS
"""By which midnight in a time zone may lie from that of UTC."""
_SECONDS_MS: Final = EVENT_TIME_MS_MAX // 1000
"""No time in seconds, taken for milliseconds, is later."""
_BLANK_DAYS: Final = frozenset({0, EPOCH_DAY_MIN})
"""1970-01-01 and 1900-01-01: what systems write where they don't know the day, so it is UNKNOWN, and not very old."""
_EPOCH_DAY: Final = date(1970, 1, 1)
_EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday


class EventRows:
    """Makes the EVENT columns of payments under one policy and its feeds."""

    def __init__(self, policy: Policy, feeds: Feeds | None) -> None:
        """feeds: None stands for the tables of a policy of before there were any."""
        self._rates: dict[str, tuple[int, int]] = {}
        self._sanctions: dict[str, list[tuple[int, int | None]]] = {}
        self._countries: frozenset[str] | None = None
        self._has_list = True
        self._rated_at_ms: int | None = None
        self._listed_at_ms: int | None = None
        self._age_without_feed = UNKNOWN
        in_force = feeds_under(policy, feeds)
        if in_force is None:
            self._take_own_tables(policy)
        else:
            self._take_feeds(in_force)
        near_limit = policy.near_limit_gbp_minor()
        self._near_limit_minor, self._limit_minor = (1, 0) if near_limit is None else near_limit

    def _take_own_tables(self, policy: Policy) -> None:
        own, known = policy.exchange_rates, policy.known_countries
        self._rates = {} if own is None else {rate.code: _ratio(rate.gbp, rate.minor_digits) for rate in own.currencies}
        self._sanctions = _days_in_force(policy.sanctioned_countries)
        self._countries = None if known is None else frozenset(known.codes)
        self._age_without_feed = NONE  # nothing was said of it then

    def _take_feeds(self, feeds: Feeds) -> None:
        self._rates[HOME_CURRENCY] = _ratio(*HOME_WORTH)
        rates, sanctions = feeds
        if rates is not None:
            self._rates |= {rate.code: _ratio(rate.worth, rate.minor_digits) for rate in rates.rates}
            self._rated_at_ms = rates.as_of_ms
        self._has_list = sanctions is not None
        if sanctions is not None:
            self._sanctions = _days_in_force(sanctions.sanctioned_countries)
            self._countries = frozenset(sanctions.known_countries)
            self._listed_at_ms = sanctions.as_of_ms

    def row(self, transaction: Transaction, log_time_ms: int) -> tuple[int, ...]:
        """One value per name in features.EVENT. `log_time_ms` is the record's timestamp. About 2.5 µs."""
        t = transaction
        when_ms = t.event_time_ms
        local_ms = _local_ms(when_ms, t.account_time_zone)
        return (
            self._gbp_minor(t.amount_minor, t.currency),
            self._is_sanctioned(t.beneficiary_country, t.beneficiary_account_id, when_ms, log_time_ms),
            int(says_nothing(t.reference)),
            int(says_nothing(t.beneficiary_name)),
            _account_age_days(when_ms, t.account_opened_epoch_day),
            _beneficiary_age_hours(when_ms, t.beneficiary_opened_at_ms),
            local_ms // MINUTE_MS % 1440,
            int((local_ms // DAY_MS + _EPOCH_WEEKDAY) % 7 >= 5),
            max((log_time_ms - when_ms) // HOUR_MS, 0),
            # The event time is the payer's word: what is handed in at night may be dated in the evening.
            NONE
            if log_time_ms - when_ms <= PROMPT_MS
            else _local_ms(log_time_ms, t.account_time_zone) // MINUTE_MS % 1440,
            self._rate_age_hours(t.currency, log_time_ms),
            self._age_hours(self._listed_at_ms, log_time_ms),
        )

    def is_near_limit(self, amount_gbp_minor: int) -> bool:
        """Just under the single-payment limit, where structuring hides; never where the policy names no such limit."""
        return self._near_limit_minor <= amount_gbp_minor <= self._limit_minor

    def _gbp_minor(self, amount_minor: int, currency: str) -> int:
        rate = self._rates.get(currency)
        if rate is None:
            return NONE
        return min(-(-amount_minor * rate[0] // rate[1]), AMOUNT_MINOR_MAX)

    def _rate_age_hours(self, currency: str, log_time_ms: int) -> int:
        if currency == HOME_CURRENCY:
            return NONE  # it needs no rate
        return self._age_hours(self._rated_at_ms if currency in self._rates else None, log_time_ms)

    def _age_hours(self, as_of_ms: int | None, log_time_ms: int) -> int:
        """A feed that is of after the payment is young: no worker takes one up that is of the future."""
        return self._age_without_feed if as_of_ms is None else max((log_time_ms - as_of_ms) // HOUR_MS, 0)

    def _is_sanctioned(self, country: str, account_id: str, event_time_ms: int, log_time_ms: int) -> int:
        """1 where the country is under sanctions on the day of the event, on that of the log, or on one in between.

        The event time is the payer's word. A payment dated before a sanction begins, and handed in after, would pass
        it. The country may be said wrongly beside an IBAN that says it, too: then both count. A policy of a release
        that judged by event time and the country said alone has no list of countries; it is replayed as it was.
        """
        if not self._has_list:
            return UNKNOWN
        if self._countries is None:
            return self._is_under(country, event_time_ms, event_time_ms)
        iban = iban_in(account_id)
        if iban is not None and self._is_under(iban[:2], event_time_ms, log_time_ms):
            return 1
        if country not in self._countries:
            return NONE
        return self._is_under(country, event_time_ms, log_time_ms)

    def _is_under(self, country: str, event_time_ms: int, log_time_ms: int) -> int:
        spans = self._sanctions.get(country)
        if spans is None:
            return 0
        first, last = min(event_time_ms, log_time_ms) // DAY_MS, max(event_time_ms, log_time_ms) // DAY_MS
        return int(any(start <= last and (end is None or first < end) for start, end in spans))


def _account_age_days(when_ms: int, opened_epoch_day: int) -> int:
    return UNKNOWN if opened_epoch_day in _BLANK_DAYS else max(when_ms // DAY_MS - opened_epoch_day, 0)


def _beneficiary_age_hours(when_ms: int, opened_at_ms: int | None) -> int:
    """NONE where the payment doesn't say. The first days of 1970 say no more: they are 0, or seconds for milliseconds;
    nor does 1900-01-01, wherever it was midnight."""
    if opened_at_ms is None or -_ZONES_MS < opened_at_ms < _SECONDS_MS:
        return NONE
    if abs(opened_at_ms - EPOCH_DAY_MIN * DAY_MS) < _ZONES_MS:
        return NONE
    return max((when_ms - opened_at_ms) // HOUR_MS, 0)


def _ratio(gbp: str, minor_digits: int) -> tuple[int, int]:
    """Pence for one minor unit, as numerator and denominator."""
    numerator, denominator = Decimal(gbp).as_integer_ratio()
    return numerator * 100, denominator * 10**minor_digits


def _days_in_force(sanctions: tuple[Sanction, ...]) -> dict[str, list[tuple[int, int | None]]]:
    spans: dict[str, list[tuple[int, int | None]]] = {}
    for sanction in sanctions:
        end = sanction.effective_until
        span = (sanction.effective_from - _EPOCH_DAY).days, None if end is None else (end - _EPOCH_DAY).days
        spans.setdefault(sanction.country, []).append(span)
    return spans


def _local_ms(time_ms: int, zone_name: str) -> int:
    return time_ms + _utc_offset_ms(zone_name, time_ms // QUARTER_MS)


@lru_cache(maxsize=65536)
def _utc_offset_ms(zone_name: str, quarter: int) -> int:
    """Offsets change on whole quarters of an hour, so a quarter's offset holds for all of it. Antarctica/Casey alone
    changes at a minute past one, and is told its new time with the next quarter."""
    zone = zone_of(zone_name)
    assert zone is not None, "refusal_of admits known zones only"
    offset = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // timedelta(milliseconds=1)
