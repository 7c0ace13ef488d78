"""No role that reads can keep the ledger, the audit log or the review waiting, whatever it locks and however long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from pipeline.execute.batch_service import CHECKPOINT_PAUSE_S_MAX
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.references import Opening
from pipeline.io.kafka.appender import Appender
from pipeline.io.postgres import Connection, DatabaseUnavailable, connect
from pipeline.review.case_store import lock_cases
from pipeline.rollback.plan_store import turn_to_apply
from tests.audit.logs import Bench, records
from tests.execute.given import Desk, decision
from tests.known import appoint
from tests.records import NOON_MS
from tests.servers import Postgres, url_as

READERS = ("fraud_reader", "fraud_reconcile", "fraud_rollback", "fraud_partitions", "fraud_review", "fraud_incident")
"""Roles beside those whose work must go on; each reads, and writes at most tables of its own."""
WRITTEN = (
    "audit.ai_decision_log", "audit.chain_link", "audit.dead_letter", "ledger.account", "ledger.execution",
    "ledger.transition", "ledger.posting", "ledger.balance_checkpoint", "ledger.guarded_account", "review.review_case",
    "review.case_event", "control.consumer_position", "control.person_grant", "control.turn", "control.migration",
)  # fmt: skip
MODES = (
    "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)  # fmt: skip
ROW_LOCKS = ("KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE")
KEYS = (
    "hashtext('ledger.posting_number')", "hashtext('control.rollback_apply')", "hashtext('control.redrive')",
    "hashtext('control.person_grant')", "hashtext('review.case'), 1", "hashtext('control.ensure_partition'), 1", "0",
    str(0x6D696772),
)  # fmt: skip
"""Of the advisory locks that there once were."""


@pytest.fixture
def appender(stack) -> Appender:
    return Appender(stack.bootstrap_servers, "test-locks", {})


@pytest.fixture
def desk(database_url: str, appender: Appender, rail_address: str) -> Iterator[Desk]:
    url = url_as(database_url, "fraud_executor")
    with closing(Desk(url, appender, rail_address, partition=7)) as desk:  # the audit log of `bench` has 0 and 1
        desk.open(GB29_0001=1_000_000)
        yield desk


@pytest.fixture
def bench(postgres: Postgres, database_url: str, tmp_path) -> Iterator[Bench]:
    with closing(Bench(postgres.server, database_url, tmp_path)) as bench:
        bench.open()
        yield bench


@pytest.fixture(params=READERS)
def intruder(request: pytest.FixtureRequest, database_url: str) -> Iterator[Connection]:
    """A transaction that stays open, without any of the limits that its role is given."""
    with closing(connect(url_as(database_url, request.param), "intruder")) as connection:
        for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"SET {limit} = 0".encode())
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        yield connection
        connection.execute("ROLLBACK")


def tried(connection: Connection, statement: str) -> bool:
    """Return whether the statement was allowed; the transaction goes on either way."""
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def hold_all(connection: Connection) -> int:
    """Take everything that the role may take, and return how many locks that were."""
    held = 0
    for table in WRITTEN:
        held += tried(connection, f"SELECT count(*) FROM {table}")
        held += sum(tried(connection, f"LOCK TABLE {table} IN {mode} MODE") for mode in MODES)
        held += sum(tried(connection, f"SELECT * FROM {table} FOR {lock}") for lock in ROW_LOCKS)
    for key in KEYS:
        held += tried(connection, f"SELECT pg_advisory_lock({key})")
        held += tried(connection, f"SELECT pg_advisory_xact_lock({key})")
    return held


def work(desk: Desk, bench: Bench, number: int) -> None:
    """A turn of the executor, with a checkpoint, and one of the audit log."""
    paid = decision()
    desk.hear(paid)
    assert desk.state(paid) == "SETTLED"
    assert desk.ledger.take_checkpoint(desk.connection, ("GB29-0001", "GBP"))
    bench.store(records(1, begin=number))


def test_reader_that_holds_all_it_can_stops_nobody(
    intruder: Connection, desk: Desk, bench: Bench, owner: Connection, database_url: str
) -> None:
    work(desk, bench, 0)
    held = hold_all(intruder)
    assert (held > 0) == (intruder.info.user != "fraud_partitions")  # which reads nothing
    for connection in (desk.connection, bench.connection, owner):
        connection.execute("SET lock_timeout = '1s'")  # a wait that would otherwise last for ever
    work(desk, bench, 1)
    appoint(owner, {"ann": "REVIEWER"})
    with closing(connect(url_as(database_url, "fraud_review"), "review")) as review, review.transaction():
        review.execute("SET lock_timeout = '1s'")
        lock_cases(review, [decision().decision_id])


@pytest.mark.parametrize("role", READERS)
def test_function_that_locks_for_a_service_is_that_services(database_url: str, role: str) -> None:
    with closing(connect(url_as(database_url, role), "intruder")) as connection:
        assert not tried(connection, "SELECT ledger.lock_accounts(ARRAY['GB29-0001'], ARRAY['GBP'])")
        assert not tried(connection, "SELECT ledger.take_checkpoint('GB29-0001', 'GBP')")
        allowed = tried(connection, "SELECT review.lock_cases(ARRAY[gen_random_uuid()])")
        assert allowed == (role == "fraud_review")


@pytest.mark.parametrize("role", READERS)
def test_month_is_made_while_a_reader_stands_in_the_table(
    database_url: str, desk: Desk, bench: Bench, owner: Connection, role: str
) -> None:
    work(desk, bench, 0)
    with closing(connect(url_as(database_url, role), "intruder")) as intruder, intruder.transaction():
        hold_all(intruder)
        with closing(connect(url_as(database_url, "fraud_partitions"), "job")) as job:
            job.execute("SET lock_timeout = '1s'")
            reached = job.execute("SELECT min(months) FROM control.partition_reach()").fetchone()
            job.execute("SELECT control.ensure_all_partitions(%s)", [reached[0] + 1])
            assert (reached[0] + 1,) == job.execute("SELECT min(months) FROM control.partition_reach()").fetchone()
        work(desk, bench, 1)


def test_checkpoint_that_must_wait_lets_the_executor_go_on(desk: Desk, owner: Connection) -> None:
    desk.hear(decision())
    with owner.transaction():
        owner.execute("LOCK TABLE ONLY ledger.posting IN SHARE UPDATE EXCLUSIVE MODE")
        assert not desk.ledger.take_checkpoint(desk.connection, ("GB29-0001", "GBP"))
        desk.hear(paid := decision())
    assert desk.state(paid) == "SETTLED"
    assert desk.ledger.take_checkpoint(desk.connection, ("GB29-0001", "GBP"))


def test_checkpoint_waits_for_a_posting_that_is_under_way(desk: Desk, database_url: str) -> None:
    """Else "through number n" would leave out a lower number that is committed later."""
    desk.hear(decision())
    with closing(connect(url_as(database_url, "fraud_treasurer"), "other")) as other, other.transaction():
        append_openings(other, [Opening("GB29-0009", "GBP", 0, 1)], NOON_MS)
        assert not desk.ledger.take_checkpoint(desk.connection, ("GB29-0001", "GBP"))
    assert desk.ledger.take_checkpoint(desk.connection, ("GB29-0001", "GBP"))


def test_checkpoints_that_wait_in_vain_are_tried_ever_more_rarely(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []
    clock = Clock()
    monkeypatch.setattr("pipeline.execute.batch_service.time.monotonic", clock)
    monkeypatch.setattr("pipeline.execute.ledger_store.TAIL_POSTINGS_MAX", 0)
    monkeypatch.setattr(desk.ledger, "take_checkpoint", lambda *_: bool(tried.append(clock.now_s)))
    for _ in range(200):
        clock.now_s += 1.0
        desk.hear(decision())
    pauses = [after - before for before, after in pairwise(tried)]
    assert pauses[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert set(pauses[6:]) == {CHECKPOINT_PAUSE_S_MAX}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_two_batches_that_look_at_one_account_take_turns(desk: Desk, database_url: str) -> None:
    """Whether or not it was ever opened."""
    for account in ("GB29-0001", "NOBODY-OPENED-IT"):
        with closing(connect(url_as(database_url, "fraud_executor"), "other")) as other:
            other.execute("SET lock_timeout = '300ms'")
            with desk.connection.transaction():
                desk.ledger.limits(desk.connection, [(account, "GBP")])
                with pytest.raises(psycopg.errors.LockNotAvailable), other.transaction():
                    Ledger().limits(other, [(account, "GBP")])
            with other.transaction():
                Ledger().limits(other, [(account, "GBP")])


class Taken(Exception):
    pass


def test_turn_is_held_by_one_and_ends_with_it(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.io.postgres._TURN_LIMITS", (b"SET LOCAL lock_timeout = '300ms'",))
    url = url_as(database_url, "fraud_rollback")
    with closing(connect(url, "one")) as one, closing(connect(url, "two")) as two:
        with turn_to_apply(one, Taken), pytest.raises(Taken), turn_to_apply(two, Taken):
            pass
        with turn_to_apply(two, Taken):
            pass


def test_reader_can_not_fill_the_table_of_locks(database_url: str, desk: Desk) -> None:
    """Every statement, and every login, needs room there; one session took all of it by locks on numbers."""
    many = "SELECT count(pg_advisory_lock(number)) FROM generate_series(1, 100000) AS number"
    with closing(connect(url_as(database_url, "fraud_reader"), "intruder")) as intruder:
        assert not tried(intruder, many)
        desk.hear(paid := decision())
    assert desk.state(paid) == "SETTLED"


def test_only_the_roles_that_take_turns_may(database_url: str) -> None:
    for role in ("fraud_reader", "fraud_audit", "fraud_executor", "fraud_review", "fraud_reconcile", "fraud_incident"):
        with closing(connect(url_as(database_url, role), "intruder")) as connection:
            assert not tried(connection, "SELECT control.take_turn('redrive')")


def test_every_role_has_its_limits(owner: Connection) -> None:
    query = "SELECT rolname, rolconnlimit, rolconfig FROM pg_roles WHERE starts_with(rolname, 'fraud_')"
    rows = owner.execute(query).fetchall()
    known = {name: (connections, config) for name, connections, config in rows}
    roles = known.keys() - {"fraud_owner", "fraud_worker", "fraud_service"}
    for role in roles:
        connections, config = known[role]
        assert connections > 0, role
        named = {each.partition("=")[0]: each.partition("=")[2] for each in config}
        wanted = {"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"}
        assert wanted <= {name for name, value in named.items() if value not in ("0", "")}, role
    assert sum(known[role][0] for role in roles) <= 97


def test_no_statement_takes_an_advisory_lock() -> None:
    files = [path for folder in ("pipeline", "ops") for path in Path(folder).rglob("*.*")]
    texts = [path for path in files if path.suffix in (".sql", ".py")]
    older = {"0001_foundation.sql", "0020_ledger.sql"}  # 0082 replaces what they define
    assert [] == [str(path) for path in texts if "pg_advisory" in path.read_text("utf-8") and path.name not in older]


def test_reader_can_not_use_up_the_connections(database_url: str) -> None:
    reader, held = url_as(database_url, "fraud_reader"), ExitStack()
    with held:
        with pytest.raises(DatabaseUnavailable):
            take_all(held, reader)
        with closing(connect(url_as(database_url, "fraud_executor"), "executor")) as executor:
            assert executor.execute("SELECT 1").fetchone() == (1,)


def take_all(held: ExitStack, url: str) -> None:
    for _ in range(100):
        held.enter_context(closing(connect(url, "intruder")))
