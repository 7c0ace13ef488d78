"""Grants on the broker that `fraud access` did not make, and that reach what is ours, or reach everybody.

Kafka grants to the user `*`, to every host, on every topic, and on whatever a name begins with. A grant to everybody
makes the table of ops/access/rights.py untrue for every credential, so it is found whatever else it is about. A grant
to a user of the bank's own is found where it reaches a topic, group or transactional id of ours, unless the user is
expected. A broker tells nobody its super users nor allow.everyone.if.no.acl.found (it counts them as secrets), so those
are held by the files that it is started with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its types say less than it exports
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from ops.access.rights import ACCESS, EVERY_TOPIC, REQUEST_TIMEOUT_S, AccessFailed, Principal
from pipeline.io.kafka.client import admin_client

EVERYBODY: Final = "*"
_OURS: Final = frozenset(f"User:{principal}" for principal in Principal)
_INTERNAL_TOPICS: Final = ("__consumer_offsets", "__transaction_state", "__share_group_state")
_AUTHORIZER: Final = "authorizer.class.name"


def foreign_access(
    bootstrap_servers: str, client_settings: Mapping[str, str], *, prefix: str = "", expected: Collection[str] = ()
) -> list[str]:
    """Return a sentence for each grant and setting that reaches beyond the table, in an order that doesn't change.

    expected: users of the bank's own, such as `User:reporting`, whose grants are known. Raises AccessFailed.
    """
    admin = admin_client(bootstrap_servers, client_settings)
    try:
        grants = admin.describe_acls(_everything(), request_timeout=REQUEST_TIMEOUT_S).result()
        settings = [_settings(admin, broker) for broker in admin.list_topics(timeout=REQUEST_TIMEOUT_S).brokers]
    except KafkaException as failure:
        raise AccessFailed(f"The grants on {bootstrap_servers} can't be read: {failure.args[0].str()}") from failure
    found = {_sentence(grant) for grant in grants if is_foreign(grant, prefix, expected)}
    if not all(each.get(_AUTHORIZER) for each in settings):
        found.add(f"a broker has no {_AUTHORIZER}, so it grants everything to everybody")
    return sorted(found)


def is_foreign(grant: AclBinding, prefix: str, expected: Collection[str]) -> bool:
    """Return whether a grant reaches beyond the table of rights."""
    if grant.permission_type is not AclPermissionType.ALLOW or grant.principal in _OURS:
        return False  # what ours hold beyond the table is revoked
    if EVERYBODY in grant.principal:
        return True
    return grant.principal not in expected and _reaches_ours(grant, prefix)


def _reaches_ours(grant: AclBinding, prefix: str) -> bool:
    if grant.restype is ResourceType.TOPIC:
        kept = [topic for rights in ACCESS.values() for topic in rights.keeps]
        ours = [*(prefix + topic for topic in EVERY_TOPIC), *kept, *_INTERNAL_TOPICS]
        return _matches(grant, ours, is_open_ended=False)
    if grant.restype is ResourceType.GROUP:
        return _matches(grant, (each for rights in ACCESS.values() for each in rights.groups), is_open_ended=True)
    if grant.restype is ResourceType.TRANSACTIONAL_ID:
        ids = (each for rights in ACCESS.values() for each in rights.transactional_ids)
        return _matches(grant, ids, is_open_ended=True)
    return True  # the cluster itself, and whatever kind a later broker adds


def _matches(grant: AclBinding, ours: Iterable[str], *, is_open_ended: bool) -> bool:
    """is_open_ended: ours are what names begin with, so a name that goes on from one of them is ours, too."""
    if grant.name == EVERYBODY and grant.resource_pattern_type is ResourcePatternType.LITERAL:
        return True
    is_prefix = grant.resource_pattern_type is not ResourcePatternType.LITERAL
    return any(
        grant.name == each
        or (is_prefix and each.startswith(grant.name))
        or (is_open_ended and grant.name.startswith(each))
        for each in ours
    )


def _sentence(grant: AclBinding) -> str:
    pattern = "whatever begins with " if grant.resource_pattern_type is ResourcePatternType.PREFIXED else ""
    what = f"{ResourceType(grant.restype).name} {pattern}'{grant.name}'"
    return f"{grant.principal} may {AclOperation(grant.operation).name} {what} from host {grant.host}"


def _everything() -> AclBindingFilter:
    return AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # any
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        AclOperation.ANY,
        AclPermissionType.ANY,
    )


def _settings(admin: AdminClient, broker: int) -> dict[str, str | None]:
    resource = ConfigResource(ConfigResource.Type.BROKER, str(broker))
    described = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)[resource].result()
    return {name: entry.value for name, entry in described.items()}
