"""A question that fails while partitions are handed over ends the reader, and nobody waits for it for ever."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import KafkaError, KafkaException

from ops.bench.rig.waiting import wait_until
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from tests.servers import unused_prefix

PATIENCE_S = 120.0


def test_a_question_unanswered_at_the_assignment_fails_the_reader(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.io.kafka.transaction_log.ASSIGN_TIMEOUT_S", 1e-6)
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    topic = f"{prefix}transactions.v1"

    async def run() -> list[BaseException]:
        failures: list[BaseException] = []
        log = TransactionLog(
            stack.bootstrap_servers, topic, topic, 0, batch_records_max=10, session_timeout_ms=6_000,
            transaction_timeout_ms=3_000, options={},
        )  # fmt: skip
        log.join()

        def deliver(_: Batch) -> None:
            """Nothing comes."""

        log.start(deliver, failures.append)
        wait_until(lambda: bool(failures), PATIENCE_S, "failing", every_s=0.01)
        await log.stop()
        return failures

    (failure,) = asyncio.run(run())
    assert isinstance(failure, KafkaException)
    assert KafkaError._TIMED_OUT == failure.args[0].code(), "whichever question it is"
