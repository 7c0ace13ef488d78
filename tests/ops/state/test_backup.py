"""A backup brings the state back as it was, into whatever topology, and the log brings it up to date."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Producer

from ops.processes.servers import free_port
from ops.stack.embedded import EmbeddedStack
from ops.stack.redis_cluster import RedisCluster
from ops.stack.redis_server import Persistence, bundled_executable, redis_server, redis_url
from ops.stack.topics import create_topics
from pipeline.alerts.catalogue import AlertCode
from pipeline.decide.rebuilding.backup_agent import BackupWatch
from pipeline.domain.features import UNKNOWN
from pipeline.io.partitioner import Partitioner
from pipeline.io.redis.snapshot import Snapshot, SnapshotBroken, SnapshotForbidden, fetch_snapshot
from pipeline.state.evictions import LOST
from pipeline.state.persistence import recoverable_at_ms, saved_at_ms
from pipeline.state.requests import Keys
from pipeline.state.store import RedisState
from pipeline.state.windows import LAYOUT
from tests.commands import Fraud
from tests.redis_servers import REDIS_NAMES, RedisName, StartedRedis, emptied, executable_of
from tests.servers import unused_prefix
from tests.state.stores import DAY_MS, START_MS, SyncRedisState, payment, same, share

NOW_MS = 1_800_000_000_000
COUNT = 600


@pytest.fixture(autouse=True)
def outcomes_end(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """The end of the outcomes of each partition, as a broker would tell; and no worker runs."""
    ends = {0: 0}
    monkeypatch.setattr("ops.state.restore._outcomes_ends", lambda _: ends)
    monkeypatch.setattr("ops.state.restore._payments_ends", lambda _: {0: 2 * COUNT})
    monkeypatch.setattr("ops.state.restore.members_of", lambda *_: 0)
    return ends


def test_outcomes_since_the_backup_are_awaited(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud, outcomes_end: dict[int, int]
):
    """A payee whose payment was reversed since must not count as paid, nor volume that was refused since."""
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    outcomes_end[0] = 7
    assert fraud("state", "restore", tmp_path, "--replace", redis_url=url).code == 0
    store = SyncRedisState(url)
    [observation] = store.observe([share(_events(10, 11), start=10)])
    store.close()
    assert observation.outcomes_position.tolist() == [UNKNOWN]


def test_workers_that_run_keep_a_backup_out_though_they_are_idle(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud, monkeypatch: pytest.MonkeyPatch
):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    monkeypatch.setattr("ops.state.restore.members_of", lambda *_: 2)
    refused = fraud("state", "restore", tmp_path, "--replace", redis_url=url)
    assert (refused.code, "2 workers run" in refused.err) == (2, True)
    store = SyncRedisState(url)
    assert store.positions(0) == 10
    store.close()


@pytest.mark.parametrize("name", REDIS_NAMES)
def test_a_restored_state_goes_on_as_if_it_had_never_been_lost(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud, name: RedisName
):
    redis_at = started_redis(name)
    _observe(redis_at, 0, COUNT // 2)
    taken = fraud("state", "backup", tmp_path / "backups", "--json", redis_url=redis_at)
    assert taken.code == 0, taken.err
    _observe(redis_at, COUNT // 2, COUNT)
    expected = _next(redis_at)
    with redis.Redis.from_url(redis_at) as client:
        client.flushall()
    server = executable_of(name)
    restored = fraud("state", "restore", tmp_path / "backups", "--server", server, "--json", redis_url=redis_at)
    assert restored.code == 0, restored.err
    assert json.loads(restored.out)["positions"] == {"0": COUNT // 2}
    _observe(redis_at, COUNT // 2, COUNT)
    assert same([expected], [_next(redis_at)])


@pytest.mark.parametrize("is_from_cluster", [False, True])
def test_a_backup_goes_into_another_topology(
    started_redis: StartedRedis, started_cluster: RedisCluster, tmp_path: Path, fraud: Fraud, is_from_cluster: bool
):
    urls = [started_redis(RedisName.VALKEY_9), emptied(started_cluster)]
    source, target = urls[::-1] if is_from_cluster else urls
    _observe(source, 0, COUNT)
    taken = fraud("state", "backup", tmp_path, "--json", redis_url=source)
    assert taken.code == 0, taken.err
    assert len(json.loads(taken.out)["files"]) == (3 if is_from_cluster else 1)
    restored = fraud("state", "restore", tmp_path, redis_url=target)
    assert restored.code == 0, restored.err
    assert same([_next(source)], [_next(target)])


def test_a_state_that_is_there_is_only_replaced_when_told(started_redis: StartedRedis, tmp_path: Path, fraud: Fraud):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    _observe(url, 10, 20)
    refused = fraud("state", "restore", tmp_path, redis_url=url)
    assert (refused.code, "--replace" in refused.err) == (2, True)
    assert fraud("state", "restore", tmp_path, "--replace", redis_url=url).code == 0
    store = SyncRedisState(url)
    assert store.positions(0) == 10
    store.close()


def test_a_state_under_a_longer_name_is_left_alone(started_redis: StartedRedis, tmp_path: Path, fraud: Fraud):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    other = SyncRedisState(url, prefix=f"fraud:{LAYOUT}")
    other.observe([share(_events(0, 5), start=0, committed=0)])
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    assert fraud("state", "restore", tmp_path, "--replace", redis_url=url).code == 0
    other.observe([share(_events(5, 7), start=5, committed=5)])
    assert other.positions(0) == 7
    with redis.Redis.from_url(url) as client:
        client.flushall()
    assert fraud("state", "restore", tmp_path, redis_url=url).code == 0
    assert other.positions(0) is None, "it is no part of the backup"
    other.close()


@pytest.mark.parametrize(
    ("here", "named"),
    [
        ({"state_shards": 2}, "FRAUD_STATE_SHARDS"),
        ({"label_delay_days": 3}, "FRAUD_LABEL_DELAY_DAYS"),
        ({"partitioner": "murmur2"}, "FRAUD_PARTITIONER"),
        ({"topic_prefix": "other."}, "FRAUD_TOPIC_PREFIX"),
    ],
)
def test_a_state_that_was_built_otherwise_is_neither_restored_nor_called_sound(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud, here: dict[str, Any], named: str
):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    _hold_shape(url)
    sound = {"redis_url": url, "bootstrap_servers": "127.0.0.1:1"}
    assert fraud("state", "backup", tmp_path, **sound).code == 0
    assert fraud("state", "status", **sound).code == 0
    status = fraud("state", "status", "--json", **sound, **here)
    assert status.code == 1
    assert any(named in str(json.loads(line).get("fault")) for line in status.out.splitlines())
    refused = fraud("state", "restore", tmp_path, "--replace", **sound, **here)
    assert refused.code == 2
    store = SyncRedisState(url)
    assert store.positions(0) == 10, "nothing was deleted"
    store.close()


def test_a_backup_of_a_log_of_other_partitions_is_not_restored(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud, outcomes_end: dict[int, int]
):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    _hold_shape(url)
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    outcomes_end[1] = 0
    refused = fraud("state", "restore", tmp_path, "--replace", redis_url=url)
    assert (refused.code, "partitions 1, not 2" in refused.err) == (2, True)


def test_a_backup_that_has_seen_more_than_the_log_holds_is_not_restored(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud, monkeypatch: pytest.MonkeyPatch
):
    """Topics that were put back from an older copy: payments that went with them would be duplicates of nothing."""
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    monkeypatch.setattr("ops.state.restore._payments_ends", lambda _: {0: 9})
    refused = fraud("state", "restore", tmp_path, "--replace", redis_url=url)
    assert (refused.code, "to 10, but the log ends at 9" in refused.err) == (2, True)
    store = SyncRedisState(url)
    assert store.positions(0) == 10, "nothing was deleted"
    store.close()
    monkeypatch.setattr("ops.state.restore._payments_ends", lambda _: {0: 10})
    assert fraud("state", "restore", tmp_path, "--replace", redis_url=url).code == 0


def test_a_state_that_is_ahead_of_its_log_is_not_called_sound(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud, stack: EmbeddedStack
):
    url, prefix = started_redis(RedisName.VALKEY_9), unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    _observe(url, 0, 10)
    where = {"redis_url": url, "bootstrap_servers": stack.bootstrap_servers, "topic_prefix": prefix}
    assert fraud("state", "backup", tmp_path, **where).code == 0
    status = fraud("state", "status", "--json", **where)
    [fault] = [line["fault"] for line in map(json.loads, status.out.splitlines()) if "fault" in line]
    assert (status.code, "to 10, but the log ends at 0" in fault) == (1, True)


@pytest.mark.parametrize("gone", ["taken_at", "prefix", "shards", "label_delay_days", "positions", "shape", "files"])
def test_a_manifest_that_lacks_something_is_refused_before_anything_is_deleted(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud, gone: str
):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    [path] = tmp_path.glob("*/manifest.json")
    manifest = json.loads(path.read_text())
    for cut in ({name: value for name, value in manifest.items() if name != gone}, manifest | {"files": []}):
        path.write_text(json.dumps(cut))
        refused = fraud("state", "restore", tmp_path, "--replace", redis_url=url)
        assert (refused.code, "can't be read" in refused.err) == (2, True)
    store = SyncRedisState(url)
    assert store.positions(0) == 10
    store.close()


def test_a_state_that_keys_were_evicted_from_is_neither_copied_nor_called_sound(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud
):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    _hold_shape(url)
    sound = {"redis_url": url, "bootstrap_servers": "127.0.0.1:1"}
    assert fraud("state", "backup", tmp_path, **sound).code == 0
    with redis.Redis.from_url(url) as client:
        client.hset(Keys("fraud", 1).evictions(), LOST, 3)
    assert "lost as a whole" in fraud("state", "backup", tmp_path, **sound).err
    status = fraud("state", "status", **sound)
    assert (status.code, "lost as a whole" in status.out) == (1, True)
    assert fraud("state", "restore", tmp_path, "--replace", **sound).code == 0
    assert fraud("state", "status", **sound).code == 0


def test_a_state_of_records_that_the_log_has_no_more_is_neither_copied_nor_called_sound(
    started_redis: StartedRedis, tmp_path: Path, fraud: Fraud, stack: EmbeddedStack
):
    """Workers hold on it, and `fraud state status` had nothing to say against it."""
    url, prefix = started_redis(RedisName.VALKEY_9), unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix, partitions=1)
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    for _ in range(10):
        producer.produce(f"{prefix}transactions.v1", b"payment", partition=0)
    assert producer.flush(120) == 0
    _observe(url, 0, 10)
    sound = {"redis_url": url, "bootstrap_servers": stack.bootstrap_servers, "topic_prefix": prefix}
    assert fraud("state", "backup", tmp_path, **sound).code == 0
    with redis.Redis.from_url(url) as client:
        client.hset(Keys("fraud", 1).account_progress(0), "replaced", 7)
    assert "isn't the one that was counted" in fraud("state", "backup", tmp_path, **sound).err
    status = fraud("state", "status", "--json", **sound)
    [fault] = [line["fault"] for line in map(json.loads, status.out.splitlines()) if "fault" in line]
    assert (status.code, "partition 0 of transactions.v1 at 7 isn't" in fault) == (1, True)
    assert fraud("state", "restore", tmp_path, "--replace", **sound).code == 0
    assert fraud("state", "status", **sound).code == 0


def test_nothing_is_restored_where_it_may_be_evicted(started_redis: StartedRedis, tmp_path: Path, fraud: Fraud):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        try:
            refused = fraud("state", "restore", tmp_path, "--replace", redis_url=url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert (refused.code, "may evict" in refused.err) == (2, True)


def test_a_file_that_was_changed_is_refused(started_redis: StartedRedis, tmp_path: Path, fraud: Fraud):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    (file,) = tmp_path.glob("*/master-0.rdb")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused = fraud("state", "restore", tmp_path, "--replace", redis_url=url)
    assert (refused.code, "not what was written" in refused.err) == (2, True)


def test_workers_that_decide_keep_a_backup_out(started_redis: StartedRedis, tmp_path: Path, fraud: Fraud):
    url = started_redis(RedisName.VALKEY_9)
    _observe(url, 0, 10)
    assert fraud("state", "backup", tmp_path, redis_url=url).code == 0
    ended = threading.Event()

    def decide() -> None:
        offset = 10
        while not ended.wait(0.1):
            _observe(url, offset, offset + 1)
            offset += 1

    deciding = threading.Thread(target=decide)
    deciding.start()
    try:
        refused = fraud("state", "restore", tmp_path, "--replace", redis_url=url)
    finally:
        ended.set()
        deciding.join()
    assert (refused.code, "Workers are deciding" in refused.err) == (2, True)


def test_a_server_that_gives_nothing_away_is_told_in_words(started_redis: StartedRedis, tmp_path: Path, fraud: Fraud):
    url = started_redis(RedisName.VALKEY_9)
    with redis.Redis.from_url(url) as client:
        client.acl_setuser(
            "managed",
            enabled=True,
            passwords=["+secret"],
            categories=["+@all"],
            commands=["-sync", "-psync"],
            keys=["*"],
        )
    with pytest.raises(SnapshotForbidden):
        fetch_snapshot(url.replace("redis://", "redis://managed:secret@"), tmp_path / "file")
    refused = fraud("state", "backup", tmp_path, redis_url=url.replace("redis://", "redis://managed:secret@"))
    assert (refused.code, "managed service" in refused.err, "secret" in refused.err) == (2, True, False)


RDB = b"REDIS0011" + b"key" * 50 + b"\xff" + b"checksum"
MARK = b"m" * 40


@pytest.mark.parametrize("piece", [1, 7, 4096])
@pytest.mark.parametrize(
    "reply", [b"\n\n$%d\r\n" % len(RDB) + RDB, b"\n$EOF:" + MARK + b"\r\n" + RDB + MARK], ids=["length", "end mark"]
)
def test_both_forms_of_a_file_are_taken(tmp_path: Path, reply: bytes, piece: int):
    found = _served(reply, piece, lambda url: fetch_snapshot(url, tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == RDB
    assert found.size == len(RDB)


@pytest.mark.parametrize(
    "reply", [b"$%d\r\n" % len(RDB) + RDB[:-1], b"$3\r\nabc", b"+OK\r\n", b"$EOF:short\r\n", b"x" * 2000]
)
def test_what_is_no_whole_file_is_none(tmp_path: Path, reply: bytes):
    with pytest.raises((SnapshotBroken, OSError)):
        _served(reply, 4096, lambda url: fetch_snapshot(url, tmp_path / "file"))
    assert list(tmp_path.iterdir()) == []


def test_what_a_server_saved_itself_counts_as_a_copy():
    never = {"aof_enabled": 0, "rdb_last_save_time": NOW_MS // 1000 - 500, "uptime_in_seconds": 500}
    assert saved_at_ms(never, NOW_MS) is None
    assert saved_at_ms({**never, "aof_enabled": 1, "aof_last_write_status": "ok"}, NOW_MS) == NOW_MS
    assert saved_at_ms({**never, "aof_enabled": 1, "aof_last_write_status": "err"}, NOW_MS) is None
    saved = {**never, "rdb_last_save_time": NOW_MS // 1000 - 60}
    assert saved_at_ms(saved, NOW_MS) == NOW_MS - 60_000
    assert recoverable_at_ms([saved, never], None, NOW_MS) is None
    assert recoverable_at_ms([saved, never], NOW_MS - 7, NOW_MS) == NOW_MS - 7
    assert recoverable_at_ms([saved, saved], NOW_MS - DAY_MS, NOW_MS) == NOW_MS - 60_000


def test_a_copy_older_than_an_hour_raises_one_alert(started_redis: StartedRedis):
    url = started_redis(RedisName.VALKEY_9)

    async def run() -> None:
        state = RedisState(url)
        watch = BackupWatch(state, 60)
        await state.remember_backup(NOW_MS)
        fresh = await watch.look(NOW_MS + 58 * 60_000)
        assert fresh is not None
        assert fresh.is_over, "one that ended before may have raised it"
        assert await watch.look(NOW_MS + 59 * 60_000) is None
        raised = await watch.look(NOW_MS + 61 * 60_000)
        assert raised is not None
        assert (raised.code, raised.evidence) == (AlertCode.STATE_BACKUP_OLD, {"copy": "old"})
        assert (raised.alert_id, raised.is_over) == (fresh.alert_id, False)
        assert await watch.look(NOW_MS + 62 * 60_000) is None
        await state.remember_backup(NOW_MS + 62 * 60_000)
        ended = await watch.look(NOW_MS + 63 * 60_000)
        assert ended is not None
        assert (ended.alert_id, ended.is_over) == (raised.alert_id, True)
        assert await watch.look(NOW_MS + 64 * 60_000) is None
        restarted = await BackupWatch(state, 60).look(NOW_MS + 65 * 60_000)
        assert restarted is not None
        assert (restarted.alert_id, restarted.is_over) == (raised.alert_id, True)
        await state.close()

    asyncio.run(run())


def test_status_tells_servers_positions_and_backups(tmp_path: Path, fraud: Fraud):
    port = free_port()
    server = redis_server(bundled_executable(), tmp_path / "server", port, persistence=Persistence.NONE)
    server.start()
    try:
        _status_of(redis_url(port), tmp_path / "backups", fraud)
    finally:
        server.stop()


def _status_of(url: str, folder: Path, fraud: Fraud) -> None:
    _observe(url, 0, 10)
    unknown = {"redis_url": url, "bootstrap_servers": "127.0.0.1:1"}
    before = fraud("state", "status", "--json", **unknown)
    assert before.code == 1
    server, partition, copies = map(json.loads, before.out.splitlines())
    assert (server["topology"], server["maxmemory_policy"]) == ("one server", "noeviction")
    assert (partition["partition"], partition["reached"], partition["end"]) == (0, 10, None)
    assert copies["recoverable_at"] is None
    assert fraud("state", "backup", folder, redis_url=url).code == 0
    after = fraud("state", "status", "--json", **unknown)
    assert after.code == 0
    assert json.loads(after.out.splitlines()[-1])["age_minutes"] == 0


def _events(first: int, end: int) -> list[Any]:
    return [
        payment(
            number,
            START_MS + number * 60_000,
            account_id=f"payer-{number % 17}",
            beneficiary_account_id=f"payee-{number % 5}",
            amount_gbp_minor=number,
        )
        for number in range(first, end)
    ]


def _hold_shape(url: str) -> None:
    store = SyncRedisState(url)
    store.run(store.state.hold_shape(store.state.shape("transactions.v1", 1, Partitioner.CRC32)))
    store.close()


def _observe(url: str, first: int, end: int) -> None:
    store = SyncRedisState(url)
    store.observe([share(_events(first, end), start=first, committed=first)])
    store.mark_ready()
    store.close()


def _next(url: str) -> Any:
    store = SyncRedisState(url)
    (observation,) = store.observe([share(_events(COUNT, COUNT + 20), start=COUNT, committed=COUNT)])
    store.close()
    return observation


def _served(reply: bytes, piece: int, fetch: Callable[[str], Snapshot]) -> Snapshot:
    """Answer as a server that says `reply` to SYNC, in pieces, and then ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                seen = b""
                while b"SYNC" not in seen:
                    part = peer.recv(4096)
                    peer.sendall(b"+OK\r\n" * (part.count(b"*") - part.count(b"SYNC")))
                    seen += part.replace(b"*", b"")
                    if b"SYNC" in part:
                        break
                for at in range(0, len(reply), piece):
                    peer.sendall(reply[at : at + piece])

        serving = threading.Thread(target=answer)
        serving.start()
        try:
            return fetch(f"redis://127.0.0.1:{listening.getsockname()[1]}/0")
        finally:
            serving.join()
