"""Latency on the real stack, in an open loop, beside two shorter paths in the same run.

It counts from when a payment should have been sent until its committed decision can be read. Each payment has an
intended time, and a late sender counts against the result (no coordinated omission). Three paths are measured one after
another: the bare path (`bare_path_ms`: generator, broker, and a reader of the payments themselves), the worker's
transport, which decides nothing (`transport_ms`: consume, decode, encode, one Kafka transaction a batch), and the
worker. A minute of each passes unmeasured, because a broker that has just been started still compiles itself, on the
same cores. Generator and reader are processes of their own; all share the machine's cores with broker, Redis and
worker. The hot path is compiled, as the image has it, where a C compiler is found.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from ops.bench.rig.payments import payments
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import REQUEST_TIMEOUT_S, prepare_topics
from ops.bench.speed.throughput import TRANSPORT, WORKER, case_process
from ops.compiled import compiled_tree_or_none
from ops.processes.arguments import arguments
from ops.stack.real import RealStack
from pipeline.domain.decision import Decision
from pipeline.io.avro.wire import WireFormat

RATE_PER_S: Final = 1_000
WARM_S: Final = 60
MEASURED_S: Final = 60
QUICK_S: Final = 10
"""Length of both the warm and the measured part of a quick run."""
GOAL_MS: Final = {"p50": 15, "p99": 50}
START_DELAY_S: Final = 3.0
DRAIN_S: Final = 15.0


class _Flow(NamedTuple):
    spans_ms: dict[str, float]
    late_ms_max: float


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    warm_s, measured_s = (QUICK_S, QUICK_S) if is_quick else (WARM_S, MEASURED_S)
    tree = compiled_tree_or_none(say)
    with RealStack(folder / "stack") as stack:
        prepare_topics(stack.bootstrap_servers, "bare.")
        bench = _Bench(say, folder, stack.bootstrap_servers, warm_s, measured_s)
        flows = {"bare": bench.flow("bare.", "transactions.v1")}
        for case in (TRANSPORT, WORKER):
            prefix = f"{case.name}."
            prepare_topics(stack.bootstrap_servers, prefix)
            with running(case_process(folder, stack, case, tree)):
                flows[case.name] = bench.flow(prefix, "decisions.v1")
    worker = flows[WORKER.name].spans_ms
    return {
        "compiled": tree is not None,
        "rate_per_s": RATE_PER_S,
        "to_committed_decision_ms": worker,
        "transport_ms": flows[TRANSPORT.name].spans_ms,
        "bare_path_ms": flows["bare"].spans_ms,
        "generator_late_ms_max": {name: flow.late_ms_max for name, flow in flows.items()},
        "goal_ms": GOAL_MS,
        "reached": all(worker[name] <= goal for name, goal in GOAL_MS.items()),
    }


class _Bench(NamedTuple):
    say: Callable[[str], None]
    folder: Path
    bootstrap_servers: str
    warm_s: int
    measured_s: int

    def flow(self, prefix: str, read_topic: str) -> _Flow:
        """Send payments, and read them or their decisions back."""
        seconds = self.warm_s + self.measured_s
        count = str(RATE_PER_S * seconds)
        reader = self._child("read", prefix, read_topic, count, str(RATE_PER_S * self.warm_s))
        generator = self._child("generate", prefix, count)
        late_ms = json.loads(_answer(generator, seconds))
        spans_ms = _percentiles(json.loads(_answer(reader, seconds)))
        self.say(f"{prefix}{read_topic}: {spans_ms}")
        return _Flow(spans_ms, late_ms)

    def _child(self, role: str, prefix: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ops.bench.speed.latency", role, self.bootstrap_servers, prefix, *arguments]
        with (self.folder / f"{prefix}{role}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)  # noqa: S603 - the command is ours


def _answer(child: subprocess.Popen[bytes], seconds: int) -> bytes:
    out, _ = child.communicate(timeout=seconds + 60)
    if child.returncode != 0:
        raise RuntimeError(f"a child of the latency bench ended with {child.returncode}; see its log")
    return out


def _percentiles(latencies_ms: list[float]) -> dict[str, float]:
    measured = np.array(latencies_ms)
    named = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
    spans = {name: round(float(np.percentile(measured, share)), 1) for name, share in named.items()}
    return {**spans, "measured": float(len(measured))}


def generate(bootstrap_servers: str, prefix: str, count: int) -> None:
    """Send each payment at its intended time, which is the record's timestamp; print how late the latest was, in ms."""
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
            time.sleep(ahead_s)  # poll() counts in whole milliseconds, so waiting there would keep a core busy
        latest_s = max(latest_s, -ahead_s)
        producer.poll(0)
        producer.produce(f"{prefix}transactions.v1", record.value, record.key, timestamp=int(intended_s * 1000))
    producer.flush(REQUEST_TIMEOUT_S)
    print(round(latest_s * 1000, 1))


def read(bootstrap_servers: str, prefix: str, kind: str, count: int, unmeasured: int) -> None:
    """Print the latency of each record after the first `unmeasured`: its arrival less its intended time, in ms."""
    topic = f"{prefix}{kind}"
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
    intended_ms = _intended_of_decision if kind == "decisions.v1" else _intended_of_payment
    arrivals: list[tuple[float, Message]] = []  # decoded at the end, as others wait while this process decodes
    deadline = time.monotonic() + count / RATE_PER_S + START_DELAY_S + DRAIN_S
    while len(arrivals) < count and time.monotonic() < deadline:
        messages = consumer.consume(1, 1.0)
        messages += consumer.consume(999, 0)
        now_ms = time.time() * 1000
        arrivals += [(now_ms, message) for message in messages]
    consumer.close()
    if len(arrivals) < count:
        raise TimeoutError(f"{topic}: only {len(arrivals)} of {count} records came")
    measured = arrivals[unmeasured:]
    print(json.dumps([round(now_ms - intended_ms(message), 2) for now_ms, message in measured]))


def _intended_of_payment(message: Message) -> float:
    return float(message.timestamp()[1])


def _intended_of_decision(message: Message) -> float:
    value = message.value()
    assert isinstance(value, bytes)
    decision = _WIRE.decode_decision_record(value)
    assert isinstance(decision, Decision)
    return float(decision.source_timestamp_ms)


_WIRE: Final = WireFormat()

if __name__ == "__main__":
    role, servers, topic_prefix, *rest = arguments(
        __doc__, "ROLE", "SERVERS", "PREFIX", "ARGUMENT…", choices=("generate", "read")
    )
    if role == "generate":
        generate(servers, topic_prefix, int(rest[0]))
    else:
        read(servers, topic_prefix, rest[0], int(rest[1]), int(rest[2]))
