"""Times that a service trusts: the broker's for where a row is filed, and the database server's for what has expired.

A record is filed under the broker's time. Where the server's clock contradicts that, or nobody has made the month's
partition, the row goes under UNFILED_MS instead, into a partition that is always there. So a wrong clock on a worker,
the broker, a service or the server stops nothing, and what it misplaced stands in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from prometheus_client import Counter, Gauge

from pipeline.domain.times import claim_ms
from pipeline.io.postgres import Connection, connect, failures_named, statements

UNFILED_MS: Final = 0
"""1970-01-01, the time of all that no month takes."""
MONTHS_AHEAD_MIN: Final = 2
"""Fewer are told: two months are the time to find out why the job that makes partitions does not run."""
DAY_MS: Final = 86_400_000
DAYS_KEPT_MAX: Final = 4_096
"""Days remembered as taken. A topic of other clocks could name millions."""

UNFILED: Final = Counter("fraud_records_unfiled_total", "Broker times that no month took, by table", ["table"])
MONTHS_AHEAD: Final = Gauge("fraud_partition_months_ahead", "Months for which every table has partitions")

_SQL: Final = statements("pipeline.io", "filing")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_log = structlog.stdlib.get_logger("filing")


class Filing:
    """Where rows of one partitioned table are filed. For one thread; the days that were found taken are remembered."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._taken: set[int] = set()

    def file(self, connection: Connection, times_ms: Iterable[int]) -> dict[int, int]:
        """Return the filing time of each broker time. Raises DatabaseUnavailable, DatabaseRefused."""
        wanted = set(times_ms)
        unknown = sorted({_day(at_ms) for at_ms in wanted} - self._taken)
        if unknown:
            self._ask(connection, unknown)
        filed = {at_ms: claim_ms(at_ms) if _day(at_ms) in self._taken else UNFILED_MS for at_ms in wanted}
        if unfiled := [at_ms for at_ms in wanted if _day(at_ms) not in self._taken]:
            UNFILED.labels(self._table).inc(len(unfiled))
            bounds = {"first_ms": min(unfiled), "last_ms": max(unfiled)}
            _log.error("records_unfiled", table=self._table, times=len(unfiled), **bounds)
        return filed

    def _ask(self, connection: Connection, days: list[int]) -> None:
        times = [_EPOCH + timedelta(days=day) for day in days]
        with failures_named():
            rows = connection.execute(_SQL["months_taken"], [self._table, times]).fetchall()
        if len(self._taken) > DAYS_KEPT_MAX:
            self._taken.clear()
        self._taken |= {day for day, (is_taken,) in zip(days, rows, strict=True) if is_taken}


def service_connection(url: str, name: str) -> Connection:
    """Connect as a service, which tells for how many months there are partitions. Raises DatabaseUnavailable."""
    connection = connect(url, name)
    tell_months_ahead(connection, name)
    return connection


def tell_months_ahead(connection: Connection, service: str) -> int:
    """Log and count for how many months there are partitions, and return it."""
    with failures_named():
        found = connection.execute(_SQL["months_ahead"]).fetchone()
    assert found is not None, "an aggregate has one row"
    months = -1 if found[0] is None else int(found[0])
    MONTHS_AHEAD.set(months)
    tell = _log.error if months < MONTHS_AHEAD_MIN else _log.info
    tell("partition_months_ahead", service=service, months=months, wanted=MONTHS_AHEAD_MIN)
    return months


def server_now_ms(connection: Connection) -> int:
    """Return the milliseconds since 1970 by the database server's clock."""
    with failures_named():
        found = connection.execute(_SQL["server_now_ms"]).fetchone()
    assert found is not None, "it is one row"
    return int(found[0])


def _day(at_ms: int) -> int:
    return claim_ms(at_ms) // DAY_MS
