"""The policy: every number and every rule that a person may set, strictly validated, versioned and hashed.

Invariants
1. A policy that parses is complete and free of contradictions; anything else, whatever its bytes are, is refused with
   a sentence that names the key where there is one (`PolicyRefused`).
2. The hash is the SHA-256 of the file's bytes: a decision names exactly the file that it was made under.
3. Money and rates are integers or decimal strings, never floats.
4. A file says in which format it is written; one that this release does not read is refused before anything else.
5. Whatever the rules are, a payment in a currency without a rate, and one to a sanctioned country or to one that the
   policy doesn't know, is blocked; and a late one is not allowed.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from models.artefact.scoring import PROBABILITY_PPM_MAX
from pipeline.breaker import BreakerSettings
from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide.policy_rules import (
    AMOUNT,
    CONFIDENCE,
    FallbackRules,
    HardRules,
    PolicyRule,
    PolicyTable,
    SoftRule,
    SoftRules,
)
from pipeline.domain.features import LATE_HOURS
from pipeline.drills.objectives import Drills

LINE_CHARACTERS_MAX: Final = 1_000
"""The parser's time grows with the square of a key's dots: 9 s for a line of 40,000 characters, 1 s for a whole file of
lines as long as this."""
FORMAT: Final = 1
PPM_A_BP: Final = 100
SANCTIONED: Final = "is_beneficiary_country_sanctioned"
NEAR_LIMIT_COUNT: Final = "account_near_limit_count_24h"
EVENT_AGE: Final = "event_age_hours"

CountryCode = Annotated[str, Field(strict=True, pattern=r"^[A-Z]{2}$")]


class PolicyRefused(ValueError):
    """The file can't be the policy; the message is one sentence for the person who edited it."""


class ModelLimits(PolicyTable):
    block_probability_ppm: Annotated[int, Field(strict=True, ge=500_000, le=1_000_000)]


class NearLimit(PolicyTable):
    """Which payments count as just under the single-payment limit, where structuring hides: those from a share of what
    the rule allows up to all of it."""

    rule: str
    from_percent: Annotated[int, Field(strict=True, ge=50, le=99)]


class ExchangeRate(PolicyTable):
    code: Annotated[str, Field(strict=True, pattern=r"^[A-Z]{3}$")]
    gbp: Annotated[str, Field(strict=True, pattern=r"^[0-9]{1,6}(\.[0-9]{1,8})?$")]
    minor_digits: Annotated[int, Field(strict=True, ge=0, le=4)]

    @field_validator("gbp")
    @classmethod
    def _is_positive(cls, gbp: str) -> str:
        if Decimal(gbp) == 0:
            raise ValueError("a rate must be above 0")
        return gbp


class ExchangeRates(PolicyTable):
    as_of: date
    currencies: Annotated[tuple[ExchangeRate, ...], Field(min_length=1, max_length=200)]

    @field_validator("currencies")
    @classmethod
    def _is_unambiguous(cls, currencies: tuple[ExchangeRate, ...]) -> tuple[ExchangeRate, ...]:
        codes = [rate.code for rate in currencies]
        if len(set(codes)) < len(codes):
            raise ValueError("a currency stands twice")
        if not any(rate.code == "GBP" and Decimal(rate.gbp) == 1 and rate.minor_digits == 2 for rate in currencies):
            raise ValueError("GBP must be listed with gbp = '1' and minor_digits = 2")
        return currencies


class Sanction(PolicyTable):
    country: CountryCode
    effective_from: Annotated[date, Field(alias="from")]
    effective_until: Annotated[date | None, Field(alias="until")] = None

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.effective_until is not None and self.effective_until <= self.effective_from:
            raise ValueError(f"the sanction on {self.country} ends before it starts")
        return self


class KnownCountries(PolicyTable):
    """The countries that there are. A payment to any other is not one to a country without sanctions."""

    as_of: date
    codes: Annotated[tuple[CountryCode, ...], Field(min_length=1, max_length=26 * 26)]

    @field_validator("codes")
    @classmethod
    def _differ(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(codes)) < len(codes):
            raise ValueError("a country stands twice")
        return codes


class Reviewing(PolicyTable):
    """What reviewers can handle; escalations are watched against it, as a budget. Nothing is decided by it."""

    escalations_an_hour: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Customers(PolicyTable):
    """What customers are told beside the decision: how to have it looked at again, as one sentence or more."""

    contact: Annotated[str, Field(strict=True, min_length=10, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\.$")]


class Policy(PolicyTable):
    format: Literal[1]
    version: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,31}$")]
    model: ModelLimits
    near_limit: NearLimit | None = None
    hard: HardRules
    soft: SoftRules
    fallback: FallbackRules
    exchange_rates: ExchangeRates
    known_countries: KnownCountries | None = None
    """None in a file of a release that knew no such list; parse_new_policy refuses it where there are sanctions."""
    sanctioned_countries: Annotated[tuple[Sanction, ...], Field(max_length=1000)]
    breaker: BreakerSettings
    reviewing: Reviewing | None = None
    """None in a file of a release that had no such figure; parse_new_policy refuses it."""
    customers: Customers | None = None
    """None where the file doesn't say: then a customer's text names no place of contact beyond the usual one."""
    drills: Drills | None = None
    """None where nobody set objectives: then every drill fails, and is due each quarter."""
    sha256: bytes

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        contradiction = next(_contradictions(self), None)
        if contradiction is not None:
            raise ValueError(contradiction)
        return self

    @cached_property
    def currencies(self) -> frozenset[str]:
        """The currencies that there is a rate for."""
        return frozenset(rate.code for rate in self.exchange_rates.currencies)

    def near_limit_gbp_minor(self) -> tuple[int, int] | None:
        """The least and the greatest amount that count as just under the limit, or None where none does."""
        if self.near_limit is None:
            return None
        [rule] = [rule for rule in self.hard.rules if rule.code == self.near_limit.rule]
        limit_minor = rule.when[0].low - 1
        return -(-limit_minor * self.near_limit.from_percent // 100), limit_minor


def _contradictions(policy: Policy) -> Iterator[str]:
    """A sentence for each rule that could never decide, and for each list or number that nothing would use."""
    hard = policy.hard.rules
    for rule in rules_of(policy):
        for stricter in hard:
            if stricter is not rule and stricter.covers(rule):
                never = f"{rule.code} could never decide: {stricter.code} blocks all that it speaks of"
                yield f"{_tier(rule)}.rules: {never}"
    if not any(rule.speaks_only_of(AMOUNT) and rule.when[0].holds_when_missing for rule in hard):
        yield "hard.rules: none blocks a payment whose amount is unknown because its currency has no exchange rate"
    blocks_sanctioned = any(
        rule.speaks_only_of(SANCTIONED) and rule.when[0].has_bounds and rule.when[0].low == 1 for rule in hard
    )
    if policy.sanctioned_countries and not blocks_sanctioned:
        yield f"sanctioned_countries: no hard rule blocks payments to them; one on '{SANCTIONED}' alone must"
    yield from _country_contradictions(policy)
    yield from _near_limit_contradictions(policy)
    for rule in policy.soft.rules:
        yield from _confidence_contradictions(rule, policy.model.block_probability_ppm)


def _country_contradictions(policy: Policy) -> Iterator[str]:
    if policy.known_countries is None:
        return
    if not any(rule.speaks_only_of(SANCTIONED) and rule.when[0].holds_when_missing for rule in policy.hard.rules):
        yield (
            f"known_countries: no hard rule blocks payments to a country that is not among them; one on '{SANCTIONED}'"
            " alone, with when_none and when_unknown = 'holds', must"
        )
    unknown = sorted({each.country for each in policy.sanctioned_countries} - set(policy.known_countries.codes))
    if unknown:
        yield f"sanctioned_countries: {', '.join(unknown)} is not among known_countries"


def _near_limit_contradictions(policy: Policy) -> Iterator[str]:
    if policy.near_limit is None:
        for rule in rules_of(policy):
            if any(condition.feature == NEAR_LIMIT_COUNT for condition in rule.when):
                yield f"near_limit: is missing; {rule.code} reads {NEAR_LIMIT_COUNT}"
        return
    named = [rule for rule in policy.hard.rules if rule.code == policy.near_limit.rule]
    if not named:
        yield f"near_limit.rule: there is no hard rule {policy.near_limit.rule}"
    elif not (named[0].speaks_only_of(AMOUNT) and named[0].when[0].low > 1 and named[0].when[0].at_most is None):
        yield f"near_limit.rule: {named[0].code} is no limit on '{AMOUNT}': it must have at_least for it, and no more"


def _confidence_contradictions(rule: SoftRule, block_probability_ppm: int) -> Iterator[str]:
    """The model allows below the block probability, so it is never less sure than its complement."""
    least_bp = (PROBABILITY_PPM_MAX - (block_probability_ppm - 1)) // PPM_A_BP
    for condition in rule.when:
        if condition.feature == CONFIDENCE and condition.high < least_bp:
            yield (
                f"soft.rules: {rule.code} could never apply: below model.block_probability_ppm the model is at least"
                f" {least_bp} sure ({CONFIDENCE}) that the payment is honest"
            )


def parse_new_policy(content: bytes) -> Policy:
    """The policy in the bytes of a file that is to be in force, or PolicyRefused.

    It must have what older files lack, which `parse_policy` reads because decisions were made under them.
    """
    policy = parse_policy(content)
    if policy.sanctioned_countries and policy.known_countries is None:
        raise PolicyRefused(
            "known_countries: is missing; without it a country code that nobody uses passes as not sanctioned"
        )
    shortfall = next(_shortfalls(policy), None)
    if shortfall is not None:
        raise PolicyRefused(shortfall)
    return policy


def _shortfalls(policy: Policy) -> Iterator[str]:
    """A sentence for each thing that a policy in force must have, and that a policy of before may lack."""
    if not any(_escalates_late(rule) for rule in policy.soft.rules):
        yield (
            f"soft.rules: none escalates what is late; one on '{EVENT_AGE}' alone, with at_least = {LATE_HOURS} or"
            " less, must: whether such a payment was decided before is not remembered"
        )
    if policy.reviewing is None:
        yield "reviewing: is missing; without it nobody is told that more is escalated than reviewers can handle"
    every = rules_of(policy)
    for rule in every:
        feature = rule.silent_on_unknown
        if feature is not None and not any(each.stands_in_for(rule) for each in every if each is not rule):
            yield (
                f"{_tier(rule)}.rules: {rule.code} would not apply where '{feature}' is unknown, and no rule stands in"
                " for it there; leave out when_unknown, or add a rule that holds on unknown values"
            )


def _escalates_late(rule: SoftRule) -> bool:
    [first, *others] = rule.when
    return not others and first.feature == EVENT_AGE and first.low <= LATE_HOURS and first.at_most is None


def rules_of(policy: Policy) -> tuple[PolicyRule, ...]:
    return (*policy.hard.rules, *policy.soft.rules, *policy.fallback.rules)


def _tier(rule: PolicyRule) -> str:
    return rule.code.partition("_")[0].lower()


def parse_policy(content: bytes) -> Policy:
    """The policy in a TOML file's bytes, in force now or once, or PolicyRefused, whatever the bytes are."""
    try:
        return _parsed(content)
    except PolicyRefused:
        raise
    except Exception as error:  # nesting, numbers and texts that no policy has, and that the parser can't take
        raise PolicyRefused(f"the policy can't be read: {type(error).__name__}") from error


def _parsed(content: bytes) -> Policy:
    if len(content) > POLICY_BYTES_MAX:
        raise PolicyRefused(f"the policy is larger than {POLICY_BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyRefused(f"the policy is not UTF-8 at byte {error.start}") from error
    if any(len(line) > LINE_CHARACTERS_MAX for line in text.split("\n")):
        raise PolicyRefused(f"the policy has a line of more than {LINE_CHARACTERS_MAX} characters")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyRefused(f"the policy is not valid TOML: {error}") from error
    if "sha256" in tables:
        raise PolicyRefused("sha256: unknown key; the hash is computed from the file")
    _refuse_unknown_format(tables.get("format"))
    try:
        return Policy.model_validate({**tables, "sha256": hashlib.sha256(content).digest()})
    except ValidationError as error:
        raise PolicyRefused(_sentence(error)) from error


def _refuse_unknown_format(named: object) -> None:
    """Before anything else: of a file in another format every other complaint would mislead."""
    if named is None:
        raise PolicyRefused(f"format: is missing; this release reads format {FORMAT}")
    if named != FORMAT or isinstance(named, bool):
        raise PolicyRefused(f"format: this release reads format {FORMAT}, not {named!r:.40}")


_ENUM_MEMBER: Final = re.compile(r"<\w+\.\w+: ('[^']*')>")


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = _ENUM_MEMBER.sub(r"\1", first["msg"].removeprefix("Value error, "))
    reason = {"extra_forbidden": "unknown key", "missing": "is missing"}.get(first["type"], message)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    # A contradiction between tables has no place; it names its keys itself.
    return ": ".join([*filter(None, [".".join(str(part) for part in first["loc"])]), f"{reason}{more}"])
