"""`fraud ruling`: what waits for two people's word, what one proposes, and what another confirms."""

from __future__ import annotations

from typing import Final, assert_never
from uuid import UUID, uuid4

from pipeline.domain.free_text import reason_fault, shown, tidied
from pipeline.domain.money import count_text, money_text
from pipeline.domain.times import utc_text
from pipeline.io.postgres import Connection, failures_named
from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity
from pipeline.ruling.acts import Doubt, Line, Matter, Ruling, Statement, Verdict, about_of
from pipeline.ruling.proved_store import ProvedRulings, StatementWords, TakenIn
from pipeline.ruling.ruling_store import (
    Proposal,
    RulingRefused,
    append_proposal,
    confirm,
    doubt_of,
    read_proposals,
    unexplained_lines,
    waiting_doubts,
)
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output

REASON_CHARACTERS: Final = 10, 2000
EVIDENCE_CHARACTERS: Final = 4, 500
"""At least and at most, as in the database."""
_ASKED: Final = {"SUBMIT": "payment", "RECALL": "recall", "RECALL_PART": "recall of a part"}


def show_waiting(settings: Settings, limit: int, output: Output) -> None:
    """A line for each doubt, each line of a statement and each statement that nobody has ruled on."""
    with connected(settings) as connection:
        doubts, lines = waiting_doubts(connection, limit), unaccounted_lines(connection)
        with failures_named():
            taken = StatementWords().unvouched(connection, is_whole=False)
    for doubt in doubts:
        output.record({"doubt": doubt._asdict()}, _doubt_text(doubt))
    for line in lines[:limit]:
        output.record({"line": line._asdict()}, _line_text(line))
    for each in taken[:limit]:
        output.record({"statement": taken_fields(each)}, taken_text(each))
    output.end_list("rulings wait")


def unaccounted_lines(connection: Connection) -> list[Line]:
    """Lines that no two people have accounted for, as far as that is proved; none of statements that were disowned."""
    lines = unexplained_lines(connection)
    with failures_named():
        known, disowned = ProvedRulings().of_lines(connection), StatementWords().disowned(connection)
    return [
        line
        for line in lines
        if (line.statement_number, line.number) not in known and line.statement_number not in disowned
    ]


def propose_on_payment(
    settings: Settings, wanted: str, by: Identity, verdict: Verdict, evidence: str, reason: str
) -> Proposal:
    """Propose a ruling on the doubt that a payment is in. Failure says why not."""
    with connected(settings) as connection:
        doubt = doubt_of(connection, _id_of(wanted))
        if doubt is None:
            raise Failure(
                f"{shown(wanted)} is in no doubt that only people can end.",
                "`fraud ruling waiting` shows those that are. Of any other the rail is asked until it answers.",
                FAILED_CHECK,
            )
        return _propose(connection, doubt, by, verdict, evidence, reason)


def propose_on_line(settings: Settings, wanted: str, by: Identity, evidence: str, reason: str) -> Proposal:
    """Propose to account for a line of a statement. Failure says why not."""
    with connected(settings) as connection:
        found = [line for line in unaccounted_lines(connection) if _line_name(line) == wanted]
        if len(found) != 1:
            why = "is no line that waits to be explained" if not found else "names lines of several accounts"
            raise Failure(f"{shown(wanted)} {why}.", "`fraud ruling waiting` shows those that do.", FAILED_CHECK)
        return _propose(connection, found[0], by, Verdict.ACCOUNTED_FOR, evidence, reason)


def disown(settings: Settings, number: int, by: Identity, evidence: str, reason: str) -> Proposal:
    """Propose that a statement which was taken in counts for nothing. Failure says why not."""
    with connected(settings) as connection:
        with failures_named():
            statement = StatementWords().statement(connection, number)
        if statement is None:
            fix = "`fraud ruling waiting` shows each with its number."
            raise Failure(f"No statement of number {number} was taken in.", fix, FAILED_CHECK)
        return _propose(connection, statement, by, Verdict.DISOWNED, evidence, reason)


def vouch(connection: Connection, copy: Statement, by: Identity, evidence: str, reason: str) -> Proposal | None:
    """Say that the statement that was taken in is the rail's, by a copy of one's own.

    The first to say so proposes it, and the next, another person, confirms it. None where two have before. Failure says
    why not: above all where the two are not the same.
    """
    words = StatementWords()
    with failures_named():
        stated = words.standing(connection, copy)
        is_vouched = stated is not None and words.is_vouched(connection, stated)
        waiting = None if stated is None else words.waiting(connection, stated, Verdict.GENUINE, by.name)
    if stated is None:
        what = f"Statement {copy.sequence} in {copy.currency} of your copy was never taken in."
        raise Failure(what, "Take it in first: `fraud reconcile statement FILE`.", FAILED_CHECK)
    theirs, mine = stated._asdict(), {**copy._asdict(), "statement_number": stated.statement_number}
    if differing := [name for name in mine if mine[name] != theirs[name]]:
        raise Failure(
            f"Statement {stated.sequence} in {stated.currency}, number {stated.statement_number}, is not that of your "
            f"copy: {', '.join(differing)} differ.",
            "If your copy is the rail's own, somebody has made one up: docs/runbooks/STATEMENT_DIFFERS.md.",
            FAILED_CHECK,
        )
    if is_vouched:
        return None
    if waiting is None:
        return _propose(connection, stated, by, Verdict.GENUINE, evidence, reason)
    return _confirmed(connection, waiting, by)


def confirm_as_proposed(settings: Settings, ruling_id: str, verdict: Verdict, by: Identity) -> Proposal:
    """Confirm a proposal with this verdict. Failure says why not."""
    with connected(settings) as connection:
        found = read_proposals(connection, 1, _id_of(ruling_id))
        if not found:
            raise Failure(f"There is no ruling {shown(ruling_id)}.", "`fraud ruling list` shows them.")
        proposed = found[0].ruling
        if proposed.verdict is not verdict:
            raise Failure(
                f"What was proposed is {proposed.verdict}, and not {verdict}.",
                "Look at it again; whoever thinks otherwise proposes another.",
                FAILED_CHECK,
            )
        return _confirmed(connection, proposed, by)


def rulings(settings: Settings, limit: int) -> list[Proposal]:
    with connected(settings) as connection:
        return read_proposals(connection, limit)


def show_proposal(output: Output, proposal: Proposal) -> None:
    """What was ruled about what, how it stands, and who said so."""
    ruling = proposal.ruling
    fields = {
        **proposal._asdict(),
        "ruling": {**ruling._asdict(), "about": ruling.about._asdict(), "kind": about_of(ruling).value},
    }
    about = _about_text(ruling.about)
    line = (
        f"{ruling.ruling_id} {ruling.verdict}: {about}; {_standing(proposal)}; by {proposal.proposed_by} at "
        f"{utc_text(proposal.proposed_at_ms)}: {ruling.reason!r}, by {ruling.evidence!r}"
    )
    output.record(fields, line)


def taken_text(taken: TakenIn) -> str:
    which = (
        f"statement {taken.sequence} in {taken.currency} of {shown(taken.account_id)}, number {taken.statement_number}"
    )
    times = f"to {taken.to_at.isoformat()}, taken in at {taken.taken_at.isoformat()}"
    return f"{which}, {times}: no two people have said that it is the rail's"


def taken_fields(taken: TakenIn) -> dict[str, object]:
    times = {"from_at": taken.from_at, "to_at": taken.to_at, "taken_at": taken.taken_at}
    return {**taken._asdict(), **{name: at.isoformat() for name, at in times.items()}}


def _confirmed(connection: Connection, proposed: Ruling, by: Identity) -> Proposal:
    try:
        confirm(connection, proposed, by)
    except RulingRefused as refusal:
        raise _refused(refusal) from refusal
    return read_proposals(connection, 1, proposed.ruling_id)[0]


def _propose(
    connection: Connection, about: Matter, by: Identity, verdict: Verdict, evidence: str, reason: str
) -> Proposal:
    texts = {"reason": (reason, REASON_CHARACTERS), "evidence": (evidence, EVIDENCE_CHARACTERS)}
    for name, (text, (least, most)) in texts.items():
        if (fault := reason_fault(text, characters_min=least, characters_max=most)) is not None:
            raise Failure(f"Refused: the {name} {fault}.", "Say it in words, for whoever asks in years.", FAILED_CHECK)
    ruling = Ruling(str(uuid4()), about, verdict, tidied(evidence), tidied(reason))
    try:
        append_proposal(connection, ruling, by)
    except RulingRefused as refusal:
        raise _refused(refusal) from refusal
    return read_proposals(connection, 1, ruling.ruling_id)[0]


def _standing(proposal: Proposal) -> str:
    if proposal.confirmed_by is None or proposal.confirmed_at_ms is None:
        return "proposed, and expired" if proposal.is_expired else "proposed"
    confirmed = f"confirmed by {proposal.confirmed_by} at {utc_text(proposal.confirmed_at_ms)}"
    if not isinstance(proposal.ruling.about, Doubt):
        return confirmed
    taken = proposal.taken_sequence
    return f"{confirmed}, not taken by the executor" if taken is None else f"{confirmed}, taken as step {taken}"


def _about_text(about: Matter) -> str:
    match about:
        case Doubt():
            return _doubt_text(about)
        case Line():
            return _line_text(about)
        case Statement():
            return _statement_text(about)
        case _ as never:
            assert_never(never)


def _statement_text(stated: Statement) -> str:
    closing = money_text(stated.closing_minor, stated.currency)
    return (
        f"statement {stated.sequence} in {stated.currency} of {shown(stated.account_id)}, number "
        f"{stated.statement_number}: {count_text(stated.lines, 'line')} to {closing}"
    )


def _doubt_text(doubt: Doubt) -> str:
    amount = money_text(doubt.amount_minor, doubt.currency)
    return (
        f"{_ASKED[doubt.step]} {doubt.attempt} of execution {doubt.execution_id}, key {doubt.key}: {amount} from "
        f"{doubt.debtor_account_id} to {doubt.creditor_account_id}"
    )


def _line_text(line: Line) -> str:
    parties = f", {shown(line.debtor_account_id or 'nobody')} to {shown(line.creditor_account_id or 'nobody')}"
    return (
        f"line {shown(_line_name(line))} of statement {line.sequence} of {shown(line.account_id)}: "
        f"{money_text(line.amount_minor, line.currency)}, {line.kind}{parties}"
    )


def _line_name(line: Line) -> str:
    return f"{line.statement}:{line.number}"


def _id_of(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError as error:
        fix = "`fraud ruling waiting` and `fraud ruling list` show them."
        raise Failure(f"{shown(text)} is no id.", fix) from error


def _refused(refusal: RulingRefused) -> Failure:
    return Failure(f"Refused: {refusal}.", "`fraud people list` shows who holds what.", FAILED_CHECK)
