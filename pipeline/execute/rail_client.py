"""The payment rail over HTTP: bulk transfers and recalls by idempotency key, and what became of them.

Invariants
1. An answer is what the rail said of that key, never inferred: no reply, a 5xx, a torn or strange reply say nothing.
2. A key that the rail may have met is submitted only after the rail said that it knows nothing of it; no reply, and a
   reply that leaves the key out, are no such word.
3. With TLS the rail proves who it is, and so does this client, by its certificate.
4. Attempts and waits are bounded, a request with its whole reply too, however slowly the rail sends it; what is not
   known by then is UNKNOWN, and somebody asks again later.
5. A key that is older than the rail keeps keys is asked about and never submitted: that the rail does not know it says
   nothing, and it is FORGOTTEN.
6. Where a key was asked about, the rail's word on it counts only if what it has under it is what is meant: whoever took
   the key before may have named another payee. Of what is meant it says nothing then, and it is FORGOTTEN, too.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import orjson

from pipeline.execute.metrics import RAIL_REQUESTS
from pipeline.execute.saga import Answer
from pipeline.traces.tracer_service import Call, Tracer

ATTEMPTS_MAX: Final = 5
BACKOFF_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0)
"""Before each attempt. With TIMEOUT_S a rail that never answers takes the executor about 20 s a batch, and one that
sends its replies as slowly as it may twice as long."""
TIMEOUT_S: Final = 2.0
"""Longest silence of the rail."""
EXCHANGE_TIMEOUTS: Final = 2
"""Times as long a request may take with all of its reply: it may come in as slowly as it begins."""
REPLY_BYTES_MAX: Final = 4 * 1024 * 1024
TRANSFERS_MAX: Final = 2_000
"""Transfers in one request."""

_NOT_KNOWN: Final = "UNKNOWN"
"""The rail's word on a key that it never met."""
_PAID: Final = {"ACCEPTED": Answer.DONE, "RECALLED": Answer.DONE, "REFUSED": Answer.REFUSED}
_RECALLED: Final = {"RECALLED": Answer.DONE, "REFUSED": Answer.REFUSED}


class Transfer(NamedTuple):
    """A transfer, its fields in the rail's order."""

    key: str
    debtor_account_id: str
    creditor_account_id: str
    currency: str
    amount_minor: int


class Identity(NamedTuple):
    """PEM files by which executor and rail know each other."""

    authority: Path  # that signed the rail's certificate; no other is trusted
    certificate: Path  # the executor's own
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return context


class Recall(NamedTuple):
    """A recall, its fields in the rail's order. `amount_minor`: of the transfer's, all or a part."""

    key: str
    transfer_key: str
    amount_minor: int


class KnownTransfer(NamedTuple):
    """A transfer as the rail has it. status: ACCEPTED, REFUSED, or RECALLED where all of it is back."""

    status: str
    debtor_account_id: str
    creditor_account_id: str
    currency: str
    amount_minor: int

    @property
    def was_paid(self) -> bool:
        return _PAID[self.status] is Answer.DONE


class KnownRecall(NamedTuple):
    """A recall as the rail has it. status: RECALLED or REFUSED."""

    status: str
    transfer_key: str
    amount_minor: int

    @property
    def was_taken_back(self) -> bool:
        return _RECALLED[self.status] is Answer.DONE


Known = KnownTransfer | KnownRecall


class RailSilent(Exception):
    """A request had no answer that says anything. The message names the kind of failure only."""


class Rail:
    """For one thread; one connection, kept open."""

    def __init__(
        self,
        url: str,
        *,
        identity: Identity | None = None,
        timeout_s: float = TIMEOUT_S,
        wait: Callable[[float], object] = time.sleep,
        tracer: Tracer | None = None,
    ) -> None:
        """Make the client; it connects with its first request.

        identity: for an address that begins with https. `wait` is called between attempts. tracer: sends the trace on
        with each request. Raises OSError where a file of the identity can't be read, and ssl.SSLError where it holds
        something else.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None, "the rail's address has a host"
        if parts.scheme == "https":
            assert identity is not None, "the settings ask for one with https"
            context = identity.context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port or 443, timeout=timeout_s, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
        self._wait, self._exchange_s = wait, EXCHANGE_TIMEOUTS * timeout_s
        self._tracer = Tracer(None) if tracer is None else tracer

    def pay(
        self, transfers: Sequence[Transfer], *, is_retry: bool = False, old_keys: Collection[str] = ()
    ) -> dict[str, Answer]:
        """Say of each transfer whether it is paid. `is_retry`: the rail may know the keys already.

        old_keys: those that are older than the rail keeps keys.
        """
        bodies = {transfer.key: list(transfer) for transfer in transfers}
        return self._settle("transfers", bodies, _PAID, is_asked_first=is_retry or bool(old_keys), old_keys=old_keys)

    def recall(
        self, recalls: Sequence[Recall], *, is_retry: bool = False, old_keys: Collection[str] = ()
    ) -> dict[str, Answer]:
        """Say of each recall whether its money is back; the rest as `pay`."""
        bodies = {recall.key: list(recall) for recall in recalls}
        return self._settle("recalls", bodies, _RECALLED, is_asked_first=is_retry or bool(old_keys), old_keys=old_keys)

    def look_up(self, keys: Sequence[str]) -> dict[str, Known | None]:
        """Return what the rail has under each key, of a transfer or of a recall; None where it has nothing.

        Raises RailSilent where it does not say of each, however often it is asked.
        """
        found: dict[str, Known | None] = {}
        for attempt in range(ATTEMPTS_MAX):
            self._wait(BACKOFF_S[attempt])
            left = [key for key in keys if key not in found]
            for start in range(0, len(left), TRANSFERS_MAX):
                part = left[start : start + TRANSFERS_MAX]
                with contextlib.suppress(RailSilent):
                    answers = self._post("/v1/lookup", orjson.dumps(part))
                    found |= {key: _known(key, answers[key]) for key in part if key in answers}
            if len(found) == len(set(keys)):
                return found
        raise RailSilent("it does not say what it has under every key")

    def close(self) -> None:
        self._connection.close()

    def _settle(
        self,
        what: str,
        bodies: Mapping[str, Sequence[object]],
        said: Mapping[str, Answer],
        *,
        is_asked_first: bool,
        old_keys: Collection[str],
    ) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}
        left = dict(bodies)
        for attempt in range(ATTEMPTS_MAX):
            if not left:
                break
            self._wait(BACKOFF_S[attempt])
            try:
                new = left
                if attempt or is_asked_first:
                    known = self._ask(f"/v1/{what}/query", list(left))
                    answered = {key: body for key, body in left.items() if known.get(key) in said}
                    answers |= {key: Answer.FORGOTTEN for key in self._about_others(answered) if left.pop(key)}
                    _take(answers, left, known, said)
                    new = {key: body for key, body in left.items() if known.get(key) == _NOT_KNOWN}
                    forgotten = [key for key in new if key in old_keys]
                    answers |= {key: Answer.FORGOTTEN for key in forgotten if left.pop(key)}
                    new = {key: body for key, body in new.items() if key not in old_keys}
                if new:
                    _take(answers, left, self._ask(f"/v1/{what}", list(new.values())), said)
            except RailSilent:
                continue
        return answers | dict.fromkeys(left, Answer.UNKNOWN)

    def _about_others(self, bodies: Mapping[str, Sequence[object]]) -> list[str]:
        """The keys under which the rail has something else. Raises RailSilent where it does not say what of each."""
        found: list[str] = []
        for start in range(0, len(bodies), TRANSFERS_MAX):
            part = list(bodies)[start : start + TRANSFERS_MAX]
            answers = self._post("/v1/lookup", orjson.dumps(part))
            for key in part:
                known = _known(key, answers.get(key))
                if known is None:
                    raise RailSilent(f"it has {key}, and does not say what")
                if known[1:] != tuple(bodies[key][1:]):
                    found.append(key)
        return found

    def _ask(self, path: str, body: Sequence[object]) -> dict[str, str]:
        """The rail's word on each key. Raises RailSilent."""
        found: dict[str, str] = {}
        for start in range(0, len(body), TRANSFERS_MAX):
            answers = self._post(path, orjson.dumps(body[start : start + TRANSFERS_MAX]))
            found |= {key: status for key, status in answers.items() if isinstance(status, str)}
        return found

    def _post(self, path: str, body: bytes) -> dict[str, object]:
        with self._tracer.call("POST", path, self._connection.host, self._connection.port) as call:
            return self._replied(path, body, call)

    def _replied(self, path: str, body: bytes, call: Call) -> dict[str, object]:
        try:
            if self._connection.sock is None:
                self._connection.connect()
            with _ended_after(self._connection.sock, self._exchange_s):
                self._connection.request("POST", path, body, {"Content-Type": "application/json", **call.headers})
                reply = self._connection.getresponse()
                content = reply.read(REPLY_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request opens it again
            RAIL_REQUESTS.labels(path, "silent").inc()
            raise RailSilent(type(error).__name__) from error
        call.attributes["http.response.status_code"] = reply.status
        if reply.status != http.client.OK:
            self._connection.close()
            RAIL_REQUESTS.labels(path, "error").inc()
            raise RailSilent(f"status {reply.status}")
        RAIL_REQUESTS.labels(path, "answered").inc()
        return _answers(content)


@contextlib.contextmanager
def _ended_after(connected: socket.socket, seconds: float) -> Iterator[None]:
    """End the connection where what is done meanwhile takes longer: a socket's own time limit begins anew with each
    byte that arrives."""

    def end() -> None:
        with contextlib.suppress(OSError):  # it was closed by then
            socket.socket.shutdown(connected, socket.SHUT_RDWR)  # below TLS, whose own would wait for the rail

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _answers(content: bytes) -> dict[str, object]:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RailSilent("the reply is no JSON") from error
    if not isinstance(found, dict):
        raise RailSilent("the reply is no object")
    return found


def _known(key: str, said: object) -> Known | None:
    """Raises RailSilent where the answer is of another shape: what it may mean is not guessed."""
    match said:
        case None:
            return None
        case [*_, bool()]:
            pass  # no amount, though Python counts it as one
        case [str(status), str(debtor), str(creditor), str(currency), int(amount_minor)] if status in _PAID:
            return KnownTransfer(status, debtor, creditor, currency, amount_minor)
        case [str(status), str(transfer_key), int(amount_minor)] if status in _RECALLED:
            return KnownRecall(status, transfer_key, amount_minor)
    raise RailSilent(f"what it has under {key} can't be read")


def _take(
    answers: dict[str, Answer],
    left: dict[str, Sequence[object]],
    statuses: Mapping[str, str],
    said: Mapping[str, Answer],
) -> None:
    """Moves what the rail has an answer to from `left` to `answers`."""
    for key, status in statuses.items():
        if status in said and left.pop(key, None) is not None:
            answers[key] = said[status]
