"""The state store on the servers that people run: failovers, a cluster, and a name that moves to another server."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from ops.bench.rig.waiting import wait_until
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from ops.stack.certificates import certificates
from ops.stack.redis_cluster import RedisCluster, running_cluster
from ops.stack.redis_sentinels import RedisSentinels, running_sentinels
from ops.stack.redis_server import (
    Persistence,
    RedisSecurity,
    bundled_executable,
    redis_server,
    redis_url,
    system_executable,
)
from pipeline.io.redis.topology import slot_of
from pipeline.state.requests import Keys
from pipeline.state.state_event import StateEvent
from pipeline.state.store import StateFault, StateLost, StateUnavailable
from pipeline.state.windows import PartitionObservation
from tests.state.stores import DAY_MS, START_MS, SyncRedisState, column, payment, share

DEADLINE_S = 120.0
NAME = "state.test"
PAYMENTS_WITH_A_PAST = 40

MakeState = Callable[..., SyncRedisState]


@pytest.fixture
def state_at() -> Iterator[MakeState]:
    with ExitStack() as made:

        def make(url: str, **settings: Any) -> SyncRedisState:
            store = SyncRedisState(url, **settings)
            made.callback(store.close)
            return store

        yield make


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[RedisSentinels]:
    with running_sentinels(bundled_executable(), tmp_path / "sentinels") as group:
        yield group


@pytest.fixture
def cluster_with_replicas(tmp_path: Path) -> Iterator[RedisCluster]:
    with running_cluster(bundled_executable(), tmp_path / "cluster", replicas=1) as group:
        yield group


def _wait_for_new_primary(sentinels: RedisSentinels) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while sentinels.primary() == sentinels.first_primary:
        assert time.monotonic() < deadline


def test_sentinels_name_a_new_primary_and_the_store_follows(sentinels: RedisSentinels, state_at: MakeState):
    store = state_at(sentinels.url)
    _count(store, 0)
    _wait_for_replicas(sentinels.server_url(sentinels.first_primary))
    sentinels.servers[sentinels.first_primary].kill()
    assert _counted_when_served(store, 1) == [2]
    _wait_for_new_primary(sentinels)  # the store asked whichever Sentinel knew first


def test_a_primary_that_answers_readonly_on_a_connection_that_stays_up_is_left(
    sentinels: RedisSentinels, state_at: MakeState
):
    store = state_at(sentinels.url)
    _count(store, 0)
    with redis.Redis.from_url(f"redis://{LOOPBACK}:{sentinels.url.split(':')[2].split(',')[0]}") as client:
        wait_until(lambda: _fails_over(client), DEADLINE_S, "the Sentinel's knowing a replica that is good enough")
    _wait_for_new_primary(sentinels)
    assert _counted_when_served(store, 1) == [2]
    assert sentinels.servers[sentinels.first_primary].is_running


def test_a_name_that_moves_to_another_server_is_resolved_again(
    tmp_path: Path, state_at: MakeState, monkeypatch: pytest.MonkeyPatch
):
    """A managed failover: the old primary becomes a replica, and its connections stay up."""
    old, new = (free_port() for _ in range(2))
    with _running(tmp_path, old), _running(tmp_path, new):
        _ask(new, "REPLICAOF", LOOPBACK, old)
        ports = {NAME: old}
        _resolve_by(ports, monkeypatch)
        store = state_at(f"redis://{NAME}:6379/0")
        _count(store, 0)
        _wait_for_replicas(redis_url(old))
        _ask(new, "REPLICAOF", "NO", "ONE")
        _ask(old, "REPLICAOF", LOOPBACK, new)
        with pytest.raises(StateUnavailable):  # the name still stands for the old one
            store.observe([share([payment(1)], start=1)])
        ports[NAME] = new
        assert column(_count(store, 1).state, "account_count_24h") == [2]


def test_a_replica_in_the_place_of_the_primary_is_not_read_from(tmp_path: Path, state_at: MakeState):
    primary, replica = (free_port() for _ in range(2))
    with _running(tmp_path, primary), _running(tmp_path, replica):
        _ask(replica, "REPLICAOF", LOOPBACK, primary)
        store = state_at(redis_url(replica), timeout_s=0.5)
        with pytest.raises(StateUnavailable):
            store.positions(0)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_master_of_a_cluster_is_replaced_by_its_replica(
    cluster_with_replicas: RedisCluster, state_at: MakeState, shards: int
):
    cluster = cluster_with_replicas
    store = state_at(cluster.url, shards=shards)
    _count(store, 0)
    killed = cluster.master_of(Keys("fraud", shards).account_progress(0))
    _wait_for_replicas(cluster.server_url(killed))
    cluster.servers[killed].kill()
    assert _counted_when_served(store, 1) == [2]


def test_a_master_without_a_replica_fails_its_own_slots_only(tmp_path: Path, state_at: MakeState):
    with running_cluster(bundled_executable(), tmp_path / "cluster") as cluster:
        keys = Keys("fraud", 1)
        shared = cluster.master_of(keys.ready())
        here, there = _two_partitions(cluster, keys, shared)
        store = state_at(cluster.url)
        for partition in (here, there):
            store.observe([share([_payment_of(partition, 0)], partition=partition)])
        cluster.servers[cluster.master_of(keys.account_progress(there))].kill()
        with pytest.raises(StateUnavailable):
            store.observe([share([_payment_of(there, 1)], start=1, partition=there)])
        (observation,) = store.observe([share([_payment_of(here, 1)], start=1, partition=here)])
        assert column(observation.state, "account_count_24h") == [2]


def test_a_slot_that_moved_is_followed(started_cluster: RedisCluster, tmp_path: Path, state_at: MakeState):
    with running_cluster(bundled_executable(), tmp_path / "cluster") as cluster:
        store = state_at(cluster.url)
        assert store.positions(0) is None
        progress = Keys("fraud", 1).account_progress(0)
        old = cluster.master_of(progress)
        new = next(port for port in cluster.masters if port != old)
        identity = _ask(new, "CLUSTER", "MYID")
        for port in (new, old):
            _ask(port, "CLUSTER", "SETSLOT", slot_of(progress), "NODE", identity)
        _count(store, 0)
        assert store.positions(0) == 1
        assert _ask(new, "EXISTS", progress) == 1


@pytest.mark.parametrize("executable", [bundled_executable, pytest.param(system_executable, marks=pytest.mark.real)])
@pytest.mark.parametrize("moved", ["", "p:payer", "progress"])
def test_a_slot_on_its_way_is_waited_for_and_never_followed_halfway(
    tmp_path: Path, state_at: MakeState, moved: str, executable: Callable[[], str]
):
    """Whatever key has gone ahead, also one that a script derives (p: a log's past), it is an outage and no fault.

    To follow it would be worse: the new server's script finds no key that is still on the old one, and says none.
    """
    with running_cluster(executable(), tmp_path / "cluster") as cluster:
        store = state_at(cluster.url, timeout_s=6.0)
        keys = Keys("fraud", 1)
        progress = keys.account_progress(0)
        store.observe([share([payment(offset) for offset in range(PAYMENTS_WITH_A_PAST)])])
        store.apply_outcomes(0, 0, 0, [])
        store.mark_ready()
        old = cluster.master_of(progress)
        new = next(port for port in cluster.masters if port != old)
        slot = _begin_to_move(slot_of(progress), old, new)
        tag = progress.removesuffix("progress")
        if moved:
            _move_keys(old, new, [tag + moved])
        a_day_later = payment(PAYMENTS_WITH_A_PAST, START_MS + DAY_MS, account_id="payer" if moved else "another")
        with pytest.raises(StateUnavailable, match=r"ASK|TRYAGAIN"):
            store.observe([share([a_day_later], start=PAYMENTS_WITH_A_PAST)])
        _move_keys(old, new, _ask(old, "CLUSTER", "GETKEYSINSLOT", slot, 100))
        for port in (new, old):
            _ask(port, "CLUSTER", "SETSLOT", slot, "NODE", _ask(new, "CLUSTER", "MYID"))
        (observation,) = store.observe([share([a_day_later], start=PAYMENTS_WITH_A_PAST)])
        assert column(observation.state, "account_count_7d") == [PAYMENTS_WITH_A_PAST + 1 if moved else 1]


def test_a_script_that_fails_on_what_it_reads_is_a_fault_and_no_outage(
    redis_at: str, redis_state: Callable[..., SyncRedisState]
):
    store = redis_state()
    _count(store, 0)
    with redis.Redis.from_url(redis_at) as client:
        client.set(Keys("fraud", 1).accounts(0) + "payer", "no window")
    with pytest.raises(StateFault) as caught:
        store.observe([share([payment(1)], start=1)])
    assert "payer" not in str(caught.value)


def test_a_server_that_cannot_save_is_an_outage_and_no_fault(tmp_path: Path, state_at: MakeState):
    port = free_port()
    folder = tmp_path / "lost"
    server = redis_server(
        bundled_executable(), folder, port, persistence=Persistence.NONE, more={"save": "3600 1000000"}
    )
    with _started(server):
        store = state_at(redis_url(port))
        _count(store, 0)
        shutil.rmtree(folder)
        _ask(port, "BGSAVE")
        deadline = time.monotonic() + DEADLINE_S
        while _facts(port)["rdb_last_bgsave_status"] != "err":
            assert time.monotonic() < deadline
        with pytest.raises(StateUnavailable, match="MISCONF"):
            store.observe([share([payment(1)], start=1)])


@pytest.mark.real
@pytest.mark.parametrize("kind", ["server", "sentinel", "cluster"])
def test_each_speaks_tls(tmp_path: Path, state_at: MakeState, kind: str):
    security = RedisSecurity(certificates(tmp_path / "certificates"), "secret")
    executable = system_executable()
    with ExitStack() as running:
        match kind:
            case "server":
                port = free_port()
                server = redis_server(
                    executable, tmp_path / "one", port, persistence=Persistence.NONE, security=security
                )
                running.enter_context(_started(server))
                url = redis_url(port, security)
            case "sentinel":
                url = running.enter_context(running_sentinels(executable, tmp_path / "s", security=security)).url
            case _:
                url = running.enter_context(running_cluster(executable, tmp_path / "c", security=security)).url
        store = state_at(url, shards=3)
        _count(store, 0)
        assert column(_count(store, 1).state, "account_count_24h") == [2]


def _fails_over(sentinel: redis.Redis) -> bool:
    try:
        return bool(sentinel.execute_command("SENTINEL", "FAILOVER", "fraud"))
    except redis.ResponseError:  # what it knows of the replica is a few seconds old
        return False


def _count(store: SyncRedisState, offset: int) -> PartitionObservation:
    (observation,) = store.observe([share([payment(offset)], start=offset)])
    return observation


def _begin_to_move(slot: int, old: int, new: int) -> int:
    """Leave a slot between two masters, as a resharding key by key does."""
    identities = {port: _ask(port, "CLUSTER", "MYID") for port in (old, new)}
    _ask(new, "CLUSTER", "SETSLOT", slot, "IMPORTING", identities[old])
    _ask(old, "CLUSTER", "SETSLOT", slot, "MIGRATING", identities[new])
    return slot


def _move_keys(old: int, new: int, keys: Sequence[str | bytes]) -> None:
    assert _ask(old, "MIGRATE", LOOPBACK, new, "", 0, 5_000, "KEYS", *keys) in (b"OK", "OK", True), "it was there"


def _counted_when_served(store: SyncRedisState, offset: int) -> list[int]:
    """Return the day's count once the servers serve again; nothing may have been lost meanwhile."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return column(_count(store, offset).state, "account_count_24h")
        except StateUnavailable:
            assert time.monotonic() < deadline
        except StateLost as lost:
            pytest.fail(f"what was replicated is lost: {lost}")


def _payment_of(partition: int, offset: int) -> StateEvent:
    return payment(offset, transaction_id=f"tx-{partition}-{offset}")


def _two_partitions(cluster: RedisCluster, keys: Keys, shared: int) -> tuple[int, int]:
    """Return a partition on the master of the shared windows, and one on another master."""
    masters = {partition: cluster.master_of(keys.account_progress(partition)) for partition in range(64)}
    here = next(partition for partition, master in masters.items() if master == shared)
    there = next(partition for partition, master in masters.items() if master != shared)
    return here, there


def _resolve_by(ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def resolved(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve(LOOPBACK, ports[name], *rest, **more) if name in ports else resolve(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


def _running(directory: Path, port: int) -> Any:
    return _started(redis_server(bundled_executable(), directory / str(port), port, persistence=Persistence.NONE))


def _started(server: ServerProcess) -> Any:
    running = ExitStack()
    running.callback(server.stop)
    server.start()
    return running


def _ask(port: int, *command: object) -> Any:
    with redis.Redis(host=LOOPBACK, port=port) as client:
        return client.execute_command(*command)


def _facts(port: int) -> dict[str, Any]:
    with redis.Redis(host=LOOPBACK, port=port) as client:
        facts: dict[str, Any] = client.info("persistence")
        return facts


def _wait_for_replicas(url: str) -> None:
    """Wait until a replica has all that its primary has; WAIT would only answer about what its own caller wrote."""
    with redis.Redis.from_url(url) as client:
        deadline = time.monotonic() + DEADLINE_S
        while not _has_all(client.info("replication")):
            assert time.monotonic() < deadline


def _has_all(facts: dict[str, Any]) -> bool:
    replica = facts.get("slave0", {})
    return replica.get("state") == "online" and replica.get("offset") == facts["master_repl_offset"]
