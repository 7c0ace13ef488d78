"""PostgreSQL: connections, statements by name, and three exceptions for everything that may go wrong.

A service keeps one connection and one thread. All SQL stands in `.sql` files beside the modules that use it: a line
`-- name: of_the_statement`, a comment that says what it does, then the statement. An error's text may quote a row, so
only the names of the table, the constraint and the kind of error are passed on (I10).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from pipeline.io.addresses import database_options

Connection = psycopg.Connection[tuple[Any, ...]]
Statements = Mapping[str, bytes]

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 60_000
"""Time limit of a statement. A batch takes under a second; a service that waits a minute for it should start over."""
_SESSION: Final = {
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "timezone": "UTC",
    "synchronous_commit": "on",
    "default_transaction_isolation": r"read\ committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}
"""Settings that every session states itself. Any role may change its own, which then hold for whoever logs in as it: a
credential that was stolen once would go on having commits lost in a crash after its password was changed."""
RETRY_WAIT_S: Final = 0.05
RETRY_WAIT_S_MAX: Final = 1.0
_TURN_LIMITS: Final = (b"SET LOCAL lock_timeout = '15s'", b"SET LOCAL idle_in_transaction_session_timeout = 0")
"""How long to wait for a turn; a killed predecessor's session ends within moments. A turn lasts as long as its work."""
_NAMED: Final = re.compile(r"^-- name: (\w+)\n((?:--[^\n]*\n)+)(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


class DatabaseUnavailable(Exception):
    """The server can't be reached, went away, or gave up on a statement; another attempt may succeed."""


class DatabaseRefused(Exception):
    """The server refused, by a constraint, a trigger or a missing right; another attempt fails the same way."""


class PositionMoved(Exception):
    """Another process has stored what this one just read, so the partitions are no longer this one's."""


def connect(url: str, name: str, *, patience_s: float = 0.0) -> Connection:
    """Connect in autocommit mode; use `connection.transaction()`.

    Tries again for patience_s, then raises DatabaseUnavailable.
    """
    deadline, wait_s = time.monotonic() + patience_s, RETRY_WAIT_S
    while True:
        try:
            return _connect(url, name)
        except DatabaseUnavailable:
            if time.monotonic() + wait_s > deadline:
                raise
        time.sleep(wait_s)
        wait_s = min(wait_s * 2, RETRY_WAIT_S_MAX)


@contextmanager
def failures_named() -> Iterator[None]:
    """Turn psycopg's exceptions into ours, without the rows that they quote."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseUnavailable(f"the database did not carry it out: {_kind(error)}") from None
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError, psycopg.InternalError) as error:
        raise DatabaseRefused(f"the database refused it: {_kind(error)}") from None


@contextmanager
def turn_of(connection: Connection, named: Statements, taken: type[Exception]) -> Iterator[None]:
    """Keep others of the same kind waiting meanwhile; raise `taken` where one of them keeps its turn for too long.

    named: has the statement wait_for_turn of that kind. A connection of its own holds the turn, in a transaction that
    stays open, so the turn ends with the process. `connection` says where to connect to.
    """
    name = f"{connection.info.get_parameters().get('application_name', 'fraud')}-turn"
    with _connect(_address(connection), name) as holder, holder.transaction():
        for limit in _TURN_LIMITS:
            holder.execute(limit)
        try:
            holder.execute(named["wait_for_turn"])
        except psycopg.errors.LockNotAvailable:
            raise taken from None
        yield


@lru_cache
def statements(package: str, name: str) -> Statements:
    """Read the statements of `NAME.sql` in the folder of `package`, by name."""
    text = resources.files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    found = {match[1]: match[3].strip().removesuffix(";").encode() for match in _NAMED.finditer(text)}
    assert len(found) == text.count("-- name: "), f"every statement of {name}.sql has a name and a description"
    return found


class Held:
    """A service's one connection. It is made when it is first asked for, and again after it was dropped or lost."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None

    def connection(self) -> Connection:
        """Return the connection. Raises what `connect` raises."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def look(self) -> None:
        """Raise DatabaseUnavailable where PostgreSQL no longer answers, for a caller with nothing else to ask it."""
        with failures_named():
            self.connection().execute("SELECT 1")

    def drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Positions:
    """The offsets from which a consumer reads on in a topic, as rows of control.consumer_position."""

    def __init__(self, consumer: str, topic: str) -> None:
        self.consumer, self.topic = consumer, topic
        self._statements = statements("pipeline.io", "positions")

    def read(self, connection: Connection, partitions: Iterable[int]) -> dict[int, int]:
        """Return the next offset of each of `partitions`, which is 0 where nothing was stored yet."""
        found = connection.execute(self._statements["read_positions"], [self.consumer, self.topic]).fetchall()
        stored: dict[int, int] = dict(found)
        return {partition: stored.get(partition, 0) for partition in partitions}

    def advance(self, connection: Connection, partition: int, before: int, after: int) -> None:
        """Move the position on, in the transaction that stores what was read.

        Raises PositionMoved where the position is no longer `before`.
        """
        where = {"consumer": self.consumer, "topic": self.topic, "partition": partition}
        moved = connection.execute(self._statements["advance_position"], {**where, "before": before, "after": after})
        if moved.rowcount != 1:
            raise PositionMoved(f"{self.consumer} is no longer at {before} of {self.topic}[{partition}]")


def opened(url: str, **options: Any) -> Connection:
    """Connect once, with psycopg's options. Raises psycopg.OperationalError, and DatabaseRefused for no address."""
    if database_options(url) is None:
        raise DatabaseRefused("what should be its address can't be read")  # psycopg's own message would quote it
    return psycopg.connect(url, **options)


def _address(connection: Connection) -> str:
    """Where a connection leads to and as whom, with its password; without the options that `_connect` sets itself."""
    known = connection.info.get_parameters()
    kept = {name: value for name, value in known.items() if name not in ("options", "application_name")}
    if connection.info.password:
        kept["password"] = connection.info.password
    return make_conninfo("", **kept)


def _connect(url: str, name: str) -> Connection:
    with failures_named():
        connection = opened(
            url,
            autocommit=True,
            application_name=name,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=" ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
        )
    connection.prepare_threshold = 2
    return connection


def _kind(error: psycopg.Error) -> str:
    diagnosis = error.diag
    table = ".".join(part for part in (diagnosis.schema_name, diagnosis.table_name) if part)
    words = [type(error).__name__, error.sqlstate or "no answer", table, diagnosis.constraint_name or ""]
    return ", ".join(word for word in words if word)
