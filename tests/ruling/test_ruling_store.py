"""Four eyes on a ruling, as the database holds them, and what whoever has a role's credential alone gains: nothing."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import DatabaseRefused, connect
from pipeline.people.act_store import append_act, read_registry
from pipeline.people.verify_command import verify
from pipeline.ruling.acts import Verdict, about_of, confirmation, proposal
from pipeline.ruling.proved_store import PROOFS_A_LOOK, StatementWords
from pipeline.ruling.ruling_store import _SQL, RulingRefused, append_proposal, confirm, read_proposals, waiting_doubts
from tests.execute.given import PAYEE, PAYER, decision, execution_of
from tests.known import identity, revoke
from tests.ruling.given import appoint, doubt, forgotten, ruled, ruling_on
from tests.servers import url_as


@pytest.fixture
def paid(owner, desk, rail_of):
    """A payment that the rail has forgotten, and the desk that found out."""
    appoint(owner)
    desk.open(GB29_0001=10_000)
    record = decision()
    with forgotten(desk, rail_of(), record) as second:
        yield second, record


@pytest.fixture
def connection(paid):
    return paid[0].as_role("fraud_rollback")


@pytest.fixture
def ruling(paid):
    return ruling_on(doubt(*paid), Verdict.MADE)


def test_what_one_proposes_and_another_confirms_is_a_ruling(connection, ruling, owner):
    ruled(connection, ruling)
    [found] = read_proposals(connection, 10)
    assert (ruling, "rob", "ada", None) == (found.ruling, found.proposed_by, found.confirmed_by, found.taken_sequence)
    assert [] == verify(owner, None).faults


def test_the_doubt_is_shown_as_the_ledger_has_it(paid, connection):
    desk, record = paid
    [found] = waiting_doubts(connection, 10)
    assert found == doubt(desk, record)
    assert (found.step, found.attempt, found.amount_minor, found.debtor_account_id) == ("SUBMIT", 1, 700, PAYER)
    assert found.execution_id == execution_of(record)


@pytest.mark.parametrize("by", ["eve", "Eve", "EVE", "\uff45\uff56\uff45", "rob", "ana", "bob", "eve "])
def test_nobody_but_another_approver_confirms(connection, ruling, by):
    append_proposal(connection, ruling, identity("eve"))
    with pytest.raises(RulingRefused):
        confirm(connection, ruling, identity(by))
    assert [None] == [each.confirmed_by for each in read_proposals(connection, 10)]


def test_only_a_requester_proposes_and_says_why_and_by_what(connection, ruling):
    with pytest.raises(RulingRefused, match="ROLLBACK_REQUESTER"):
        append_proposal(connection, ruling, identity("ada"))
    for short in (ruling._replace(reason=" \t\n" * 20), ruling._replace(evidence=" a ")):
        with pytest.raises(RulingRefused, match="too short"):
            append_proposal(connection, short, identity("rob"))


def test_revocation_voids_what_is_pending(connection, ruling, owner):
    append_proposal(connection, ruling, identity("rob"))
    revoke(owner, "rob", "ROLLBACK_REQUESTER", admin="ana")
    with pytest.raises(RulingRefused, match="no ROLLBACK_REQUESTER any more"):
        confirm(connection, ruling, identity("ada"))


def test_proposal_expires_by_the_servers_clock(connection, ruling, owner):
    append_proposal(connection, ruling, identity("rob"))
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.ruling_proposal SET expires_at = now() - interval '1 second'")
    with pytest.raises(RulingRefused, match="expired"):
        confirm(connection, ruling, identity("ada"))


CHANGES = {
    "another amount": {"amount_minor": 699},
    "another currency": {"currency": "EUR"},
    "another key": {"key": str(uuid4())},
    "another attempt": {"attempt": 2},
    "its recall": {"step": "RECALL"},
    "another payee": {"creditor_account_id": "GB29-0666"},
    "another payer": {"debtor_account_id": "GB29-0666"},
    "another step": {"sequence": 3},
    "another payment": {"execution_id": str(uuid4())},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nobody_rules_on_anything_else_than_the_doubt(connection, ruling, change):
    with pytest.raises(RulingRefused, match="not in this one"):
        append_proposal(connection, ruling._replace(about=ruling.about._replace(**change)), identity("rob"))


def test_what_is_confirmed_is_what_was_proposed(connection, ruling):
    append_proposal(connection, ruling, identity("rob"))
    for other in ({"verdict": Verdict.NOT_MADE}, {"reason": "somebody else's reason"}, {"evidence": "none at all"}):
        with pytest.raises(RulingRefused, match="signed something else"):
            confirm(connection, ruling._replace(**other), identity("ada"))


def test_a_ruling_is_confirmed_once(connection, ruling):
    ruled(connection, ruling)
    with pytest.raises(RulingRefused, match="before"):
        confirm(connection, ruling, identity("eve"))


def test_a_line_is_not_ruled_made_and_a_doubt_not_accounted_for(connection, ruling):
    with pytest.raises(RulingRefused):
        append_proposal(connection, ruling._replace(verdict=Verdict.ACCOUNTED_FOR), identity("rob"))


def state(owner, ruling, creditor=None):
    """Have a statement name the payment's key, and perhaps whom it paid."""
    owner.execute(
        "WITH stated AS (INSERT INTO control.rail_statement (account_id, currency, sequence, name, format, from_at,"
        " to_at, opening_minor, closing_minor, entries, file_sha256) VALUES ('A', 'GBP', 1, 'S', 'csv', now(), now(),"
        " 0, -700, 1, sha256('s')) RETURNING statement_number)"
        " INSERT INTO control.rail_entry (statement_number, number, kind, key, amount_minor, creditor_account_id)"
        " SELECT statement_number, 1, 'TRANSFER', %s, -700, %s FROM stated",
        [ruling.about.key, creditor],
    )


@pytest.mark.parametrize("creditor", [None, PAYEE])
def test_a_payment_that_a_statement_has_was_made(connection, ruling, owner, creditor):
    other = ruling._replace(verdict=Verdict.NOT_MADE)
    append_proposal(connection, other, identity("rob"))
    state(owner, ruling, creditor)
    with pytest.raises(RulingRefused, match="a statement of the rail says that it was made"):
        confirm(connection, other, identity("ada"))
    ruled(connection, ruling_on(ruling.about, Verdict.MADE))


def test_a_line_that_names_another_payee_is_no_word_that_it_was_made(connection, ruling, owner):
    """Somebody took the key. Ruled as made, the payee would have what the rail gave to another."""
    state(owner, ruling, "GB29-0666")
    ruled(connection, ruling_on(ruling.about, Verdict.NOT_MADE))
    assert owner.execute("SELECT is_contradicted FROM control.confirmed_ruling").fetchall() == [(False,)]


def test_a_statement_that_was_made_up_keeps_nobody_from_a_ruling_once_it_is_disowned(connection, ruling, owner):
    """By the credential of whoever takes statements in, which signs nothing, the money stood in clearing for ever."""
    state(owner, ruling, PAYEE)
    made_up = StatementWords().statement(connection, 1)
    assert made_up is not None
    ruled(connection, ruling_on(made_up, Verdict.DISOWNED))
    ruled(connection, ruling_on(ruling.about, Verdict.NOT_MADE))
    known = owner.execute("SELECT is_contradicted FROM control.confirmed_ruling WHERE verdict = 'NOT_MADE'").fetchall()
    assert known == [(False,)]
    assert [] == verify(owner, None).faults


def test_rows_that_nobody_signed_disown_no_statement_that_says_it_was_made(paid, connection, ruling, owner):
    """Else a payer who has the credential of fraud_rollback gets back what the rail has paid."""
    desk, record = paid
    ruled(connection, ruling_on(ruling.about, Verdict.NOT_MADE))
    state(owner, ruling, PAYEE)
    statement = StatementWords().statement(connection, 1)
    assert statement is not None
    forge(connection, ruling_on(statement, Verdict.DISOWNED))
    assert desk.retry() == 1
    assert desk.state(record) == "IN_DOUBT"
    with pytest.raises(RulingRefused, match="a statement of the rail says that it was made"):
        append_proposal(connection, ruling_on(ruling.about, Verdict.NOT_MADE), identity("rob"))
    ruled(connection, ruling_on(statement, Verdict.DISOWNED))
    assert desk.retry() == 0
    assert desk.state(record) == "RELEASED"


@pytest.mark.parametrize("role", ["fraud_audit", "fraud_executor", "fraud_review", "fraud_reconcile", "fraud_reader"])
def test_no_service_rules(database_url, ruling, role):
    with closing(connect(url_as(database_url, role), "test")) as service:
        for act in (append_proposal, confirm):
            with pytest.raises((DatabaseRefused, RulingRefused)):
                act(service, ruling, identity("rob"))
        for table in ("control.ruling_proposal", "control.ruling"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute(f"INSERT INTO {table} (ruling_id) VALUES (gen_random_uuid())".encode())


def forge(connection, ruling):
    """By whoever holds the role's credential: both acts name people's keys, and are signed with nothing."""
    root = read_registry(connection).root
    fields = {
        "ruling_id": ruling.ruling_id,
        "about": about_of(ruling).value,
        "subject": Jsonb(ruling.about._asdict()),
        "verdict": ruling.verdict.value,
        "evidence": ruling.evidence,
        "reason": ruling.reason,
    }
    for statement, expected in (("append_proposal", proposal(ruling, "rob")), ("confirm", confirmation(ruling, "ada"))):
        signed = identity(expected.name).sign(expected.kind, expected.subject, server_now_ms(connection), root)
        append_act(connection, signed._replace(signature=bytes(64)))
        connection.execute(_SQL[statement], {**fields, "by": expected.name, "act": signed.digest})


def test_what_nobody_signed_moves_nothing_and_keeps_nobody_from_ruling(paid, connection, ruling, owner):
    desk, record = paid
    forge(connection, ruling)
    assert desk.retry() == 1
    assert desk.state(record) == "IN_DOUBT"
    named = {"control.ruling", "control.ruling_proposal", "control.signed_act"}
    assert named == {fault.of_table for fault in verify(owner, None).faults}
    ruled(connection, ruling_on(ruling.about, Verdict.NOT_MADE))
    forge(connection, ruling_on(ruling.about, Verdict.MADE))
    assert desk.retry() == 0
    assert desk.state(record) == "RELEASED"


def test_rows_that_nobody_signed_hold_nobody_up(paid, connection, ruling):
    """However many there are, a look proves so many, and comes to the one that two people have signed."""
    desk, record = paid
    ruled(connection, ruling)
    for _ in range(PROOFS_A_LOOK + 1):
        forge(connection, ruling_on(ruling.about, Verdict.NOT_MADE))
    assert [1, 0] == [desk.retry(), desk.retry()]
    assert desk.state(record) == "SETTLED"


def test_nobody_says_the_number_of_a_ruling_but_the_database(paid, connection, ruling):
    """Else a thief of the role's credential takes those that are to come, and nobody's confirmation is stored."""
    fields = {"ruling_id": ruling.ruling_id, "number": 2**62}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(
            "INSERT INTO control.ruling (ruling_id, number, confirmed_by, act) OVERRIDING SYSTEM VALUE"
            " VALUES (%(ruling_id)s, %(number)s, 'ada', sha256('act'))",
            fields,
        )
