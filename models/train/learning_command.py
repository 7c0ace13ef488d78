"""`fraud models train`, once its libraries are there: read the history, learn, and say what can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from models.train.choosing import Plan
from models.train.compile import LearningDiverged
from models.train.decided_store import history_of_decisions
from models.train.history import HistoryRefused
from models.train.label_files import read_labels
from models.train.plan_files import PlanRefused, read_plan
from models.train.settled import DAY_MS, History
from models.train.topics import history_of_topics, read_labels_topic
from models.train.train import HISTORY_LIMITS, history_of_file, rounds_of, train_history
from models.versions.locations import version_fault
from pipeline.io.clock import now_ms
from pipeline.publish.payment_files import read_map
from pipeline.publish.payment_source import Unreadable
from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Advance, progress

READING: Final = "reading history"
LEARNING: Final = "learning"


class Asked(NamedTuple):
    history: Path | None
    source: str  # file, topics, audit
    labels: Path | None
    at_own_times: bool
    are_labels_final: bool
    plan: Path | None
    map_path: Path | None


def trained(asked: Asked, out: Path, version: str, seed: int, jobs: int) -> dict[str, object]:
    """Return the metrics of the new artefact, `out/version`. Raises Failure."""
    directory = out / version
    named = asked.history.name if asked.history is not None else f"The history from {asked.source}"
    if (fault := version_fault(version)) is not None:
        raise Failure(f"No model can be called so: {fault}.", "Give another --version.")
    if directory.exists():
        raise Failure(f"{directory} exists.", "Versions are never changed; give another --version.")
    try:
        plan = read_plan(asked.plan, seed)
        with progress(READING, None) as advance:
            history = _history(asked, plan, advance)
        with progress(LEARNING, rounds_of(plan)) as advance:
            rounds = _Rounds(advance)
            return dict(train_history(history, directory, plan, HISTORY_LIMITS, jobs, rounds.one)._asdict())
    except Unreadable as error:
        raise Failure(error.what, error.fix) from error
    except PlanRefused as refusal:
        raise Failure(
            f"The plan can't be followed: {refusal}.", "Correct it; docs/training.md has an example."
        ) from refusal
    except HistoryRefused as refusal:
        raise Failure(f"{named} can't train a model: {refusal}.", "Correct or extend it.") from refusal
    except LearningDiverged as refusal:
        raise Failure(f"{named} makes no model: {refusal}.", "Try other settings in a plan (--plan).") from refusal
    except FileExistsError as error:
        raise Failure(f"{directory} exists.", "Versions are never changed; give another --version.") from error


class _Rounds:
    """Counts learnings for a progress bar."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._done = advance, 0

    def one(self) -> None:
        self._done += 1
        self._advance(self._done)


def _history(asked: Asked, plan: Plan, advance: Advance) -> History:
    delay_ms = plan.label_delay_days * DAY_MS
    if asked.source == "file":
        assert asked.history is not None, "the command refuses it otherwise"
        return history_of_file(
            asked.history, read_map(asked.map_path), delay_ms, advance, are_labels_final=asked.are_labels_final
        )
    settings = settings_from_environment()
    wire = wire_format(settings)
    delay_ms = max(delay_ms, settings.label_delay_days * DAY_MS)  # labels take as long as the state waits for them
    if asked.source == "topics":
        features = plan.learner.features
        return history_of_topics(settings, wire, features, delay_ms, advance, at_own_times=asked.at_own_times)
    labels = (
        read_labels_topic(settings, wire, at_own_times=asked.at_own_times)
        if asked.labels is None
        else read_labels(asked.labels, now_ms())
    )
    with connected(settings) as connection:
        return history_of_decisions(connection, wire, plan.learner.features, labels, delay_ms, advance)
