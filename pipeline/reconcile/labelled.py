"""Labels held against decisions: what the pipeline caught, what it missed, and whom it troubled in vain.

Invariants
1. Every label has one verdict, and one about a payment that no decision is known of is UNMATCHED, never right.
2. An escalation is as good as what a person made of it; one that nobody has decided yet stopped the payment.
"""

from __future__ import annotations

from enum import StrEnum

from pipeline.domain.decision import Outcome


class LabelVerdict(StrEnum):
    CAUGHT = "CAUGHT"  # fraud, and it was stopped
    MISSED = "MISSED"  # fraud, and it was let go
    FALSE_POSITIVE = "FALSE_POSITIVE"  # honest, and it was stopped, or a person had to look
    RIGHTLY_ALLOWED = "RIGHTLY_ALLOWED"
    UNMATCHED = "UNMATCHED"  # no decision on the payment is in the audit log


def verdict_of(is_fraud: bool, decided: Outcome | None, reviewed: Outcome | None) -> LabelVerdict:
    """Say what a label makes of a payment's first decision, and of the last review of it.

    decided: None where no decision is known. reviewed: None where nobody has decided the case, or there was none.
    """
    if decided is None:
        return LabelVerdict.UNMATCHED
    if not is_fraud:
        return LabelVerdict.RIGHTLY_ALLOWED if decided is Outcome.ALLOW else LabelVerdict.FALSE_POSITIVE
    in_the_end = reviewed if decided is Outcome.ESCALATE and reviewed is not None else decided
    return LabelVerdict.MISSED if in_the_end is Outcome.ALLOW else LabelVerdict.CAUGHT
