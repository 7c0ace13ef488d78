"""The policy: every number a person may set, strictly validated, versioned and hashed.

Invariants
1. A policy that parses is complete and free of contradictions; anything else is refused with a sentence that names
   the key (`PolicyRefused`).
2. The hash is the SHA-256 of the file's bytes: a decision names exactly the file that it was made under.
3. Money and rates are integers or decimal strings, never floats.
"""

from __future__ import annotations

import hashlib
import tomllib
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.breaker import BreakerSettings
from pipeline.domain.decision import Outcome
from pipeline.domain.features import COLUMN
from pipeline.domain.payment import AMOUNT_MINOR_MAX

POLICY_BYTES_MAX = 256 * 1024

GbpMinor = Annotated[int, Field(strict=True, ge=1, le=AMOUNT_MINOR_MAX)]
Percent = Annotated[int, Field(strict=True, ge=1, le=100_000)]
CountryCode = Annotated[str, Field(strict=True, pattern=r"^[A-Z]{2}$")]


class PolicyRefused(ValueError):
    """The file can't be the policy; the message is one sentence for the person who edited it."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HardLimits(_Table):
    max_single_transaction_gbp_minor: GbpMinor
    max_daily_volume_per_account_gbp_minor: GbpMinor
    required_fields: frozenset[Literal["reference", "beneficiary_name"]]
    high_value_gbp_minor: GbpMinor
    min_account_age_for_high_value_days: Annotated[int, Field(strict=True, ge=0, le=3650)]

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if self.max_single_transaction_gbp_minor > self.max_daily_volume_per_account_gbp_minor:
            raise ValueError("max_single_transaction_gbp_minor is above max_daily_volume_per_account_gbp_minor")
        if self.high_value_gbp_minor > self.max_single_transaction_gbp_minor:
            raise ValueError("high_value_gbp_minor is above max_single_transaction_gbp_minor, so it could never apply")
        return self


def _minute_of_day(text: object) -> int:
    if not isinstance(text, str):
        raise ValueError("must be a time such as '01:00'")  # pydantic reports a ValueError only
    moment = time.fromisoformat(text)
    return moment.hour * 60 + moment.minute


class LocalHours(_Table):
    """Minutes of the local day, [from_minute, to_minute); may not pass midnight."""

    from_minute: Annotated[int, BeforeValidator(_minute_of_day), Field(alias="from")]
    to_minute: Annotated[int, BeforeValidator(_minute_of_day), Field(alias="to")]

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.from_minute >= self.to_minute:
            raise ValueError("'from' must be before 'to' on the same day")
        return self


class SoftLimits(_Table):
    velocity_multiplier_threshold_percent: Percent
    new_payee_high_value_gbp_minor: GbpMinor
    unusual_hours_local: LocalHours
    unusual_hours_minimum_gbp_minor: GbpMinor
    confidence_minimum_bp: Annotated[int, Field(strict=True, ge=5_000, le=10_000)]


class ModelLimits(_Table):
    block_probability_ppm: Annotated[int, Field(strict=True, ge=500_000, le=1_000_000)]
    near_limit_percent: Annotated[int, Field(strict=True, ge=50, le=99)]


class FeatureCondition(_Table):
    """Holds when at_least ≤ feature ≤ at_most; an UNKNOWN feature never meets a condition."""

    feature: str
    at_least: Annotated[int, Field(strict=True, ge=0)] = 0
    at_most: Annotated[int, Field(strict=True, ge=0)] | None = None

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        if self.feature not in COLUMN:
            raise ValueError(f"unknown feature '{self.feature}'")
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most is below at_least for '{self.feature}'")
        if self.at_most is None and self.at_least == 0:
            raise ValueError(f"the condition on '{self.feature}' holds for every known value")
        return self


class FallbackRule(_Table):
    code: Annotated[str, Field(strict=True, pattern=r"^FALLBACK_[A-Z0-9_]{1,40}$")]
    outcome: Literal[Outcome.BLOCK, Outcome.ESCALATE]
    when: Annotated[tuple[FeatureCondition, ...], Field(min_length=1, max_length=4)]


class Fallback(_Table):
    rules: Annotated[tuple[FallbackRule, ...], Field(min_length=1, max_length=64)]

    @field_validator("rules")
    @classmethod
    def _codes_differ(cls, rules: tuple[FallbackRule, ...]) -> tuple[FallbackRule, ...]:
        codes = [rule.code for rule in rules]
        for code in codes:
            if codes.count(code) > 1:
                raise ValueError(f"the rule {code} stands twice")
        return rules


class ExchangeRate(_Table):
    code: Annotated[str, Field(strict=True, pattern=r"^[A-Z]{3}$")]
    gbp: Annotated[str, Field(strict=True, pattern=r"^[0-9]{1,6}(\.[0-9]{1,8})?$")]
    minor_digits: Annotated[int, Field(strict=True, ge=0, le=4)]

    @field_validator("gbp")
    @classmethod
    def _is_positive(cls, gbp: str) -> str:
        if Decimal(gbp) == 0:
            raise ValueError("a rate must be above 0")
        return gbp


class ExchangeRates(_Table):
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


class Sanction(_Table):
    country: CountryCode
    effective_from: Annotated[date, Field(alias="from")]
    effective_until: Annotated[date | None, Field(alias="until")] = None

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.effective_until is not None and self.effective_until <= self.effective_from:
            raise ValueError(f"the sanction on {self.country} ends before it starts")
        return self


class Policy(_Table):
    version: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,31}$")]
    hard: HardLimits
    soft: SoftLimits
    model: ModelLimits
    fallback: Fallback
    exchange_rates: ExchangeRates
    sanctioned_countries: Annotated[tuple[Sanction, ...], Field(max_length=1000)]
    breaker: BreakerSettings
    sha256: bytes

    @model_validator(mode="after")
    def _thresholds_agree(self) -> Self:
        if self.soft.new_payee_high_value_gbp_minor > self.hard.max_single_transaction_gbp_minor:
            raise ValueError("soft.new_payee_high_value_gbp_minor is above hard.max_single_transaction_gbp_minor")
        if self.model.block_probability_ppm <= 1_000_000 - self.soft.confidence_minimum_bp * 100:
            raise ValueError("model.block_probability_ppm leaves no room for soft.confidence_minimum_bp to escalate")
        return self


def parse_policy(content: bytes) -> Policy:
    """The policy in a TOML file's bytes, or PolicyRefused."""
    if len(content) > POLICY_BYTES_MAX:
        raise PolicyRefused(f"the policy is larger than {POLICY_BYTES_MAX} bytes")
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise PolicyRefused(f"the policy is not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise PolicyRefused(f"the policy is not valid TOML: {error}") from error
    if "sha256" in tables:
        raise PolicyRefused("sha256: unknown key; the hash is computed from the file")
    try:
        return Policy.model_validate({**tables, "sha256": hashlib.sha256(content).digest()})
    except ValidationError as error:
        raise PolicyRefused(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "policy"
    message = first["msg"].removeprefix("Value error, ")
    reason = {"extra_forbidden": "unknown key", "missing": "is missing"}.get(first["type"], message)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {reason}{more}"
