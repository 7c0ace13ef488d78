"""What traces add to a decision, step by step, in a process where nothing else runs: microseconds of CPU.

`python -m ops.bench.speed.trace_steps SERVERS ENDPOINT PREFIX…` reads each topic of payments, judges them as the worker
does, and prints one JSON object: by topic what reading the header, marking decisions, and recording and exporting spans
take a payment. The limits' clock goes as if RATE_PER_S payments were decided a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from statistics import median
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from models.artefact.files import load_champion
from ops.processes.arguments import arguments
from pipeline.decide.batch import Judge, Judged, TopicNames
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.policy import parse_policy
from pipeline.decide.tracing.worker_agent import Times, WorkerTraces
from pipeline.decide.verdict import Mode, regime
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Outgoing, Span
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.batches import Batch, records_of
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.settings import Settings
from pipeline.seals.seal import Sealer
from pipeline.state.windows import MemoryState
from pipeline.traces.otlp_client import client_of
from pipeline.traces.tracer_service import Tracer

BATCH_RECORDS: Final = 800
BATCHES: Final = 20
RATE_PER_S: Final = 12_000
ROUNDS: Final = 5
MODE: Final = Mode(BreakerState.CLOSED, "all", True)


def main() -> None:
    servers, endpoint, *prefixes = arguments(__doc__, "SERVERS", "ENDPOINT", "PREFIX…")
    found = {prefix: _steps(servers, endpoint, f"{prefix}transactions.v1") for prefix in prefixes}
    print(json.dumps(found))


def _steps(servers: str, endpoint: str, topic: str) -> dict[str, float]:
    reading = []
    for _ in range(ROUNDS):
        messages = _consumed(servers, topic)
        plain_us, _ = _read(messages, is_traced=False)
        traced_us, batches = _read(messages, is_traced=True)
        reading.append(traced_us - plain_us)
    judged = _judged(batches)
    marking = [_marked(endpoint, batches, judged) for _ in range(ROUNDS)]
    return {
        "read_us": round(median(reading), 3),
        "mark_us": round(median(mark_us for mark_us, _ in marking), 3),
        "export_us": round(median(export_us for _, export_us in marking), 3),
    }


def _consumed(servers: str, topic: str) -> list[Message]:
    options = {"bootstrap.servers": servers, "group.id": "steps", "auto.offset.reset": "earliest"}
    found: list[Message] = []
    with closing(Consumer(options)) as consumer:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        while len(found) < BATCHES * BATCH_RECORDS:
            messages = consumer.consume(BATCH_RECORDS, 10.0)
            if not messages:
                raise RuntimeError(f"{topic} holds {len(found)} records")
            found += [message for message in messages if message.error() is None]
    return found[: BATCHES * BATCH_RECORDS]


def _read(messages: Sequence[Message], *, is_traced: bool) -> tuple[float, list[Batch]]:
    starts = range(0, len(messages), BATCH_RECORDS)
    began_s = time.process_time()
    batches = [records_of(messages[start : start + BATCH_RECORDS], is_traced=is_traced) for start in starts]
    spent_us = (time.process_time() - began_s) * 1e6 / len(messages)
    whole = []
    for records, traceparents in batches:
        records = sorted(records, key=lambda record: record.source)
        partitions = sorted({record.source.partition for record in records})
        ends = {record.source.partition: record.source.offset + 1 for record in records}
        firsts = {record.source.partition: record.source.offset for record in reversed(records)}
        spans = [Span(each, firsts[each], ends[each], firsts[each]) for each in partitions]
        whole.append(Batch(records, spans, 0, traceparents))
    return spent_us, whole


def _judged(batches: Sequence[Batch]) -> list[tuple[Judged, list[Outgoing]]]:
    settings = Settings()
    policy = parse_policy(settings.policy_path.read_bytes())
    partitioning = Partitioning(Partitioner.CRC32, 1 + max(span.partition for batch in batches for span in batch.spans))
    topics = TopicNames("decisions.v1", "alerts.v1")
    judge = Judge(
        regime(policy, load_champion(settings.model_registry), shipped_feeds()),
        WireFormat(),
        topics,
        "bench",
        partitioning.of,
    )
    sealer, state = Sealer("decisions.v1", partitioning.of, "00" * 8, lambda _: bytes(64)), MemoryState()
    found = []
    for batch in batches:
        reading = judge.read(batch.records)
        observations = state.observe(judge.state_events(reading, batch.spans))
        judged = Judged.whole(judge.judge(reading, observations, lambda _: MODE, batch.records[-1].source.timestamp_ms))
        letters = [Outgoing("dead", b"", b"") for _ in judged.set_aside]
        found.append((judged, sealer.seal([*letters, *judged.outgoing])))
    return found


def _marked(
    endpoint: str, batches: Sequence[Batch], judged: Sequence[tuple[Judged, list[Outgoing]]]
) -> tuple[float, float]:
    """Return what marking takes a payment, and what recording and exporting do, in microseconds."""
    settings, clock_s = Settings(otlp_endpoint=endpoint), [0.0]
    client = client_of(settings, "worker")
    limits = settings.trace_notable_per_s, settings.trace_upstream_per_s, settings.trace_continued_per_s
    named = dict(zip(("notable_per_s", "upstream_per_s", "continued_per_s"), limits, strict=True))
    tracer = Tracer(client, share=settings.trace_share, clock_s=lambda: clock_s[0], **named)
    traces = WorkerTraces(tracer, "transactions.v1", "decisions.v1", "bench")
    # Headers are put beside the seals in place: each round begins with seals alone.
    fresh = [[each._replace(headers=each.headers and each.headers[:1]) for each in sealed] for _, sealed in judged]
    records, marks = sum(len(batch.records) for batch in batches), []
    began_s = time.process_time()
    for batch, (one, _), outgoing in zip(batches, judged, fresh, strict=True):
        clock_s[0] += len(batch.records) / RATE_PER_S
        marks.append(traces.mark(batch, one, outgoing))
    marked_s, now_s = time.process_time(), time.perf_counter()
    for mark in marks:
        traces.committed(mark, Times(now_s, now_s, now_s, now_s, now_s))
    traces.close()
    done_s = time.process_time()
    return (marked_s - began_s) * 1e6 / records, (done_s - marked_s) * 1e6 / records


if __name__ == "__main__":
    main()
