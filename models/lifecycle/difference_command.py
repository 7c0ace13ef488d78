"""`fraud models diff` and `fraud models replay`. They import what they need when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

models_app = typer.Typer()

Last = Annotated[
    int, typer.Option("--last", min=0, max=1_000_000, metavar="N", help="Decide again the last N decisions.")
]
Export = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Read them from an export of the audit log, not from PostgreSQL.")
]


@models_app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A version.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="B", help="The one to compare it with.", show_default=False)],
    last: Last = 10_000,
    export: Export = None,
    label_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take labels from lines of JSON, not from labels.v1.")
    ] = None,
    labels: Annotated[bool, typer.Option(help="Read labels.v1 for what was fraud.")] = True,
    as_json: Json = False,
) -> None:
    """Say how two versions differ, and what each decides.

    It decides what is stored by both, and says what a change would have cost and saved, as far as labels tell.
    With --last 0 nothing stored is read.
    """
    from models.lifecycle.diff_command import Decided, Labelled, show_diff

    labelled = Labelled(label_file, labels and last > 0)
    show_diff(settings_from_environment(), before, after, Decided(last, export), labelled, Output(as_json=as_json))


@models_app.command("replay")
def replay(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version that decided.", show_default=False)],
    last: Last = 10_000,
    export: Export = None,
    as_json: Json = False,
) -> None:
    """Decide again what a version decided.

    The bytes are compared: exit 1 unless all are identical. A retired version decides again, too. `fraud verify`
    does it by offset or id.
    """
    from models.lifecycle.diff_command import Decided, show_replay

    is_sound = show_replay(settings_from_environment(), version, Decided(last, export), Output(as_json=as_json))
    raise typer.Exit(0 if is_sound else 1)
