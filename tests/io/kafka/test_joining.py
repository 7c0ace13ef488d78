"""A worker that its group doesn't answer is told from one that has its place, so that the watchdog ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from ops.bench.rig.waiting import wait_until
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.transaction_log import JOIN_LIMIT_S, READ_LIMIT_S, Batch, TransactionLog
from pipeline.io.watchdog import Pulse

PATIENCE_S = 120.0
SESSION_MS = 3_000


def test_a_worker_is_joining_until_it_is_assigned_and_again_once_the_group_is_lost(tmp_path: Path) -> None:
    async def run(stack: EmbeddedStack) -> None:
        log = log_on(stack, slot=0)
        joining = pulse_of(log)
        assert not joining.is_under_way
        log.join()
        log.start(ignore, failures.append)
        until(lambda: not joining.is_under_way and len(log.assigned_partitions) > 0)
        stack.broker.stop()
        until(lambda: joining.is_under_way)
        await log.stop()
        assert not joining.is_under_way, "one that leaves waits for no assignment"

    failures: list[BaseException] = []
    with EmbeddedStack(tmp_path) as stack:
        create_topics(stack.bootstrap_servers)
        asyncio.run(run(stack))
    assert failures == []


def test_a_worker_without_a_partition_has_joined(tmp_path: Path) -> None:
    async def run(stack: EmbeddedStack) -> None:
        logs = [log_on(stack, slot) for slot in range(partitions(stack) + 1)]
        for log in logs:
            log.join()
            log.start(ignore, failures.append)
        until(lambda: sorted(len(log.assigned_partitions) for log in logs) == [0, *[1] * (len(logs) - 1)])
        until(lambda: not any(pulse_of(log).is_under_way for log in logs))
        for log in logs:
            await log.stop()

    failures: list[BaseException] = []
    with EmbeddedStack(tmp_path) as stack:
        create_topics(stack.bootstrap_servers)
        asyncio.run(run(stack))
    assert failures == []


def test_a_rebalance_may_wait_for_a_member_that_stands_still() -> None:
    assert JOIN_LIMIT_S > 2 * READ_LIMIT_S, "its watchdog ends it, and ours looks at the log as long"


def log_on(stack: EmbeddedStack, slot: int) -> TransactionLog:
    return TransactionLog(
        stack.bootstrap_servers, "transactions.v1", "group", slot, batch_records_max=10, session_timeout_ms=SESSION_MS,
        transaction_timeout_ms=3_000, options={},
    )  # fmt: skip


def pulse_of(log: TransactionLog) -> Pulse:
    (joining,) = (pulse for pulse in log.pulses if pulse.name == "joining the group")
    return joining


def partitions(stack: EmbeddedStack) -> int:
    with LogReader(stack.bootstrap_servers, "look", {}) as reader:
        return reader.partition_count("transactions.v1")


def ignore(_: Batch) -> None:
    """Nothing comes."""


def until(is_so: Callable[[], bool]) -> None:
    wait_until(is_so, PATIENCE_S, "joining", every_s=0.01)
