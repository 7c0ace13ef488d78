"""A worker process while a version is rolled out, on the embedded stack: who decides, and the way back."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from models.versions.aliases import AliasRecord
from ops.bench.rig.services import status
from ops.bench.rig.stored import Tail
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from ops.stack.topics import create_topics
from pipeline.decide.rollout.sharing import Sharing, salt_key
from pipeline.domain.decision import StoredDecision
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.keys.key_files import create_signing_key, replace_key_set
from pipeline.keys.key_sets import KeyUse, with_key
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.verify import Result, verify
from tests.promotion.stage import CANDIDATE, CHAMPION, LIMITS, Stage
from tests.records import PAYMENT
from tests.servers import unused_prefix

WIRE = WireFormat()
WAIT_S = 120.0
HALF = LIMITS.model_copy(update={"shares_percent": (50, 100)})


class Scene:
    """A stage, and a worker that reads its registry."""

    def __init__(self, stack: Any, stage: Stage, folder: Path) -> None:
        self.stage, self.port, prefix = stage, free_port(), unused_prefix()
        seal = create_signing_key(folder / "seal.pem", KeyUse.DECISIONS, with_set=False)
        replace_key_set(folder / "keys", with_key(stage.keys, KeyUse.DECISIONS, seal.public, 0))
        self.settings = Settings(
            bootstrap_servers=stack.bootstrap_servers,
            redis_url=stack.redis_url,
            topic_prefix=prefix,
            state_prefix=prefix,
            consumer_group=prefix,
            web_port=self.port,
            model_registry=stage.registry.root,
            model_memory=folder / "memory",
            seal_key_file=folder / "seal.pem",
            seal_keys_file=folder / "keys",
            feeds_path=folder / "feeds",
        )
        create_topics(stack.bootstrap_servers, prefix=prefix)
        self._producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
        names = ("bootstrap_servers", "redis_url", "topic_prefix", "state_prefix", "consumer_group", "web_port")
        names += ("model_registry", "model_memory", "seal_key_file", "seal_keys_file", "feeds_path")
        self.worker = ServerProcess(
            "worker",
            [sys.executable, "-m", "ops.cli", "worker", "run"],
            is_ready=lambda: status(self.port, "/ready") == 200,
            log_path=folder / "worker.log",
            environment={f"FRAUD_{name.upper()}": str(getattr(self.settings, name)) for name in names},
        )

    def pay(self, ids: list[str]) -> dict[str, StoredDecision]:
        """Publish payments and wait for their decisions."""
        at_ms = time.time_ns() // 1_000_000
        for transaction_id in ids:
            payment = PAYMENT._replace(transaction_id=transaction_id, event_time_ms=at_ms)
            key, value = PAYMENT.account_id.encode(), WIRE.encode_transaction(payment)
            self._producer.produce(self.settings.topic("transactions.v1"), value, key, timestamp=at_ms)
        assert self._producer.flush(WAIT_S) == 0
        found: dict[str, StoredDecision] = {}

        def are_decided() -> bool:
            records = Tail(self.settings.bootstrap_servers, self.settings.topic("decisions.v1")).news()
            decided = [WIRE.decode_stored_decision(record.value) for record in records]
            found.update({each.decision.transaction_id: each for each in decided if isinstance(each, StoredDecision)})
            return found.keys() >= set(ids)

        wait_until(are_decided, WAIT_S, "deciding payments", every_s=0.1)
        return {transaction_id: found[transaction_id] for transaction_id in ids}

    def ready(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/ready", timeout=WAIT_S) as answer:
            page: dict[str, Any] = json.loads(answer.read())
        return page

    def verified(self, decided: dict[str, StoredDecision]) -> set[Result]:
        archive = RegimeArchive.of(self.settings)
        return {check.result for check in verify(list(decided.values()), archive.regime_of)}


def versions(decided: dict[str, StoredDecision]) -> dict[str, str]:
    return {transaction_id: each.decision.model_version for transaction_id, each in decided.items()}


def chosen(record: AliasRecord, ids: list[str]) -> dict[str, str]:
    sharing = Sharing(record.share_ppm, salt_key(record.salt))
    return {each: CANDIDATE if sharing.chooses(each) else CHAMPION for each in ids}


@pytest.mark.timeout(900)
def test_both_models_decide_their_shares_each_decision_verifies_and_the_next_batch_goes_back(
    stack: Any, owner: Any, database_url: str, tmp_path: Path
) -> None:
    stage = Stage(tmp_path, owner, database_url)
    scene = Scene(stack, stage, tmp_path)
    stage.ready()
    record = stage.promote(limits=HALF).record
    assert record is not None
    scene.worker.start()
    try:
        ids = [f"tx-{number}" for number in range(40)]
        decided = scene.pay(ids)
        assert versions(decided) == chosen(record, ids)
        assert set(versions(decided).values()) == {CHAMPION, CANDIDATE}
        assert scene.verified(decided) == {Result.IDENTICAL}
        page = scene.ready()
        assert (page["model"], page["rollout"]) == (CHAMPION, {"model": CANDIDATE, "share_ppm": 500_000})

        scene.worker.kill()  # another worker makes the same choice
        scene.worker.start()
        again = [f"ty-{number}" for number in range(20)]
        assert versions(scene.pay(again)) == chosen(record, again)

        assert stage.roll_back().record is not None
        back = scene.pay([f"tz-{number}" for number in range(20)])  # published after it: the next batch
        assert set(versions(back).values()) == {CHAMPION}
        assert scene.verified(back) == {Result.IDENTICAL}
    finally:
        scene.worker.stop()
        stage.close()
