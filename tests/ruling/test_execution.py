"""What the executor makes of a ruling: it stands for the answer that the rail can't give any more, and pays nobody."""

from __future__ import annotations

from contextlib import closing
from urllib.request import urlopen

import orjson
import pytest

from ops.rail.misbehaviour import Misbehaviour
from pipeline.execute.batch_service import Executor
from pipeline.execute.notice_topics import Notices
from pipeline.execute.rail_client import Rail, Recall, Transfer
from pipeline.io.postgres import DatabaseRefused, connect
from pipeline.people.store import revoke_key
from pipeline.ruling.acts import Verdict
from pipeline.ruling.ruling_store import RulingRefused, append_proposal, confirm, doubt_of
from tests.execute.given import PAYEE, PAYER, Desk, decision, execution_of, reversal, review
from tests.known import identity, revoke
from tests.ruling.given import Crash, appoint, doubt, forgotten, rule, ruled, ruling_on
from tests.servers import url_as

pytestmark = pytest.mark.usefixtures("people")


@pytest.fixture
def people(owner):
    appoint(owner)


def books(address):
    with urlopen(f"{address}/v1/books") as answer:
        return orjson.loads(answer.read())


def last_ruled(desk, record):
    """The step by a ruling, its cause, and the digest of the act that it names."""
    return desk.connection.execute(
        "SELECT step, cause, encode(ruling, 'hex') FROM ledger.transition WHERE execution_id = %s AND cause = 'RULING'",
        [execution_of(record)],
    ).fetchall()


def confirmed_act(desk, ruling):
    ((act,),) = desk.connection.execute(
        "SELECT encode(confirmed_act, 'hex') FROM control.confirmed_ruling WHERE ruling_id = %s", [ruling.ruling_id]
    ).fetchall()
    return act


def test_what_was_made_is_settled_by_the_ruling(desk, rail_of):
    desk.open(GB29_0001=10_000)
    paid = decision()
    rail = rail_of()
    with forgotten(desk, rail, paid) as second:
        act = confirmed_act(second, rule(second, paid, "MADE"))
        assert second.retry() == 0
        assert (second.state(paid), second.balance(PAYEE), second.balance(PAYER)) == ("SETTLED", 700, 9_300)
        assert last_ruled(second, paid) == [("CREDIT", "RULING", act)]
        assert (books(rail)["counts"], second.findings()) == ({}, [])


def test_what_was_not_made_goes_back_to_the_payer_and_may_be_published_anew(desk, rail_of):
    desk.open(GB29_0001=10_000)
    paid = decision()
    rail = rail_of()
    with forgotten(desk, rail, paid) as second:
        rule(second, paid, "NOT_MADE")
        assert second.retry() == 0
        assert (second.state(paid), second.reason(paid)) == ("RELEASED", "RULED_NOT_MADE")
        assert (second.balance(PAYER), second.balance("/clearing")) == (10_000, 0)
        # Nothing pays it here again, whatever is heard of it.
        second.hear(reversal(paid, "ALLOW"))
        assert (second.state(paid), books(rail)["counts"]) == ("RELEASED", {})
        anew = decision()
        second.hear(anew)
        assert (second.state(anew), books(rail)["counts"]) == ("SETTLED", {"ACCEPTED": 1})
        assert second.findings() == []


@pytest.mark.parametrize(
    ("corrected", "verdict", "ends"),
    [
        ("BLOCK", "NOT_MADE", "REVERSED"),
        ("ESCALATE", "NOT_MADE", "RELEASED"),
        (None, "NOT_MADE", "RELEASED"),
        ("ALLOW", "NOT_MADE", "RELEASED"),
    ],
)
def test_what_was_not_made_and_reversed_meanwhile_is_with_the_payer(desk, rail_of, corrected, verdict, ends):
    desk.open(GB29_0001=10_000)
    paid, rail = decision(), rail_of()
    with forgotten(desk, rail, paid) as second:
        back = reversal(paid, corrected)
        second.hear(back)
        assert second.state(paid) == "IN_DOUBT"
        rule(second, paid, verdict)
        assert second.retry() == 0
        assert (second.state(paid), second.balance(PAYER), second.balance("/clearing")) == (ends, 10_000, 0)
        assert (books(rail)["counts"], second.findings()) == ({}, [])


def test_a_review_of_what_a_ruling_released_pays_nobody(desk, rail_of):
    desk.open(GB29_0001=10_000)
    paid, rail = decision(), rail_of()
    with forgotten(desk, rail, paid) as second:
        second.hear(reversal(paid, "ESCALATE"))
        rule(second, paid, "NOT_MADE")
        second.retry()
        second.hear(review(paid, "ALLOW"))
        assert (second.state(paid), second.balance(PAYER), books(rail)["counts"]) == ("RELEASED", 10_000, {})


def test_what_was_made_and_reversed_meanwhile_is_recalled(desk, rail_of):
    """The rail is asked to take it back; of a transfer that it has forgotten it can't, which is in doubt again."""
    desk.open(GB29_0001=10_000)
    paid, rail = decision(), rail_of()
    with forgotten(desk, rail, paid) as second:
        second.hear(reversal(paid, "BLOCK"))
        rule(second, paid, "MADE")
        second.retry()
        assert second.state(paid) == "RECALL_IN_DOUBT"
        assert second.retry() == 1  # its key is forgotten
        rule(second, paid, "NOT_MADE")
        assert second.retry() == 0
        assert (second.state(paid), second.reason(paid), second.balance(PAYEE)) == ("SETTLED", "RECALL_REFUSED", 700)
        assert (books(rail)["counts"], second.findings()) == ({}, [])


@pytest.mark.parametrize(
    ("later", "verdict", "ends", "payer_minor"),
    [
        (None, "MADE", "REVERSED", 10_000),
        (None, "NOT_MADE", "SETTLED", 9_300),
        ("ALLOW", "MADE", "RELEASED", 10_000),
        ("ALLOW", "NOT_MADE", "SETTLED", 9_300),
        ("ESCALATE", "MADE", "RELEASED", 10_000),
        ("ESCALATE", "NOT_MADE", "SETTLED", 9_300),
    ],
)
def test_a_recall_that_was_forgotten_ends_as_ruled(desk, rail_of, later, verdict, ends, payer_minor):
    desk.open(GB29_0001=10_000, GB29_0002=0)
    paid, rail = decision(), rail_of()
    back = reversal(paid, "BLOCK")
    with forgotten(desk, rail, paid, back) as second:
        assert second.state(paid) == "RECALL_IN_DOUBT"
        if later is not None:
            second.hear(reversal(paid, later, after=back))
        assert doubt(second, paid).step == "RECALL"
        rule(second, paid, verdict)
        assert second.retry() == 0
        assert (second.state(paid), second.balance(PAYER), second.balance("/clearing")) == (ends, payer_minor, 0)
        assert (books(rail)["counts"], second.findings()) == ({}, [])


@pytest.mark.parametrize(
    ("verdict", "ends", "payer_minor"),
    [("MADE", "PARTLY_RECALLED", 9_799), ("NOT_MADE", "PART_RECALL_REFUSED", 9_300)],
)
def test_a_part_that_was_forgotten_ends_as_ruled(desk, rail_of, verdict, ends, payer_minor):
    desk.open(GB29_0001=10_000, GB29_0002=0)
    paid = decision()
    spent = decision(payer=PAYEE, payee="GB29-0003", amount_minor=201)
    with forgotten(desk, rail_of(), paid, spent, reversal(paid, "BLOCK")) as second:
        assert (doubt(second, paid).step, doubt(second, paid).amount_minor) == ("RECALL_PART", 499)
        rule(second, paid, verdict)
        assert second.retry() == 0
        assert (second.state(paid), second.reason(paid), second.balance(PAYER)) == ("SETTLED", ends, payer_minor)
        assert second.findings() == []


# What the rail still says goes before any ruling


def test_the_rails_late_answer_goes_before_a_ruling(desk, rail_of):
    desk.open(GB29_0001=10_000)
    paid, rail = decision(), rail_of()
    with forgotten(desk, rail, paid) as second:
        ruling = rule(second, paid, "NOT_MADE")
        with closing(Rail(rail)) as late:
            late.pay([Transfer(ruling.about.key, PAYER, PAYEE, "GBP", 700)])
        assert second.retry() == 0
        assert (second.state(paid), last_ruled(second, paid)) == ("SETTLED", [])
        assert second.findings() == []


def test_a_silent_rail_makes_no_ruling_count(desk, rail_of):
    desk.open(GB29_0001=10_000)
    paid = decision()
    with forgotten(desk, rail_of(), paid) as second:
        rule(second, paid, "MADE")
        silent = rail_of(Misbehaviour(error_before_share=1.0))
        second.rail.close()
        second.rail._connection.port = int(silent.rpartition(":")[2])
        assert second.retry() == 1
        assert second.state(paid) == "IN_DOUBT"


def test_a_ruling_has_no_key_submitted_however_long_the_rail_is_said_to_keep_keys(desk, rail_of, owner):
    """The setting was raised, or the clock set back, since the rail forgot the key; and the ruling counts no more."""
    desk.open(GB29_0001=10_000)
    paid, rail = decision(), rail_of()
    with forgotten(desk, rail, paid) as second:
        rule(second, paid, "NOT_MADE")
        revoke(owner, "rob", "ROLLBACK_REQUESTER", admin="ana")
        second.execution._keys_kept_s = 1e9
        assert second.retry() == 1
        assert (second.state(paid), books(rail)["counts"]) == ("IN_DOUBT", {})


def test_nothing_is_ruled_while_the_rail_may_still_say(executor_url, appender, rail_of):
    """It is in doubt because the rail is silent: its key is young, and it will be asked again."""
    with closing(Desk(executor_url, appender, rail_of(Misbehaviour(error_before_share=1.0)))) as desk:
        desk.open(GB29_0001=1_000)
        paid = decision()
        desk.hear(paid)
        assert desk.state(paid) == "IN_DOUBT"
        assert doubt_of(desk.as_role("fraud_rollback"), execution_of(paid)) is None


def test_a_ruling_on_a_doubt_that_is_over_is_refused(desk, rail_of):
    """The rail has answered between the proposal and its confirmation, or another ruling was taken."""
    desk.open(GB29_0001=10_000)
    paid = decision()
    with forgotten(desk, rail_of(), paid) as second:
        first, other = (ruling_on(doubt(second, paid), verdict) for verdict in (Verdict.MADE, Verdict.NOT_MADE))
        rollback = second.as_role("fraud_rollback")
        append_proposal(rollback, other, identity("rob"))
        ruled(rollback, first)
        assert second.retry() == 0
        with pytest.raises(RulingRefused, match="in no doubt"):
            confirm(rollback, other, identity("ada"))
        with pytest.raises(RulingRefused, match="in no doubt"):
            append_proposal(rollback, ruling_on(first.about, Verdict.NOT_MADE), identity("rob"))


# Crashes

BOUNDARIES = {
    "before the rail is asked": (Rail, "pay", True),
    "before the step is stored": (Executor, "_append", True),
    "once the step is stored": (Executor, "_complete", True),
    "after upstream was told": (Notices, "tell", False),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("verdict", "ends"), [("MADE", "SETTLED"), ("NOT_MADE", "RELEASED")])
def test_a_crash_at_any_boundary_of_a_ruling_changes_nothing(boundary, verdict, ends, desk, rail_of, monkeypatch):
    desk.open(GB29_0001=10_000)
    paid, rail = decision(), rail_of()
    with forgotten(desk, rail, paid) as second:
        rule(second, paid, verdict)
        owner, name, is_before = BOUNDARIES[boundary]
        real = getattr(owner, name)

        def crashing(*arguments, **named):
            if not is_before:
                real(*arguments, **named)
            raise Crash

        with monkeypatch.context() as patched:
            patched.setattr(owner, name, crashing)
            with pytest.raises(Crash):
                second.retry()
        appender = second.execution._notices._appender
        with closing(Desk(second.url, appender, rail, rail_keeps_keys_s=0.0)) as third:
            third.resume()
            assert third.retry() == 0
            assert (third.state(paid), len(last_ruled(third, paid)), books(rail)["counts"]) == (ends, 1, {})
            assert third.findings() == []


def test_two_executors_take_one_ruling_once(desk, rail_of, monkeypatch):
    """The zombie has asked the rail and stands before its commit while its successor takes the ruling."""
    desk.open(GB29_0001=10_000)
    paid, rail = decision(), rail_of()
    with forgotten(desk, rail, paid) as second:
        rule(second, paid, "MADE")
        appender = second.execution._notices._appender
        with closing(Desk(second.url, appender, rail, rail_keeps_keys_s=0.0)) as third:
            real = Executor._append

            def overtaken(execution, connection, rows):
                if execution is second.execution:
                    third.retry()
                real(execution, connection, rows)

            monkeypatch.setattr(Executor, "_append", overtaken)
            with pytest.raises(DatabaseRefused):
                second.retry()
            assert (third.state(paid), third.balance(PAYEE), len(last_ruled(third, paid))) == ("SETTLED", 700, 1)


# People


def test_revocation_voids_a_ruling_that_the_executor_has_not_taken(desk, rail_of, owner):
    desk.open(GB29_0001=10_000)
    paid = decision()
    with forgotten(desk, rail_of(), paid) as second:
        rule(second, paid, "MADE")
        revoke(owner, "rob", "ROLLBACK_REQUESTER", admin="ana")
        second.retry()
        assert second.state(paid) == "IN_DOUBT"
        ruled(second.as_role("fraud_rollback"), ruling_on(doubt(second, paid), Verdict.NOT_MADE), ("eve", "ada"))
        second.retry()
        assert second.state(paid) == "RELEASED"


def test_revocation_of_a_key_voids_it_too_and_what_was_taken_stays(desk, rail_of, owner):
    desk.open(GB29_0001=10_000)
    one, other = decision(), decision()
    with forgotten(desk, rail_of(), one) as second:
        rule(second, one, "MADE")
        second.retry()
        with forgotten(second, rail_of(), other) as third:
            rule(third, other, "MADE")
            assert revoke_key(owner, identity("ada").key_id, "she has left", identity("ana")) is None
            third.retry()
            assert (third.state(one), third.state(other)) == ("SETTLED", "IN_DOUBT")
            assert third.findings() == []


def test_the_latest_ruling_that_is_proved_counts(desk, rail_of, owner, database_url):
    """A mistake is ruled over before it is taken; rows that nobody signed keep nobody from anything."""
    desk.open(GB29_0001=10_000)
    paid = decision()
    with forgotten(desk, rail_of(), paid) as second:
        rule(second, paid, "MADE")
        rule(second, paid, "NOT_MADE")
        with owner.transaction():
            owner.execute("SET LOCAL session_replication_role = replica")
            owner.execute(
                "INSERT INTO control.ruling_proposal (ruling_id, about, subject, execution_id, sequence, verdict,"
                " evidence, reason, proposed_by, act) SELECT gen_random_uuid(), about, subject, execution_id, sequence,"
                " 'MADE', evidence, reason, 'rob', sha256('forged') FROM control.ruling_proposal LIMIT 1"
            )
            owner.execute(
                "INSERT INTO control.ruling (ruling_id, confirmed_by, act)"
                " SELECT ruling_id, 'ada', sha256('forged too') FROM control.ruling_proposal"
                " WHERE act = sha256('forged')"
            )
        assert second.retry() == 0
        assert second.state(paid) == "RELEASED"
    with closing(connect(url_as(database_url, "fraud_reader"), "test")) as reader:
        assert reader.execute("SELECT count(*) FROM control.ruling").fetchone() == (3,)


# The rail says otherwise after all


@pytest.mark.parametrize(
    ("verdict", "is_paid", "is_contradicted"),
    [("MADE", True, False), ("MADE", None, False), ("MADE", False, True), ("NOT_MADE", True, True)],
)
def test_a_rail_that_says_otherwise_later_is_told_once_and_moves_nothing(
    desk, rail_of, owner, verdict, is_paid, is_contradicted
):
    desk.open(GB29_0001=10_000)
    paid = decision()
    rail = rail_of(Misbehaviour(refused_share=1.0) if is_paid is False else None)
    with forgotten(desk, rail, paid) as second:
        ruling = rule(second, paid, verdict)
        second.retry()
        state = second.state(paid)
        if is_paid is not None:
            with closing(Rail(rail)) as late:
                late.pay([Transfer(ruling.about.key, PAYER, PAYEE, "GBP", 700)])
        found = [second.execution.watch.look(second.connection, [0]) for _ in range(2)]
        assert [[each.key for each in one] for one in found] == [[ruling.about.key] if is_contradicted else [], []]
        assert (second.state(paid), second.findings()) == (state, [])
        cases = owner.execute("SELECT reason FROM review.open_recovery").fetchall()
        assert cases == ([("RULING_CONTRADICTED",)] if is_contradicted else [])


def test_a_recall_that_the_rail_carried_out_after_all_is_told(desk, rail_of):
    desk.open(GB29_0001=10_000, GB29_0002=0)
    paid, rail = decision(), rail_of()
    with forgotten(desk, rail, paid, reversal(paid, "BLOCK")) as second:
        ruling = rule(second, paid, "NOT_MADE")
        second.retry()
        with closing(Rail(rail)) as late:
            late.pay([Transfer("the-transfer", PAYER, PAYEE, "GBP", 700)])
            late.recall([Recall(ruling.about.key, "the-transfer", 700)])
        [found] = second.execution.watch.look(second.connection, [0])
        assert (found.key, second.state(paid)) == (ruling.about.key, "SETTLED")


def test_a_silent_rail_contradicts_nothing(desk, rail_of):
    desk.open(GB29_0001=10_000)
    paid = decision()
    with forgotten(desk, rail_of(), paid) as second:
        rule(second, paid, "MADE")
        second.retry()
        second.rail.close()
        second.rail._connection.port = int(rail_of(Misbehaviour(error_before_share=1.0)).rpartition(":")[2])
        assert second.execution.watch.look(second.connection, [0]) == []
