"""Four eyes on a quarantine, as the database holds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID, uuid4

import psycopg
import pytest

from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, connect
from pipeline.people.act_store import append_act, read_registry
from pipeline.people.store import revoke_key
from pipeline.people.verify_command import verify
from pipeline.quarantine import put_aside_store
from pipeline.quarantine.acts import QuarantineSubject, confirmation, proposal
from pipeline.quarantine.put_aside_store import is_put_aside, statement_of
from pipeline.quarantine.quarantine_store import _SQL, QuarantineRefused, append_proposal, confirm, read_quarantines
from tests.known import grant, identity, revoke
from tests.quarantine.given import REASON, appoint, put_aside, subject
from tests.servers import url_as

VALUE = b"poison"
POISON = subject("decisions.v1", 0, 7, VALUE)


@pytest.fixture
def connection(database_url: str, owner: Connection) -> Iterator[Connection]:
    appoint(owner)
    with closing(connect(url_as(database_url, "fraud_rollback"), "test")) as connection:
        yield connection


def proposed(connection: Connection, by: str = "rob") -> str:
    quarantine_id = uuid4()
    append_proposal(connection, quarantine_id, POISON, identity(by), REASON)
    return str(quarantine_id)


def confirmed(connection: Connection, quarantine_id: str, by: str) -> None:
    confirm(connection, read_quarantines(connection, 1, quarantine_id)[0], identity(by))


def test_what_one_proposes_and_another_confirms_is_put_aside(connection: Connection) -> None:
    quarantine_id = put_aside(connection, POISON)
    [found] = read_quarantines(connection, 10)
    assert (quarantine_id, POISON, "rob", "ada") == (
        found.quarantine_id, found.subject, found.proposed_by, found.confirmed_by,
    )  # fmt: skip


@pytest.mark.parametrize("by", ["rob", "Rob", "ROB", "\uff52\uff4f\uff42", "ana", "bob", "rob "])
def test_nobody_but_another_approver_confirms(connection: Connection, owner: Connection, by: str) -> None:
    grant(owner, "rob", "ROLLBACK_APPROVER", admin="ana")
    quarantine_id = proposed(connection)
    with pytest.raises(QuarantineRefused):
        confirmed(connection, quarantine_id, by)
    assert [None] == [each.confirmed_by for each in read_quarantines(connection, 10)]


def test_only_a_requester_proposes_and_with_a_reason(connection: Connection) -> None:
    with pytest.raises(QuarantineRefused, match="ROLLBACK_REQUESTER"):
        proposed(connection, "ada")
    with pytest.raises(QuarantineRefused, match="reason"):
        append_proposal(connection, uuid4(), POISON, identity("rob"), " \t\n" * 20)


def test_revocation_voids_what_is_pending(connection: Connection, owner: Connection) -> None:
    quarantine_id = proposed(connection)
    revoke(owner, "rob", "ROLLBACK_REQUESTER", admin="ana")
    with pytest.raises(QuarantineRefused, match="no ROLLBACK_REQUESTER any more"):
        confirmed(connection, quarantine_id, "ada")


def test_proposal_expires_by_the_servers_clock_whatever_is_claimed(connection: Connection, owner: Connection) -> None:
    quarantine_id = proposed(connection)
    is_bounded = (
        "SELECT proposed_at <= now() AND expires_at <= now() + interval '24 hours' FROM control.quarantine_proposal"
    )
    assert (True,) == connection.execute(is_bounded.encode()).fetchone()
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.quarantine_proposal SET expires_at = now() - interval '1 second'")
    with pytest.raises(QuarantineRefused, match="expired"):
        confirmed(connection, quarantine_id, "ada")


def test_other_bytes_than_were_proposed_are_not_confirmed(connection: Connection) -> None:
    quarantine_id = proposed(connection)
    with pytest.raises(psycopg.errors.CheckViolation, match="as it was proposed"):
        connection.execute(
            "INSERT INTO control.quarantine VALUES ('decisions.v1', 0, 7, %s, sha256('other'), 'ada')",
            [UUID(quarantine_id)],
        )


def test_record_is_put_aside_once(connection: Connection) -> None:
    put_aside(connection, POISON)
    with pytest.raises(QuarantineRefused, match="before"):
        put_aside(connection, POISON)


@pytest.mark.parametrize("role", ["fraud_audit", "fraud_executor", "fraud_review", "fraud_reconcile", "fraud_reader"])
def test_no_service_puts_its_own_records_aside(database_url: str, owner: Connection, role: str) -> None:
    appoint(owner)
    with closing(connect(url_as(database_url, role), "test")) as service, pytest.raises(DatabaseRefused):
        put_aside(service, POISON)


def put_aside_by_nobody(connection: Connection) -> str:
    """By whoever holds the role's credential: both acts name people's keys, and are signed with nothing."""
    quarantine_id, root = str(uuid4()), read_registry(connection).root
    place = QuarantineSubject(quarantine_id, POISON.topic, POISON.partition, POISON.offset, POISON.record_sha256.hex())
    wanted = {
        "append_proposal": proposal(place, POISON.record_length, REASON, "rob"),
        "confirm": confirmation(place, "ada"),
    }
    for statement, expected in wanted.items():
        signed = identity(expected.name).sign(expected.kind, expected.subject, server_now_ms(connection), root)
        append_act(connection, signed._replace(signature=bytes(64)))
        values = {**POISON._asdict(), "quarantine_id": quarantine_id, "by": expected.name, "reason": REASON}
        connection.execute(_SQL[statement], {**values, "act": signed.digest})
    return quarantine_id


def forge_confirmation(connection: Connection, quarantine_id: str) -> None:
    """Of what somebody has really proposed."""
    place = QuarantineSubject(quarantine_id, POISON.topic, POISON.partition, POISON.offset, POISON.record_sha256.hex())
    expected, root = confirmation(place, "ada"), read_registry(connection).root
    signed = identity("ada").sign(expected.kind, expected.subject, server_now_ms(connection), root)
    append_act(connection, signed._replace(signature=bytes(64)))
    connection.execute(_SQL["confirm"], {"quarantine_id": quarantine_id, "by": "ada", "act": signed.digest})


def test_what_nobody_signed_puts_nothing_aside(connection: Connection, owner: Connection) -> None:
    place = POISON.topic, POISON.partition, POISON.offset
    put_aside_by_nobody(connection)
    assert statement_of(connection, *place, VALUE) is None
    assert not is_put_aside(owner, *place, VALUE)
    named = {"control.quarantine", "control.quarantine_proposal", "control.signed_act"}
    assert named == {fault.of_table for fault in verify(owner, None).faults}


def test_rows_that_nobody_signed_keep_nobody_from_putting_the_record_aside(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thief comes before both people, between them, and after them."""
    monkeypatch.setattr(put_aside_store, "ROWS_A_READ", 1)
    place = POISON.topic, POISON.partition, POISON.offset
    put_aside_by_nobody(connection)
    quarantine_id = proposed(connection)
    put_aside_by_nobody(connection)
    confirmed(connection, quarantine_id, "ada")
    put_aside_by_nobody(connection)
    said = statement_of(connection, *place, VALUE)
    assert said is not None
    assert json.loads(said)["quarantine_id"] == quarantine_id
    assert [quarantine_id] == [each.quarantine_id for each in read_quarantines(connection, 10) if each.is_proved]


def test_a_confirmation_that_nobody_signed_is_shown_as_that_and_another_proposal_helps(connection: Connection) -> None:
    forge_confirmation(connection, begun := proposed(connection))
    [found] = read_quarantines(connection, 1, begun)
    assert (found.confirmed_by, found.is_proved) == ("ada", False)
    with pytest.raises(QuarantineRefused, match="propose it anew"):
        confirm(connection, found, identity("ada"))
    put_aside(connection, POISON)
    assert statement_of(connection, POISON.topic, POISON.partition, POISON.offset, VALUE) is not None


def test_what_two_signed_stays_aside_though_they_leave(connection: Connection, owner: Connection) -> None:
    put_aside(connection, POISON)
    revoke(owner, "rob", "ROLLBACK_REQUESTER", admin="ana")
    assert revoke_key(owner, identity("ada").key_id, "she has left", identity("ana")) is None
    assert statement_of(connection, POISON.topic, POISON.partition, POISON.offset, VALUE) is not None
    assert [] == verify(owner, None).faults


def test_revocation_of_a_key_voids_what_is_pending(connection: Connection, owner: Connection) -> None:
    quarantine_id = proposed(connection)
    assert revoke_key(owner, identity("rob").key_id, "it was copied", identity("ana")) is None
    with pytest.raises(QuarantineRefused, match="their key was revoked"):
        confirmed(connection, quarantine_id, "ada")
