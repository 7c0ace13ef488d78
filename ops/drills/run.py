"""Carrying a drill out, from the deployment's settings to the signed report."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

import psycopg
import redis
from confluent_kafka import KafkaException

from models.artefact.files import ModelRefused
from models.versions.loading_files import champion_version_of
from ops.access.roles import POSTGRES_OWNER
from ops.drills.course import Performed, perform
from ops.drills.lane import LaneNames, LaneNotSeparate, forget_deployment
from ops.drills.proxies.lane_proxies import NotProxied
from ops.drills.report import Report, Setting, Written, report_of, write_report
from ops.drills.stage import Asked, DrillNotCarriedOut, set_stage
from ops.migrations.migrate import MigrationRefused
from ops.processes.servers import ServerFailed
from ops.stack.postgres import PostgresMissing
from pipeline.decide.policy import Policy, PolicyRefused, parse_policy
from pipeline.drills.store import DrillRecord, append_drill
from pipeline.io.clock import now_ms
from pipeline.io.kafka.client import BrokerFailed, admin_client
from pipeline.io.kafka.topic_settings import is_embedded
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable, connect, failures_named
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import SigningKey, SigningKeyRefused, create_signing_key
from pipeline.keys.key_sets import KeyUse
from pipeline.terminal.failures import Failure

KEY: Final = "drills.key"
WHY_MAX: Final = 2_000
NOT_POSSIBLE: Final = (
    LaneNotSeparate,
    NotProxied,
    DrillNotCarriedOut,
    ServerFailed,
    PostgresMissing,
    MigrationRefused,
    ModelRefused,
    BrokerFailed,
    KafkaException,
    redis.RedisError,
    psycopg.Error,
    DatabaseUnavailable,
    DatabaseRefused,
    OSError,
    TimeoutError,
)
"""Why a drill shows nothing, either way: the lane could not be had, or ended by something that is not the drill's."""


class Done(NamedTuple):
    """not_recorded: why the deployment's database holds no record of it, or nothing."""

    report: Report
    written: Written
    not_recorded: str


def carry_out(asked: Asked, deployment: Settings, folder: Path, say: Callable[[str], None]) -> Done:
    """Carry one drill out, and write its signed report into `folder`. Raises Failure where none can be written."""
    folder = folder.resolve()
    key, policy = signing_key(deployment, folder), policy_in_force(deployment)
    names = LaneNames(uuid4().hex[:8])
    forget_deployment()
    started_at_ms, performed, why = now_ms(), None, ""
    try:
        with set_stage(asked, names, folder / "lanes" / names.drill_id, deployment) as stage:
            performed = perform(stage, say)
    except NOT_POSSIBLE as error:
        performed, why = None, _sentence(error)
        say(f"it could not be carried out: {why}")
    setting = _setting(asked, names, started_at_ms, deployment, policy)
    report = report_of(setting, policy.drills, performed, why)
    written = write_report(folder, report, key)
    return Done(report, written, _recorded(deployment, setting, report, written))


def _recorded(deployment: Settings, setting: Setting, report: Report, written: Written) -> str:
    """Return why the drill is not recorded, or nothing."""
    record = DrillRecord(
        setting.drill_id,
        report["drill"],
        report["verdict"],
        report["why"][:WHY_MAX],
        setting.counts,
        setting.started_at_ms,
        setting.ended_at_ms,
        setting.carried_out_by,
        setting.policy_version,
        bytes.fromhex(setting.policy_sha256),
        setting.model_version,
        report["findings"],
        written.sha256,
        written.key_id,
        written.signature,
    )
    return record_drill(deployment, record)


def record_drill(deployment: Settings, record: DrillRecord) -> str:
    """Record a drill in the deployment's own database, as its owner; return why that failed, or nothing."""
    try:
        with connect(deployment.as_role(POSTGRES_OWNER).database_url, "fraud-drill") as connection, failures_named():
            append_drill(connection, record)
    except (DatabaseUnavailable, DatabaseRefused) as failure:
        return str(failure)
    return ""


def signing_key(deployment: Settings, folder: Path) -> SigningKey:
    """Return the key that signs reports; outside production one is made where none is named. Raises Failure."""
    path = deployment.drill_key_file
    try:
        if path is None:
            if deployment.profile is Profile.PRODUCTION:
                raise Failure(
                    "No key signs the reports of drills.",
                    "Make one with `fraud keys create drills PATH`, and name it in FRAUD_DRILL_KEY_FILE.",
                )
            path = folder / KEY
            if not path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                return create_signing_key(path, KeyUse.DRILLS)
        return SigningKey.from_file(path)
    except SigningKeyRefused as refusal:
        raise Failure(f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.", "Correct FRAUD_DRILL_KEY_FILE.") from refusal


def policy_in_force(deployment: Settings) -> Policy:
    """Return the policy in force, whose objectives count. Raises Failure."""
    try:
        return parse_policy(deployment.policy_path.read_bytes())
    except (OSError, PolicyRefused) as refusal:
        raise Failure(f"The policy can't be used: {refusal}.", "`fraud config check` says more.") from refusal


def _setting(asked: Asked, names: LaneNames, started_at_ms: int, deployment: Settings, policy: Policy) -> Setting:
    return Setting(
        names.drill_id,
        asked,
        started_at_ms,
        now_ms(),
        policy.version,
        policy.sha256.hex(),
        model_in_force(deployment),
        version("fraud-decision-pipeline"),
        f"{getpass.getuser()} on {socket.gethostname()}",
        embedded(deployment),
    )


def model_in_force(deployment: Settings) -> str:
    """Return the champion's version, or `unknown`."""
    try:
        return champion_version_of(deployment)
    except (ModelRefused, OSError):
        return "unknown"


def embedded(deployment: Settings) -> bool:
    """Whether the broker is the embedded one; one that does not say counts as such, as it proves no more."""
    try:
        return is_embedded(admin_client(deployment.bootstrap_servers, deployment.kafka_options))
    except KafkaException:
        return True


def _sentence(error: BaseException) -> str:
    if isinstance(error, KafkaException):
        return f"Kafka: {error.args[0].str()}"
    text = str(error).splitlines()[0] if str(error) else ""
    is_ours = isinstance(error, DrillNotCarriedOut | LaneNotSeparate | NotProxied)
    return text if is_ours else f"{type(error).__name__}: {text}"


__all__ = ["Done", "Performed", "carry_out", "signing_key"]
