"""Words that recovery cases are done with, by nobody."""

from __future__ import annotations

from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection
from pipeline.people.act_store import append_act, read_registry
from pipeline.people.acts import ActKind
from tests.known import identity


def forge_closing(owner: Connection) -> None:
    """By whoever has the review role's credential and signs with nothing: of every case that there is."""
    reason = "somebody says that it is gone"
    cases = owner.execute("SELECT execution_id::text, sequence FROM ledger.recovery_case").fetchall()
    for execution_id, sequence in cases:
        subject = {"execution_id": execution_id, "sequence": sequence, "reason": reason}
        with owner.transaction():
            root = read_registry(owner).root
            signed = identity("sue").sign(ActKind.RECOVERY_CLOSED, subject, server_now_ms(owner), root)
            append_act(owner, signed._replace(signature=bytes(64)))
            owner.execute(
                "INSERT INTO review.recovery_closing (execution_id, sequence, closed_by, reason, act)"
                " VALUES (%s, %s, 'sue', %s, decode(%s, 'hex'))",
                [execution_id, sequence, reason, signed.digest],
            )
