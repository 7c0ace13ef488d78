"""`fraud explain`: the decision found, its life gathered, and both put into one order and three sentences."""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.audit.lookup_store import candidates
from pipeline.decide.decision_topics import find_decision
from pipeline.domain.decision import Decision, StoredDecision
from pipeline.domain.refusals import Refusal
from pipeline.explain.explanation import explanation
from pipeline.explain.life import AuditRow, Life, NotShown, money_of, stands
from pipeline.explain.life_store import read_audited
from pipeline.explain.whole import Trace, Whole, assembled
from pipeline.explain.whole_life_store import database, life_of, not_shown, unreadable
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable
from pipeline.io.settings import Settings
from pipeline.replay.customer import customer_text
from pipeline.replay.feed_proof_files import feeds_fault_of
from pipeline.replay.regimes import Missing, RegimeOf
from pipeline.replay.verify_command import archive_of
from pipeline.terminal.decision_choice import the_one
from pipeline.traces.context import parsed, trace_id_of_decision

FROM_TOPIC: Final = "read from decisions.v1"
FROM_BOTH: Final = "read from decisions.v1; the audit log holds the same bytes"
FROM_AUDIT_LOG: Final = "read from the audit log: decisions.v1 can't be read, or no longer has it"
NAMED: Final = "named by its record on decisions.v1, and recorded"
NAMED_UNSAMPLED: Final = "named by its publisher; nothing was recorded here when it was decided"
DERIVED: Final = "its decision's own id, as no other was named; only what went wrong later is recorded under it"
UNKNOWN: Final = "its decision's own id; its record on decisions.v1, which may name another, can't be read"
CONTRADICTED: Final = "read from the audit log, and decisions.v1 holds OTHER bytes at its place"


class _Kept(NamedTuple):
    """A decision in the audit log."""

    row: AuditRow
    stored: StoredDecision


class _Decision(NamedTuple):
    stored: StoredDecision
    partition: int
    offset: int
    origin: str
    has_topic: bool  # it answers


def whole(settings: Settings, wire: WireFormat, wanted: str, account_id: str | None) -> Whole:
    """By decision or transaction id. Failure where neither the topic nor the audit log has it."""
    with database(settings) as source:
        kept = _kept(source, settings, wire, wanted, account_id)
        decision = (
            _kept_decision(settings, kept)
            if isinstance(kept, _Kept)
            else _topic_decision(settings, wire, wanted, account_id)
        )
        life = kept if isinstance(kept, NotShown) else _life(source, settings, wire, decision)
    regime_of = archive_of(settings).regime_of
    explained = explanation(decision.stored, decision.partition, decision.offset, regime_of, feeds_fault_of(settings))
    stored = decision.stored.decision
    customer = _customer(stored, regime_of, life)
    return assembled(explained, life, customer, decision.origin, _trace(settings, decision))


def _customer(decision: Decision, regime_of: RegimeOf, life: Life | NotShown) -> str | Missing:
    """Return no text that the ledger does not bear out: it may say of a payment that is made that it isn't."""
    if isinstance(life, NotShown):
        return Missing("what became of the payment is not known without the database, and the text hangs on it")
    if (money := money_of(life)) is not None:
        return customer_text(decision, regime_of, stands(life, decision), money)
    other = life.rows.released_as
    if other is None:
        return Missing("the payment was given back to be decided anew, and is not decided yet")
    return Missing(f"the payment goes on as {other.transaction_id}: explain that one")


def _kept(
    source: Connection | NotShown, settings: Settings, wire: WireFormat, wanted: str, account_id: str | None
) -> _Kept | NotShown | None:
    """The decision's record in the audit log; None where it has none. Failure where several carry the id."""
    if isinstance(source, NotShown):
        return source
    try:
        chosen = the_one(wanted, account_id, candidates(source, wanted))
        for row in [] if chosen is None else read_audited(source, chosen):
            stored = wire.decode_stored_decision(row.record)
            if isinstance(stored, Refusal):
                raise unreadable(row, stored)
            if stored is not None:
                return _Kept(row, stored)
    except (DatabaseUnavailable, DatabaseRefused) as error:
        return not_shown(settings, str(error))
    return None


def _kept_decision(settings: Settings, kept: _Kept) -> _Decision:
    """The audit log's, held against the topic where that can be read."""
    row, stored = kept
    try:
        value = _value_at(settings, row.partition, row.offset)
    except BrokerFailed:
        return _Decision(stored, row.partition, row.offset, FROM_AUDIT_LOG, has_topic=False)
    origin = FROM_AUDIT_LOG if value is None else FROM_BOTH if value == row.record else CONTRADICTED
    return _Decision(stored, row.partition, row.offset, origin, has_topic=True)


def _value_at(settings: Settings, partition: int, offset: int) -> bytes | None:
    """The record that stands there; None where the topic has nothing there any more, or never had."""
    topic = settings.topic("decisions.v1")
    with LogReader.of(settings) as log:
        extent = log.extents(topic).get(partition)
        if extent is None or not extent.low <= offset < extent.high:
            return None
        found = log.read_range(topic, partition, offset, offset + 1, 1, lambda record: record.value)
    return found.taken[0] if found.taken else None


def _trace(settings: Settings, decision: _Decision) -> Trace:
    derived = trace_id_of_decision(decision.stored.decision.decision_id)
    if not decision.has_topic or decision.origin in (FROM_AUDIT_LOG, CONTRADICTED):
        return Trace(derived, UNKNOWN)
    try:
        with LogReader.of(settings) as log:
            header = log.traceparent_at(settings.topic("decisions.v1"), decision.partition, decision.offset)
    except BrokerFailed:
        return Trace(derived, UNKNOWN)
    context = parsed(header)
    if context is None:
        return Trace(derived, DERIVED)
    return Trace(context.trace_id, NAMED if context.is_sampled else NAMED_UNSAMPLED)


def _topic_decision(settings: Settings, wire: WireFormat, wanted: str, account_id: str | None) -> _Decision:
    found = find_decision(settings, wire, wanted, account_id)
    return _Decision(found.stored, found.found.source.partition, found.found.source.offset, FROM_TOPIC, has_topic=True)


def _life(source: Connection | NotShown, settings: Settings, wire: WireFormat, decision: _Decision) -> Life | NotShown:
    if isinstance(source, NotShown):
        return source
    try:
        return life_of(source, settings, wire, decision.stored.decision, with_topic=decision.has_topic)
    except (DatabaseUnavailable, DatabaseRefused) as error:
        return not_shown(settings, str(error))
