"""Plans applied on Apache Kafka: transactions that a killed run left open, runs that were shut out, and kill -9."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from confluent_kafka import Producer

from ops.demo.scene import clean_environment
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.domain.log import Outgoing
from pipeline.io.kafka.appender import TransactionalAppender
from pipeline.io.kafka.client import BrokerFailed
from pipeline.rollback.plan_store import read_plan, read_progress
from tests.known import environment_of
from tests.rollback.scene import WAIT_S, Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """Instead of the embedded one: the mock broker shows readers what was never committed, and fences nobody."""
    with RealStack(tmp_path_factory.mktemp("real"), with_postgres=True) as stack:
        create_topics(stack.bootstrap_servers)  # where the desk's executor tells what it did
        yield stack


@pytest.fixture
def scene(stack, database_url, owner, connection, archive, desk, tmp_path):
    return lambda **sizes: Scene(stack, database_url, owner, connection, archive, tmp_path / "audit", desk, **sizes)


def test_a_transaction_that_a_killed_run_left_open_is_ended_and_done_again(scene):
    """Appended but not committed: to a reader it is not there, and the next run appends it."""
    scene = scene(blocked=5, allowed=5)
    stopping = threading.Event()
    scene.apply(rate=5, stopping=stopping, advance=lambda done: stopping.set() if done >= 2 else None)
    zombie = Producer(
        {"bootstrap.servers": scene.settings.bootstrap_servers, "transactional.id": f"fraud-rollback-{scene.plan_id}"}
    )
    zombie.init_transactions(WAIT_S)
    zombie.begin_transaction()
    zombie.produce(f"{scene.prefix}decisions.v1", b"never committed", b"key")
    zombie.flush(WAIT_S)
    assert scene.apply().appended == 10
    scene.require_done_once()


def test_a_run_that_was_shut_out_appends_nothing_more(scene):
    scene = scene()
    predecessor = TransactionalAppender(scene.settings.bootstrap_servers, f"fraud-rollback-{scene.plan_id}", {})
    predecessor.start()
    scene.apply()
    with pytest.raises(BrokerFailed):
        predecessor.append([Outgoing(f"{scene.prefix}decisions.v1", b"key", b"late")])
    scene.require_done_once()


def test_killed_again_and_again_it_appends_every_record_once(scene, tmp_path):
    """kill -9 at random moments of the real command, ten times; then it is let finish."""
    scene, chance = scene(blocked=150, allowed=150), random.Random(7)
    command = [sys.executable, "-m", "ops.cli", "rollback", "apply", scene.plan_id, "--rate", "60"]
    environment = {**clean_environment(), **scene.environment, **environment_of(tmp_path / "people", "abe")}
    killed = 0
    for _ in range(10):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0.7, 2.2))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        scene.hear()
    command[-1] = "100000"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as finished:
        _hear_until_it_ends(scene, finished)
        assert finished.returncode == 0, finished.stderr.read()
    assert killed >= 3
    scene.require_done_once()
    plan = read_plan(scene.connection, scene.plan_id)
    assert read_progress(scene.connection, scene.plan_id)[-1].appended == plan.changing == 300


def _hear_until_it_ends(scene, process):
    """Payments are given back once the executor has released them."""
    end = time.monotonic() + 3 * WAIT_S
    while process.poll() is None and time.monotonic() < end:
        scene.hear()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    process.kill()
    process.wait()
