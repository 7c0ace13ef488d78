"""The words of a decision: its outcome, who answered, the breaker's states, and its reasons."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.enums import FastStrEnum


class Outcome(FastStrEnum):
    ALLOW = "ALLOW"
    BLOCK = "BLOCK"
    ESCALATE = "ESCALATE"


class Route(FastStrEnum):
    """Who answered: a hard guardrail, the model, or the fallback rules."""

    GUARDRAIL = "GUARDRAIL"
    MODEL = "MODEL"
    FALLBACK = "FALLBACK"


class BreakerState(FastStrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"
    FORCED_OPEN = "FORCED_OPEN"
    UNKNOWN = "UNKNOWN"


class Reason(NamedTuple):
    """One reason of a decision (I9). `observed`, `limit` and `excess` share the unit that `text` names.

    `limit` is what a rule allows, or for a model reason what is typical; `excess` is `observed - limit`, and both
    are None where there is nothing to compare with. `contribution_micro` is the exact addend of the model's
    log-odds in millionths; None for a rule.
    """

    code: str
    text: str
    observed: int
    limit: int | None
    excess: int | None
    contribution_micro: int | None
