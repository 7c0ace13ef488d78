"""What the audit benches have logged: how much of it is stored, and what people say of the decisions on the topic."""

from __future__ import annotations

from typing import Final

import psycopg

from ops.bench.rig.publisher import publish
from ops.bench.rig.stored import Tail
from ops.bench.rig.topics_io import Outbound
from ops.stack.real import RealStack
from pipeline.domain.identities import reversal_id, review_id
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import Datum, WireFormat

SECONDS_MAX: Final = 600
REVIEWED_EVERY: Final = 13
REVERSED_EVERY: Final = 17


def stored(connection: psycopg.Connection) -> int:
    """Records in the audit log, by its links: cheap to ask while it is written."""
    query = """SELECT coalesce(sum(size), 0)::bigint
        FROM (SELECT max(tree_size) AS size FROM audit.chain_link GROUP BY topic_partition) AS sizes"""
    found = connection.execute(query).fetchone()
    assert found is not None
    return int(found[0])


def publish_reviews_and_reversals(stack: RealStack) -> int:
    """After the decisions, some of them reviewed and some reversed; how many records stand on decisions.v1."""
    wire, records, decisions = WireFormat(), [], 0
    for found in Tail(stack.bootstrap_servers, "decisions.v1").news():
        decisions += 1
        fields = wire.decode("decision.v1", found.value)
        assert not isinstance(fields, Refusal)
        if decisions % REVIEWED_EVERY == 0:
            records.append(_after(wire, fields, _review(fields)))
        if decisions % REVERSED_EVERY == 0:
            records.append(_after(wire, fields, _reversal(fields)))
    publish(stack.bootstrap_servers, "decisions.v1", records)
    return decisions + len(records)


def _after(wire: WireFormat, fields: Datum, of_its_own: dict[str, object]) -> Outbound:
    named = {name: fields[name] for name in ("decision_id", "transaction_id", "account_id")}
    value = wire.encode("decision.v1", {**named, **of_its_own})
    return Outbound(str(fields["account_id"]).encode(), value, fields["decided_at_ms"])


def _review(fields: Datum) -> dict[str, object]:
    return {
        "review_id": review_id(fields["decision_id"], 1),
        "reviewed_at_ms": fields["decided_at_ms"] + 60_000,
        "outcome": "ALLOW",
        "reason": "The customer was called back and knew of it.",
        "reviewed_by": "reviewer-1",
        "second_reviewer": None,
    }


def _reversal(fields: Datum) -> dict[str, object]:
    return {
        "reversal_id": reversal_id("plan-1", fields["decision_id"]),
        "plan_id": "plan-1",
        "reversed_at_ms": fields["decided_at_ms"] + 120_000,
        "reversed_outcome": fields["outcome"],
        "corrected_outcome": None,
        "reason": "Decided by a bad version.",
        "requested_by": "risk-1",
        "approved_by": "risk-2",
    }
