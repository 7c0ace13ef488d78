"""The stage of the rollback bench: a registry with a model that answers the wrong way round, and all processes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg

from models.artefact.files import champion_version, golden_json, load_champion, tables_json, write
from models.artefact.scoring import Model
from models.artefact.vectors import golden_vectors
from ops.bench.rig.commands import completed
from ops.bench.rig.database import Sampler, prepare_database
from ops.bench.rig.services import audit_process, executor_process, review_process, url_of, worker_process
from ops.bench.rig.supervision import Supervisor, running
from ops.bench.rig.topics_io import prepare_topics
from ops.bench.rollback.people import FOUR_EYES_GBP_MINOR, REVIEWER
from ops.demo.scene import block_from_micro, clean_environment, golden_rows
from ops.processes.people import People, appointed
from ops.processes.servers import ServerProcess, free_port
from ops.rail.misbehaviour import Misbehaviour
from ops.rail.process import rail_process, rail_url
from ops.stack.real import RealStack
from pipeline.breaker.answer_counts import LATENCY_BOUNDS_MS
from pipeline.decide.policy import Policy, parse_policy
from pipeline.io.postgres import connect
from pipeline.io.settings import Settings
from pipeline.people.roles import Role

BAD: Final = "answers-backwards"
GOOD: Final = "answers-strictly"
BAD_BLOCKS_PERCENT: Final = 50
"""Share of the payments that the bad model blocks: those that look most honest."""
GOOD_BLOCKS_PERCENT: Final = 30
"""Share that the good model blocks: those that look least honest. It is strict, so that many payments are recalled."""
COMMAND_S: Final = 600
RESTARTS_MAX: Final = 20
"""Restarts of processes that ended by themselves. If more are needed, one of them can't live."""
PEOPLE: Final = (
    ("rae", Role.ROLLBACK_REQUESTER),
    ("abe", Role.ROLLBACK_APPROVER),
    (REVIEWER, Role.REVIEWER),
)
AUTHORS: Final = {"plan": "rae", "apply": "abe"}
"""Who gives which command."""
RECALL_REFUSED_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers, the services, and the files that they share."""

    stack: RealStack
    directory: Path
    registry: Path
    policy: Policy
    worker: ServerProcess
    executor: ServerProcess
    audit: ServerProcess
    review: ServerProcess
    rail: ServerProcess
    rail_address: str
    sampler: Sampler
    people: People
    supervisor: Supervisor

    def supervise(self) -> None:
        """Start again what ended by itself, as a client does that a broker which stood still takes for another."""
        self.supervisor.look_after([self.rail, self.worker, self.executor, self.audit, self.review])

    def name_champion(self, version: str) -> None:
        """Name a champion, as a roll-out does."""
        partial = self.registry / "champion.partial"
        partial.write_text(f"{version}\n")
        partial.rename(self.registry / "champion")

    def add_models(self, scores_micro: Sequence[int]) -> None:
        """Add BAD, which has the champion's tables with the sign turned, and GOOD, which has them as they are.

        Both are shifted so that they block their share.
        """
        champion, at_micro = load_champion(self.registry), np.array(scores_micro)
        edge_micro = block_from_micro(champion, self.policy)
        strict_micro = edge_micro - int(np.percentile(at_micro, 100 - GOOD_BLOCKS_PERCENT))
        turned_micro = edge_micro + int(np.percentile(at_micro, BAD_BLOCKS_PERCENT))
        turned = tuple(term._replace(table=-term.table) for term in champion.terms)
        good = replace(champion, version=GOOD, intercept_micro=champion.intercept_micro + strict_micro)
        bad = replace(champion, version=BAD, intercept_micro=turned_micro - champion.intercept_micro, terms=turned)
        for model in (good, bad):
            self._add(champion.version, model)

    def _add(self, base_version: str, model: Model) -> None:
        manifest = json.loads((self.registry / base_version / "manifest.json").read_bytes())
        rows = golden_rows(manifest)
        for written_anew in ("format", "version", "files"):
            del manifest[written_anew]
        manifest["golden"] = golden_json(golden_vectors(model, rows, manifest["features"]))
        manifest["approvals"] = []
        write(self.registry / model.version, tables_json(model), b"# For the rollback bench\n", manifest)

    def rollback(self, *arguments: str) -> list[str]:
        """Return the command as people call it."""
        return [sys.executable, "-P", "-m", "ops.cli", "rollback", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the rollback commands, in the database role that they run as."""
        return {
            **_shared(self.stack, self.registry, self.directory),
            "FRAUD_DATABASE_URL": url_of(self.stack.database_url, "fraud_rollback"),
        }

    def answer(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what a rollback command says with --json.

        Raises CalledProcessError, with the command's own sentence among the notes.
        """
        command = self.rollback(*arguments, "--json")
        author = self.people.environment(AUTHORS.get(arguments[0], REVIEWER))
        environment = {**clean_environment(), **self.environment, **author}
        log_path = self.directory / f"rollback-{arguments[0]}.log"
        done = completed(command, log_path, timeout_s=COMMAND_S, environment=environment)
        if done.returncode:
            failure = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
            failure.add_note(done.stderr)
            raise failure
        return [json.loads(line) for line in done.stdout.splitlines()]

    def applying(self, plan_id: str, rate_per_s: int) -> ServerProcess:
        """Make `fraud rollback apply`, which will be killed and started again."""
        return ServerProcess(
            "rollback apply",
            self.rollback("apply", plan_id, "--rate", str(rate_per_s)),
            is_ready=lambda: True,
            log_path=self.directory / "rollback-apply.log",
            environment={**self.environment, **self.people.environment(AUTHORS["apply"])},
        )

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(url_of(self.stack.database_url, "fraud_reader")) as connection:
            return connection.execute(query.encode(), values).fetchall()


@contextmanager
def open_stage(directory: Path) -> Iterator[Stage]:
    """Start everything; end everything on leaving."""
    with RealStack(directory / "stack", with_postgres=True) as stack:
        prepare_topics(stack.bootstrap_servers, "")
        prepare_database(stack, directory)
        with connect(stack.database_url, "bench") as owner:
            people = appointed(owner, directory / "people", PEOPLE)
        stage = _stage(stack, directory, people)
        services = (stage.rail, stage.worker, stage.executor, stage.audit, stage.review)
        with running(*services):
            stage.sampler.thread.start()
            try:
                yield stage
            finally:
                stage.sampler.thread.stopping.set()


def _stage(stack: RealStack, directory: Path, people: People) -> Stage:
    registry, shipped = directory / "registry", Settings.model_construct()
    version = champion_version(shipped.model_registry)
    shutil.copytree(shipped.model_registry / version, registry / version)
    (registry / "champion").write_text(f"{version}\n")
    policy = _patient(shipped.policy_path.read_text(encoding="utf-8"))
    (directory / "policies").mkdir()
    (directory / "policies" / "bench.toml").write_text(policy, encoding="utf-8")
    shared, port = _shared(stack, registry, directory), free_port()
    servers, database = stack.bootstrap_servers, stack.database_url
    return Stage(
        stack,
        directory,
        registry,
        parse_policy(policy.encode()),
        worker_process(directory, servers, stack.redis_url, environment=shared),
        executor_process(directory, servers, database, rail_url(port), environment=shared),
        audit_process(stack, directory, shared),
        review_process(stack, directory, {**shared, "FRAUD_REVIEW_FOUR_EYES_GBP_MINOR": str(FOUR_EYES_GBP_MINOR)}),
        rail_process(directory / "rail", port, Misbehaviour(recall_refused_share=RECALL_REFUSED_SHARE)),
        rail_url(port),
        Sampler(database),
        people,
        Supervisor(RESTARTS_MAX),
    )


def _shared(stack: RealStack, registry: Path, directory: Path) -> dict[str, str]:
    return {
        "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "FRAUD_MODEL_REGISTRY": str(registry),
        "FRAUD_POLICY_PATH": str(directory / "policies" / "bench.toml"),
        "FRAUD_POLICY_ARCHIVE": str(directory / "policies"),
    }


def _patient(policy_text: str) -> str:
    """Return the shipped policy with a breaker that doesn't trip.

    The bench wants the wrong model to go on being wrong, and payments that were published all at once wait longer than
    any breaker would allow.
    """
    patient = {"minimum_sample": 1_000_000, "latency_p99_ms": LATENCY_BOUNDS_MS[-1], "error_minimum_count": 10_000}
    before, heading, breaker = policy_text.partition("\n[breaker]\n")
    breaker, behind, after = breaker.partition("\n[")
    for name, value in patient.items():
        breaker, replaced = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", breaker)
        assert replaced == 1, f"the policy's breaker names {name} once"
    return before + heading + breaker + behind + after
