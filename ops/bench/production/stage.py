"""The stage of the bench `production`: `python -m ops.bench.production.stage FOLDER`, in namespaces of its own.

It prints what happens, and at last one JSON object: what was seen, and every expectation that didn't hold.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ops.access.secret_owners import wrongly_given
from ops.bench.production.compose_files import BASE, PRODUCTION, Service, internal_networks, services
from ops.bench.production.images import PROJECT
from ops.bench.production.machine import LAYERS, Container, Networks
from ops.bench.production.play import Play
from ops.bench.registry.scene import APPROVERS, FIRST, SHIPPED, Book, identity_settings
from ops.stack.certificates import issue
from pipeline.decide.feeds.feed import FeedKind
from pipeline.decide.feeds.feed_files import shipped_as_of
from pipeline.io.clock import now_ms
from pipeline.people.people_files import write_people

HOSTS: Final = ("kafka", "redis", "postgres")
RAIL_HOST: Final = "rail.bank.example"
RAIL_PORT: Final = 8443
DIGEST: Final = f"sha256:{'0' * 64}"
ALERT_ROUTES: Final = """
version = 1
sinks = [
    { name = "pager", kind = "pagerduty", secret = "pager" },
    { name = "hook", kind = "webhook", url = "https://siem.bank.example/alerts", secret = "hook" },
]
routes = [{ severities = ["INFO", "WARNING", "CRITICAL"], sinks = ["pager", "hook"] }]
heartbeat = { sinks = ["hook"] }
"""
"""Sinks that can't be reached from there: the service must run and wait all the same."""
VOLUMES: Final = "volumes"
_REVIEW_USER: Final = 10004
"""The user that writes the people's file, as docker-compose.yml numbers it."""
_INCIDENT_USER: Final = 10012
"""The user that moves aliases in the registry."""
UP_S_MAX: Final = 600.0
POLL_S: Final = 0.3
STARTS_MAX: Final = 4
RESTARTS_MAX: Final = 40
"""Restarts of one service over the whole play. A server that stands still ends its clients, and a service that is
locked out ends as often as it is started, so how many there are follows from how long the machine takes meanwhile."""


class Broken(Exception):
    """Production did not come to where it should."""


class Stage:
    """Production on a machine of its own. facts: what was seen; faults: what should have been otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.secrets = folder, folder / "secrets"
        self.facts: dict[str, object] = {}
        self.faults: list[str] = []
        self.containers: dict[str, Container] = {}
        self.strangers: dict[str, Container] = {}
        self._began_s = time.monotonic()
        self._probe_at_s: dict[str, float] = {}
        self.restarts = Counter[str]()

    def say(self, sentence: str) -> None:
        print(f"{time.monotonic() - self._began_s:6.1f} s  {sentence}", flush=True)

    def expect(self, is_so: bool, sentence: str) -> None:
        if not is_so:
            self.faults.append(sentence)
            self.say(f"NOT SO: {sentence}")

    def make_secrets(self) -> None:
        """Do what docs/operations.md says, in its order."""
        self.secrets.mkdir(mode=0o700)
        issue(self.secrets, [*HOSTS, RAIL_HOST, "executor"])
        certificate, key = (self.secrets / f"executor_{part}.pem" for part in ("certificate", "key"))
        certificate.rename(self.secrets / "rail_certificate.pem")
        key.rename(self.secrets / "rail_key.pem")
        shutil.copy(self.secrets / "ca.pem", self.secrets / "rail_authority.pem")
        for part in ("certificate", "key"):
            (self.secrets / f"{RAIL_HOST}_{part}.pem").rename(self.folder / f"bank_{part}.pem")
        self.command("keys", "create", "dead-letter", str(self.secrets / "dead_letter_key"))
        self.command("keys", "create", "audit", str(self.secrets / "audit_key"))
        keys = (self.secrets / "audit_key.keys").rename(self.secrets / "audit_keys")
        self.command("keys", "create", "witness", str(self.secrets / "witness_key"), "--set", str(keys))
        self.command("keys", "create", "decisions", str(self.secrets / "worker_seal_key"))
        keys = (self.secrets / "worker_seal_key.keys").rename(self.secrets / "seal_keys")
        sealing = {"reviews": "review_seal_key", "reversals": "rollback_seal_key", "executions": "executor_seal_key"}
        for use, name in sealing.items():
            self.command("keys", "create", use, str(self.secrets / name), "--set", str(keys))
        self._publish_feeds(keys)
        self._approve_model(keys)
        (self.secrets / "alert_routes.toml").write_text(ALERT_ROUTES)
        (self.secrets / "alert_secrets").write_text(json.dumps({"pager": "0" * 32, "hook": "whsec_" + "A" * 32}))
        self.command("passwords", "create", str(self.secrets))
        self.expect(not [*wrongly_given(self.secrets)], "each secret file is its consumer's alone")

    def _publish_feeds(self, keys: Path) -> None:
        """Sign today's exchange rates and sanctions as their publisher, and put them in force in the volume."""
        publisher, feeds = self.folder / "publisher.key", self.folder / VOLUMES / "feeds-production"
        feeds.mkdir(parents=True)
        self.command("keys", "create", "feeds", str(publisher), "--set", str(keys))
        for kind in FeedKind:
            path = self.folder / f"{kind}.toml"
            path.write_bytes(shipped_as_of(kind, now_ms()))
            self.command("feeds", "sign", str(path), "--key", str(publisher))
            settings = {"FRAUD_FEEDS_PATH": str(feeds), "FRAUD_SEAL_KEYS_FILE": str(keys)}
            self.command("feeds", "install", str(path), settings=settings)

    def _approve_model(self, keys: Path) -> None:
        """Sign the shipped model, have three people approve it, and name it the registry's first champion."""
        volumes, registry = self.folder / VOLUMES, self.folder / VOLUMES / "registry-production"
        people = volumes / "people-production"
        people.mkdir()
        write_people(people / "people", Book().acts)
        shutil.chown(people, _REVIEW_USER)
        shutil.copytree(SHIPPED / FIRST, registry / FIRST)
        settings = {
            "FRAUD_MODEL_REGISTRY": str(registry),
            "FRAUD_SEAL_KEYS_FILE": str(keys),
            "FRAUD_PEOPLE_FILE": str(people / "people"),
        }
        for use, key in (("models", self.secrets / "models_key"), ("artefacts", self.folder / "artefacts.key")):
            self.command("keys", "create", use, str(key), "--set", str(keys))
            settings[f"FRAUD_{use.upper()}_KEY_FILE"] = str(key)
        self.command("models", "sign", FIRST, settings=settings)
        for name, role in APPROVERS:
            theirs = {**settings, **identity_settings(self.folder, name)}
            self.command("models", "approve", FIRST, "--role", role.value, settings=theirs)
        self.command("models", "begin", FIRST, "--reason", "the first one", settings=theirs)
        self.command("models", "verify", settings=settings)
        for path in (registry, *registry.rglob("*")):
            shutil.chown(path, _INCIDENT_USER)

    def command(self, *words: str, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        """Run a `fraud` command of the operator's, as root on the machine."""
        done = subprocess.run(  # noqa: S603 - the command is ours
            [sys.executable, "-m", "ops.cli", *words], capture_output=True, text=True, check=False, cwd=self.folder,
            env={**os.environ, **settings},
        )  # fmt: skip
        if done.returncode != 0:
            raise Broken(f"fraud {' '.join(words)}: {done.stderr}")

    def variables(self) -> Mapping[str, str]:
        rail = f"https://{RAIL_HOST}:{RAIL_PORT}"
        return {"FRAUD_SECRETS": str(self.secrets), "FRAUD_RAIL_URL": rail, "FRAUD_REDIS_DIGEST": DIGEST}

    def build(self, strangers: Sequence[Service]) -> None:
        """Make the files' services, and those of the world that speak to them."""
        found = services(PROJECT, [BASE, PRODUCTION], self.variables())
        networks = list(internal_networks(PROJECT, [BASE, PRODUCTION]))
        every = {**found, **{service.name: service for service in strangers}}
        self.networks = Networks(networks, every, {RAIL_HOST: "rail"})
        made = {
            name: Container(service, self.networks, self.folder, self.folder / VOLUMES)
            for name, service in every.items()
        }
        self.containers = {name: made[name] for name in found}
        self.strangers = {service.name: made[service.name] for service in strangers}

    def up(self) -> None:
        """Start every service once its conditions are met, until all are healthy or have done their work."""
        deadline, healthy, done = time.monotonic() + UP_S_MAX, set[str](), set[str]()
        starts = dict.fromkeys(self.containers, 0)
        while healthy | done != self.containers.keys():
            if time.monotonic() > deadline:
                waiting = sorted(self.containers.keys() - healthy - done)
                tails = "\n".join(f"{name}: {self.containers[name].tail()}" for name in waiting)
                raise Broken(f"{', '.join(waiting)} came to nothing:\n{tails}")
            for name, container in self.containers.items():
                self._look(name, container, healthy, done, starts)
            time.sleep(POLL_S)
        self.restarts.update({name: count - 1 for name, count in starts.items() if count > 1})
        self.facts["up_s"] = round(time.monotonic() - self._began_s, 1)

    def _look(self, name: str, container: Container, healthy: set[str], done: set[str], starts: dict[str, int]) -> None:
        if name in healthy | done:
            return
        if not container.is_started or container.exit_code not in (None, 0):
            met = {"service_healthy": healthy, "service_completed_successfully": done}
            if all(other in met[condition] for other, condition in container.service.after.items()):
                starts[name] += 1
                if starts[name] > STARTS_MAX:
                    raise Broken(f"{name} ends again and again: {container.tail()}")
                container.start()
            return
        if container.service.health is None:
            if container.exit_code == 0:
                done.add(name)
                self.say(f"{name} has done its work")
        elif container.exit_code is None and time.monotonic() >= self._probe_at_s.get(name, 0.0):
            began_s = time.monotonic()
            if container.is_healthy():
                healthy.add(name)
                self.say(f"{name} is healthy")
            # Docker waits between two probes, too, so that a costly one doesn't keep its service from starting.
            self._probe_at_s[name] = time.monotonic() + max(POLL_S, time.monotonic() - began_s)

    def wait(self, is_so: Callable[[], bool], seconds_max: float, what: str) -> None:
        deadline = time.monotonic() + seconds_max
        while not is_so():
            self._restart()
            if time.monotonic() > deadline:
                raise Broken(f"waited {seconds_max:g} s in vain for {what}")
            time.sleep(POLL_S)

    def _restart(self) -> None:
        """Start again what has ended by itself and what the files have restarted, as Docker does."""
        for name, container in self.containers.items():
            if container.service.is_restarted and container.exit_code is not None:
                self.restarts[name] += 1
                if self.restarts[name] > RESTARTS_MAX:
                    raise Broken(f"{name} ends again and again: {container.tail()}")
                self.say(f"{name} ended with {container.exit_code} and is started again")
                container.start()

    @contextmanager
    def rail(self) -> Iterator[None]:
        """Run the bank's payment rail, out in the world: the executor reaches it through its network alone."""
        books = self.folder / "rail"
        books.mkdir()
        command = [sys.executable, "-m", "ops.rail", "--host", self.networks.gateway("rail"), "--port", str(RAIL_PORT)]
        command += ["--directory", str(books), "--authority", str(self.secrets / "ca.pem")]
        command += [f"--certificate={self.folder / 'bank_certificate.pem'}", f"--key={self.folder / 'bank_key.pem'}"]
        with (self.folder / "rail.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - the command is ours
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def down(self) -> None:
        """End everything at once: what is to be seen was seen, and the volumes go with the folder."""
        for container in [*self.containers.values(), *self.strangers.values()]:
            container.kill()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.production.stage", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    for path in (Path("/run"), arguments.folder / LAYERS):
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "memory", str(path)], check=True)  # noqa: S603, S607
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments.folder.chmod(0o755)
    stage = Stage(arguments.folder)
    try:
        Play(stage, is_quick=arguments.quick).run()
    except Exception as failure:
        stage.faults.append(f"{type(failure).__name__}: {failure}")
        raise
    finally:
        stage.down()
        shutil.rmtree(stage.secrets, ignore_errors=True)
        seen = {**stage.facts, "restarts": stage.restarts}
        print(json.dumps({"ok": not stage.faults, "faults": stage.faults, **seen}), flush=True)


if __name__ == "__main__":
    main()
