"""I7 on the broker: every act, allowed or forbidden, is tried with every credential. `pytest -m real`."""

from functools import cache

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from ops.access.foreign import foreign_access
from ops.access.rights import ACCESS, EVERY_TOPIC, AccessReport, Principal, apply_access
from ops.stack.real import RealStack
from pipeline.io.kafka.client import admin_client
from tests.ops.access.kafka_acts import ADMINISTRATION, Credential, is_denied

pytestmark = pytest.mark.real
LITERAL, PREFIXED = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED

# Written down apart from the access table: a right added there by mistake is found here.
WRITERS = {
    "transactions.v1": {Principal.PUBLISHER, Principal.ROLLBACK},
    "decisions.v1": {Principal.WORKER, Principal.REVIEW, Principal.ROLLBACK},
    "transactions.dead.v1": {Principal.WORKER},
    "alerts.v1": set(Principal)
    - {Principal.READER, Principal.PUBLISHER, Principal.REGISTRY, Principal.BREAKER, Principal.SHADOW},
    "accounts.v1": {Principal.PUBLISHER},
    "risk_signals.v1": {Principal.PUBLISHER},
    "labels.v1": {Principal.PUBLISHER},
    "executions.v1": {Principal.EXECUTOR},
    "anchors.v1": {Principal.AUDIT},
    "witness.v1": {Principal.WITNESS},
    "breaker_switches.v1": {Principal.BREAKER},
    "breaker_hours.v1": {Principal.WORKER},
    "shadow.v1": {Principal.SHADOW},
}
READERS_OF_OUTCOMES = {
    "executions.v1": {Principal.EXECUTOR, Principal.WORKER, Principal.RECONCILE, Principal.READER},
    "decisions.v1": set(Principal)
    - {
        Principal.PUBLISHER,
        Principal.REGISTRY,
        Principal.BREAKER,
        Principal.WITNESS,
        Principal.INCIDENT,
        Principal.ALERTS,
    },
}
"""Written down apart, too: what became of payments is read by the worker, and never written by it."""
OWNERS = {
    "fraud-decide": Principal.WORKER,
    "fraud-decide-context": Principal.WORKER,
    "fraud-decide-outcomes": Principal.WORKER,
    "fraud-audit": Principal.AUDIT,
    "fraud-witness": Principal.WITNESS,
    "fraud-executor": Principal.EXECUTOR,
    "fraud-review": Principal.REVIEW,
    "fraud-rollback": Principal.ROLLBACK,
    "fraud-breaker": Principal.BREAKER,
    "fraud-reconcile": Principal.RECONCILE,
    "fraud-incident": Principal.INCIDENT,
    "fraud-bias": Principal.BIAS,
    "fraud-alerts": Principal.ALERTS,
    "fraud-shadow": Principal.SHADOW,
    "fraud-command": Principal.READER,
    "schema-registry": Principal.REGISTRY,
}
WRITES_AS = {"fraud-decide-0": Principal.WORKER, "fraud-rollback-1": Principal.ROLLBACK}
OWN_GROUP = {Principal.PUBLISHER: "none"} | {
    owner: group for group, owner in OWNERS.items() if not group.startswith("fraud-decide-")
}


@pytest.fixture(scope="session")
def credential(secure_stack: RealStack):
    return cache(lambda principal: Credential(secure_stack, principal))


@pytest.mark.parametrize("topic", EVERY_TOPIC)
@pytest.mark.parametrize("principal", Principal)
def test_topic_is_written_by_its_writers_only(credential, principal: Principal, topic: str) -> None:
    assert is_denied(credential(principal).write(topic)) == (principal not in WRITERS[topic])


@pytest.mark.parametrize("topic", EVERY_TOPIC)
@pytest.mark.parametrize("principal", Principal)
def test_topic_is_read_by_its_readers_only(credential, principal: Principal, topic: str) -> None:
    is_reader = topic in ACCESS[principal].reads
    assert is_denied(credential(principal).read(topic, OWN_GROUP[principal])) == (not is_reader)


@pytest.mark.parametrize("topic", READERS_OF_OUTCOMES)
@pytest.mark.parametrize("principal", Principal)
def test_what_became_of_payments_is_read_by_these_only(credential, principal: Principal, topic: str) -> None:
    is_reader = principal in READERS_OF_OUTCOMES[topic]
    assert is_denied(credential(principal).read(topic, OWN_GROUP[principal])) == (not is_reader)


@pytest.mark.parametrize("group", OWNERS)
@pytest.mark.parametrize("principal", [principal for principal in Principal if ACCESS[principal].reads])
def test_offsets_are_moved_by_the_group_s_owner_only(credential, principal: Principal, group: str) -> None:
    topic = ACCESS[principal].reads[0]
    assert is_denied(credential(principal).move_offsets(group, topic)) == (principal is not OWNERS[group])


@pytest.mark.parametrize("principal", [principal for principal in Principal if ACCESS[principal].reads])
def test_worker_s_offsets_are_seen_by_those_who_reconcile(credential, principal: Principal) -> None:
    topic = ACCESS[principal].reads[0]
    may = principal in (Principal.WORKER, Principal.RECONCILE, Principal.READER)
    assert is_denied(credential(principal).watch_offsets("fraud-decide", topic)) == (not may)


@pytest.mark.parametrize(("transactional_id", "owner"), WRITES_AS.items())
@pytest.mark.parametrize("principal", Principal)
def test_place_is_taken_by_its_own_process_only(
    credential, principal: Principal, transactional_id: str, owner: Principal
) -> None:
    assert is_denied(credential(principal).fence(transactional_id)) == (principal is not owner)


@pytest.mark.parametrize("act", ADMINISTRATION)
@pytest.mark.parametrize("principal", Principal)
def test_nobody_administers(credential, principal: Principal, act: str) -> None:
    assert is_denied(credential(principal).administer(act))


def test_access_applied_again_changes_nothing(secure_stack: RealStack) -> None:
    reports = apply_access(secure_stack.bootstrap_servers, secure_stack.admin_options)
    assert [(0, 0)] * len(Principal) == [(report.granted, report.revoked) for report in reports]


FOREIGN = {
    "everybody, on a topic of ours": ("User:*", ResourceType.TOPIC, "decisions.v1", LITERAL, "*"),
    "everybody, on a topic of others": ("User:*", ResourceType.TOPIC, "weather", LITERAL, "*"),
    "everybody, from one host": ("User:*", ResourceType.TOPIC, "decisions.v1", LITERAL, "10.0.0.1"),
    "somebody, on every topic": ("User:mallory", ResourceType.TOPIC, "*", LITERAL, "*"),
    "somebody, on what ours begin with": ("User:mallory", ResourceType.TOPIC, "dec", PREFIXED, "*"),
    "somebody, on a topic of ours": ("User:mallory", ResourceType.TOPIC, "transactions.v1", LITERAL, "*"),
    "somebody, in a group of ours": ("User:mallory", ResourceType.GROUP, "fraud-decide-outcomes", LITERAL, "*"),
    "somebody, in every group": ("User:mallory", ResourceType.GROUP, "f", PREFIXED, "*"),
    "somebody, as our producer": ("User:mallory", ResourceType.TRANSACTIONAL_ID, "fraud-decide-0", LITERAL, "*"),
    "somebody, on the cluster": ("User:mallory", ResourceType.BROKER, "kafka-cluster", LITERAL, "*"),
    "nobody known": ("User:ANONYMOUS", ResourceType.TOPIC, "decisions.v1", LITERAL, "*"),
    "another kind of principal": ("Group:*", ResourceType.TOPIC, "decisions.v1", LITERAL, "*"),
}


@pytest.mark.parametrize("given", FOREIGN.values(), ids=FOREIGN.keys())
def test_grant_that_somebody_else_made_is_found(secure_stack: RealStack, given) -> None:
    principal, kind, name, pattern, host = given
    grant = AclBinding(kind, name, pattern, principal, host, AclOperation.DESCRIBE, AclPermissionType.ALLOW)
    admin = admin_client(secure_stack.bootstrap_servers, secure_stack.admin_options)
    admin.create_acls([grant])[grant].result()
    try:
        apply_access(secure_stack.bootstrap_servers, secure_stack.admin_options)
        found = foreign_access(secure_stack.bootstrap_servers, secure_stack.admin_options)
        expecting = foreign_access(secure_stack.bootstrap_servers, secure_stack.admin_options, expected=[principal])
    finally:
        exactly = AclBindingFilter(kind, name, pattern, principal, host, AclOperation.DESCRIBE, AclPermissionType.ALLOW)
        assert len(admin.delete_acls([exactly])[exactly].result()) == 1
    assert [f"{principal} may DESCRIBE"] == [each[: len(f"{principal} may DESCRIBE")] for each in found]
    assert (len(expecting) == 1) == ("*" in principal), "nobody expects everybody"


def test_nothing_else_is_found(secure_stack: RealStack) -> None:
    assert [] == foreign_access(secure_stack.bootstrap_servers, secure_stack.admin_options)


def test_right_beyond_the_table_is_revoked(secure_stack: RealStack, credential) -> None:
    apply_access(secure_stack.bootstrap_servers, secure_stack.admin_options, prefix="other.")
    reports = apply_access(secure_stack.bootstrap_servers, secure_stack.admin_options)
    worker = next(report for report in reports if report.principal is Principal.WORKER)
    rights = ACCESS[Principal.WORKER]
    topics = len(rights.reads + rights.writes + rights.settings_of)
    assert worker == AccessReport(Principal.WORKER, granted=topics, revoked=topics, kept=2, has_new_password=False)
    assert is_denied(credential(Principal.WORKER).write("other.decisions.v1"))
