"""A broker on the loopback interface that answers what a client asks first, and can say that the cluster has no broker.

A real one says so for the moments in which its controller has fenced it, which no test can bring about at will. Wire
formats: https://kafka.apache.org/protocol, ApiVersions version 0 and Metadata version 4.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from types import TracebackType
from typing import Final, Self

from ops.processes.servers import LOOPBACK

TOPIC: Final = "t"
NODE: Final = 1
_METADATA, _API_VERSIONS = 3, 18
_METADATA_VERSION: Final = 4
_UNSUPPORTED_VERSION, _LEADER_NOT_AVAILABLE = 35, 5


class FencedBroker:
    """Serve clients from threads while it is open. is_fenced: whether it says that there is no broker."""

    def __init__(self) -> None:
        self.is_fenced = False
        self.answers = self.fenced_answers = 0  # to questions about metadata
        owner = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while header := self.rfile.read(4):
                    request = self.rfile.read(struct.unpack(">i", header)[0])
                    api, version, correlation = struct.unpack_from(">hhi", request)
                    answer = struct.pack(">i", correlation) + owner._answer(api, version)
                    self.wfile.write(struct.pack(">i", len(answer)) + answer)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server((LOOPBACK, 0), Connection)
        self._thread = threading.Thread(target=self._server.serve_forever, name="fenced-broker", daemon=True)

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, api: int, version: int) -> bytes:
        if api == _METADATA:
            return self._metadata()
        assert api == _API_VERSIONS, f"no client asks for {api} before it knows a leader"
        error = _UNSUPPORTED_VERSION if version > 0 else 0  # so the client asks again, in version 0
        apis = [(_METADATA, 0, _METADATA_VERSION), (_API_VERSIONS, 0, 0)]
        return struct.pack(">hi", error, len(apis)) + b"".join(struct.pack(">hhh", *each) for each in apis)

    def _metadata(self) -> bytes:
        self.answers += 1
        self.fenced_answers += self.is_fenced
        host, port = self._server.server_address[:2]
        broker = struct.pack(">i", NODE) + _text(str(host)) + struct.pack(">ih", port, -1)
        error, leader = (_LEADER_NOT_AVAILABLE, -1) if self.is_fenced else (0, NODE)
        partition = struct.pack(">hii", error, 0, leader) + struct.pack(">ii", 1, NODE) + struct.pack(">ii", 1, NODE)
        topic = struct.pack(">h", 0) + _text(TOPIC) + struct.pack(">?i", False, 1) + partition
        brokers = struct.pack(">i", 0) if self.is_fenced else struct.pack(">i", 1) + broker
        controller = -1 if self.is_fenced else NODE
        return struct.pack(">i", 0) + brokers + _text("cluster") + struct.pack(">ii", controller, 1) + topic


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()
