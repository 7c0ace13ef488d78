"""`fraud models`. Training needs libraries that serving does without, so they are imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json, PaymentsMap
from pipeline.terminal.output import Output

models_app = typer.Typer()


@models_app.command("train")
def train(
    history: Annotated[Path, typer.Argument(help="Labelled payments: CSV, JSON lines, parquet or Arrow.")],
    version: Annotated[str, typer.Option(help="The version of the new artefact.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The registry to add it to.")] = Path("models/registry"),
    seed: Annotated[int, typer.Option(min=0, help="Learn the same tables for the same seed.")] = 20261101,
    map_path: PaymentsMap = None,
    as_json: Json = False,
) -> None:
    """Learn a glass-box model from labelled history. It decides nothing until the registry names it champion."""
    metrics = _trained(history, map_path, out, version, seed)
    words = ", ".join(f"{name} {value}" for name, value in metrics.items())
    Output(as_json=as_json).record({"artefact": str(out / version), **metrics}, f"{out / version}: {words}")


def _trained(history: Path, map_path: Path | None, out: Path, version: str, seed: int) -> dict[str, object]:
    """The metrics of the new artefact in `out/version`."""
    try:
        from models.train.history import HistoryRefused
        from models.train.train import train
        from pipeline.publish.payment_files import read_map
        from pipeline.publish.payment_source import Unreadable
    except ImportError as error:
        raise Failure(f"Training needs {error.name}.", "Install it: `pip install '.[train]'`.") from error
    try:
        return dict(train(history, out, version, seed, read_map(map_path))._asdict())
    except Unreadable as error:
        raise Failure(error.what, error.fix) from error
    except HistoryRefused as refusal:
        raise Failure(f"{history.name} can't train a model: {refusal}.", "Correct or extend the file.") from refusal
    except FileExistsError as error:
        raise Failure(f"{out / version} exists.", "Versions are never changed; give another --version.") from error
