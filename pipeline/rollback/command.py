"""What `fraud rollback` offers. Each command imports what it needs when it is called."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

rollback_app = typer.Typer(help="Take wrong decisions back: plan, approve, carry out, report.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
By = Annotated[str, typer.Option(help="Who asks for it.")]
PlanId = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id.")]


class OutcomeName(StrEnum):
    ALLOW = "ALLOW"
    BLOCK = "BLOCK"
    ESCALATE = "ESCALATE"


class RouteName(StrEnum):
    GUARDRAIL = "GUARDRAIL"
    MODEL = "MODEL"
    FALLBACK = "FALLBACK"


class BasisName(StrEnum):
    RECORDED = "recorded"
    CLOSED = "closed"


@rollback_app.command("plan")
def rollback_plan(
    by: By,
    reason: Annotated[str, typer.Option(help="What went wrong; it stands in every reversal.")],
    good_model: Annotated[str | None, typer.Option(help="The version to decide again by.")] = None,
    good_policy: Annotated[Path | None, typer.Option(help="The policy file to decide again by.")] = None,
    model: Annotated[str | None, typer.Option(help="Decisions of this model version.")] = None,
    policy: Annotated[str | None, typer.Option(help="Decisions of this policy version.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Decided from then on; UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Decided before then; UTC.")] = None,
    segment: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Payments of this segment.")] = None,
    rule: Annotated[str | None, typer.Option(help="Where this rule was triggered, by its code.")] = None,
    route: Annotated[RouteName | None, typer.Option(help="Answered by.")] = None,
    outcome: Annotated[OutcomeName | None, typer.Option(help="Decided so.")] = None,
    ids: Annotated[Path | None, typer.Option("--list", help="A file of decision or transaction ids.")] = None,
    breaker: Annotated[
        BasisName, typer.Option(help="As it was recorded, or as if it had been closed throughout.")
    ] = BasisName.RECORDED,
    as_json: Json = False,
) -> None:
    """What selected decisions would be under a good version, and what taking them back touches. Changes nothing."""
    from pipeline.replay.redecide import Basis
    from pipeline.rollback.plan_command import Asked, make_plan
    from pipeline.rollback.report_command import show_plan
    from pipeline.terminal.failures import settings_from_environment, wire_format
    from pipeline.terminal.output import Output, progress

    settings, basis = settings_from_environment("rollback"), Basis(breaker.value.upper())
    where = None if route is None else route.value
    what = None if outcome is None else outcome.value
    asked = Asked(
        by, reason, good_model, good_policy, model, policy, since, until, segment, rule, where, what, ids, basis
    )
    with progress("deciding again", None) as advance:
        plan = make_plan(settings, wire_format(settings), asked, advance)
    show_plan(Output(as_json=as_json), plan)


@rollback_app.command("apply")
def rollback_apply(
    plan_id: PlanId,
    by: By,
    rate: Annotated[float, typer.Option(min=1, max=1_000_000, help="Reversals a second.")] = 500.0,
    as_json: Json = False,
) -> None:
    """Carry a plan out, as another person than who made it. Stopped or killed, run it again: it goes on."""
    from pipeline.rollback.plan_command import apply_plan, changing_count
    from pipeline.rollback.report_command import show_applied
    from pipeline.terminal.failures import settings_from_environment, wire_format
    from pipeline.terminal.output import Output, progress

    settings = settings_from_environment("rollback")
    with progress("reversing", changing_count(settings, plan_id)) as advance:
        applied = apply_plan(settings, wire_format(settings), plan_id, by, rate, advance)
    show_applied(Output(as_json=as_json), applied)
    raise typer.Exit(0 if applied.is_complete else 1)


@rollback_app.command("list")
def rollback_list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20, as_json: Json = False
) -> None:
    """The latest plans, newest first."""
    from pipeline.rollback.plan_command import latest_plans
    from pipeline.rollback.report_command import show_plan
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    for plan in latest_plans(settings_from_environment(), limit):
        show_plan(Output(as_json=as_json), plan, is_brief=True)


@rollback_app.command("show")
def rollback_show(plan_id: PlanId, as_json: Json = False) -> None:
    """A plan, who approved it, how far it was carried out, and what became of its decisions."""
    from pipeline.rollback.report_command import report_of, show_report
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    show_report(Output(as_json=as_json), report_of(settings_from_environment(), plan_id))


@rollback_app.command("report")
def rollback_report(
    plan_id: PlanId,
    html: Annotated[Path | None, typer.Option(help="Write one HTML page there.")] = None,
    as_json: Json = False,
) -> None:
    """All of that with every line, for Risk and Compliance: one HTML page, or JSON."""
    from pipeline.rollback.report_command import report_of, show_whole_report, write_page
    from pipeline.terminal.failures import Failure, settings_from_environment
    from pipeline.terminal.output import Output

    if html is None and not as_json:
        raise Failure("Nothing says where the report goes.", "Give --html PATH, or --json.")
    report = report_of(settings_from_environment(), plan_id)
    if html is not None:
        write_page(html, report)
    if as_json:
        show_whole_report(Output(as_json=True), report)
