"""Plans applied on a broker: what stands on the topics afterwards, also when it was killed in the middle."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from ops.bench.stored import Tail
from ops.demo_scene import clean_environment
from pipeline.adapters.appender import TransactionalAppender
from pipeline.adapters.kafka import BrokerFailed, Outgoing
from pipeline.adapters.plans import ProgressKind, read_lines, read_plan, read_progress
from pipeline.adapters.postgres import connect
from pipeline.commands.rollback import _applier
from pipeline.core.identities import reversal_id
from pipeline.core.reversal import ApplyRefusal, released_id
from pipeline.services.redecide import Basis, Good
from pipeline.services.rollback_apply import AnotherIsApplied, NoSuchPlan, ProgressBroken
from pipeline.services.rollback_plan import Criteria, Planner, Request
from pipeline.settings import Settings
from tests.cli.archive import CLOSED, payment
from tests.records import NOON_MS
from tests.rollback.stand import WIRE, Audited, fields_of

HOUR_MS = 3_600_000
FLAT_OUT = 1e9
WAIT_S = 30.0
_prefixes = itertools.count(1)


class Scene:
    """Topics, a database, and a plan about decisions of two wrong models: those `blocked` are given back."""

    def __init__(self, stack, database_url, owner, connection, archive, directory, blocked=30, allowed=20):
        self.prefix = f"r{next(_prefixes)}."
        self.connection, self.archive = connection, archive
        self.environment = {
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_DATABASE_URL": database_url.replace("fraud_owner@", "fraud_rollback@"),
            "FRAUD_TOPIC_PREFIX": self.prefix,
            "FRAUD_POLICY_ARCHIVE": str(archive.policies),
            "FRAUD_MODEL_REGISTRY": str(archive.registry),
        }
        self.settings = Settings(
            bootstrap_servers=stack.bootstrap_servers,
            database_url=self.environment["FRAUD_DATABASE_URL"],
            topic_prefix=self.prefix,
        )
        self.audited = Audited(owner, directory, f"{self.prefix}decisions.v1")
        producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
        for topic in ("decisions.v1", "transactions.v1"):
            producer.list_topics(self.prefix + topic, timeout=WAIT_S)  # the mock broker makes it
        self.tails = {
            name: Tail(stack.bootstrap_servers, self.prefix + name) for name in ("decisions.v1", "transactions.v1")
        }
        self.read = {name: [] for name in self.tails}
        archive.decide_by("blocks-all")
        values = archive.values([payment(n, amount_minor=5_000) for n in range(blocked)], [CLOSED] * blocked)
        archive.decide_by("allows-all")
        more = [payment(n) for n in range(blocked, blocked + allowed)]
        values += archive.values(more, [CLOSED] * allowed, ip_fraud_reports=3)
        self.audited.append(values)
        self.plan_id = self.make_plan()

    def make_plan(self, lifetime_ms=HOUR_MS, now_ms=None):
        good = Good(("small-1", self.archive.good.model.hash), None, Basis.RECORDED)
        request = Request(Criteria(route="MODEL"), {"route": "MODEL"}, good, "it went wrong", "rae")
        planner = Planner(self.connection, WIRE, self.archive.regimes(), f"{self.prefix}decisions.v1", lifetime_ms)
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        return planner.plan(request, str(uuid4()), now_ms).header.plan_id

    def apply(self, by="abe", plan_id=None, rate=FLAT_OUT, stopping=None, advance=lambda _: None):
        applier = _applier(self.settings, WIRE, self.connection)
        return applier.apply(plan_id or self.plan_id, by, rate, stopping or threading.Event(), advance)

    def news(self, topic):
        self.read[topic] += self.tails[topic].news()
        return self.read[topic]

    def lines(self):
        with self.connection.transaction():
            return list(read_lines(self.connection, self.plan_id))

    def require_done_once(self):
        """The topics hold exactly what the plan leads to."""
        lines = [line for line in self.lines() if line.disposition in ("REVERSE", "RELEASE")]
        found = [fields_of(one.value) for one in self.news("decisions.v1")]
        assert Counter(each["reversal_id"] for each in found) == Counter(
            reversal_id(self.plan_id, line.decision_id) for line in lines
        )
        by_decision = {each["decision_id"]: each for each in found}
        for line in lines:
            record = by_decision[line.decision_id]
            assert record["corrected_outcome"] == (None if line.disposition == "RELEASE" else line.after)
            assert (record["reversed_outcome"], record["account_id"]) == (line.before, line.account_id)
        published = self.news("transactions.v1")
        payments = [WIRE.decode_transaction(one.value).transaction for one in published]
        expected = Counter(released_id(line.transaction_id) for line in lines if line.disposition == "RELEASE")
        assert Counter(each.transaction_id for each in payments) == expected
        assert all(
            one.key == each.account_id.encode()
            for one, each in zip(self.read["transactions.v1"], payments, strict=True)
        )


@pytest.fixture
def scene(stack, database_url, owner, connection, archive, tmp_path):
    return lambda **sizes: Scene(stack, database_url, owner, connection, archive, tmp_path / "audit", **sizes)


def test_a_plan_is_carried_out_exactly(scene):
    scene = scene()
    seen = []
    applied = scene.apply(advance=seen.append)
    assert (applied.appended, applied.here, applied.is_complete) == (50, 50, True)
    assert seen == [0, 50]
    scene.require_done_once()
    kinds = [each.kind for each in read_progress(scene.connection, scene.plan_id)]
    assert kinds == [ProgressKind.STARTED, ProgressKind.APPENDED, ProgressKind.COMPLETED]


def test_applied_again_it_appends_nothing(scene):
    scene = scene()
    scene.apply()
    again = scene.apply()
    assert (again.appended, again.here, again.is_complete) == (50, 0, True)
    scene.require_done_once()


def test_records_name_both_people_and_say_why(scene):
    scene = scene()
    scene.apply()
    records = [fields_of(one.value) for one in scene.news("decisions.v1")]
    assert {(each["requested_by"], each["approved_by"]) for each in records} == {("rae", "abe")}
    assert all(each["reason"].startswith("it went wrong. Under model small-1") for each in records)


@pytest.mark.parametrize(
    ("by", "refusal"),
    [("rae", ApplyRefusal.NOT_AUTHORISED), ("mallory", ApplyRefusal.NOT_AUTHORISED)],
)
def test_who_may_not_is_refused_and_nothing_is_appended(scene, by, refusal):
    scene = scene()
    assert scene.apply(by=by) is refusal
    assert scene.news("decisions.v1") == []


def test_nobody_applies_their_own_plan_though_they_hold_both_roles(scene, owner):
    scene = scene()
    grant = "INSERT INTO control.person_grant (name, role, is_held, granted_by) VALUES (%s, %s, true, 'test')"
    owner.execute(grant, ["rae", "ROLLBACK_APPROVER"])
    assert scene.apply(by="rae") is ApplyRefusal.OWN_PLAN


def test_an_altered_plan_is_refused(scene, owner):
    """By a superuser who switches the triggers off; the hash tells."""
    scene = scene()
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.rollback_plan_decision SET amount_minor = amount_minor + 1 WHERE position = 7")
    assert scene.apply() is ApplyRefusal.ALTERED
    assert scene.news("decisions.v1") == []


def test_an_expired_plan_is_refused(scene):
    scene = scene()
    expired = scene.make_plan(lifetime_ms=1, now_ms=NOON_MS)
    assert scene.apply(plan_id=expired) is ApplyRefusal.EXPIRED


def test_a_plan_that_was_overtaken_by_another_is_refused(scene):
    """Two plans about the same decisions: the second would reverse what the first has reversed."""
    scene = scene()
    second = scene.make_plan()
    scene.apply()
    scene.audited.append([one.value for one in scene.news("decisions.v1")])
    assert scene.apply(plan_id=second) is ApplyRefusal.OVERTAKEN


def test_no_plan_has_that_id(scene):
    with pytest.raises(NoSuchPlan):
        scene().apply(plan_id=str(uuid4()))


def test_what_is_told_to_stop_is_taken_up_where_it_stood(scene):
    scene = scene(blocked=10, allowed=10)
    stopping = threading.Event()
    stopped = scene.apply(rate=5, stopping=stopping, advance=lambda done: stopping.set() if done >= 4 else None)
    assert (stopped.appended, stopped.is_complete) == (4, False)
    finished = scene.apply(by="both")  # another approver may finish it; the records still name the first
    assert (finished.appended, finished.here) == (20, 16)
    scene.require_done_once()
    assert {fields_of(one.value)["approved_by"] for one in scene.read["decisions.v1"]} == {"abe"}


def test_a_rate_is_kept(scene):
    scene = scene(blocked=0, allowed=30)
    begun = time.monotonic()
    scene.apply(rate=20)
    assert time.monotonic() - begun >= 30 / 20


def test_two_are_not_applied_at_once(scene, database_url):
    scene = scene()
    with closing(connect(database_url, "other")) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('control.rollback_apply'))")
        scene.connection.execute("SET lock_timeout = '100ms'")
        with pytest.raises(AnotherIsApplied):
            scene.apply()


def test_a_transaction_that_a_killed_run_left_open_is_ended_and_done_again(scene):
    """Appended but not committed: to a reader it is not there, and the next run appends it."""
    scene = scene(blocked=5, allowed=5)
    stopping = threading.Event()
    scene.apply(rate=5, stopping=stopping, advance=lambda done: stopping.set() if done >= 2 else None)
    zombie = Producer(
        {"bootstrap.servers": scene.settings.bootstrap_servers, "transactional.id": f"fraud-rollback-{scene.plan_id}"}
    )
    zombie.init_transactions(WAIT_S)
    zombie.begin_transaction()
    zombie.produce(f"{scene.prefix}decisions.v1", b"never committed", b"key")
    zombie.flush(WAIT_S)
    assert scene.apply().appended == 10
    scene.require_done_once()


def test_a_run_that_was_shut_out_appends_nothing_more(scene):
    scene = scene()
    predecessor = TransactionalAppender(scene.settings.bootstrap_servers, f"fraud-rollback-{scene.plan_id}", {})
    predecessor.start()
    scene.apply()
    with pytest.raises(BrokerFailed):
        predecessor.append([Outgoing(f"{scene.prefix}decisions.v1", b"key", b"late")])
    scene.require_done_once()


def test_records_under_the_plans_id_that_it_does_not_lead_to_stop_it(scene):
    scene = scene(blocked=5, allowed=5)
    stopping = threading.Event()
    scene.apply(rate=5, stopping=stopping, advance=lambda done: stopping.set() if done >= 2 else None)
    genuine = fields_of(scene.news("decisions.v1")[0].value)
    del genuine["record"]
    forged = {**genuine, "-type": "fraud.v1.Reversal", "reversal_id": str(uuid4())}
    producer = Producer({"bootstrap.servers": scene.settings.bootstrap_servers})
    producer.produce(f"{scene.prefix}decisions.v1", WIRE.encode("decision.v1", forged), b"key")
    assert producer.flush(WAIT_S) == 0
    with pytest.raises(ProgressBroken):
        scene.apply()


def test_killed_again_and_again_it_appends_every_record_once(scene):
    """kill -9 at random moments of the real command, ten times; then it is let finish."""
    scene, chance = scene(blocked=150, allowed=150), random.Random(7)
    command = [sys.executable, "-m", "pipeline.cli", "rollback", "apply", scene.plan_id, "--by", "abe", "--rate", "60"]
    environment = {**clean_environment(), **scene.environment}
    killed = 0
    for _ in range(10):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            process.wait(chance.uniform(0.7, 2.2))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    command[-1] = "100000"
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    assert killed >= 3
    scene.require_done_once()
    plan = read_plan(scene.connection, scene.plan_id)
    assert read_progress(scene.connection, scene.plan_id)[-1].appended == plan.changing == 300
