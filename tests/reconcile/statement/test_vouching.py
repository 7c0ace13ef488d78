"""Whose a statement is: two people say so, each by a copy of their own, and what nobody vouches for shows."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from pipeline.people.act_store import append_act
from pipeline.people.key_files import Identity
from pipeline.reconcile.statement import statement_watch_service
from pipeline.reconcile.statement.comparing import Difference
from pipeline.reconcile.statement.entries import Entry, Kind, LinesDigest
from pipeline.reconcile.statement.statement_store import Statements
from pipeline.reconcile.statement.vouch_command import copies_of
from pipeline.ruling import ruling_command, ruling_store
from pipeline.ruling.acts import Ruling, Verdict
from pipeline.ruling.proved_store import StatementWords
from pipeline.ruling.ruling_store import append_proposal
from pipeline.terminal.failures import Failure
from tests.execute.given import decision
from tests.known import identity, revoke, settings_of
from tests.reconcile.statement.test_intake import QUARTER_MS, Scene
from tests.ruling.given import EVIDENCE, REASON, appoint, ruled, ruling_on
from tests.servers import url_as

THEFT = "0f8fad5b-d9cb-569f-a165-70867728950e"
ROLLBACK = "fraud_rollback"


@pytest.fixture
def scene(owner, database_url, appender, rail_of, tmp_path):
    appoint(owner)
    with closing(Scene(database_url, appender, rail_of(), tmp_path)) as scene:
        scene.desk.open(GB29_0001=10_000, GB29_0002=0)
        yield scene


def vouch(scene: Scene, path, name: str):
    """Vouch for the statements of a file as `fraud reconcile vouch` does."""
    copies = list(copies_of(path))
    desk = scene.desk.as_role(ROLLBACK)
    return [ruling_command.vouch(desk, copy, identity(name), EVIDENCE, REASON) for copy in copies]


def unvouched(scene: Scene) -> list[int]:
    return [each.sequence for each in Statements(scene.connection).unvouched(is_whole=True)]


def stolen(scene: Scene):
    """The rail's statement, with a thief's payment on it, and the one that they made up, which has it not."""
    scene.desk.hear(decision())
    scene.pay_behind_its_back(THEFT)
    true = scene.fetch("csv")
    made_up = true.with_name("made-up")
    head, stated, *lines = true.read_text().splitlines(keepends=True)
    kept = [line for line in lines if THEFT not in line]
    assert len(kept) == len(lines) - 1
    made_up.write_text(head + stated.replace("-14.00,2,", "-7.00,1,") + "".join(kept))
    return true, made_up


def disown(scene: Scene, number: int, by=("rob", "ada")) -> Ruling:
    desk = scene.desk.as_role(ROLLBACK)
    statement = StatementWords().statement(desk, number)
    assert statement is not None
    return ruled(desk, ruling_on(statement, Verdict.DISOWNED), by)


@pytest.mark.parametrize("form", ["camt.053.001.08", "csv"])
def test_a_statement_that_two_people_have_themselves_is_vouched_for(scene, form):
    scene.desk.hear(decision())
    path = scene.fetch(form)
    scene.take(path)
    assert unvouched(scene) == [1]
    [proposed] = vouch(scene, path, "rob")
    assert (proposed.confirmed_by, unvouched(scene)) == (None, [1])
    [confirmed] = vouch(scene, path, "ada")
    assert (confirmed.proposed_by, confirmed.confirmed_by, unvouched(scene)) == ("rob", "ada", [])
    assert vouch(scene, path, "eve") == [None]


def test_a_statement_that_a_thief_made_up_is_not_that_of_anybodys_copy(scene):
    true, made_up = stolen(scene)
    assert scene.take(made_up).opened == []
    with pytest.raises(Failure, match=r"closing_minor, lines, lines_sha256 differ"):
        vouch(scene, true, "rob")
    assert unvouched(scene) == [1]


def test_a_line_of_the_same_worth_to_somebody_else_is_seen(scene):
    scene.desk.hear(decision())
    true = scene.fetch("csv")
    other = true.with_name("other")
    other.write_text(true.read_text().replace("GB29-0002", "GB29-0666"))
    assert other.read_text() != true.read_text()
    scene.take(other)
    with pytest.raises(Failure, match=r": lines_sha256 differ"):
        vouch(scene, true, "rob")


def test_once_it_is_disowned_the_rails_own_is_taken_in_and_shows_the_theft(scene):
    true, made_up = stolen(scene)
    first = scene.take(made_up)
    disown(scene, first.number)
    [taken] = scene.intake.take(true)
    assert [each.kind for each in taken.opened] == [Difference.NOT_IN_LEDGER]
    vouch(scene, true, "rob")
    vouch(scene, true, "ada")
    assert (scene.open_kinds(), unvouched(scene)) == ([Difference.NOT_IN_LEDGER], [])


def test_what_a_disowned_statement_closed_is_open_again(scene):
    """A payment that the rail never made heals by a made-up statement that has it."""
    scene.desk.hear(decision())
    true = scene.fetch("csv")
    head, stated, line = true.read_text().splitlines(keepends=True)
    true.write_text(head + stated.replace("-7.00,1,", "0.00,0,"))
    assert [each.kind for each in scene.take(true).opened] == [Difference.NOT_AT_RAIL]
    made_up = scene.fetch("csv")
    empty = made_up.read_text()
    made_up.write_text(empty.replace("0.00,0.00,0,", "0.00,-7.00,1,") + line)
    healing = scene.take(made_up)
    assert ([each.kind for each in healing.closed], scene.open_kinds()) == ([Difference.NOT_AT_RAIL], [])
    disown(scene, healing.number)
    assert scene.open_kinds() == [Difference.NOT_AT_RAIL]
    made_up.write_text(empty)
    [again] = scene.intake.take(made_up)
    assert (again.opened, again.closed, scene.open_kinds()) == ([], [], [Difference.NOT_AT_RAIL])


def test_what_was_told_by_a_disowned_statement_is_told_once_by_the_one_in_its_place(scene):
    true, _ = stolen(scene)
    disown(scene, scene.take(true).number)
    assert scene.open_kinds() == []
    [again] = scene.intake.take(true)
    assert [each.kind for each in again.opened] == scene.open_kinds() == [Difference.NOT_IN_LEDGER]


def test_what_was_taken_in_after_a_disowned_statement_rests_on_it_and_is_disowned_too(scene):
    """Else a thief makes up a thousand, and two people sign as often."""
    began_ms = int(time.time() * 1000) - QUARTER_MS
    before, first, second = (scene.next("csv", until_ms=began_ms + at_ms) for at_ms in (0, 60_000, 120_000))
    disown(scene, first.number)
    assert [each.sequence for each in Statements(scene.connection).stated()] == [before.head.sequence]
    for path in (f"statement-{taken.head.sequence}" for taken in (first, second)):
        scene.intake.take(scene._folder / path)
    assert [each.sequence for each in Statements(scene.connection).stated()] == [second.head.sequence]


def test_one_person_vouches_for_nothing(scene):
    path = scene.fetch("csv")
    scene.take(path)
    vouch(scene, path, "eve")
    [again] = vouch(scene, path, "eve")
    assert (again.confirmed_by, unvouched(scene)) == (None, [1])


def test_what_somebody_proposed_who_has_left_is_not_confirmed(scene, owner):
    path = scene.fetch("csv")
    scene.take(path)
    vouch(scene, path, "rob")
    revoke(owner, "rob", "ROLLBACK_REQUESTER", admin="ana")
    [mine] = vouch(scene, path, "eve")
    assert (mine.proposed_by, mine.confirmed_by) == ("eve", None)


def unsigned(desk, by: Identity, kind, subject, registry) -> str:
    """Append an act under a name and a key, signed by nobody."""
    signed = by.sign(kind, subject, int(time.time() * 1000), registry.root)._replace(signature=bytes(64))
    append_act(desk, signed)
    return signed.digest


@pytest.mark.parametrize("verdict", [Verdict.GENUINE, Verdict.DISOWNED])
def test_rows_that_nobody_signed_say_nothing_and_keep_nobody_from_it(scene, monkeypatch, verdict):
    """With the credential of fraud_rollback, and nobody's key."""
    path = scene.fetch("csv")
    taken = scene.take(path)
    desk = scene.desk.as_role(ROLLBACK)
    statement = StatementWords().statement(desk, taken.number)
    with monkeypatch.context() as thief:
        thief.setattr(ruling_store, "sign_act", unsigned)
        ruled(desk, ruling_on(statement, verdict))
        append_proposal(desk, ruling_on(statement, verdict), identity("rob"))
    assert unvouched(scene) == [1]
    assert [each.sequence for each in Statements(scene.connection).stated()] == [1]
    if verdict is Verdict.GENUINE:
        vouch(scene, path, "rob")
        vouch(scene, path, "ada")
    else:
        disown(scene, taken.number)
    assert unvouched(scene) == []


def test_a_statement_takes_nobodys_place_by_its_own_word(scene):
    taken = scene.next("csv")
    with pytest.raises(psycopg.errors.RestrictViolation, match="disowned"):
        scene.connection.execute(
            "INSERT INTO control.rail_statement (account_id, currency, sequence, name, format, from_at, to_at,"
            " opening_minor, closing_minor, entries, file_sha256, replaces) SELECT account_id, currency, sequence,"
            " name, format, from_at, to_at, 0, 0, 0, file_sha256, %s FROM control.rail_statement",
            [taken.number],
        )


def test_nobody_says_when_a_statement_was_taken_in(scene):
    """Until when people vouch for it is counted from then."""
    scene.connection.execute(
        "INSERT INTO control.rail_statement (account_id, currency, sequence, name, format, from_at, to_at,"
        " opening_minor, closing_minor, entries, file_sha256, taken_at)"
        " VALUES ('A', 'GBP', 1, 'n', 'csv', now(), now(), 0, 0, 0, sha256('f'), '2999-01-01')"
    )
    row = scene.connection.execute("SELECT taken_at <= now() FROM control.rail_statement").fetchone()
    assert row == (True,)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE control.rail_entry SET creditor_account_id = 'GB29-0666'",
        "UPDATE control.rail_entry SET amount_minor = -701",
        "UPDATE control.rail_statement SET closing_minor = 5",
        "DELETE FROM control.rail_entry",
    ],
)
def test_a_statement_that_changes_afterwards_is_vouched_for_by_nobody(scene, owner, change):
    scene.desk.hear(decision())
    path = scene.fetch("csv")
    scene.take(path)
    vouch(scene, path, "rob")
    vouch(scene, path, "ada")
    assert unvouched(scene) == []
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(change.encode())
    assert unvouched(scene) == [1]


def test_reconciliation_tells_of_what_nobody_vouches_for(scene, monkeypatch):
    told = []
    watch = statement_watch_service.StatementWatch("FRAUD-SETTLEMENT", told.extend, lambda: 1_000)
    path = scene.fetch("csv")
    taken = scene.take(path)
    assert watch.look(scene.connection) == []
    monkeypatch.setattr(statement_watch_service, "VOUCHED_WITHIN", timedelta(0))
    assert [each.found.kind for each in watch.look(scene.connection)] == [Difference.UNVOUCHED]
    assert [each.evidence["key"] for each in told] == [str(taken.number)]
    vouch(scene, path, "rob")
    vouch(scene, path, "ada")
    assert watch.look(scene.connection) == []


def test_lines_are_digested_by_the_database_as_they_are_here(scene):
    """Whatever stands in them: what separates fields, nothing, and letters of several bytes."""
    texts = [None, "", "|", "1:a|-", "Zoë\u2028", "\N{GRINNING FACE}"]
    entries = [
        Entry(number, list(Kind)[number % 3], key, -(10**number), debtor, creditor)
        for number, (key, debtor, creditor) in enumerate(((a, b, c) for a in texts for b in texts for c in texts), 1)
        if number < 19
    ]
    digest = LinesDigest()
    with scene.connection.transaction():
        scene.connection.execute(
            "INSERT INTO control.rail_statement (account_id, currency, sequence, name, format, from_at, to_at,"
            " opening_minor, closing_minor, entries, file_sha256)"
            " VALUES ('A', 'GBP', 1, 'n', 'csv', now(), now(), 0, 0, 0, sha256('f'))"
        )
        for entry in entries:
            digest.add(entry)
            scene.connection.execute(
                "INSERT INTO control.rail_entry (statement_number, number, kind, key, amount_minor, debtor_account_id,"
                " creditor_account_id) SELECT statement_number, %s, %s, %s, %s, %s, %s FROM control.rail_statement",
                entry,
            )
    row = scene.connection.execute("SELECT lines, lines_sha256 FROM control.stated").fetchone()
    assert (digest.lines, digest.hexdigest()) == row


def test_commands_vouch_and_disown(fraud, scene, database_url, tmp_path, stack):
    def run(*arguments: object, role: str = ROLLBACK, by: str = "rob"):
        places = {"database_url": url_as(database_url, role), "bootstrap_servers": stack.bootstrap_servers}
        return fraud(*arguments, **places, **settings_of(tmp_path / "people", by))

    true, made_up = stolen(scene)
    assert run("reconcile", "statement", made_up, role="fraud_reconcile").code == 0
    found = run("reconcile", "findings", role="fraud_reconcile")
    assert (found.code, "UNVOUCHED" in found.out) == (1, True)
    because = ["--evidence", EVIDENCE, "--reason", REASON, "--json"]
    refused = run("reconcile", "vouch", true, *because)
    assert (refused.code, "is not that of your copy" in refused.err) == (1, True)
    [waiting] = [json.loads(line)["statement"] for line in run("ruling", "waiting", "--json").out.splitlines()]
    proposed = run("ruling", "disown", waiting["statement_number"], *because)
    assert proposed.code == 0, proposed.err
    ruling_id = json.loads(proposed.out)["ruling"]["ruling_id"]
    assert run("ruling", "confirm", ruling_id, "DISOWNED").code == 1
    assert run("ruling", "confirm", ruling_id, "DISOWNED", by="ada").code == 0
    assert run("reconcile", "statement", true, role="fraud_reconcile").code == 1  # it names the theft
    for name in ("rob", "ada"):
        said = run("reconcile", "vouch", true, *because, by=name)
        assert said.code == 0, said.err
    assert "before" in run("reconcile", "vouch", true, *because, by="eve").err
    found = run("reconcile", "findings", role="fraud_reconcile")
    assert (found.code, "UNVOUCHED" in found.out, "NOT_IN_LEDGER" in found.out) == (1, False, True)
    assert run("ruling", "disown", 99, *because).code == 1
    assert run("reconcile", "vouch", tmp_path / "none", *because).code == 2
