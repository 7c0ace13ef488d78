"""Followed tables with rows, and what follows, anchors, checks, exports and forges them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import psycopg

from ops.bench.audit.table_rows import fill, followed_tables, without_checks
from ops.stack.topics import create_topics
from ops.verifier.export import Outside, Report, Trust, verify_export
from ops.verifier.freshness import Freshness
from ops.verifier.keys import read_keys
from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.continuing.bounds import AT_ONCE, Bounds
from pipeline.audit.continuing.check_service import Continued
from pipeline.audit.continuing.outside_topics import OutsideLog, Topics
from pipeline.audit.export_files import Logs, Published, export
from pipeline.audit.head import file_text
from pipeline.audit.leaf_files import head_paths, latest_head, partitions_of, read_head
from pipeline.audit.outside_command import schemas_of
from pipeline.audit.tables.check_service import TableContinuation
from pipeline.audit.tables.line_files import Lines
from pipeline.audit.tables.lines import LineKind, RowLine, kind_of, row_line_of
from pipeline.audit.tables.log_store import Followed, TableLog
from pipeline.audit.tables.streams import TABLES_LOG
from pipeline.audit.witness import next_statement, seen_head, statement_line, statement_text
from pipeline.domain.anchor import Witnessed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, connect
from pipeline.keys.key_files import SigningKey, create_signing_key, read_key_set, replace_key_set
from pipeline.keys.key_sets import KeySet, KeyUse, with_key
from tests.audit.logs import WIRE
from tests.records import NOON_MS
from tests.servers import unused_prefix, url_as

ROWS = 12
MINUTE_MS = 60_000


class Tables:
    """A database of a test's own, and the streams of its tables, followed as the audit service does."""

    def __init__(self, database_url: str, folder: Path, servers: str | None = None) -> None:
        self.owner_url, self.folder, self.outside = database_url, folder, folder / "outside"
        self.key = create_signing_key(folder / "key", valid_from_ms=0)
        self.witness_key = create_signing_key(folder / "witness", KeyUse.WITNESS, with_set=False)
        replace_key_set(folder / "key.keys", with_key(self.keys(), KeyUse.WITNESS, self.witness_key.public, 0))
        self.connection: Connection = connect(url_as(database_url, "fraud_audit"), "test")
        self.clock_us = NOON_MS * 1000
        self.log = self._log()
        self.prefix = unused_prefix()
        self.reader = None if servers is None else LogReader(servers, f"{self.prefix}check", {})
        if servers is not None:
            create_topics(servers, prefix=self.prefix)
        with psycopg.connect(database_url) as owner:
            without_checks(owner)
            self.tables = followed_tables(owner)

    def keys(self) -> KeySet:
        return read_key_set(self.folder / "key.keys")

    def fill(self, numbers: range = range(ROWS), tables: Iterable[str] | None = None) -> None:
        with psycopg.connect(self.owner_url) as owner:
            owner.execute("SET session_replication_role = replica")
            for table in self.tables if tables is None else tables:
                fill(owner, table, numbers)

    def as_superuser(self, statement: str) -> int:
        with psycopg.connect(self.owner_url) as owner:
            owner.execute("SET session_replication_role = replica")
            return owner.execute(statement.encode()).rowcount

    def follow(self) -> Followed:
        """Turns until nothing waits."""
        rows = 0
        while True:
            taken = self.log.follow(self.connection)
            rows += taken.rows
            if not taken.is_behind:
                return Followed(rows, is_behind=False)

    def restart(self) -> None:
        """As after a kill: nothing of the process is left but its files."""
        self.log.close()
        self.connection.close()
        self.connection = connect(url_as(self.owner_url, "fraud_audit"), "test")
        self.log = self._log()
        self.log.open()

    def anchor(self, at_ms: int = NOON_MS, key: SigningKey | None = None) -> None:
        self.log.mark()
        anchors = Anchors(TABLES_LOG, self.outside, key or self.key, self.keys, WIRE, lambda *_: None)
        anchors.begin(self.log.trees, dict.fromkeys(self.log.trees, 0))
        anchors.anchor(self.log.trees, at_ms)

    def check(self, bounds: Bounds = AT_ONCE, *, is_still: bool = True) -> Continued:
        return self.continuation().check(self.connection, self.log.trees, bounds, is_still=is_still)

    def continuation(self) -> TableContinuation:
        assert self.reader is not None, "the test has a broker"
        topics = Topics(self.prefix + "anchors.v1", self.prefix + "witness.v1")
        return TableContinuation(TABLES_LOG, self.outside, self.keys, OutsideLog(self.reader, WIRE, topics))

    def lines(self, partition: int, kind: LineKind) -> list[bytes]:
        size = self.log.trees[partition].size
        every = Lines(self.outside, TABLES_LOG, partition).between(0, size)
        return [line for _, line in every if kind_of(line) is kind]

    def rows_chained(self) -> list[RowLine]:
        return [row_line_of(line) for partition in self.log.trees for line in self.lines(partition, LineKind.ROW)]

    def verified(
        self, *, is_all: bool = False, statements: Sequence[str] | None = None, name: str = "export"
    ) -> Report:
        """What the offline verifier says of an export made now. statements: None: the witness has seen every head."""
        out = self.folder / name
        partitions = partitions_of(self.outside, TABLES_LOG)
        anchors = [file_text(read_head(path)) for p in partitions for path in head_paths(self.outside, TABLES_LOG, p)]
        with connect(self.owner_url, "export") as connection:
            published = Published(anchors, [self.witnessed()] if statements is None else statements)
            logs = Logs("decisions.v1", TABLES_LOG)
            export(connection, self.outside, logs, schemas_of(WIRE), published, out)
        trust = Trust(read_keys(self.folder / "key.keys"), Freshness(NOON_MS + MINUTE_MS, None))
        return verify_export(out, Outside(out / "outside"), trust, is_all=is_all)

    def witnessed(self) -> str:
        partitions = partitions_of(self.outside, TABLES_LOG)
        heads = [latest_head(self.outside, TABLES_LOG, p, 2**62) for p in partitions]
        statement = next_statement(None, [seen_head(signed.head) for signed in heads if signed], NOON_MS)
        text, key = statement_text(statement), self.witness_key
        return statement_line(Witnessed(text, key.key_id, key.sign(text.encode()), None))

    def close(self) -> None:
        self.log.close()
        self.connection.close()
        if self.reader is not None:
            self.reader.close()

    def _log(self) -> TableLog:
        def clock_us() -> int:
            self.clock_us += 1_000
            return self.clock_us

        return TableLog(TABLES_LOG, self.outside, clock_us)
