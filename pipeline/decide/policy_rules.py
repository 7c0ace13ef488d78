"""The rules of a policy file: hard guardrails, soft guardrails and fallback rules, all in one form.

Invariants
1. A tier's outcome is as strict as the tier demands: hard is BLOCK, soft is ESCALATE, fallback is one of the two. No
   rule can allow anything.
2. Every condition can hold for some payment and fail for another: its bounds lie within what its feature can be.
3. Every condition says what it says of a value that is NONE (known to be absent) and of one that is UNKNOWN (lost).
   What the file leaves out is "holds", the strict answer (ADR 0010).
4. No rule that would hold with full knowledge is silent where a value is UNKNOWN, but for one that another rule, which
   is then asked and holds, stands in for (I4). A policy that is to be in force is held to it.
5. A rule means what the file says: no code knows any rule by its name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.domain.decision import Outcome
from pipeline.domain.features import ALWAYS_KNOWN, COLUMN, GREATEST, NEVER_UNKNOWN

NUMBER_MAX: Final = 2**62
"""Bounds, and the limits that are one beside them, stay within the 64 bits of a feature; no feature is above it."""
AMOUNT: Final = "amount_gbp_minor"
CONFIDENCE: Final = "confidence_bp"
"""A soft guardrail may read this beside the features: how sure a model that would allow the payment is, in
ten-thousandths. It is not there where the model was not asked, did not answer by itself, or would block."""
CONFIDENCE_BP_MAX: Final = 10_000
RULES_MAX: Final = 64
"""Rules of a tier. All are asked of every payment: 64 cost about a microsecond."""
NO_RULE: Final = "FALLBACK_NO_RULE"
"""The reason of a payment that no fallback rule speaks of; no rule may have its name."""

_SUMS: Final = frozenset(name for name in COLUMN if name.startswith(("account_sum_minor_", "account_volume_minor_")))
"""Each holds the payment itself, attempted and not refused yet, so it is never below the amount."""

Number = Annotated[int, Field(strict=True, ge=0, le=NUMBER_MAX)]


class PolicyTable(BaseModel):
    """A table of the policy file: immutable, and without keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WhenMissing(StrEnum):
    HOLDS = "holds"
    DOES_NOT_HOLD = "does_not_hold"


class Condition(PolicyTable):
    """Holds when at_least ≤ feature ≤ at_most. Without either bound it holds for no known value."""

    feature: str
    at_least: Number | None = None
    at_most: Number | None = None
    when_none: WhenMissing = WhenMissing.HOLDS
    when_unknown: WhenMissing = WhenMissing.HOLDS

    @model_validator(mode="after")
    def _can_hold_and_fail(self) -> Self:
        if self.feature not in COLUMN and self.feature != CONFIDENCE:
            raise ValueError(f"unknown feature '{self.feature}'")
        greatest = greatest_of(self.feature)
        for name, bound in (("at_least", self.at_least), ("at_most", self.at_most)):
            if bound is not None and bound > greatest:
                raise ValueError(f"{name} is above {greatest}, the most that '{self.feature}' can be")
        if self.low == 0 and self.high >= greatest:
            raise ValueError(f"the condition on '{self.feature}' holds for every known value")
        if self.at_least is not None and self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most is below at_least for '{self.feature}'")
        return self

    @model_validator(mode="after")
    def _says_what_missing_values_mean(self) -> Self:
        said = self.model_fields_set & {"when_none", "when_unknown"}
        if self.feature == CONFIDENCE:
            if said:
                raise ValueError(f"'{CONFIDENCE}' is always known where a rule asks for it; leave out {min(said)}")
            if self.at_least is None and self.at_most is None:
                raise ValueError(f"the condition on '{CONFIDENCE}' has neither at_least nor at_most")
        elif self.feature in ALWAYS_KNOWN and self.at_least is None and self.at_most is None:
            raise ValueError(
                f"the condition on '{self.feature}' has neither at_least nor at_most, and a value that is always known"
                " never meets it"
            )
        elif not self.has_bounds and not (said and self._may_hold_for_missing):
            raise ValueError(
                f"the condition on '{self.feature}' has neither at_least nor at_most, so it could only hold for a"
                f" missing value; say when_none or when_unknown = '{WhenMissing.HOLDS}' if that is meant"
            )
        return self

    @property
    def has_bounds(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def low(self) -> int:
        """The least known value that it holds for; above `high` where there is none."""
        return (self.at_least or 0) if self.has_bounds else 1

    @property
    def high(self) -> int:
        if not self.has_bounds:
            return 0
        return NUMBER_MAX if self.at_most is None else self.at_most

    @property
    def holds_when_none(self) -> bool:
        return self.feature != CONFIDENCE and self.when_none is WhenMissing.HOLDS

    @property
    def holds_when_unknown(self) -> bool:
        return self.feature != CONFIDENCE and self.when_unknown is WhenMissing.HOLDS

    @property
    def holds_when_missing(self) -> bool:
        return self.holds_when_none and self.holds_when_unknown

    @property
    def _may_hold_for_missing(self) -> bool:
        """Whether there is a missing value that it holds for; what a payment says is never UNKNOWN."""
        return self.holds_when_none or (self.holds_when_unknown and self.feature not in NEVER_UNKNOWN)

    @property
    def may_be_silent_on_unknown(self) -> bool:
        """Whether its value may be UNKNOWN, and it would then not hold."""
        return self.feature not in NEVER_UNKNOWN and self.feature != CONFIDENCE and not self.holds_when_unknown

    def covers(self, other: Condition) -> bool:
        """Whether this one holds wherever `other` does, but for an amount that is missing beside known ones: a policy
        always has a hard rule that blocks those."""
        is_unknown_covered = self.holds_when_unknown or not other.holds_when_unknown or self.feature in NEVER_UNKNOWN
        return is_unknown_covered and self.covers_known(other)

    def covers_known(self, other: Condition) -> bool:
        """As `covers`, where nothing is UNKNOWN."""
        if other.feature == AMOUNT and self.feature in _SUMS and self.at_most is None:
            return self.has_bounds and other.has_bounds and self.low <= other.low
        if self.feature != other.feature:
            return False
        is_none_covered = self.holds_when_none or not other.holds_when_none
        if not other.has_bounds:
            return is_none_covered
        return (is_none_covered or self.feature == AMOUNT) and self.low <= other.low and other.high <= self.high


def greatest_of(feature: str) -> int:
    """The greatest known value of a feature, NUMBER_MAX where there is no telling."""
    return CONFIDENCE_BP_MAX if feature == CONFIDENCE else GREATEST.get(feature, NUMBER_MAX)


def _features_differ(when: tuple[Condition, ...]) -> tuple[Condition, ...]:
    features = [condition.feature for condition in when]
    for feature in features:
        if features.count(feature) > 1:
            raise ValueError(f"two conditions on '{feature}'; one may give both at_least and at_most")
    return when


def _ask_no_model(when: tuple[Condition, ...]) -> tuple[Condition, ...]:
    if any(condition.feature == CONFIDENCE for condition in when):
        raise ValueError(f"only a soft guardrail may read '{CONFIDENCE}': the other rules don't ask the model")
    return when


Conditions = Annotated[tuple[Condition, ...], Field(min_length=1, max_length=4), AfterValidator(_features_differ)]
FactConditions = Annotated[Conditions, AfterValidator(_ask_no_model)]


class PolicyRule(PolicyTable):
    """Applies where all its conditions hold; the first is the one that its reason compares with a limit."""

    code: str
    outcome: Outcome
    when: Conditions

    def covers(self, other: PolicyRule) -> bool:
        """Whether this one applies wherever `other` does."""
        return all(any(mine.covers(its) for its in other.when) for mine in self.when)

    def stands_in_for(self, other: PolicyRule) -> bool:
        """Whether this one applies wherever `other` does with full knowledge, also where something is UNKNOWN then."""
        if any(mine.may_be_silent_on_unknown or mine.feature == CONFIDENCE for mine in self.when):
            return False
        return all(any(mine.covers_known(its) for its in other.when) for mine in self.when)

    @property
    def silent_on(self) -> tuple[str, ...]:
        """The features on which an UNKNOWN value keeps it from applying."""
        return tuple(each.feature for each in self.when if each.may_be_silent_on_unknown)

    @property
    def silent_on_unknown(self) -> str | None:
        """The first of `silent_on`; None where there is none."""
        return next(iter(self.silent_on), None)

    def speaks_only_of(self, feature: str) -> bool:
        return len(self.when) == 1 and self.when[0].feature == feature


class HardRule(PolicyRule):
    """Blocks, whatever a model would say, which is not asked then."""

    code: Annotated[str, Field(strict=True, pattern=r"^HARD_[A-Z0-9_]{1,40}$")]
    outcome: Literal[Outcome.BLOCK]
    when: FactConditions


class SoftRule(PolicyRule):
    """Makes an ALLOW an ESCALATE, and nothing else."""

    code: Annotated[str, Field(strict=True, pattern=r"^SOFT_[A-Z0-9_]{1,40}$")]
    outcome: Literal[Outcome.ESCALATE]


class FallbackRule(PolicyRule):
    """Decides where the model may not."""

    code: Annotated[str, Field(strict=True, pattern=r"^FALLBACK_[A-Z0-9_]{1,40}$")]
    outcome: Literal[Outcome.BLOCK, Outcome.ESCALATE]
    when: FactConditions

    @field_validator("code")
    @classmethod
    def _is_free(cls, code: str) -> str:
        if code == NO_RULE:
            raise ValueError(f"{NO_RULE} is the reason where none of the rules applies")
        return code


_AnyRule = TypeVar("_AnyRule", bound=PolicyRule)


def _codes_differ(rules: tuple[_AnyRule, ...]) -> tuple[_AnyRule, ...]:
    codes = [rule.code for rule in rules]
    for code in codes:
        if codes.count(code) > 1:
            raise ValueError(f"the rule {code} stands twice")
    return rules


class HardRules(PolicyTable):
    rules: Annotated[tuple[HardRule, ...], Field(min_length=1, max_length=RULES_MAX), AfterValidator(_codes_differ)]


class SoftRules(PolicyTable):
    """May be none, if the file says so: the model's ALLOW then stands as it is."""

    rules: Annotated[tuple[SoftRule, ...], Field(max_length=RULES_MAX), AfterValidator(_codes_differ)]


class FallbackRules(PolicyTable):
    rules: Annotated[tuple[FallbackRule, ...], Field(min_length=1, max_length=RULES_MAX), AfterValidator(_codes_differ)]
