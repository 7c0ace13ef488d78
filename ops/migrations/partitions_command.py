"""`fraud database ensure-partitions`: the months' partitions, made ahead by a job and never by a service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from pipeline.io.filing import MONTHS_AHEAD_MIN
from pipeline.io.postgres import failures_named
from pipeline.io.settings import Settings
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output

MONTHS_BACK_MAX: Final = 240
"""From 2020 on, which is as far back as a partition is made."""


class Reach(NamedTuple):
    """A table, and for how many months after this one it has partitions; -1 where this month has none."""

    table: str
    months: int


def ensure_months(settings: Settings, months: int, since: datetime | None) -> list[Reach]:
    """Make what is missing, and return how far each table reaches. Waits for nobody, and nobody waits for it."""
    with connected(settings) as connection, failures_named():
        connection.execute("SELECT control.ensure_all_partitions(%s)", [months])
        for month in _past_months(since):
            connection.execute("SELECT control.ensure_month(%s)", [month])
        found = connection.execute("SELECT parent::text, months FROM control.partition_reach()").fetchall()
    return [Reach(table, reached) for table, reached in found]


def show_reach(output: Output, reach: Sequence[Reach]) -> bool:
    """Return whether every table reaches far enough."""
    for table, months in reach:
        output.record({"table": table, "months_ahead": months}, f"{table:<24} {months:>2} months ahead")
    return all(each.months >= MONTHS_AHEAD_MIN for each in reach)


def _past_months(since: datetime | None) -> list[datetime]:
    if since is None:
        return []
    begin = since if since.tzinfo is not None else since.replace(tzinfo=UTC)
    now = datetime.now(UTC)
    count = (now.year - begin.year) * 12 + now.month - begin.month
    if not 0 <= count <= MONTHS_BACK_MAX or begin.year < 2020:
        raise Failure("Partitions are made from 2020 on.", "Give --since a time between then and now.")
    numbers = range(begin.year * 12 + begin.month - 1, now.year * 12 + now.month - 1)
    return [datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in numbers]
