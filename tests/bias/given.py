"""Decisions of segments, and the monitor on a broker and a PostgreSQL, with the rights of its role."""

from __future__ import annotations

import threading
from collections.abc import Callable

from confluent_kafka import Producer

from ops.bench.rig.stored import Tail
from pipeline.bias.service import BiasService
from pipeline.bias.service_command import service_of
from pipeline.domain.alert import Alert
from pipeline.domain.decision import Decision, InputSnapshot, Outcome
from pipeline.domain.features import COLUMN, FEATURES
from pipeline.domain.identities import DecisionId
from pipeline.io.avro.wire import WireFormat
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.settings import Settings
from tests.decisions import DECISION, written
from tests.records import NOON_MS
from tests.sealing import seal_headers
from tests.servers import unused_prefix, url_as

WIRE = WireFormat()
WAIT_S = 120.0
PARTITIONS = 4
MINUTE_MS = 60_000
SUSPECT = "segment:postcode_area=NE"


def decision(number: int, postcode: str, outcome: Outcome, account: str | None = None) -> Decision:
    account_id = f"A-{number}" if account is None else account
    features = [0] * len(FEATURES)
    features[COLUMN["account_count_30d"]], features[COLUMN["account_count_24h"]] = 9, 1
    payment = DECISION.snapshot.transaction._replace(
        transaction_id=f"T-{number}", account_id=account_id, segments={"postcode_area": postcode}
    )
    return DECISION._replace(
        decision_id=DecisionId(f"00000000-0000-5000-8000-{number:012x}"),
        transaction_id=payment.transaction_id,
        account_id=account_id,
        outcome=outcome,
        snapshot=InputSnapshot(payment, tuple(features)),
    )


def minute(first: int, payments: int, suspects_blocked_percent: int) -> list[Decision]:
    """One in ten is of the suspect postcode; one in fifty of the others is blocked."""
    made = []
    for number in range(first, first + payments):
        is_suspect = number % 10 == 0
        percent = suspects_blocked_percent if is_suspect else 2
        is_blocked = (number // 10) * 7 % 100 < percent if is_suspect else number % 50 == 1
        made.append(decision(number, "NE" if is_suspect else "SW", Outcome.BLOCK if is_blocked else Outcome.ALLOW))
    return made


class Topics:
    """decisions.v1, labels.v1 and alerts.v1 under a prefix of their own."""

    def __init__(self, servers: str, database_url: str) -> None:
        self.prefix, self.now_ms = unused_prefix(), NOON_MS
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 2})
        for name in ("decisions.v1", "labels.v1", "alerts.v1"):
            self._producer.list_topics(self.prefix + name, timeout=WAIT_S)  # the mock broker makes it
        self._tail = Tail(servers, f"{self.prefix}alerts.v1")
        self._alerts: list[Alert] = []
        self.settings = Settings(
            bootstrap_servers=servers,
            topic_prefix=self.prefix,
            database_url=url_as(database_url, "fraud_bias"),
        )

    def service(self, snapshot_s: float = 0.0) -> BiasService:
        return service_of(self.settings, WIRE, lambda _: self.now_ms, snapshot_s)

    def publish(self, decisions: list[Decision], at_ms: int, *, is_sealed: bool = True) -> None:
        topic = f"{self.prefix}decisions.v1"
        for each in decisions:
            key, value = each.account_id.encode(), written(each)
            partition = Partitioning(Partitioner.CRC32, PARTITIONS).of(key)
            headers = seal_headers(topic, key, value, partition) if is_sealed else []
            self._producer.produce(topic, value, key, partition, timestamp=at_ms, headers=headers)
        assert self._producer.flush(WAIT_S) == 0

    def alerts(self) -> list[Alert]:
        found = [WIRE.decode_alert(record.value) for record in self._tail.news()]
        self._alerts += [each for each in found if isinstance(each, Alert)]
        return self._alerts


def stepped(service: BiasService, is_done: Callable[[], bool], turns: int = 1_000) -> None:
    """Step until it is done; each turn waits for half a second at most, and for nothing where there is work."""
    for _ in range(turns):
        service.step(threading.Event())
        if is_done():
            return
    raise AssertionError("it isn't done")
