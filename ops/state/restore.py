"""Restoring a backup into any topology: its files are loaded by a server of our own, and copied key by key.

Only the state's keys are copied. The breaker's are left out: an old CLOSED would let a model decide that tripped since,
whereas a breaker without a state lets it prove itself first. People's switches are not in Redis (ADR 0017).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import ResponseError

from ops.processes.servers import ServerFailed, ServerProcess
from ops.stack.redis_server import RedisMissing, bundled_executable, system_executable
from ops.state.audited import Refilled, read_audited, refill
from ops.state.backup import Backup
from ops.state.positions import Positions, asked, read_positions
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import members_of
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.partitioner import Partitioner
from pipeline.io.redis.servers import Servers, client_of, servers
from pipeline.io.redis_batches import Command, RedisBatches
from pipeline.io.settings import Settings
from pipeline.state.evictions import evicting_policies, eviction_fault
from pipeline.state.requests import Keys
from pipeline.state.shape import differences
from pipeline.state.store import RedisState
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure

GROUP: Final = "fraud-command"
KEYS_A_BATCH: Final = 500
BATCH_BYTES_MAX: Final = 8 << 20
BATCH_S: Final = 30.0
LOAD_S: Final = 1_800.0
"""Limit of loading a file; a server loads about 100 MB a second."""
MOVING_S: Final = 2.0
"""Time for which positions are watched: a worker that decides moves them many times a second."""
SCANNED: Final = 1_000


class Restored(NamedTuple):
    keys: int
    positions: Positions


def restore_backup(settings: Settings, backup: Backup, *, is_replacing: bool, server: Path | None) -> Restored:
    """Copy a backup into the state store.

    server: the redis-server that reads the files; None for any that can. Raises Failure, RedisError, OSError or
    StateUnavailable.
    """
    manifest = backup.manifest
    for name, here in (
        ("prefix", settings.state_prefix),
        ("shards", settings.state_shards),
        ("label_delay_days", settings.label_delay_days),
    ):
        if manifest[name] != here:
            raise Failure(f"The backup was taken with {name} {manifest[name]}, but here it is {here}.", "Set it so.")
    found = servers(settings.redis_url)
    _refuse_evicting(settings, found)
    outcomes = _outcomes_ends(settings)
    _refuse_shape(settings, manifest["shape"], len(outcomes))
    _refuse_ahead(manifest["positions"], _payments_ends(settings))
    _refuse_while_deciding(settings)
    keys = Keys(settings.state_prefix, settings.state_shards)
    _make_room(found, keys, is_replacing=is_replacing)
    count = sum(_copied(settings, backup.folder / file["name"], keys, server) for file in manifest["files"])
    asked(settings, lambda state: state.begin_evictions())
    _await_outcomes(settings, outcomes)
    positions = read_positions(settings)
    expected = {int(partition): offset for partition, offset in manifest["positions"].items()}
    behind = [each for each, offset in expected.items() if offset is not None and (positions.get(each) or 0) < offset]
    if behind:
        raise Failure(f"Partitions {behind} are not as the backup has them.", "Restore again with --replace.")
    return Restored(count, positions)


def _refuse_evicting(settings: Settings, found: Servers) -> None:
    policies = evicting_policies((each.facts for each in found.masters), never_evicts=settings.state_never_evicts)
    if (fault := eviction_fault(policies)) is not None:
        raise Failure(f"{fault}.", "Set maxmemory-policy to noeviction first.")


def _refuse_shape(settings: Settings, held: Mapping[str, int | str] | None, partitions: int) -> None:
    """Refuse a state that was built otherwise than workers here would go on with it. held: None where none ran yet."""
    if held is None:
        return
    topic = settings.topic("transactions.v1")
    found = asked(settings, lambda state: _differences(state, held, topic, partitions, settings.partitioner))
    if found:
        raise Failure(f"The backup is of a state with {'; '.join(found)}.", "Set it so.")


def _refuse_ahead(positions: Mapping[str, int | None], ends: Mapping[int, int]) -> None:
    """Refuse a state that has seen more than the log holds: no worker decides on it."""
    for partition, offset in sorted((int(name), offset or 0) for name, offset in positions.items()):
        end = ends.get(partition, 0)
        if offset > end:
            raise Failure(
                f"The backup has partition {partition} of transactions.v1 to {offset}, but the log ends at {end}.",
                "Restore one that is older than the log's copy, or start the workers on nothing: they read the log.",
            )


async def _differences(
    state: RedisState, held: Mapping[str, int | str], topic: str, partitions: int, partitioner: Partitioner
) -> list[str]:
    return differences(held, state.shape(topic, partitions, partitioner.value))


def _outcomes_ends(settings: Settings) -> dict[int, int]:
    with LogReader(settings.bootstrap_servers, GROUP, settings.kafka_options) as log:
        extents = log.extents(settings.topic(settings.outcomes.topic))
    return {partition: extent.high for partition, extent in extents.items()}


def _payments_ends(settings: Settings) -> dict[int, int]:
    with LogReader(settings.bootstrap_servers, GROUP, settings.kafka_options) as log:
        return log.uncommitted_ends(settings.topic("transactions.v1"))


def _await_outcomes(settings: Settings, ends: dict[int, int]) -> None:
    """Have what outcomes could tell count as UNKNOWN until those are taken in that came since the backup was taken."""

    async def expect(state: RedisState) -> None:
        for partition, end in ends.items():
            await state.await_outcomes(partition, end)

    asked(settings, expect)


def restore_audited(settings: Settings, *, is_replacing: bool) -> dict[int, Refilled]:
    """Count what the log no longer has, from the audit table, into an empty state store.

    Raises BrokerFailed, Failure, RedisError or StateUnavailable.
    """
    wire = WireFormat(settings.framing, settings.confluent_ids)
    topic = settings.topic("transactions.v1")
    with LogReader(settings.bootstrap_servers, GROUP, settings.kafka_options) as log:
        oldest = {partition: extent.low for partition, extent in log.extents(topic).items()}
    if not any(oldest.values()):
        raise Failure(
            "The log still has every payment from its beginning, so the audit table has nothing to add.",
            "Start a worker: it rebuilds the state from the log. The state was left as it is.",
        )
    found = servers(settings.redis_url)
    _refuse_evicting(settings, found)
    _refuse_while_deciding(settings)
    _make_room(found, Keys(settings.state_prefix, settings.state_shards), is_replacing=is_replacing)

    async def count(state: RedisState) -> dict[int, Refilled]:
        await state.hold_shape(state.shape(topic, len(oldest), settings.partitioner.value))
        return await refill(state, read_audited(connection), oldest, wire)

    with connected(settings) as connection:
        return asked(settings, count)


def _refuse_while_deciding(settings: Settings) -> None:
    """Refuse where the workers' group has members, or, where no broker says so, where positions move."""
    members = members_of(settings.bootstrap_servers, settings.consumer_group, settings.kafka_options)
    if members:
        raise Failure(f"{members} workers run, and hold what they observed.", "Stop them, then restore.")
    before = read_positions(settings)
    time.sleep(MOVING_S)
    if read_positions(settings) != before:
        raise Failure("Workers are deciding: the state's positions move.", "Stop them, then restore.")


def _make_room(found: Servers, keys: Keys, *, is_replacing: bool) -> None:
    for master in found.masters:
        with client_of(master, BATCH_S) as client:
            for held in _chunks(client.scan_iter(match=keys.everything(), count=SCANNED), KEYS_A_BATCH):
                if not is_replacing:
                    raise Failure(f"{master.place} holds a state.", "Say --replace to delete it first.")
                _unlink_each(client, held)


def _unlink_each(client: redis.Redis, held: list[Any]) -> None:
    """Delete keys one by one, as they are of several slots."""
    with client.pipeline(transaction=False) as pipeline:
        for key in held:
            pipeline.unlink(key)
        pipeline.execute()


def _copied(settings: Settings, file: Path, keys: Keys, server: Path | None) -> int:
    """Copy a file's keys; what says that the state is ready comes last. Return how many there were."""
    failure: Exception | None = None
    for executable in _executables() if server is None else [str(server)]:
        try:
            with _loaded(executable, file) as source:
                return asyncio.run(_copy(settings, source, keys))
        except (ServerFailed, _OtherVersion) as error:
            failure = error
    raise Failure(
        f"No Redis here can read {file.name} so that the target takes it ({failure}).",
        "Name a redis-server of the target's version with --server.",
    ) from failure


def _chunks(found: Iterable[Any], size: int) -> Iterator[list[Any]]:
    each = iter(found)
    while chunk := list(islice(each, size)):
        yield chunk


class _OtherVersion(Exception):
    """The target is too old for values as this server writes them."""


async def _copy(settings: Settings, source: redis.Redis, keys: Keys) -> int:
    target = RedisBatches(settings.redis_url, timeout_s=BATCH_S)
    count, last = 0, []
    try:
        for found in _chunks(source.scan_iter(match=keys.everything(), count=SCANNED), KEYS_A_BATCH):
            late = [key for key in found if keys.is_mark(key.decode())]
            last += late
            count += await _copy_keys(source, target, [key for key in found if key not in late])
        return count + await _copy_keys(source, target, last)
    finally:
        await target.close()


async def _copy_keys(source: redis.Redis, target: RedisBatches, found: list[bytes]) -> int:
    with source.pipeline(transaction=False) as pipeline:
        for key in found:
            pipeline.pttl(key)  # first: a key that expires in between has no value then
            pipeline.dump(key)
        replies = pipeline.execute()
    commands: list[Command] = []
    size = 0
    for key, ttl_ms, value in zip(found, replies[::2], replies[1::2], strict=True):
        if value is None:  # it expired meanwhile
            continue
        kept_ms = max(ttl_ms, 1) if ttl_ms >= 0 else 0  # of RESTORE, 0 is for ever
        commands.append(("RESTORE", key.decode(), kept_ms, value, "REPLACE"))
        size += len(value)
        if size > BATCH_BYTES_MAX:
            await _send(target, commands)
            commands, size = [], 0
    await _send(target, commands)
    return len(found)


async def _send(target: RedisBatches, commands: list[Command]) -> None:
    if not commands:
        return
    for reply in await target.run(commands):
        if isinstance(reply, ResponseError):
            if "payload version" in str(reply):
                raise _OtherVersion(str(reply))
            raise reply


def _executables() -> Iterator[str]:
    for find in (system_executable, bundled_executable):
        with contextlib.suppress(RedisMissing):
            yield find()


@contextlib.contextmanager
def _loaded(executable: str, file: Path) -> Iterator[redis.Redis]:
    """Run a server of our own, without a port, that has loaded a copy of the file."""
    folder = Path(tempfile.mkdtemp(prefix="fraud-restore-"))
    path = folder / "redis.sock"
    shutil.copyfile(file, folder / "dump.rdb")
    client = redis.Redis(unix_socket_path=str(path), socket_timeout=BATCH_S)

    def is_ready() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    settings = ("--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", "", "--daemonize", "no")
    server = ServerProcess("Redis", [executable, *settings], is_ready=is_ready, log_path=folder / "redis.log")
    try:
        server.start(deadline_s=LOAD_S)
        yield client
    finally:
        client.close()
        server.stop()
        shutil.rmtree(folder)
