"""Decisions as values: the words of one (outcome, route, breaker state, reason), and the record itself.

Fields stand in the order of `schemas/decision.v1.avsc`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.domain.enums import FastStrEnum
from pipeline.domain.identities import DecisionId
from pipeline.domain.log import Source
from pipeline.domain.payment import Transaction


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


DRILL_PREFIX: Final = "drill:"
"""Begins how a decision names the scope that a drill opened (`drill:ID:SCOPE`), and a drill's key on its topic."""


def unmarked_scope(marked: str) -> str:
    """Return the scope of the breaker that a decision names."""
    return marked.split(":", 2)[2] if marked.startswith(DRILL_PREFIX) else marked


def drill_in(marked: str) -> str | None:
    """Return the id of the drill that a decision names with its scope, or None where it names none."""
    return marked.split(":", 2)[1] if marked.startswith(DRILL_PREFIX) else None


class Silence(FastStrEnum):
    """Why the fallback answered although the breaker was not asked to keep the model out; the code of a reason."""

    NOT_ASKED = "MODEL_NOT_ASKED"  # something that a model or a rule may read is UNKNOWN
    FAILED = "MODEL_FAILED"  # it raised, or answered nonsense


class Reason(NamedTuple):
    """One reason of a decision (I9). `text` follows from the rest by the decision's phrase book, and from the payment's
    own money. `observed`, `limit` and `excess` share the unit that it names.

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


class InputSnapshot(NamedTuple):
    """All that was decided on."""

    transaction: Transaction
    features: tuple[int, ...]
    """Values in the order of `pipeline.domain.features.FEATURES`; NONE or UNKNOWN where there is no value."""
    outcomes_position: int = -1
    """Next offset of the partition of outcomes that the features had taken in; -1 where none were followed."""


class Decision(NamedTuple):
    """One immutable decision.

    All but `decided_at_ms` follows from snapshot, model, policy, feeds, breaker mode and whether the model failed (I3).
    """

    decision_id: DecisionId
    transaction_id: str
    account_id: str
    decided_at_ms: int
    agent_id: str
    source_partition: int
    source_offset: int
    source_timestamp_ms: int
    outcome: Outcome
    route: Route
    breaker_state: BreakerState
    breaker_scope: str  # all, model:VERSION, segment:NAME=VALUE or channel:NAME; after drill:ID: of a drill
    confidence_bp: int
    fraud_probability_ppm: int  # NONE (-1) where the model was not asked
    score_micro: int  # 0 where the model was not asked
    summary: str
    reasons: tuple[Reason, ...]
    rules_triggered: tuple[str, ...]  # codes in the order of the rules
    model_version: str
    model_hash: bytes
    policy_version: str
    policy_hash: bytes
    phrase_book_version: str  # empty in decisions of before there were versions
    exchange_rates_version: str  # empty where the policy's own tables stood for the feed, "none" where there was none
    exchange_rates_hash: bytes
    sanctions_version: str  # likewise
    sanctions_hash: bytes
    input_hash: bytes  # the SHA-256 of the snapshot's encoding
    snapshot: InputSnapshot

    @property
    def has_model_failed(self) -> bool:
        """Whether the model was asked and failed: a fact that follows from nothing else, and is recorded."""
        return any(reason.code == Silence.FAILED for reason in self.reasons)

    @property
    def source(self) -> Source:
        """The place of the payment on `transactions.v1`."""
        return Source(self.source_partition, self.source_offset, self.source_timestamp_ms)


class AsWritten(NamedTuple):
    """Parts of a decision of an earlier release as JSON, with the fields that its writer had."""

    snapshot: bytes
    reasons: bytes


class StoredDecision(NamedTuple):
    """A decision as read back, and the exact bytes that it was read from."""

    decision: Decision
    body: bytes  # its encoding as it was written, without framing
    snapshot: bytes  # the part of it that `input_hash` is the hash of
    release: int  # of decision.v1, in which it was written
    resolved_snapshot: bytes  # the snapshot in the current release's encoding
