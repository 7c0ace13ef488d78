"""The ledger's tables: nobody changes them, nobody overdraws, and every balance can be had."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.ledger_store import array
from pipeline.execute.postings import Limit
from pipeline.execute.references import Opening
from tests.execute.given import NOON_MS, PAYEE, PAYER, Desk, decision
from tests.servers import url_as

TABLES = ["account", "execution", "cause", "transition", "posting", "funding", "balance_checkpoint"]
ROLES = [
    "fraud_executor",
    "fraud_treasurer",
    "fraud_audit",
    "fraud_review",
    "fraud_rollback",
    "fraud_reconcile",
    "fraud_incident",
    "fraud_reader",
]
CHANGES = {
    "UPDATE": "UPDATE ledger.{table} SET recorded_at = now()",
    "DELETE": "DELETE FROM ledger.{table}",
    "TRUNCATE": "TRUNCATE ledger.{table} CASCADE",
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_role_changes_what_is_written(change, desk, database_url):
    desk.open(GB29_0001=1_000)
    desk.hear(decision())
    for role in ROLES:
        for table in TABLES:
            refuse(database_url, role, CHANGES[change].format(table=table))


@pytest.mark.parametrize("change", CHANGES)
def test_not_even_the_owner_does(change, desk, owner):
    """The triggers: the owner has every right. Partitions too, addressed by themselves."""
    desk.open(GB29_0001=10_000)
    desk.hear(decision("ESCALATE"))
    partition = owner.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ledger.posting'::regclass LIMIT 1"
    ).fetchone()[0]
    desk.ledger.take_checkpoint(desk.connection, (PAYER, "GBP"))
    tables = [table for table in TABLES if table != "cause"]  # a row trigger sees rows, and it has none here
    for table in [*tables, partition.removeprefix("ledger.")]:
        if table.startswith("posting_") and change != "TRUNCATE":
            continue  # an empty month has no rows either
        with pytest.raises(psycopg.errors.RestrictViolation):
            owner.execute(CHANGES[change].format(table=table))


def test_only_the_treasurer_opens_accounts(desk, database_url):
    desk.open(GB29_0001=1_000)
    for role in set(ROLES) - {"fraud_treasurer"}:
        refuse(database_url, role, "INSERT INTO ledger.account VALUES ('GB29-0009', 'GBP', 0, now())")


def refuse(database_url, role, statement):
    url = url_as(database_url, role)
    with closing(psycopg.connect(url)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_the_worker_does_not_even_get_in(database_url):
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(url_as(database_url, "fraud_worker"))


def test_executors_together_never_overdraw(desk, executor_url, appender):
    """Eight at once, each on a partition of its own, all from one account that has money for 30 of 160 payments."""
    desk.open(GB29_0001=30 * 700)
    desks = [Desk(executor_url, appender, desk.rail_address, partition=number) for number in range(1, 9)]
    batches = [[each.batch(*[decision() for _ in range(5)]) for _ in range(4)] for each in desks]

    def run(each, mine):
        for batch in mine:
            each.execution.accept(each.connection, batch)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(desks, batches, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in desks:
        each.close()
    assert desk.states() == {"REFUSED": 130, "SETTLED": 30}
    assert (desk.balance(PAYER), desk.balance(PAYEE)) == (0, 30 * 700)
    assert desk.findings() == []


def test_accounts_that_pay_each_other_never_deadlock(desk, executor_url, appender):
    desk.open(GB29_0001=100_000, GB29_0002=100_000)
    desks = [Desk(executor_url, appender, desk.rail_address, partition=number) for number in range(1, 5)]

    def run(each):
        for _ in range(5):
            forth, back = decision(), decision(payer=PAYEE, payee=PAYER)
            each.hear(*(forth, back) if each.partition % 2 else (back, forth))

    threads = [threading.Thread(target=run, args=[each]) for each in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in desks:
        each.close()
    assert (desk.states(), desk.balance(PAYER), desk.balance(PAYEE)) == ({"SETTLED": 40}, 100_000, 100_000)


def test_a_checkpoint_gives_the_same_balance(desk):
    desk.open(GB29_0001=100_000)
    desk.hear(*[decision(amount_minor=number) for number in range(1, 6)])
    before = desk.balance(PAYER)
    desk.ledger.take_checkpoint(desk.connection, (PAYER, "GBP"))
    assert desk.balance(PAYER) == before == 100_000 - 15
    desk.hear(decision(amount_minor=100))
    with desk.connection.transaction():
        limits, _ = desk.ledger.limits(desk.connection, [(PAYER, "GBP")])
    assert limits == {(PAYER, "GBP"): Limit(before - 100, 0)}
    assert desk.findings() == []


def test_a_hot_account_gets_a_checkpoint(desk, monkeypatch):
    monkeypatch.setattr("pipeline.execute.ledger_store.TAIL_POSTINGS_MAX", 10)
    desk.open(GB29_0001=100_000)
    for _ in range(6):
        desk.hear(*[decision(amount_minor=1) for _ in range(10)])
    count = desk.connection.execute("SELECT count(*) FROM ledger.balance_checkpoint").fetchone()[0]
    assert count >= 2
    assert (desk.balance(PAYER), desk.findings()) == (100_000 - 60, [])


def test_what_an_account_may_be_asked_for_becomes_a_part_of_the_query(owner):
    """A call with every account would plan and run a query with each."""
    lines = owner.execute(
        "EXPLAIN SELECT has.tail FROM unnest('{a}'::text[], '{GBP}'::text[]) AS wanted (account_id, currency)"
        " CROSS JOIN LATERAL ledger.means(wanted.account_id, wanted.currency) AS has"
    ).fetchall()
    plan = "\n".join(line for (line,) in lines)
    assert "balance_checkpoint" in plan
    assert "Function Scan on means" not in plan
    assert "Function Scan on standing" not in plan


def test_a_wrong_checkpoint_is_found(desk, owner):
    desk.open(GB29_0001=1_000)
    owner.execute("INSERT INTO ledger.balance_checkpoint SELECT 'GB29-0001', 'GBP', max(number), 7 FROM ledger.posting")
    assert [finding.code for finding in desk.findings()] == ["CHECKPOINT_WRONG"]


def test_money_that_is_elsewhere_than_its_state_says_is_found(desk, owner):
    desk.open(GB29_0001=1_000)
    paid = decision()
    desk.hear(paid)
    owner.execute("SET session_replication_role = replica")  # past the triggers, as a superuser can
    owner.execute(
        "INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id,"
        " destination_account_id, currency, amount_minor, event_time, caused_at)"
        " SELECT gen_random_uuid(), execution_id, 'RESERVE', 9, 'GB29-0002', 'GB29-0001/held', 'GBP', 5, now(),"
        " caused_at FROM ledger.execution"
    )
    assert [finding.code for finding in desk.findings()] == ["MISPLACED", "POSTED_OTHERWISE"]


def test_what_was_known_then(desk, owner):
    """As of recording: a payment of the past that is recorded today was not known yesterday."""
    desk.open(GB29_0001=1_000)
    before = owner.execute("SELECT clock_timestamp()").fetchone()[0]
    desk.hear(decision())
    query = (
        "SELECT sum(amount_minor)::bigint FROM ledger.entry WHERE account_id = %s AND event_time <= %s"
        " AND recorded_at <= %s"
    )
    times = [before, before + timedelta(days=1)]
    assert [owner.execute(query, [PAYER, before, known]).fetchone()[0] for known in times] == [1_000, 300]


def test_an_account_is_opened_and_funded_once(desk):
    for _ in range(2):
        append_openings(desk.as_role("fraud_treasurer"), [Opening("GB29-0007", "GBP", 50, 500)], NOON_MS)
    assert desk.balance("GB29-0007") == 500


def test_an_overdraft_is_used_to_the_penny(desk):
    append_openings(desk.as_role("fraud_treasurer"), [Opening(PAYER, "GBP", 400, 1_000)], NOON_MS)
    first, second, third = decision(), decision(), decision(amount_minor=1)
    desk.hear(first, second, third)
    assert [desk.state(each) for each in (first, second, third)] == ["SETTLED", "SETTLED", "REFUSED"]
    assert desk.balance(PAYER) == -400


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["a"],
        ["a", "b"],
        ["NULL", "null"],
        ['a","b'],
        ['"'],
        ["\\"],
        ['\\"', "a"],
        ["{", "}", ",", " "],
        ["é"],
    ],
    ids=repr,
)
def test_array_is_read_as_the_texts_that_it_was_made_of(texts, desk):
    assert desk.connection.execute("SELECT %s::text[]", [array(texts)]).fetchone() == (texts,)
