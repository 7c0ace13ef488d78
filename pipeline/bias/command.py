"""`fraud bias`, and `fraud models bias` and `drift`. Each command imports what it needs when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

bias_app = typer.Typer()
models_app = typer.Typer()

Version = Annotated[str | None, typer.Argument(metavar="VERSION", help="The model version; all together without.")]
Days = Annotated[int, typer.Option(min=1, max=366, help="How many days back to count.")]


@bias_app.command("run")
def run() -> None:
    """Run the monitor of bias and drift until SIGTERM. It touches no decision.

    FRAUD_* variables configure it.
    """
    from pipeline.bias.service_command import run_bias

    settings = settings_from_environment("bias")
    run_bias(settings, wire_format(settings))


@models_app.command("bias")
def bias(
    version: Version = None,
    days: Days = 28,
    is_evidence: Annotated[
        bool, typer.Option("--evidence", help="Write what was found into the registry, for the promotion gate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say how each segment fares beside the rest.

    It says what could not have been seen, too. Exit 1 where there is a gap.
    """
    from pipeline.bias.report_command import show_bias

    settings = settings_from_environment("evidence" if is_evidence else "command")
    if not show_bias(settings, version, days, Output(as_json=as_json), is_evidence=is_evidence):
        raise typer.Exit(1)


@models_app.command("drift")
def drift(
    version: Version = None,
    days: Days = 1,
    is_evidence: Annotated[
        bool, typer.Option("--evidence", help="Write what was found into the registry, for the promotion gate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say whether a model still sees what it was taught on.

    With the precision and recall to be expected before labels come. Exit 1 where something drifted.
    """
    from pipeline.bias.drift_report_command import show_drift

    settings = settings_from_environment("evidence" if is_evidence else "command")
    if not show_drift(settings, version, days, Output(as_json=as_json), is_evidence=is_evidence):
        raise typer.Exit(1)
