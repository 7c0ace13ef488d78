"""Kafka's answers name the brokers; behind a proxy they must name the proxy, or its clients would pass it by.

Invariants
1. An answer keeps its length, so no version of Kafka's protocol has to be known: a broker's address is its host and,
   as four bytes, its port, and is replaced by a name of loopback of the same length.
2. What belongs to an answer leaves with it: nothing of it waits for the next one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

LOOPBACK_START: Final = "127.0.0."
"""An address may have leading zeros, so that there is a name of loopback of any length from five characters on."""
SHORT_LOOPBACK: Final[Mapping[int, str]] = {5: "127.1", 6: "127.01", 7: "127.0.1", 8: "127.0.01"}
SIZE_BYTES: Final = 4


class Endpoint(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class HostTooShort(Exception):
    """No name of loopback is as short as a broker's; one sentence, without a full stop."""


def loopback_as_long_as(host: str) -> str:
    """Return a name of 127.0.0.1 of the length of `host`. Raises HostTooShort."""
    length = len(host.encode())
    if length in SHORT_LOOPBACK:
        return SHORT_LOOPBACK[length]
    if length < min(SHORT_LOOPBACK):
        raise HostTooShort(f"no name of loopback is as short as the broker's, {host}")
    return LOOPBACK_START + "1".zfill(length - len(LOOPBACK_START))


def in_answers(endpoint: Endpoint) -> bytes:
    """Return a broker's address as every answer of Kafka's that names it holds it."""
    return endpoint.host.encode() + struct.pack(">i", endpoint.port)


class Answers:
    """The answers of one connection. `replaced`: what stands in them, and what shall, each pair of one length."""

    def __init__(self, replaced: Mapping[bytes, bytes]) -> None:
        assert all(len(old) == len(new) for old, new in replaced.items())
        self._replaced = dict(replaced)
        self._longest = max(map(len, self._replaced), default=1)
        self._waiting = b""
        self._left = 0  # bytes of the answer that are still to come, those that wait not counted

    def feed(self, read: bytes) -> bytes:
        """Return what can go on to the client."""
        ready: list[bytes] = []
        self._waiting += read
        while True:
            if self._left == 0:
                if len(self._waiting) < SIZE_BYTES:
                    return b"".join(ready)
                (self._left,) = struct.unpack(">i", self._waiting[:SIZE_BYTES])
                ready.append(self._waiting[:SIZE_BYTES])
                self._waiting = self._waiting[SIZE_BYTES:]
                continue
            body = self._changed(self._waiting[: self._left])
            is_whole = len(body) == self._left
            # What may be the beginning of an address waits for its rest, but never past the end of the answer.
            kept = 0 if is_whole else min(self._longest - 1, len(body))
            gone = len(body) - kept
            ready.append(body[:gone])
            self._waiting, self._left = body[gone:] + self._waiting[len(body) :], self._left - gone
            if not is_whole:
                return b"".join(ready)

    def _changed(self, body: bytes) -> bytes:
        for old, new in self._replaced.items():
            body = body.replace(old, new)
        return body
