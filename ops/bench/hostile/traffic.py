"""The two ends of the bench, each a process of its own: what offers payments, and what reads decisions.

Payments are offered in an open loop. Each ordinary payment bears in its id when it should have been sent, so that a
late sender counts against the result.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any, Final

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from ops.bench.hostile.attacks import DAY_MS, Phase, Sizes, ordinary, phases_of, restamped
from ops.bench.rig.payments import START_MS
from ops.bench.rig.topics_io import REQUEST_TIMEOUT_S, Outbound
from pipeline.domain.decision import Decision
from pipeline.io.avro.wire import WireFormat

TICK_S: Final = 0.002
ORDINARY: Final = "ordinary-"
"""How the id of an ordinary payment begins; its intended time in ms and a number follow."""
EVIL: Final = b"evil-"
"""How the accounts of most attacks begin: their decisions are not even decoded."""
FLUSH_S: Final = 60.0
QUEUE_FULL_S: Final = 0.01


class _Generator:
    """Sends ordinary payments at a steady rate, and an attack's beside them."""

    def __init__(self, servers: str, prefix: str, sizes: Sizes) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 1,
                "message.max.bytes": 2_000_000,
                "socket.nagle.disable": True,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        self._prefix, self._sizes = prefix, sizes
        self._ordinary = ordinary()
        self.sent = {"attack": 0, "ordinary": 0}
        self.late_ms_max = 0.0

    def phase(self, phase: Phase, seconds_min: float) -> None:
        """Offer the phase, for at least `seconds_min`; ordinary payments go on until both are over."""
        base_ms = START_MS + phase.day * DAY_MS
        started, attacked, paid = time.time(), 0, 0
        while (elapsed := time.time() - started) < seconds_min or attacked < phase.payments:
            due = phase.payments if phase.is_at_once else min(int(elapsed * self._sizes.rate) + 1, phase.payments)
            # In short stretches, so that an attack offered at once doesn't hold the ordinary payments back.
            for number in range(attacked, min(due, attacked + 200)):
                self._send(phase.payment(number, base_ms), phase.topic)
                attacked += 1
            while (intended_s := started + paid / self._sizes.ordinary_rate) <= time.time():
                self.late_ms_max = max(self.late_ms_max, (time.time() - intended_s) * 1000)
                name = f"{ORDINARY}{int(intended_s * 1000)}-{self.sent['ordinary'] + paid}"
                self._send(restamped(next(self._ordinary), name, base_ms + int(elapsed * 1000)))
                paid += 1
            if attacked >= due:
                time.sleep(TICK_S)
        self.sent["attack"] += attacked
        self.sent["ordinary"] += paid

    def flush(self) -> None:
        if left := self._producer.flush(FLUSH_S):
            raise RuntimeError(f"{left} records were not acknowledged")

    def _send(self, record: Outbound, topic: str = "transactions.v1") -> None:
        while True:
            try:
                self._producer.produce(
                    f"{self._prefix}{topic}", record.value, record.key, timestamp=record.timestamp_ms
                )
                break
            except BufferError:
                self._producer.poll(QUEUE_FULL_S)
        self._producer.poll(0)


def generate(servers: str, prefix: str, attack: str, sizes: Sizes, warm_s: float, rest_s: float) -> None:
    """Offer ordinary payments for `warm_s`, then the attack; print how many of each were sent, and how late."""
    generator = _Generator(servers, prefix, sizes)
    phases = phases_of(attack, sizes)
    generator.phase(Phase(0, 0, phases[0].payment), warm_s)
    print(time.time() * 1000, flush=True)  # from here on it counts
    for phase in phases:
        generator.phase(phase, rest_s)
    generator.flush()
    print(json.dumps({**generator.sent, "late_ms_max": round(generator.late_ms_max, 1)}))


def read(servers: str, prefix: str) -> None:
    """Read decisions until SIGTERM; print the latencies in ms of ordinary payments sent after the time on stdin."""
    is_over = False

    def end(_number: int, _frame: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    topic = f"{prefix}decisions.v1"
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"hostile-{topic}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50,
            "socket.nagle.disable": True,
        }
    )
    partitions = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    arrivals: list[tuple[float, Message]] = []  # decoded at the end, as others wait while this process decodes
    decisions = 0
    while not is_over:
        messages = consumer.consume(1, 0.2)
        messages += consumer.consume(999, 0)
        now_ms = time.time() * 1000
        decisions += len(messages)
        arrivals += [(now_ms, message) for message in messages if not (message.key() or b"").startswith(EVIL)]
    consumer.close()
    print(json.dumps({"decisions": decisions, **_latencies(arrivals, float(sys.stdin.readline()))}))


def _latencies(arrivals: list[tuple[float, Message]], from_ms: float) -> dict[str, float]:
    spans: list[float] = []
    wire = WireFormat()
    for now_ms, message in arrivals:
        decision: Any = wire.decode_decision_record(message.value())
        if not isinstance(decision, Decision):
            continue
        name = decision.snapshot.transaction.transaction_id
        if name.startswith(ORDINARY) and (intended_ms := float(name.split("-")[1])) >= from_ms:
            spans.append(now_ms - intended_ms)
    if not spans:
        return {"measured": 0}
    named = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
    figures = {name: round(float(np.percentile(spans, share)), 1) for name, share in named.items()}
    return {"measured": len(spans), **figures}


if __name__ == "__main__":
    _, role, bootstrap_servers, topic_prefix, *rest = sys.argv
    if role == "generate":
        sized = Sizes(**json.loads(rest[1]))
        generate(bootstrap_servers, topic_prefix, rest[0], sized, float(rest[2]), float(rest[3]))
    else:
        read(bootstrap_servers, topic_prefix)
