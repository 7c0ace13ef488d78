"""Two people's consent to a live drill, as the database holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from pipeline.drills.consent_store import (
    ConsentRefused,
    append_begin,
    append_consent,
    append_proposal,
    proved_consent,
    read_live_drills,
)
from pipeline.drills.consents import REFUSED_LIVE, SCOPES, LiveDrill, live_fault
from pipeline.drills.drills import DrillName
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, connect
from pipeline.people.act_store import append_act, read_registry
from pipeline.people.store import revoke_key
from pipeline.people.verify_command import verify
from tests.known import appoint, identity, revoke
from tests.servers import url_as

MINUTE_MS = 60_000
REASON = "the quarterly drill of the fourth quarter"


@pytest.fixture
def people(database_url: str, owner: Connection) -> Iterator[Connection]:
    appoint(owner, {"ann": "OPERATOR", "bob": "OPERATOR", "rev": "REVIEWER"})
    with closing(connect(url_as(database_url, "fraud_oncall"), "test")) as connection:
        yield connection


def live(connection: Connection, **changed: object) -> LiveDrill:
    now_ms = server_now_ms(connection)
    wanted = LiveDrill("0a1b2c3d", "slow-model", "all", 60, now_ms - MINUTE_MS, now_ms + MINUTE_MS, "pager", REASON)
    return wanted._replace(**changed)


def consented(people: Connection, **changed: object) -> LiveDrill:
    wanted = live(people, **changed)
    append_proposal(people, wanted, identity("ann"))
    append_consent(people, wanted, identity("bob"))
    return wanted


def test_what_two_people_consented_to_is_begun_once(people: Connection, owner: Connection) -> None:
    wanted = consented(people)
    [found] = read_live_drills(people, 10)
    assert (found.live, found.proposed_by, found.confirmed_by, found.begun_by) == (wanted, "ann", "bob", None)
    consent = proved_consent(owner, found)
    assert (consent.live, consent.proposed_by, consent.confirmed_by) == (wanted, "ann", "bob")
    append_begin(owner, wanted, identity("bob"))
    assert read_live_drills(people, 1, "0a1b2c3d")[0].begun_by == "bob"
    with pytest.raises(ConsentRefused, match="used once"):
        append_begin(owner, wanted, identity("ann"))


@pytest.mark.parametrize("by", ["ann", "Ann", "ANN", "rev", "nobody"])
def test_nobody_but_another_operator_confirms(people: Connection, by: str) -> None:
    wanted = live(people)
    append_proposal(people, wanted, identity("ann"))
    with pytest.raises(ConsentRefused):
        append_consent(people, wanted, identity(by))
    with pytest.raises(ConsentRefused, match="only one person"):
        proved_consent(people, read_live_drills(people, 1)[0])


def test_what_is_confirmed_is_what_was_proposed(people: Connection) -> None:
    wanted = live(people)
    append_proposal(people, wanted, identity("ann"))
    for changed in ({"scope": "model:m1"}, {"open_s": 900}, {"until_ms": wanted.until_ms + 1}, {"pages": "nobody"}):
        with pytest.raises(ConsentRefused, match="signed something else"):
            append_consent(people, wanted._replace(**changed), identity("bob"))
    with pytest.raises(ConsentRefused):
        append_consent(people, wanted._replace(drill_id="ffffffff"), identity("bob"))


@pytest.mark.parametrize(
    "changed",
    [
        {"drill": "redis-lost"},
        {"open_s": 29},
        {"open_s": 901},
        {"drill_id": "x"},
        {"reason": " " * 20},
        {"pages": ""},
        {"scope": ""},
    ],
)
def test_what_nobody_may_consent_to_is_refused(people: Connection, changed: dict[str, object]) -> None:
    with pytest.raises(ConsentRefused, match="nothing that people can consent to"):
        append_proposal(people, live(people, **changed), identity("ann"))


def test_a_drill_that_can_begin_for_longer_than_a_day_is_refused(people: Connection) -> None:
    now_ms = server_now_ms(people)
    with pytest.raises(ConsentRefused):
        append_proposal(people, live(people, from_ms=now_ms - 25 * 60 * MINUTE_MS), identity("ann"))
    with pytest.raises(ConsentRefused, match="within 7 days"):
        append_proposal(people, live(people, until_ms=now_ms - 1), identity("ann"))


def test_a_drill_begins_in_its_time_and_by_one_of_the_two(people: Connection, owner: Connection) -> None:
    now_ms = server_now_ms(people)
    early = consented(people, from_ms=now_ms + MINUTE_MS, until_ms=now_ms + 2 * MINUTE_MS)
    with pytest.raises(ConsentRefused, match="not the time"):
        append_begin(owner, early, identity("ann"))
    appoint(owner, {"cay": "OPERATOR"})
    other = consented(people, drill_id="ffffffff")
    with pytest.raises(ConsentRefused, match="one of the two"):
        append_begin(owner, other, identity("cay"))
    alone = live(people, drill_id="eeeeeeee")
    append_proposal(people, alone, identity("ann"))
    with pytest.raises(ConsentRefused):
        append_begin(owner, alone, identity("ann"))


@pytest.mark.parametrize("how", ["role", "key"])
def test_who_has_left_since_consents_to_nothing(people: Connection, owner: Connection, how: str) -> None:
    wanted = consented(people)
    if how == "role":
        revoke(owner, "bob", "OPERATOR")
    else:
        assert revoke_key(owner, identity("bob").key_id, "lost", identity("ada")) is None
    with pytest.raises(ConsentRefused, match="not proved"):
        proved_consent(owner, read_live_drills(owner, 1)[0])
    with pytest.raises(ConsentRefused, match="no OPERATOR any more"):
        append_begin(owner, wanted, identity("ann"))


def test_whoever_answers_alerts_begins_none(people: Connection) -> None:
    with pytest.raises(DatabaseRefused):
        append_begin(people, consented(people), identity("ann"))


@pytest.mark.parametrize("role", ["fraud_alerts", "fraud_incident", "fraud_reader", "fraud_rollback"])
def test_no_other_role_consents(people: Connection, database_url: str, role: str) -> None:
    wanted = live(people)
    with closing(connect(url_as(database_url, role), "test")) as other, pytest.raises(DatabaseRefused):
        append_proposal(other, wanted, identity("ann"))


def test_consents_are_verified_years_later(people: Connection, owner: Connection) -> None:
    append_begin(owner, consented(people), identity("ann"))
    assert not verify(owner, None).faults


def test_consents_that_nobody_signed_count_as_nothing(people: Connection, owner: Connection) -> None:
    """By whoever holds the role's credential: the acts name people's keys, and are signed with nothing."""
    from pipeline.drills.consent_store import _SQL
    from pipeline.drills.consents import confirmation, proposal

    wanted, root = live(people), read_registry(people).root
    for name, expected in (
        ("append_proposal", proposal(wanted, "ann")),
        ("append_consent", confirmation(wanted, "bob")),
    ):
        signed = identity(expected.name).sign(expected.kind, expected.subject, server_now_ms(people), root)
        forged = signed._replace(signature=bytes(64))
        append_act(people, forged)
        people.execute(_SQL[name], {**wanted._asdict(), "by": expected.name, "act": forged.digest})
    with pytest.raises(ConsentRefused, match="signature is false"):
        proved_consent(owner, read_live_drills(owner, 1)[0])


@pytest.mark.parametrize("table", ["live_drill_proposal", "live_drill_consent", "live_drill_begin"])
def test_even_the_owner_changes_no_consent(people: Connection, owner: Connection, table: str) -> None:
    append_begin(owner, consented(people), identity("ann"))
    for statement in (f"DELETE FROM control.{table}", f"UPDATE control.{table} SET drill_id = 'ffffffff'"):
        with pytest.raises(psycopg.Error):
            owner.execute(statement.encode())


def test_every_drill_is_either_live_or_refused_with_a_reason(people: Connection) -> None:
    assert set(SCOPES) | set(REFUSED_LIVE) == set(DrillName)
    assert not set(SCOPES) & set(REFUSED_LIVE)
    for drill, begins in SCOPES.items():
        scope = begins if begins == "all" else f"{begins}x=y"
        assert live_fault(live(people, drill=drill.value, scope=scope)) is None
        assert live_fault(live(people, drill=drill.value, scope="channel:CARD")) is not None
