"""A case's outcome as a record, and when a record counts as having come."""

from __future__ import annotations

from typing import Final

from pipeline.domain.identities import ReviewId
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.review.case_store import CaseFile
from pipeline.review.cases import authors

BACKLOG_MS_MAX: Final = 7 * 86_400_000
"""The service reads within seconds, and within days after an outage. What is older comes from a wrong clock, or nobody
could have decided it in time."""


def trusted_ms(broker_ms: int, now_ms: int) -> int:
    """Return when a record came: by the broker, or now by the database's clock where that contradicts the broker's.

    A case that began years ago would expire before anybody saw it, and one from the future would never.
    """
    return broker_ms if now_ms - BACKLOG_MS_MAX <= broker_ms <= now_ms else now_ms


def review_outcome(name: ReviewId, file: CaseFile) -> ReviewOutcome:
    """The record of a decided case: the same each time."""
    decided = file.standing.last
    assert decided is not None, "the case is decided"
    assert decided.outcome is not None, "what decides has an outcome"
    assert decided.reason is not None, "what decides has a reason"
    reviewed_by, second_reviewer = authors(file.standing)
    return ReviewOutcome(
        name,
        file.case.decision_id,
        file.case.transaction_id,
        file.case.account_id,
        decided.at_ms,
        decided.outcome,
        decided.reason,
        reviewed_by,
        second_reviewer,
    )


def is_as_decided(read: ReviewOutcome, file: CaseFile) -> bool:
    """Whether the record says what was decided here; who may write the topic could say otherwise."""
    return file.standing.last is not None and read == review_outcome(read.review_id, file)
