"""The worker as a process: how it ends, and what it logs."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

from ops.stack.embedded import EmbeddedStack
from ops.stack.processes import free_port
from ops.stack.topics import create_topics
from pipeline.commands.publishing import BulkPublisher
from pipeline.settings import Settings
from tests.cli.archive import WIRE, payment

START_S = 60.0
END_S = 40.0


@pytest.fixture
def own_stack(tmp_path):
    """One that a test may break."""
    with EmbeddedStack(tmp_path / "stack") as stack:
        create_topics(stack.bootstrap_servers)
        yield stack


class Worker(NamedTuple):
    process: subprocess.Popen[bytes]
    log_path: Path

    def exit_code(self) -> int:
        return self.process.wait(END_S)


@pytest.fixture
def worker(own_stack, tmp_path):
    port, log_path = free_port(), tmp_path / "worker.log"
    environment = {
        **os.environ,
        "FRAUD_BOOTSTRAP_SERVERS": own_stack.bootstrap_servers,
        "FRAUD_REDIS_URL": own_stack.redis_url,
        "FRAUD_WEB_PORT": str(port),
        "FRAUD_STATE_PATIENCE_S": "1",
    }
    command = [sys.executable, "-m", "pipeline.cli", "worker"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
    deadline = time.monotonic() + START_S
    while not _is_ready(port):
        assert process.poll() is None, log_path.read_text()[-2000:]
        assert time.monotonic() < deadline
    yield Worker(process, log_path)
    process.kill()
    process.wait()


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


def test_it_ends_with_a_failure_when_it_must_give_up_its_place(worker, own_stack):
    """Redis stays away for longer than its patience, with a payment to decide."""
    own_stack.redis.kill()
    publisher = BulkPublisher(Settings(bootstrap_servers=own_stack.bootstrap_servers))
    publisher.publish("transactions.v1", payment(1).account_id.encode(), WIRE.encode_transaction(payment(1)), 0)
    publisher.flush()
    assert worker.exit_code() > 0
