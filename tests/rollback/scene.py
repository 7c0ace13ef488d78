"""Topics, a database, and a plan about what wrong models decided; and what must stand on the topics afterwards."""

from __future__ import annotations

import threading
import time
from collections import Counter
from uuid import uuid4

from ops.bench.rig.stored import Tail
from ops.stack.topics import create_topics
from pipeline.domain.identities import reversal_id
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.replay.redecide import Basis, Good, Version
from pipeline.rollback.derivation_store import Criteria
from pipeline.rollback.plan_command import _applier
from pipeline.rollback.plan_store import read_lines
from pipeline.rollback.planning_service import Planner, Request
from pipeline.rollback.reversal import released_id
from tests.archive import CLOSED, payment
from tests.decisions import record_of
from tests.known import identity
from tests.rollback.stand import NOBODY_BEHIND, WIRE, Audited
from tests.servers import unused_prefix, url_as

HOUR_MS = 3_600_000
FLAT_OUT = 1e9
WAIT_S = 120.0


class Scene:
    """Topics, a database, and a plan about decisions of two wrong models: those `blocked` are given back."""

    def __init__(self, stack, database_url, owner, connection, archive, directory, desk, blocked=30, allowed=20):
        self.prefix = unused_prefix()
        self.connection, self.archive, self._owner = connection, archive, owner
        self.environment = {
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_DATABASE_URL": url_as(database_url, "fraud_rollback"),
            "FRAUD_TOPIC_PREFIX": self.prefix,
            "FRAUD_POLICY_ARCHIVE": str(archive.policies),
            "FRAUD_MODEL_REGISTRY": str(archive.registry),
        }
        self.settings = Settings(
            bootstrap_servers=stack.bootstrap_servers,
            database_url=self.environment["FRAUD_DATABASE_URL"],
            topic_prefix=self.prefix,
            policy_archive=archive.policies,
            model_registry=archive.registry,
        )
        self.audited = Audited(owner, directory, desk, f"{self.prefix}decisions.v1")
        self._heard = 0
        create_topics(stack.bootstrap_servers, prefix=self.prefix)
        names = ("decisions.v1", "transactions.v1")
        self.tails = {name: Tail(stack.bootstrap_servers, self.prefix + name) for name in names}
        self.read = {name: [] for name in self.tails}
        archive.decide_by("blocks-all")
        values = archive.values([payment(n, amount_minor=5_000) for n in range(blocked)], [CLOSED] * blocked)
        archive.decide_by("allows-all")
        more = [payment(n) for n in range(blocked, blocked + allowed)]
        values += archive.values(more, [CLOSED] * allowed, ip_fraud_reports=3)
        self.audited.append(values)
        self.plan_id = self.make_plan()

    def make_plan(self, lifetime_ms=HOUR_MS, now_ms=None):
        good = Good(Version("small-1", self.archive.good.model.hash), None, Basis.RECORDED)
        request = Request(Criteria(route="MODEL"), {"route": "MODEL"}, good, "it went wrong", identity("rae"))
        topic = NOBODY_BEHIND._replace(name=f"{self.prefix}decisions.v1")
        planner = Planner(self.connection, WIRE, self.archive.regime_of, topic, lifetime_ms)
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        return planner.plan(request, str(uuid4()), now_ms).header.plan_id

    def apply(
        self,
        by="abe",
        plan_id=None,
        rate=FLAT_OUT,
        stopping=None,
        advance=lambda _: None,
        *,
        is_heard=True,
        is_audited=True,
    ):
        """The executor hears each portion as it is appended, or nothing (`is_heard`); nobody waits for it.

        is_audited: the audit log says that it has come to the topic's end.
        """

        def advanced(done):
            if is_heard:
                self.hear()
            advance(done)

        with LogReader.of(self.settings) as log:
            if is_audited:
                self._move_audit(log)
            applier = _applier(self.settings, WIRE, self.connection, log, patience_s=0.0)
            return applier.apply(plan_id or self.plan_id, identity(by), rate, stopping or threading.Event(), advanced)

    def _move_audit(self, log):
        """What was fed by hand has places of its own; partitions that have none there count from the topic's end."""
        topic = f"{self.prefix}decisions.v1"
        for partition, extent in log.extents(topic).items():
            self._owner.execute(
                "INSERT INTO control.consumer_position AS known (consumer, topic, partition, next_offset)"
                " VALUES ('audit', %s, %s, %s) ON CONFLICT (consumer, topic, partition) DO UPDATE"
                " SET next_offset = greatest(known.next_offset, excluded.next_offset)",
                [topic, partition, extent.high],
            )

    def hear(self, *, is_executed=True):
        """Audit log and executor take in what stands on decisions.v1."""
        found = self.news("decisions.v1")
        fresh = [one.value for one in found[self._heard :]]
        self._heard = len(found)
        if fresh:
            self.audited.append(fresh, is_executed=is_executed)

    def news(self, topic):
        self.read[topic] += self.tails[topic].news()
        return self.read[topic]

    def lines(self):
        with self.connection.transaction():
            return list(read_lines(self.connection, self.plan_id))

    def require_done_once(self):
        """The topics hold exactly what the plan leads to."""
        lines = [line for line in self.lines() if line.disposition in ("REVERSE", "RELEASE")]
        found = [record_of(one.value) for one in self.news("decisions.v1")]
        assert Counter(each.reversal_id for each in found) == Counter(
            reversal_id(self.plan_id, line.decision_id) for line in lines
        )
        by_decision = {each.decision_id: each for each in found}
        for line in lines:
            record = by_decision[line.decision_id]
            assert record.corrected_outcome == (None if line.disposition == "RELEASE" else line.after)
            assert (record.reversed_outcome, record.account_id) == (line.before, line.account_id)
        published = self.news("transactions.v1")
        payments = [WIRE.decode_transaction(one.value).transaction for one in published]
        expected = Counter(
            released_id(line.transaction_id, line.decision_id) for line in lines if line.disposition == "RELEASE"
        )
        assert Counter(each.transaction_id for each in payments) == expected
        assert all(
            one.key == each.account_id.encode()
            for one, each in zip(self.read["transactions.v1"], payments, strict=True)
        )
