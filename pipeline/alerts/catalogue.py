"""Alerts as values: what a person must know, with the evidence, and an id that a repeat shares."""

from __future__ import annotations

from uuid import UUID, uuid5

from pipeline.domain.alert import Alert, Severity
from pipeline.domain.log import Source

_NAMESPACE = UUID("5d0f7a52-2b1c-5d6e-8f7b-0c9a4e3d2f11")


def alert(
    severity: Severity, code: str, summary: str, scope: str, evidence: dict[str, str], raised_at_ms: int
) -> Alert:
    """The id follows from code, scope and evidence, so a cause reported twice has one id."""
    cause = "|".join([code, scope, *(f"{name}={evidence[name]}" for name in sorted(evidence))])
    return Alert(str(uuid5(_NAMESPACE, cause)), raised_at_ms, severity, code, summary, scope, evidence)


def conflict_alert(source: Source, raised_at_ms: int) -> Alert:
    return alert(
        Severity.CRITICAL,
        "TRANSACTION_ID_CONFLICT",
        "A transaction id was published again with another body; the second record was refused.",
        "all",
        {"partition": str(source.partition), "offset": str(source.offset)},
        raised_at_ms,
    )
