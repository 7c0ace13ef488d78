"""A TCP proxy on loopback that can cut, stall, delay and reset what goes through it.

It runs on an event loop in a thread of its own, and every method may be called from any other thread. It can end TLS
for a client that speaks to it on loopback, so that a drill can stand between a lane and servers that ask for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from ops.drills.proxies.kafka_addresses import Endpoint
from ops.processes.servers import LOOPBACK

CHUNK_BYTES: Final = 64 * 1024
CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
"""How long a call of another thread waits for the loop."""
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST, as a server does that has lost its memory."""

Changed = Callable[[bytes], bytes]
Result = TypeVar("Result")


class Fault(StrEnum):
    NONE = "NONE"
    CUT = "CUT"
    """Every connection is closed, and a new one is refused."""
    STALL = "STALL"
    """Connections stay, new ones are taken, and nothing passes."""
    DELAY = "DELAY"
    """Everything passes late."""


class Target(NamedTuple):
    """Where a proxy leads. tls: what it proves the server by; None: the server is spoken to as the client speaks."""

    endpoint: Endpoint
    tls: ssl.SSLContext | None = None


class FaultProxy:
    """A proxy before one server; it listens from its making on until `close`."""

    def __init__(self, target: Target, answers: Callable[[], Changed] | None = None) -> None:
        """answers: makes, for each connection, what changes the server's answers on their way."""
        self._target, self._answers = target, answers
        self._fault, self._delay_s = Fault.NONE, 0.0
        self._passing = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.endpoint = Endpoint(LOOPBACK, self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.endpoint.port}", daemon=True)
        self._thread.start()
        self._call(self._listen())

    def cut(self) -> None:
        self._call(self._become(Fault.CUT))

    def stall(self) -> None:
        self._call(self._become(Fault.STALL))

    def delay(self, delay_s: float) -> None:
        """Let every piece pass `delay_s` late, either way."""
        self._delay_s = delay_s
        self._call(self._become(Fault.DELAY))

    def reset(self) -> None:
        """Reset the connections that there are; new ones are served."""
        self._call(self._drop())

    def mend(self) -> None:
        """Let everything pass again."""
        self._call(self._become(Fault.NONE))

    @property
    def connections(self) -> int:
        """How many sockets are open, two for each connection that has reached the server."""
        return len(self._writers)

    def close(self) -> None:
        self._call(self._become(Fault.CUT))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listener.close()

    def _call(self, doing: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(ANSWER_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _listen(self) -> None:
        self._passing.set()
        await asyncio.start_server(self._serve, sock=self._listener)

    async def _become(self, fault: Fault) -> None:
        self._fault = fault
        if fault is Fault.STALL:
            self._passing.clear()
        else:
            self._passing.set()
        if fault is Fault.CUT:
            await self._drop()

    async def _drop(self) -> None:
        for writer in list(self._writers):
            _reset(writer)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault is Fault.CUT:
            _reset(writer)
            return
        self._writers.add(writer)
        try:
            await self._passing.wait()
            endpoint, tls = self._target
            name = endpoint.host if tls is not None else None
            opened = asyncio.open_connection(endpoint.host, endpoint.port, ssl=tls, server_hostname=name)
            there_reader, there_writer = await asyncio.wait_for(opened, CONNECT_S)
            self._writers.add(there_writer)
            try:
                await self._join((reader, writer), (there_reader, there_writer))
            finally:
                self._writers.discard(there_writer)
                _close(there_writer)
        except (OSError, TimeoutError):
            _reset(writer)
        finally:
            self._writers.discard(writer)
            _close(writer)

    async def _join(
        self,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Carry both ways until either end closes."""
        changed = self._answers() if self._answers is not None else _unchanged
        ways = [
            asyncio.ensure_future(self._carry(here[0], there[1], _unchanged)),
            asyncio.ensure_future(self._carry(there[0], here[1], changed)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            ended = await asyncio.gather(*ways, return_exceptions=True)
        for failure in ended:
            if isinstance(failure, Exception) and not isinstance(failure, OSError):
                raise failure  # a bug of the proxy must not pass for a fault that it was told to make

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, changed: Changed) -> None:
        with contextlib.suppress(OSError):
            while read := await reader.read(CHUNK_BYTES):
                if self._fault is Fault.DELAY:
                    await asyncio.sleep(self._delay_s)
                await self._passing.wait()
                writer.write(changed(read))
                await writer.drain()


def _unchanged(read: bytes) -> bytes:
    return read


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


def _close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()
