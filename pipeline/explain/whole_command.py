"""`fraud explain`: the decision found, its life gathered, and both put into one order and three sentences."""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.decide.decision_topics import decision_ids, find_decision
from pipeline.explain.explanation import Explanation, explanation
from pipeline.explain.life_store import AuditRow, read_audited
from pipeline.explain.moments import moments
from pipeline.explain.summary import sentences
from pipeline.explain.timeline import Moment, timeline
from pipeline.explain.whole_life_store import Life, NotShown, database, fields_of, life_of, not_shown
from pipeline.io.avro.wire import StoredDecision, WireFormat, stored_decision
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable
from pipeline.io.settings import Settings
from pipeline.replay.verify_command import archive_of

FROM_TOPIC: Final = "read from decisions.v1"
FROM_BOTH: Final = "read from decisions.v1; the audit log holds the same bytes"
FROM_AUDIT_LOG: Final = "read from the audit log: decisions.v1 can't be read, or no longer has it"
CONTRADICTED: Final = "read from the audit log, and decisions.v1 holds OTHER bytes at its place"


class Whole(NamedTuple):
    """`origin`: one of the clauses above."""

    explained: Explanation
    life: Life | NotShown
    timeline: tuple[Moment, ...]
    sentences: tuple[str, str, str]
    origin: str


class _Decision(NamedTuple):
    stored: StoredDecision
    partition: int
    offset: int
    origin: str
    has_topic: bool  # it answers


def whole(settings: Settings, wire: WireFormat, wanted: str, account_id: str | None) -> Whole:
    """By decision or transaction id. Failure where neither the topic nor the audit log has it."""
    with database(settings) as source:
        kept = _kept(source, settings, wire, wanted)
        decision = (
            _kept_decision(settings, wire, kept)
            if isinstance(kept, AuditRow)
            else _topic_decision(settings, wire, wanted, account_id)
        )
        life = kept if isinstance(kept, NotShown) else _life(source, settings, wire, decision)
    explained = explanation(decision.stored, decision.partition, decision.offset, archive_of(settings))
    return assembled(explained, life, decision.origin)


def assembled(explained: Explanation, life: Life | NotShown, origin: str) -> Whole:
    return Whole(explained, life, timeline(moments(explained, life)), sentences(explained, life), origin)


def _kept(
    source: Connection | NotShown, settings: Settings, wire: WireFormat, wanted: str
) -> AuditRow | NotShown | None:
    """The decision's record in the audit log; None where it has none."""
    if isinstance(source, NotShown):
        return source
    try:
        for wanted_id in decision_ids(wanted):
            for row in read_audited(source, wanted_id):
                if fields_of(wire, row)["record"] == "Decision":
                    return row
    except (DatabaseUnavailable, DatabaseRefused) as error:
        return not_shown(settings, str(error))
    return None


def _kept_decision(settings: Settings, wire: WireFormat, row: AuditRow) -> _Decision:
    """Of the audit log, held against the topic where that can be read."""
    stored = stored_decision(fields_of(wire, row), row.record)
    try:
        value = _value_at(settings, row.partition, row.offset)
    except BrokerFailed:
        return _Decision(stored, row.partition, row.offset, FROM_AUDIT_LOG, has_topic=False)
    origin = FROM_AUDIT_LOG if value is None else FROM_BOTH if value == row.record else CONTRADICTED
    return _Decision(stored, row.partition, row.offset, origin, has_topic=True)


def _value_at(settings: Settings, partition: int, offset: int) -> bytes | None:
    """What stands there; None where the topic has nothing there any more, or never had."""
    topic = settings.topic("decisions.v1")
    with LogReader.of(settings) as log:
        extent = log.extents(topic).get(partition)
        if extent is None or not extent.low <= offset < extent.high:
            return None
        found = log.stretch(topic, partition, offset, offset + 1, 1, lambda record: record.value)
    return found.taken[0] if found.taken else None


def _topic_decision(settings: Settings, wire: WireFormat, wanted: str, account_id: str | None) -> _Decision:
    found = find_decision(settings, wire, wanted, account_id)
    return _Decision(found.stored, found.found.source.partition, found.found.source.offset, FROM_TOPIC, has_topic=True)


def _life(source: Connection | NotShown, settings: Settings, wire: WireFormat, decision: _Decision) -> Life | NotShown:
    if isinstance(source, NotShown):
        return source
    transaction_id = decision.stored.transaction.transaction_id
    try:
        return life_of(source, settings, wire, transaction_id, with_topic=decision.has_topic)
    except (DatabaseUnavailable, DatabaseRefused) as error:
        return not_shown(settings, str(error))
