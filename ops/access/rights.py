"""The rights on the broker: one table of who may do what, and one idempotent call that applies it (I7).

Everything that the table doesn't grant is denied, because the brokers run Kafka's StandardAuthorizer, which denies by
default. Kafka grants rights on topics, not on kinds of record. Review and rollback may write decisions.v1 because their
outcomes stand there, so the readers check who wrote a record of which kind (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its types say less than it exports
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from pipeline.io.kafka.client import admin_client
from pipeline.io.kafka.topic_settings import STAMPED_TOPICS, SWITCHES_TOPIC

REQUEST_TIMEOUT_S: Final = 15.0
SCRAM_ITERATIONS: Final = 4096
"""Iterations of SCRAM: the least that RFC 7677 asks for. Passwords are random and long, so more would buy nothing."""
ANY_HOST: Final = "*"
_KEEPING: Final = (
    AclOperation.CREATE,
    AclOperation.READ,
    AclOperation.WRITE,
    AclOperation.DESCRIBE_CONFIGS,
)


class Principal(StrEnum):
    """The users of the broker: one for each process, so that a stolen credential can do no more than that process."""

    WORKER = "fraud-worker"
    AUDIT = "fraud-audit"
    EXECUTOR = "fraud-executor"
    REVIEW = "fraud-review"
    ROLLBACK = "fraud-rollback"
    BREAKER = "fraud-breaker"
    """People who take the model out of the loop and let it back in."""
    WITNESS = "fraud-witness"
    """The process that keeps, apart from the audit service, what that has signed."""
    RECONCILE = "fraud-reconcile"
    INCIDENT = "fraud-incident"
    BIAS = "fraud-bias"
    """The process that watches how segments fare, and whether models still see what they were taught on."""
    ALERTS = "fraud-alerts"
    """The process that delivers alerts to people."""
    SHADOW = "fraud-shadow"
    """The process in which a challenger answers, and decides nothing."""
    READER = "fraud-reader"
    """The commands by which people only look: tail, explain, verify."""
    PUBLISHER = "fraud-publisher"
    """The upstream payment systems."""
    REGISTRY = "fraud-registry"
    """The schema registry, where there is one."""


SERVICES: Final = (
    Principal.WORKER,
    Principal.AUDIT,
    Principal.EXECUTOR,
    Principal.REVIEW,
    Principal.RECONCILE,
    Principal.WITNESS,
    Principal.INCIDENT,
    Principal.BIAS,
    Principal.ALERTS,
    Principal.SHADOW,
)
"""Principals that run without a person."""
ADMINISTRATOR: Final = "fraud-admin"
"""The user that creates topics, users and rights; no process of the pipeline has its password."""
BROKER: Final = "fraud-broker"
"""The user that the brokers are to each other."""
SUPER_USERS: Final = (ADMINISTRATOR, BROKER)

EVERY_TOPIC: Final = (
    "transactions.v1",
    "decisions.v1",
    "transactions.dead.v1",
    "alerts.v1",
    "accounts.v1",
    "risk_signals.v1",
    "labels.v1",
    "executions.v1",
    "anchors.v1",
    "witness.v1",
    "breaker_switches.v1",
    "breaker_hours.v1",
    "shadow.v1",
)


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of one principal: topics by name, groups and transactional ids by what they begin with.

    settings_of: topics whose settings it may look at. watched_groups: groups whose committed offsets it may look at,
    without being a member. keeps: a topic that it makes for itself, and which is therefore outside our prefix.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    settings_of: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    watched_groups: tuple[str, ...] = ()
    transactional_ids: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()


ACCESS: Final[Mapping[Principal, Rights]] = MappingProxyType(
    {
        Principal.WORKER: Rights(
            # Its own decisions and dead letters say how far it came, where the group's offsets are gone.
            reads=(
                *STAMPED_TOPICS,
                "decisions.v1",
                "transactions.dead.v1",
                "executions.v1",
                "breaker_switches.v1",
                "breaker_hours.v1",
            ),
            writes=("decisions.v1", "transactions.dead.v1", "alerts.v1", "breaker_hours.v1"),
            # Whose clock stamps what it decides by, and whether people's switches are kept.
            settings_of=(*STAMPED_TOPICS, SWITCHES_TOPIC),
            # And so fraud-decide-context, the group of its Faust agents, and fraud-decide-outcomes.
            groups=("fraud-decide",),
            transactional_ids=("fraud-decide-",),  # one for each worker's slot
        ),
        Principal.AUDIT: Rights(
            reads=("decisions.v1", "transactions.dead.v1", "anchors.v1", "witness.v1"),
            writes=("anchors.v1", "alerts.v1"),
            groups=("fraud-audit",),
        ),
        Principal.WITNESS: Rights(
            reads=("anchors.v1", "witness.v1"),
            writes=("witness.v1", "alerts.v1"),  # and nobody else writes witness.v1
            groups=("fraud-witness",),
        ),
        Principal.EXECUTOR: Rights(
            reads=("decisions.v1", "executions.v1"),
            writes=("executions.v1", "alerts.v1"),
            groups=("fraud-executor",),
        ),
        Principal.REVIEW: Rights(
            reads=("decisions.v1",),
            writes=("decisions.v1", "alerts.v1"),
            groups=("fraud-review",),
        ),
        Principal.ROLLBACK: Rights(
            reads=("decisions.v1", "transactions.v1", "transactions.dead.v1"),
            writes=("decisions.v1", "transactions.v1", "alerts.v1"),  # released payments go back to be decided anew
            groups=("fraud-rollback",),
            transactional_ids=("fraud-rollback-",),  # one for each plan, and one for what is redriven
        ),
        Principal.BREAKER: Rights(
            reads=("breaker_switches.v1",),
            writes=("breaker_switches.v1",),  # and nobody else: a worker's credential can't let the model back in
            groups=("fraud-breaker",),
        ),
        Principal.RECONCILE: Rights(
            reads=("transactions.v1", "decisions.v1", "transactions.dead.v1", "executions.v1", "labels.v1"),
            writes=("alerts.v1",),
            groups=("fraud-reconcile",),
            watched_groups=("fraud-decide",),
        ),
        Principal.INCIDENT: Rights(
            reads=("alerts.v1",),
            writes=("alerts.v1",),  # where alerts themselves were lost
            groups=("fraud-incident",),
        ),
        Principal.BIAS: Rights(
            reads=("decisions.v1", "labels.v1"),
            writes=("alerts.v1",),
            groups=("fraud-bias",),
        ),
        Principal.ALERTS: Rights(
            reads=("alerts.v1",),
            writes=("alerts.v1",),  # what it can't deliver, and its heartbeat
            groups=("fraud-alerts",),
        ),
        Principal.SHADOW: Rights(
            reads=("decisions.v1",),
            writes=("shadow.v1",),  # and nothing else: not even an alert, which could wake people up for nothing
            groups=("fraud-shadow",),
        ),
        Principal.READER: Rights(
            reads=EVERY_TOPIC,
            settings_of=EVERY_TOPIC,
            groups=("fraud-command", "fraud-reader"),
            watched_groups=("fraud-",),
        ),
        Principal.PUBLISHER: Rights(
            writes=("transactions.v1", "accounts.v1", "risk_signals.v1", "labels.v1"),
        ),
        Principal.REGISTRY: Rights(groups=("schema-registry",), keeps=("_schemas",)),
    }
)


@dataclass(frozen=True, slots=True)
class AccessReport:
    """The counts of a principal's rights (Kafka calls them ACLs), and whether its password was set."""

    principal: Principal
    granted: int
    revoked: int
    kept: int
    has_new_password: bool


class AccessFailed(Exception):
    """The broker could not be reached, or refused. The message holds no password."""


def apply_access(
    bootstrap_servers: str,
    client_settings: Mapping[str, str],
    *,
    passwords: Mapping[Principal, str] | None = None,
    prefix: str = "",
) -> list[AccessReport]:
    """Grant what the table grants and is missing, revoke what our principals hold beyond it; idempotent.

    client_settings: librdkafka's, of the administrator. passwords: set for the principals named, SCRAM-SHA-512.
    prefix: before the names of topics. Raises AccessFailed.
    """
    admin = admin_client(bootstrap_servers, client_settings)
    try:
        _set_passwords(admin, passwords or {})
        return [_apply(admin, principal, prefix, principal in (passwords or {})) for principal in Principal]
    except KafkaException as failure:
        raise AccessFailed(f"Access could not be set on {bootstrap_servers}: {_sentence(failure)}") from failure


def bindings(principal: Principal, prefix: str = "") -> Iterator[AclBinding]:
    """Yield a principal's row of the table in Kafka's terms."""
    rights = ACCESS[principal]
    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    for topic in rights.reads:
        yield _binding(principal, ResourceType.TOPIC, prefix + topic, literal, AclOperation.READ)
    for topic in rights.writes:
        yield _binding(principal, ResourceType.TOPIC, prefix + topic, literal, AclOperation.WRITE)
    for topic in rights.settings_of:
        yield _binding(principal, ResourceType.TOPIC, prefix + topic, literal, AclOperation.DESCRIBE_CONFIGS)
    for group in rights.groups:
        yield _binding(principal, ResourceType.GROUP, group, prefixed, AclOperation.READ)
    for group in rights.watched_groups:
        yield _binding(principal, ResourceType.GROUP, group, prefixed, AclOperation.DESCRIBE)
    for transactional_id in rights.transactional_ids:
        yield _binding(principal, ResourceType.TRANSACTIONAL_ID, transactional_id, prefixed, AclOperation.WRITE)
    for topic in rights.keeps:
        for operation in _KEEPING:
            yield _binding(principal, ResourceType.TOPIC, topic, literal, operation)


def _binding(
    principal: Principal, kind: ResourceType, name: str, pattern: ResourcePatternType, operation: AclOperation
) -> AclBinding:
    return AclBinding(kind, name, pattern, f"User:{principal}", ANY_HOST, operation, AclPermissionType.ALLOW)


def _set_passwords(admin: AdminClient, passwords: Mapping[Principal, str]) -> None:
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
    wanted: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(name, how, password.encode()) for name, password in passwords.items()
    ]
    if wanted:
        _await(admin.alter_user_scram_credentials(wanted, request_timeout=REQUEST_TIMEOUT_S))


def _apply(admin: AdminClient, principal: Principal, prefix: str, has_new_password: bool) -> AccessReport:
    wanted, held = set(bindings(principal, prefix)), _held(admin, principal)
    missing, surplus = wanted - held, held - wanted
    if missing:
        _await(admin.create_acls(list(missing), request_timeout=REQUEST_TIMEOUT_S))
    if surplus:
        _await(admin.delete_acls([_exactly(right) for right in surplus], request_timeout=REQUEST_TIMEOUT_S))
    return AccessReport(principal, len(missing), len(surplus), len(wanted & held), has_new_password)


def _held(admin: AdminClient, principal: Principal) -> set[AclBinding]:
    everything = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # any
        ResourcePatternType.ANY,
        f"User:{principal}",
        None,  # type: ignore[arg-type]
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    return set(admin.describe_acls(everything, request_timeout=REQUEST_TIMEOUT_S).result())


def _exactly(right: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        right.restype,
        right.name,
        right.resource_pattern_type,
        right.principal,
        right.host,
        right.operation,
        right.permission_type,
    )


def _await(futures: Mapping[Any, Any]) -> None:
    for future in futures.values():
        future.result()


def _sentence(failure: KafkaException) -> str:
    error = failure.args[0]
    return str(error.str() if isinstance(error, KafkaError) else error)
