"""Forgeries in every followed table: found and located by the service's check, and offline by the verifier."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import psycopg
import pytest

from ops.bench.audit.table_rows import followed_tables
from pipeline.audit.chain import Entry, Tree, entry_bytes, grown
from pipeline.audit.continuing.bounds import AT_ONCE, EVERYTHING, NotContinued
from pipeline.audit.head import SignedHead, next_head, signed_text
from pipeline.audit.leaf_files import head_folder, head_paths, leaf_path, read_entries, read_head, write_head
from pipeline.audit.tables.line_files import Lines, lines_path
from pipeline.audit.tables.lines import LineKind, kind_of, leaf_of, row_line_of
from pipeline.audit.tables.streams import TABLES_LOG
from pipeline.keys.key_files import create_signing_key
from tests.audit.tables.given import ROWS, Tables


@pytest.fixture
def chained(tables: Tables) -> Tables:
    """Rows under a head that the witness has seen, and rows behind it."""
    tables.fill()
    tables.follow()
    tables.anchor()
    tables.fill(range(ROWS, ROWS + 4))
    tables.follow()
    return tables


def test_what_is_untouched_is_continued_and_verified(chained: Tables) -> None:
    found = chained.check(EVERYTHING).looked
    assert len(chained.rows_chained()) == found.rows == chained.check(AT_ONCE).looked.rows
    chained.restart()
    chained.follow()
    chained.check(EVERYTHING)
    report = chained.verified()
    assert [] == report.findings
    assert (0, found.rows) == (report.tables.younger, report.tables.rows)


def forged(change: str) -> Callable[[Tables, str], str]:
    return lambda tables, table: change.format(table=table, where=middle(tables, table))


def middle(tables: Tables, table: str) -> str:
    """A row among the first."""
    with psycopg.connect(tables.owner_url) as owner:
        found = owner.execute(
            f"SELECT tableoid, ctid::text FROM {table} ORDER BY chain_xid, ctid OFFSET 5 LIMIT 1".encode()
        ).fetchone()
    assert found is not None
    return f"tableoid = {found[0]} AND ctid = '{found[1]}'"


FORGERIES = {
    "deleted": ("DELETE FROM {table} WHERE {where}", "ROW_MISSING"),
    "said to be of another transaction": (
        "UPDATE {table} SET chain_xid = '3' WHERE {where}",
        "RECORD_CHANGED",
    ),
    "emptied": ("DELETE FROM {table}", "ROW_MISSING"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forgery_in_any_table_is_found_by_the_service_and_offline(chained: Tables, what: str) -> None:
    statement, kind = FORGERIES[what]
    with psycopg.connect(chained.owner_url) as owner:
        every = followed_tables(owner)
    for table in every:
        kept = f"kept_{table.replace('.', '_')}"
        chained.as_superuser(f"CREATE TABLE public.{kept} AS TABLE {table}")
        assert chained.as_superuser(statement.format(table=table, where=middle(chained, table)))
        with pytest.raises(NotContinued, match=table.replace(".", r"\.")):
            chained.check(EVERYTHING)
        report = chained.verified(name=f"export-{table}")
        assert {(kind, table)} == {(finding.kind, finding.table) for finding in report.findings}, table
        chained.as_superuser(f"DELETE FROM {table}")
        columns = columns_of(chained, table)
        chained.as_superuser(
            f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM public.{kept}"
        )
    chained.check(EVERYTHING)
    assert [] == chained.verified(name="put-back").findings


def columns_of(tables: Tables, table: str) -> str:
    query = """SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"""
    with psycopg.connect(tables.owner_url) as owner:
        found = owner.execute(query, [table]).fetchone()
    assert found is not None
    return str(found[0])


SUBTLE = {
    "another way to write the same number": (
        "UPDATE control.redrive SET criteria = '{\"criteria\": 5.0}' WHERE criteria = '{\"criteria\": 5}'",
        "control.redrive",
    ),
    "another way to write the same text": (
        "UPDATE control.person_grant SET name = normalize(name || U&'\\00E9', NFD) WHERE name = 'name-5'",
        "control.person_grant",
    ),
    "two rows exchanged": (
        "UPDATE ledger.posting SET amount_minor = CASE number WHEN 4 THEN 5 ELSE 4 END WHERE number IN (4, 5)",
        "ledger.posting",
    ),
    "a row slipped in at an old place": (
        "INSERT INTO ledger.account (account_id, currency, overdraft_limit_minor, opened_at, recorded_at, chain_xid)"
        " SELECT 'mine', currency, overdraft_limit_minor, opened_at, recorded_at, chain_xid FROM ledger.account"
        " LIMIT 1",
        "ledger.account",
    ),
    "a row of a transaction that is yet to come": (
        "INSERT INTO ledger.account (account_id, currency, overdraft_limit_minor, opened_at, chain_xid)"
        " VALUES ('mine', 'GBP', 0, now(), '9000000000000')",
        "ledger.account",
    ),
}


@pytest.mark.parametrize("what", SUBTLE)
def test_a_subtle_forgery_is_found(chained: Tables, what: str) -> None:
    statement, table = SUBTLE[what]
    assert chained.as_superuser(statement) > 0
    with pytest.raises(NotContinued, match=table.replace(".", r"\.")):
        chained.check(EVERYTHING)
    assert {table} == {finding.table for finding in chained.verified().findings}


def test_a_row_behind_the_last_head_is_compared_too(chained: Tables) -> None:
    chained.as_superuser(f"UPDATE review.review_case SET summary = 'else' WHERE round = {ROWS + 1}")
    with pytest.raises(NotContinued, match=f"review_case with .*round={ROWS + 1} is not as it was chained"):
        chained.check(AT_ONCE)


def forge_outside(tables: Tables, partition: int, change: Callable[[bytes], bytes]) -> list[Entry]:
    """Write lines and leaves anew with one of them changed."""
    lines, entries, content = [], [], b""
    for entry, line in Lines(tables.outside, TABLES_LOG, partition).between(0, tables.log.trees[partition].size):
        written = change(line)
        lines.append(written)
        entries.append(Entry(len(content), entry.recorded_at_us, leaf_of(written)))
        content += written
    lines_path(tables.outside, TABLES_LOG, partition).write_bytes(content)
    leaf_path(tables.outside, TABLES_LOG, partition).write_bytes(b"".join(map(entry_bytes, entries)))
    return entries


def other_row(line: bytes) -> bytes:
    """A row's line that binds another row."""
    if kind_of(line) is not LineKind.ROW or row_line_of(line).key[-4:] != (5).to_bytes(4, "big"):
        return line
    changed = bytearray(line)
    changed[5 + 16] ^= 1
    return bytes(changed)


def test_lines_and_leaves_that_agree_are_held_against_the_heads(chained: Tables) -> None:
    forge_outside(chained, 0, other_row)
    chained.restart()
    with pytest.raises(NotContinued, match="another root than the head of size"):
        chained.check()
    assert "LEAF_FILE_CHANGED" in {finding.kind for finding in chained.verified().findings}


def test_lines_alone_are_held_against_the_leaves(chained: Tables) -> None:
    path = lines_path(chained.outside, TABLES_LOG, 0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(NotContinued, match="rows"):
        chained.check(EVERYTHING)
    assert {"LEAF_FILE_CHANGED"} <= {finding.kind for finding in chained.verified().findings}


@pytest.mark.parametrize("is_own", [True, False])
def test_heads_signed_anew_are_refused_or_contradict_the_witness(chained: Tables, is_own: bool) -> None:
    """With the service's own key every signature holds: what the witness saw says otherwise."""
    seen = chained.witnessed()
    key = chained.key if is_own else create_signing_key(chained.folder / "thief")
    entries = forge_outside(chained, 0, other_row)
    sizes = [read_head(path).head for path in head_paths(chained.outside, TABLES_LOG, 0)]
    shutil.rmtree(head_folder(chained.outside, TABLES_LOG, 0))
    tree, before = Tree(), None
    for old in sizes:
        first = entries[tree.size].offset
        tree = grown(tree, entries[tree.size : old.tree_size])
        before = next_head(TABLES_LOG, 0, tree, first, before, old.anchored_at_ms)
        write_head(chained.outside, SignedHead(before, tree.frontier, key.key_id, key.sign(signed_text(before))))
    chained.restart()
    kinds = {finding.kind for finding in chained.verified(statements=[seen]).findings}
    assert "WITNESS_CONTRADICTED" in kinds
    if not is_own:
        assert "KEY_UNKNOWN" in kinds
        with pytest.raises(NotContinued, match="is not in the key set"):
            chained.check()


def test_a_tail_that_was_cut_back_behind_a_head_is_refused(chained: Tables) -> None:
    path = leaf_path(chained.outside, TABLES_LOG, 0)
    chained.log.close()
    entries = list(read_entries(path))[:20]
    path.write_bytes(b"".join(map(entry_bytes, entries)))
    chained.restart()
    with pytest.raises(NotContinued, match="20"):
        chained.check()
    assert "LEAF_FILE_CHANGED" in {finding.kind for finding in chained.verified().findings}


def test_an_export_without_the_tables_is_a_finding_unless_that_is_accepted(chained: Tables) -> None:
    assert [] == chained.verified().findings
    manifest = chained.folder / "export" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"tables"', '"tablets"'))
    from ops.verifier.export import Outside, Trust, verify_export
    from ops.verifier.freshness import Freshness
    from ops.verifier.keys import read_keys

    trust = Trust(read_keys(chained.folder / "key.keys"), Freshness(0, None))
    out = chained.folder / "export"
    told = verify_export(out, Outside(out / "outside"), trust)
    assert "ROW_MISSING" in {finding.kind for finding in told.findings}
    accepted = verify_export(out, Outside(out / "outside"), trust, with_tables=False)
    assert "ROW_MISSING" not in {finding.kind for finding in accepted.findings}
