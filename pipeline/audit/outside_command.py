"""`fraud audit export`, `prove` and `heads`: what leaves the database, and what holds it to account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pipeline.audit.continuing.bounds import NotContinued
from pipeline.audit.continuing.head_files import fault
from pipeline.audit.export_files import Exported, Logs, Published, Schemas, export
from pipeline.audit.head import SignedHead, file_text, head_of_anchor, signed_text
from pipeline.audit.leaf_files import HeadRefused, head_paths, partitions_of, read_head
from pipeline.audit.lookup_store import candidates
from pipeline.audit.proof_store import Unproved, place_of, proof
from pipeline.audit.tables.proof_files import row_of_table, row_proof
from pipeline.audit.tables.streams import TABLES_LOG
from pipeline.audit.witness import statement_line, statement_of
from pipeline.domain.identities import DecisionId
from pipeline.domain.refusals import Refusal
from pipeline.domain.times import utc_text
from pipeline.io.avro.schema_files import released_text, releases, schema_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, connect
from pipeline.io.settings import Settings
from pipeline.keys.key_files import read_key_set
from pipeline.keys.key_sets import KeySet, KeySetRefused
from pipeline.terminal.decision_choice import the_one
from pipeline.terminal.failures import Failure, database_away
from pipeline.terminal.output import Output, coloured

T = TypeVar("T")


def export_log(settings: Settings, wire: WireFormat, out: Path, *, with_topic: bool) -> tuple[Exported, list[str]]:
    """Return what was exported, and the places on topics of what is neither a head nor a statement, and left out."""
    passed_over: list[str] = []
    logs = Logs(settings.topic("decisions.v1"), settings.topic(TABLES_LOG))
    published = Published(None, None)
    if with_topic:
        published = Published(
            _anchors_on_topic(settings, wire, passed_over), _statements_on_topic(settings, wire, passed_over)
        )
    try:
        exported = _with_database(
            settings,
            lambda connection: export(connection, settings.audit_directory, logs, schemas_of(wire), published, out),
        )
    except FileExistsError as error:
        raise Failure(f"{out} exists; an export is never overwritten.", "Give another path.") from error
    except OSError as error:
        what = f"{error.filename or out} can't be read or written ({error.strerror})."
        raise Failure(what, "Give a path in a folder of yours, and look at FRAUD_AUDIT_DIRECTORY.") from error
    return exported, passed_over


def schemas_of(wire: WireFormat) -> Schemas:
    """Every schema that a record of decisions.v1 may be written in."""
    name = "decision.v1"
    texts = {number: released_text(name, number) for number in releases(name)}
    return Schemas(schema_text(name), texts, wire.headers_of(name))


def proof_of(settings: Settings, wanted: str) -> dict[str, object]:
    """The proof of the decision with this id, or with this transaction."""
    topic = settings.topic("decisions.v1")
    try:
        place = _with_database(settings, lambda connection: place_of(connection, _decision_id(connection, wanted)))
        return proof(settings.audit_directory, topic, place)
    except Unproved as error:
        raise Failure(f"There is no proof: {error}.", "The audit service anchors every hour, or on SIGUSR1.") from error
    except (HeadRefused, OSError) as error:
        raise Failure(f"The audit log's files can't be read: {error}.", "Look at FRAUD_AUDIT_DIRECTORY.") from error


def proof_of_row(settings: Settings, table: str, wanted: Sequence[str]) -> dict[str, object]:
    """The proof of the row of a followed table in which columns have these values, each as COLUMN=VALUE."""
    if malformed := [each for each in wanted if "=" not in each]:
        raise Failure(f"{malformed[0]} names no value.", "Write COLUMN=VALUE.")
    values = dict(each.split("=", 1) for each in wanted)
    try:
        shape, row = _with_database(settings, lambda connection: row_of_table(connection, table, values))
        return row_proof(settings.audit_directory, settings.topic(TABLES_LOG), shape, row)
    except Unproved as error:
        raise Failure(
            f"There is no proof: {error}.", "Name the key's columns; heads are signed every few minutes."
        ) from error
    except (HeadRefused, NotContinued, OSError) as error:
        raise Failure(f"The audit log's files can't be read: {error}.", "Look at FRAUD_AUDIT_DIRECTORY.") from error


def heads(settings: Settings) -> list[SignedHead]:
    """The signed heads of every partition, oldest first."""
    topic, directory = settings.topic("decisions.v1"), settings.audit_directory
    try:
        return [read_head(path) for p in partitions_of(directory, topic) for path in head_paths(directory, topic, p)]
    except HeadRefused as refusal:
        raise Failure(f"{refusal}.", "The audit log's files were changed.") from refusal


def show_heads(output: Output, found: list[SignedHead], key_set_path: Path | None) -> bool:
    """True when every signature counts, or none was asked about. No head at all proves nothing."""
    keys = None if key_set_path is None else _key_set(key_set_path)
    is_sound = keys is None or bool(found)
    for signed in found:
        head = signed.head
        why = None if keys is None else fault(signed, keys, None)
        holds = None if keys is None else why is None
        is_sound &= holds is not False
        fields = {**json.loads(signed_text(head)), "key_id": signed.key_id, "holds": holds, "why": why}
        word = {None: "", True: coloured(" holds", "green"), False: coloured(f" REFUSED: {why}", "red")}[holds]
        line = f"{utc_text(head.anchored_at_ms)} partition {head.partition} size {head.tree_size} {head.root.hex()}"
        output.record(fields, line + word)
    if not found:
        output.note("No heads stand there. The audit service signs them; FRAUD_AUDIT_DIRECTORY says where.")
    return is_sound


def _key_set(path: Path) -> KeySet:
    try:
        return read_key_set(path)
    except KeySetRefused as refusal:
        raise Failure(f"{refusal}.", "Give the .keys file that `fraud keys create audit` made.") from refusal


def _anchors_on_topic(settings: Settings, wire: WireFormat, passed_over: list[str]) -> Iterator[str]:
    """Each as the text of a head's file, but for the frontier, which the topic doesn't hold.

    passed_over: takes the places of what is none. Whoever may write there would keep the log from every auditor.
    """
    with LogReader.of(settings) as log:
        for found in log.read_all(settings.topic("anchors.v1")):
            anchor = wire.decode_anchor(found.value)
            if isinstance(anchor, Refusal):
                passed_over.append(f"anchors.v1[{found.source.partition}] at {found.source.offset}")
                continue
            yield file_text(SignedHead(head_of_anchor(anchor), (), anchor.key_id, anchor.signature))


def _statements_on_topic(settings: Settings, wire: WireFormat, passed_over: list[str]) -> Iterator[str]:
    """The witness's statements, as lines of its own file. passed_over: as above."""
    with LogReader.of(settings) as log:
        for found in log.read_all(settings.topic("witness.v1")):
            witnessed = wire.decode_witnessed(found.value)
            if isinstance(witnessed, Refusal) or not _is_statement(witnessed.statement):
                passed_over.append(f"witness.v1[{found.source.partition}] at {found.source.offset}")
                continue
            yield statement_line(witnessed)


def _is_statement(text: str) -> bool:
    try:
        statement_of(text)
    except ValueError:
        return False
    return True


def _decision_id(connection: Connection, wanted: str) -> DecisionId:
    found = the_one(wanted, None, candidates(connection, wanted))
    if found is None:
        raise Unproved(f"the audit log has no decision with the id {wanted}, and none about such a transaction")
    return found


def _with_database(settings: Settings, ask: Callable[[Connection], T]) -> T:
    try:
        with connect(settings.database_url, "fraud-audit-command") as connection:
            return ask(connection)
    except DatabaseUnavailable as error:
        raise database_away(settings.database_url) from error
    except DatabaseRefused as refusal:
        raise Failure(f"{refusal}.".capitalize(), "Use a role that may read, such as fraud_reader.") from refusal
