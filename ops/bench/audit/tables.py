"""Forgeries of ledger, reviews, grants and control: by a superuser, and by who also holds files or the signing key.

Every followed table has rows, made by the types of its columns. In the first part SQL forges one table in a transaction
that is rolled back, and the offline verifier's own code reads the table as it is then: it must name exactly the rows
that the forgery touched. In the second part forgeries are committed, the audit service is started on each of them twice
and must refuse, and the verifier's command must name what was done; all is put back, and the service must go on.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from ops.bench.audit.insider import Reach, goes_on, refused_at_starts
from ops.bench.audit.table_rows import fill, followed_tables, without_checks, written_columns
from ops.bench.audit.table_tamperings import TAMPERINGS, ChainedTables, edit_column, forger_of, located
from ops.stack.real import RealStack
from pipeline.audit.chain import Entry, Tree, entry_bytes, grown
from pipeline.audit.head import SignedHead, next_head, signed_text
from pipeline.audit.leaf_files import head_paths, leaf_path, partitions_of, read_entries, read_head, write_head
from pipeline.audit.tables.line_files import Lines, lines_path
from pipeline.audit.tables.lines import LineKind, kind_of, leaf_of, row_line, row_line_of
from pipeline.audit.tables.row_store import all_rows, read_shapes
from pipeline.audit.tables.shapes import key_of
from pipeline.audit.tables.streams import STREAMS, TABLES_LOG, schema_of
from pipeline.keys.key_files import SigningKey

SEED: Final = 94_027
ROWS: Final = 40
"""Of each table, written by transactions of five rows."""
ROWS_A_TRANSACTION: Final = 5
FORGERIES: Final = 10_000
UNTOUCHED_EVERY: Final = 400
Report = Callable[[str], Sequence[dict[str, Any]]]
"""The findings of the verifier's command, by an export of that name."""


def fill_tables(database_url: str) -> None:
    """Write rows into every followed table."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        without_checks(connection)
        connection.execute("SET session_replication_role = replica")
        for begin in range(0, ROWS, ROWS_A_TRANSACTION):
            for table in followed_tables(connection):
                fill(connection, table, range(begin, begin + ROWS_A_TRANSACTION))


def _rows(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        tables = [sql.Identifier(*table.split(".", 1)) for table in followed_tables(connection)]
        every = sql.SQL(" UNION ALL ").join(sql.SQL("SELECT FROM {}").format(table) for table in tables)
        found = connection.execute(sql.SQL("SELECT count(*) FROM ({}) AS every").format(every)).fetchone()
    assert found is not None, "it is one row"
    return int(found[0])


def are_signed(outside: Path, database_url: str) -> bool:
    """Whether the streams hold every row of the followed tables, and a head covers each stream."""
    partitions = partitions_of(outside, TABLES_LOG)
    sizes = {p: leaf_path(outside, TABLES_LOG, p).stat().st_size // 48 for p in partitions}
    signed = {p: max((int(path.stem) for path in head_paths(outside, TABLES_LOG, p)), default=0) for p in partitions}
    if len(partitions) < len(STREAMS) or sizes != signed:
        return False
    lines = (line for p, size in sizes.items() for _, line in Lines(outside, TABLES_LOG, p).between(0, size))
    return sum(kind_of(line) is LineKind.ROW for line in lines) == _rows(database_url)


def tamper_tables(
    say: Callable[[str], None], database_url: str, outside: Path, wanted: int
) -> dict[str, object]:  # fmt: skip
    """Forge each table in turn, with every kind of forgery, and take it back."""
    chance = random.Random(SEED)  # noqa: S311 - which rows are forged is no secret
    done, found_in, failed, untouched = Counter[str](), Counter[str](), list[str](), 0
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.commit()
        tables = ChainedTables(connection, outside)
        every = sorted(tables.shapes)
        for number in range(wanted):
            if number % UNTOUCHED_EVERY == 0:
                untouched += sum(len(tables.findings(table)) for table in every)
                connection.rollback()
            table, act = every[number % len(every)], TAMPERINGS[number // len(every) % len(TAMPERINGS)]
            before = tables.contents(table)
            is_done = act(forger_of(tables, table, chance))
            touched = tables.touched(table, before) if is_done else frozenset()
            if touched:
                done[table] += 1
                findings = tables.findings(table)
                found_in[table] += located(findings) == touched
                if located(findings) != touched:
                    failed.append(f"{act.__name__} of {table}: {sorted(touched)[:2]}, {findings[:2]}")
                    say(f"NOT LOCATED: {failed[-1]}")
            connection.rollback()
    for table in every:
        say(f"{table}: {done[table]} forged, {found_in[table]} located, {done[table] - found_in[table]} missed")
    return {
        "ok": not failed and untouched == 0 and all(done[table] for table in every),
        "forgeries": done.total(),
        "located": found_in.total(),
        "tables": len(every),
        "missed": failed[:3],
        "untouched_findings": untouched,
    }


def restarted_on_tables(
    say: Callable[[str], None], stack: RealStack, directory: Path, reaches: Sequence[Reach], report: Report
) -> dict[str, object]:
    """Commit forgeries with every reach, and start the audit service on them."""
    chance, failed = random.Random(SEED + 1), list[str]()  # noqa: S311 - as above
    outside, kept = directory / "outside", directory / "outside-kept-tables"
    key = SigningKey.from_file(directory / "key")
    shutil.copytree(outside, kept)
    for number, reach in enumerate(reaches):
        with _put_back_after(stack.database_url) as connection:
            touched = _forge(connection, outside, chance, reach, key)
            why = refused_at_starts(stack, directory, 2)
            findings = report(f"tables-{number}")
        is_found = len(why) == 2 and _is_named(reach, touched, findings)
        shutil.rmtree(outside)
        shutil.copytree(kept, outside)
        if not (is_found and goes_on(stack, directory, "audit_tables_continued")):
            failed.append(f"{reach}: {why}, {findings[:3]}")
            say(f"NOT FOUND: {failed[-1]}")
        say(f"the service restarted on {len(touched)} forged tables with {reach}: {why[0]}")
    return {"ok": not failed, "rounds": len(reaches), "failed": failed[:3]}


def _forge(
    connection: psycopg.Connection[Any], outside: Path, chance: random.Random, reach: Reach, key: SigningKey
) -> dict[str, frozenset[str]]:
    """Change a row of every table, and make all that is within reach agree; return the keys that were touched."""
    tables, touched = ChainedTables(connection, outside), dict[str, frozenset[str]]()
    for table in sorted(tables.shapes):
        before = tables.contents(table)
        while table not in touched:
            with connection.transaction() as attempt:
                edit_column(forger_of(tables, table, chance))
                keys = tables.touched(table, before)
                # A row under another key is gone and come: no line could be made to agree with it.
                if not keys or (reach is not Reach.DATABASE and len(keys) > 1):
                    raise psycopg.Rollback(attempt)
                touched[table] = keys
    if reach is not Reach.DATABASE:
        for partition in partitions_of(outside, TABLES_LOG):
            _agree(connection, outside, partition, key if reach is Reach.SIGNING_KEY else None)
    connection.commit()
    return touched


def _agree(connection: psycopg.Connection[Any], outside: Path, partition: int, key: SigningKey | None) -> None:
    """Write lines and leaves anew from the rows as they are now; with a key, also every head from there on."""
    rows = {}
    for table, shape in read_shapes(connection, [schema_of(partition)]).items():
        for row in all_rows(connection, shape):
            rows[table, key_of(row.fields, shape.key)] = row
    lines = Lines(outside, TABLES_LOG, partition)
    content, entries, first_changed = b"", list[Entry](), None
    for entry, line in list(lines.between(0, leaf_path(outside, TABLES_LOG, partition).stat().st_size // 48)):
        written = line
        if kind_of(line) is LineKind.ROW:
            was = row_line_of(line)
            now = rows.get((lines.shape(was.shape_at).table, was.key))
            written = line if now is None else row_line(was.shape_at, now.xid, now.fields, was.key)
        if written != line and first_changed is None:
            first_changed = len(entries)
        entries.append(Entry(len(content), entry.recorded_at_us, leaf_of(written)))
        content += written
    lines_path(outside, TABLES_LOG, partition).write_bytes(content)
    leaf_path(outside, TABLES_LOG, partition).write_bytes(b"".join(map(entry_bytes, entries)))
    if key is not None and first_changed is not None:
        _sign_from(outside, partition, first_changed, key)


def _sign_from(outside: Path, partition: int, first_changed: int, key: SigningKey) -> None:
    """Sign every head over a changed leaf anew; those before stay as they were."""
    entries = list(read_entries(leaf_path(outside, TABLES_LOG, partition)))
    tree, before = Tree(), None
    for path in head_paths(outside, TABLES_LOG, partition):
        old = read_head(path)
        first = entries[tree.size].offset
        tree = grown(tree, entries[tree.size : old.head.tree_size])
        if old.head.tree_size <= first_changed:
            before = old.head
            continue
        path.unlink()
        before = next_head(TABLES_LOG, partition, tree, first, before, old.head.anchored_at_ms)
        write_head(outside, SignedHead(before, tree.frontier, key.key_id, key.sign(signed_text(before))))


def _is_named(reach: Reach, touched: dict[str, frozenset[str]], findings: Sequence[dict[str, Any]]) -> bool:
    """With the database alone, every row; else every stream, by what stands outside it."""
    if reach is Reach.DATABASE:
        named: dict[str, set[str]] = {}
        for finding in findings:
            named.setdefault(finding["table"], set()).add(finding["detail"].partition(": ")[0])
        return named == touched
    kinds = {"LEAF_FILE_CHANGED"} if reach is Reach.LEAVES else {"WITNESS_CONTRADICTED", "HEAD_MISSING"}
    schemas = {table.partition(".")[0] for table in touched}
    return schemas <= {schema_of(f["partition"]) for f in findings if f["kind"] in kinds and f["partition"] is not None}


@contextmanager
def _put_back_after(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection; what it does to the followed tables is taken back in the end."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        every = {table: sql.Identifier(*table.split(".", 1)) for table in followed_tables(connection)}
        for table, name in every.items():
            copy = sql.Identifier(f"kept_{table.replace('.', '_')}")
            connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} AS TABLE {}").format(copy, name))
        connection.commit()
        yield connection
        for table, name in every.items():
            copy = sql.Identifier(f"kept_{table.replace('.', '_')}")
            columns = sql.SQL(", ").join(map(sql.Identifier, written_columns(connection, table)))
            connection.execute(sql.SQL("DELETE FROM {}").format(name))
            connection.execute(
                sql.SQL("INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {}").format(
                    name, copy, columns=columns
                )
            )
        connection.commit()
