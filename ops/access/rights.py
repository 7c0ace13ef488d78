"""Who may do what on the broker: one table, and one idempotent call that makes the broker say the same (I7).

Everything that the table doesn't grant is denied: the brokers run Kafka's StandardAuthorizer, which denies by default.
Kafka grants rights on topics, not on kinds of record: review and rollback may write decisions.v1 because their
outcomes stand there, so who wrote a record of which kind is checked by its readers (docs/security.md).
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

REQUEST_TIMEOUT_S: Final = 15.0
SCRAM_ITERATIONS: Final = 4096
"""The least that RFC 7677 asks for; the passwords are random and long, so that more buys nothing."""
ANY_HOST: Final = "*"
_KEEPING: Final = (
    AclOperation.CREATE,
    AclOperation.READ,
    AclOperation.WRITE,
    AclOperation.DESCRIBE_CONFIGS,
)


class Principal(StrEnum):
    """One for each process, so that a stolen credential can do what that process does and no more."""

    WORKER = "fraud-worker"
    AUDIT = "fraud-audit"
    EXECUTOR = "fraud-executor"
    REVIEW = "fraud-review"
    ROLLBACK = "fraud-rollback"
    RECONCILE = "fraud-reconcile"
    READER = "fraud-reader"
    """People's commands that only look: tail, explain, verify."""
    PUBLISHER = "fraud-publisher"
    """Upstream payment systems."""
    REGISTRY = "fraud-registry"
    """The schema registry, where there is one."""


SERVICES: Final = (Principal.WORKER, Principal.AUDIT, Principal.EXECUTOR, Principal.REVIEW, Principal.RECONCILE)
"""Those that run without a person."""
ADMINISTRATOR: Final = "fraud-admin"
"""Creates topics, users and rights; no process of the pipeline has its password."""
BROKER: Final = "fraud-broker"
"""The brokers among themselves."""
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
)


@dataclass(frozen=True, slots=True)
class Rights:
    """Topics by name. Groups and transactional ids by what they begin with.

    watched_groups: whose committed offsets may be looked at, without being in them. keeps: a topic that it makes for
    itself, so outside our prefix.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    watched_groups: tuple[str, ...] = ()
    transactional_ids: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()


ACCESS: Final[Mapping[Principal, Rights]] = MappingProxyType(
    {
        Principal.WORKER: Rights(
            reads=("transactions.v1", "accounts.v1", "risk_signals.v1", "labels.v1"),
            writes=("decisions.v1", "transactions.dead.v1", "alerts.v1"),
            groups=("fraud-decide",),  # and fraud-decide-context, of its Faust agents
            transactional_ids=("fraud-decide-",),  # one for each worker's slot
        ),
        Principal.AUDIT: Rights(
            reads=("decisions.v1", "transactions.dead.v1", "anchors.v1"),
            writes=("anchors.v1", "alerts.v1"),
            groups=("fraud-audit",),
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
            reads=("decisions.v1",),
            writes=("decisions.v1", "transactions.v1", "alerts.v1"),  # released payments are decided anew
            groups=("fraud-rollback",),
            transactional_ids=("fraud-rollback-",),  # one for each plan
        ),
        Principal.RECONCILE: Rights(
            reads=("transactions.v1", "decisions.v1", "transactions.dead.v1", "executions.v1"),
            writes=("alerts.v1",),
            groups=("fraud-reconcile",),
            watched_groups=("fraud-decide",),
        ),
        Principal.READER: Rights(
            reads=EVERY_TOPIC,
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
    """Counts of rights (Kafka calls them ACLs) and the principals whose password was set."""

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
    """The table's row in Kafka's terms."""
    rights = ACCESS[principal]
    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    for topic in rights.reads:
        yield _binding(principal, ResourceType.TOPIC, prefix + topic, literal, AclOperation.READ)
    for topic in rights.writes:
        yield _binding(principal, ResourceType.TOPIC, prefix + topic, literal, AclOperation.WRITE)
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
