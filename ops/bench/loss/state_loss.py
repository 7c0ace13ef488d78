"""Nothing lost, nothing twice, nothing too permissive, whatever happens to the servers that hold the state.

One after the other: a server that is full, that can't save, and that comes back with an older copy; a managed failover,
where the name moves and the old primary answers READONLY; Sentinel; a cluster of three masters with a replica each, of
which one is killed, and then one with its replica. Each has a rig of its own, with traffic and the checker of `loss`.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis

from ops.bench.loss.moving_name import MovingName
from ops.bench.loss.rig import Rig, now_ms, open_rig
from ops.bench.rig.feeder import Recovery
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from ops.stack.redis_cluster import running_cluster
from ops.stack.redis_sentinels import RedisSentinels, running_sentinels
from ops.stack.redis_server import Persistence, redis_server, redis_url, system_executable
from pipeline.io.settings import Settings
from pipeline.state.requests import Keys

SEED: Final = 20_262
RATE_PER_S: Final = 300
OUTAGE_S: Final = 5.0
OLDER_S: Final = 10.0
"""Time that an older copy is behind."""
FAILOVER_S: Final = 180.0
NAME_MOVES_AFTER_S: Final = 3.0

Strike = Callable[[Rig], Recovery]


class Fault(NamedTuple):
    name: str
    group: str
    strike: Strike


class Struck(NamedTuple):
    fault: Fault
    recovery: Recovery
    violations: int


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    times = 1 if is_quick else 3
    struck: list[Struck] = []
    whole: dict[str, bool] = {}
    published = 0
    for name, constellation in (
        ("one", _one_server),
        ("managed", _managed),
        ("sentinel", _sentinel),
        ("cluster", _cluster),
    ):
        with (
            constellation(folder / name) as (url, faults),
            open_rig(folder / name / "rig", rate_per_s=RATE_PER_S, seed=SEED, redis_url=url) as rig,
        ):
            for _ in range(times):
                struck += [_struck(say, rig, fault) for fault in faults]
            published += rig.feeder.stop()
            whole[name] = rig.checker.check().is_whole
    return {
        "ok": all(whole.values()) and not any(each.violations for each in struck),
        "published": published,
        "whole": whole,
        "violations": sum(each.violations for each in struck),
        "each": [_line(each) for each in struck],
    }


def _struck(say: Callable[[str], None], rig: Rig, fault: Fault) -> Struck:
    before = rig.settle()
    recovery = fault.strike(rig)
    after = rig.settle()
    found = Struck(fault, recovery, sum(after.violations.values()) - sum(before.violations.values()))
    say(_line(found))
    for violation in after.first_violations[len(before.first_violations) :]:
        say(f"  {violation.finding} at {violation.position}: {violation.detail}")
    return found


def _line(struck: Struck) -> str:
    recovery = struck.recovery
    speed = f"first {recovery.first_s:.2f} s, all {recovery.all_partitions_s:.2f} s"
    return f"{struck.fault.group}, {struck.fault.name}: {speed}, {struck.violations or 'no'} violations"


Constellation = tuple[str, list[Fault]]


@contextlib.contextmanager
def _one_server(folder: Path) -> Iterator[Constellation]:
    port, files = free_port(), folder / "redis"
    server = redis_server(system_executable(), files, port, persistence=Persistence.NONE)
    url = redis_url(port)

    def full(rig: Rig) -> Recovery:
        limit = _asked(url, "CONFIG", "GET", "maxmemory")["maxmemory"]
        _asked(url, "CONFIG", "SET", "maxmemory", "1")
        time.sleep(OUTAGE_S)
        _asked(url, "CONFIG", "SET", "maxmemory", limit)
        return rig.recovery(now_ms())

    def unsaved(rig: Rig) -> Recovery:
        """Let a save fail as on a full disk, after which Redis refuses every write (MISCONF)."""
        (files / "dump.rdb").unlink(missing_ok=True)
        (files / "dump.rdb").mkdir()
        (files / "dump.rdb" / "in-the-way").touch()
        _asked(url, "CONFIG", "SET", "save", "3600 1000000")
        _asked(url, "BGSAVE")
        _wait(lambda: _facts(url)["rdb_last_bgsave_status"] == "err", "the save fails")
        time.sleep(OUTAGE_S)
        shutil.rmtree(files / "dump.rdb")
        _asked(url, "BGSAVE")
        _wait(lambda: _facts(url)["rdb_last_bgsave_status"] == "ok", "the save succeeds")
        _asked(url, "CONFIG", "SET", "save", "")
        return rig.recovery(now_ms())

    def older(rig: Rig) -> Recovery:
        _asked(url, "SAVE")
        shutil.copyfile(files / "dump.rdb", folder / "older.rdb")
        time.sleep(OLDER_S)
        server.kill()
        shutil.copyfile(folder / "older.rdb", files / "dump.rdb")
        server.start()
        return rig.recovery(now_ms())

    with _running(server):
        yield (
            url,
            [
                Fault("Redis full of data", "disk full", full),
                Fault("Redis cannot save", "disk full", unsaved),
                Fault(f"Redis with an RDB of {OLDER_S:.0f} s ago", "older RDB", older),
            ],
        )


@contextlib.contextmanager
def _managed(folder: Path) -> Iterator[Constellation]:
    ports = [free_port(), free_port()]
    with ExitStack() as running:
        for port in ports:
            running.enter_context(
                _running(redis_server(system_executable(), folder / str(port), port, persistence=Persistence.NONE))
            )
        _asked(redis_url(ports[1]), "REPLICAOF", LOOPBACK, ports[0])
        name = running.enter_context(MovingName(ports[0]))

        def failover(rig: Rig) -> Recovery:
            """Let the replica become the primary; the old one stays up, and the name moves some seconds later."""
            old = name.target
            (new,) = set(ports) - {old}
            _wait(lambda: _facts(redis_url(new)).get("master_link_status") == "up", "the replica follows")
            _asked(redis_url(new), "REPLICAOF", "NO", "ONE")
            _asked(redis_url(old), "REPLICAOF", LOOPBACK, new)
            time.sleep(NAME_MOVES_AFTER_S)
            name.target = new
            return rig.recovery(now_ms())

        yield redis_url(name.port), [Fault("the name moves, the old primary stays up", "managed failover", failover)]


@contextlib.contextmanager
def _sentinel(folder: Path) -> Iterator[Constellation]:
    with running_sentinels(system_executable(), folder / "redis") as group:

        def killed(rig: Rig) -> Recovery:
            primary = group.primary()
            group.servers[primary].kill()
            fault_ms = now_ms()
            recovery = rig.recovery(fault_ms)
            group.servers[primary].start()
            _wait(lambda: _is_followed(group), "the old primary follows the new one")
            return recovery

        yield group.url, [Fault("kill -9 of the primary", "Sentinel failover", killed)]


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[Constellation]:
    with running_cluster(system_executable(), folder / "redis", replicas=1) as cluster:
        accounts = Keys(Settings().state_prefix, 1).account_progress

        def replaced(rig: Rig) -> Recovery:
            killed = cluster.master_of(accounts(0))
            cluster.servers[killed].kill()
            fault_ms = now_ms()
            recovery = rig.recovery(fault_ms)
            cluster.servers[killed].start()
            cluster.wait_until_whole()
            return recovery

        def emptied(rig: Rig) -> Recovery:
            """Lose a master with its replica; both come back empty."""
            master = cluster.master_of(accounts(1))
            pair = [master, *cluster.replicas_of(master)]
            for port in pair:
                cluster.servers[port].kill()
            for port in pair:
                cluster.servers[port].start()
            fault_ms = now_ms()
            cluster.wait_until_whole()
            return rig.recovery(fault_ms)

        yield (
            cluster.url,
            [
                Fault("kill -9 of a master", "cluster master", replaced),
                Fault("a master and its replica come back empty", "cluster master", emptied),
            ],
        )


def _is_followed(group: RedisSentinels) -> bool:
    (replica,) = set(group.servers) - {group.primary()}
    return _facts(group.server_url(replica)).get("master_link_status") == "up"


@contextlib.contextmanager
def _running(server: ServerProcess) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


def _asked(url: str, *command: object) -> Any:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.execute_command(*command)


def _facts(url: str) -> dict[str, Any]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        facts: dict[str, Any] = client.info()
        return facts


def _wait(is_so: Callable[[], bool], what: str) -> None:
    wait_until(is_so, FAILOVER_S, what)
