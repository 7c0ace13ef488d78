"""`fraud topics backup` and `fraud topics restore`. Each command imports what it needs when it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.domain.money import count_text
from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

if TYPE_CHECKING:
    from ops.topics.topic_copies import Count

topics_app = typer.Typer()

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the copy stands; run again, it grows.")]


@topics_app.command("backup")
def backup(folder: Folder, as_json: Json = False) -> None:
    """Copy to files what came to the topics since the last time."""
    from ops.topics.topic_copies import back_up

    settings = settings_from_environment("topics")
    _shown(Output(as_json=as_json), lambda: back_up(settings, folder))


@topics_app.command("restore")
def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `fraud topics backup` wrote.")],
    replication_factor: Annotated[int, typer.Option(min=1, max=9, help="Copies that the cluster keeps.")] = 1,
    as_json: Json = False,
) -> None:
    """Write topics anew, with the offsets and times that they had.

    They must not be there. Nobody else may write meanwhile. What was written is read back and compared.
    """
    from ops.topics.topic_copies import put_back

    settings, output = settings_from_environment("topics"), Output(as_json=as_json)
    _shown(output, lambda: put_back(settings, folder, replication_factor, output.note))


def _shown(output: Output, act: Callable[[], list[Count]]) -> None:
    from ops.topics.copies import CopyBroken
    from ops.topics.filling import Unfillable

    try:
        counts = act()
    except (CopyBroken, Unfillable) as error:
        raise Failure(
            f"The copy can't be used: {error}.", "Use another folder, or other brokers.", FAILED_CHECK
        ) from error
    except OSError as error:
        raise Failure(f"A file can't be had: {error.strerror or error}.", "Name another folder.") from error
    for each in counts:
        line = f"{each.topic}[{each.partition}]: {count_text(each.records, 'record')}, {each.begin:,} to {each.end:,}"
        output.record(each._asdict(), line)
