"""`fraud demo`. It imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.options import Json


def demo(
    seconds: Annotated[int, typer.Option(min=20, max=600, help="How long payments keep coming.")] = 55,
    seed: Annotated[int, typer.Option(min=0, help="Show the same traffic for the same seed.")] = 7,
    rate: Annotated[int, typer.Option(min=50, max=2000, help="Payments a second.")] = 200,
    directory: Annotated[Path, typer.Option(metavar="FOLDER", help="Where its files go.")] = Path("var/demo"),
    as_json: Json = False,
) -> None:
    """Watch the pipeline at work: it decides and pays, a model goes wrong, and that is undone. About two minutes."""
    from ops.demo.run import run_demo

    raise typer.Exit(0 if run_demo(directory, seconds=seconds, seed=seed, rate=rate, as_json=as_json) else 1)
