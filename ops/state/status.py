"""What there is of the state: its servers, how far it was observed against the log, and its backups."""

from __future__ import annotations

import time
from typing import Any, Final, NamedTuple

from ops.state.positions import Positions, asked, read_positions, read_replaced
from pipeline.domain.times import utc_text
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.redis.servers import Servers, servers
from pipeline.io.settings import Settings
from pipeline.state.persistence import persistence_in_words, recoverable_at_ms
from pipeline.state.script_store import ahead_text
from pipeline.state.shape import differences
from pipeline.state.store import RedisState
from pipeline.terminal.output import Output

MINUTE_MS: Final = 60_000


class Status(NamedTuple):
    found: Servers
    positions: Positions
    ends: dict[int, int] | None  # of transactions.v1; None where no broker answers
    backup_at_ms: int | None
    recoverable_at_ms: int | None
    now_ms: int
    faults: list[str]  # for which workers would not decide on the state

    @property
    def lost(self) -> list[int]:
        """The partitions of which the log holds records and the state nothing whole."""
        return [each for each, end in (self.ends or {}).items() if end and self.positions.get(each) is None]


def read_status(settings: Settings) -> Status:
    """Raise RedisError, OSError or StateUnavailable where the state store can't be asked."""
    found = servers(settings.redis_url)
    now_ms = time.time_ns() // 1_000_000
    backed_up = asked(settings, lambda state: state.backup_at_ms())
    positions = read_positions(settings)  # before the log's ends, which go on
    ends = _ends(settings)
    recoverable = recoverable_at_ms([master.facts for master in found.masters], backed_up, now_ms)
    faults = _faults(settings, ends) + _ahead(positions, ends) + read_replaced(settings)
    return Status(found, positions, ends, backed_up, recoverable, now_ms, faults)


def show_status(output: Output, status: Status, alert_minutes: int) -> bool:
    """Show it; return whether it is there, and what it could be brought back to is young enough."""
    topology = status.found.topology
    for master in status.found.masters:
        _show_server(output, topology.value, master.place, master.name, master.facts)
    for partition in sorted({*status.positions, *status.lost}):
        reached = status.positions.get(partition)
        end = None if status.ends is None else status.ends.get(partition)
        left = None if end is None or reached is None else max(end - reached, 0)
        fields = {"partition": partition, "reached": reached, "end": end, "behind": left}
        line = f"partition {partition:<4} observed to {'nothing whole' if reached is None else f'{reached:,}'}"
        output.record(fields, line + ("" if end is None else f" of {end:,}"))
    if status.lost:
        line = (
            f"{len(status.lost)} partitions are lost or were never observed; a worker rebuilds them with its next batch"
        )
        output.record({"lost": status.lost}, line)
    for fault in status.faults:
        output.record({"fault": fault}, f"no worker decides on it: {fault}")
    return _show_backup(output, status, alert_minutes) and not status.lost and not status.faults


def _show_server(output: Output, topology: str, place: str, name: str, facts: Any) -> None:
    used = int(facts.get("used_memory", 0))
    fields = {
        "server": place,
        "topology": topology,
        "version": name,
        "persistence": persistence_in_words(facts),
        "used_memory": used,
        "maxmemory": int(facts.get("maxmemory", 0)),
        "maxmemory_policy": facts.get("maxmemory_policy"),
    }
    limit = f" of {fields['maxmemory'] / 2**20:,.0f}" if fields["maxmemory"] else ""
    line = f"{place:<24} {topology}, {name}, {fields['persistence']}, {used / 2**20:,.0f}{limit} MiB"
    output.record(fields, line)


def _show_backup(output: Output, status: Status, alert_minutes: int) -> bool:
    at_ms = status.recoverable_at_ms
    age_minutes = None if at_ms is None else (status.now_ms - at_ms) // MINUTE_MS
    is_young = age_minutes is not None and (alert_minutes == 0 or age_minutes < alert_minutes)
    fields = {
        "last_backup": None if status.backup_at_ms is None else utc_text(status.backup_at_ms),
        "recoverable_at": None if at_ms is None else utc_text(at_ms),
        "age_minutes": age_minutes,
    }
    line = "nothing to bring the state back from: a loss means reading the whole log"
    if at_ms is not None:
        line = f"what Redis keeps, or a backup, holds the state of {utc_text(at_ms)}, {age_minutes} minutes ago"
    backed_up = "never taken" if status.backup_at_ms is None else f"last taken at {utc_text(status.backup_at_ms)}"
    output.record(fields, f"{line}; `fraud state backup`, which outlives Redis' disk, was {backed_up}")
    return is_young


def _faults(settings: Settings, ends: dict[int, int] | None) -> list[str]:
    """Return for what a worker would refuse the state; without a broker, the number of partitions isn't compared."""

    async def look(state: RedisState) -> list[str]:
        held, found = await state.held_shape(), []
        if held is not None:
            partitions = int(held["partitions"]) if ends is None else len(ends)
            topic = settings.topic("transactions.v1")
            differing = differences(held, state.shape(topic, partitions, settings.partitioner.value))
            found += [f"it was built with {each}" for each in differing]
        evictions = await state.evictions(never_evicts=settings.state_never_evicts)
        return found + ([] if evictions.fault is None else [evictions.fault])

    return asked(settings, look)


def _ahead(positions: Positions, ends: dict[int, int] | None) -> list[str]:
    if ends is None:
        return []
    reached = {partition: offset for partition, offset in positions.items() if offset is not None}
    return [
        ahead_text(each, offset, ends.get(each, 0)) for each, offset in reached.items() if offset > ends.get(each, 0)
    ]


def _ends(settings: Settings) -> dict[int, int] | None:
    try:
        with LogReader.of(settings) as reader:
            topic = settings.topic("transactions.v1")
            return {partition: extent.high for partition, extent in reader.extents(topic).items()}
    except BrokerFailed:
        return None
