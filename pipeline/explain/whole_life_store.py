"""All that PostgreSQL and the audit log's files know of one decision, or why it can't be had, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.domain.decision import Decision
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.refusals import Refusal
from pipeline.explain.audit_trail_files import AuditFiles
from pipeline.explain.life import AuditRow, Life, NotShown
from pipeline.explain.life_store import read_life
from pipeline.io.addresses import shown_address
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, connect
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure


@contextmanager
def database(settings: Settings) -> Iterator[Connection | NotShown]:
    """A connection; or, where there is none, the sentence."""
    try:
        connection = connect(settings.database_url, "fraud-explain")
    except (DatabaseUnavailable, DatabaseRefused) as error:
        yield not_shown(settings, f"PostgreSQL can't be asked at {shown_address(settings.database_url)}: {error}")
        return
    with connection:
        yield connection


def not_shown(settings: Settings, why: str) -> NotShown:
    user = "" if "fraud_reader" in settings.database_url else " of a role that may read it, such as fraud_reader"
    return NotShown(
        f"What happened after the decision is not shown: {why}; set FRAUD_DATABASE_URL to the address of the "
        f"pipeline's database{user} (postgresql://fraud_reader@HOST:5432/fraud)."
    )


def life_of(
    connection: Connection, settings: Settings, wire: WireFormat, decision: Decision, *, with_topic: bool
) -> Life:
    """`with_topic`: signed heads may be looked for on theirs. Raises DatabaseUnavailable, DatabaseRefused."""
    rows = read_life(connection, decision)
    outside = AuditFiles(settings, wire, with_topic=with_topic)
    audited = (
        outside.audited(row, batch, content_of(wire, row))
        for row, batch in zip(rows.audited, rows.batches, strict=True)
    )
    return Life(tuple(audited), rows)


def content_of(wire: WireFormat, row: AuditRow) -> DecisionRecord:
    """The record that the row keeps. Raises Failure where its bytes are none."""
    content = wire.decode_decision_record(row.record)
    if isinstance(content, Refusal):
        raise unreadable(row, content)
    return content


def unreadable(row: AuditRow, refusal: Refusal) -> Failure:
    what = f"The audit log's record {row.partition}:{row.offset} can't be read: {refusal.detail}."
    return Failure(what, "`fraud audit export` and `fraud audit verify` say whether it was altered.")
