"""`fraud ruling`. Each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json, Limit, Reason
from pipeline.terminal.output import Output

ruling_app = typer.Typer()


class DoubtWord(StrEnum):
    """What people say of a payment, or of its recall."""

    MADE = "MADE"
    NOT_MADE = "NOT_MADE"


class RulingWord(StrEnum):
    MADE = "MADE"
    NOT_MADE = "NOT_MADE"
    ACCOUNTED_FOR = "ACCOUNTED_FOR"
    DISOWNED = "DISOWNED"


Evidence = Annotated[
    str, typer.Option("--evidence", metavar="TEXT", help="What it rests on: a letter, a ticket, another statement.")
]


@ruling_app.command("waiting")
def waiting(limit: Limit = 100, as_json: Json = False) -> None:
    """List what waits for two people's word.

    Payments in doubt that the rail can't end any more, lines of its statements that nothing explains, and statements
    that nobody vouches for (`fraud reconcile vouch`).
    """
    from pipeline.ruling.ruling_command import show_waiting

    show_waiting(settings_from_environment(), limit, Output(as_json=as_json))


@ruling_app.command("propose")
def propose(
    payment: Annotated[str, typer.Argument(metavar="ID", help="The id of its decision, or of its execution.")],
    verdict: Annotated[
        DoubtWord, typer.Argument(metavar="VERDICT", help="Whether the rail did what it was asked last.")
    ],
    evidence: Evidence,
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Propose what the rail did where it can't say so any more.

    With a payment, or with its recall. Another person confirms it within a day, and the executor takes it for the
    rail's answer. Nobody is paid by it.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.ruling.acts import Verdict
    from pipeline.ruling.ruling_command import propose_on_payment, show_proposal

    settings = settings_from_environment("rollback")
    said = Verdict(verdict.value), evidence, reason
    show_proposal(Output(as_json=as_json), propose_on_payment(settings, payment, identity_of(settings), *said))


@ruling_app.command("account")
def account(
    line: Annotated[str, typer.Argument(metavar="LINE", help="STATEMENT:NUMBER, as `fraud ruling waiting` shows it.")],
    evidence: Evidence,
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Propose to account for a line of the rail's statement.

    It names no payment of ours. Another person confirms it within a day. The line counts as explained for as long as it
    stands as it was signed.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.ruling.ruling_command import propose_on_line, show_proposal

    settings = settings_from_environment("rollback")
    show_proposal(Output(as_json=as_json), propose_on_line(settings, line, identity_of(settings), evidence, reason))


@ruling_app.command("disown")
def disown(
    number: Annotated[
        int, typer.Argument(metavar="NUMBER", help="The statement's, as `fraud ruling waiting` shows it.")
    ],
    evidence: Evidence,
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Propose that a statement which was taken in isn't the rail's.

    Once another person has confirmed it, that statement and those that were taken in after it, of the same account and
    currency, count for nothing, and the rail's own may be taken in.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.ruling.ruling_command import disown as disowned
    from pipeline.ruling.ruling_command import show_proposal

    settings = settings_from_environment("rollback")
    show_proposal(Output(as_json=as_json), disowned(settings, number, identity_of(settings), evidence, reason))


@ruling_app.command("confirm")
def confirm(
    ruling_id: Annotated[str, typer.Argument(metavar="ID", help="The ruling's id.")],
    verdict: Annotated[RulingWord, typer.Argument(metavar="VERDICT", help="The verdict that you confirm.")],
    as_json: Json = False,
) -> None:
    """Confirm a ruling, as another person than its proposer."""
    from pipeline.people.identity_command import identity_of
    from pipeline.ruling.acts import Verdict
    from pipeline.ruling.ruling_command import confirm_as_proposed, show_proposal

    settings = settings_from_environment("rollback")
    confirmed = confirm_as_proposed(settings, ruling_id, Verdict(verdict.value), identity_of(settings))
    show_proposal(Output(as_json=as_json), confirmed)


@ruling_app.command("list")
def list_rulings(limit: Limit = 100, as_json: Json = False) -> None:
    """List what was proposed and confirmed, the latest first."""
    from pipeline.ruling.ruling_command import rulings, show_proposal

    output = Output(as_json=as_json)
    for found in rulings(settings_from_environment(), limit):
        show_proposal(output, found)
    output.end_list("rulings")
