"""`fraud models challenger`. Learning needs libraries that serving does without, so they are imported when it is
called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json, PaymentsMap
from pipeline.terminal.output import Output

models_app = typer.Typer()


class LearnerName(StrEnum):
    """Estimators of scikit-learn, by what they are."""

    BOOSTED = "boosted"
    FOREST = "forest"
    LOGISTIC = "logistic"


@models_app.command("challenger")
def challenger(
    history: Annotated[
        Path, typer.Argument(metavar="FILE", help="Labelled payments: CSV, JSON lines, parquet or Arrow.")
    ],
    version: Annotated[str, typer.Option(help="The version of the challenger.")],
    learner: Annotated[LearnerName, typer.Option(help="What learns.")] = LearnerName.BOOSTED,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of challengers.")] = Path("var/challengers"),
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Learn the same for the same seed.")] = 20261101,
    are_labels_final: Annotated[
        bool, typer.Option("--labels-final", help="The labels of its youngest payments are in, too.")
    ] = False,
    map_path: PaymentsMap = None,
    as_json: Json = False,
) -> None:
    """Learn a challenger that is no glass box. It is written as ONNX, answers in the shadow, and never decides."""
    made = _made(history, map_path, out, version, learner, seed, are_labels_final=are_labels_final)
    words = ", ".join(f"{name} {value}" for name, value in made.items())
    Output(as_json=as_json).record({"challenger": str(out / version), **made}, f"{out / version}: {words}")


def _made(
    history: Path,
    map_path: Path | None,
    out: Path,
    version: str,
    learner: LearnerName,
    seed: int,
    *,
    are_labels_final: bool,
) -> dict[str, object]:
    try:
        from models.challengers.learn_files import Unlike, learn
        from models.train.history import HistoryRefused
        from models.versions.locations import version_fault
        from pipeline.publish.payment_files import read_map
        from pipeline.publish.payment_source import Unreadable
    except ImportError as error:
        what = f"A challenger that is no glass box needs {error.name}."
        raise Failure(what, "Install it: `pip install '.[train,onnx]'`.") from error
    if (fault := version_fault(version)) is not None:
        raise Failure(f"No challenger can be called so: {fault}.", "Give another --version.")
    try:
        learned = learn(
            history, read_map(map_path), out / version, learner.value, seed, are_labels_final=are_labels_final
        )
        return dict(learned._asdict())
    except Unreadable as error:
        raise Failure(error.what, error.fix) from error
    except HistoryRefused as refusal:
        raise Failure(f"{history.name} can't train a model: {refusal}.", "Correct or extend the file.") from refusal
    except Unlike as unlike:
        raise Failure(f"The challenger is not written: {unlike}.", "Take another --learner.") from unlike
    except FileExistsError as error:
        raise Failure(f"{out / version} exists.", "Versions are never changed; give another --version.") from error
