"""The kind of incident that each alert of the catalogue opens, or None where it opens none.

An alert opens an incident where decisions, money or what proves them may be wrong, or where payments wait. What is
about one payment has a case of its own elsewhere (reviews, recoveries, dead letters), and what still goes well is a
page only.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipeline.alerts.catalogue import AlertCode
from pipeline.domain.alert import IncidentKind, Severity

_A, _K = AlertCode, IncidentKind
KIND_OF: Final[Mapping[AlertCode, IncidentKind | None]] = MappingProxyType(
    {
        _A.TRANSACTION_ID_CONFLICT: None,
        _A.POISON: None,
        _A.PAYMENTS_HELD: _K.AVAILABILITY,
        _A.PARTITION_MISMATCH: _K.AVAILABILITY,
        _A.OFFSETS_MOVED: None,
        _A.BREAKER_TRIP: _K.MODEL,
        _A.BREAKER_STATE_LOST: _K.MODEL,
        _A.BREAKER_STILL_BAD: _K.MODEL,
        _A.BREAKER_PROBE_BAD: _K.MODEL,
        _A.BREAKER_FORCE_OPEN: _K.MODEL,
        _A.BREAKER_DRILL: _K.DRILL,
        _A.BREAKER_OPEN_PERIOD_OVER: None,
        _A.BREAKER_SHARE_RAISED: None,
        _A.BREAKER_PROBE_GOOD: None,
        _A.BREAKER_RELEASE: None,
        _A.BREAKER_INITIALISE: None,
        _A.MODEL_UNWATCHED: _K.MODEL,
        _A.BIAS_GAP: _K.MODEL,
        _A.DRIFT_FROM_TRAINING: None,
        _A.OUTCOMES_REFUSED: None,
        _A.OUTCOMES_NOT_FOLLOWED: None,
        _A.OUT_OF_ORDER: _K.FORGERY,
        _A.BENEFICIARY_FUNDS_GONE: None,
        _A.RECALL_REFUSED: None,
        _A.PARTLY_RECALLED: None,
        _A.EXECUTION_IN_DOUBT: None,
        _A.EXECUTION_RECALL_IN_DOUBT: None,
        _A.EXECUTION_PART_RECALL_IN_DOUBT: None,
        _A.EXECUTION_UNAUDITED: _K.AVAILABILITY,
        _A.EXECUTION_WITHOUT_DECISION: _K.FORGERY,
        _A.DECIDED_AGAIN: _K.FORGERY,
        _A.REVERSAL_OVERTAKEN: None,
        _A.REVIEW_UNHEEDED: None,
        _A.RECORD_UNPROVED: _K.FORGERY,
        _A.DECISION_UNFOUNDED: _K.FORGERY,
        _A.LEDGER_PUT_BACK: _K.LEDGER,
        _A.TOLD_IMPLAUSIBLE: _K.FORGERY,
        _A.TRANSACTION_LEFT_OPEN: _K.AVAILABILITY,
        _A.RAIL_KEY_FORGOTTEN: _K.LEDGER,
        _A.RAIL_PAID_OTHERWISE: _K.LEDGER,
        _A.RULING_CONTRADICTED: _K.LEDGER,
        _A.RECONCILIATION_GAP: _K.LEDGER,
        _A.RECONCILIATION_GAPS: _K.LEDGER,
        _A.STATEMENT_DIFFERS: _K.LEDGER,
        _A.STATEMENT_DIFFERENCES: _K.LEDGER,
        _A.PARTITIONS_SHORT: None,
        _A.RECORDS_UNFILED: None,
        _A.DRILL_OVERDUE: None,
        _A.STATE_BACKUP_OLD: None,
        _A.STATE_EVICTED: _K.AVAILABILITY,
        _A.AUDIT_NOT_CONTINUED: _K.AUDIT_LOG,
        _A.AUDIT_UNWITNESSED: None,
        _A.WITNESS_REFUSED: _K.AUDIT_LOG,
        _A.TIMESTAMP_MISSING: None,
        _A.TABLES_UNCHAINED: None,
        _A.ACT_UNPROVED: _K.FORGERY,
        _A.ROLLBACK_APPLIED: None,
        _A.FEED_AGEING: None,
        _A.FEED_TOO_OLD: _K.AVAILABILITY,
        _A.REGIME_CHANGED: None,
        _A.MODEL_ROLLED_BACK: _K.MODEL,
        _A.ROLLOUT_UNWATCHED: _K.MODEL,
        _A.MODEL_MOVED_UNSIGNED: _K.MODEL,
        _A.ALERT_NOT_DELIVERED: None,
        _A.ALERTS_HEARTBEAT: None,
        _A.ALERTS_TEST: None,
        _A.ALERTS_SILENCED: None,
        _A.ALERTS_FORGED: _K.FORGERY,
        _A.ALERTS_UNREAD: _K.ALERTING,
    }
)


_BY_NAME: Final[Mapping[str, IncidentKind | None]] = {str(code): kind for code, kind in KIND_OF.items()}


def kind_of(code: str, severity: Severity) -> IncidentKind | None:
    """Return the kind of incident that an alert opens or joins; None where it does neither.

    A critical alert whose code this release doesn't know is one that somebody must see: it stands with lost ones.
    """
    return _BY_NAME.get(code, IncidentKind.ALERTING) if severity is Severity.CRITICAL else None
