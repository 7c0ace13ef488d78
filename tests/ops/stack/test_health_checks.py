"""The health checks of the Compose files, run against the services as users run them: seen to pass, and to fail when
PostgreSQL is away and when it holds on to a service without answering."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Producer

from ops.bench.rig.services import status
from ops.bench.rig.waiting import wait_until
from ops.migrations.migrate import migrate
from ops.processes.servers import ServerProcess, free_port
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.keys.key_files import create_signing_key
from tests.audit.logs import values
from tests.sealing import seal_headers
from tests.servers import url_as

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[3]
SERVICES = {
    "audit": ["audit", "run"],
    "executor": ["executor", "run"],
    "review": ["review", "run"],
    "reconcile": ["reconcile", "run"],
    "incident": ["incident", "run"],
    "bias": ["bias", "run"],
    "alerts": ["alerts", "run"],
}
STANDSTILL_S = "3"
WAIT_S = 120.0


def health_check(service: str, port: int) -> list[str]:
    """The command that Docker runs in the service's container, on another port."""
    composed = re.sub(r"!(reset|override)", "", (ROOT / "docker-compose.yml").read_text())
    _, _, *command = yaml.safe_load(composed)["services"][service]["healthcheck"]["test"]
    return [sys.executable, *(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", word) for word in command)]


class Running:
    """The services that use PostgreSQL on a stack of their own."""

    def __init__(self, stack: EmbeddedStack, folder: Path) -> None:
        self.stack, self.ports = stack, {name: free_port() for name in SERVICES}
        create_signing_key(folder / "key")
        self.services = {name: self._process(name, folder) for name in SERVICES}

    def is_healthy(self, name: str) -> bool:
        return subprocess.run(health_check(name, self.ports[name]), capture_output=True, check=False).returncode == 0

    def are(self, page: str, expected: int) -> bool:
        return {expected} == {status(port, page) for port in self.ports.values()}

    def give_work(self) -> None:
        """Publish to a service that would ask nothing of PostgreSQL otherwise."""
        producer = Producer({"bootstrap.servers": self.stack.bootstrap_servers, "log_level": 2})
        value = values(1)[0]
        producer.produce("decisions.v1", value, b"key", 0, headers=seal_headers("decisions.v1", b"key", value, 0))
        assert 0 == producer.flush(WAIT_S)

    def _process(self, name: str, folder: Path) -> ServerProcess:
        return ServerProcess(
            name,
            [sys.executable, "-m", "ops.cli", *SERVICES[name]],
            is_ready=lambda: status(self.ports[name], "/live") == 200,
            log_path=folder / f"{name}.log",
            environment={
                "FRAUD_BOOTSTRAP_SERVERS": self.stack.bootstrap_servers,
                "FRAUD_DATABASE_URL": url_as(self.stack.database_url, f"fraud_{name}"),
                "FRAUD_AUDIT_DIRECTORY": str(folder / "outside"),
                "FRAUD_AUDIT_KEY_FILE": str(folder / "key"),
                "FRAUD_SERVICE_STANDSTILL_S": STANDSTILL_S,
                f"FRAUD_{name.upper()}_PORT": str(self.ports[name]),
            },
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("health")
    with EmbeddedStack(folder / "stack", with_postgres=True) as stack:
        migrate(stack.database_url)
        create_topics(stack.bootstrap_servers)
        running = Running(stack, folder)
        try:
            for service in running.services.values():
                service.start()
            yield running
        finally:
            for service in running.services.values():
                service.stop()


def test_health_checks_fail_with_what_they_are_about_and_heal_with_it(running: Running) -> None:
    """One test covers the whole story, because a stack and its services take seconds to start."""
    postgres = running.stack.postgres
    assert postgres is not None
    wait_until(lambda: running.are("/ready", 200), WAIT_S, "getting ready")
    wait_until(lambda: all(running.is_healthy(name) for name in SERVICES), WAIT_S, "being healthy")

    postgres.kill()
    wait_until(lambda: running.are("/ready", 503), WAIT_S, "missing PostgreSQL")
    # They hold, which is no standstill; on a busy machine one may have stood still for a moment.
    wait_until(lambda: running.are("/ready", 503) and running.are("/live", 200), WAIT_S, "holding")
    assert not any(running.is_healthy(name) for name in SERVICES)
    postgres.start()
    wait_until(lambda: running.are("/ready", 200), WAIT_S, "going on with PostgreSQL")

    postgres.pause()
    running.give_work()
    wait_until(lambda: running.are("/live", 503), WAIT_S, "standing still")
    assert not any(running.is_healthy(name) for name in SERVICES)
    postgres.resume()
    wait_until(lambda: running.are("/ready", 200), WAIT_S, "turning again")

    for name, service in running.services.items():
        service.stop()
        events = [json.loads(line)["event"] for line in service.log_path.read_text().splitlines()]
        assert f"{name}_stopped" in events, events[-5:]
        assert f"{name}_holds" in events
