"""The policy: every number and every rule that a person may set, strictly validated, versioned and hashed.

Invariants
1. A policy that parses is complete and free of contradictions; anything else, whatever its bytes are, is refused with
   a sentence that names the key where there is one (`PolicyRefused`).
2. The hash is the SHA-256 of the file's bytes: a decision names exactly the file that it was made under.
3. Money and rates are integers or decimal strings, never floats.
4. A file says in which format it is written; one that this release does not read is refused before anything else.
5. Whatever the rules are, a payment in a currency without a rate, and one to a sanctioned country or to one that
   nobody knows, is blocked; and a late one, and one that a feed is too old for, is not allowed.

Exchange rates and sanctions are feeds of their own (pipeline/decide/feeds). A policy of a release before them held
both itself: `parse_policy` reads it, so that what was decided under it is verified; no such policy comes into force.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from models.artefact.scoring import PROBABILITY_PPM_MAX
from pipeline.bias.drift.settings import DriftSettings
from pipeline.bias.settings import BiasSettings
from pipeline.breaker import BreakerSettings
from pipeline.breaker.settings import POLICY_BYTES_MAX as POLICY_BYTES_MAX  # whoever reads a policy bounds it
from pipeline.decide.feeds.feed import HOME_CURRENCY, NO_FEEDS, CountryCode, FeedKind, Feeds, Sanction
from pipeline.decide.feeds.toml_reading import Unreadable, sentence_of, tables_of
from pipeline.decide.policy_rules import (
    AMOUNT,
    CONFIDENCE,
    FallbackRule,
    FallbackRules,
    HardRules,
    PolicyRule,
    PolicyTable,
    SoftRule,
    SoftRules,
)
from pipeline.decide.reasons.asking import LASTING
from pipeline.decide.rollout.limits import Promotion
from pipeline.domain.features import LATE_HOURS
from pipeline.drills.objectives import Drills

FORMAT: Final = 1
PPM_A_BP: Final = 100
SANCTIONED: Final = "is_beneficiary_country_sanctioned"
NEAR_LIMIT_COUNT: Final = "account_near_limit_count_24h"
EVENT_AGE: Final = "event_age_hours"
AGE_OF: Final = {
    FeedKind.EXCHANGE_RATES: "exchange_rate_age_hours",
    FeedKind.SANCTIONS: "sanctions_list_age_hours",
}
"""The feature that a feed's age is, by which rules say what too old means."""
TOO_OLD_HOURS_MAX: Final = 366 * 24
"""An age that no policy may call young."""


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
    """As a policy of before has it."""

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


class KnownCountries(PolicyTable):
    """The countries that there are, as a policy of before has them."""

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


class RateLimits(PolicyTable):
    """What a new feed of exchange rates is held to. Beyond it, a person says that it is meant."""

    warn_hours: Annotated[int, Field(strict=True, ge=1, le=TOO_OLD_HOURS_MAX)]
    moves_percent_max: Annotated[int, Field(strict=True, ge=1, le=1000)]


class SanctionLimits(PolicyTable):
    """What a new list of sanctions is held to, likewise."""

    warn_hours: Annotated[int, Field(strict=True, ge=1, le=TOO_OLD_HOURS_MAX)]
    countries_changed_max: Annotated[int, Field(strict=True, ge=0, le=26 * 26)]


class FeedLimits(PolicyTable):
    exchange_rates: RateLimits
    sanctions: SanctionLimits

    def warn_hours(self, kind: FeedKind) -> int:
        """The age from which people are told that a feed of this kind grows old."""
        return (self.exchange_rates if kind is FeedKind.EXCHANGE_RATES else self.sanctions).warn_hours


class Policy(PolicyTable):
    format: Literal[1]
    version: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,31}$")]
    model: ModelLimits
    near_limit: NearLimit | None = None
    hard: HardRules
    soft: SoftRules
    fallback: FallbackRules
    exchange_rates: ExchangeRates | None = None
    """The file's own, before there were feeds; so are the next two. parse_new_policy refuses them."""
    known_countries: KnownCountries | None = None
    sanctioned_countries: Annotated[tuple[Sanction, ...], Field(max_length=1000)] = ()
    feeds: FeedLimits | None = None
    """None in a file of before there were feeds; parse_new_policy refuses it."""
    breaker: BreakerSettings
    reviewing: Reviewing | None = None
    """None in a file of a release that had no such figure; parse_new_policy refuses it."""
    customers: Customers | None = None
    """None where the file doesn't say: then a customer's text names no place of contact beyond the usual one."""
    promotion: Promotion | None = None
    """None where nobody set what a promotion takes: then every one is refused."""
    drills: Drills | None = None
    """None where nobody set objectives: then every drill fails, and is due each quarter."""
    bias: BiasSettings = BiasSettings()
    """The strict defaults where the file is of before there was such a table; so is the next one."""
    drift: DriftSettings = DriftSettings()
    sha256: bytes

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        contradiction = next(_contradictions(self), None)
        if contradiction is not None:
            raise ValueError(contradiction)
        return self

    @cached_property
    def own_currencies(self) -> frozenset[str]:
        """The currencies that the file's own tables have a rate for."""
        return frozenset(
            {HOME_CURRENCY} if self.exchange_rates is None else {r.code for r in self.exchange_rates.currencies}
        )

    @property
    def has_own_tables(self) -> bool:
        """Whether exchange rates or sanctions stand in the file itself, as they did before there were feeds."""
        return self.exchange_rates is not None or self.known_countries is not None or bool(self.sanctioned_countries)

    def too_old_hours(self, kind: FeedKind) -> int | None:
        """The age from which a feed is too old: the least that a rule on it alone names. None where no rule does."""
        rules = (*self.hard.rules, *self.soft.rules)
        return min((rule.when[0].low for rule in rules if _heeds_age(rule, kind)), default=None)

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
    shortfall = next(_shortfalls(policy), None)
    if shortfall is not None:
        raise PolicyRefused(shortfall)
    return policy


def _shortfalls(policy: Policy) -> Iterator[str]:
    """A sentence for each thing that a policy in force must have, and that a policy of before may lack."""
    yield from _feed_shortfalls(policy)
    if not any(_escalates_late(rule) for rule in policy.soft.rules):
        yield (
            f"soft.rules: none escalates what is late; one on '{EVENT_AGE}' alone, with at_least = {LATE_HOURS} or"
            " less, must: whether such a payment was decided before is not remembered"
        )
    if policy.reviewing is None:
        yield "reviewing: is missing; without it nobody is told that more is escalated than reviewers can handle"
    for rule in rules_of(policy):
        feature = _silent_without_stand_in(rule, policy)
        if feature is not None:
            kind = "soft or hard rule" if feature in LASTING and not isinstance(rule, FallbackRule) else "rule"
            yield (
                f"{_tier(rule)}.rules: {rule.code} would not apply where '{feature}' is unknown, and no {kind} stands"
                " in for it there; leave out when_unknown, or add a rule that holds on unknown values"
            )


def _silent_without_stand_in(rule: PolicyRule, policy: Policy) -> str | None:
    """The feature on which an UNKNOWN value silences the rule, and no rule that is asked then stands in for it.

    Fallback rules are asked where no model is. A model that doesn't read one of LASTING is asked although it is
    UNKNOWN, so for a guardrail that is silent on it only another guardrail stands in.
    """
    lasting = next((feature for feature in rule.silent_on if feature in LASTING), None)
    is_model_asked = lasting is not None and not isinstance(rule, FallbackRule)
    asked = (*policy.hard.rules, *policy.soft.rules) if is_model_asked else rules_of(policy)
    if any(each.stands_in_for(rule) for each in asked if each is not rule):
        return None
    return lasting if is_model_asked else rule.silent_on_unknown


def _feed_shortfalls(policy: Policy) -> Iterator[str]:
    for name in ("exchange_rates", "known_countries", "sanctioned_countries"):
        if name in policy.model_fields_set:
            yield f"{name}: stands in a feed of its own now (`fraud feeds install`); take the table out"
    if not any(
        rule.speaks_only_of(SANCTIONED) and rule.when[0].has_bounds and rule.when[0].low == 1
        for rule in policy.hard.rules
    ):
        yield f"hard.rules: none blocks payments to countries under sanctions; one on '{SANCTIONED}' alone must"
    if not any(rule.speaks_only_of(SANCTIONED) and rule.when[0].holds_when_missing for rule in policy.hard.rules):
        yield (
            f"hard.rules: none blocks payments to a country that nobody knows; one on '{SANCTIONED}' alone, with"
            " when_none and when_unknown = 'holds', must"
        )
    if policy.feeds is None:
        yield "feeds: is missing; it says from when on people are told that a feed grows old, and how far one may move"
        return
    for kind, feature in AGE_OF.items():
        hours = policy.too_old_hours(kind)
        if hours is None or hours > TOO_OLD_HOURS_MAX:
            yield (
                f"soft.rules: none says what a feed of {kind} that is too old means; one on '{feature}' alone, with"
                f" at_least = {TOO_OLD_HOURS_MAX} or less and when_unknown = 'holds', must"
            )
        elif policy.feeds.warn_hours(kind) >= hours:
            yield f"feeds.{kind}.warn_hours: warns only when the feed is too old already, which it is from {hours} on"


def _heeds_age(rule: PolicyRule, kind: FeedKind) -> bool:
    [first, *others] = rule.when
    is_alone = not others and first.feature == AGE_OF[kind]
    return is_alone and first.has_bounds and first.at_most is None and first.holds_when_unknown


def _escalates_late(rule: SoftRule) -> bool:
    [first, *others] = rule.when
    return not others and first.feature == EVENT_AGE and first.low <= LATE_HOURS and first.at_most is None


def feeds_under(policy: Policy, feeds: Feeds | None) -> Feeds | None:
    """The feeds that a policy decides by. None: its own tables stand for them, because it is of before there were any.

    feeds: None where a decision names none, or nobody has any. A policy without tables then has no feed at all.
    """
    return NO_FEEDS if feeds is None and not policy.has_own_tables else feeds


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
    except Unreadable as refusal:
        raise PolicyRefused(str(refusal)) from refusal
    except Exception as error:  # nesting, numbers and texts that no policy has, and that the parser can't take
        raise PolicyRefused(f"the policy can't be read: {type(error).__name__}") from error


def _parsed(content: bytes) -> Policy:
    tables = tables_of(content, "the policy", POLICY_BYTES_MAX, FORMAT)
    try:
        return Policy.model_validate({**tables, "sha256": hashlib.sha256(content).digest()})
    except ValidationError as error:
        raise PolicyRefused(sentence_of(error)) from error
