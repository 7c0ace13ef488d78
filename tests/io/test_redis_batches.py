"""One connection serves all: each caller gets its own answer, and a failure of one reaches those behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
import redis
from redis.exceptions import RedisError, ResponseError

from ops.processes.servers import LOOPBACK, free_port
from ops.stack.redis_server import redis_url
from pipeline.io.redis_batches import ConnectionsChanged, RedisBatches

PATIENCE_S = 120.0
COUNT = 50
SLOW = ("EVAL", "local sum = 0 for number = 1, 3e6 do sum = sum + number end return 'slow'", 0)
"""A script that takes some ten milliseconds of Redis' time."""

ROLE = b"$13\r\nrole:master\r\n\r\n"
Scenario = Callable[[RedisBatches], Awaitable[None]]


def run(url: str, scenario: Scenario, *, timeout_s: float = PATIENCE_S) -> None:
    async def whole() -> None:
        batches = RedisBatches(url, timeout_s=timeout_s)
        try:
            await asyncio.wait_for(scenario(batches), PATIENCE_S)
        finally:
            await batches.close()

    asyncio.run(whole())


def test_all_are_carried_out_in_the_order_in_which_they_were_asked_for_and_each_has_its_own_replies(redis_at: str):
    async def scenario(batches: RedisBatches) -> None:
        requests = [[("APPEND", "order", chr(number)), ("ECHO", number)] for number in range(COUNT)]
        slow, *replies = await asyncio.gather(
            batches.run([SLOW, ("CLIENT", "ID")]), *[batches.run([*request, ("CLIENT", "ID")]) for request in requests]
        )
        connection = slow[1]
        assert replies == [[number + 1, str(number).encode(), connection] for number in range(COUNT)]
        assert await batches.run([("GET", "order")]) == [bytes(range(COUNT))]

    run(redis_at, scenario)


def test_a_batch_goes_over_no_connection_that_was_made_since(redis_at: str):
    async def scenario(batches: RedisBatches) -> None:
        await batches.run([("PING",)])
        known = batches.connections
        assert await batches.run([("SET", "key", 1)], connections=known) == [b"OK"]
        with redis.Redis.from_url(redis_at) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(ConnectionsChanged):
            await batches.run([("SET", "key", 2)], connections=known)
        assert await batches.run([("GET", "key")]) == [b"1"]
        assert batches.connections > known

    run(redis_at, scenario)


def test_none_waits_for_the_replies_to_those_before():
    async def answer_when_both_are_there(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = b""
        with contextlib.suppress(ConnectionResetError):  # the one who asks for the role has gone
            while seen.count(b"PING") < 2 and (part := await reader.read(1 << 16)):
                writer.write(b"+OK\r\n" * (part.count(b"HELLO") + part.count(b"CLIENT")))  # redis-py introduces itself
                writer.write(ROLE * part.count(b"\r\nINFO"))
                seen += part
        writer.write(b"+PONG\r\n" * 2)
        writer.close()

    async def scenario(_: RedisBatches) -> None:
        async with await asyncio.start_server(answer_when_both_are_there, LOOPBACK, 0) as server:
            batches = RedisBatches(redis_url(server.sockets[0].getsockname()[1]), timeout_s=PATIENCE_S)
            assert await asyncio.gather(batches.run([("PING",)]), batches.run([("PING",)])) == [[b"PONG"], [b"PONG"]]
            await batches.close()

    run(redis_url(free_port()), scenario)


def test_a_refused_command_is_a_reply_and_harms_no_other(redis_at: str):
    async def scenario(batches: RedisBatches) -> None:
        (refused, echoed), after = await asyncio.gather(
            batches.run([("GET",), ("ECHO", "a")]), batches.run([("ECHO", "b")])
        )
        assert isinstance(refused, ResponseError)
        assert (echoed, after) == (b"a", [b"b"])

    run(redis_at, scenario)


@pytest.mark.parametrize("cancelled", range(3))
def test_who_gives_up_leaves_no_reply_to_another(redis_at: str, cancelled: int):
    async def scenario(batches: RedisBatches) -> None:
        asked = [asyncio.create_task(batches.run([SLOW, ("ECHO", number)])) for number in range(3)]
        await asyncio.sleep(0)
        asked[cancelled].cancel()
        replies = await asyncio.gather(*asked, return_exceptions=True)
        for number, reply in enumerate(replies):
            assert reply == [b"slow", str(number).encode()] or (
                isinstance(reply, asyncio.CancelledError) and number == cancelled
            )
        assert await batches.run([("ECHO", "after")]) == [b"after"]

    run(redis_at, scenario)


def test_a_closed_connection_costs_none_of_those_who_wait_for_it_its_replies(redis_at: str):
    async def scenario(batches: RedisBatches) -> None:
        await batches.run([("PING",)])
        with redis.Redis.from_url(redis_at) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        replies = await asyncio.gather(*[batches.run([("ECHO", number)]) for number in range(COUNT)])
        assert replies == [[str(number).encode()] for number in range(COUNT)]

    run(redis_at, scenario)


def test_a_redis_that_does_not_answer_in_time_fails_all_who_wait_and_serves_those_after(redis_at: str):
    async def scenario(batches: RedisBatches) -> None:
        await batches.run([("PING",)])
        with redis.Redis.from_url(redis_at) as client:
            client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
            replies = await asyncio.gather(*[batches.run([("SET", "k", 1)]) for _ in range(3)], return_exceptions=True)
            client.execute_command("CLIENT", "UNPAUSE")
        assert all(isinstance(reply, (TimeoutError, RedisError)) for reply in replies)
        assert await batches.run([("SET", "k", 1)]) == [b"OK"]

    run(redis_at, scenario, timeout_s=0.5)


def test_no_redis_fails_each():
    async def scenario(batches: RedisBatches) -> None:
        replies = await asyncio.gather(*[batches.run([("PING",)]) for _ in range(3)], return_exceptions=True)
        assert all(isinstance(reply, (OSError, RedisError)) for reply in replies)

    run(redis_url(free_port()), scenario)
