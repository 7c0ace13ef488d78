"""`fraud payments`. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import ClockStamps, Json, Rate
from pipeline.terminal.output import Output, progress

payments_app = typer.Typer()


@payments_app.command("publish")
def publish(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet or CSV, in the order of payment.")],
    rate: Rate = None,
    labels: Annotated[bool, typer.Option("--labels", help="Publish its frauds as labels, too.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Publish at most this many payments.")] = None,
    now: ClockStamps = False,
    as_json: Json = False,
) -> None:
    """Publish a file of payments to transactions.v1."""
    from pipeline.publish.file_command import advice, publish_file, show_published
    from pipeline.publish.payment_files import rows_of

    output, settings = Output(as_json=as_json), settings_from_environment()
    wire = wire_format(settings)
    with progress("publishing", limit or rows_of(path)) as advance:
        published = publish_file(
            settings, wire, path, rate=rate, with_labels=labels, is_now=now, limit=limit, advance=advance
        )
    if not now and (sentence := advice(published)):
        output.note(sentence)
    show_published(output, path, published)
