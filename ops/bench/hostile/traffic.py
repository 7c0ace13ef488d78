"""The two ends of the bench, each a process of its own: what offers payments, and what reads decisions.

Payments are offered in an open loop. Each ordinary payment bears in its id when it should have been sent, so that a
late sender counts against the result, and its number, by which those that count are told from the warm-up's.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from ops.bench.hostile.attacks import DAY_MS, Phase, Sizes, ordinary, phases_of, restamped
from ops.bench.rig.payments import START_MS
from ops.bench.rig.topics_io import REQUEST_TIMEOUT_S, Outbound, partitions_of
from ops.processes.arguments import arguments
from pipeline.domain.decision import Decision
from pipeline.io.avro.wire import WireFormat

TICK_S: Final = 0.002
ORDINARY: Final = "ordinary-"
"""How the id of an ordinary payment begins; its intended time in ms and its number follow."""
EVIL: Final = b"evil-"
"""How the accounts of most attacks begin: their decisions are not even decoded."""
FLUSH_S: Final = 180.0
QUEUE_FULL_S: Final = 0.01
READ_ON_S: Final = 180.0
"""Longest time that the reader takes for what is left when it is told to end."""


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
    """Offer ordinary payments for `warm_s`, then the attack. Print how many payments of each kind were sent since, how
    late, and the number of the first ordinary one that counts."""
    generator = _Generator(servers, prefix, sizes)
    phases = phases_of(attack, sizes)
    generator.phase(Phase(0, 0, phases[0].payment), warm_s)
    first_counted = generator.sent["ordinary"]
    for phase in phases:
        generator.phase(phase, rest_s)
    generator.flush()
    sent = {"attack": generator.sent["attack"], "ordinary": generator.sent["ordinary"] - first_counted}
    late = {"late_ms_max": round(generator.late_ms_max, 1)}
    print(json.dumps({"first_counted": first_counted, "sent": {**sent, **late}}))


def read(servers: str, prefix: str) -> None:
    """Read decisions until a number comes on stdin, and those that are committed by then.

    Print the latencies in ms of ordinary payments, from that number on. A signal instead would end a reader that a busy
    machine has not let begin.
    """
    reader = _Reader(servers, f"{prefix}decisions.v1")
    while not select.select([sys.stdin], [], [], 0)[0]:
        reader.take()
    reader.take_the_rest()
    reader.close()
    print(json.dumps({"decisions": reader.decisions, **latencies(reader.arrivals, int(sys.stdin.readline()))}))


class _Arrival(NamedTuple):
    at_ms: float
    value: bytes | None


class _Reader:
    """Reads the decisions of all partitions, from their beginning."""

    def __init__(self, servers: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"hostile-{topic}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,  # which stands behind the markers of transactions
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "socket.nagle.disable": True,
            }
        )
        found = partitions_of(self._consumer, topic)
        self._places = [TopicPartition(topic, partition, 0) for partition in found]
        self._consumer.assign(self._places)
        self._reached = dict.fromkeys(found, 0)  # partition → next offset
        self.decisions = 0
        self.arrivals: list[_Arrival] = []  # decoded at the end, as others wait while this process decodes

    def take(self) -> None:
        """Take in what has come, or wait for it a little."""
        messages = self._consumer.consume(1, 0.2)
        messages += self._consumer.consume(999, 0)
        now_ms = time.time() * 1000
        for message in messages:
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                assert partition is not None
                assert offset is not None
                self._reached[partition] = offset + (error is None)
            if error is None:
                self.decisions += 1
                if not (message.key() or b"").startswith(EVIL):
                    self.arrivals.append(_Arrival(now_ms, message.value()))

    def take_the_rest(self) -> None:
        """Take in what is committed by now. Raises RuntimeError where that takes longer than READ_ON_S."""
        asked = self._consumer.get_watermark_offsets
        ends = {place.partition: asked(place, timeout=REQUEST_TIMEOUT_S)[1] for place in self._places}
        deadline_s = time.monotonic() + READ_ON_S
        while any(self._reached[partition] < end for partition, end in ends.items()):
            if time.monotonic() > deadline_s:
                raise RuntimeError("the decisions that were committed can't be read to their end")
            self.take()

    def close(self) -> None:
        self._consumer.close()


def latencies(arrivals: Iterable[tuple[float, bytes | None]], first: int) -> dict[str, float]:
    """Return the percentiles, in ms, of ordinary payments from number `first` on.

    `measured` is how many of them were decided, `again` how many decisions more there were. arrivals: the time in ms
    and the value of each record of decisions.v1.
    """
    spans: dict[int, float] = {}  # by the payment's number
    again = 0
    wire = WireFormat()
    for at_ms, value in arrivals:
        decision: Any = wire.decode_decision_record(value)
        if not isinstance(decision, Decision):
            continue
        name = decision.snapshot.transaction.transaction_id
        if not name.startswith(ORDINARY):
            continue
        intended_ms, number = map(int, name.removeprefix(ORDINARY).split("-"))
        if number < first:
            continue
        again += number in spans
        spans.setdefault(number, at_ms - intended_ms)
    figures: dict[str, float] = {"measured": len(spans), "again": again}
    if spans:
        named = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
        told = list(spans.values())
        figures |= {name: round(float(np.percentile(told, share)), 1) for name, share in named.items()}
    return figures


if __name__ == "__main__":
    role, bootstrap_servers, topic_prefix, *rest = arguments(
        __doc__, "ROLE", "SERVERS", "PREFIX", "ARGUMENT…", choices=("generate", "read")
    )
    if role == "generate":
        sized = Sizes(**json.loads(rest[1]))
        generate(bootstrap_servers, topic_prefix, rest[0], sized, float(rest[2]), float(rest[3]))
    else:
        read(bootstrap_servers, topic_prefix)
