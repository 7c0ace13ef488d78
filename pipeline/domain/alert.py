"""Alerts as values: what a person must know."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Alert(NamedTuple):
    """A value of `alerts.v1`; fields in the order of `schemas/alert.v1.avsc`. A repeat has the same `alert_id`.

    is_over: whether this says that what the alert of this id told of is over.
    """

    alert_id: str
    raised_at_ms: int
    severity: Severity
    code: str  # one of pipeline.alerts.catalogue's, as whoever raised it named it
    summary: str
    scope: str
    evidence: dict[str, str]
    is_over: bool = False


class IncidentKind(StrEnum):
    """What went wrong, as far as the alert says that opened an incident (pipeline.alerts.incident_kinds)."""

    MODEL = "MODEL"  # the model was taken out of the loop, somewhere
    FORGERY = "FORGERY"  # records or acts that nobody of ours is proved to have made
    LEDGER = "LEDGER"  # the ledger, the rail and the decisions don't say the same
    AUDIT_LOG = "AUDIT_LOG"  # the audit log contradicts what was seen of it
    AVAILABILITY = "AVAILABILITY"  # payments wait, or are refused
    ALERTING = "ALERTING"  # alerts were lost, so an incident may be missing
    DRILL = "DRILL"  # two people had the model taken out of the loop, to see what becomes of it
