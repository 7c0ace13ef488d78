"""Whenever an executor tells what became of payments, a decision's features follow from what it says that it knew."""

from __future__ import annotations

from itertools import islice

import pytest

from ops.bench.loss.late_executor import LateExecutor, recompute
from ops.bench.rig.payments import payments
from ops.bench.rig.publisher import publish
from ops.bench.rig.services import worker_process
from ops.bench.rig.stored import Tail
from ops.bench.rig.supervision import running
from ops.bench.rig.waiting import wait_until
from ops.stack.topics import create_topics
from pipeline.decide.batch import Judge, TopicNames
from pipeline.decide.regime_files import RegimeSource
from pipeline.domain.features import COLUMN
from pipeline.io.avro.wire import WireFormat
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.settings import Settings
from tests.decisions import decision_of
from tests.servers import unused_prefix

WIRE = WireFormat()
WAIT_S = 120.0
PAYMENTS, PARTS, ACCOUNTS = 1_200, 6, 100
PARTITIONS = 4  # as the embedded broker has them


@pytest.mark.timeout(900)
@pytest.mark.parametrize("held_back", [0, 300])
def test_account_features_follow_from_the_recorded_position(stack, tmp_path, held_back):
    servers, prefix = stack.bootstrap_servers, unused_prefix()
    create_topics(servers, prefix=prefix)
    log = payments(WIRE, PAYMENTS, accounts=ACCOUNTS)
    environment = {"FRAUD_TOPIC_PREFIX": prefix, "FRAUD_STATE_PREFIX": prefix, "FRAUD_CONSUMER_GROUP": prefix}
    worker = worker_process(tmp_path, servers, stack.redis_url, environment=environment)
    decisions = Tail(servers, f"{prefix}decisions.v1")
    decided = []

    def are_decided(count: int) -> bool:
        decided.extend(decision_of(found.value) for found in decisions.news())
        return len(decided) >= count

    with running(worker), LateExecutor(servers, prefix, held_back):
        for part in range(1, PARTS + 1):
            publish(servers, f"{prefix}transactions.v1", islice(log, PAYMENTS // PARTS))
            wait_until(lambda: are_decided(part * PAYMENTS // PARTS), WAIT_S, "deciding", every_s=0.1)  # noqa: B023
    topics = TopicNames("", "")
    partitioning = Partitioning(Partitioner.CRC32, PARTITIONS)
    recomputed = recompute(servers, prefix, Judge(RegimeSource(Settings()).current, WIRE, topics, "", partitioning.of))
    assert (recomputed.decisions, recomputed.differing) == (PAYMENTS, [])
    assert recomputed.positions > PARTITIONS, "outcomes came in between"
    unpaid = {each.snapshot.features[COLUMN["is_unpaid_beneficiary"]] for each in decided}
    assert unpaid == {0, 1}, "some payees are known by then"
