"""Rebuilding the state: from nothing, and from an RDB a tenth behind; on one server, and on a cluster with two shards.

The log is filled with cheap synthetic payments, and the group's offsets are set to its end, as if all had been decided.
A worker that starts then finds its state lost with the first payment that follows. The time is from that loss to the
end of the rebuild, as the worker's own log tells it; the payments a second are its own. Payments that trickle in
meanwhile show how many partitions decide.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.bench.rig.publisher import Publisher
from ops.bench.rig.sealed import sealed
from ops.bench.rig.services import worker_process
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import Outbound, prepare_topics
from ops.bench.rig.waiting import GROUP, wait_until
from ops.compiled import compiled_tree_or_none, python_path
from ops.processes.servers import ServerProcess, free_port, process_cpu_seconds
from ops.stack.kafka.broker import bootstrap_servers, kafka_broker
from ops.stack.redis_cluster import running_cluster
from ops.stack.redis_server import Persistence, redis_server, redis_url, system_executable
from pipeline.domain.log import Record, Source
from pipeline.domain.payment import Channel, Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.dead_letters import DeadLetters

ACCOUNTS: Final = 1_000_000
PAYMENTS: Final = 20_000_000
QUICK: Final = 50
"""A quick run has this many times fewer accounts and payments."""
PARTITIONS: Final = 8
START_MS: Final = 1_767_225_600_000  # 2026-01-01
SPAN_MS: Final = 30 * 86_400_000
BEHIND_SHARE: Final = 10
"""One payment in so many is missing in the older RDB."""
TRICKLE_PAUSE_S: Final = 0.5
DEADLINE_S: Final = 4 * 3600.0
SHARDS: Final = 2
GROUP_S: Final = 60.0
GOAL_PER_S: Final = 20_000
MEMORY_BYTES: Final = 12 * 1024**3
TOPIC: Final = "transactions.v1"
LETTERS: Final = "transactions.dead.v1"


def run(
    say: Callable[[str], None],
    folder: Path,
    *,
    is_quick: bool,
    sizes: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, object]:
    """Measure. sizes: `accounts` and `payments`, where they differ from the goal's."""
    accounts, payments = sizes.get("accounts", ACCOUNTS), sizes.get("payments", PAYMENTS)
    if is_quick:
        accounts, payments = accounts // QUICK, payments // QUICK
    tree = compiled_tree_or_none(say)
    environment = {"FRAUD_STATE_BACKUP_ALERT_MINUTES": "0", **python_path(tree)}
    port = free_port()
    servers = bootstrap_servers(port)
    results: dict[str, dict[str, object]] = {}
    with running(kafka_broker(folder / "kafka", port, free_port(), None)):
        prepare_topics(servers, "", PARTITIONS)
        log = _Log(servers, accounts, payments)
        say(f"publishing {payments:,} payments of {accounts:,} accounts")
        log.fill(payments)
        with _one_server(folder / "one") as server:
            results["from_nothing"] = _measured(
                say, "from_nothing", folder, log, server.url, environment, [server.process]
            )
            server.keep_copy()
            more = payments // BEHIND_SHARE
            log.fill(more)
            server.start_from_copy()
            results["from_older_rdb"] = _measured(
                say, "from_older_rdb", folder, log, server.url, environment, [server.process]
            )
        sharded = {**environment, "FRAUD_STATE_SHARDS": str(SHARDS)}
        with running_cluster(system_executable(), folder / "cluster") as cluster:
            results["second_shard"] = _measured(
                say, "second_shard", folder, log, cluster.url, sharded, list(cluster.servers.values())
            )
    rate = results["from_nothing"]["payments_per_s"]
    assert isinstance(rate, int)
    return {
        "accounts": accounts,
        "payments": payments,
        "compiled": tree is not None,
        **results,
        "goal": {"from_nothing_payments_per_s_min": GOAL_PER_S},
        "reached": rate >= GOAL_PER_S,
        "ok": all(result["decided_after"] for result in results.values()),
    }


class _Log:
    """The payments, on their partitions, and the group's offsets at their end."""

    def __init__(self, servers: str, accounts: int, expected: int) -> None:
        self.servers, self.count = servers, 0
        self._accounts, self._step_ms = accounts, max(SPAN_MS // expected, 1)
        self._wire = WireFormat()

    def fill(self, payments: int) -> None:
        """Publish more payments, and say that all were decided: by the group's offsets, and by a dead letter for each
        partition's last payment, which is what a worker believes."""
        publisher = Publisher(self.servers, linger_ms=50, compression="lz4")
        for _ in range(payments):
            publisher.publish(TOPIC, self.next())
        publisher.flush()
        self.commit_all()

    def next(self) -> Outbound:
        number, self.count = self.count, self.count + 1
        account = number * 7_919 % self._accounts
        at_ms = START_MS + number * self._step_ms
        payment = Transaction(
            transaction_id=f"tx-{number}",
            account_id=f"account-{account}",
            amount_minor=1_000 + number % 50_000,
            currency="GBP",
            event_time_ms=at_ms,
            beneficiary_account_id=f"account-{(account * 31 + number % 5) % self._accounts}",
            beneficiary_name="Jane Smith",
            beneficiary_country="GB",
            beneficiary_opened_at_ms=START_MS - 400 * 86_400_000,
            reference="invoice 1234",
            channel=Channel.FASTER_PAYMENT,
            ip_address="192.0.2.17",
            device_id=f"device-{account}",
            account_opened_epoch_day=17_000,
            account_time_zone="Europe/London",
            segments={"postcode_area": "SW", "age_band": "30-39"},
        )
        return Outbound(payment.account_id.encode(), self._wire.encode_transaction(payment), at_ms)

    def commit_all(self) -> None:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": GROUP, "enable.auto.commit": False})
        letters = DeadLetters(self._wire, LETTERS, None)
        publisher = Publisher(self.servers)
        try:
            ends = [
                TopicPartition(TOPIC, each, consumer.get_watermark_offsets(TopicPartition(TOPIC, each), timeout=30)[1])
                for each in range(PARTITIONS)
            ]
            for end in ends:
                record = Record(b"", b"", Source(end.partition, end.offset - 1, time.time_ns() // 1_000_000))
                letter = letters.letter(TOPIC, record, "DUPLICATE", "the last of a bench", keep_payload=False)
                [outbound] = sealed(self.servers, LETTERS, [Outbound(letter.key or b"", letter.value, 0)])
                publisher.publish(LETTERS, outbound)
            publisher.flush()
            wait_until(lambda: _is_committed(consumer, ends), GROUP_S, "the group's last member leaves")
        finally:
            consumer.close()

    def committed(self) -> dict[int, int]:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": GROUP, "enable.auto.commit": False})
        try:
            places = [TopicPartition(TOPIC, each) for each in range(PARTITIONS)]
            return {each.partition: each.offset for each in consumer.committed(places, timeout=30)}
        finally:
            consumer.close()


def _is_committed(consumer: Consumer, ends: list[TopicPartition]) -> bool:
    """Set the group's offsets; the broker refuses that while a worker that has ended counts as its member."""
    try:
        consumer.commit(offsets=ends, asynchronous=False)
    except KafkaException:
        return False
    return True


class _Server:
    """One Redis, whose RDB can be kept and started from."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = redis_url(port)
        self._file, self._copy = folder / "dump.rdb", folder / "older.rdb"
        self.process = redis_server(
            system_executable(), folder, port, persistence=Persistence.NONE, memory_max_bytes=MEMORY_BYTES
        )

    def keep_copy(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=None) as client:
            client.save()
        shutil.copyfile(self._file, self._copy)

    def start_from_copy(self) -> None:
        self.process.kill()
        shutil.copyfile(self._copy, self._file)
        self.process.start()


@contextlib.contextmanager
def _one_server(folder: Path) -> Iterator[_Server]:
    server = _Server(folder)
    server.process.start()
    try:
        yield server
    finally:
        server.process.stop()


def _measured(
    say: Callable[[str], None],
    name: str,
    folder: Path,
    log: _Log,
    url: str,
    environment: dict[str, str],
    holders: Sequence[ServerProcess],
) -> dict[str, object]:
    """Start a worker on what the servers hold, and return what its rebuild told, and what was decided meanwhile."""
    before = log.committed()
    worker = worker_process(folder, log.servers, url, name=name, environment=environment)
    ended = threading.Event()
    trickle = threading.Thread(target=_trickle, args=(log, ended))
    told = folder / f"{name}-0.log"
    deciding = 0
    with running(worker):
        trickle.start()
        try:
            wait_until(lambda: bool(_events(told, "state_rebuild_started")), DEADLINE_S, f"{name}: the loss")
            started_cpu_s = process_cpu_seconds(worker.pid)
            redis_cpu_s = sum(process_cpu_seconds(each.pid) for each in holders)

            def look() -> None:
                nonlocal deciding
                deciding = max(deciding, sum(end > before[part] for part, end in log.committed().items()))

            wait_until(
                lambda: bool(_events(told, "state_rebuild_finished")),
                DEADLINE_S,
                f"{name}: the rebuild",
                every_s=2.0,
                meanwhile=look,
            )
            cpu_s = process_cpu_seconds(worker.pid) - started_cpu_s
            redis_cpu_s = sum(process_cpu_seconds(each.pid) for each in holders) - redis_cpu_s
            wait_until(
                lambda: all(end > before[part] for part, end in log.committed().items()), 120, f"{name}: deciding again"
            )
        finally:
            ended.set()
            trickle.join()
    log.commit_all()  # nothing of the trickle is left undecided for the next measurement
    (finished,) = _events(told, "state_rebuild_finished")[:1]
    seconds, records = finished["seconds"], finished["records"]
    result: dict[str, object] = {
        "minutes": round(seconds / 60, 2),
        "payments_observed": records,
        "payments_per_s": round(records / seconds),
        "worker_cpu_us": round(cpu_s / max(records, 1) * 1e6, 1),
        "redis_cpu_us": round(redis_cpu_s / max(records, 1) * 1e6, 1),
        "deciding_partitions_meanwhile": deciding,
        "decided_after": True,
    }
    say(f"{name}: {result}")
    return result


def _trickle(log: _Log, ended: threading.Event) -> None:
    """Publish a payment to each partition again and again, as fresh traffic would come in."""
    publisher = Publisher(log.servers)
    while not ended.wait(TRICKLE_PAUSE_S):
        for partition in range(PARTITIONS):
            publisher.publish(TOPIC, log.next(), partition)
        publisher.flush()


def _events(path: Path, event: str) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") == event:
                found.append(entry)
    return found
