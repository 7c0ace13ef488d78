"""`fraud stack`, `topics` and `schemas`. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

if TYPE_CHECKING:
    from ops.stack.stack import OpenStack

stack_app = typer.Typer()
topics_app = typer.Typer()
schemas_app = typer.Typer()

Folder = Annotated[Path, typer.Option("--directory", metavar="FOLDER", help="Where its files go.")]
Exports = Annotated[bool, typer.Option("--env", help="Print `export` lines for a shell.")]


@stack_app.command("embedded")
def hold_embedded(directory: Folder = Path("var/embedded"), as_exports: Exports = False, as_json: Json = False) -> None:
    """Hold up servers that pip brought, for trying things. It prints what it takes to use them. Ctrl-C ends it.

    A broker that keeps nothing on disk, a Redis, a PostgreSQL and a payment rail. FOLDER/stack.env holds their
    settings: give it to other commands as --env-file or FRAUD_ENV_FILE.
    """
    from ops.stack.embedded import embedded_stack

    _hold("embedded", embedded_stack, directory, is_kept=False, as_exports=as_exports, as_json=as_json)


@stack_app.command("real")
def hold_real(directory: Folder = Path("var/stack"), as_exports: Exports = False, as_json: Json = False) -> None:
    """Hold up Apache Kafka, Redis and PostgreSQL without Docker. It prints what it takes to use them. Ctrl-C ends it.

    It needs Java 17, Maven and redis-server, and keeps what it holds. FOLDER/stack.env holds the settings: give it to
    other commands as --env-file or FRAUD_ENV_FILE.
    """
    from ops.stack.real import real_stack

    _hold("real", real_stack, directory, is_kept=True, as_exports=as_exports, as_json=as_json)


@topics_app.command("create")
def create_topics(
    partitions: Annotated[
        int,
        typer.Option(min=1, max=10_000, help="How many partitions the topics keyed by account have."),
    ] = 4,
    replication_factor: Annotated[int, typer.Option(min=1, max=7, help="How many brokers keep each record.")] = 1,
    history: Annotated[
        bool, typer.Option("--history", help="For replays of old payments: keep their timestamps. Not for production.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing. Exit 1 when one that exists differs from what it should be.

    The broker stamps every record by its own clock, except on topics made with --history.
    """
    from ops.stack.topics_command import created_topics, show_topics

    reports = created_topics(settings_from_environment("topics"), partitions, replication_factor, is_history=history)
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


@schemas_app.command("check")
def check_schema_file(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="An Avro schema (.avsc) that values are to be written with.")
    ],
    topic: Annotated[
        str, typer.Option("--topic", metavar="TOPIC", help="Where they are to be written, without prefix.")
    ],
    as_json: Json = False,
) -> None:
    """Tell a publisher what becomes of values of a schema. Exit 1 where they are refused today."""
    from ops.stack.schema_check_command import check_schema, show_schema_check

    raise typer.Exit(show_schema_check(Output(as_json=as_json), check_schema(path, topic)))


def _hold(name: str, open_stack: OpenStack, directory: Path, *, is_kept: bool, as_exports: bool, as_json: bool) -> None:
    from ops.stack.foreground import Form, hold
    from ops.stack.stack import StackFailure

    if as_exports and as_json:
        raise Failure("--env and --json are two forms of the same.", "Give one of them.")
    form = Form.EXPORTS if as_exports else Form.JSON if as_json else Form.TABLE
    try:
        hold(name, open_stack, directory, is_kept=is_kept, form=form)
    except StackFailure as failure:
        raise Failure(f"The {name} stack could not be started.", str(failure)) from failure
