"""Whether a feed may take the place of the one in force.

Invariants
1. A feed that is not younger than the one in force, one from the future, and one that takes too much away or moves too
   far are refused, in that order of sentences. Only a person's word lets one in that is refused for what it changes.
2. Nobody's word lets a feed from the future in: it would pass for young when it is old.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.decide.feeds.feed import AHEAD_MS_MAX, HOME_CURRENCY, ExchangeRates, Feed, Sanctions
from pipeline.decide.policy import FeedLimits
from pipeline.domain.times import utc_text

NAMED_MAX: Final = 10
"""Currencies or countries that a sentence names; the rest are counted."""


class Objection(StrEnum):
    FUTURE = "FUTURE"
    TAKEN_BACK = "TAKEN_BACK"
    OLDER = "OLDER"
    SHRUNKEN = "SHRUNKEN"
    MOVED = "MOVED"


class Refused(NamedTuple):
    """Why a feed may not take the place of the one in force; one sentence, without a full stop."""

    objection: Objection
    why: str

    @property
    def may_be_forced(self) -> bool:
        return self.objection is not Objection.FUTURE


def refusal_of_future(feed: Feed, now_ms: int) -> Refused | None:
    if feed.as_of_ms <= now_ms + AHEAD_MS_MAX:
        return None
    return Refused(Objection.FUTURE, f"as_of: the feed holds for {utc_text(feed.as_of_ms)}, which is still to come")


def refusal_of(before: Feed | None, after: Feed, limits: FeedLimits, now_ms: int) -> Refused | None:
    """Return the refusal of a feed that is to follow `before`; None: there was none. The same bytes follow themselves.

    now_ms: the wall clock's, which nothing is decided by.
    """
    future = refusal_of_future(after, now_ms)
    if future is not None or before is None or before.sha256 == after.sha256:
        return future
    if after.as_of_ms <= before.as_of_ms:
        times = f"{utc_text(after.as_of_ms)}, and the one in force for {utc_text(before.as_of_ms)}"
        return Refused(Objection.OLDER, f"as_of: the feed holds for {times}: a later one must be for a later time")
    if after.version == before.version:
        why = f"version: {after.version} is in force with other content; a new feed has a new version"
        return Refused(Objection.OLDER, why)
    if isinstance(before, ExchangeRates) and isinstance(after, ExchangeRates):
        return _of_rates(before, after, limits.exchange_rates.moves_percent_max)
    assert isinstance(before, Sanctions), "feeds of one kind follow each other"
    assert isinstance(after, Sanctions), "feeds of one kind follow each other"
    return _of_sanctions(before, after, limits.sanctions.countries_changed_max, now_ms)


def _of_rates(before: ExchangeRates, after: ExchangeRates, percent_max: int) -> Refused | None:
    if lost := sorted(before.currencies - after.currencies):
        why = f"rates: {_named(lost)} had a rate and would have none, so that payments in it would be blocked"
        return Refused(Objection.SHRUNKEN, why)
    worth = {rate.code: rate for rate in before.rates}
    both = [rate for rate in after.rates if rate.code in worth]
    moved = [rate.code for rate in both if _moves(worth[rate.code].worth, rate.worth) > percent_max]
    if moved:
        first = next(rate for rate in after.rates if rate.code == moved[0])
        told = f"{first.code} from {worth[first.code].worth} to {first.worth} {HOME_CURRENCY}"
        why = f"rates: {_named(moved)} would move by more than {percent_max} % ({told})"
        return Refused(Objection.MOVED, why)
    if digits := sorted(rate.code for rate in both if worth[rate.code].minor_digits != rate.minor_digits):
        return Refused(Objection.MOVED, f"rates: {_named(digits)} would have another number of minor digits")
    return None


def _moves(before: str, after: str) -> Decimal:
    """By how many percent of the smaller one they differ: a rate that is halved moves as far as one that doubles."""
    low, high = sorted((Decimal(before), Decimal(after)))
    return (high - low) * 100 / low


def _of_sanctions(before: Sanctions, after: Sanctions, countries_max: int, now_ms: int) -> Refused | None:
    day = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    days = {day, *(moment for moment in _boundaries(before, after) if moment > day)}
    freed = sorted({country for each in days for country in before.in_force(each) - after.in_force(each)})
    known, now_known = set(before.known_countries), set(after.known_countries)
    changed = sorted({*freed, *(known ^ now_known)})
    if dropped := sorted(_listed(before) - _listed(after)):
        why = (
            f"sanctioned_countries: {_named(dropped)} stood in the list and would not; a sanction that ends is told by"
            " its until"
        )
        return Refused(Objection.SHRUNKEN, why)
    if 2 * len(freed) > len(before.in_force(day)):
        why = f"sanctioned_countries: {_named(freed)} would come off the list, more than half of those under sanctions"
        return Refused(Objection.SHRUNKEN, why)
    if len(changed) > countries_max:
        why = (
            f"sanctioned_countries, known_countries: {_named(changed)} would come off the list, or come to be known or"
            f" unknown; {countries_max} at most may at once"
        )
        return Refused(Objection.SHRUNKEN, why)
    return None


def _boundaries(*feeds: Sanctions) -> Iterator[date]:
    """The days on which something begins or ends: an end that is told for tomorrow frees a country as well."""
    for feed in feeds:
        for each in feed.sanctioned_countries:
            yield each.effective_from
            if each.effective_until is not None:
                yield each.effective_until


def _listed(feed: Sanctions) -> frozenset[str]:
    return frozenset(each.country for each in feed.sanctioned_countries)


def _named(codes: list[str]) -> str:
    more = len(codes) - NAMED_MAX
    return ", ".join(codes[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
