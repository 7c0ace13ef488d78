"""I7 in PostgreSQL, with passwords: every role tries every right that no process should have."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg import sql

from ops.access.catalogue import differences
from ops.access.foreign_database import OURS, foreign_rights
from ops.access.roles import POSTGRES_OWNER, ROLES, set_passwords
from ops.bench.rig.waiting import wait_until
from ops.migrations.migrate import migrate
from ops.processes.servers import free_port
from ops.stack.postgres import bundled_folder, postgres_server, postgres_url

WORKER = "fraud_worker"
# Written down apart from the migrations: a grant added there by mistake is found here. By table, who may append.
# Tables of a schema that aren't named are the schema owner's.
APPENDERS = {"audit": "fraud_audit", "ledger": "fraud_executor", "review": "fraud_review", "shadow": "fraud_shadow"}
CONTROL_APPENDERS = {
    "control.consumer_position": {
        "fraud_audit",
        "fraud_executor",
        "fraud_review",
        "fraud_rollback",
        "fraud_reconcile",
        "fraud_incident",
        "fraud_alerts",
        "fraud_bias",
        "fraud_shadow",
    },
    "control.rollback_plan": {"fraud_rollback"},
    "control.rollback_plan_content": {"fraud_rollback"},
    "control.rollback_plan_decision": {"fraud_rollback"},
    "control.rollback_release": {"fraud_rollback"},
    "control.rollback_approval": {"fraud_rollback"},
    "control.rollback_progress": {"fraud_rollback"},
    "control.redrive": {"fraud_rollback"},
    "control.redrive_letter": {"fraud_rollback"},
    "control.redrive_published": {"fraud_rollback"},
    "control.reconciliation": {"fraud_reconcile"},
    "control.reconciliation_gap": {"fraud_reconcile"},
    "control.rail_statement": {"fraud_reconcile"},
    "control.rail_entry": {"fraud_reconcile"},
    "control.rail_finding": {"fraud_reconcile"},
    "control.quarantine_proposal": {"fraud_rollback"},
    "control.quarantine": {"fraud_rollback"},
    "control.ruling_proposal": {"fraud_rollback"},
    "control.ruling": {"fraud_rollback"},
    "control.breaker_transition": {"fraud_incident"},
    "control.incident": {"fraud_incident"},
    "control.incident_alert": {"fraud_incident"},
    "control.incident_event": {"fraud_incident"},
    "control.bias_state": {"fraud_bias"},
    "control.bias_span": {"fraud_bias"},
    "control.bias_known": {"fraud_bias"},
    "control.bias_gap": {"fraud_bias"},
    "control.disagreement_review": {"fraud_review"},
    "control.model_move": {"fraud_incident"},
    "control.model_refusal": {"fraud_incident"},
    "control.model_draw": set(),  # rows that control.draw_for makes
    "control.model_evidence": {"fraud_incident", "fraud_bias"},
    "control.drill_record": set(),  # the owner's, who carries out drills
    "control.live_drill_proposal": {"fraud_oncall"},
    "control.live_drill_consent": {"fraud_oncall"},
    "control.live_drill_begin": set(),  # the owner's, too
    "control.unproved_record": {"fraud_executor", "fraud_review", "fraud_audit", "fraud_shadow"},
    "ledger.account": {"fraud_treasurer"},
    "ledger.funding": {"fraud_treasurer"},
    "ledger.posting": {"fraud_executor", "fraud_treasurer"},  # of a step, or of a funding: triggers tell them apart
    "ledger.balance_checkpoint": set(),  # rows that ledger.take_checkpoint makes
    "control.alert_group": {"fraud_alerts"},
    "control.alert_turn": {"fraud_alerts"},
    "control.alert_event": {"fraud_alerts"},
    "control.alert_delivery": {"fraud_alerts"},
    "control.alert_attempt": {"fraud_alerts"},
    "control.own_alert": {"fraud_alerts"},
    "control.own_alert_told": {"fraud_alerts"},
    "control.alert_act": {"fraud_oncall", "fraud_incident"},
    "control.alert_silence": {"fraud_oncall"},
    "control.alert_silence_end": {"fraud_oncall"},
    "control.signed_act": {  # three of its columns (tests/people)
        "fraud_review",
        "fraud_rollback",
        "fraud_incident",
        "fraud_oncall",
    },
    "ledger.guarded_account": set(),  # rows that ledger.lock_accounts makes, to lock them
    "ledger.saga_hearing": set(),
    "ledger.saga_step": set(),
    "ledger.saga_movement": set(),
}
COLUMNS = {
    "control.consumer_position": "next_offset",
    "control.signed_act": "content",
    "ledger.posting": "posting_id",
    "control.own_alert": "alert",
    "control.rail_statement": "account_id",
    "control.reconciliation": "opened_at",
}
"""Columns to try, where the first is nobody's: the database alone says the number of a row."""
PASSWORD = "correct-horse-battery-staple"
WITHOUT_POSITION = ("fraud_reader", "fraud_partitions", "fraud_treasurer", "fraud_oncall")
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
FORBIDDEN_STATEMENTS = (
    "CREATE SCHEMA mine",
    "CREATE TABLE public.mine (a int)",
    "CREATE TABLE ledger.mine (a int)",
    "CREATE TEMPORARY TABLE mine (a int)",
    "CREATE FUNCTION ledger.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP EXTENSION plpgsql",
    "ALTER TABLE ledger.posting DISABLE TRIGGER ALL",
    "DROP TABLE ledger.posting",
    "DROP TRIGGER refuse_change ON audit.ai_decision_log",
    "ALTER ROLE fraud_owner PASSWORD 'mine'",
    "CREATE ROLE mine LOGIN",
    "GRANT fraud_owner TO fraud_reader",
    "SET ROLE fraud_owner",
    "SET session_replication_role = replica",
    "ALTER SYSTEM SET fsync = off",
    "COPY ledger.posting FROM PROGRAM 'true'",
    "SELECT pg_read_file('pg_hba.conf')",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
    "SELECT lo_from_bytea(0, 'a disk that fills')",
    "SELECT lo_create(0)",
    "SELECT pg_logical_emit_message(false, 'mine', 'a log that fills')",
    "SET temp_file_limit = -1",
)


class Database(NamedTuple):
    """A server. owner_url: the owner's URL, with its password. address: what follows a login in a URL."""

    owner_url: str
    address: str
    log_path: Path


@pytest.fixture(scope="session")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    directory, port = tmp_path_factory.mktemp("database"), free_port()
    server = postgres_server(bundled_folder(), directory, port, settings={"fsync": "off"}, owner_password=PASSWORD)
    server.start()
    owner_url = postgres_url(port, password=PASSWORD)
    migrate(owner_url)
    set_passwords(owner_url, dict.fromkeys((*ROLES, WORKER), PASSWORD))
    yield Database(owner_url, owner_url.rpartition("@")[2], server.log_path)
    server.stop()


@pytest.fixture(scope="session")
def owner(roles: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(roles.owner_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def session(roles: Database, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """Provide a connection of the role that the test is for; the last test's may not have ended on the server yet."""
    gone = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
    with psycopg.connect(_url(roles, POSTGRES_OWNER), autocommit=True) as owner:
        wait_until(
            lambda: owner.execute(gone, [request.param]).fetchone() == (0,), 120, "the last session's end", every_s=0.01
        )
    with psycopg.connect(_url(roles, request.param), autocommit=True) as connection:
        yield connection


def _url(database: Database, role: str, password: str = PASSWORD) -> str:
    return f"postgresql://{role}:{password}@{database.address}"


def _tables(owner: psycopg.Connection) -> list[str]:
    found = owner.execute(
        """SELECT format('%s.%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname IN ('audit', 'ledger', 'review', 'control', 'shadow', 'api') AND c.relkind IN ('r', 'p')"""
    )
    return [name for (name,) in found]


def _may_append(role: str, table: str, parents: dict[str, str]) -> bool:
    schema = table.partition(".")[0]
    if table in parents:
        return False  # partitions are written through their parent only
    return role in CONTROL_APPENDERS.get(table, {APPENDERS.get(schema)})


@pytest.mark.parametrize("role", [*ROLES, WORKER])
def test_role_has_no_right_but_to_read_and_to_append_what_is_its_own(owner: psycopg.Connection, role: str) -> None:
    parents = dict(
        owner.execute("SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits").fetchall()
    )
    wrong = []
    for table in _tables(owner):
        held = {right for right in RIGHTS if _has(owner, role, table, right)}
        allowed = {"SELECT"} | ({"INSERT"} if _may_append(role, table, parents) else set())
        if (surplus := held - allowed) or ("INSERT" in allowed and "INSERT" not in held):
            wrong.append((table, sorted(surplus), sorted(allowed - held)))
    assert [] == wrong


def _has(owner: psycopg.Connection, role: str, table: str, right: str) -> bool:
    """Ask for the right to insert into any column: the ledger's are granted by column."""
    function = "has_any_column_privilege" if right == "INSERT" else "has_table_privilege"
    answer = owner.execute(f"SELECT {function}(%s, %s, %s)".encode(), [role, table, right]).fetchone()
    assert answer is not None
    return bool(answer[0])


def test_worker_can_t_even_connect(roles: Database) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(_url(roles, WORKER))


@pytest.mark.parametrize("role", [*ROLES, WORKER, "fraud_owner"])
def test_nobody_logs_in_without_the_password(roles: Database, role: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(_url(roles, role, "guessed"))


@pytest.mark.parametrize("statement", FORBIDDEN_STATEMENTS)
@pytest.mark.parametrize("session", ROLES, indirect=True)
def test_statement_is_forbidden_to_every_role(session: psycopg.Connection, statement: str) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)):
        session.execute(statement.encode())


@pytest.mark.parametrize("session", ROLES, indirect=True)
def test_every_role_is_refused_every_write_that_is_not_its_own(
    session: psycopg.Connection, owner: psycopg.Connection
) -> None:
    """The test tries an INSERT, UPDATE and DELETE of no row and a TRUNCATE of each table; it doesn't ask for rights."""
    role = session.info.user
    done = []
    for table in _tables(owner):
        name = sql.SQL(".").join(map(sql.Identifier, table.split(".")))
        # Services may move one column of this table. A right to update all of it would be a right to lock it.
        column = COLUMNS.get(table) or _first_column(owner, table)
        acts = {
            "UPDATE": sql.SQL("UPDATE {} SET {column} = NULL WHERE false"),
            "DELETE": sql.SQL("DELETE FROM {} WHERE false"),
            "TRUNCATE": sql.SQL("TRUNCATE {}"),
            "INSERT": sql.SQL("INSERT INTO {} ({column}) SELECT NULL WHERE false"),
        }
        for act, statement in acts.items():
            try:
                session.execute(statement.format(name, column=sql.Identifier(column)))
            except psycopg.errors.InsufficientPrivilege:
                continue
            done.append((table, act))
    partitions = dict(owner.execute("SELECT inhrelid::regclass::text, '' FROM pg_inherits").fetchall())
    expected = [(table, "INSERT") for table in _tables(owner) if _may_append(role, table, partitions)]
    if role not in WITHOUT_POSITION:
        expected.append(("control.consumer_position", "UPDATE"))
    assert sorted(expected) == sorted(done)


def _first_column(owner: psycopg.Connection, table: str) -> str:
    found = owner.execute(
        """SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attidentity = ''
           ORDER BY attnum LIMIT 1""",
        [table],
    ).fetchone()
    assert found is not None
    return str(found[0])


@pytest.mark.parametrize("session", [role for role in ROLES if role not in WITHOUT_POSITION], indirect=True)
def test_role_moves_its_own_position_only(session: psycopg.Connection, owner: psycopg.Connection) -> None:
    own = session.info.user.removeprefix("fraud_")
    insert = b"INSERT INTO control.consumer_position VALUES (%s, 'decisions.v1', 77, 1)"
    if own == "executor":  # whose positions lie behind the audit log's
        insert = insert.replace(b"77", b"78")
        owner.execute(insert, ["audit"])
    session.execute(insert, [own])
    other = "audit" if own != "audit" else "executor"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(insert, [other])


def test_passwords_stand_nowhere_in_the_server_s_log(roles: Database) -> None:
    assert PASSWORD not in roles.log_path.read_text()


FOREIGN = {
    "everybody reads a table": ("GRANT SELECT ON ledger.posting TO PUBLIC", "PUBLIC may SELECT table ledger.posting"),
    "everybody uses a schema": ("GRANT USAGE ON SCHEMA audit TO PUBLIC", "PUBLIC may USAGE schema audit"),
    "everybody connects": ("GRANT CONNECT ON DATABASE fraud TO PUBLIC", "PUBLIC may CONNECT database fraud"),
    "everybody reads a column": (
        "GRANT SELECT (account_id) ON ledger.account TO PUBLIC",
        "PUBLIC may SELECT column ledger.account.account_id",
    ),
    "everybody reads what comes": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA ledger GRANT SELECT ON TABLES TO PUBLIC",
        "PUBLIC may SELECT future objects of fraud_owner",
    ),
    "a stranger reads a table": (
        "GRANT SELECT ON ledger.posting TO mallory",
        "mallory may SELECT table ledger.posting",
    ),
    "a role of ours in a group": (
        "GRANT pg_write_all_data TO fraud_reader",
        "fraud_reader is a member of pg_write_all",
    ),
    "a stranger in a role of ours": ("GRANT fraud_executor TO mallory", "mallory is a member of fraud_executor"),
    "an attribute": ("ALTER ROLE fraud_audit BYPASSRLS", "fraud_audit has the attribute BYPASSRLS"),
    "a stranger's attribute": ("ALTER ROLE mallory SUPERUSER", "mallory has the attribute SUPERUSER"),
    "a right to pass on": (
        "GRANT SELECT ON ledger.posting TO fraud_reader WITH GRANT OPTION",
        "fraud_reader may pass on SELECT of table ledger.posting",
    ),
}
ALTERED = {
    "a role of ours writes": "GRANT UPDATE ON ledger.posting TO fraud_reader",
    "another role appends": "GRANT INSERT ON control.person_grant TO fraud_review",
    "triggers by a parameter": "GRANT SET ON PARAMETER session_replication_role TO fraud_executor",
    "triggers by a setting": "ALTER ROLE fraud_review SET session_replication_role = 'replica'",
    "everybody's setting": "ALTER ROLE ALL SET work_mem = '1GB'",
    "the server's configuration": "GRANT ALTER SYSTEM ON PARAMETER archive_command TO fraud_reader",
    "the server's files": "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO fraud_reader",
    "passwords": "GRANT SELECT ON pg_catalog.pg_authid TO PUBLIC",
    "a trigger": "ALTER TABLE control.signed_act DISABLE TRIGGER check_signed_act",
    "all triggers": "ALTER TABLE ledger.posting DISABLE TRIGGER ALL",
    "row security": "ALTER TABLE control.consumer_position DISABLE ROW LEVEL SECURITY",
    "connections": "ALTER ROLE fraud_reader CONNECTION LIMIT -1",
    "a function's text": "CREATE OR REPLACE FUNCTION control.is_same_person(one text, other text) RETURNS boolean"
    " LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS 'SELECT false'",
    "a constraint": "ALTER TABLE ledger.account DROP CONSTRAINT overdraft_is_bounded",
}


@pytest.mark.parametrize("statement", ALTERED.values(), ids=ALTERED.keys())
def test_whatever_is_otherwise_than_the_migrations_made_it_is_found(roles: Database, statement: str) -> None:
    with psycopg.connect(roles.owner_url) as connection:
        connection.execute(statement.encode())
        assert [*differences(connection, OURS)] != []
        connection.rollback()
    assert foreign_rights(roles.owner_url) == []


UNDONE = (
    "REVOKE ALL ON ledger.posting FROM PUBLIC, mallory",
    "REVOKE GRANT OPTION FOR SELECT ON ledger.posting FROM fraud_reader",
    "REVOKE ALL ON SCHEMA audit FROM PUBLIC",
    "REVOKE ALL ON DATABASE fraud FROM PUBLIC",
    "REVOKE ALL (account_id) ON ledger.account FROM PUBLIC",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA ledger REVOKE ALL ON TABLES FROM PUBLIC",
    "REVOKE pg_write_all_data FROM fraud_reader",
    "REVOKE fraud_executor FROM mallory",
    "ALTER ROLE fraud_audit NOBYPASSRLS",
    "DROP ROLE mallory",
)


@pytest.mark.parametrize(("statement", "found"), FOREIGN.values(), ids=FOREIGN.keys())
def test_right_beyond_one_role_for_each_process_is_found(
    roles: Database, owner: psycopg.Connection, statement: str, found: str
) -> None:
    assert [] == foreign_rights(roles.owner_url)
    owner.execute("CREATE ROLE mallory")
    try:
        owner.execute(statement.encode())
        sentences = foreign_rights(roles.owner_url)
        is_expected = foreign_rights(roles.owner_url, ["mallory", "PUBLIC"]) == []
    finally:
        for each in UNDONE:
            owner.execute(each.encode())
    assert any(sentence.startswith(found) for sentence in sentences), sentences
    assert is_expected == (found.startswith("mallory")), "nobody expects everybody"
