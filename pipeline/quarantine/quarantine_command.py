"""`fraud quarantine`: a record that can't be stored or executed is put aside, by one person and another."""

from __future__ import annotations

import hashlib
from typing import Final
from uuid import UUID, uuid4

from pipeline.domain.decision import Decision
from pipeline.domain.refusals import Refusal
from pipeline.domain.times import utc_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity
from pipeline.quarantine.quarantine_store import (
    Quarantine,
    QuarantineRefused,
    Subject,
    append_proposal,
    confirm,
    read_quarantines,
)
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output

TOPICS: Final = ("decisions.v1", "transactions.dead.v1")
"""Topics whose every record a service stores. What can't be used on transactions.v1 becomes a dead letter."""


def propose(settings: Settings, topic: str, partition: int, offset: int, by: Identity, reason: str) -> Quarantine:
    """Propose to put the record aside as it stands on the topic. Failure says why not."""
    value = _value(settings, topic, partition, offset)
    subject = Subject(settings.topic(topic), partition, offset, hashlib.sha256(value).digest(), len(value))
    quarantine_id = uuid4()
    with connected(settings) as connection:
        try:
            append_proposal(connection, quarantine_id, subject, by, reason)
        except QuarantineRefused as refusal:
            raise _refused(refusal) from refusal
        return read_quarantines(connection, 1, str(quarantine_id))[0]


def confirm_as_proposed(settings: Settings, quarantine_id: str, by: Identity) -> Quarantine:
    """Confirm a proposal, once the record still has the bytes that were proposed. Failure says why not."""
    with connected(settings) as connection:
        found = read_quarantines(connection, 1, _quarantine_id(quarantine_id))
        if not found:
            raise Failure(f"There is no quarantine {quarantine_id}.", "`fraud quarantine list` shows them.")
        subject = found[0].subject
        named = next((name for name in TOPICS if settings.topic(name) == subject.topic), "")
        value = _value(settings, named, subject.partition, subject.offset)
        if hashlib.sha256(value).digest() != subject.record_sha256:
            raise Failure("The record has other bytes than were proposed.", "Propose it anew.", FAILED_CHECK)
        try:
            confirm(connection, found[0], by)
        except QuarantineRefused as refusal:
            raise _refused(refusal) from refusal
        return read_quarantines(connection, 1, found[0].quarantine_id)[0]


def quarantines(settings: Settings, limit: int) -> list[Quarantine]:
    with connected(settings) as connection:
        return read_quarantines(connection, limit)


def what_it_is(settings: Settings, wire: WireFormat, topic: str, partition: int, offset: int) -> str:
    """What the record can be read as, without anything of its content but ids."""
    value = _value(settings, topic, partition, offset)
    if topic == TOPICS[1]:
        letter = wire.decode_dead_letter(value)
        return f"no dead letter ({letter.code})" if isinstance(letter, Refusal) else "a dead letter"
    record = wire.decode_decision_record(value)
    if isinstance(record, Refusal):
        return f"no record of {topic} ({record.code})"
    outcome = f" to {record.outcome}" if isinstance(record, Decision) else ""
    return f"a {type(record).__name__}{outcome}, about decision {record.decision_id}"


def show_quarantine(output: Output, quarantine: Quarantine) -> None:
    subject = quarantine.subject
    confirmed_at = None if quarantine.confirmed_at_ms is None else utc_text(quarantine.confirmed_at_ms)
    fields = {
        **quarantine._asdict(),
        "subject": {**subject._asdict(), "record_sha256": subject.record_sha256.hex()},
        "proposed_at_ms": quarantine.proposed_at_ms,
    }
    stands = "proposed, and expired" if quarantine.is_expired else "proposed"
    if quarantine.confirmed_by is not None:
        stands = f"put aside by {quarantine.confirmed_by} at {confirmed_at}"
    if not quarantine.is_proved:
        stands += ", which nobody proves to have signed: it puts nothing aside"
    line = (
        f"{quarantine.quarantine_id} {subject.topic}[{subject.partition}] at {subject.offset}, "
        f"{subject.record_length:,} bytes, sha256 {subject.record_sha256.hex()[:16]}, {stands}; "
        f"by {quarantine.proposed_by} at {utc_text(quarantine.proposed_at_ms)}: {quarantine.reason!r}"
    )
    output.record(fields, line)


def _value(settings: Settings, topic: str, partition: int, offset: int) -> bytes:
    """The record's bytes; none where it has no value."""
    if topic not in TOPICS:
        raise Failure(f"Records of {topic} are not put aside.", f"Give one of {', '.join(TOPICS)}.")
    name = settings.topic(topic)
    try:
        with LogReader(settings.bootstrap_servers, "fraud-rollback", settings.kafka_options) as log:
            if partition not in log.extents(name):
                raise Failure(f"{name} has no partition {partition}.", "The service's log names the place.")
            found = log.read_range(name, partition, offset, offset + 1, 1, lambda record: record)
    except BrokerFailed as error:
        raise Failure(f"{error}.", "Is the broker up, and may you read the topic?") from error
    if not found.taken or found.taken[0].source.offset != offset:
        raise Failure(f"{name}[{partition}] has no record at {offset}.", "The service's log names the place.")
    return found.taken[0].value or b""


def _quarantine_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError as error:
        raise Failure(f"There is no quarantine {text}.", "`fraud quarantine list` shows them.") from error


def _refused(refusal: QuarantineRefused) -> Failure:
    return Failure(f"Refused: {refusal}.", "`fraud people list` shows who holds what.", FAILED_CHECK)
