"""`fraud feeds`. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

feeds_app = typer.Typer()

File = Annotated[Path, typer.Argument(metavar="FILE", help="The feed's file, in TOML.")]


@feeds_app.command("check")
def check_feed(file: File, as_json: Json = False) -> None:
    """Read a feed, and say whether it may be installed. Exit 1 where it may not."""
    from pipeline.decide.feeds.feeds_command import check, show_offered

    offered = check(settings_from_environment(), file)
    show_offered(Output(as_json=as_json), offered, is_installed=False)
    raise typer.Exit(0 if offered.refused is None else 1)


@feeds_app.command("install")
def install_feed(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Install it although it is older, or changes much.")] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why it is forced; it is signed and kept.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep a feed and put it in force; workers take it up."""
    from pipeline.decide.feeds.feeds_command import install, show_offered

    offered = install(settings_from_environment(), file, is_forced=force, reason=reason)
    show_offered(Output(as_json=as_json), offered, is_installed=True)


@feeds_app.command("sign")
def sign_feed(
    file: File,
    key: Annotated[Path, typer.Option("--key", metavar="KEYFILE", help="A key that `fraud keys create feeds` made.")],
    as_json: Json = False,
) -> None:
    """Sign a feed, as its publisher, beside its file."""
    from pipeline.decide.feeds.feeds_command import sign

    written = sign(file, key)
    Output(as_json=as_json).record({"signature": str(written)}, f"Signed: {written}.")


@feeds_app.command("list")
def list_feeds(as_json: Json = False) -> None:
    """List the feeds that are kept, and say which are in force."""
    from pipeline.decide.feeds.feeds_command import show_list

    show_list(Output(as_json=as_json), settings_from_environment())


@feeds_app.command("show")
def show_feeds(as_json: Json = False) -> None:
    """Show the feeds in force and how old they are. Exit 1 where one is missing or too old."""
    from pipeline.decide.feeds.feeds_command import show_in_force

    raise typer.Exit(0 if show_in_force(Output(as_json=as_json), settings_from_environment()) else 1)
