"""A server's whole data as an RDB file, fetched by the replication protocol, as `redis-cli --rdb` does.

The server forks and writes its data as of one instant, so the file is consistent, positions included. A managed service
usually forbids it (SnapshotForbidden); it makes and restores such files itself.
"""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import ResponseError

SILENCE_S: Final = 60.0
"""Longest silence of a server that prepares the file: it sends a line every 10 s meanwhile."""
LINE_BYTES_MAX: Final = 1_024
READ_BYTES: Final = 1 << 20
DELIMITER_BYTES: Final = 40
"""Length of the random end mark of a file whose size the server doesn't know beforehand."""
MAGIC: Final = (b"REDIS", b"VALKEY")
END_BYTES: Final = 9
"""The last byte of an RDB's entries, 0xFF, and a checksum of 8 bytes."""


class SnapshotForbidden(Exception):
    """The server doesn't give its data away by replication."""


class SnapshotBroken(Exception):
    """The server ended, or what it sent is no RDB file."""


class Snapshot(NamedTuple):
    size: int
    sha256: str


def fetch_snapshot(node: str, path: Path) -> Snapshot:
    """Write the server's data to a new file. Raises SnapshotForbidden, SnapshotBroken, RedisError or OSError."""
    partial = path.with_name(f"{path.name}.partial")
    client = redis.Redis.from_url(node, socket_timeout=SILENCE_S, socket_connect_timeout=SILENCE_S, protocol=2)
    try:
        connection: Any = client.connection_pool.get_connection()
        with _FileOnly(connection), partial.open("xb") as file:
            connection.send_command("SYNC")
            found = _received(_Stream(connection._sock), file)
            file.flush()
            os.fsync(file.fileno())
        _check(partial)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
        client.close()
    return found


class _Stream:
    """The bytes of a socket, from the reply to SYNC on."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket, self._rest = sock, b""

    def line(self) -> bytes:
        """Return the next line that isn't empty; a server that is busy sends empty ones."""
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                if line.strip():
                    return line.strip()
            elif len(self._rest) > LINE_BYTES_MAX:
                raise SnapshotBroken("the answer to SYNC has no end")
            else:
                self._rest += self._more()

    def part(self, size: int = READ_BYTES) -> bytes:
        if self._rest:
            part, self._rest = self._rest[:size], self._rest[size:]
            return part
        return self._more(size)

    def _more(self, size: int = READ_BYTES) -> bytes:
        part = self._socket.recv(size)
        if not part:
            raise SnapshotBroken("the server ended the connection")
        return part


class _FileOnly:
    """Tell the server that nobody will follow its writes; the connection is closed in the end."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.send_command("REPLCONF", "rdb-only", "1")
        try:
            self._connection.read_response()
        except ResponseError:  # before Redis 7; it would only send writes after the file, until we close
            return

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()


def _received(stream: _Stream, file: Any) -> Snapshot:
    line = stream.line()
    if line.startswith(b"-"):
        raise SnapshotForbidden(line[1:].decode(errors="replace"))
    if line.startswith(b"$EOF:"):
        return _until_delimiter(stream, line[5:], file)
    if not line.startswith(b"$") or not line[1:].isdigit():
        raise SnapshotBroken("the answer to SYNC is no file")
    return _of_length(stream, int(line[1:]), file)


def _of_length(stream: _Stream, size: int, file: Any) -> Snapshot:
    digest, left = hashlib.sha256(), size
    while left:
        part = stream.part(min(left, READ_BYTES))
        digest.update(part)
        file.write(part)
        left -= len(part)
    return Snapshot(size, digest.hexdigest())


def _until_delimiter(stream: _Stream, delimiter: bytes, file: Any) -> Snapshot:
    if len(delimiter) != DELIMITER_BYTES:
        raise SnapshotBroken("the answer to SYNC names no end mark")
    digest, size, kept = hashlib.sha256(), 0, b""
    while True:
        kept += stream.part()
        is_end = kept.endswith(delimiter)
        ready = kept[:-DELIMITER_BYTES]
        digest.update(ready)
        file.write(ready)
        size += len(ready)
        if is_end:
            return Snapshot(size, digest.hexdigest())
        kept = kept[-DELIMITER_BYTES:]


def _check(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(MAGIC[1]))
        file.seek(-END_BYTES, os.SEEK_END)
        end = file.read(1)
    if not head.startswith(MAGIC) or end != b"\xff":
        raise SnapshotBroken("what the server sent is no RDB file")
