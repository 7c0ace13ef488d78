"""`fraud rollback`. Each command imports what it needs when it is called."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.domain.decision import Outcome, Route
from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json, Limit, Page, utc_time
from pipeline.terminal.output import Output, progress

rollback_app = typer.Typer()

PlanId = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id.")]


class BasisName(StrEnum):
    RECORDED = "recorded"
    CLOSED = "closed"


@rollback_app.command("plan")
def plan(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What went wrong; it stands in every reversal.")],
    good_model: Annotated[str | None, typer.Option(metavar="VERSION", help="Decide again by this model.")] = None,
    good_policy: Annotated[Path | None, typer.Option(metavar="FILE", help="Decide again by this policy.")] = None,
    good_feed: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Decide again by this feed, of rates or sanctions.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="VERSION", help="Select what this model decided.")] = None,
    policy: Annotated[str | None, typer.Option(metavar="VERSION", help="Select what this policy decided.")] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=utc_time, metavar="TIME", help="Select what was decided from then on.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=utc_time, metavar="TIME", help="Select what was decided before then.")
    ] = None,
    segment: Annotated[
        str | None, typer.Option(metavar="NAME=VALUE", help="Select the payments of this segment.")
    ] = None,
    rule: Annotated[str | None, typer.Option(metavar="CODE", help="Select where this rule was triggered.")] = None,
    route: Annotated[Route | None, typer.Option(help="Select what was answered by this.")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Select what was decided so.")] = None,
    ids: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="Select by id, of decisions or transactions.")
    ] = None,
    incident: Annotated[
        str | None, typer.Option(metavar="INCIDENT", help="Select what this incident's model decided in its scope.")
    ] = None,
    breaker: Annotated[
        BasisName, typer.Option(help="Take the breaker as it was recorded, or as if it had been closed throughout.")
    ] = BasisName.RECORDED,
    as_json: Json = False,
) -> None:
    """Plan what to reverse, and change nothing.

    The plan says what the selected decisions would be under a good version, and what reversing them touches.
    A TIME without a zone is in UTC.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.replay.redecide import Basis
    from pipeline.rollback.plan_command import Asked, make_plan
    from pipeline.rollback.report_command import show_plan

    settings, basis = settings_from_environment("rollback"), Basis(breaker.value.upper())
    by = identity_of(settings)
    asked = Asked(
        by, reason, good_model, good_policy, model, policy, since, until, segment, rule, route, outcome, ids, basis,
        incident, tuple(good_feed or ()),
    )  # fmt: skip
    with progress("deciding again", None) as advance:
        made = make_plan(settings, wire_format(settings), asked, advance)
    show_plan(Output(as_json=as_json), made)


@rollback_app.command("apply")
def apply(
    plan_id: PlanId,
    rate: Annotated[float, typer.Option(min=1, max=1_000_000, help="Reversals a second.")] = 500.0,
    wait: Annotated[
        float, typer.Option(min=0, max=86_400, metavar="SECONDS", help="Wait so long for one more payment's release.")
    ] = 120.0,
    as_json: Json = False,
) -> None:
    """Carry a plan out, as another person than its maker. After a stop or a kill, run it again: it goes on.

    A payment that is given back is published anew once the executor has released it; while any waits, it exits with 1.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.rollback.plan_command import apply_plan, changing_count
    from pipeline.rollback.report_command import show_applied

    settings = settings_from_environment("apply")
    by = identity_of(settings)
    with progress("reversing", changing_count(settings, plan_id)) as advance:
        applied = apply_plan(settings, wire_format(settings), plan_id, by, rate, advance, wait)
    show_applied(Output(as_json=as_json), applied)
    raise typer.Exit(0 if applied.is_complete else 1)


@rollback_app.command("list")
def list_plans(limit: Limit = 20, as_json: Json = False) -> None:
    """List the latest plans, newest first."""
    from pipeline.rollback.plan_command import latest_plans
    from pipeline.rollback.report_command import show_plan

    output = Output(as_json=as_json)
    for found in latest_plans(settings_from_environment(), limit):
        show_plan(output, found, is_brief=True)
    output.end_list("plans")


@rollback_app.command("show")
def show(plan_id: PlanId, as_json: Json = False) -> None:
    """Show a plan and what became of it. Who approved it, how far it was carried out, and its decisions' fate."""
    from pipeline.rollback.report_command import report_of, show_report

    show_report(Output(as_json=as_json), report_of(settings_from_environment(), plan_id))


@rollback_app.command("report")
def report(plan_id: PlanId, html: Page = None, as_json: Json = False) -> None:
    """Report a plan with every line, for Risk and Compliance. It is one HTML page, or JSON."""
    from pipeline.rollback.report_command import report_of, show_whole_report, write_page

    if html is None and not as_json:
        raise Failure("Nothing says where the report goes.", "Give --html PATH, or --json.")
    whole = report_of(settings_from_environment(), plan_id)
    if html is not None:
        write_page(html, whole)
    if as_json:
        show_whole_report(Output(as_json=True), whole)
