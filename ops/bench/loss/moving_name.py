"""A name that moves from one server to another, as a managed service's does, acted by a port that forwards.

New connections go to the server that the name stands for then. Connections that stand stay with theirs, which is what
DNS does to a client that doesn't ask again.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Final, Self

from ops.processes.servers import LOOPBACK

READ_BYTES: Final = 1 << 16
LOOK_S: Final = 0.2


class MovingName:
    """Forwards while the block runs; `port` is where the name is asked for."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listening = socket.create_server((LOOPBACK, 0))
        self._listening.settimeout(LOOK_S)
        self.port: int = self._listening.getsockname()[1]
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _start(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listening.accept()
                self._start(self._forward, client)

    def _forward(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.target)) as server:
            selector = selectors.DefaultSelector()
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while not self._ended.is_set():
                for key, _ in selector.select(LOOK_S):
                    source, sink = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    part = source.recv(READ_BYTES)
                    if not part:
                        return
                    sink.sendall(part)
