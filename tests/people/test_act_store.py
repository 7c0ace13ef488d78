"""Acts in PostgreSQL, attacked: what a role's credential, or the owner's, is worth without a person's key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.domain.decision import Outcome
from pipeline.io.clock import now_ms
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, connect, failures_named
from pipeline.keys.key_files import SigningKey
from pipeline.people import stamp_service
from pipeline.people.act_store import RegistryReader, append_act, read_registry, sign_act
from pipeline.people.acts import ActKind, SignedAct
from pipeline.people.key_files import Identity
from pipeline.people.people_files import read_people, write_people
from pipeline.people.roles import GrantRefusal, Role
from pipeline.people.stamp_service import PeopleStamper
from pipeline.people.store import change_role, name_first_admin, register_key, revoke_key
from pipeline.people.verify_command import verify
from pipeline.people.watch_service import ActWatch
from pipeline.review.case_store import CaseFile, append_event
from pipeline.review.cases import Kind, ReviewRefusal, State, subject_of
from pipeline.review.desk_store import Acted, ReviewDesk
from pipeline.review.proof_store import void_reason
from tests.known import appoint, enrol, grant, identity, private_of, revoke
from tests.review.forged import append_forged, event_of, look
from tests.review.given import BLOCK, HOUR_MS, LARGE, RULES, SMALL
from tests.review.planted import plant
from tests.servers import url_as

STAMPING = SigningKey(Ed25519PrivateKey.generate())
INSERT_ACT = "INSERT INTO control.signed_act (content, signature) VALUES (%s, %s)"


@pytest.fixture
def people(owner: Connection) -> None:
    appoint(owner, {"ann": "REVIEWER", "ben": "REVIEWER", "sue": "SENIOR_REVIEWER"})


@pytest.fixture
def thief(database_url: str, people: None) -> Iterator[Connection]:
    """Whoever has got hold of the review role's credential, and of nobody's key."""
    with closing(connect(url_as(database_url, "fraud_review"), "thief")) as connection:
        yield connection


@pytest.fixture
def desk(thief: Connection) -> ReviewDesk:
    return ReviewDesk(thief, RULES, now_ms)


def case_of(connection: Connection, case=SMALL) -> CaseFile:
    at_ms = now_ms()
    names = {"decision_id": str(uuid4()), "transaction_id": f"tx-{uuid4()}"}
    case = case._replace(**names, opened_at_ms=at_ms, expires_at_ms=at_ms + HOUR_MS)
    plant(connection, case)
    return look(connection, case.decision_id)


def test_a_row_in_somebodys_name_without_their_act_is_refused(thief: Connection) -> None:
    file = case_of(thief)
    for kind in (Kind.CLAIMED, Kind.PROPOSED, Kind.DECIDED):
        judged = {} if kind is Kind.CLAIMED else {"outcome": Outcome.ALLOW, "reason": "because"}
        with pytest.raises(psycopg.errors.CheckViolation, match="has not signed"):
            append_event(thief, file.case, event_of(file, kind, "ann", **judged))


def test_a_forged_outcome_counts_as_nothing_and_the_case_is_open_again(thief: Connection, desk: ReviewDesk) -> None:
    file = append_forged(thief, case_of(thief), Kind.CLAIMED, "ann")
    file = append_forged(thief, file, Kind.DECIDED, "ann", outcome=Outcome.ALLOW, reason="because")
    assert file.standing.state is State.DECIDED, "the database can't tell"
    assert "its signature is false" == void_reason(thief, read_registry(thief), file, RULES)


@pytest.mark.parametrize("kind", ["PUBLISHED", "VOIDED", "DECLINED", "RELEASED"])
def test_nobody_writes_an_event_that_no_case_can_have(thief: Connection, kind: str) -> None:
    """It would end the service that reads it."""
    file = case_of(thief)
    event = event_of(file, Kind(kind), "system:review")._replace(reason="because")
    event = event._replace(outcome=Outcome.BLOCK) if kind == "DECLINED" else event
    with pytest.raises(psycopg.errors.CheckViolation):
        append_event(thief, file.case, event)


def test_a_forged_claim_keeps_nobody_out(thief: Connection, desk: ReviewDesk) -> None:
    file = append_forged(thief, case_of(thief), Kind.CLAIMED, "ann")
    acted = desk.claim(file.case.decision_id, identity("ben"))
    assert isinstance(acted, Acted)
    assert ["OPENED", "CLAIMED", "VOIDED", "CLAIMED"] == [event.kind for event in acted.file.events]


def test_a_true_act_counts_for_its_own_row_only(thief: Connection, desk: ReviewDesk) -> None:
    """A stored signature replayed on another case, another round, another outcome, or once more."""
    first, second = case_of(thief), case_of(thief)
    claimed = desk.claim(first.case.decision_id, identity("ann"))
    assert isinstance(claimed, Acted)
    desk.claim(second.case.decision_id, identity("ann"))
    decided = desk.judge(first.case.decision_id, identity("ann"), BLOCK)
    assert isinstance(decided, Acted)
    replayed = decided.event
    for event in (replayed, replayed._replace(outcome=Outcome.ALLOW), replayed._replace(reason="another")):
        with pytest.raises(psycopg.errors.CheckViolation, match="something else"):
            append_event(thief, second.case, event)
    with pytest.raises(psycopg.errors.CheckViolation):
        append_event(thief, second.case, replayed._replace(actor="sue"))


def test_an_act_is_used_once(thief: Connection, desk: ReviewDesk, owner: Connection) -> None:
    file = case_of(thief)
    claimed = desk.claim(file.case.decision_id, identity("ann"))
    assert isinstance(claimed, Acted)
    row = owner.execute("SELECT content, signature FROM control.signed_act ORDER BY sequence DESC LIMIT 1").fetchone()
    with pytest.raises(psycopg.errors.UniqueViolation):
        thief.execute(INSERT_ACT.encode(), row)
    with owner.transaction(force_rollback=True):
        owner.execute("SET LOCAL session_replication_role = replica")
        with pytest.raises(psycopg.errors.UniqueViolation):
            owner.execute(
                b"INSERT INTO review.case_event (decision_id, round, sequence, kind, actor, at, claimed_until, act)"
                b" SELECT decision_id, round, 9, kind, actor, at, claimed_until, act FROM review.case_event"
                b" WHERE act IS NOT NULL"
            )


def test_an_edited_reason_is_found_though_the_owner_edits_it(
    thief: Connection, desk: ReviewDesk, owner: Connection
) -> None:
    file = case_of(thief)
    desk.claim(file.case.decision_id, identity("ann"))
    desk.judge(file.case.decision_id, identity("ann"), BLOCK)
    assert verify(owner, None).faults == []
    for change in (
        "outcome = 'ALLOW'",
        "reason = 'another'",
        "actor = 'ben'",
        "act = NULL",
        "at = at + interval '1 s'",
    ):
        with owner.transaction(force_rollback=True):
            owner.execute("SET LOCAL session_replication_role = replica")
            owner.execute(f"UPDATE review.case_event SET {change} WHERE kind = 'DECIDED'".encode())
            changed = look(owner, file.case.decision_id)
            assert void_reason(owner, read_registry(owner), changed, RULES) is not None
            [fault] = verify(owner, None).faults
            assert ("review.case_event", True) == (fault.of_table, file.case.decision_id in fault.place)


def test_one_person_does_not_decide_what_takes_two_though_they_write_the_rows(
    thief: Connection, desk: ReviewDesk
) -> None:
    """A reviewer who has the database's credential beside their own key."""
    file = case_of(thief, LARGE)
    desk.claim(file.case.decision_id, identity("ann"))
    file = look(thief, file.case.decision_id)
    event = event_of(file, Kind.DECIDED, "ann", outcome=Outcome.ALLOW, reason="because")
    by, registry = identity("ann"), read_registry(thief)
    act = sign_act(thief, by, ActKind.CASE_DECIDED, subject_of(file.case, event), registry)
    append_event(thief, file.case, event._replace(act=act))
    file = look(thief, file.case.decision_id)
    assert "two people must decide it" == void_reason(thief, registry, file, RULES)


def test_a_proposal_is_not_confirmed_by_its_author_nor_by_a_junior(thief: Connection, desk: ReviewDesk) -> None:
    file = case_of(thief, LARGE)
    desk.claim(file.case.decision_id, identity("ann"))
    desk.judge(file.case.decision_id, identity("ann"), BLOCK)
    file = look(thief, file.case.decision_id)
    for name in ("ann", "ben"):
        event = event_of(file, Kind.DECIDED, name, outcome=Outcome.BLOCK, reason="because")
        subject, registry = subject_of(file.case, event), read_registry(thief)
        event = event._replace(act=sign_act(thief, identity(name), ActKind.CASE_DECIDED, subject, registry))
        with pytest.raises(psycopg.errors.CheckViolation):
            append_event(thief, file.case, event)


def test_a_role_that_is_given_anew_revives_no_claim_and_no_proposal(
    thief: Connection, desk: ReviewDesk, owner: Connection
) -> None:
    claimed, proposed = case_of(thief), case_of(thief, LARGE)
    desk.claim(claimed.case.decision_id, identity("ann"))
    desk.claim(proposed.case.decision_id, identity("ann"))
    desk.judge(proposed.case.decision_id, identity("ann"), BLOCK)
    revoke(owner, "ann", "REVIEWER")
    grant(owner, "ann", "REVIEWER")
    judged = look(thief, claimed.case.decision_id)
    event = event_of(judged, Kind.DECIDED, "ann", outcome=Outcome.BLOCK, reason=BLOCK.reason)
    act = sign_act(thief, identity("ann"), ActKind.CASE_DECIDED, subject_of(judged.case, event), read_registry(thief))
    with pytest.raises(psycopg.errors.CheckViolation, match="claimed before"):
        append_event(thief, judged.case, event._replace(act=act))
    assert isinstance(desk.claim(claimed.case.decision_id, identity("ben")), Acted)
    assert not isinstance(desk.judge(proposed.case.decision_id, identity("sue"), BLOCK), Acted)
    assert look(thief, proposed.case.decision_id).standing.state is State.OPEN


@pytest.mark.parametrize("how", ["role", "key"])
def test_revocation_voids_a_claim_and_a_proposal(
    thief: Connection, desk: ReviewDesk, owner: Connection, how: str
) -> None:
    claimed, proposed = case_of(thief), case_of(thief, LARGE)
    desk.claim(claimed.case.decision_id, identity("ann"))
    desk.claim(proposed.case.decision_id, identity("ann"))
    desk.judge(proposed.case.decision_id, identity("ann"), BLOCK)
    if how == "role":
        revoke(owner, "ann", "REVIEWER")
    else:
        assert revoke_key(owner, identity("ann").key_id, "it was copied", identity("ada")) is None
    taken = desk.claim(claimed.case.decision_id, identity("ben"))
    assert isinstance(taken, Acted)
    answered = desk.judge(proposed.case.decision_id, identity("sue"), BLOCK)
    assert not isinstance(answered, Acted), "a proposal of nobody is confirmed by nobody"
    assert look(thief, proposed.case.decision_id).standing.state is State.OPEN


def test_what_was_signed_before_a_revocation_is_not_stored_after_it(thief: Connection, owner: Connection) -> None:
    file = case_of(thief)
    event = event_of(file, Kind.CLAIMED, "ann")
    signed = identity("ann").sign(
        ActKind.CASE_CLAIMED, subject_of(file.case, event), server_now_ms(thief), read_registry(thief).root
    )
    assert revoke_key(owner, identity("ann").key_id, "it was copied", identity("ada")) is None
    with pytest.raises(psycopg.errors.CheckViolation, match="revoked"):
        append_act(thief, signed)


def test_what_was_stored_before_a_revocation_is_not_used_after_it(thief: Connection, owner: Connection) -> None:
    file = case_of(thief)
    event = event_of(file, Kind.CLAIMED, "ann")
    registry = read_registry(thief)
    act = sign_act(thief, identity("ann"), ActKind.CASE_CLAIMED, subject_of(file.case, event), registry)
    revoke(owner, "ann", "REVIEWER")
    with pytest.raises(psycopg.errors.CheckViolation):
        append_event(thief, file.case, event._replace(act=act))


@pytest.mark.parametrize(
    "column", ["digest", "kind", "is_of_registry", "name", "key_id", "at", "recorded_at", "sequence"]
)
def test_a_service_writes_no_column_that_the_database_fills(thief: Connection, column: str) -> None:
    statement = f"INSERT INTO control.signed_act ({column}, content, signature) OVERRIDING SYSTEM VALUE"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        thief.execute(f"{statement} SELECT {column}, content, signature FROM control.signed_act".encode())


@pytest.mark.parametrize("minutes", [-6, 6])
def test_an_act_is_stored_when_it_is_made(thief: Connection, minutes: int) -> None:
    at_ms = server_now_ms(thief) + minutes * 60_000
    signed = identity("ann").sign(ActKind.CASE_CLAIMED, {}, at_ms, read_registry(thief).root)
    with pytest.raises(psycopg.errors.CheckViolation, match="when it is made"):
        append_act(thief, signed)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_nobody_dates_an_outcome_before_the_expiry_or_after(thief: Connection, minutes: int) -> None:
    file = case_of(thief)
    event = event_of(file, Kind.CLAIMED, "ann")
    event = event._replace(at_ms=event.at_ms + minutes * 60_000)
    subject = subject_of(file.case, event)
    act = sign_act(thief, identity("ann"), ActKind.CASE_CLAIMED, subject, read_registry(thief))
    with pytest.raises(psycopg.errors.CheckViolation, match="when it is made"):
        append_event(thief, file.case, event._replace(act=act))


def test_a_person_revokes_their_own_key_and_no_other(owner: Connection, people: None) -> None:
    assert revoke_key(owner, identity("ben").key_id, "mine", identity("ann")) is GrantRefusal.NOT_AN_ADMIN
    assert revoke_key(owner, identity("ann").key_id, "mine", identity("ann")) is None
    assert revoke_key(owner, identity("ada").key_id, "mine", identity("ada")) is GrantRefusal.LAST_ADMIN
    assert [] == verify(owner, None).faults


def test_an_act_of_another_registry_is_not_stored(thief: Connection) -> None:
    signed = identity("ann").sign(ActKind.CASE_CLAIMED, {}, server_now_ms(thief), "0" * 64)
    with pytest.raises(psycopg.errors.CheckViolation, match="another registry"):
        append_act(thief, signed)


def test_an_act_with_an_unregistered_key_is_not_stored(thief: Connection) -> None:
    signed = identity("mallory").sign(ActKind.CASE_CLAIMED, {}, server_now_ms(thief), read_registry(thief).root)
    with pytest.raises(psycopg.errors.CheckViolation, match="not registered"):
        append_act(thief, signed)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"act": "CASE_CLAIMED"}', "\\"])
def test_what_is_no_act_is_not_stored(thief: Connection, content: str) -> None:
    with pytest.raises(psycopg.Error):
        append_act(thief, SignedAct(content, bytes(64)))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO control.person_grant (name, role, is_held, granted_by) VALUES ('eve', 'ADMIN', true, 'ada')",
        "INSERT INTO control.person (folded, name) VALUES ('eve', 'eve')",
        "INSERT INTO control.person_key (key_id, name, public, act) VALUES ('', 'ann', '', '')",
        "INSERT INTO control.key_revocation (key_id, reason, act) VALUES ('', '', '')",
        "UPDATE control.signed_act SET signature = signature",
        "DELETE FROM control.signed_act",
    ],
)
def test_a_service_changes_nothing_of_who_people_are(thief: Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        thief.execute(statement.encode())


def test_a_service_stores_no_act_of_the_registry_though_an_admin_signed_it(thief: Connection) -> None:
    registry = read_registry(thief)
    subject = {"name": "eve", "role": "ADMIN", "previous": registry.head}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sign_act(thief, identity("ada"), ActKind.ROLE_GRANTED, subject, registry)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO control.person_grant (name, role, is_held, granted_by) VALUES ('eve', 'ADMIN', true, 'ada')",
        "INSERT INTO control.person_grant (name, role, is_held, granted_by, act)"
        " SELECT 'eve', 'ADMIN', true, 'ada', digest FROM control.signed_act WHERE kind = 'FIRST_ADMIN'",
        "INSERT INTO control.person_grant (name, role, is_held, granted_by, act)"
        " SELECT 'ben', 'ADMIN', true, 'ada', digest FROM control.signed_act WHERE kind = 'ROLE_GRANTED' LIMIT 1",
    ],
)
def test_even_the_owner_grants_nothing_that_no_admin_signed(owner: Connection, people: None, statement: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="nobody has signed"):
        owner.execute(statement.encode())
    with suppress(psycopg.errors.UniqueViolation), owner.transaction():  # an act stands for one grant
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(statement.encode())
    registry = read_registry(owner)
    assert (frozenset(), frozenset()) == (registry.person("eve").roles, registry.person("ben").roles - {Role.REVIEWER})
    assert registry.broken is None


def test_an_owner_with_a_grant_that_nobody_signed_gets_no_further_than_the_database(
    owner: Connection, people: None, thief: Connection
) -> None:
    """The triggers believe the row, whoever acts on it does not."""
    enrol(owner, "eve")
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(
            b"INSERT INTO control.person_grant (name, role, is_held, granted_by, act) SELECT 'eve', 'REVIEWER', true,"
            b" 'ada', digest FROM control.signed_act ORDER BY sequence DESC LIMIT 1"
        )
    file = case_of(thief)
    event = event_of(file, Kind.CLAIMED, "eve")
    registry = read_registry(thief)
    with thief.transaction():
        act = sign_act(thief, identity("eve"), ActKind.CASE_CLAIMED, subject_of(file.case, event), registry)
        append_event(thief, file.case, event._replace(act=act))
    file = look(thief, file.case.decision_id)
    assert "its author did not hold the role" == void_reason(thief, registry, file, RULES)
    named = ["control.person_grant", "review.case_event"]
    assert named == [fault.of_table for fault in verify(owner, None).faults]


def test_an_admin_does_not_appoint_themselves_under_another_spelling(owner: Connection, people: None) -> None:
    for name in ("Ada", "ADA"):
        assert change_role(owner, name, Role.REVIEWER, identity("ada"), is_held=True) is GrantRefusal.OWN_ROLE
        assert register_key(owner, name, identity(name).claim(), identity("ada")) is GrantRefusal.SPELT_OTHERWISE
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute("INSERT INTO control.person (folded, name) VALUES ('ada', 'Ada')")
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute("INSERT INTO control.person (folded, name) VALUES ('Ada', 'Ada')")


def test_the_first_admin_is_named_once(owner: Connection, people: None) -> None:
    assert name_first_admin(owner, identity("eve")) is GrantRefusal.ADMIN_ALREADY
    at_ms = server_now_ms(owner)
    claimed = identity("eve").claim()
    subject = {"name": "eve", "public": claimed.public.hex(), "possession": claimed.possession.hex(), "previous": ""}
    with pytest.raises(psycopg.Error):
        append_act(owner, identity("eve").sign(ActKind.FIRST_ADMIN, subject, at_ms, ""))


def test_nobody_is_named_first_without_the_owners_rights(database_url: str) -> None:
    with (
        closing(connect(url_as(database_url, "fraud_review"), "thief")) as thief,
        pytest.raises(DatabaseRefused),
        failures_named(),
    ):
        name_first_admin(thief, identity("ada"))


def test_rows_that_the_triggers_believe_and_nobody_signed_are_found(owner: Connection, people: None) -> None:
    for change in (
        "UPDATE control.person_grant SET role = 'ADMIN' WHERE name = 'ann'",
        "UPDATE control.person_grant SET act = NULL WHERE name = 'ann'",
        "UPDATE control.person_key SET name = 'ben' WHERE name = 'ann'",
        "INSERT INTO control.key_revocation (key_id, reason, act) SELECT key_id, 'gone', act FROM control.person_key"
        " WHERE name = 'ann'",
    ):
        with owner.transaction(force_rollback=True):
            owner.execute("SET LOCAL session_replication_role = replica")
            owner.execute(change.encode())
            [fault] = verify(owner, None).faults
            assert "no act that counts has made it" == fault.why


def test_a_revocation_that_the_owner_spoils_ends_all_authority_and_is_told_once(
    owner: Connection, people: None, thief: Connection, desk: ReviewDesk
) -> None:
    file = case_of(thief)
    assert isinstance(desk.claim(file.case.decision_id, identity("ann")), Acted)
    revoke(owner, "ben", "REVIEWER")
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.signed_act SET signature = %s WHERE kind = 'ROLE_REVOKED'", [bytes(64)])
    refused = ReviewDesk(thief, RULES, now_ms).claim(file.case.decision_id, identity("ann"))
    assert refused is ReviewRefusal.NOT_AUTHORISED
    assert frozenset() == read_registry(owner).person("ann").roles | read_registry(owner).person("ben").roles
    assert change_role(owner, "ann", Role.OPERATOR, identity("ada"), is_held=True) is GrantRefusal.BROKEN
    watched, _ = ActWatch().look(owner)
    assert ["ROLE_REVOKED"] == [each.kind for each in watched]


def test_who_has_read_the_registry_notices_when_its_end_is_exchanged(owner: Connection, people: None) -> None:
    reader = RegistryReader()
    assert reader.read(owner).person("ben").holds(Role.REVIEWER)
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        last = "(SELECT digest FROM control.signed_act ORDER BY sequence DESC LIMIT 1)"
        owner.execute(f"DELETE FROM control.person_grant WHERE act = {last}".encode())
        owner.execute(f"DELETE FROM control.signed_act WHERE digest = {last}".encode())
    revoke(owner, "ben", "REVIEWER")
    assert reader.read(owner).broken is not None


def put_back(owner: Connection, acts: int) -> None:
    """As a database is that was restored from a copy which lacks the last acts: what comes gets their numbers."""
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        last = f"(SELECT digest FROM control.signed_act ORDER BY sequence DESC LIMIT {acts})"
        owner.execute(f"DELETE FROM control.person_grant WHERE act IN {last}".encode())
        owner.execute(f"DELETE FROM control.signed_act WHERE digest IN {last}".encode())
        owner.execute(
            "SELECT setval(pg_get_serial_sequence('control.signed_act', 'sequence'), max(sequence))"
            " FROM control.signed_act"
        )


def test_who_goes_on_beside_a_database_that_was_put_back_hears_of_what_comes(
    owner: Connection, people: None, database_url: str
) -> None:
    """The next revocation takes a number that was read before the restore."""
    reader, watch = RegistryReader(), ActWatch()
    assert reader.read(owner).person("ben").holds(Role.REVIEWER)
    while watch.look(owner)[1]:
        pass
    put_back(owner, 1)
    revoke(owner, "ben", "REVIEWER")
    with closing(connect(database_url, "test")) as again:
        registry = reader.read(again)
        assert (registry.broken, registry.person("ben").roles) == (None, frozenset())
        before = watch.looked_at
        assert watch.look(again)[1]
        assert watch.looked_at > before
    assert reader.read(owner) == registry


def test_acts_that_a_restore_has_lost_are_told_and_the_file_that_has_them_is_kept(
    owner: Connection, people: None, tmp_path: Path
) -> None:
    """Else whoever was revoked since the backup could act again, and a new stamp would say so as of now."""
    revoke(owner, "ben", "REVIEWER")
    file = tmp_path / "people"
    PeopleStamper(file, STAMPING.key_id, STAMPING.sign).step(owner)
    kept = file.read_bytes()
    assert verify(owner, None, file).faults == []
    put_back(owner, 1)
    assert read_registry(owner).person("ben").holds(Role.REVIEWER)
    PeopleStamper(file, STAMPING.key_id, STAMPING.sign).step(owner)
    assert file.read_bytes() == kept
    [fault] = verify(owner, None, file).faults
    assert "the database has lost it: ROLE_REVOKED, name ben role REVIEWER" in fault.why
    revoke(owner, "ben", "REVIEWER")  # made again, it is another act
    file.unlink()
    PeopleStamper(file, STAMPING.key_id, STAMPING.sign).step(owner)
    assert read_people(file).registry == read_registry(owner)


def test_a_stamper_that_was_there_before_the_restore_keeps_the_file_too(
    owner: Connection, people: None, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamp_service, "STAMP_INTERVAL_S", 0.0)
    file = tmp_path / "people"
    stamper = PeopleStamper(file, STAMPING.key_id, STAMPING.sign)
    revoke(owner, "ben", "REVIEWER")
    stamper.step(owner)
    kept = file.read_bytes()
    assert stamper.lost is None
    put_back(owner, 1)
    with closing(connect(database_url, "test")) as again:
        stamper.step(again)
        assert stamper.lost is not None, "the review service is not ready"
        assert file.read_bytes() == kept
        file.unlink()
        stamper.step(again)
    assert stamper.lost is None


def test_a_file_of_another_registry_or_of_nobody_is_replaced(owner: Connection, people: None, tmp_path: Path) -> None:
    file = tmp_path / "people"
    for there in ("", "rubbish\n"):
        file.write_text(there)
        PeopleStamper(file, STAMPING.key_id, STAMPING.sign).step(owner)
        assert read_people(file).registry == read_registry(owner)
    other = Identity("eve", private_of("eve"))
    claim = {"public": other.claim().public.hex(), "possession": other.claim().possession.hex()}
    first = other.sign(ActKind.FIRST_ADMIN, {"name": "eve", "previous": "", **claim}, now_ms(), "")
    write_people(file, [first])
    PeopleStamper(file, STAMPING.key_id, STAMPING.sign).step(owner)
    assert read_people(file).registry == read_registry(owner)


def test_verify_says_when_the_root_is_another(owner: Connection, people: None) -> None:
    found = verify(owner, "0" * 64)
    assert ["FIRST_ADMIN"] == [fault.place for fault in found.faults]
    assert [] == verify(owner, found.root).faults
