"""The log of the audit benches: how much of it is stored, and the reviews and reversals that join it on the topic."""

from __future__ import annotations

from typing import Final

import psycopg

from ops.bench.rig.publisher import publish
from ops.bench.rig.sealed import sealed
from ops.bench.rig.stored import Tail
from ops.bench.rig.topics_io import Outbound
from ops.stack.real import RealStack
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.identities import reversal_id, review_id
from pipeline.domain.reversal import RecordKind, Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.avro.wire import WireFormat

SECONDS_MAX: Final = 600
REVIEWED_EVERY: Final = 13
REVERSED_EVERY: Final = 17


def stored(connection: psycopg.Connection) -> int:
    """Count the records in the audit log by its links, which is cheap while it is written."""
    query = """SELECT coalesce(sum(size), 0)::bigint
        FROM (SELECT max(tree_size) AS size FROM audit.chain_link GROUP BY topic_partition) AS sizes"""
    found = connection.execute(query).fetchone()
    assert found is not None
    return int(found[0])


def publish_reviews_and_reversals(stack: RealStack) -> int:
    """Publish reviews of some of the decisions and reversals of others; return how many records decisions.v1 holds."""
    wire, records, decisions = WireFormat(), [], 0
    for found in Tail(stack.bootstrap_servers, "decisions.v1").news():
        decisions += 1
        decision = wire.decode_decision_record(found.value)
        assert isinstance(decision, Decision)
        if decisions % REVIEWED_EVERY == 0:
            records.append(_after(wire, decision, _review(decision)))
        if decisions % REVERSED_EVERY == 0:
            records.append(_after(wire, decision, _reversal(decision)))
    servers, topic = stack.bootstrap_servers, "decisions.v1"
    publish(servers, topic, sealed(servers, topic, records))
    return decisions + len(records)


def _after(wire: WireFormat, decision: Decision, later: Reversal | ReviewOutcome) -> Outbound:
    return Outbound(decision.account_id.encode(), wire.encode(later), decision.decided_at_ms)


def _review(decision: Decision) -> ReviewOutcome:
    return ReviewOutcome(
        review_id(decision.decision_id, 1),
        decision.decision_id,
        decision.transaction_id,
        decision.account_id,
        reviewed_at_ms=decision.decided_at_ms + 60_000,
        outcome=Outcome.ALLOW,
        reason="The customer was called back and knew of it.",
        reviewed_by="reviewer-1",
        second_reviewer=None,
    )


def _reversal(decision: Decision) -> Reversal:
    return Reversal(
        reversal_id("plan-1", decision.decision_id),
        decision.decision_id,
        decision.transaction_id,
        decision.account_id,
        plan_id="plan-1",
        reversed_at_ms=decision.decided_at_ms + 120_000,
        reversed_outcome=decision.outcome,
        corrected_outcome=None,
        reason="Decided by a bad version.",
        requested_by="risk-1",
        approved_by="risk-2",
        replaces_kind=RecordKind.DECISION,
        replaces_id=decision.decision_id,
        plan_digest="",
    )
