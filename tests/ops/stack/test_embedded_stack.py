"""The embedded stack: librdkafka's mock cluster, Valkey and PostgreSQL, as pip brings them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import MOCK_PARTITIONS, TOPICS, TopicOutcome, create_topics
from tests.ops.stack.rounds import TIMEOUT_S, has_ended, publish, published


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path_factory.mktemp("embedded")) as started:
        yield started


def test_committed_records_are_read_back(stack: EmbeddedStack) -> None:
    publish(stack.bootstrap_servers, "round.embedded", [b"first", b"second"])
    assert published(stack.bootstrap_servers, "round.embedded", 2) == [b"first", b"second"]


def test_redis_answers_and_evicts_nothing(stack: EmbeddedStack) -> None:
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set("key", b"value")
        assert client.get("key") == b"value"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_topics_of_the_mock_broker_are_touched_and_say_so(stack: EmbeddedStack) -> None:
    reports = create_topics(stack.bootstrap_servers, prefix="touched.", partitions=MOCK_PARTITIONS)
    assert [(f"touched.{topic.name}", TopicOutcome.TOUCHED) for topic in TOPICS] == [
        (report.name, report.outcome) for report in reports
    ]
    publish(stack.bootstrap_servers, "touched.transactions.v1", [b"payment"], transactional_id="touched")
    assert published(stack.bootstrap_servers, "touched.transactions.v1", 1) == [b"payment"]


def test_servers_end_with_the_block(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path) as stack:
        pids = (stack.broker.pid, stack.redis.pid)
    assert all(has_ended(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_servers_end_with_whoever_holds_them(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "ops.stack.embedded", "--json", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        addresses = json.loads(holder.stdout.readline())
        holder.send_signal(number)
        assert (-number if number is signal.SIGKILL else 0) == holder.wait(TIMEOUT_S)
    assert all(has_ended(addresses[f"{server}_pid"]) for server in ("broker", "redis", "postgres", "rail"))
