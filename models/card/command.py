"""`fraud models card`. It imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

models_app = typer.Typer()


class Form(StrEnum):
    """A form of the card."""

    MARKDOWN = "md"
    HTML = "html"
    CYCLONEDX = "json"


@models_app.command("card")
def card(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version of the registry.", show_default=False)],
    form: Annotated[
        Form | None,
        typer.Option("--format", help="Markdown, a page, or a CycloneDX 1.7 document.", show_default="md"),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="Write it there and not to stdout.")] = None,
    is_own: Annotated[
        bool, typer.Option("--at-training", help="Show the card that lies in the artefact and never changes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a version's card of today.

    It says what the version is for, how good it is, where it fails, and what was found since.
    """
    from models.card.card_command import show

    show(settings_from_environment(), version, form, out, Output(as_json=as_json), is_own=is_own)
