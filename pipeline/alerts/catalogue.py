"""Every alert that the pipeline can raise: its severity and its meaning. Its runbook is docs/runbooks/CODE.md.

Invariants
1. Only an alert in CATALOGUE can be raised, and only with a severity that its entry allows.
2. A cause that is raised twice has one id: the id follows from code, scope and evidence alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from pipeline.domain.alert import Alert, Severity
from pipeline.domain.log import Source, Unproved
from pipeline.domain.times import utc_text

_NAMESPACE = UUID("5d0f7a52-2b1c-5d6e-8f7b-0c9a4e3d2f11")


class AlertCode(StrEnum):
    """Codes in the order of the concerns that raise them."""

    TRANSACTION_ID_CONFLICT = "TRANSACTION_ID_CONFLICT"
    POISON = "POISON"
    PAYMENTS_HELD = "PAYMENTS_HELD"
    PARTITION_MISMATCH = "PARTITION_MISMATCH"
    OFFSETS_MOVED = "OFFSETS_MOVED"
    BREAKER_TRIP = "BREAKER_TRIP"
    BREAKER_STATE_LOST = "BREAKER_STATE_LOST"
    BREAKER_STILL_BAD = "BREAKER_STILL_BAD"
    BREAKER_PROBE_BAD = "BREAKER_PROBE_BAD"
    BREAKER_FORCE_OPEN = "BREAKER_FORCE_OPEN"
    BREAKER_DRILL = "BREAKER_DRILL"
    BREAKER_OPEN_PERIOD_OVER = "BREAKER_OPEN_PERIOD_OVER"
    BREAKER_SHARE_RAISED = "BREAKER_SHARE_RAISED"
    BREAKER_PROBE_GOOD = "BREAKER_PROBE_GOOD"
    BREAKER_RELEASE = "BREAKER_RELEASE"
    BREAKER_INITIALISE = "BREAKER_INITIALISE"
    MODEL_UNWATCHED = "MODEL_UNWATCHED"
    BIAS_GAP = "BIAS_GAP"
    DRIFT_FROM_TRAINING = "DRIFT_FROM_TRAINING"
    OUTCOMES_REFUSED = "OUTCOMES_REFUSED"
    OUTCOMES_NOT_FOLLOWED = "OUTCOMES_NOT_FOLLOWED"
    OUT_OF_ORDER = "OUT_OF_ORDER"
    BENEFICIARY_FUNDS_GONE = "BENEFICIARY_FUNDS_GONE"
    RECALL_REFUSED = "RECALL_REFUSED"
    PARTLY_RECALLED = "PARTLY_RECALLED"
    EXECUTION_IN_DOUBT = "EXECUTION_IN_DOUBT"
    EXECUTION_RECALL_IN_DOUBT = "EXECUTION_RECALL_IN_DOUBT"
    EXECUTION_PART_RECALL_IN_DOUBT = "EXECUTION_PART_RECALL_IN_DOUBT"
    EXECUTION_UNAUDITED = "EXECUTION_UNAUDITED"
    EXECUTION_WITHOUT_DECISION = "EXECUTION_WITHOUT_DECISION"
    DECIDED_AGAIN = "DECIDED_AGAIN"
    REVERSAL_OVERTAKEN = "REVERSAL_OVERTAKEN"
    REVIEW_UNHEEDED = "REVIEW_UNHEEDED"
    RECORD_UNPROVED = "RECORD_UNPROVED"
    DECISION_UNFOUNDED = "DECISION_UNFOUNDED"
    LEDGER_PUT_BACK = "LEDGER_PUT_BACK"
    TOLD_IMPLAUSIBLE = "TOLD_IMPLAUSIBLE"
    TRANSACTION_LEFT_OPEN = "TRANSACTION_LEFT_OPEN"
    RAIL_KEY_FORGOTTEN = "RAIL_KEY_FORGOTTEN"
    RAIL_PAID_OTHERWISE = "RAIL_PAID_OTHERWISE"
    RULING_CONTRADICTED = "RULING_CONTRADICTED"
    RECONCILIATION_GAP = "RECONCILIATION_GAP"
    RECONCILIATION_GAPS = "RECONCILIATION_GAPS"
    STATEMENT_DIFFERS = "STATEMENT_DIFFERS"
    STATEMENT_DIFFERENCES = "STATEMENT_DIFFERENCES"
    PARTITIONS_SHORT = "PARTITIONS_SHORT"
    RECORDS_UNFILED = "RECORDS_UNFILED"
    DRILL_OVERDUE = "DRILL_OVERDUE"
    STATE_BACKUP_OLD = "STATE_BACKUP_OLD"
    STATE_EVICTED = "STATE_EVICTED"
    AUDIT_NOT_CONTINUED = "AUDIT_NOT_CONTINUED"
    AUDIT_UNWITNESSED = "AUDIT_UNWITNESSED"
    WITNESS_REFUSED = "WITNESS_REFUSED"
    TIMESTAMP_MISSING = "TIMESTAMP_MISSING"
    TABLES_UNCHAINED = "TABLES_UNCHAINED"
    ACT_UNPROVED = "ACT_UNPROVED"
    ROLLBACK_APPLIED = "ROLLBACK_APPLIED"
    FEED_AGEING = "FEED_AGEING"
    FEED_TOO_OLD = "FEED_TOO_OLD"
    REGIME_CHANGED = "REGIME_CHANGED"
    MODEL_ROLLED_BACK = "MODEL_ROLLED_BACK"
    ROLLOUT_UNWATCHED = "ROLLOUT_UNWATCHED"
    MODEL_MOVED_UNSIGNED = "MODEL_MOVED_UNSIGNED"
    ALERT_NOT_DELIVERED = "ALERT_NOT_DELIVERED"
    ALERTS_HEARTBEAT = "ALERTS_HEARTBEAT"
    ALERTS_TEST = "ALERTS_TEST"
    ALERTS_SILENCED = "ALERTS_SILENCED"
    ALERTS_FORGED = "ALERTS_FORGED"
    ALERTS_UNREAD = "ALERTS_UNREAD"


class Entry(NamedTuple):
    """The properties of every alert of one code.

    severities: the ones that it may be raised with; most codes have one.
    """

    severities: tuple[Severity, ...]
    meaning: str


_INFO, _CRITICAL = (Severity.INFO,), (Severity.CRITICAL,)
_PASSING_OR_NOT = (Severity.WARNING, Severity.CRITICAL)
CATALOGUE: Final[dict[AlertCode, Entry]] = {
    AlertCode.TRANSACTION_ID_CONFLICT: Entry(
        _CRITICAL, "A transaction id was published again for another payment; the second was refused."
    ),
    AlertCode.POISON: Entry(_CRITICAL, "Deciding a payment failed again and again; it was set aside, undecided."),
    AlertCode.PAYMENTS_HELD: Entry(
        _CRITICAL, "A worker holds its payments: Redis refuses what it asks, or deciding fails for every one."
    ),
    AlertCode.PARTITION_MISMATCH: Entry(
        _CRITICAL, "Payments stand on other partitions than their accounts belong to; they were refused."
    ),
    AlertCode.OFFSETS_MOVED: Entry(
        _CRITICAL, "The group's committed offsets were lost or moved; deciding went on where it had stopped."
    ),
    AlertCode.BREAKER_TRIP: Entry(_CRITICAL, "The breaker took the model out of the loop."),
    AlertCode.BREAKER_STATE_LOST: Entry(
        _CRITICAL, "The breaker's state was lost; the model is out of the loop until it has proved itself."
    ),
    AlertCode.BREAKER_STILL_BAD: Entry(
        _CRITICAL, "The open period is over, but the model's answers in shadow are still bad."
    ),
    AlertCode.BREAKER_PROBE_BAD: Entry(_CRITICAL, "The model failed its probation."),
    AlertCode.BREAKER_FORCE_OPEN: Entry(_CRITICAL, "A person took the model out of the loop."),
    AlertCode.BREAKER_DRILL: Entry(
        _CRITICAL, "A DRILL, by consent of two people, took the model out of the loop; it ends by itself."
    ),
    AlertCode.BREAKER_OPEN_PERIOD_OVER: Entry(_INFO, "The model is on probation."),
    AlertCode.BREAKER_SHARE_RAISED: Entry(_INFO, "The model passed at its share, and answers a larger one."),
    AlertCode.BREAKER_PROBE_GOOD: Entry(_INFO, "The model is back in the loop."),
    AlertCode.BREAKER_RELEASE: Entry(_INFO, "A person let the model back on probation."),
    AlertCode.BREAKER_INITIALISE: Entry(_INFO, "A deployment that has never decided began with the model."),
    AlertCode.MODEL_UNWATCHED: Entry(
        _CRITICAL, "The breaker has not been able to judge a scope with payments for hours; nothing would trip it."
    ),
    AlertCode.BIAS_GAP: Entry(
        _CRITICAL,
        "A segment of customers fares worse than the rest, and worse than is usual, by more than is let pass.",
    ),
    AlertCode.DRIFT_FROM_TRAINING: Entry(
        (Severity.WARNING,), "What a model decides on, or what it answers, isn't what it was taught on any more."
    ),
    AlertCode.OUTCOMES_REFUSED: Entry(
        _CRITICAL, "Records that say what became of payments can't be used, so their payees stay unknown."
    ),
    AlertCode.OUTCOMES_NOT_FOLLOWED: Entry(
        _CRITICAL, "A worker doesn't learn what became of payments, so no further payee becomes known."
    ),
    AlertCode.OUT_OF_ORDER: Entry(
        _CRITICAL, "A decision came after the record that takes it back; the payment was refused."
    ),
    AlertCode.BENEFICIARY_FUNDS_GONE: Entry(
        _CRITICAL, "A payment was to be reversed, but its beneficiary has spent the money."
    ),
    AlertCode.RECALL_REFUSED: Entry(_CRITICAL, "A payment was to be reversed, but the rail refused to take it back."),
    AlertCode.PARTLY_RECALLED: Entry(
        _CRITICAL, "A payment was to be reversed, but only a part of the money was still there."
    ),
    AlertCode.EXECUTION_IN_DOUBT: Entry(
        _CRITICAL, "The rail does not say what became of a payment; it is asked again until it does."
    ),
    AlertCode.EXECUTION_RECALL_IN_DOUBT: Entry(
        _CRITICAL, "The rail does not say what became of a recall; it is asked again until it does."
    ),
    AlertCode.EXECUTION_PART_RECALL_IN_DOUBT: Entry(
        _CRITICAL, "The rail does not say what became of the recall of a part; it is asked again until it does."
    ),
    AlertCode.EXECUTION_UNAUDITED: Entry(
        _CRITICAL, "Payments wait because the audit log is behind: nothing is executed before it is audited."
    ),
    AlertCode.EXECUTION_WITHOUT_DECISION: Entry(
        _CRITICAL, "A review or a reversal is about a decision that the executor has not heard."
    ),
    AlertCode.DECIDED_AGAIN: Entry(_CRITICAL, "A payment has a second decision; it is executed as the first says."),
    AlertCode.REVERSAL_OVERTAKEN: Entry(
        _CRITICAL, "A reversal replaces what is no longer in force, or never was; nothing was done."
    ),
    AlertCode.REVIEW_UNHEEDED: Entry(
        (Severity.WARNING,), "A person's outcome moves no money, because the payment isn't held any more."
    ),
    AlertCode.RECORD_UNPROVED: Entry(
        _CRITICAL, "Decisions or dead letters don't prove who wrote them; nothing is done by what they say."
    ),
    AlertCode.DECISION_UNFOUNDED: Entry(
        _CRITICAL,
        "A sealed decision is not what its payment leads to; a worker's signing key may be stolen.",
    ),
    AlertCode.LEDGER_PUT_BACK: Entry(
        _CRITICAL,
        "The ledger was put back from a backup; nothing is paid until it has caught up with the rail.",
    ),
    AlertCode.TOLD_IMPLAUSIBLE: Entry(
        _CRITICAL, "A record on executions.v1 tells what no executor of this ledger can have told; it is passed over."
    ),
    AlertCode.TRANSACTION_LEFT_OPEN: Entry(
        _CRITICAL,
        "A transaction left open on the broker holds a partition; nobody reads what stands behind it.",
    ),
    AlertCode.RAIL_KEY_FORGOTTEN: Entry(
        _CRITICAL,
        "Nobody knows whether a payment was made: the rail has forgotten its key, or another's is under it.",
    ),
    AlertCode.RAIL_PAID_OTHERWISE: Entry(
        _CRITICAL, "The rail has made a payment, or taken one back, that the records on decisions.v1 do not lead to."
    ),
    AlertCode.RULING_CONTRADICTED: Entry(
        _CRITICAL,
        "The rail contradicts what two people have ruled about a payment whose key it had forgotten.",
    ),
    AlertCode.RECONCILIATION_GAP: Entry(
        _PASSING_OR_NOT, "Records are missing, or stand otherwise, in the audit log or the ledger."
    ),
    AlertCode.RECONCILIATION_GAPS: Entry(_CRITICAL, "More gaps were found than are told one by one."),
    AlertCode.STATEMENT_DIFFERS: Entry(
        _CRITICAL, "The rail's statement and the ledger do not say the same of a payment."
    ),
    AlertCode.STATEMENT_DIFFERENCES: Entry(
        _CRITICAL, "More differences from the rail's statement were found than are told one by one."
    ),
    AlertCode.PARTITIONS_SHORT: Entry(
        _CRITICAL, "Partitions are made for fewer than two months ahead, so the job that makes them does not run."
    ),
    AlertCode.RECORDS_UNFILED: Entry(
        _CRITICAL, "Records stand outside every month, because a clock is wrong or no partition was made."
    ),
    AlertCode.DRILL_OVERDUE: Entry(
        (Severity.WARNING,),
        "A drill is overdue by the policy, or was never carried out, so nobody knows whether it would pass.",
    ),
    AlertCode.STATE_BACKUP_OLD: Entry(
        (Severity.WARNING,),
        "The latest copy of the state is old, so a loss would take long to mend, or be one for good.",
    ),
    AlertCode.STATE_EVICTED: Entry(_CRITICAL, "Redis may forget keys of the state, or has; nothing is decided on it."),
    AlertCode.AUDIT_NOT_CONTINUED: Entry(
        _CRITICAL, "The audit log contradicts itself or what stands outside; nothing more is signed."
    ),
    AlertCode.AUDIT_UNWITNESSED: Entry(
        _CRITICAL, "Nothing outside has witnessed the audit log for longer than it may go unseen."
    ),
    AlertCode.WITNESS_REFUSED: Entry(
        _CRITICAL, "The witness was shown a head of the audit log that does not continue what it saw."
    ),
    AlertCode.TIMESTAMP_MISSING: Entry((Severity.WARNING,), "The timestamp authority gave no timestamp that holds."),
    AlertCode.TABLES_UNCHAINED: Entry(_CRITICAL, "Rows of the ledger, reviews or control wait too long to be chained."),
    AlertCode.ACT_UNPROVED: Entry(
        _CRITICAL, "What stands as a person's act was not proved to be theirs, so it counts as nothing."
    ),
    AlertCode.ROLLBACK_APPLIED: Entry(_INFO, "A rollback was carried out."),
    AlertCode.FEED_AGEING: Entry(
        (Severity.WARNING,), "Exchange rates or the list of sanctions grow old, and will soon be too old to decide by."
    ),
    AlertCode.FEED_TOO_OLD: Entry(
        _CRITICAL,
        "Exchange rates or the list of sanctions are too old or missing; payments are decided strictly.",
    ),
    AlertCode.REGIME_CHANGED: Entry(_INFO, "A worker decides by another policy, model or feed than before."),
    AlertCode.MODEL_ROLLED_BACK: Entry(
        _CRITICAL, "A version of the model was taken back, by a person or by the stop rule; the one before decides."
    ),
    AlertCode.ROLLOUT_UNWATCHED: Entry(
        _CRITICAL, "A version is being rolled out, and nothing can take it back by itself."
    ),
    AlertCode.MODEL_MOVED_UNSIGNED: Entry(_CRITICAL, "The champion was moved, and no person has signed that."),
    AlertCode.ALERT_NOT_DELIVERED: Entry(
        _PASSING_OR_NOT, "A sink of alerts does not take what it is sent, or nobody knows whether it did."
    ),
    AlertCode.ALERTS_HEARTBEAT: Entry(_INFO, "Alerts are read and sent; it goes to the dead man's switch."),
    AlertCode.ALERTS_TEST: Entry(tuple(Severity), "Somebody tries whether alerts arrive."),
    AlertCode.ALERTS_SILENCED: Entry(tuple(Severity), "Somebody silenced alerts; nobody is told of them for a while."),
    AlertCode.ALERTS_FORGED: Entry(
        _CRITICAL, "Something other than the service wrote what became of alerts, so one may have been called off."
    ),
    AlertCode.ALERTS_UNREAD: Entry(
        _CRITICAL, "Alerts can't be read, or were deleted before they were read, so an incident may be missing."
    ),
}

ENDED_BY: Final[dict[AlertCode, frozenset[AlertCode]]] = {
    **dict.fromkeys(
        (
            AlertCode.BREAKER_TRIP,
            AlertCode.BREAKER_STATE_LOST,
            AlertCode.BREAKER_STILL_BAD,
            AlertCode.BREAKER_PROBE_BAD,
            AlertCode.BREAKER_DRILL,
        ),
        frozenset({AlertCode.BREAKER_PROBE_GOOD}),
    ),
    AlertCode.BREAKER_FORCE_OPEN: frozenset({AlertCode.BREAKER_RELEASE}),
}
"""The codes whose alert, about the same scope, says that what this one told of is over. Others are ended by
`over`, where OVER_BY_ITSELF has them; what nothing ends is over when a person says so."""
OVER_BY_ITSELF: Final = frozenset(
    {
        AlertCode.STATE_BACKUP_OLD,
        AlertCode.AUDIT_UNWITNESSED,
        AlertCode.TABLES_UNCHAINED,
        AlertCode.ALERT_NOT_DELIVERED,
        AlertCode.ALERTS_TEST,
        AlertCode.DRILL_OVERDUE,
        AlertCode.FEED_AGEING,
        AlertCode.FEED_TOO_OLD,
        AlertCode.ROLLOUT_UNWATCHED,
        AlertCode.BIAS_GAP,
        AlertCode.DRIFT_FROM_TRAINING,
    }
)
"""The codes whose raiser can say that it is over. Of every other that word counts as nothing, so that whoever may write
alerts.v1 can't call off what told of them."""
TOLD_ALONE: Final = frozenset({AlertCode.ROLLBACK_APPLIED, AlertCode.ALERTS_TEST, AlertCode.ALERTS_SILENCED})
"""What people did: each is told by itself and once, and none is grouped."""


def alert(
    code: AlertCode,
    summary: str,
    scope: str,
    evidence: dict[str, str],
    raised_at_ms: int,
    severity: Severity | None = None,
) -> Alert:
    """Make an alert of the catalogue.

    severity: one of the entry's; None stands for its only one. `summary` may say more than the entry's meaning.
    """
    allowed = CATALOGUE[code].severities
    if severity is None:
        assert len(allowed) == 1, f"{code} is raised with a severity"
        severity = allowed[0]
    assert severity in allowed, f"{code} is never {severity}"
    return Alert(alert_id_of(code, scope, evidence), raised_at_ms, severity, code, summary, scope, evidence)


def alert_id_of(code: str, scope: str, evidence: Mapping[str, str]) -> str:
    """Return the id of an alert of what it says, whatever id a record claims."""
    cause = "|".join([code, scope, *(f"{name}={evidence[name]}" for name in sorted(evidence))])
    return str(uuid5(_NAMESPACE, cause))


def over(raised: Alert, over_at_ms: int) -> Alert:
    """Make the word that what an alert told of is over; with that alert's id it stands behind it on the topic."""
    assert raised.code in OVER_BY_ITSELF, f"{raised.code} is never said to be over"
    return raised._replace(raised_at_ms=over_at_ms, is_over=True)


def conflict_alert(partition: int, first_offset: int, payments: int, raised_at_ms: int) -> Alert:
    """Make the alert about so many payments of a partition since its last such alert, from an offset on."""
    what = "A payment bears" if payments == 1 else f"{payments:,} payments bear"
    return alert(
        AlertCode.TRANSACTION_ID_CONFLICT,
        f"{what} a transaction id that another payment had before; refused on partition {partition} of "
        f"transactions.v1, from offset {first_offset} on.",
        "all",
        {"partition": str(partition), "offset": str(first_offset), "payments": str(payments)},
        raised_at_ms,
    )


def poison_alert(source: Source, raised_at_ms: int) -> Alert:
    return alert(
        AlertCode.POISON,
        "Deciding a payment failed again and again; it was set aside, undecided. `fraud dead-letters redrive` decides "
        "it again once the fault is mended.",
        "all",
        {"partition": str(source.partition), "offset": str(source.offset)},
        raised_at_ms,
    )


def held_alert(worker_slot: int, why: str, raised_at_ms: int) -> Alert:
    """why: in words that quote no payment."""
    what = f"Worker {worker_slot} holds its payments, and no outage explains it: {why}. Nothing is lost or set aside."
    return alert(AlertCode.PAYMENTS_HELD, what, "all", {"worker": str(worker_slot), "why": why}, raised_at_ms)


def mismatch_alert(partition: int, first_offset: int, payments: int, raised_at_ms: int) -> Alert:
    """Make the alert about so many payments of a partition since its last such alert, from an offset on.

    That one was a minute ago at least. Its id is the partition's.
    """
    return alert(
        AlertCode.PARTITION_MISMATCH,
        f"{payments:,} payments on partition {partition} of transactions.v1 belong on others, by their accounts; they "
        f"were refused, from offset {first_offset} on.",
        "all",
        {"partition": str(partition)},
        raised_at_ms,
    )


def moved_alert(partition: int, committed: int | None, start: int, raised_at_ms: int) -> Alert:
    found = "is gone" if committed is None else f"was {committed}"
    what = f"The committed offset of partition {partition} {found}; by what was decided, deciding goes on at {start}."
    evidence = {"partition": str(partition), "committed": str(committed), "start": str(start)}
    return alert(AlertCode.OFFSETS_MOVED, what, "all", evidence, raised_at_ms)


def partitions_alert(months: int, raised_at_ms: int) -> Alert:
    """months: that have partitions after the present one; -1 where that has none."""
    ahead = "1 month" if months == 1 else f"{max(months, 0)} months"
    said = "This month has no partition in PostgreSQL" if months < 0 else (
        f"PostgreSQL has partitions for {ahead} after this one"
    )  # fmt: skip
    return alert(AlertCode.PARTITIONS_SHORT, f"{said}; what comes is stored all the same.", "all",
                 {"months": str(months)}, raised_at_ms)  # fmt: skip


def unfiled_alert(table: str, rows: int, raised_at_ms: int) -> Alert:
    evidence = {"table": table, "rows": str(rows)}
    return alert(AlertCode.RECORDS_UNFILED, f"{table} has {rows:,} rows outside every month.", table, evidence,
                 raised_at_ms)  # fmt: skip


def drill_alert(drill: str, raised_at_ms: int, last_at_ms: int | None = None) -> Alert:
    """Make the alert about a drill that is overdue; its id is the drill's own, so that carrying it out ends it.

    last_at_ms: when it was last carried out; None where that never was, or is of no matter.
    """
    when = "has never been carried out"
    if last_at_ms is not None:
        when = f"was last carried out on {utc_text(last_at_ms)[:10]}"
    return alert(AlertCode.DRILL_OVERDUE, f"The drill {drill} {when}, and is overdue.", "drills", {"drill": drill},
                 raised_at_ms)  # fmt: skip


def unproved_alert(topic: str, first: Unproved, last: Unproved, count: int, raised_at_ms: int) -> Alert:
    """Make the alert about records of one partition that are passed over for one reason."""
    where = f"{topic}[{first.partition}] at {first.offset}" + (f" to {last.offset}" if count > 1 else "")
    summary = f"Nothing proves who wrote {where} ({first.why}), {count} in all; nothing is done by what stands there."
    evidence = {
        "topic": topic,
        "partition": str(first.partition),
        "first_offset": str(first.offset),
        "last_offset": str(last.offset),
        "records": str(count),
        "why": str(first.why),
    }
    return alert(AlertCode.RECORD_UNPROVED, summary, "all", evidence, raised_at_ms)


def forged_alert(group_id: str, goes_on_as: str, code: str, scope: str, raised_at_ms: int) -> Alert:
    """Make the alert about a group of alerts that something other than the service ended or moved."""
    summary = f"Something other than the service wrote what became of {code} about {scope}; it goes on as {goes_on_as}."
    return alert(AlertCode.ALERTS_FORGED, summary, "all", {"group": group_id, "goes_on_as": goes_on_as}, raised_at_ms)


def backup_alert(copied_at_ms: int | None, raised_at_ms: int) -> Alert:
    """Make the alert about a state whose latest copy is of that time; None where there is no copy.

    Its id is the same each time, so that whichever process runs next can say that it is over.
    """
    age = "There is no copy of the state."
    if copied_at_ms is not None:
        age = f"The latest copy of the state is {(raised_at_ms - copied_at_ms) // 60_000} minutes old."
    return alert(AlertCode.STATE_BACKUP_OLD, age, "all", {"copy": "old"}, raised_at_ms)


def eviction_alert(fault: str, policies: Sequence[str], evicted_keys: int, scope: str, raised_at_ms: int) -> Alert:
    """Make the alert about a state store that may forget keys, or has. scope: the state's prefix."""
    evidence = {"policies": ", ".join(policies), "evicted_keys": str(evicted_keys)}
    return alert(AlertCode.STATE_EVICTED, f"{fault}. Nothing is decided on it.", scope, evidence, raised_at_ms)


def rollback_alert(plan_id: str, reversals: int, applied_by: str, raised_at_ms: int) -> Alert:
    summary = f"Rollback plan {plan_id} is carried out, by {applied_by}: {reversals:,} reversals."
    return alert(AlertCode.ROLLBACK_APPLIED, summary, "all", {"plan": plan_id}, raised_at_ms)


def feed_ageing_alert(kind: str, version: str, held: str, raised_at_ms: int) -> Alert:
    """Make the alert about a feed that will soon be too old. held: what is in force, and how old it is."""
    summary = f"The feed of {kind} grows old: {held}."
    return alert(AlertCode.FEED_AGEING, summary, kind, {"kind": kind, "version": version}, raised_at_ms)


def feed_too_old_alert(kind: str, version: str, held: str, raised_at_ms: int) -> Alert:
    """Make the alert about a feed that is too old, or missing. held: as above."""
    summary = f"The feed of {kind} can't be relied upon: {held}. Payments that need it are decided strictly."
    return alert(AlertCode.FEED_TOO_OLD, summary, kind, {"kind": kind, "version": version}, raised_at_ms)


def regime_alert(policy: str, model: str, feeds: Mapping[str, str], raised_at_ms: int) -> Alert:
    """Make the alert about a regime that has come into force. Several workers raise the same.

    feeds: versions by kind.
    """
    scope = f"policy {policy}, model {model}"
    named = "".join(f", {kind} {version}" for kind, version in feeds.items())
    summary = f"Workers decide by the policy {policy} and the model {model}{named} from now on."
    evidence = {"policy": policy, "model": model, **feeds}
    return alert(AlertCode.REGIME_CHANGED, summary, scope, evidence, raised_at_ms)
