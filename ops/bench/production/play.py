"""The play: production comes up, a payment is settled and its decision anchored, and then each service is broken."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.bench.production.compose_files import BASE, Mount, Service, services
from ops.bench.production.images import PROJECT
from ops.bench.production.machine import Container, MachineRefused
from pipeline.publish.plan import HANDBOOK_EPOCH_MS, SHORT_FORM

if TYPE_CHECKING:
    from ops.bench.production.stage import Stage

PAYMENTS: Final = 20
ACCOUNTS: Final = 5
SETTLED_S_MAX: Final = 180.0
UP_S_MAX: Final = 180.0
ANCHORED_S_MAX: Final = 120.0
HEALED_S_MAX: Final = 180.0
LOCKED_OUT_S_MAX: Final = 120.0
CONNECTED_S_MAX: Final = 60.0
"""Bounds on a machine that others keep busy, where a process of Python's alone may take a minute to begin."""
NO_ANSWER_S: Final = 10.0
"""Time after which nobody is taken to answer, where nobody should."""
IN_DATABASE: Final = ("audit", "executor", "review", "reconcile", "incident", "bias", "alerts")
WRONG: Final = {
    "kafka": ("/etc/kafka/secrets/kafka_client.properties", "/opt/kafka/config/server.properties"),
    "redis": ("/run/secrets/redis_password_health", "/etc/hosts"),
    "postgres": ("/run/secrets/postgres_password_fraud_owner", "/etc/hosts"),
}
"""What stands for a wrong credential: a file of the container that holds another text."""
PUBLISHER: Final = "publisher"
TREASURER: Final = "treasurer"
STRANGER: Final = 10100
"""A user on somebody's own machine, which is no part of the Compose files."""
PORTS: Final = {"kafka": 19092, "redis": 6379, "postgres": 5432, "worker": 6066, "audit": 6067, "executor": 6068}
WATCHED_S_MAX: Final = 180.0
CONNECT: Final = 'exec 3<>"/dev/tcp/$0/$1"'
OWNER: Final = (
    'export PGPASSWORD="$(cat /run/secrets/postgres_password_fraud_owner)"; exec psql --no-password -At "$0" -c "$1"'
)
OWNER_ADDRESS: Final = "host=postgres user=fraud_owner dbname=fraud sslrootcert=/run/secrets/ca.pem sslmode="
OPENSSL_REFUSED: Final = "Verification error"


class Play:
    def __init__(self, stage: Stage, *, is_quick: bool) -> None:
        self._stage, self._is_quick = stage, is_quick

    def run(self) -> None:
        stage = self._stage
        stage.make_secrets()
        stage.build([self._publisher(), self._treasurer()])
        self._take_over_a_volume()
        with stage.rail():
            stage.up()
            self._watch_rollouts()
            self._reach()
            self._refuse_strangers()
            self._settle()
            self._anchor()
            self._break_each()

    def _watch_rollouts(self) -> None:
        """The incident service takes a version back by itself: it has the registry, and a key that signs there."""
        log = self._stage.containers["incident"].log_path
        watched = "the incident service to watch rollouts"
        self._stage.wait(lambda: "rollouts_watched" in log.read_text(errors="replace"), WATCHED_S_MAX, watched)
        told = log.read_text(errors="replace")
        self._stage.expect('"ends_them": true' in told, "the incident service can end a rollout")
        self._stage.expect("rollouts_unwatched" not in told, "no rollout goes unwatched")

    def _publisher(self) -> Service:
        """An upstream payment system, with the credential that it was given."""
        words = ("payments", "publish", "/payments.csv", "--now")
        settings = {"FRAUD_BOOTSTRAP_SERVERS": "kafka:19092"}
        return self._stranger(PUBLISHER, "kafka_options", words, settings, "broker", _write_payments)

    def _treasurer(self) -> Service:
        """Whoever opens the accounts; no service holds this credential."""
        words = ("ledger", "import", "/accounts.csv")
        return self._stranger(TREASURER, "database_url", words, {}, "database", _write_accounts)

    def _stranger(
        self,
        name: str,
        secret: str,
        words: tuple[str, ...],
        settings: Mapping[str, str],
        network: str,
        write: Callable[[Path], None],
    ) -> Service:
        """Somebody with a secret of the folder and a file of their own, which the last of the words names."""
        folder = self._stage.folder / name
        folder.mkdir()
        for each in ("ca.pem", f"{name}_{secret}"):
            shutil.copy(self._stage.secrets / each, folder / each)
            os.chown(folder / each, STRANGER, STRANGER)
        file = next(word for word in words if word.endswith(".csv"))
        write(folder / file[1:])
        mounts = {"ca.pem": "/run/secrets/ca.pem", f"{name}_{secret}": f"/run/secrets/{secret}", file[1:]: file}
        return Service(
            name,
            "fraud-decision-pipeline:0.1.0",
            (STRANGER, STRANGER),
            None,
            words,
            {**settings, "FRAUD_PROFILE": "production", "FRAUD_SECRETS_FROM": "file:/run/secrets"},
            tuple(Mount(str(folder / source), target, is_volume=False) for source, target in mounts.items()),
            ("/tmp",),  # noqa: S108 - in the container
            (network,),
            {},
            None,
            is_restarted=False,
            is_confined=True,
        )

    def _take_over_a_volume(self) -> None:
        """A volume that the development file's server laid out lets nobody in without a password in production."""
        stage, wanted = self._stage, self._stage.containers["postgres"]
        before = services(PROJECT, [BASE], {})["postgres"]
        volumes = stage.folder / "volumes-development"
        development = Container(_renamed(before, wanted.service), stage.networks, stage.folder, volumes)
        taken_over = Container(wanted.service, stage.networks, stage.folder, volumes)
        development.start()
        stage.wait(development.is_healthy, UP_S_MAX, "the development file's PostgreSQL")
        development.stop()
        taken_over.start()
        stage.wait(lambda: _answers(taken_over), UP_S_MAX, "PostgreSQL on the development file's volume")
        for mode in ("verify-full", "disable"):
            done = taken_over.run(["psql", "--no-password", "-At", OWNER_ADDRESS + mode, "-c", "SELECT 1"])
            stage.expect(done.code != 0, f"trust ends with the volume, sslmode={mode} ({done.said[-200:]})")
        stage.expect(
            not taken_over.is_healthy(patience=1), "production doesn't take the development file's volume for its own"
        )
        taken_over.stop()
        stage.say("a volume of the development file lets nobody in")

    def _reach(self) -> None:
        """Who shares no network with a service doesn't reach it."""
        reached = 0
        for name, container in self._running():
            for other, port in PORTS.items():
                if other == name:
                    continue
                shares = self._stage.containers[other].service.networks[0] in container.service.networks
                patience_s = CONNECTED_S_MAX if shares else NO_ANSWER_S
                command = ["/bin/bash", "-c", CONNECT, self._stage.networks.address(other), str(port)]
                done = container.run(command, patience_s)
                verb = "reaches" if shares else "doesn't reach"
                self._stage.expect((done.code == 0) == shares, f"{name} {verb} {other}")
                reached += done.code == 0
        self._stage.facts["pairs_reached"] = reached

    def _refuse_strangers(self) -> None:
        """No server speaks without TLS, and none lets in who has no password or another's."""
        expect, postgres = self._stage.expect, self._stage.containers["postgres"]
        for mode, password, is_let_in in (
            ("verify-full", None, True),
            ("disable", None, False),
            ("verify-full", "guessed", False),
        ):
            script = OWNER if password is None else f'export PGPASSWORD={password}; exec psql -At "$0" -c "$1"'
            done = postgres.run(["/bin/sh", "-c", script, OWNER_ADDRESS + mode, "SELECT 1"])
            how = f"PostgreSQL with sslmode={mode} and {password or 'the'} password"
            expect(
                done.code is not None and (done.code == 0) == is_let_in,
                f"{how}: {'let in' if is_let_in else 'refused'} ({done.said[-200:]})",
            )
        redis = self._stage.containers["redis"]
        plain = redis.run(["redis-cli", "-h", "redis", "ping"], NO_ANSWER_S)
        expect("PONG" not in plain.said, f"Redis speaks TLS only ({plain.said[-200:]})")
        nobody = redis.run(["redis-cli", "--tls", "--cacert", "/run/secrets/ca.pem", "-h", "redis", "get", "x"])
        expect("NOAUTH" in nobody.said, f"Redis lets nobody in without a password ({nobody.said[-200:]})")
        kafka = self._stage.containers["kafka"]
        probe = ["/opt/kafka/bin/kafka-broker-api-versions.sh", "--bootstrap-server", "kafka:19092"]
        expect(kafka.run(probe, NO_ANSWER_S).code != 0, "Kafka speaks TLS only")

    def _settle(self) -> None:
        stage, treasurer = self._stage, self._stage.strangers[TREASURER]
        treasurer.start()
        stage.wait(lambda: treasurer.exit_code is not None, UP_S_MAX, "opening accounts")
        stage.expect(treasurer.exit_code == 0, f"accounts are opened ({treasurer.tail(300)})")
        opening = ["fraud", "ledger", "open", "thief", "GBP", "--balance", "1000000"]
        done = stage.containers["executor"].run(opening)
        stage.expect(done.code != 0, f"the executor opens no account ({done.said[-300:]})")
        publisher = stage.strangers[PUBLISHER]
        publisher.start()
        stage.wait(lambda: publisher.exit_code is not None, SETTLED_S_MAX, "publishing")
        stage.expect(publisher.exit_code == 0, f"payments are published ({publisher.tail(300)})")
        stage.wait(lambda: self._executed() == PAYMENTS, SETTLED_S_MAX, f"executions: {self.ask(_STATES)}")
        stage.facts["states"] = self.ask(_STATES)
        stage.expect("SETTLED" in str(stage.facts["states"]), "a payment is settled")
        stage.say(f"executed: {stage.facts['states']}")

    def _anchor(self) -> None:
        """Every decision is stored, and an anchor covers it; the audit service's signal asks for one now."""
        stage, audit = self._stage, self._stage.containers["audit"]
        # The executor, which was waited for, doesn't wait for the audit log itself.
        stage.wait(lambda: self._stored() >= PAYMENTS, SETTLED_S_MAX, f"{PAYMENTS} decisions to be stored")
        stored = self._stored()
        stage.expect(stored == PAYMENTS, f"{PAYMENTS} decisions are stored, and not {stored}")
        audit.send(signal.SIGUSR1)
        stage.wait(lambda: "audit_anchored" in audit.tail(4000), ANCHORED_S_MAX, "an anchor")
        heads = audit.run(["fraud", "audit", "heads", "--json"])
        covered = heads.said.count("tree_size")
        stage.expect(heads.code == 0 and covered > 0, f"the anchors are signed heads ({heads.said[-300:]})")
        stage.facts["heads"] = covered
        check = stage.containers["reconcile"].run(["fraud", "ledger", "check"])
        stage.expect(check.code == 0, f"the books are whole ({check.said[-300:]})")

    def _break_each(self) -> None:
        """Break each service, and see its health check fail; mend it, and see it heal."""
        self._stage.facts["health_checks_seen_to_fail"] = [*self._stand_still(), *self._with_wrong_credentials()]
        for name, container in self._running():
            self._stage.wait(container.is_healthy, HEALED_S_MAX, f"{name} to be healthy again")

    def _stand_still(self) -> Iterator[str]:
        for name, container in self._running():
            # The broker that stood still before may have ended one of its clients, which Compose starts again.
            self._stage.wait(partial(_stands_still, container), HEALED_S_MAX, f"{name} to be healthy, to stand still")
            is_seen = not container.is_healthy(patience=1)
            container.resume()
            self._stage.expect(is_seen, f"the health check of {name} fails while it stands still")
            if is_seen:
                yield f"{name}: stopped"

    def _with_wrong_credentials(self) -> Iterator[str]:
        """A server's check logs in, and fails with another's password; a service's fails when it is let in no more."""
        for name, (given, instead) in WRONG.items():
            container = self._stage.containers[name]
            assert container.service.health is not None, "a server has a health check"
            command = [word.replace(given, instead) for word in container.service.health.command]
            self._stage.expect(command != list(container.service.health.command), f"{name}'s check uses {given}")
            is_seen = container.run(command, container.service.health.timeout_s).code != 0
            self._stage.expect(is_seen, f"the health check of {name} fails with a wrong credential")
            if is_seen:
                yield f"{name}: wrong credential"
        yield from self._locked_out()

    def _locked_out(self) -> Iterator[str]:
        for name in IN_DATABASE:
            self.ask(f"ALTER ROLE fraud_{name} PASSWORD 'another password than it has'")
        self.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> 'fraud_owner'")
        for name in IN_DATABASE:
            container = self._stage.containers[name]
            self._stage.wait(partial(_is_unhealthy, container), LOCKED_OUT_S_MAX, f"{name} to be unhealthy")
            yield f"{name}: wrong credential"
        roles = self._stage.containers["roles"]
        roles.start()
        self._stage.wait(lambda: roles.exit_code is not None, HEALED_S_MAX, "the passwords to be set again")

    def _stored(self) -> int:
        said = self.ask("SELECT count(*) FROM audit.ai_decision_log")
        return int(said) if said.isdigit() else 0

    def ask(self, query: str) -> str:
        """Ask PostgreSQL as its owner, within its container."""
        command = ["/bin/sh", "-c", OWNER, f"{OWNER_ADDRESS}verify-full", query]
        return self._stage.containers["postgres"].run(command).said

    def _executed(self) -> int:
        said = self.ask(_AT_REST)
        return int(said) if said.isdigit() else 0

    def _running(self) -> list[tuple[str, Container]]:
        found = self._stage.containers.items()
        return [(name, container) for name, container in found if container.service.health is not None]


def _stands_still(container: Container) -> bool:
    """Stop a healthy container; False where it isn't healthy, or ends between the one and the other."""
    if not container.is_healthy():
        return False
    try:
        container.pause()
    except MachineRefused:
        return False
    return True


def _is_unhealthy(container: Container) -> bool:
    return not container.is_healthy(patience=1)


def _renamed(before: Service, wanted: Service) -> Service:
    """Return the development file's service with the volume of production's, which is under another name there."""
    volumes = [mount for mount in wanted.mounts if mount.is_volume]
    return before._replace(mounts=(*volumes, *(mount for mount in before.mounts if not mount.is_volume)))


def _answers(postgres: Container) -> bool:
    """Return whether the server answers, were it by a refusal."""
    done = postgres.run(["psql", "--no-password", OWNER_ADDRESS + "verify-full", "-c", "SELECT 1"])
    return any(word in done.said for word in ("no password supplied", "1 row", "authentication failed"))


_AT_REST: Final = (
    "SELECT count(*) FROM ledger.execution_state WHERE state IN ('SETTLED', 'REFUSED', 'REVERSED', 'HELD')"
)
_STATES: Final = (
    "SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM"
    " (SELECT state, count(*) AS n FROM ledger.execution_state GROUP BY 1) AS counted"
)


def _write_accounts(path: Path) -> None:
    lines = ["account_id,currency,overdraft_limit_minor,opening_balance_minor"]
    lines += [f"cust-{number:06d},GBP,0,10000000" for number in range(ACCOUNTS)]
    lines += [f"term-{number:06d},GBP,0,0" for number in range(ACCOUNTS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o444)


def _write_payments(path: Path) -> None:
    now_s = (time.time_ns() // 1_000_000 - HANDBOOK_EPOCH_MS) // 1000
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(SHORT_FORM)
        for number in range(PAYMENTS):
            rows.writerow([number, now_s, number % ACCOUNTS, number // ACCOUNTS % ACCOUNTS, 1000 + number])
    path.chmod(0o444)
