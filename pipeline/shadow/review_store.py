"""What people say of disagreements, stored with what they signed."""

from __future__ import annotations

from typing import Final

from psycopg import errors

from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.people.act_store import read_registry, sign_act
from pipeline.people.key_files import Identity
from pipeline.people.roles import UNKNOWN_KEY
from pipeline.people.store import is_known
from pipeline.shadow.reviews import Disagreement, DisagreementVerdict, Review, reviewed

_SQL: Final = statements("pipeline.shadow", "summary")


class DisagreementRefused(Exception):
    """The database refused a review; the message says why."""


def append_review(
    connection: Connection, digest: bytes, about: Disagreement, verdict: DisagreementVerdict, reason: str, by: Identity
) -> Review:
    """Raises DisagreementRefused, DatabaseRefused, DatabaseUnavailable."""
    said = Review("", about.decision_id, about.outcomes, verdict, reason, by.name, 0, about.amount_gbp_minor)
    expected = reviewed(digest, said)
    with failures_named():
        registry = read_registry(connection)
        if not is_known(registry, by):
            raise DisagreementRefused(UNKNOWN_KEY)
        try:
            with connection.transaction():
                act = sign_act(connection, by, expected.kind, expected.subject, registry)
                row = {**said._asdict(), "act": act, "digest": digest, "verdict": str(verdict), "by": by.name}
                connection.execute(_SQL["append_review"], row)
        except errors.UniqueViolation:
            raise DisagreementRefused("you have reviewed it before, and a review stands") from None
        except errors.CheckViolation as error:
            # Our own triggers' sentences quote nothing of a row; a constraint's message would.
            ours = None if error.diag.constraint_name else error.diag.message_primary
            raise DisagreementRefused(ours or "a reason has 10 to 500 characters") from None
    return said._replace(act=act)
