"""`fraud models`. Training needs libraries that serving does without, so they are imported when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json, PaymentsMap
from pipeline.terminal.output import Output

models_app = typer.Typer()


class Source(StrEnum):
    """Where the history stands."""

    FILE = "file"
    TOPICS = "topics"
    AUDIT = "audit"


@models_app.command("train")
def train(
    history: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Labelled payments: CSV, JSON lines, parquet or Arrow.", show_default=False
        ),
    ] = None,
    *,
    version: Annotated[str, typer.Option(help="The version of the new artefact.")],
    source: Annotated[
        Source, typer.Option("--from", help="Read that file, the topics to their ends, or the audit log.")
    ] = Source.FILE,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --from audit: a CSV of labels instead of labels.v1.")
    ] = None,
    at_own_times: Annotated[
        bool, typer.Option("--own-times", help="With --from topics: they were filled by a replay.")
    ] = False,
    are_labels_final: Annotated[
        bool, typer.Option("--labels-final", help="With a file: the labels of its youngest payments are in, too.")
    ] = False,
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Features, directions, and what to try, in TOML.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The registry to add it to.")] = Path("models/registry"),
    seed: Annotated[int, typer.Option(min=0, help="Learn the same tables for the same seed.")] = 20261101,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, help="Learn so many bags at a time; the bytes stay the same.")
    ] = 1,
    map_path: PaymentsMap = None,
    as_json: Json = False,
) -> None:
    """Learn a glass-box model from labelled history. It decides nothing until the registry names it champion."""
    _refuse_odd_options(history, source, labels, at_own_times=at_own_times, are_labels_final=are_labels_final)
    try:
        from models.train.learning_command import Asked, trained
    except ImportError as error:
        raise Failure(f"Training needs {error.name}.", "Install it: `pip install '.[train]'`.") from error
    asked = Asked(history, source.value, labels, at_own_times, are_labels_final, plan, map_path)
    metrics = trained(asked, out, version, seed, jobs)
    words = ", ".join(f"{name} {value}" for name, value in metrics.items())
    Output(as_json=as_json).record({"artefact": str(out / version), **metrics}, f"{out / version}: {words}")


def _refuse_odd_options(
    history: Path | None, source: Source, labels: Path | None, *, at_own_times: bool, are_labels_final: bool
) -> None:
    """Refuse an option that would be passed over."""
    if (history is None) == (source is Source.FILE):
        raise Failure("Say where the history stands.", "Give a file, or --from topics or --from audit without one.")
    for is_given, name, wanted in (
        (labels is not None, "--labels", Source.AUDIT),
        (at_own_times, "--own-times", Source.TOPICS),
        (are_labels_final, "--labels-final", Source.FILE),
    ):
        if is_given and source is not wanted and not (name == "--own-times" and source is Source.AUDIT):
            raise Failure(
                f"{name} says nothing about a history from {source}.", f"Leave it out, or use it with {wanted}."
            )
