"""What two people sign when they rule: on a payment in doubt, on a line of the rail's statement, or on a whole one.

Invariants
1. Both sign the same: what it is about with every value that was shown, the verdict, the evidence and the reason. So a
   ruling says nothing about another key, another amount, another attempt or another line.
2. A ruling on a doubt names the step into it, after which the saga takes one other; so it is used once.
3. A ruling on a statement holds a digest of all its lines, which each of the two has from a copy of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.people.acts import ActKind, Subject
from pipeline.people.registry import Expected
from pipeline.people.roles import Role


class About(StrEnum):
    DOUBT = "DOUBT"
    LINE = "LINE"
    STATEMENT = "STATEMENT"


class Verdict(StrEnum):
    MADE = "MADE"  # the rail did what it was asked: it paid, or it took the money back
    NOT_MADE = "NOT_MADE"
    ACCOUNTED_FOR = "ACCOUNTED_FOR"  # the line is no payment of ours, and the reason says what it is
    GENUINE = "GENUINE"  # the statement is the rail's
    DISOWNED = "DISOWNED"  # it isn't, and counts for nothing with all that was taken in after it


class Doubt(NamedTuple):
    """What the rail was asked last about an execution, and has forgotten; the columns of `ledger.forgotten_doubt`.

    `sequence` is that of the step into doubt. `step` is the one that asked: SUBMIT, RECALL or RECALL_PART, for the
    `attempt`-th time. `amount_minor` is the part's where a part is recalled. Debtor and creditor are the payment's.
    """

    execution_id: str
    sequence: int
    step: str
    attempt: int
    key: str
    currency: str
    amount_minor: int
    debtor_account_id: str
    creditor_account_id: str


class Line(NamedTuple):
    """A line that names no key of ours, on a statement by its file's digest; the columns of `control.unexplained_line`.

    `amount_minor` is below zero where it was taken from our account.
    """

    statement_number: int
    number: int
    account_id: str
    currency: str
    sequence: int
    statement: str
    file_sha256: str
    kind: str
    amount_minor: int
    debtor_account_id: str | None
    creditor_account_id: str | None


class Statement(NamedTuple):
    """A statement that was taken in, with its `lines` and a digest of them; the columns of `control.stated`.

    Times are microseconds since 1970. `statement_number` is 0 of a person's own copy, which isn't stored.
    """

    statement_number: int
    account_id: str
    currency: str
    sequence: int
    statement: str
    from_us: int
    to_us: int
    opening_minor: int
    closing_minor: int
    lines: int
    lines_sha256: str


Matter = Doubt | Line | Statement
FORMS: Final[Mapping[About, type[Doubt] | type[Line] | type[Statement]]] = {
    About.DOUBT: Doubt,
    About.LINE: Line,
    About.STATEMENT: Statement,
}


class Ruling(NamedTuple):
    """`evidence` refers to what it rests on: a letter of the rail's, a ticket, a statement of another bank."""

    ruling_id: str
    about: Matter
    verdict: Verdict
    evidence: str
    reason: str


def about_of(ruling: Ruling) -> About:
    return next(about for about, form in FORMS.items() if isinstance(ruling.about, form))


def signed_subject(ruling: Ruling) -> Subject:
    """The same as the database's control.ruling_act."""
    return {
        "ruling_id": ruling.ruling_id,
        "about": about_of(ruling).value,
        "verdict": ruling.verdict.value,
        "evidence": ruling.evidence,
        "reason": ruling.reason,
        **ruling.about._asdict(),
    }


def proposal(ruling: Ruling, name: str) -> Expected:
    return Expected(ActKind.RULING_PROPOSED, name, signed_subject(ruling), (Role.ROLLBACK_REQUESTER,))


def confirmation(ruling: Ruling, name: str) -> Expected:
    return Expected(ActKind.RULING_CONFIRMED, name, signed_subject(ruling), (Role.ROLLBACK_APPROVER,))
