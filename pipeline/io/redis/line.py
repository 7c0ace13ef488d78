"""A connection that takes requests while replies to others are under way.

The connection is redis-py's, but its pipelines are not used. They set a time limit, look for callbacks and count
metrics for each reply, which takes 25 µs of the event loop's time, and ten payments come to some fifteen replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

REPLY_BYTES: Final = 1 << 20
"""Size of one read. The reply to a batch of 1,000 payments is 230 KB, and each piece of it waits for its turn on the
event loop."""


class _LongReads:
    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "limit": REPLY_BYTES}  # type: ignore[misc]  # of the class beside it


class _PlainConnection(_LongReads, redis.Connection):
    pass


class _SecureConnection(_LongReads, redis.SSLConnection):
    pass


class Line:
    """The connection to one server; it closes at its first failure, and fails all who wait for it."""

    def __init__(self, node: str) -> None:
        """Connect on first use, to the address that the host's name stands for then."""
        classes: dict[Any, Any] = {redis.Connection: _PlainConnection, redis.SSLConnection: _SecureConnection}
        pool = redis.ConnectionPool.from_url(
            node,
            socket_timeout=None,  # RedisBatches keeps the time limit; redis-py would add its own to each reply
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            socket_read_size=REPLY_BYTES,
        )
        pool.connection_class = classes.get(pool.connection_class, pool.connection_class)  # unix sockets keep theirs
        # redis-py annotates its pool, but not this method of it.
        self._connection: redis.Connection = pool.make_connection()  # type: ignore[no-untyped-call]  # untyped in redis-py
        self._sending, self._receiving = asyncio.Lock(), asyncio.Lock()  # each serves its waiters in order
        self.is_closed = False

    async def exchange(self, request: Sequence[bytes], replies: int) -> list[Any]:
        """Send packed commands that bring this many replies, and return these; a ResponseError is a reply, too."""
        try:
            async with self._sending:
                self._check()  # redis-py would connect again, and waiting callers would get the replies to others
                await self._connection.send_packed_command(request, check_health=False)
            async with self._receiving:
                self._check()
                return [await _reply(self._connection) for _ in range(replies)]
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
