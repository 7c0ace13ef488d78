"""`fraud audit check`: the whole check, by hand."""

from __future__ import annotations

from typing import Final

from pipeline.audit.chain import ENTRY_BYTES, Tree
from pipeline.audit.continuing.bounds import EVERYTHING, Looked, NotContinued
from pipeline.audit.continuing.head_files import Place, tree_at
from pipeline.audit.continuing.refusal_files import mark, unmark
from pipeline.audit.leaf_files import leaf_path, partitions_of
from pipeline.audit.log_store import last_links
from pipeline.audit.service_command import continuation, table_continuation
from pipeline.audit.tables.streams import TABLES_LOG, current_partitions
from pipeline.domain.money import count_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, connect
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySetRefused
from pipeline.terminal.failures import Failure, database_away
from pipeline.terminal.output import Output, coloured

_GROUP: Final = "fraud-command"


def check_log(settings: Settings, wire: WireFormat, output: Output) -> bool:
    """True where nothing contradicts; then the mark of an earlier check is lifted, and else one is left."""
    try:
        with connect(settings.database_url, "fraud-audit-check") as connection:
            trees = _trees(connection, settings)
            check = continuation(settings, wire, group=_GROUP).check
            looked = check(connection, trees, EVERYTHING, is_still=False).looked
            tables = _table_trees(settings)
            if tables:
                check_tables = table_continuation(settings, wire, group=_GROUP).check
                looked_tables = check_tables(connection, tables, EVERYTHING, is_still=False).looked
            else:
                looked_tables = Looked()
    except NotContinued as refusal:
        mark(settings.audit_directory, str(refusal), now_ms())
        output.record({"holds": False, "why": str(refusal)}, coloured(f"It does not hold: {refusal}.", "red"))
        return False
    except KeySetRefused as refusal:
        raise Failure(f"{refusal}.", "Set FRAUD_AUDIT_KEYS_FILE to the key set that verifies the log.") from refusal
    except BrokerFailed as error:
        raise Failure(f"{error}.", "Is the broker up, and may you read the topics?") from error
    except DatabaseUnavailable as error:
        raise database_away(settings.database_url) from error
    except DatabaseRefused as refusal:
        raise Failure(f"{refusal}.".capitalize(), "Use a role that may read, such as fraud_reader.") from refusal
    is_lifted = unmark(settings.audit_directory)
    counts = ", ".join(f"{count:,} {name}" for name, count in looked._asdict().items())
    rows = count_text(looked_tables.rows, "row")
    line = f"It holds: {counts} of {count_text(len(trees), 'partition')}; {rows} of ledger, reviews and control."
    line += " The earlier refusal is lifted." if is_lifted else ""
    told = {"holds": True, **looked._asdict(), "tables": looked_tables._asdict(), "lifted": is_lifted}
    output.record(told, line)
    return True


def _table_trees(settings: Settings) -> dict[int, Tree]:
    """The tree of each stream of the tables that was begun, as its leaf file has it."""
    topic, directory = settings.topic(TABLES_LOG), settings.audit_directory
    written = partitions_of(directory, topic)
    paths = {p: leaf_path(directory, topic, p) for p in current_partitions(written).values() if p in written}
    return {p: tree_at(path, Tree(), path.stat().st_size // ENTRY_BYTES) for p, path in paths.items()}


def _trees(connection: Connection, settings: Settings) -> dict[int, Tree]:
    """The tree of each partition at the size that the database says; what the files lead to there is checked later."""
    topic, directory = settings.topic("decisions.v1"), settings.audit_directory
    partitions = partitions_of(directory, topic)
    links = last_links(connection, partitions)
    found = {}
    for partition in partitions:
        place, link = Place(directory, topic, partition), links.get(partition, Tree())
        found[partition] = tree_at(leaf_path(*place), Tree(), link.size)
        if (found[partition].chain, found[partition].last_offset) != (link.chain, link.last_offset):
            raise NotContinued(f"the database's chain of {place} at size {link.size} is not that of the leaf file")
    return found
