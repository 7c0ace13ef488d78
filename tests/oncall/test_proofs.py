"""What stands in a person's name counts where that person signed it, whoever has stored it."""

from __future__ import annotations

import time
from contextlib import closing
from uuid import uuid4

import pytest
from psycopg import errors

from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, connect
from pipeline.oncall import answers_store
from pipeline.oncall.acts import SilenceWish, group_act, silence_act
from pipeline.oncall.answers_store import Answers
from pipeline.oncall.desk_store import append_group_act, append_silence
from pipeline.oncall.groups import EventKind, Group, GroupEvent, State
from pipeline.oncall.store import append_event, append_group, read_latest_groups, read_open_groups
from pipeline.people.act_store import append_act, read_registry
from pipeline.people.verify_command import verify
from tests.known import appoint, identity, revoke
from tests.oncall.given import group
from tests.servers import url_as

INSERT = """
    INSERT INTO control.alert_event (group_id, sequence, kind, actor, note, act)
    VALUES (%s, %s, %s, %s, %s, decode(%s, 'hex'))
"""
WEEK_MS = 7 * 86_400_000


def service_of(database_url: str):
    return closing(connect(url_as(database_url, "fraud_alerts"), "test"))


def desk_of(database_url: str):
    return closing(connect(url_as(database_url, "fraud_oncall"), "test"))


def stored(connection: Connection) -> Group:
    append_group(connection, group())
    return append_event(connection, group(), GroupEvent(EventKind.TOLD, 0, 1))


@pytest.mark.parametrize("kind", ["ACKNOWLEDGED", "RESOLVED", "TOLD", "ESCALATED"])
@pytest.mark.parametrize("actor", ["olga", "system:alert", "system:alerts "])
def test_service_s_credential_answers_in_nobody_s_name(
    database_url: str, owner: Connection, kind: str, actor: str
) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    with service_of(database_url) as thief:
        about = stored(thief)
        with pytest.raises(errors.CheckViolation):
            thief.execute(INSERT, [about.group_id, about.sequence + 1, kind, actor, "I have it.", None])


def test_service_acknowledges_nothing_by_itself(database_url: str) -> None:
    with service_of(database_url) as thief:
        about = stored(thief)
        with pytest.raises(errors.CheckViolation):
            thief.execute(INSERT, [about.group_id, about.sequence + 1, "ACKNOWLEDGED", "system:alerts", "mine", None])


def test_act_about_another_group_or_of_another_kind_is_no_answer(database_url: str, owner: Connection) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    with service_of(database_url) as thief, desk_of(database_url) as desk:
        about = stored(thief)
        other = group(group_id=str(uuid4()))
        append_group(thief, other)
        append_group_act(desk, EventKind.ACKNOWLEDGED, other.group_id, "I look", identity("olga"))
        act = owner.execute("SELECT encode(act, 'hex') FROM control.alert_act").fetchone()[0]  # type: ignore[index]
        for group_id, sequence, kind, note in (
            (about.group_id, 2, "ACKNOWLEDGED", "I look"),
            (other.group_id, 1, "RESOLVED", "I look"),
            (other.group_id, 1, "ACKNOWLEDGED", "another word"),
        ):
            with pytest.raises(errors.CheckViolation, match="has not signed this"):
                thief.execute(INSERT, [group_id, sequence, kind, "olga", note, act])
        thief.execute(INSERT, [other.group_id, 1, "ACKNOWLEDGED", "olga", "I look", act])
    found = verify(owner, None)
    assert ([], 2) == (found.faults, found.rows)


@pytest.mark.parametrize("kind", [EventKind.ACKNOWLEDGED, EventKind.RESOLVED])
def test_event_that_nobody_signed_does_nothing_and_is_found(
    database_url: str, owner: Connection, kind: EventKind
) -> None:
    """With both credentials somebody can store all the rows, and still can't sign."""
    appoint(owner, {"olga": "OPERATOR"})
    with service_of(database_url) as thief, desk_of(database_url) as desk:
        about, registry = stored(thief), read_registry(desk)
        expected = group_act(kind, about.group_id, "I have it.", "olga")
        signed = identity("olga").sign(expected.kind, expected.subject, server_now_ms(desk), registry.root)
        with desk.transaction():
            append_act(desk, signed._replace(signature=bytes(64)))
            desk.execute(
                "INSERT INTO control.alert_act (act, group_id, kind, acted_by, note) "
                "VALUES (decode(%s, 'hex'), %s, %s, 'olga', 'I have it.')",
                [signed.digest, about.group_id, kind],
            )
        thief.execute(INSERT, [about.group_id, about.sequence + 1, kind, "olga", "I have it.", signed.digest])
        [read] = read_open_groups(thief)
        assert (State.FIRING, None, about.sequence + 1) == (read.state, read.acknowledged_by, read.sequence)
        ended = append_event(thief, read, GroupEvent(EventKind.RESOLVED, 0, note="each of its alerts is over"))
        assert State.RESOLVED is ended.state is read_latest_groups(thief, 1)[0].state
        assert [] == read_open_groups(thief)
    assert {"control.alert_act", "control.alert_event"} <= {fault.of_table for fault in verify(owner, None).faults}


def forge(desk: Connection, count: int) -> None:
    """Silences in olga's name, which she did not sign."""
    now_ms, root = server_now_ms(desk), read_registry(desk).root
    with desk.transaction():
        for _ in range(count):
            wish = SilenceWish(str(uuid4()), "*", "*", "*", now_ms + WEEK_MS - 60_000, "because I say so")
            expected = silence_act(wish, "olga")
            signed = identity("olga").sign(expected.kind, expected.subject, now_ms, root)
            append_act(desk, signed._replace(signature=bytes(64)))
            desk.execute(
                "INSERT INTO control.alert_silence "
                "(silence_id, code, scope, severity, ends_at, reason, silenced_by, act) VALUES (%s, '*', '*', '*', "
                "timestamptz 'epoch' + %s::bigint * interval '1 millisecond', %s, 'olga', decode(%s, 'hex'))",
                [wish.silence_id, wish.ends_at_ms, wish.reason, signed.digest],
            )


def test_silences_that_nobody_signed_are_looked_at_once_and_some_at_a_time(
    database_url: str, owner: Connection, monkeypatch
) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    monkeypatch.setattr(answers_store, "ROWS_A_LOOK", 4)
    monkeypatch.setattr(answers_store, "LOOKS_AT_ONCE", 2)
    with service_of(database_url) as service, desk_of(database_url) as desk:
        forge(desk, 20)
        now_ms = server_now_ms(desk)
        genuine = SilenceWish(str(uuid4()), "A*", "*", "*", now_ms + WEEK_MS - 60_000, "a planned test")
        append_silence(desk, genuine, identity("olga"))
        registry, answers, proved = read_registry(service), Answers(), list[int]()
        looked = answers_store.act_fault
        monkeypatch.setattr(answers_store, "act_fault", lambda *a, **k: proved.append(1) or looked(*a, **k))
        found = []
        for _ in range(6):
            before = len(proved)
            found.append([each.silence_id for each in answers.silences(service, registry, now_ms)])
            assert len(proved) - before <= 4 * 2 + 1
        assert [[], [], *[[genuine.silence_id]] * 4] == found
        assert 21 + 4 == len(proved), "each once, and then the one that counts"
        revoke(owner, "olga", "OPERATOR")
        assert [] == answers.silences(service, read_registry(service), now_ms), "it falls with the role of its author"


def test_answer_whose_transaction_ended_late_is_read_all_the_same(
    database_url: str, owner: Connection, monkeypatch
) -> None:
    appoint(owner, {"olga": "OPERATOR", "otto": "OPERATOR"})
    with service_of(database_url) as service, desk_of(database_url) as slow, desk_of(database_url) as quick:
        about, registry, answers = stored(service), read_registry(service), Answers()
        with slow.transaction():
            append_group_act(slow, EventKind.ACKNOWLEDGED, about.group_id, "the first", identity("olga"))
            append_group_act(quick, EventKind.ACKNOWLEDGED, about.group_id, "the second", identity("otto"))
            assert ["otto"] == [each.by for each in answers.acts(service, registry)]
        assert [] == answers.acts(service, registry)
        monkeypatch.setattr(answers, "_stepped_s", time.monotonic() - answers_store.STEP_BACK_S)
        assert "olga" in {each.by for each in answers.acts(service, registry)}
