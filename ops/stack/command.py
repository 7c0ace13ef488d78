"""`fraud stack`, `topics` and `schemas`. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

stack_app = typer.Typer()
topics_app = typer.Typer()
schemas_app = typer.Typer()

Folder = Annotated[Path, typer.Option("--directory", metavar="FOLDER", help="Where its files go.")]


@stack_app.command("embedded")
def embedded(directory: Folder = Path("var/embedded"), as_json: Json = False) -> None:
    """Hold up servers that pip brought, for trying. Ctrl-C ends it."""
    from ops.stack.embedded import EmbeddedStack
    from ops.stack.foreground import StackFailure, hold

    try:
        hold("embedded", EmbeddedStack, directory, as_json=as_json)
    except StackFailure as failure:
        raise Failure("The embedded stack could not be started.", str(failure)) from failure


@stack_app.command("real")
def real(directory: Folder = Path("var/stack"), as_json: Json = False) -> None:
    """Hold up Apache Kafka and Redis without Docker. It needs Java 17, Maven and redis-server. Ctrl-C ends it."""
    from ops.stack.foreground import StackFailure, hold
    from ops.stack.real import RealStack

    try:
        hold("real", RealStack, directory, as_json=as_json)
    except StackFailure as failure:
        raise Failure("The real stack could not be started.", str(failure)) from failure


@topics_app.command("create")
def create_topics(
    partitions: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many partitions transactions.v1 and decisions.v1 have.")
    ] = 4,
    replication_factor: Annotated[int, typer.Option(min=1, max=7, help="How many brokers keep each record.")] = 1,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing. Exit 1 when one that exists differs from what it should be."""
    from ops.stack.topics_command import created_topics, show_topics

    reports = created_topics(settings_from_environment("topics"), partitions, replication_factor)
    raise typer.Exit(0 if show_topics(Output(as_json=as_json), reports) else 1)


@schemas_app.command("register")
def register_schemas(
    registry: Annotated[
        str, typer.Option(metavar="URL", help="Where a Confluent-compatible registry answers, as http://HOST:PORT.")
    ],
    as_json: Json = False,
) -> None:
    """Register every schema. The ids that it prints are for FRAUD_CONFLUENT_IDS."""
    from ops.stack.registry_command import register, show_registered

    show_registered(Output(as_json=as_json), list(register(settings_from_environment(), registry)))
