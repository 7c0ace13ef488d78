"""Following real tables: each row once and none never, whatever transactions, crashes, shapes and restores do."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pipeline.audit.continuing.bounds import EVERYTHING, NotContinued
from pipeline.audit.leaf_files import LeafFileBusy, leaf_path
from pipeline.audit.tables import log_store
from pipeline.audit.tables.line_files import lines_path
from pipeline.audit.tables.lines import LineKind
from pipeline.audit.tables.streams import GENERATION, STREAMS, TABLES_LOG
from tests.audit.tables.given import ROWS, Tables

ACCOUNT = (
    "INSERT INTO ledger.account (account_id, currency, overdraft_limit_minor, opened_at) VALUES (%s, 'GBP', 0, now())"
)


def rows_there(tables: Tables) -> int:
    """What migrations wrote into followed tables, and all that came since."""
    every = " UNION ALL ".join(f"SELECT FROM {table}" for table in tables.tables)
    with psycopg.connect(tables.owner_url) as owner:
        found = owner.execute(f"SELECT count(*) FROM ({every}) AS every".encode()).fetchone()
    assert found is not None
    return int(found[0])


def test_every_row_of_every_table_is_chained_once(tables: Tables) -> None:
    tables.fill()
    rows = rows_there(tables)
    assert rows > ROWS * len(tables.tables)
    assert rows == tables.follow().rows
    assert 0 == tables.follow().rows
    tables.fill(range(ROWS, ROWS + 5))
    assert 5 * len(tables.tables) == tables.follow().rows
    chained = tables.rows_chained()
    assert len(chained) == len({(row.shape_at, row.key, row.row) for row in chained}) == rows + 5 * len(tables.tables)


def test_rows_of_transactions_that_end_in_another_order_are_met_once(tables: Tables) -> None:
    tables.follow()
    with (
        closing(psycopg.connect(tables.owner_url)) as first,
        closing(psycopg.connect(tables.owner_url)) as second,
        closing(psycopg.connect(tables.owner_url)) as third,
    ):
        first.execute(ACCOUNT, ["first"])
        second.execute(ACCOUNT, ["second"])
        third.execute(ACCOUNT, ["third"])
        second.commit()
        assert 1 == tables.follow().rows  # though the one before is open
        third.rollback()
        assert 0 == tables.follow().rows
        tables.log.mark()
        tables.restart()
        first.execute(ACCOUNT, ["first-again"])
        first.commit()
        assert 2 == tables.follow().rows


def test_nothing_that_only_reads_holds_it_up(tables: Tables) -> None:
    """Neither a reader with a transaction id of its own, nor one that locks as much as it may."""
    reader_url = tables.owner_url.replace("fraud_owner@", "fraud_reader@")
    with closing(psycopg.connect(reader_url)) as reader:
        reader.execute("SELECT pg_current_xact_id(), count(*) FROM ledger.account")
        reader.execute("LOCK TABLE ledger.account IN ACCESS SHARE MODE")
        tables.follow()
        with psycopg.connect(tables.owner_url) as owner:
            owner.execute(ACCOUNT, ["later"])
        assert 1 == tables.follow().rows


def test_following_locks_nobody_out(tables: Tables) -> None:
    with closing(psycopg.connect(tables.owner_url)) as writer:
        writer.execute("LOCK TABLE ledger.account IN SHARE ROW EXCLUSIVE MODE")
        writer.execute(ACCOUNT, ["locked"])
        tables.follow()
        writer.commit()
    assert 1 == tables.follow().rows


def test_a_large_backlog_is_taken_in_parts(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_store, "ROWS_MAX", 3)
    monkeypatch.setattr(log_store, "MARK_ROWS", 4)
    with psycopg.connect(tables.owner_url, autocommit=True) as owner:
        for number in range(20):
            owner.execute(ACCOUNT, [f"account-{number}"])
    tables.fill(range(5), ["ledger.posting"])  # more than a part, in one transaction
    first = tables.log.follow(tables.connection)
    assert first.is_behind
    tables.follow()
    assert rows_there(tables) == len(tables.rows_chained())
    assert len(tables.lines(0, LineKind.POSITION)) > 3
    tables.check(EVERYTHING)


@pytest.mark.parametrize("kept", ["leaves", "half a leaf", "lines alone"])
def test_after_a_crash_nothing_is_chained_twice_and_nothing_lost(tables: Tables, kept: str) -> None:
    tables.follow()
    tables.log.mark()
    tables.fill()
    tables.follow()
    rows, leaves = len(tables.rows_chained()), leaf_path(tables.outside, TABLES_LOG, 0)
    if kept != "leaves":
        with leaves.open("r+b") as file:
            file.truncate(leaves.stat().st_size - (30 if kept == "half a leaf" else 480))
    lost = {"leaves": 0, "half a leaf": 1, "lines alone": 10}[kept]
    tables.restart()
    assert lost == tables.follow().rows
    assert rows == len(tables.rows_chained())
    tables.check(EVERYTHING)


def test_a_row_that_was_changed_while_the_service_was_down_is_named(tables: Tables) -> None:
    tables.fill()
    tables.follow()
    tables.as_superuser("UPDATE ledger.posting SET amount_minor = 7 WHERE number = 3")
    tables.restart()
    with pytest.raises(NotContinued, match=r"row of ledger\.posting with .*attempt=3 is not as it was chained"):
        tables.follow()


def test_a_row_that_was_deleted_while_the_service_was_down_is_named(tables: Tables) -> None:
    tables.fill()
    tables.follow()
    tables.as_superuser("DELETE FROM review.case_event WHERE sequence = 3")
    tables.restart()
    with pytest.raises(NotContinued, match=r"row of review\.case_event with .*sequence=3 is missing"):
        tables.follow()


def test_one_process_follows(tables: Tables) -> None:
    another = log_store.TableLog(TABLES_LOG, tables.outside, lambda: 0)
    with pytest.raises(LeafFileBusy):
        another.open()
    tables.log.close()
    another.open()
    assert set(range(len(STREAMS))) == another.trees.keys()
    another.close()


def test_a_column_that_is_added_is_chained_with_what_older_rows_hold_in_it(tables: Tables) -> None:
    tables.fill()
    tables.follow()
    tables.log.mark()
    tables.as_superuser("ALTER TABLE ledger.account ADD COLUMN note text NOT NULL DEFAULT 'none'")
    tables.fill(range(ROWS, ROWS + 3), ["ledger.account"])
    assert 3 == tables.follow().rows
    tables.anchor()
    tables.check(EVERYTHING)
    assert [] == tables.verified().findings
    tables.as_superuser("UPDATE ledger.account SET note = 'forged' WHERE account_id = 'account_id-4'")
    with pytest.raises(
        NotContinued, match=r"ledger\.account with account_id=account_id-4, .* is not as it was chained"
    ):
        tables.check(EVERYTHING)
    (finding,) = tables.verified(name="again").findings
    assert ("RECORD_CHANGED", "ledger.account") == (finding.kind, finding.table)


SHAPES = {
    "ALTER TABLE ledger.account DROP COLUMN overdraft_limit_minor": "its column overdraft_limit_minor is gone",
    "ALTER TABLE ledger.account RENAME COLUMN opened_at TO closed_at": "its column opened_at is gone",
    "ALTER TABLE ledger.account ALTER overdraft_limit_minor TYPE text": "its column overdraft_limit_minor is gone",
    "ALTER TABLE ledger.account DROP COLUMN chain_xid": r"ledger\.account is no longer followed",
    "ALTER TABLE ledger.account DROP CONSTRAINT account_pkey CASCADE": "no primary key",
    "ALTER TABLE ledger.account ADD COLUMN note uuid DEFAULT gen_random_uuid()": "differ in it",
}


@pytest.mark.parametrize("statement", SHAPES)
def test_a_table_whose_rows_can_t_be_compared_any_more_is_not_followed_on(tables: Tables, statement: str) -> None:
    tables.fill()
    tables.follow()
    tables.as_superuser(statement)
    with pytest.raises(NotContinued, match=SHAPES[statement]):
        tables.follow()


def test_a_database_that_is_behind_its_stream_is_refused_until_a_person_says_so(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restore from a backup: the database gives transaction ids again that the stream has seen."""
    tables.fill()
    tables.follow()
    tables.log.mark()
    real = log_store.one_snapshot

    class Behind:
        def __init__(self, connection: object) -> None:
            self._inner = real(connection)  # type: ignore[arg-type]

        def __enter__(self) -> object:
            now = self._inner.__enter__()
            return now._replace(upper=now.upper - 1_000, in_flight=())

        def __exit__(self, *raised: object) -> object:
            return self._inner.__exit__(*raised)  # type: ignore[arg-type]

    monkeypatch.setattr(log_store, "one_snapshot", Behind)
    with pytest.raises(NotContinued, match="--refill"):
        tables.follow()


def test_a_restored_stream_begins_anew_and_says_what_is_gone_and_what_is_otherwise(tables: Tables) -> None:
    tables.fill()
    tables.follow()
    tables.anchor()
    tables.as_superuser("DELETE FROM ledger.posting WHERE number >= 8")
    tables.as_superuser("UPDATE ledger.posting SET amount_minor = 1 WHERE number = 2")
    tables.log.begin_anew(0, "the database was restored")
    tables.follow()
    tables.anchor()
    assert GENERATION in tables.log.trees
    assert 0 not in tables.log.trees
    tables.check(EVERYTHING)
    report = tables.verified()
    assert [] == report.findings
    (said,) = report.tables.restored
    assert "because the database was restored; of its rows 4 are gone and 1 are others in partition 16" in said
    tables.restart()
    assert GENERATION in tables.log.trees


def test_a_generation_that_follows_another_history_than_stands_is_found(tables: Tables) -> None:
    tables.fill()
    tables.follow()
    tables.log.begin_anew(0, "the database was restored")
    tables.follow()
    kept = tables.folder / "kept"
    shutil.copytree(tables.outside, kept)
    for path in (leaf_path(tables.outside, TABLES_LOG, 0), lines_path(tables.outside, TABLES_LOG, 0)):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 48 if path.suffix == ".leaves" else path.stat().st_size)
    tables.anchor()
    assert ["LEAF_FILE_CHANGED"] == [finding.kind for finding in tables.verified().findings]


def test_lines_that_no_leaf_names_are_cut_off(tables: Tables) -> None:
    tables.follow()
    path = Path(lines_path(tables.outside, TABLES_LOG, 2))
    length = path.stat().st_size
    tables.log.close()
    with path.open("ab") as file:
        file.write(b"torn")
    tables.restart()
    assert length == path.stat().st_size
