"""executions.v1 held against the ledger: what executors tell is so, and what anybody else tells is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.alert import Alert
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.log import Outgoing
from pipeline.execute.restoring.lives import LIFE_STEPS
from pipeline.io.clock import now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.postgres import connect
from pipeline.keys.key_files import is_signed
from pipeline.keys.key_sets import KeySet, KeyUse, with_key
from pipeline.reconcile.told import ToldFault
from pipeline.reconcile.told_watch_service import ToldWatch, UnprovedTold
from pipeline.seals.proving import SealCheck
from tests.decisions import written
from tests.execute.given import PAYEE, WIRE, Desk, decision, reversal, review
from tests.seals.given import sealer_with, signing_key
from tests.servers import unused_prefix, url_as

STRANGER = "00000000-0000-4000-8000-000000000001"


class World:
    """An executor that tells a topic of its own, and the watch over it; `alerts` are what that has told."""

    def __init__(self, servers: str, database_url: str, desk: Desk, appender: Appender) -> None:
        prefix = unused_prefix()
        self.desk, self.appender, self.topic = desk, appender, f"{prefix}executions.v1"
        self.alerts: list[Alert] = []
        desk.execution._notices._executions = self.topic
        self.reader = LogReader(servers, "fraud-reconcile", {}, is_expiry_expected=True)
        self.connection = connect(url_as(database_url, "fraud_reconcile"), "test")
        self.servers, self.publish = servers, AlertPublisher(self._keep, WIRE, f"{prefix}alerts.v1").publish
        self.watch = ToldWatch(self.reader, WIRE, self.topic, self.publish, now_ms)

    def look(self) -> int:
        return self.watch.step(self.connection)

    def told(self) -> list[Execution]:
        found = [WIRE.decode_execution(record.value) for record in self.reader.read_all(self.topic)]
        return [each for each in found if isinstance(each, Execution)]

    def tell(self, value: bytes) -> None:
        """As whoever has the executor's credential on the broker."""
        self.appender.append([Outgoing(self.topic, PAYEE.encode(), value)])

    def why(self) -> str:
        return self.alerts[-1].evidence["why"]

    def close(self) -> None:
        self.reader.close()
        self.connection.close()

    def _keep(self, records: list[Outgoing]) -> None:
        found = [WIRE.decode_alert(record.value) for record in records]
        self.alerts += [each for each in found if isinstance(each, Alert)]


@pytest.fixture
def world(stack, database_url, desk: Desk, appender) -> Iterator[World]:
    desk.open(GB29_0001=10_000, GB29_0002=0)
    with closing(World(stack.bootstrap_servers, database_url, desk, appender)) as world:
        yield world


class Killed(Exception):
    """Stands for kill -9."""


def test_what_the_executor_tells_is_so_wherever_its_payments_end(world):
    desk, paid, held = world.desk, decision(), decision("ESCALATE")
    partly, early = decision(amount_minor=500), decision()
    desk.hear(paid, held, decision("BLOCK"), decision(amount_minor=99_999))
    desk.hear(review(held, "ALLOW"), reversal(paid, "BLOCK"))
    desk.hear(reversal(early, None), early, partly)
    desk.hear(decision(payer=PAYEE, payee="GB29-0003", amount_minor=900))
    desk.hear(reversal(partly, "BLOCK"))
    desk.hear(decision(amount_minor=0))
    states = {each.state for each in world.told()}
    assert {"SETTLED", "HELD", "REFUSED", "REVERSED"} <= states
    assert any(each.returned_minor for each in world.told())
    assert (world.look(), world.alerts) == (0, [])


def test_what_was_told_before_a_crash_is_so(world, monkeypatch):
    """The step is not stored, and will be."""
    desk, paid = world.desk, decision()

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(desk.execution.settled, "advance", killed)
        desk.hear(paid)
    assert (len(world.told()), desk.state(paid)) == (1, "CREDITED")
    assert world.look() == 0
    desk.resume()
    assert (desk.state(paid), world.look(), world.alerts) == ("SETTLED", 0, [])


FORGED = {
    "another payee": ({"beneficiary_account_id": "GB29-0666"}, ToldFault.OTHER_PAYMENT),
    "another payer": ({"account_id": "GB29-0666"}, ToldFault.OTHER_PAYMENT),
    "another amount": ({"amount_minor": 1}, ToldFault.OTHER_PAYMENT),
    "another worth": ({"amount_gbp_minor": 1_000_000}, ToldFault.OTHER_PAYMENT),
    "another time": ({"payment_time_ms": 1_000}, ToldFault.OTHER_PAYMENT),
    "a part that came back": ({"returned_minor": 1}, ToldFault.OTHER_PAYMENT),
    "refused": ({"state": ExecutionState.REFUSED}, ToldFault.OTHER_STATE),
    "a step to come": ({"sequence": 77, "state": ExecutionState.REVERSED}, ToldFault.OTHER_STATE),
    "the next step": ({"sequence": 6, "state": ExecutionState.REVERSED}, ToldFault.OTHER_STATE),
    "a life to come": ({"sequence": LIFE_STEPS + 5}, ToldFault.NO_SUCH_LIFE),
    "before all lives": ({"sequence": 0}, ToldFault.NO_SUCH_LIFE),
    "a payment that never was": ({"execution_id": STRANGER}, ToldFault.UNKNOWN_PAYMENT),
    "no id": ({"execution_id": "x" * 36}, ToldFault.UNKNOWN_PAYMENT),
}


def lay_out_an_hour_ago(owner) -> None:
    owner.execute("SET session_replication_role = replica")
    owner.execute("UPDATE ledger.life SET began_at = now() - interval '1 hour'")


def test_what_nobody_of_ours_tells_is_found_and_named(world, owner):
    lay_out_an_hour_ago(owner)
    world.desk.hear(decision())
    [told] = world.told()
    assert world.look() == 0
    for change, why in FORGED.values():
        world.tell(WIRE.encode(told._replace(**change)))
        assert (world.look(), world.why()) == (1, why), change
    world.tell(b"no execution")
    assert (world.look(), world.why()) == (1, ToldFault.UNREADABLE)
    world.tell(WIRE.encode(told))  # the same again is what executors do
    assert world.look() == 0
    assert len(world.alerts) == len(FORGED) + 1
    assert len({each.alert_id for each in world.alerts}) == len(world.alerts)


def test_a_payment_is_not_told_as_logged_at_a_time_that_the_executor_alone_says(world, owner):
    """Whoever has its credentials for ledger and topic could make a payee look known for long."""
    world.desk.hear(paid := decision())
    [told] = world.told()
    owner.execute("SET session_replication_role = replica")
    kept = "UPDATE audit.ai_decision_log SET record = %s WHERE decision_id = %s"
    owner.execute(kept, [written(paid), paid.decision_id])
    assert world.look() == 0
    earlier_ms = told.payment_logged_at_ms - 90 * 86_400_000
    change = "UPDATE ledger.execution SET payment_logged_at = to_timestamp(%s / 1000.0) WHERE execution_id = %s"
    owner.execute(change, [earlier_ms, told.execution_id])
    world.tell(WIRE.encode(told._replace(payment_logged_at_ms=earlier_ms)))
    assert (world.look(), world.why()) == (1, ToldFault.OTHER_PAYMENT)


def test_what_no_executor_proves_to_have_told_is_found_beside_what_it_told(world):
    """Even where the ledger bears it out: nobody else may say it."""
    desk, key = world.desk, signing_key()
    desk.hear(decision())  # before executors had a key
    assert world.look() == 0
    keys = with_key(KeySet({}), KeyUse.EXECUTIONS, key.public, 0)
    check = SealCheck(lambda _: keys, is_signed, now_ms, KeyUse.EXECUTIONS)
    unproved = UnprovedTold()
    proves = {world.topic: unproved.noting(check.unproved)}
    count = len(world.reader.extents(world.topic))
    partition_of = Partitioning(Partitioner.CRC32, count).of
    desk.execution._notices._seal = sealer_with(key, world.topic, partition_of).seal
    with closing(LogReader(world.servers, "fraud-reconcile", {}, is_expiry_expected=True, proves=proves)) as reader:
        watch = ToldWatch(reader, WIRE, world.topic, world.publish, now_ms, unproved)
        desk.hear(decision(), decision("BLOCK"))
        assert watch.step(world.connection) == 0
        for told in world.told()[-2:]:
            world.tell(WIRE.encode(told))
        assert (watch.step(world.connection), world.why()) == (2, ToldFault.UNPROVED)
        desk.hear(decision())
        assert (watch.step(world.connection), len(world.alerts)) == (0, 1)


def test_an_earlier_life_is_compared_with_nothing_that_it_may_have_done_otherwise(world, owner):
    """But what is told as of it once the next has begun is nobody's."""
    world.desk.hear(decision())
    [told] = world.told()
    world.tell(WIRE.encode(told._replace(state=ExecutionState.REFUSED)))
    owner.execute("SET session_replication_role = replica")
    owner.execute(
        "INSERT INTO ledger.life (number, system_identifier, timeline, reason, began_at)"
        " SELECT 2, system_identifier, timeline, 'it was put back', now() + interval '1 hour' FROM ledger.life"
    )
    assert world.look() == 0
    owner.execute("UPDATE ledger.life SET began_at = now() - interval '1 hour' WHERE number = 2")
    world.tell(WIRE.encode(told))
    assert (world.look(), world.why()) == (1, ToldFault.NO_SUCH_LIFE)
