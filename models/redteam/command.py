"""`fraud models red-team`. It imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output, progress

models_app = typer.Typer()

DEFAULT_SEED: Final = 20261130


@models_app.command("red-team")
def red_team(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version to attack.", show_default=False)],
    budget: Annotated[
        int | None, typer.Option(min=4, max=10_000, help="Try so many choices of each attack.", show_default="120")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=3, max=1_000, help="Measure each attack in so many scenes.", show_default="40")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Attack in the same way for the same seed.", show_default=str(DEFAULT_SEED)),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Take a minute, for a first look.")] = False,
    evidence: Annotated[
        Path | None,
        typer.Option(metavar="KEYFILE", help="Compare with the champion, and write signed evidence for the gate."),
    ] = None,
    plans: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each attack's cheapest plan there, as JSON.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="PLAN", help="Carry out a written plan again, and nothing else.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Attack a version, and report what gets through.

    The guardrails and the breaker stand around it, all in this process.

    With --evidence, exit 1 where an attack gets more through than through the champion. How hard it tries is then
    the policy's, and the seed follows from both artefacts and the policy.
    """
    from models.redteam import red_team_command as teaming
    from models.redteam.trials import FULL, QUICK, Effort

    if replay is not None and (evidence is not None or plans is not None):
        raise Failure("A plan is carried out again alone.", "Leave --evidence and --plans out.")
    if evidence is not None and (quick or not (budget is None and trials is None and seed is None)):
        what = "Whoever gives evidence chooses neither the seed nor how hard it tries: the policy and the artefacts do."
        raise Failure(what, "Leave --seed, --budget, --trials and --quick out.")
    base = QUICK if quick else FULL
    effort = Effort(budget or base.budget, trials or base.trials)
    settings = settings_from_environment("command" if evidence is None else "evidence")
    output = Output(as_json=as_json)
    if replay is not None:
        raise typer.Exit(0 if teaming.replayed(settings, version, replay, output) else 1)
    with progress("attacking", teaming.ATTACKS) as advance:
        if evidence is None:
            teaming.report(settings, version, DEFAULT_SEED if seed is None else seed, effort, plans, output, advance)
            return
        passed = teaming.compare(settings, version, plans, evidence, output, advance)
    raise typer.Exit(0 if passed else 1)
