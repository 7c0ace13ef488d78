"""The real stack: Apache Kafka from its jars, the system's Redis. `pytest -m real`."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from ops.processes.servers import LOOPBACK, ServerFailed, free_port, process_cpu_seconds
from ops.stack.kafka.broker import answers
from ops.stack.real import RealStack
from ops.stack.redis_server import Persistence, redis_server, redis_url, system_executable
from ops.stack.topics import TOPICS, TopicOutcome, create_topics
from tests.ops.stack.rounds import TIMEOUT_S, has_ended, publish, published

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    with RealStack(tmp_path_factory.mktemp("real")) as started:
        create_topics(started.bootstrap_servers, prefix="stack.", partitions=2)
        yield started


def test_topics_are_made_once_and_then_match(stack: RealStack) -> None:
    first = create_topics(stack.bootstrap_servers, prefix="once.", partitions=3)
    again = create_topics(stack.bootstrap_servers, prefix="once.", partitions=3)
    assert [TopicOutcome.CREATED] * len(TOPICS) == [report.outcome for report in first]
    assert [TopicOutcome.MATCHES] * len(TOPICS) == [report.outcome for report in again]


def test_topic_that_differs_is_named_with_both_values(stack: RealStack) -> None:
    create_topics(stack.bootstrap_servers, prefix="differs.", partitions=2)
    reports = {
        report.name: report for report in create_topics(stack.bootstrap_servers, prefix="differs.", partitions=5)
    }
    assert reports["differs.decisions.v1"].differences == ("the number of partitions is 2, should be 5",)
    assert TopicOutcome.DIFFERS is reports["differs.decisions.v1"].outcome
    assert TopicOutcome.MATCHES is reports["differs.labels.v1"].outcome


def test_committed_records_outlive_a_restart_and_a_kill_of_the_broker(stack: RealStack) -> None:
    publish(stack.bootstrap_servers, "stack.decisions.v1", [b"first", b"second"])
    stack.broker.stop()
    stack.broker.start()
    assert published(stack.bootstrap_servers, "stack.decisions.v1", 2) == [b"first", b"second"]
    publish(stack.bootstrap_servers, "stack.decisions.v1", [b"third"])
    stack.broker.kill()
    stack.broker.start()
    assert published(stack.bootstrap_servers, "stack.decisions.v1", 3) == [b"first", b"second", b"third"]


def test_paused_broker_is_silent_until_resumed(stack: RealStack) -> None:
    stack.broker.pause()
    was_silent = not answers(stack.bootstrap_servers)
    stack.broker.resume()
    publish(stack.bootstrap_servers, "stack.alerts.v1", [b"resumed"], transactional_id="resumed")
    assert was_silent
    assert published(stack.bootstrap_servers, "stack.alerts.v1", 1) == [b"resumed"]


def test_servers_listen_on_loopback_only(stack: RealStack) -> None:
    hosts = {
        connection.laddr.ip
        for pid in (stack.broker.pid, stack.redis.pid)
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {LOOPBACK} == {host.removeprefix("::ffff:") for host in hosts}


def test_processor_time_grows_with_work(stack: RealStack) -> None:
    before_s = process_cpu_seconds(stack.redis.pid)
    with redis.Redis.from_url(stack.redis_url) as client:
        client.eval("local n = 0 for i = 1, 3e7 do n = n + i end return 1", 0)
    assert process_cpu_seconds(stack.redis.pid) > before_s


@pytest.mark.parametrize(("persistence", "survives"), [(Persistence.APPEND_ALWAYS, b"1"), (Persistence.NONE, None)])
def test_redis_keeps_through_kill_what_its_persistence_says(
    tmp_path: Path, persistence: Persistence, survives: bytes | None
) -> None:
    port = free_port()
    server = redis_server(system_executable(), tmp_path, port, persistence=persistence)
    server.start()
    try:
        with redis.Redis.from_url(redis_url(port)) as client:
            client.set("key", b"1")
        server.kill()
        server.start()
        with redis.Redis.from_url(redis_url(port)) as client:
            assert survives == client.get("key")
    finally:
        server.stop()


def test_servers_end_with_the_process_that_holds_them_even_when_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ops.stack.real", "--json", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        addresses = json.loads(holder.stdout.readline())
        holder.send_signal(signal.SIGKILL)
        holder.wait(TIMEOUT_S)
    assert has_ended(addresses["broker_pid"])
    assert has_ended(addresses["redis_pid"])


def test_stopped_stack_leaves_no_process(tmp_path: Path) -> None:
    with RealStack(tmp_path) as stack:
        pids = (stack.broker.pid, stack.redis.pid)
    assert all(has_ended(pid) for pid in pids)
    with pytest.raises(ServerFailed, match="Kafka is not running"):
        _ = stack.broker.pid
