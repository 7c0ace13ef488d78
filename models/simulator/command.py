"""`fraud traffic`. Each command imports what it needs when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import ClockStamps, Json, Rate
from pipeline.terminal.output import Output, progress

traffic_app = typer.Typer()


@traffic_app.command("generate")
def generate(
    seconds: Annotated[int, typer.Option(min=1, help="Publish for this long, at --rate.")] = 60,
    count: Annotated[int | None, typer.Option(min=1, help="Publish this many payments instead.")] = None,
    rate: Rate = None,
    seed: Annotated[int, typer.Option(min=0, help="Generate the same traffic for the same seed.")] = 7,
    accounts: Annotated[int, typer.Option(min=100, max=10_000_000, help="How many accounts pay.")] = 2000,
    guardrail_share: Annotated[
        float, typer.Option(min=0, max=0.2, help="The share of payments that a guardrail stops; 0.01 is one in 100.")
    ] = 0.0,
    context: Annotated[bool, typer.Option(help="Publish accounts and risk signals, too.")] = True,
    labels: Annotated[bool, typer.Option("--labels", help="Publish labels, too.")] = False,
    now: ClockStamps = False,
    as_json: Json = False,
) -> None:
    """Publish seeded traffic with fraud in it.

    300 payments a second for a minute, or what --rate, --seconds and --count say.
    """
    from models.simulator import generate_command as generating

    if count is None:
        rate = rate or generating.RATE_DEFAULT
        count = int(seconds * rate)
    settings = settings_from_environment()
    wanted = generating.Wanted(count, rate, seed, accounts, guardrail_share, context, labels, now)
    with progress("publishing", count) as advance:
        published = generating.generate(settings, wire_format(settings), wanted, advance)
    generating.show_published(Output(as_json=as_json), published)
