"""`fraud review`. Each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json, Limit, PaymentId, Reason
from pipeline.terminal.output import Output

if TYPE_CHECKING:
    from pipeline.io.settings import Settings
    from pipeline.review.desk_store import Acted

review_app = typer.Typer()


class JudgedName(StrEnum):
    """The outcomes that a person may decide on; nobody escalates an escalation."""

    ALLOW = "ALLOW"
    BLOCK = "BLOCK"


@review_app.command("run")
def run() -> None:
    """Run the review service until SIGTERM. It opens cases, expires them and publishes what was decided."""
    from pipeline.review.service_command import run_review

    settings = settings_from_environment("review")
    run_review(settings, wire_format(settings))


@review_app.command("list")
def list_cases(limit: Limit = 50, as_json: Json = False) -> None:
    """List the cases that wait. The one that expires soonest comes first."""
    from pipeline.review.desk_command import open_cases, rules_of, show_case

    settings, output = settings_from_environment(), Output(as_json=as_json)
    for file in open_cases(settings, limit):
        show_case(output, file, rules_of(settings))
    output.end_list("case waits")


@review_app.command("show")
def show(wanted: PaymentId, as_json: Json = False) -> None:
    """Show every round of a case, and what happened in it."""
    from pipeline.review.desk_command import rounds, rules_of, show_case, show_customer, show_events

    settings, output = settings_from_environment(), Output(as_json=as_json)
    for file in rounds(settings, wanted):
        show_case(output, file, rules_of(settings))
        show_events(output, file)
        show_customer(output, file)


@review_app.command("claim")
def claim(wanted: PaymentId, as_json: Json = False) -> None:
    """Keep others from deciding a case for a while."""
    from pipeline.people.identity_command import identity_of
    from pipeline.review import desk_command as desk

    settings = settings_from_environment("desk")
    _tell(settings, desk.claim(settings, wanted, identity_of(settings)), as_json=as_json)


@review_app.command("release")
def release(wanted: PaymentId, as_json: Json = False) -> None:
    """Give a claim back."""
    from pipeline.people.identity_command import identity_of
    from pipeline.review import desk_command as desk

    settings = settings_from_environment("desk")
    _tell(settings, desk.release(settings, wanted, identity_of(settings)), as_json=as_json)


@review_app.command("decide")
def decide(
    wanted: PaymentId,
    outcome: Annotated[JudgedName, typer.Argument(metavar="OUTCOME", help="What shall become of the payment.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Decide a claimed case, or answer a proposal. The same outcome confirms, the other declines."""
    from pipeline.domain.decision import Outcome
    from pipeline.people.identity_command import identity_of
    from pipeline.review import desk_command as desk
    from pipeline.review.cases import JudgedOutcome

    settings = settings_from_environment("desk")
    judged: JudgedOutcome = Outcome.ALLOW if outcome is JudgedName.ALLOW else Outcome.BLOCK
    _tell(settings, desk.decide(settings, wanted, judged, identity_of(settings), reason), as_json=as_json)


@review_app.command("recoveries")
def recoveries(limit: Limit = 50, as_json: Json = False) -> None:
    """List money that reversals could not bring back."""
    from pipeline.review.recovery_command import recoveries, show_recovery

    output = Output(as_json=as_json)
    for recovery in recoveries(settings_from_environment(), limit):
        show_recovery(output, recovery)
    output.end_list("recovery waits")


@review_app.command("close-recovery")
def close_recovery(
    wanted: PaymentId,
    reason: Reason,
    sequence: Annotated[int | None, typer.Option("--case", min=1, help="Which one, where several are open.")] = None,
    as_json: Json = False,
) -> None:
    """Close a recovery case, and say what became of the money."""
    from pipeline.people.identity_command import identity_of
    from pipeline.review.recovery_command import close, show_recovery

    settings = settings_from_environment("desk")
    closed = close(settings, wanted, identity_of(settings), reason, sequence)
    show_recovery(Output(as_json=as_json), closed)


def _tell(settings: Settings, acted: Acted, *, as_json: bool) -> None:
    from pipeline.review.desk_command import rules_of, show_act

    show_act(Output(as_json=as_json), acted, rules_of(settings))
