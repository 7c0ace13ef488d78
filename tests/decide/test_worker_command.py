"""The worker as a process: how it ends, and what it logs."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import redis

from ops.bench.rig.services import worker_of
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import free_port
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from tests.archive import WIRE, payment

START_S = 120.0
POLL_S = 0.05
END_S = 120.0
PATIENCE_S = "60"
"""With Redis, which may answer late on a busy machine."""


@pytest.fixture
def own_stack(tmp_path):
    """One that a test may break."""
    with EmbeddedStack(tmp_path / "stack") as stack:
        create_topics(stack.bootstrap_servers)
        yield stack


class Worker(NamedTuple):
    process: subprocess.Popen[bytes]
    log_path: Path
    port: int

    @property
    def kept(self) -> psutil.Process:
        """The worker of a keeper."""
        worker = worker_of(self.process.pid)
        assert worker is not None, self.log_path.read_text()[-2000:]
        return worker

    def exit_code(self) -> int:
        return self.process.wait(END_S)


@pytest.fixture
def worker(own_stack, tmp_path):
    yield from _worker(own_stack, tmp_path)


@pytest.fixture
def kept_worker(own_stack, tmp_path):
    yield from _worker(own_stack, tmp_path, "--keep")


@pytest.fixture
def impatient_worker(own_stack, tmp_path):
    yield from _worker(own_stack, tmp_path, patience_s="1")


def _worker(own_stack, tmp_path, *options, patience_s=PATIENCE_S):
    worker = _worker_process(own_stack, tmp_path, *options, patience_s=patience_s)
    try:
        _await_ready(worker)
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()


def _worker_process(own_stack, tmp_path, *options, patience_s=PATIENCE_S):
    port, log_path = free_port(), tmp_path / "worker.log"
    environment = {
        **os.environ,
        "FRAUD_BOOTSTRAP_SERVERS": own_stack.bootstrap_servers,
        "FRAUD_REDIS_URL": own_stack.redis_url,
        "FRAUD_WEB_PORT": str(port),
        "FRAUD_STATE_PATIENCE_S": patience_s,
    }
    command = [sys.executable, "-m", "ops.cli", "worker", "run", *options]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
    return Worker(process, log_path, port)


def test_it_neither_goes_on_nor_starts_on_a_redis_that_may_evict_and_says_so(worker, own_stack, tmp_path):
    """The default of several managed services would let made-up payees push confirmed frauds out."""
    with redis.Redis.from_url(own_stack.redis_url) as client:
        client.config_set("maxmemory-policy", "volatile-lru")
    assert worker.exit_code() == os.EX_TEMPFAIL
    successor = _worker_process(own_stack, tmp_path)
    assert successor.exit_code() == os.EX_TEMPFAIL
    assert "StateEvicted: Redis may evict keys (volatile-lru)" in successor.log_path.read_text()
    with LogReader.of(Settings(bootstrap_servers=own_stack.bootstrap_servers)) as log:
        raised = [WIRE.decode_alert(record.value) for record in log.read_all("alerts.v1")]
    assert {(each.code, each.alert_id) for each in raised if each.code == "STATE_EVICTED"} == {
        ("STATE_EVICTED", raised[-1].alert_id)
    }


def _await_ready(worker):
    def require_running():
        assert worker.process.poll() is None, worker.log_path.read_text()[-2000:]

    wait_until(lambda: _is_ready(worker.port), START_S, "getting ready", every_s=POLL_S, meanwhile=require_running)


def _is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_sigterm_ends_it_gracefully(worker):
    worker.process.send_signal(signal.SIGTERM)
    assert worker.exit_code() == 0


def test_every_line_it_logs_is_json(worker):
    worker.process.send_signal(signal.SIGTERM)
    worker.exit_code()
    for line in worker.log_path.read_text().splitlines():
        assert {"event", "level", "timestamp"} <= set(json.loads(line))


def test_it_ends_with_a_failure_when_it_must_give_up_its_place(impatient_worker, own_stack):
    """Redis stays away for longer than its patience, with a payment to decide."""
    own_stack.redis.kill()
    publisher = BulkPublisher(Settings(bootstrap_servers=own_stack.bootstrap_servers))
    publisher.publish("transactions.v1", payment(1).account_id.encode(), WIRE.encode_transaction(payment(1)), 0)
    publisher.flush()
    assert impatient_worker.exit_code() > 0


def test_a_kept_worker_is_followed_by_another_in_its_slot(kept_worker):
    first = kept_worker.kept
    first.kill()
    first.wait(END_S)
    _await_ready(kept_worker)
    assert kept_worker.kept.pid != first.pid
    kept_worker.process.send_signal(signal.SIGTERM)
    assert kept_worker.exit_code() == 0


def test_sigterm_ends_keeper_and_worker_gracefully(kept_worker):
    kept = kept_worker.kept
    kept_worker.process.send_signal(signal.SIGTERM)
    assert kept_worker.exit_code() == 0
    assert not kept.is_running()


def test_a_worker_does_not_outlive_its_keeper(kept_worker):
    kept = kept_worker.kept
    kept_worker.process.kill()
    kept_worker.exit_code()
    kept.wait(END_S)


def test_a_keeper_gives_up_where_a_worker_can_not_start(tmp_path):
    command = [sys.executable, "-m", "ops.cli", "worker", "run", "--keep"]
    environment = {**os.environ, "FRAUD_POLICY_PATH": str(tmp_path / "none.toml"), "FRAUD_WEB_HOST": "192.0.2.1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=START_S, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
