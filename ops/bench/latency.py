"""Latency on the real stack: open loop, from when a payment should have been sent to when its committed decision can
be read, beside the bare path (generator, broker, reader) in the same run.

Open loop: each payment has an intended time, and a late sender counts against the result (no coordinated omission).
The bare path reads the payments themselves back from `transactions.v1`, sent by the same generator at the same times.
Generator and readers are processes of their own; all share the machine's cores with the broker, Redis and the worker.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from ops.bench.payments import payments
from ops.bench.topics_io import REQUEST_TIMEOUT_S, prepare_topics
from ops.bench.worker_process import worker_process
from ops.stack.real import RealStack
from pipeline.adapters.avro import WireFormat

RATE_PER_S: Final = 1_000
WARM_S: Final = 10
MEASURED_S: Final = 60
GOAL_MS: Final = {"p50": 15, "p99": 50}
START_DELAY_S: Final = 3.0
DRAIN_S: Final = 15.0


def run(say: Callable[[str], None], *, is_quick: bool) -> dict[str, object]:
    seconds = WARM_S + (10 if is_quick else MEASURED_S)
    with tempfile.TemporaryDirectory() as directory, RealStack(Path(directory)) as stack:
        prepare_topics(stack.bootstrap_servers, "")
        worker = worker_process(Path(directory), stack.bootstrap_servers, stack.redis_url)
        worker.start()
        try:
            say(f"{RATE_PER_S} payments a second for {seconds} s")
            count = RATE_PER_S * seconds
            readers = {
                "decisions": _child("read", stack.bootstrap_servers, "decisions.v1", str(count)),
                "bare": _child("read", stack.bootstrap_servers, "transactions.v1", str(count)),
            }
            generator = _child("generate", stack.bootstrap_servers, str(count))
            late_ms = json.loads(_answer(generator, seconds))
            arrivals = {name: json.loads(_answer(reader, seconds)) for name, reader in readers.items()}
        finally:
            worker.stop()
    spans = {name: _percentiles(arrival) for name, arrival in arrivals.items()}
    reached = all(spans["decisions"][name] <= goal for name, goal in GOAL_MS.items())
    return {
        "rate_per_s": RATE_PER_S,
        "to_committed_decision_ms": spans["decisions"],
        "bare_path_ms": spans["bare"],
        "generator_late_ms_max": late_ms,
        "goal_ms": GOAL_MS,
        "reached": reached,
    }


def _child(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ops.bench.latency", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - the command is ours


def _answer(child: subprocess.Popen[bytes], seconds: int) -> bytes:
    out, _ = child.communicate(timeout=seconds + 60)
    if child.returncode != 0:
        raise RuntimeError("a child of the latency bench failed")
    return out


def _percentiles(latencies_ms: list[float]) -> dict[str, float]:
    measured = np.array(latencies_ms)
    named = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
    spans = {name: round(float(np.percentile(measured, share)), 1) for name, share in named.items()}
    return {**spans, "measured": float(len(measured))}


def generate(bootstrap_servers: str, count: int) -> None:
    """Sends each payment at its intended time, which is the record's timestamp; prints how late the latest was, ms."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "linger.ms": 1,
            "socket.nagle.disable": True,
            "queue.buffering.max.messages": 100_000,
        }
    )
    records = list(payments(WireFormat(), count))
    start_s = time.time() + START_DELAY_S
    latest_s = 0.0
    for number, record in enumerate(records):
        intended_s = start_s + number / RATE_PER_S
        while (ahead_s := intended_s - time.time()) > 0:
            producer.poll(min(ahead_s, 0.01))
        latest_s = max(latest_s, -ahead_s)
        producer.produce("transactions.v1", record.value, record.key, timestamp=int(intended_s * 1000))
    producer.flush(REQUEST_TIMEOUT_S)
    print(round(latest_s * 1000, 1))


def read(bootstrap_servers: str, topic: str, count: int) -> None:
    """Prints the latency of every record after the warm-up: arrival here less the payment's intended time, ms."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"latency-{topic}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50,
            "socket.nagle.disable": True,
        }
    )
    partitions = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    intended_ms = _intended_of_decision if topic == "decisions.v1" else _intended_of_payment
    seen, latencies = 0, []
    deadline = time.monotonic() + count / RATE_PER_S + START_DELAY_S + DRAIN_S
    while seen < count and time.monotonic() < deadline:
        messages = consumer.consume(1, 1.0)
        messages += consumer.consume(999, 0)
        now_ms = time.time() * 1000
        for message in messages:
            seen += 1
            if seen > WARM_S * RATE_PER_S:
                latencies.append(now_ms - intended_ms(message))
    consumer.close()
    if seen < count:
        raise TimeoutError(f"{topic}: only {seen} of {count} records came")
    print(json.dumps([round(latency, 2) for latency in latencies]))


def _intended_of_payment(message: Message) -> float:
    return float(message.timestamp()[1])


def _intended_of_decision(message: Message) -> float:
    value = message.value()
    assert isinstance(value, bytes)
    fields = _WIRE.decode("decision.v1", value)
    assert isinstance(fields, dict)
    return float(fields["source_timestamp_ms"])


_WIRE: Final = WireFormat()

if __name__ == "__main__":
    if sys.argv[1] == "generate":
        generate(sys.argv[2], int(sys.argv[3]))
    else:
        read(sys.argv[2], sys.argv[3], int(sys.argv[4]))
