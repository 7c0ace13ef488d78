"""Sinks that misbehave: an HTTP server and an SMTP server that note what reached them, and answer as they are told.

Each acts by a script: a list of manners, taken one for each request; the last goes on for ever.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Manner(StrEnum):
    TAKES = auto()
    REFUSES_429 = auto()  # with Retry-After
    FAILS_500 = auto()  # nothing is taken
    FAILS_503 = auto()
    TAKES_BUT_502 = auto()  # the message is taken, and the gateway says otherwise
    TAKES_BUT_TORN = auto()  # the message is taken, and the answer breaks off
    TAKES_BUT_SILENT = auto()  # the message is taken, and the connection closed without an answer
    DROPS = auto()  # the connection is closed before anything is read
    REDIRECTS = auto()
    BAD_400 = auto()
    FORBIDDEN_403 = auto()
    GONE_410 = auto()
    TOO_LONG = auto()  # taken, with an answer without end
    HANGS = auto()  # taken, with an answer that never comes
    DRIPS = auto()  # taken, with an answer that comes a byte at a time
    LOGIN_PAGE = auto()  # something else stands at the address, and answers 200 to whatever comes
    ERROR_200 = auto()  # a 200 whose body says that it failed


TAKING = frozenset(
    {
        Manner.TAKES,
        Manner.TAKES_BUT_502,
        Manner.TAKES_BUT_TORN,
        Manner.TAKES_BUT_SILENT,
        Manner.TOO_LONG,
        Manner.HANGS,
        Manner.DRIPS,
    }
)
RETRY_AFTER_S = 1
HANGS_S_MAX = 30.0


@dataclass
class Taken:
    path: str
    headers: dict[str, str]
    body: bytes
    manner: Manner
    at_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpSink:
    """asked: every request, whatever became of it; taken: those of which the message was taken."""

    url: str = ""
    manner_of: Callable[[int], Manner] = lambda _number: Manner.TAKES
    asked: list[Taken] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def taken(self) -> list[Taken]:
        with self.lock:
            return [each for each in self.asked if each.manner in TAKING]

    def behave(self, *manners: Manner) -> None:
        """From the next request on, in this order."""
        begun = len(self.asked)
        self.manner_of = lambda number: manners[min(number - begun, len(manners) - 1)]


@contextmanager
def http_sink() -> Iterator[HttpSink]:
    sink = HttpSink()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with sink.lock:
                manner = sink.manner_of(len(sink.asked))
                sink.asked.append(
                    Taken(self.path, {k.lower(): v for k, v in self.headers.items()}, body, manner, time.monotonic())
                )
                number = len(sink.asked)
            _answer(self, manner, number, sink.closing)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        sink.url = f"http://127.0.0.1:{port}"
        try:
            yield sink
        finally:
            sink.closing.set()


REFUSALS = {
    Manner.FAILS_500: 500,
    Manner.FAILS_503: 503,
    Manner.TAKES_BUT_502: 502,
    Manner.BAD_400: 400,
    Manner.FORBIDDEN_403: 403,
    Manner.GONE_410: 410,
}


def _answer(handler: BaseHTTPRequestHandler, manner: Manner, number: int, closing: threading.Event) -> None:
    ok = json.dumps({"ok": True, "status": "success", "ts": f"1700000000.{number:06d}"}).encode()
    handler.close_connection = True
    if manner in REFUSALS:
        _reply(handler, REFUSALS[manner], b"{}")
    elif manner is Manner.TAKES:
        _reply(handler, 202 if "enqueue" in handler.path else 200, ok)
    elif manner is Manner.REFUSES_429:
        _reply(handler, 429, b"{}", {"Retry-After": str(RETRY_AFTER_S)})
    elif manner is Manner.TAKES_BUT_TORN:
        _reply(handler, 200, ok[:7], {"Content-Length": str(len(ok) + 50)})
    elif manner is Manner.LOGIN_PAGE:
        _reply(handler, 200, b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"})
    elif manner is Manner.ERROR_200:
        _reply(handler, 200, json.dumps({"ok": False, "status": "error", "error": "internal_error"}).encode())
    elif manner is Manner.REDIRECTS:
        _reply(handler, 307, b"", {"Location": f"http://{handler.headers['Host']}/elsewhere"})
    elif manner is Manner.TOO_LONG:
        _reply_without_end(handler)
    elif manner is Manner.HANGS:
        closing.wait(HANGS_S_MAX)
    elif manner is Manner.DRIPS:
        _reply_slowly(handler, closing)
    else:
        handler.connection.shutdown(socket.SHUT_RDWR)


def _reply_without_end(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):
        for _ in range(40):
            handler.wfile.write(b" " * 8192)


def _reply_slowly(handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):
        while not closing.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()


def _reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[int]:
    with server:
        server.daemon_threads = True  # type: ignore[attr-defined] # of its threading mixin
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


class MailManner(StrEnum):
    TAKES = auto()
    TAKES_BUT_SILENT = auto()  # after the message, the connection is closed without an answer
    LATER_451 = auto()  # after the message
    NEVER_550 = auto()
    REFUSES_RECIPIENT = auto()
    REFUSES_RECIPIENT_LATER = auto()
    DROPS = auto()


@dataclass
class MailSink:
    address: str = ""
    manner_of: Callable[[int], MailManner] = lambda _number: MailManner.TAKES
    asked: int = 0
    taken: list[str] = field(default_factory=list)

    def behave(self, *manners: MailManner) -> None:
        begun = self.asked
        self.manner_of = lambda number: manners[min(number - begun, len(manners) - 1)]


@contextmanager
def mail_sink() -> Iterator[MailSink]:
    sink = MailSink()
    handler = type("Handler", (_MailHandler,), {"sink": sink})
    with _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)) as port:
        sink.address = f"127.0.0.1:{port}"
        yield sink


class _MailHandler(socketserver.StreamRequestHandler):
    sink: MailSink

    def handle(self) -> None:
        manner = self.sink.manner_of(self.sink.asked)
        self.sink.asked += 1
        if manner is MailManner.DROPS:
            return
        self._say("220 sink")
        while line := self.rfile.readline():
            verb = (line.split() or [b""])[0].upper()
            if verb == b"DATA":
                self._say("354 go on")
                if not self._take(manner):
                    return
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say(RECIPIENT_ANSWERS.get(manner, "250 sink") if verb == b"RCPT" else "250 sink")

    def _take(self, manner: MailManner) -> bool:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line)
        if manner in (MailManner.TAKES, MailManner.TAKES_BUT_SILENT):
            self.sink.taken.append(b"".join(lines).decode())
        if manner is MailManner.TAKES_BUT_SILENT:
            return False
        self._say({MailManner.LATER_451: "451 later", MailManner.NEVER_550: "550 never"}.get(manner, "250 taken"))
        return True

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


RECIPIENT_ANSWERS = {
    MailManner.REFUSES_RECIPIENT: "550 no such mailbox",
    MailManner.REFUSES_RECIPIENT_LATER: "450 greylisted",
}
