"""Batches of Redis commands: one write, one time limit, replies in order.

The connection is redis-py's, but its pipelines are not used. They set a time limit, look for callbacks and count
metrics for each reply, which takes 25 µs of the event loop's time, and ten payments come to some fifteen replies.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import hiredis
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

REPLY_BYTES: Final = 1 << 20
"""Size of one read. The reply to a batch of 1,000 payments is 230 KB, and each piece of it waits for its turn on the
event loop."""

Command = tuple[Any, ...]


class _Connection(redis.Connection):
    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "limit": REPLY_BYTES}


class RedisBatches:
    """Sends batches of commands that may be sent twice, as they are where a connection fails.

    All batches go over one connection, in the order in which callers ask. None waits for the replies to earlier ones,
    so Redis has the next batch at hand when it is done with one, whatever this process is doing at the time.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Connect on first use. `timeout_s` limits a whole batch, its connecting and the batches before it included."""
        self._timeout_s = timeout_s
        self._pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=None,  # we keep the time limit ourselves, here and below; redis-py would add its own
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            socket_read_size=REPLY_BYTES,
            connection_class=_Connection,  # for redis:// URLs; TLS and unix sockets keep their own class
        )
        self._line: _Line | None = None

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies; that of a command that failed is its ResponseError.

        Raises RedisError, OSError or TimeoutError where no replies can be had; some commands may still have been
        carried out.
        """
        request = [hiredis.pack_command(command) for command in commands]
        async with asyncio.timeout(self._timeout_s):
            with contextlib.suppress(ConnectionLost, OSError):
                return await self._open_line().exchange(request)
            return await self._open_line().exchange(request)

    async def close(self) -> None:
        if self._line is not None:
            await self._line.close()

    def _open_line(self) -> _Line:
        if self._line is None or self._line.is_closed:
            self._line = _Line(self._pool)
        return self._line


class _Line:
    """A connection that takes requests while replies to others are under way; it closes at its first failure."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        # redis-py annotates its pool, but not this method of it.
        self._connection: redis.Connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._sending, self._receiving = asyncio.Lock(), asyncio.Lock()  # each serves its waiters in order
        self.is_closed = False

    async def exchange(self, request: Sequence[bytes]) -> list[Any]:
        try:
            async with self._sending:
                self._check()  # redis-py would connect again, and waiting callers would get the replies to others
                await self._connection.send_packed_command(request, check_health=False)
            async with self._receiving:
                self._check()
                return [await _reply(self._connection) for _ in request]
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self.is_closed = True
        await self._connection.disconnect(nowait=True)

    def _check(self) -> None:
        if self.is_closed:
            raise ConnectionLost("closed by one who waited for a reply before")


async def _reply(connection: redis.Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
