"""What a transaction chooses to see: none holds its rows against an account, a step or a record as it once stood."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from ops.stack.embedded import EmbeddedStack
from pipeline.execute.ledger_store import NewExecution
from pipeline.execute.saga import Step
from pipeline.io.kafka.appender import Appender
from pipeline.io.postgres import Connection, connect
from tests.execute.given import Desk, decision
from tests.execute.test_bound_ledger import audited, new_walk, split
from tests.servers import url_as

RULE = "is_held_against_what_stands"


@pytest.fixture
def desk(stack: EmbeddedStack, database_url: str, rail_address: str) -> Iterator[Desk]:
    appender = Appender(stack.bootstrap_servers, "test-old-sight", {})
    with closing(Desk(url_as(database_url, "fraud_executor"), appender, rail_address)) as desk:
        desk.open(GB29_0001=10_000, GB29_0002=0)
        desk.hear(decision(amount_minor=1))  # from now on both accounts have a row that is locked, and never changes
        yield desk


@pytest.fixture
def thief(desk: Desk) -> Iterator[Connection]:
    with closing(connect(desk.url, "thief")) as connection:
        yield connection


def looked(connection: Connection, isolation: str) -> None:
    """Begin a transaction that sees no more than what stands now."""
    connection.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
    connection.execute("SELECT count(*) FROM ledger.posting")


def spend(desk: Desk, connection: Connection, row: NewExecution) -> None:
    """Store what the executor would store before it asks the rail."""
    steps, postings = split(new_walk(row).take(Step.RESERVE, Step.DEBIT).taken())
    desk.ledger.append_executions(connection, [row])
    desk.ledger.append_transitions(connection, steps)
    desk.ledger.append_postings(connection, postings)
    connection.execute("COMMIT")


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_money_that_was_spent_since_a_look_is_not_spent_again(desk: Desk, thief: Connection, isolation: str) -> None:
    first, second = decision(amount_minor=7_000), decision(amount_minor=7_000)
    heard, row = desk.batch(first), audited(desk, second)
    looked(thief, isolation)
    desk.execution.accept(desk.connection, heard)
    assert desk.balance("GB29-0001") == 2_999
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        spend(desk, thief, row)
    assert caught.value.diag.constraint_name == RULE
    thief.execute("ROLLBACK")
    assert desk.balance("GB29-0001") == 2_999


def test_checkpoint_leaves_out_nothing_that_was_spent_since_a_look(desk: Desk, thief: Connection) -> None:
    heard = desk.batch(decision(amount_minor=7_000))
    looked(thief, "REPEATABLE READ")
    desk.execution.accept(desk.connection, heard)
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        thief.execute("SELECT ledger.take_checkpoint('GB29-0001', 'GBP')")
    assert caught.value.diag.constraint_name == RULE
    thief.execute("ROLLBACK")
    assert desk.balance("GB29-0001") == 2_999


def test_setting_that_a_stolen_credential_left_is_not_the_executors(desk: Desk, owner: Connection) -> None:
    """It would outlive the change of the password: commits that a crash takes back, and nothing stored any more."""
    left = {
        "synchronous_commit": "off",
        "default_transaction_isolation": "repeatable read",
        "default_transaction_read_only": "on",
    }
    database = owner.info.dbname
    try:
        with closing(connect(desk.url, "thief")) as thief:
            for name, value in left.items():
                thief.execute(f"ALTER ROLE fraud_executor IN DATABASE {database} SET {name} = '{value}'".encode())
        with closing(connect(desk.url, "executor")) as executor:
            shown = {name: executor.execute(f"SHOW {name}".encode()).fetchone() for name in left}
            assert {name: value for name, (value,) in shown.items()} == {
                "synchronous_commit": "on",
                "default_transaction_isolation": "read committed",
                "default_transaction_read_only": "off",
            }
            desk.ledger.take_checkpoint(executor, ("GB29-0001", "GBP"))
    finally:
        owner.execute(f"ALTER ROLE fraud_executor IN DATABASE {database} RESET ALL".encode())


def test_only_what_is_proved_anew_is_stored_as_of_one_moment(owner: Connection) -> None:
    rows = owner.execute(
        "SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_trigger AS t ON t.tgrelid = c.oid"
        " WHERE NOT c.relispartition AND t.tgname = 'refuse_change' AND NOT EXISTS ("
        "SELECT FROM pg_trigger AS sight WHERE sight.tgrelid = c.oid AND sight.tgname = 'refuse_old_sight')"
    ).fetchall()
    assert {name for (name,) in rows} == {
        "control.rollback_plan",
        "control.rollback_plan_decision",
        "control.rollback_plan_content",
        "control.signed_act",
    }
