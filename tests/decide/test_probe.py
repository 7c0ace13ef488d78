"""The worker's own payment: decided where sound payments can be, and never seen by them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest
import redis

from pipeline.decide.batch import Judge
from pipeline.decide.isolating.probe_agent import PREFIX, Probe, ProbeFailed
from pipeline.domain.log import Span
from pipeline.state.requests import Keys
from pipeline.state.store import RedisState, StateFault, StateRefused
from tests.decide.test_batch import PARTITIONING, PAYMENT, WIRE, new_judge, record
from tests.records import NOON_MS
from tests.state.stores import column


def probing(url: str, scenario: Callable[[Probe, Judge], Awaitable[None]], now_ms: int = NOON_MS) -> None:
    async def whole() -> None:
        state = RedisState(url, prefix=f"fraud:{PREFIX}:0")
        # Time goes on between two probes.
        probe = Probe(state, WIRE, PARTITIONING.of, map(now_ms.__add__, count()).__next__)
        try:
            await scenario(probe, new_judge())
        finally:
            await probe.close()

    asyncio.run(whole())


def test_a_probe_is_decided_however_often_and_after_a_loss(redis_at: str) -> None:
    async def scenario(probe: Probe, judge: Judge) -> None:
        for _ in range(3):
            await probe.decide(judge)
        with redis.Redis.from_url(redis_at) as client:
            client.flushall()
        await probe.decide(judge)

    probing(redis_at, scenario)
    probing(redis_at, scenario, NOON_MS + 10 * 86_400_000)


def test_no_payment_sees_a_probe(redis_at: str) -> None:
    async def scenario(probe: Probe, judge: Judge) -> None:
        await probe.decide(judge)
        state = RedisState(redis_at)
        reading = judge.read([record(0)])
        (observation,) = await state.observe(judge.state_events(reading, [Span(0, 0, 1, 0)]))
        await state.close()
        assert column(observation.state, "account_count_24h") == [1]

    probing(redis_at, scenario)
    with redis.Redis.from_url(redis_at) as client:
        assert not list(client.scan_iter(match=f"{Keys('fraud', 1).everything().removesuffix('*')}*probe*"))


def test_a_probe_tells_what_every_payment_meets(redis_at: str) -> None:
    async def scenario(probe: Probe, judge: Judge) -> None:
        await probe.decide(judge)
        with redis.Redis.from_url(redis_at) as client:
            client.execute_command("ACL", "SETUSER", "default", "-mset")
            try:
                with pytest.raises(StateRefused):
                    await probe.decide(judge)
            finally:
                client.execute_command("ACL", "SETUSER", "default", "+mset")
            await probe.decide(judge)
            for key in client.scan_iter(match=f"fraud:{PREFIX}:*a:*"):
                client.set(key, "no window")
        with pytest.raises(StateFault):
            await probe.decide(judge)

    probing(redis_at, scenario)


def test_a_probe_that_comes_to_anything_but_decisions_has_failed(redis_at: str) -> None:
    async def scenario(probe: Probe, judge: Judge) -> None:
        state = RedisState(redis_at, prefix=f"fraud:{PREFIX}:0")
        same_id = judge.read([record(0, PAYMENT._replace(transaction_id="probe-account-0"))])
        await state.observe(judge.state_events(same_id, [Span(0, 0, 1, 0)]))
        await state.close()
        with pytest.raises(ProbeFailed):
            await probe.decide(judge)

    probing(redis_at, scenario)
