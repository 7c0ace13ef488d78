"""What `fraud review` and `fraud person` offer. Each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

review_app = typer.Typer(help="Escalations, and the people who decide them.", no_args_is_help=True)
person_app = typer.Typer(help="Who may review, plan a rollback and approve one.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
By = Annotated[str, typer.Option(help="Who asks for it.")]
Why = Annotated[str, typer.Option("--reason", help="For the record.")]
CaseOf = Annotated[str, typer.Argument(metavar="ID", help="Of the decision or of the transaction.")]


class JudgedName(StrEnum):
    ALLOW = "ALLOW"
    BLOCK = "BLOCK"


class RoleName(StrEnum):
    ADMIN = "ADMIN"
    REVIEWER = "REVIEWER"
    SENIOR_REVIEWER = "SENIOR_REVIEWER"
    ROLLBACK_REQUESTER = "ROLLBACK_REQUESTER"
    ROLLBACK_APPROVER = "ROLLBACK_APPROVER"


@review_app.command("run")
def review_run() -> None:
    """Open cases, expire them and publish what was decided, until SIGTERM."""
    from pipeline.review.service_command import run_review
    from pipeline.terminal.failures import settings_from_environment, wire_format

    settings = settings_from_environment("review")
    run_review(settings, wire_format(settings))


@review_app.command("list")
def review_list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50, as_json: Json = False
) -> None:
    """Cases that wait for a person, soonest expiry first."""
    from pipeline.review.desk_command import open_cases, rules_of, show_case
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    settings = settings_from_environment()
    for file in open_cases(settings, limit):
        show_case(Output(as_json=as_json), file, rules_of(settings))


@review_app.command("show")
def review_show(wanted: CaseOf, as_json: Json = False) -> None:
    """Every round of a case, and what happened in it."""
    from pipeline.review.desk_command import rounds, rules_of, show_case, show_events
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    settings, output = settings_from_environment(), Output(as_json=as_json)
    for file in rounds(settings, wanted):
        show_case(output, file, rules_of(settings))
        show_events(output, file)


@review_app.command("claim")
def review_claim(wanted: CaseOf, by: By, as_json: Json = False) -> None:
    """Keep others from deciding a case for a while."""
    from pipeline.review.desk_command import claim, rules_of, show_act
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    settings = settings_from_environment()
    show_act(Output(as_json=as_json), claim(settings, wanted, by), rules_of(settings))


@review_app.command("release")
def review_release(wanted: CaseOf, by: By, as_json: Json = False) -> None:
    """Give a claim back."""
    from pipeline.review.desk_command import release, rules_of, show_act
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    settings = settings_from_environment()
    show_act(Output(as_json=as_json), release(settings, wanted, by), rules_of(settings))


@review_app.command("decide")
def review_decide(
    wanted: CaseOf,
    outcome: Annotated[JudgedName, typer.Argument(help="What shall become of the payment.")],
    by: By,
    reason: Why,
    as_json: Json = False,
) -> None:
    """Decide a claimed case, or answer what another person proposed: the same outcome confirms, the other declines."""
    from pipeline.domain.decision import Outcome
    from pipeline.review.cases import JudgedOutcome
    from pipeline.review.desk_command import decide, rules_of, show_act
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    settings = settings_from_environment()
    judged: JudgedOutcome = Outcome.ALLOW if outcome is JudgedName.ALLOW else Outcome.BLOCK
    show_act(Output(as_json=as_json), decide(settings, wanted, judged, by, reason), rules_of(settings))


@person_app.command("grant")
def person_grant(name: str, role: RoleName, by: By) -> None:
    """Let somebody do something, as the database's owner. The first ADMIN names themselves; then ADMINs grant."""
    from pipeline.people.roles import Role
    from pipeline.review.desk_command import grant
    from pipeline.terminal.failures import settings_from_environment

    grant(settings_from_environment("migrate"), name, Role(role.value), by, is_held=True)


@person_app.command("revoke")
def person_revoke(name: str, role: RoleName, by: By) -> None:
    """Take a role back."""
    from pipeline.people.roles import Role
    from pipeline.review.desk_command import grant
    from pipeline.terminal.failures import settings_from_environment

    grant(settings_from_environment("migrate"), name, Role(role.value), by, is_held=False)


@person_app.command("list")
def person_list(as_json: Json = False) -> None:
    """Every grant and revocation, in order."""
    from pipeline.review.desk_command import grants, show_grant
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    for granted in grants(settings_from_environment()):
        show_grant(Output(as_json=as_json), granted)
