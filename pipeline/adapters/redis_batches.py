"""Batches of Redis commands: one write, one time limit, replies in order.

The connection is redis-py's. Its pipelines are not used: they set a time limit, look for callbacks and count metrics
for each reply, 25 µs of the event loop's time, and ten payments come to some fifteen replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import hiredis
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

REPLY_BYTES: Final = 1 << 20
"""A batch of 1,000 payments is answered with 230 KB. What comes in pieces waits for its turn on the event loop once a
piece."""

Command = tuple[Any, ...]


class _Connection(redis.Connection):
    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "limit": REPLY_BYTES}


class RedisBatches:
    """For commands that may be sent twice: on a connection that Redis has closed meanwhile they are."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """`timeout_s` is for a batch of commands as a whole, connecting included."""
        self._timeout_s = timeout_s
        self._pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=None,  # the time limit is ours, here and below; redis-py has one of its own
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            socket_read_size=REPLY_BYTES,
            connection_class=_Connection,  # of redis:// URLs; TLS and unix sockets keep their own
        )
        self._idle: list[redis.Connection] = []

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Replies; where a command failed, its ResponseError. Raises RedisError, OSError or TimeoutError where none can
        be had, of which some commands may have been carried out."""
        request = [hiredis.pack_command(command) for command in commands]
        async with asyncio.timeout(self._timeout_s):
            if self._idle:
                try:
                    return await self._exchange(self._idle.pop(), request)
                except (ConnectionLost, OSError):
                    await self.close()  # the others are as old
            return await self._exchange(self._new(), request)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    def _new(self) -> redis.Connection:
        # redis-py annotates its pool, but not this method of it.
        connection: redis.Connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def _exchange(self, connection: redis.Connection, request: Sequence[bytes]) -> list[Any]:
        """Replies on a connection, which is kept unless it fails."""
        try:
            await connection.send_packed_command(request, check_health=False)
            replies = [await _reply(connection) for _ in request]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return replies


async def _reply(connection: redis.Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
