"""Lines of the rail's statement that no payment explains, and that two people account for."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from pipeline.reconcile.statement.comparing import Difference
from pipeline.reconcile.statement.statement_store import Statements
from pipeline.ruling.acts import Verdict
from pipeline.ruling.ruling_command import unaccounted_lines
from pipeline.ruling.ruling_store import RulingRefused, append_proposal, confirm, unexplained_lines
from tests.commands import Fraud
from tests.known import identity, revoke, settings_of
from tests.reconcile.statement.test_intake import Scene
from tests.ruling.given import EVIDENCE, REASON, appoint, ruled, ruling_on
from tests.servers import url_as

ENTRY = "ENTRY,FRAUD-SETTLEMENT,GBP,,,,,,,,{kind},{key},{amount},,\n"
KEY = "0f8fad5b-d9cb-569f-a165-70867728950e"


@pytest.fixture
def scene(owner, database_url, appender, rail_of, tmp_path):
    """A statement with a fee of 0.25 on it, taken in."""
    appoint(owner)
    with closing(Scene(database_url, appender, rail_of(), tmp_path)) as scene:
        take_fee(scene)
        yield scene


def take_fee(scene: Scene, amount: str = "-0.25") -> None:
    assert [Difference.UNEXPLAINED] == take_entry(scene, amount, "OTHER", "")


def take_entry(scene: Scene, amount: str, kind: str, key: str) -> list[Difference]:
    """The next statement, with one entry; what differs."""
    path = scene.fetch("csv")
    head, statement = path.read_text().splitlines(keepends=True)
    fields = statement.split(",")
    opening = float(fields[7])
    fields[8:10] = f"{opening + float(amount):.2f}", "1"
    path.write_text(head + ",".join(fields) + ENTRY.format(amount=amount, kind=kind, key=key))
    return [each.kind for each in scene.take(path).opened]


def account_for(scene: Scene, number: int = 0, by: tuple[str, str] = ("rob", "ada")):
    rollback = scene.desk.as_role("fraud_rollback")
    return ruled(rollback, ruling_on(unexplained_lines(rollback)[number], Verdict.ACCOUNTED_FOR), by)


def explained(scene: Scene) -> list[bool]:
    return [each.explained is not None for each in Statements(scene.connection).all_open(100)]


def test_a_line_that_two_people_account_for_is_explained_and_shown_as_that(scene):
    assert explained(scene) == [False]
    ruling = account_for(scene)
    [found] = Statements(scene.connection).all_open(100)
    assert found.explained is not None
    assert (found.explained.ruling, found.explained.proposed_by, found.explained.confirmed_by) == (ruling, "rob", "ada")
    assert unaccounted_lines(scene.connection) == []


def test_another_line_stays_open(scene):
    account_for(scene)
    take_fee(scene, "-0.26")
    assert explained(scene) == [False, True]
    assert [-26] == [line.amount_minor for line in unaccounted_lines(scene.connection)]


def test_one_that_was_accounted_for_is_not_listed_before_those_that_differ(scene):
    for _ in range(3):
        take_fee(scene)
    for number in range(3):
        account_for(scene, number)
    found = Statements(scene.connection).all_open(2)
    assert [False, True, True] == [each.explained is not None for each in found]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE control.rail_entry SET amount_minor = -26",
        "UPDATE control.rail_entry SET creditor_account_id = 'GB29-0666'",
        "UPDATE control.rail_statement SET file_sha256 = sha256('another file')",
        "UPDATE control.rail_statement SET account_id = 'ANOTHER'",
        "UPDATE control.rail_entry SET kind = 'TRANSFER', key = '0f8fad5b-d9cb-569f-a165-70867728950e'",
    ],
)
def test_a_statement_that_changes_afterwards_is_open_again(scene, owner, change):
    account_for(scene)
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(change.encode())
    assert explained(scene) == [False]


def test_what_two_signed_stays_though_they_leave(scene, owner):
    account_for(scene)
    revoke(owner, "rob", "ROLLBACK_REQUESTER", admin="ana")
    assert explained(scene) == [True]


def test_one_person_accounts_for_nothing(scene):
    with pytest.raises(RulingRefused, match="another person"):
        account_for(scene, by=("eve", "eve"))
    assert explained(scene) == [False]


def test_only_a_line_that_names_no_key_is_accounted_for(scene):
    assert [Difference.NOT_IN_LEDGER] == take_entry(scene, "-7.00", "TRANSFER", KEY)
    rollback = scene.desk.as_role("fraud_rollback")
    [line] = unexplained_lines(rollback)
    other = ruling_on(line._replace(statement_number=line.statement_number + 1), Verdict.ACCOUNTED_FOR)
    with pytest.raises(RulingRefused, match="no such line"):
        append_proposal(rollback, other, identity("rob"))


def test_a_line_that_changed_since_it_was_proposed_is_not_confirmed(scene, owner):
    rollback = scene.desk.as_role("fraud_rollback")
    ruling = ruling_on(unexplained_lines(rollback)[0], Verdict.ACCOUNTED_FOR)
    append_proposal(rollback, ruling, identity("rob"))
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.rail_entry SET amount_minor = -26")
    with pytest.raises(RulingRefused, match="no such line"):
        confirm(rollback, ruling, identity("ada"))


def test_commands_account_for_a_line(fraud: Fraud, scene, database_url, tmp_path, stack):
    def run(*arguments: object, role: str = "fraud_rollback", by: str = "rob"):
        places = {"database_url": url_as(database_url, role), "bootstrap_servers": stack.bootstrap_servers}
        return fraud(*arguments, **places, **settings_of(tmp_path / "people", by))

    waiting = run("ruling", "waiting", "--json")
    line, stated = (json.loads(each) for each in waiting.out.splitlines())
    line = line["line"]
    assert stated["statement"]["statement_number"] == line["statement_number"]
    name = f"{line['statement']}:{line['number']}"
    because = ["--evidence", EVIDENCE, "--reason", REASON, "--json"]
    assert run("reconcile", "findings", role="fraud_reconcile").code == 1
    proposed = run("ruling", "account", name, *because)
    assert proposed.code == 0, proposed.err
    ruling_id = json.loads(proposed.out)["ruling"]["ruling_id"]
    assert run("ruling", "confirm", ruling_id, "ACCOUNTED_FOR").code == 1
    assert run("ruling", "confirm", ruling_id, "MADE", by="ada").code == 1
    confirmed = run("ruling", "confirm", ruling_id, "ACCOUNTED_FOR", by="ada")
    assert confirmed.code == 0, confirmed.err
    for name_of in ("rob", "ada"):
        assert run("reconcile", "vouch", tmp_path / "statement-1", *because, by=name_of).code == 0
    found = run("reconcile", "findings", role="fraud_reconcile")
    assert (found.code, "EXPLAINED" in found.out, "rob and ada" in found.out) == (0, True, True)
    assert run("ruling", "waiting").out == ""
    assert run("ruling", "account", name, *because).code == 1
