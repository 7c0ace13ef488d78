"""A rail's statement against a ledger that was paid from, in the database."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.request import urlopen

import orjson
import psycopg
import pytest

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.identities import posting_id
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.rail_client import Rail, Transfer
from pipeline.execute.references import Opening
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import connect
from pipeline.reconcile.statement import statement_service, statement_watch_service
from pipeline.reconcile.statement.comparing import Difference
from pipeline.reconcile.statement.entries import StatementUnusable
from pipeline.reconcile.statement.statement_service import StatementIntake
from pipeline.reconcile.statement.statement_store import Statements
from tests.decisions import decision_id_of
from tests.execute.given import PAYEE, PAYER, Desk, decision, execution_of, reversal
from tests.servers import url_as

QUARTER_MS = 900_000


class Scene:
    """One rail, one ledger, and statements one after the other."""

    def __init__(self, url: str, appender, rail: str, folder) -> None:
        self.desk = Desk(url_as(url, "fraud_executor"), appender, rail)
        self.connection = connect(url_as(url, "fraud_reconcile"), "test")
        alerts = AlertPublisher(appender.append, WireFormat(), "alerts.v1")
        self.intake = StatementIntake(self.connection, "FRAUD-SETTLEMENT", alerts)
        self._rail, self._folder = rail, folder
        self._sequence, self._opening_minor, self._since_ms = 1, 0, 0

    def fetch(self, form="camt.053.001.08", *, until_ms=None):
        """The next statement. It ends a quarter of an hour ahead, so that what was just recorded is due."""
        until_ms = until_ms or int(time.time() * 1000) + QUARTER_MS + 60_000
        asked = (
            f"format={form}&currency=GBP&sequence={self._sequence}&opening_minor={self._opening_minor}"
            f"&since_ms={self._since_ms}&until_ms={until_ms}"
        )
        path = self._folder / f"statement-{self._sequence}"
        with urlopen(f"{self._rail}/v1/statement?{asked}") as answer:
            path.write_bytes(answer.read())
        return path

    def take(self, path):
        [taken] = self.intake.take(path)
        head = taken.head
        self._sequence, self._opening_minor = head.sequence + 1, head.closing_minor
        self._since_ms = int(head.to_at.timestamp() * 1000)
        return taken

    def next(self, form="camt.053.001.08", **asked):
        return self.take(self.fetch(form, **asked))

    def open_kinds(self):
        return [each.found.kind for each in Statements(self.connection).all_open(100)]

    def pay_behind_its_back(self, key: str, amount_minor: int = 700) -> None:
        with closing(Rail(self._rail)) as rail:
            rail.pay([Transfer(key, PAYER, PAYEE, "GBP", amount_minor)])

    def close(self) -> None:
        self.desk.close()
        self.connection.close()


@pytest.fixture
def scene(database_url, appender, rail_of, tmp_path):
    with closing(Scene(database_url, appender, rail_of(), tmp_path)) as scene:
        scene.desk.open(GB29_0001=10_000, GB29_0002=0)
        yield scene


@pytest.mark.parametrize("form", ["camt.053.001.08", "camt.053.001.02", "csv"])
def test_a_statement_of_what_was_paid_and_taken_back_differs_in_nothing(scene, form):
    paid, back = decision(), decision(amount_minor=300)
    scene.desk.hear(paid, back, decision("BLOCK"), decision("ESCALATE"), decision(amount_minor=0))
    scene.desk.hear(reversal(back, "BLOCK"))
    taken = scene.next(form)
    assert (taken.entries, taken.opened) == (3, [])
    assert taken.head.closing_minor == -700


def test_what_the_rail_paid_and_the_ledger_does_not_know_is_found(scene):
    scene.pay_behind_its_back("0f8fad5b-d9cb-569f-a165-70867728950e")
    assert [each.kind for each in scene.next().opened] == [Difference.NOT_IN_LEDGER]
    assert scene.open_kinds() == [Difference.NOT_IN_LEDGER]


def test_what_the_rail_paid_and_the_ledger_refused_is_found(scene):
    """Finding 5: the ledger says REFUSED where the rail says ACCEPTED."""
    refused = decision(payer="GB29-0009")
    scene.desk.hear(refused)
    assert scene.desk.state(refused) == "REFUSED"
    scene.pay_behind_its_back(posting_id(execution_of(refused), "SUBMIT", 1))
    found = {(each.kind, each.execution_id) for each in scene.next().opened}
    assert found == {(kind, execution_of(refused)) for kind in (Difference.DONE_OTHERWISE, Difference.PARTIES_DIFFER)}


def test_what_the_ledger_paid_and_the_rail_has_not_is_found(scene):
    paid = decision()
    scene.desk.hear(paid)
    path = scene.fetch("csv")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1].replace("-7.00,1,", "0.00,0,"))
    assert [each.kind for each in scene.take(path).opened] == [Difference.NOT_AT_RAIL]


def test_another_amount_is_found(scene):
    paid = decision()
    scene.desk.hear(paid)
    path = scene.fetch()
    path.write_bytes(path.read_bytes().replace(b">7.00<", b">7.01<"))
    assert [each.kind for each in scene.take(path).opened] == [Difference.AMOUNT_DIFFERS]


def test_the_same_payment_on_two_statements_is_found(scene):
    scene.desk.hear(decision())
    first = scene.next("csv")
    assert first.opened == []
    path = scene.fetch("csv")
    entry = (path.parent / "statement-1").read_text().splitlines(keepends=True)[-1]
    text = path.read_text().replace("-7.00,-7.00,0,", "-7.00,-14.00,1,")
    path.write_text(text + entry)
    assert [each.kind for each in scene.take(path).opened] == [Difference.TWICE]


def test_a_doubt_heals_once_the_ledger_has_the_rails_word(scene, monkeypatch):
    doubtful = in_doubt(scene, monkeypatch)
    assert [each.kind for each in scene.next().opened] == [Difference.DONE_OTHERWISE]
    scene.desk.retry()
    assert scene.desk.state(doubtful) == "SETTLED"
    later = scene.next(until_ms=int(time.time() * 1000) + 3 * QUARTER_MS)
    assert (later.opened, [each.kind for each in later.closed]) == ([], [Difference.DONE_OTHERWISE])
    assert scene.open_kinds() == []


def test_what_stood_on_no_statement_heals_when_a_later_one_has_it(scene):
    scene.desk.hear(decision())
    full = scene.fetch("csv")
    lines = full.read_text().splitlines(keepends=True)
    full.write_text(lines[0] + lines[1].replace("-7.00,1,", "0.00,0,"))
    assert [each.kind for each in scene.take(full).opened] == [Difference.NOT_AT_RAIL]
    path = scene.fetch("csv")
    path.write_text(path.read_text().replace("0.00,0.00,0,", "0.00,-7.00,1,") + lines[2])
    later = scene.take(path)
    assert (later.opened, [each.kind for each in later.closed]) == ([], [Difference.NOT_AT_RAIL])


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (b"FRAUD-SETTLEMENT", b"ANOTHER", "another account"),
        (b">7.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><Dt>", b">8.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><Dt>", "closes with"),
        (b"<NbOfNtries>1<", b"<NbOfNtries>2<", "says 2 entries"),
    ],
)
def test_a_statement_that_contradicts_itself_is_taken_in_not_at_all(scene, before, after, why):
    scene.desk.hear(decision())
    path = scene.fetch()
    whole = path.read_bytes()
    assert before in whole
    path.write_bytes(whole.replace(before, after))
    with pytest.raises(StatementUnusable, match=why):
        scene.take(path)
    assert scene.connection.execute("SELECT count(*) FROM control.rail_entry").fetchone() == (0,)
    path.write_bytes(whole)
    assert scene.take(path).opened == []


def test_a_statement_is_taken_in_once_and_in_its_turn(scene):
    path = scene.fetch()
    scene.take(path)
    with pytest.raises(StatementUnusable, match="taken in before"):
        scene.intake.take(path)
    scene._sequence = 3
    with pytest.raises(StatementUnusable, match="take in 2 first"):
        scene.intake.take(scene.fetch())


def test_differences_are_told(scene, stack):
    from pipeline.io.kafka.log_reader import LogReader

    scene.pay_behind_its_back("0f8fad5b-d9cb-569f-a165-70867728950e")
    scene.next()
    with LogReader(stack.bootstrap_servers, "test", {}) as reader:
        alerts = [WireFormat().decode_alert(record.value) for record in reader.read_all("alerts.v1")]
    assert any(getattr(each, "code", "") == "STATEMENT_DIFFERS" for each in alerts)


def test_nothing_that_was_taken_in_is_changed(scene):
    scene.desk.hear(decision())
    scene.next()
    for table in ("rail_statement", "rail_entry"):
        with pytest.raises(Exception, match=r"append-only|permission denied"):
            scene.connection.execute(f"DELETE FROM control.{table}".encode())


def test_books_and_statement_of_the_rail_agree(scene):
    paid = decision()
    scene.desk.hear(paid)
    with urlopen(f"{scene._rail}/v1/books") as answer:
        books = orjson.loads(answer.read())
    assert scene.next().head.closing_minor == -books["paid_minor"]["GBP"]


class Hole(NamedTuple):
    """Time between two statements that no statement is of, in milliseconds, and what the account has there."""

    since_ms: int
    until_ms: int
    has_minor: int


@pytest.fixture
def hole(scene):
    """Ten minutes that no statement is of, in which the ledger has nothing, and what was named of them."""
    scene.desk.hear(decision())
    began_ms = int(time.time() * 1000) - 1_200_000
    scene.next("csv", until_ms=began_ms)
    scene._since_ms += 600_000
    taken = scene.next("csv")
    assert Difference.TIME_MISSING in [each.kind for each in taken.opened]
    return Hole(began_ms, began_ms + 600_000, taken.head.opening_minor)


def late(scene, since_ms, until_ms, opening_minor, closing_minor=None, name="late"):
    """A statement without entries, as a bank sends it later."""
    times = [datetime.fromtimestamp(each / 1000, UTC).isoformat() for each in (since_ms, until_ms)]
    minors = [opening_minor, opening_minor if closing_minor is None else closing_minor]
    balances = [f"{each / 100:.2f}" for each in minors]
    head = scene.fetch("csv").read_text().splitlines()[0]
    path = scene._folder / name
    fields = ["STATEMENT", "FRAUD-SETTLEMENT", "GBP", "9", name, *times, *balances, "0", "", "", "", "", ""]
    path.write_text(f"{head}\n{','.join(fields)}\n")
    return path


def test_time_between_two_statements_is_named_until_a_statement_of_it_comes(scene, hole):
    [taken] = scene.intake.take(late(scene, *hole))
    assert (taken.opened, [each.kind for each in taken.closed]) == ([], [Difference.TIME_MISSING])
    assert scene.open_kinds() == []
    assert scene.next("csv", until_ms=now_ms() + QUARTER_MS).opened == [], "the next one follows as before"


def test_a_gap_is_filled_from_its_beginning_on_and_what_is_left_is_named(scene, hole):
    middle_ms = hole.since_ms + 300_000
    [taken] = scene.intake.take(late(scene, hole.since_ms, middle_ms, hole.has_minor, name="first"))
    assert [each.kind for each in taken.closed] == [Difference.TIME_MISSING]
    assert [each.kind for each in taken.opened] == [Difference.TIME_MISSING]
    [taken] = scene.intake.take(late(scene, middle_ms, hole.until_ms, hole.has_minor, name="second"))
    assert (taken.opened, [each.kind for each in taken.closed]) == ([], [Difference.TIME_MISSING])
    assert scene.open_kinds() == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"opening_minor": 1}, "opens with"),
        ({"closing_minor": 1}, "its entries sum to|closes with"),
        ({"since_ms": 60_000}, "begins before|take in|taken in before"),
        ({"until_ms": 60_000}, "begins before|take in|taken in before"),
    ],
)
def test_a_statement_that_does_not_fit_into_the_gap_is_refused(scene, hole, change, why):
    """Another balance, or another time than that of the gap."""
    since_ms, until_ms = (getattr(hole, name) + change.get(name, 0) for name in ("since_ms", "until_ms"))
    opening_minor = hole.has_minor + change.get("opening_minor", 0)
    path = late(scene, since_ms, until_ms, opening_minor, opening_minor + change.get("closing_minor", 0))
    with pytest.raises(StatementUnusable, match=why):
        scene.intake.take(path)
    assert scene.open_kinds() == [Difference.TIME_MISSING]


def paid_in_euros(scene):
    treasurer = scene.desk.as_role("fraud_treasurer")
    append_openings(treasurer, [Opening(PAYER, "EUR", 0, 10_000)], int(time.time() * 1000))
    euros = decision()
    payment = euros.snapshot.transaction._replace(currency="EUR")
    euros = euros._replace(decision_id=decision_id_of(payment), snapshot=euros.snapshot._replace(transaction=payment))
    scene.desk.hear(euros)
    assert scene.desk.state(euros) == "SETTLED"


def take_euros(scene, until_ms, since_ms=0, opening_minor=0, sequence=1):
    asked = f"format=csv&currency=EUR&until_ms={until_ms}&since_ms={since_ms}"
    asked += f"&opening_minor={opening_minor}&sequence={sequence}"
    path = scene._folder / f"euros-{sequence}"
    path.write_bytes(urlopen(f"{scene._rail}/v1/statement?{asked}").read())
    [taken] = scene.intake.take(path)
    return taken


def test_a_currency_whose_statement_may_come_yet_is_not_missed(scene):
    """A rail sends a day's statements one after the other; nothing differs at the first of them."""
    paid_in_euros(scene)
    scene.desk.hear(decision())
    assert scene.next("csv").opened == []


def test_a_currency_without_any_statement_is_named_until_there_is_one(scene, monkeypatch):
    monkeypatch.setattr(statement_service, "MISSED_AFTER", timedelta(0))
    paid_in_euros(scene)
    scene.desk.hear(decision())
    assert [(each.kind, each.key) for each in scene.next("csv").opened] == [(Difference.NO_STATEMENT, "EUR")]
    assert scene.next("csv", until_ms=now_ms() + 60_000).opened == []
    assert [each.kind for each in take_euros(scene, now_ms()).closed] == [Difference.NO_STATEMENT]


def test_a_currency_whose_statements_end_is_named_each_time(scene, monkeypatch):
    monkeypatch.setattr(statement_service, "MISSED_AFTER", timedelta(0))
    first_ms = int(time.time() * 1000)
    first = take_euros(scene, first_ms)
    paid_in_euros(scene)
    scene.desk.hear(decision())
    [found] = scene.next("csv").opened
    assert (found.kind, found.key) == (Difference.NO_STATEMENT, f"EUR/{first.head.to_at.isoformat()}")
    assert scene.next("csv", until_ms=now_ms() + 60_000).opened == []
    later = take_euros(scene, now_ms(), first_ms, sequence=2)
    assert (later.opened, [each.kind for each in later.closed]) == ([], [Difference.NO_STATEMENT])


def now_ms() -> int:
    return int(time.time() * 1000) + QUARTER_MS + 60_000


@pytest.mark.parametrize("ahead", [timedelta(days=2), timedelta(days=365 * 70)])
def test_no_statement_is_stored_that_ends_in_days_to_come(database_url, ahead):
    """By whoever has the role's credential: none that the bank sends could follow it until then."""
    with (
        closing(connect(url_as(database_url, "fraud_reconcile"), "test")) as thief,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        thief.execute(
            "INSERT INTO control.rail_statement (account_id, currency, sequence, name, format, from_at, to_at,"
            " opening_minor, closing_minor, entries, file_sha256, taken_at)"
            " VALUES ('A', 'GBP', 1, 'S', 'csv', now(), now() + %s, 0, 0, 0, sha256('s'), now() + %s)",
            [ahead, ahead],
        )


def booked_twice(path):
    """Make the rail book what the statement's last line says a second time."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines).replace("-7.00,1,", "-14.00,2,") + lines[-1])
    return path


def in_doubt(scene, monkeypatch):
    """A payment that the rail has made, and of which the ledger doesn't know."""
    doubtful = decision()
    with monkeypatch.context() as patched:
        from pipeline.execute.saga import Answer

        real = Rail.pay

        def silent(self, transfers, **named):
            real(self, transfers, **named)
            return {each.key: Answer.UNKNOWN for each in transfers}

        patched.setattr(Rail, "pay", silent)
        scene.desk.hear(doubtful)
    assert scene.desk.state(doubtful) == "IN_DOUBT"
    return doubtful


@pytest.mark.parametrize("turn", range(4))
def test_what_was_booked_twice_stays_when_the_doubt_about_it_heals(scene, monkeypatch, turn):
    """The order of findings is that of their ids, so any of several about one key could be taken for all."""
    in_doubt(scene, monkeypatch)
    opened = scene.take(booked_twice(scene.fetch("csv"))).opened
    assert {each.kind for each in opened} == {Difference.TWICE, Difference.DONE_OTHERWISE}
    scene.desk.retry()
    later = scene.next("csv", until_ms=int(time.time() * 1000) + 3 * QUARTER_MS)
    assert [each.kind for each in later.closed] == [Difference.DONE_OTHERWISE]
    assert scene.open_kinds() == [Difference.TWICE]


def test_a_payment_that_is_booked_a_third_time_is_told_again(scene):
    scene.desk.hear(decision())
    assert [each.kind for each in scene.take(booked_twice(scene.fetch("csv"))).opened] == [Difference.TWICE]
    entry = (scene._folder / "statement-1").read_text().splitlines(keepends=True)[-1]
    path = scene.fetch("csv")
    path.write_text(path.read_text().replace("-14.00,-14.00,0,", "-14.00,-21.00,1,") + entry)
    assert [each.kind for each in scene.take(path).opened] == [Difference.TWICE]
    assert scene.open_kinds() == [Difference.TWICE, Difference.TWICE]


def with_a_fee(scene, name: str):
    """The next statement, under a name of the bank's, with a line that no payment of ours explains."""
    path = scene.fetch("csv")
    head, stated = path.read_text().splitlines()[:2]
    fields = stated.split(",")
    opening = float(fields[7])
    fields[4], fields[8], fields[9] = name, f"{opening - 0.15:.2f}", "1"
    line = ["ENTRY", "FRAUD-SETTLEMENT", "GBP", *[""] * 7, "OTHER", "", "-0.15", "", ""]
    path.write_text(f"{head}\n{','.join(fields)}\n{','.join(line)}\n")
    return path


def test_a_bank_that_names_its_statements_alike_hides_no_line(scene):
    """A bank may name the statements of each year anew; a line that explains itself by nothing is new each time."""
    first = scene.take(with_a_fee(scene, "1"))
    second = scene.take(with_a_fee(scene, "1"))
    assert [each.kind for each in first.opened] == [each.kind for each in second.opened] == [Difference.UNEXPLAINED]
    assert scene.open_kinds() == [Difference.UNEXPLAINED, Difference.UNEXPLAINED]


def test_what_was_paid_before_the_first_statement_is_named_until_a_statement_of_it_comes(scene):
    scene.desk.hear(decision())
    began_ms = int(time.time() * 1000) + QUARTER_MS + 60_000
    earlier = scene.fetch("csv", until_ms=began_ms)
    scene._sequence, scene._opening_minor, scene._since_ms = 2, -700, began_ms
    first = scene.next("csv", until_ms=began_ms + 60_000)
    assert [each.kind for each in first.opened] == [Difference.TIME_MISSING]
    [taken] = scene.intake.take(earlier)
    assert (taken.opened, [each.kind for each in taken.closed]) == ([], [Difference.TIME_MISSING])
    assert scene.open_kinds() == []


def unstated_kinds(scene, monkeypatch):
    monkeypatch.setattr(statement_watch_service, "UNSTATED_AFTER", timedelta(0))
    told = []
    watch = statement_watch_service.StatementWatch("FRAUD-SETTLEMENT", told.extend, lambda: 1_000)
    found = watch.look(scene.connection)
    assert [each.evidence["key"] for each in told] == [each.found.key for each in found]
    return [(each.currency, each.found.kind) for each in found]


def test_statements_that_do_not_come_are_missed_without_another(scene, monkeypatch):
    """No statement was ever taken in, or none any more, and nobody would have heard of it."""
    assert unstated_kinds(scene, monkeypatch) == []
    scene.desk.hear(decision())
    assert unstated_kinds(scene, monkeypatch) == [("GBP", Difference.NO_STATEMENT)]
    scene.next("csv", until_ms=int(time.time() * 1000) + 1)
    assert unstated_kinds(scene, monkeypatch) == []
    scene.desk.hear(decision(amount_minor=300))
    assert unstated_kinds(scene, monkeypatch) == [("GBP", Difference.NO_STATEMENT)]


def test_a_statement_that_may_come_yet_is_not_missed(scene):
    scene.desk.hear(decision())
    assert statement_watch_service.unstated(scene.connection, "FRAUD-SETTLEMENT") == []


@pytest.fixture
def found(scene):
    """A line that nothing explains, and a payment that no statement has."""
    scene.desk.hear(decision())
    path = with_a_fee(scene, "1")
    assert {each.kind for each in scene.take(path).opened} == {Difference.UNEXPLAINED, Difference.NOT_AT_RAIL}
    return scene


CLOSED = b"""
    INSERT INTO control.rail_finding (finding_id, event, kind, account_id, currency, key, execution_id, detail,
        statement_number)
    SELECT finding_id, 'CLOSED', kind, account_id, currency, key, execution_id, 'so they say', %s
    FROM control.rail_finding
"""
FORGED = b"""
    INSERT INTO control.rail_statement (account_id, currency, sequence, name, format, from_at, to_at, opening_minor,
        closing_minor, entries, file_sha256)
    VALUES ('FRAUD-SETTLEMENT', 'GBP', 99, 'forged', 'csv', now(), now(), 0, 0, 0, sha256('f'))
    RETURNING statement_number
"""


def forge(connection, statement: bytes) -> None:
    """In the transaction of a statement that nobody sent."""
    with connection.transaction():
        row = connection.execute(FORGED).fetchone()
        connection.execute(statement, row)


def test_whoever_holds_the_roles_credential_closes_no_difference(found):
    with pytest.raises(psycopg.errors.RestrictViolation):
        found.connection.execute(CLOSED, [1])
    with pytest.raises(psycopg.errors.RestrictViolation):
        forge(found.connection, CLOSED)
    assert set(found.open_kinds()) == {Difference.UNEXPLAINED, Difference.NOT_AT_RAIL}


def test_nobody_takes_the_id_that_a_difference_will_have(found):
    taken = b"""
        INSERT INTO control.rail_finding (finding_id, event, kind, account_id, currency, key, detail, statement_number)
        VALUES (gen_random_uuid(), 'OPENED', 'TWICE', 'ANOTHER', 'GBP', 'key', 'none', %s)
    """
    with pytest.raises(psycopg.errors.RestrictViolation):
        forge(found.connection, taken)


def test_no_line_is_slipped_into_a_statement_that_was_taken_in(found):
    """By which a payment that the rail never made would have stood on one, and its difference healed."""
    with pytest.raises(psycopg.errors.RestrictViolation):
        found.connection.execute(
            "INSERT INTO control.rail_entry (statement_number, number, kind, key, amount_minor)"
            " SELECT statement_number, 1000, 'TRANSFER', 'key', -700 FROM control.rail_statement"
        )
