"""A feed: exchange rates, or sanctions with the countries that there are, as a file of its own (ADR 0036).

Invariants
1. A feed that parses is complete and free of contradictions; anything else, whatever its bytes are, is refused with a
   sentence that names the key where there is one (`FeedRefused`).
2. Its identity is the SHA-256 of its bytes: a decision names exactly the feeds that it was made under.
3. A feed says for which moment it holds, with a time zone. How old it is follows from that and from the log's time of
   a payment, never from a clock.
4. Rates are decimal strings, never floats.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from pipeline.decide.feeds.countries import COUNTRIES
from pipeline.decide.feeds.toml_reading import Unreadable, sentence_of, tables_of
from pipeline.decide.policy_rules import PolicyTable
from pipeline.domain.money import CURRENCIES, minor_digits

FORMAT: Final = 1
FEED_BYTES_MAX: Final = 256 * 1024
"""Ten times what 200 currencies, or 1,000 sanctions and every country, take."""
HOME_CURRENCY: Final = "GBP"
"""The currency that the policy's limits are in, so rates are into it."""
HOME_WORTH: Final = ("1", 2)
NO_FEED: Final = "none"
"""The version that a decision names where no such feed was in force."""
WORTH_MIN: Final = Decimal("0.000001")
WORTH_MAX: Final = Decimal(10_000)
"""GBP for one whole unit. The least and the most that a currency of ISO 4217 is worth, with a factor of ten to spare:
the Lebanese pound and an ounce of platinum. A unit mistaken for its hundredth is found by `moves_percent_max`."""
HOUR_MS: Final = 3_600_000
NAMED_MAX: Final = 10
"""Strange codes that a sentence names."""
AHEAD_MS_MAX: Final = 5 * 60_000
"""By which two clocks may differ: a feed from further in the future would stay young for longer than it is."""

CountryCode = Annotated[str, Field(strict=True, pattern=r"^[A-Z]{2}$")]
CurrencyCode = Annotated[str, Field(strict=True, pattern=r"^[A-Z]{3}$")]


class FeedKind(StrEnum):
    EXCHANGE_RATES = "exchange_rates"
    SANCTIONS = "sanctions"


class FeedRefused(ValueError):
    """The file can't be the feed; the message is one sentence for whoever published it."""


class FeedTable(PolicyTable):
    """What every feed says of itself."""

    format: Literal[1]
    kind: FeedKind
    version: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,31}$")]
    as_of: datetime
    source: Annotated[str, Field(strict=True, min_length=1, max_length=200)]
    sha256: bytes

    @field_validator("version")
    @classmethod
    def _is_free(cls, version: str) -> str:
        if version == NO_FEED:
            raise ValueError(f"'{NO_FEED}' is what a decision names where there was no feed")
        return version

    @field_validator("as_of", mode="before")
    @classmethod
    def _is_a_moment(cls, as_of: object) -> object:
        if not isinstance(as_of, datetime) or as_of.tzinfo is None:
            raise ValueError("it must be a date and a time with a zone, such as 2026-11-29T16:00:00Z")
        if not 2000 <= as_of.year <= 9000:
            raise ValueError("it lies outside the years 2000 to 9000")
        return as_of

    @cached_property
    def as_of_ms(self) -> int:
        """Milliseconds since 1970, rounded down: a feed is never younger than it says."""
        since = self.as_of - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000

    def age_hours(self, at_ms: int) -> int:
        """How old it is at a time, in whole hours, as the features have it."""
        return max((at_ms - self.as_of_ms) // HOUR_MS, 0)


class ExchangeRate(PolicyTable):
    code: CurrencyCode
    worth: Annotated[str, Field(strict=True, pattern=r"^[0-9]{1,6}(\.[0-9]{1,10})?$")]
    """Of one whole unit, in the feed's `currency`."""
    minor_digits: Annotated[int, Field(strict=True, ge=0, le=4)]

    @field_validator("worth")
    @classmethod
    def _is_positive(cls, worth: str) -> str:
        if Decimal(worth) == 0:
            raise ValueError("a rate must be above 0")
        return worth


class ExchangeRates(FeedTable):
    kind: Literal[FeedKind.EXCHANGE_RATES]
    currency: CurrencyCode
    rates: Annotated[tuple[ExchangeRate, ...], Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        if self.currency != HOME_CURRENCY:
            raise ValueError(
                f"currency: the rates are into {self.currency}; the policy's limits are in {HOME_CURRENCY}"
            )
        codes = [rate.code for rate in self.rates]
        for code in codes:
            if codes.count(code) > 1:
                raise ValueError(f"rates: {code} stands twice")
        if HOME_CURRENCY in codes:
            raise ValueError(f"rates: {HOME_CURRENCY} is what rates are into, and has none")
        return self

    @cached_property
    def currencies(self) -> frozenset[str]:
        """The currencies that an amount can be converted from, HOME_CURRENCY among them."""
        return frozenset(rate.code for rate in self.rates) | {HOME_CURRENCY}


class Sanction(PolicyTable):
    country: CountryCode
    effective_from: Annotated[date, Field(alias="from", strict=True)]
    effective_until: Annotated[date | None, Field(alias="until", strict=True)] = None

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.effective_until is not None and self.effective_until <= self.effective_from:
            raise ValueError(f"the sanction on {self.country} ends before it starts")
        return self

    def is_in_force(self, day: date) -> bool:
        return self.effective_from <= day and (self.effective_until is None or day < self.effective_until)


class Sanctions(FeedTable):
    """The sanctions, and every country that there is: a code that is neither is nobody's, and no payment goes there."""

    kind: Literal[FeedKind.SANCTIONS]
    sanctioned_countries: Annotated[tuple[Sanction, ...], Field(min_length=1, max_length=1000)]
    known_countries: Annotated[tuple[CountryCode, ...], Field(min_length=1, max_length=26 * 26)]

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        known = set(self.known_countries)
        if len(known) < len(self.known_countries):
            twice = next(code for code in self.known_countries if self.known_countries.count(code) > 1)
            raise ValueError(f"known_countries: {twice} stands twice")
        if unknown := sorted({each.country for each in self.sanctioned_countries} - known):
            raise ValueError(f"sanctioned_countries: {', '.join(unknown)} is not among known_countries")
        for place, each in enumerate(self.sanctioned_countries):
            if each in self.sanctioned_countries[:place]:
                raise ValueError(f"sanctioned_countries: the sanction on {each.country} stands twice")
        return self

    def in_force(self, day: date) -> frozenset[str]:
        """The countries under sanctions on a day."""
        return frozenset(each.country for each in self.sanctioned_countries if each.is_in_force(day))


Feed = ExchangeRates | Sanctions
_TYPES: Final[dict[FeedKind, type[ExchangeRates] | type[Sanctions]]] = {
    FeedKind.EXCHANGE_RATES: ExchangeRates,
    FeedKind.SANCTIONS: Sanctions,
}


class Feeds(NamedTuple):
    """The feeds in force. None: there is no such feed, and everything that it would say is not known."""

    exchange_rates: ExchangeRates | None
    sanctions: Sanctions | None

    def of(self, kind: FeedKind) -> Feed | None:
        return self.exchange_rates if kind is FeedKind.EXCHANGE_RATES else self.sanctions

    def with_feed(self, feed: Feed) -> Feeds:
        if isinstance(feed, ExchangeRates):
            return self._replace(exchange_rates=feed)
        return self._replace(sanctions=feed)


NO_FEEDS: Final = Feeds(None, None)


class FeedName(NamedTuple):
    """What a decision names a feed by. The version is empty where the policy's own tables stood for it."""

    version: str
    sha256: bytes


NO_HASH: Final = bytes(32)
OF_THE_POLICY: Final = FeedName("", NO_HASH)
NOT_THERE: Final = FeedName(NO_FEED, NO_HASH)


def name_of(feed: Feed | None) -> FeedName:
    return NOT_THERE if feed is None else FeedName(feed.version, feed.sha256)


def feed_versions(feeds: Feeds | None) -> dict[str, str]:
    """The version of each kind's feed, as decisions name it."""
    if feeds is None:
        return {kind.value: OF_THE_POLICY.version for kind in FeedKind}
    return {kind.value: name_of(feeds.of(kind)).version for kind in FeedKind}


def parse_new_feed(content: bytes, kind: FeedKind | None = None) -> Feed:
    """The feed in the bytes of a file that is to be in force, or FeedRefused.

    kind: that it must be; None for any. Rates must be such as a currency can have, and countries those that there are.
    """
    feed = parse_feed(content)
    if kind is not None and feed.kind is not kind:
        raise FeedRefused(f"kind: the feed is one of {feed.kind}, where one of {kind} belongs")
    if isinstance(feed, ExchangeRates):
        for rate in feed.rates:
            _require_likely(rate)
    elif strange := sorted(set(feed.known_countries) - COUNTRIES):  # sanctions are on known ones alone
        raise FeedRefused(f"known_countries: {', '.join(strange[:NAMED_MAX])}: ISO 3166-1 has no such country")
    return feed


def _require_likely(rate: ExchangeRate) -> None:
    if not WORTH_MIN <= Decimal(rate.worth) <= WORTH_MAX:
        raise FeedRefused(f"rates: {rate.code} at {rate.worth} {HOME_CURRENCY} is outside {WORTH_MIN:f} to {WORTH_MAX}")
    if rate.code not in CURRENCIES:
        raise FeedRefused(f"rates: {rate.code} is no currency that ISO 4217 gives a number of decimals")
    if rate.minor_digits != minor_digits(rate.code):
        told = f"{rate.minor_digits} minor digits, and by ISO 4217 it has {minor_digits(rate.code)}"
        raise FeedRefused(f"rates: {rate.code} is given {told}")


def parse_feed(content: bytes) -> Feed:
    """The feed in a TOML file's bytes, in force now or once, or FeedRefused, whatever the bytes are."""
    try:
        return _parsed(content)
    except FeedRefused:
        raise
    except Unreadable as refusal:
        raise FeedRefused(str(refusal)) from refusal
    except Exception as error:  # nesting, numbers and texts that no feed has, and that the parser can't take
        raise FeedRefused(f"the feed can't be read: {type(error).__name__}") from error


def _parsed(content: bytes) -> Feed:
    tables = tables_of(content, "the feed", FEED_BYTES_MAX, FORMAT)
    named = tables.get("kind")
    if named is None:
        raise FeedRefused("kind: is missing")
    if not isinstance(named, str) or named not in {kind.value for kind in FeedKind}:
        raise FeedRefused(f"kind: must be one of {', '.join(FeedKind)}, not {named!r:.40}")
    try:
        return _TYPES[FeedKind(named)].model_validate({**tables, "sha256": hashlib.sha256(content).digest()})
    except ValidationError as error:
        raise FeedRefused(sentence_of(error)) from error
