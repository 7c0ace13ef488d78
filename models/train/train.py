"""Learn a glass-box model from labelled history and write its artefact: all that `fraud models train` does with one.

    python -m models.train.train --out models/registry --version V     (the shipped default)

learns from the project's own seeded traffic, by the plan that the command follows where it is given none.

The history is split by time: the model learns from the first part, the next calibrates it, and the last measures it.
Features and settings are chosen within the first part (`models.train.choosing`). The same history, plan, seed, code and
libraries give the same bytes, with any number of jobs.

Frauds are few, and stay so: they are neither multiplied nor weighted. The booster's loss is a proper one, so its
log-odds are right for the payments as they are; a weight of 10 a fraud cost 0.005 of the average precision on the
Handbook's validation folds, and probabilities that no calibration table fully mends.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.artefact import files as artefact
from models.artefact.scoring import Calibration, Model, Scores, score
from models.artefact.strict import Json
from models.artefact.vectors import golden_vectors
from models.card.cards import CYCLONEDX, HTML, cards, facts_at_training
from models.card.measuring.measured import Measured, numbered
from models.simulator import TrafficEvent, TrafficSettings
from models.train.choosing import FOLDS, Advance, Plan, choose, parameters, rounds_of_choosing, told
from models.train.compile import calibrate, compile_terms
from models.train.history import (
    LABEL_DELAY_DAYS,
    Examples,
    HistoryRefused,
    events_of,
    examples_of,
    examples_sha256,
    generated,
)
from models.train.learn import Learner, fit
from models.train.lineage import code, libraries
from models.train.metrics import Metrics, measure
from models.train.plan_files import default_plan
from models.train.reference import with_reference
from models.train.settled import UNLABELLED, History, Truth, final, settled
from models.versions.locations import version_fault
from pipeline.domain.features import COLUMN, FEATURES, NONE, Matrix
from pipeline.publish.file_map import FileMap
from pipeline.publish.payment_source import LABELLED_AFTER_MS
from pipeline.terminal.output import unseen

LEARNED_PERCENT: Final = 65
CALIBRATED_PERCENT: Final = 15
GOLDEN_VECTORS: Final = 64
FRAUDS_MIN: Final = 20
"""Least number of frauds in each of the three parts; with fewer, calibration and measures are noise."""

SLIPS_ONE_IN: Final = 1_000
"""Payments to one whose date may be wrong. Leaving so many of the youngest out costs a file of 100 days 3 hours."""

ADVANCE_EVERY: Final = 5_000

Reading = Callable[[int], None]

DEFAULT_TRAFFIC: Final = TrafficSettings(seed=20261101, accounts=3000, start_ms=1_782_864_000_000, days=100)

_GENERATED_LIMITS = """\
It has only seen simulated traffic: its figures say how well it learned the simulator, not how well it finds real fraud.
Before real use, train it on the institution's own history."""
HISTORY_LIMITS = """\
It knows frauds of the kinds and the times in its history; new schemes and drift are what monitoring, the circuit
breaker and the fallback rules are for."""


def history_of_file(
    path: Path, rules: FileMap, delay_ms: int, advance: Reading = unseen, *, are_labels_final: bool = False
) -> History:
    """Read a file of labelled payments; the youngest teach nothing, unless all of its labels are known to be in.

    Raises HistoryRefused and Unreadable.
    """
    examples = examples_of(_counted(events_of(path, rules), advance))
    label = examples.fraud.astype(np.int8)
    labelled_at_ms = np.where(examples.fraud, examples.event_time_ms + LABELLED_AFTER_MS, examples.event_time_ms)
    if are_labels_final:
        return final(examples, "Labelled history", delay_ms)
    # An honest payment of a file has no label of its own: the file says no more than that nobody has complained.
    truth = Truth.of_labels(np.where(label == 1, label, UNLABELLED).astype(np.int8), labelled_at_ms)
    return settled(examples, truth, _end_ms(examples), delay_ms, "Labelled history")


def _end_ms(examples: Examples) -> int:
    """Return the moment up to which a file tells: its last payment's, but for one in SLIPS_ONE_IN that may be misdated.

    A single year too late would make all payments old enough, and honest whose frauds are still to be reported.
    """
    count = len(examples.event_time_ms)
    return int(examples.event_time_ms[count - 1 - count // SLIPS_ONE_IN])


def train_default(traffic: TrafficSettings, directory: Path, seed: int, jobs: int = 1) -> Metrics:
    """Write the shipped default: what the command learns, from the project's own traffic, whose labels are all in."""
    source = (
        f"The project's own seeded traffic generator (seed {traffic.seed}, {traffic.accounts:,} accounts, "
        f"{traffic.days} days)"
    )
    return train_history(final(generated(traffic), source), directory, default_plan(seed), _GENERATED_LIMITS, jobs)


def train_examples(
    examples: Examples, directory: Path, learner: Learner, source: str, limits: str, jobs: int = 1
) -> Metrics:
    """Do as `train_history` with examples whose labels are all in, and with the settings given."""
    plan = Plan(learner, (), FOLDS, LABEL_DELAY_DAYS)
    return train_history(final(examples, source), directory, plan, limits, jobs)


def train_history(
    history: History, directory: Path, plan: Plan, limits: str, jobs: int = 1, advance: Advance = lambda: None
) -> Metrics:
    """Choose features and settings, learn, compile, calibrate, measure, write, and load again as serving will.

    `advance` is called after each of `rounds_of(plan)` learnings. Raises FileExistsError where the version exists,
    HistoryRefused and LearningDiverged.
    """
    if directory.exists():
        raise FileExistsError(f"model version '{directory.name}' exists already; versions are never changed")
    learning, calibrating, measuring = _parts(history)
    chosen = None if plan.is_all_given else choose(learning, plan, jobs, advance)
    learner = plan.learner if chosen is None else chosen.learner
    learned, measured = learning.examples, measuring.examples
    booster = fit(learner, learned.features, learned.fraud, jobs)
    advance()
    model = compiled_model(booster, learner, directory.name, learned, calibrating)
    scores = score(model, measured.features)
    metrics = measure(scores, measured.fraud)
    training: dict[str, Json] = {
        **_taught(history, learner, learned, calibrating.examples),
        "parameters": parameters(learner),
        "choosing": told(chosen),
        "labels": dict(history.labels),
        "weighting": "none" if history.weight is None else "calibration, by the share of known labels",
        "code": code(),
        "libraries": libraries(),
    }
    seen = measured.features, learner.features, scores.fraud_probability_ppm
    manifest = _manifest(
        model, learner, with_reference(training, *seen), metrics, _golden_rows(measured.features, scores.score_micro)
    )
    monotone = tuple(name for name in learner.features if name in learner.monotone)
    facts = facts_at_training(model, manifest, monotone, limits, measured.features, scores, _measured(measured, scores))
    made = cards(facts)
    other_cards = {HTML: made.html, CYCLONEDX: made.cyclonedx}
    artefact.write(directory, artefact.tables_json(model), made.markdown, manifest, other_cards)
    artefact.load(directory)
    return metrics


def rounds_of(plan: Plan) -> int:
    """Return how many times a booster is learned."""
    return rounds_of_choosing(plan) + 1


def compiled_model(booster: Any, learner: Learner, version: str, learned: Examples, calibrating: History) -> Model:
    intercept_micro, terms = compile_terms(booster, learner.features)
    if not terms:
        raise HistoryRefused("nothing in it tells fraud from honest payments, so every payment would score the same")
    flat = Calibration(np.array([], dtype=np.int64), np.array([0], dtype=np.int64))
    typical = {name: _median(learned.features[:, COLUMN[name]]) for name in learner.features}
    raw = Model(version, bytes(32), intercept_micro, terms, flat, typical)
    found = score(raw, calibrating.examples.features).score_micro
    calibration = calibrate(found, calibrating.examples.fraud, calibrating.weight)
    return Model(version, bytes(32), intercept_micro, terms, calibration, typical)


def _measured(examples: Examples, scores: Scores) -> Measured:
    return Measured(
        scores.score_micro,
        scores.fraud_probability_ppm,
        examples.fraud,
        examples.features[:, COLUMN["amount_gbp_minor"]],
        examples.event_time_ms,
        *numbered(examples.attributes),
    )


def _taught(history: History, learner: Learner, learned: Examples, calibrated: Examples) -> dict[str, int | str]:
    examples = history.examples
    return {
        "source": history.source,
        "payments": len(learned.fraud),
        "frauds": int(learned.fraud.sum()),
        "calibration_payments": len(calibrated.fraud),
        "from_ms": int(examples.event_time_ms[0]),
        "until_ms": int(examples.event_time_ms[-1]),
        "sha256": _sha256(history),
        "seed": learner.seed,
    }


def _parts(history: History) -> tuple[History, History, History]:
    """Split the examples by time, so that later payments never teach about earlier ones."""
    count = len(history.known_at_ms)
    if (np.diff(history.examples.event_time_ms) < 0).any():
        raise HistoryRefused("its payments are not in the order of their times")
    first, second = count * LEARNED_PERCENT // 100, count * (LEARNED_PERCENT + CALIBRATED_PERCENT) // 100
    parts = history.rows(0, first), history.rows(first, second), history.rows(second, count)
    if any(part.examples.fraud.sum() < FRAUDS_MIN or part.examples.fraud.all() for part in parts):
        found = ", ".join(f"{int(part.examples.fraud.sum()):,} of {len(part.known_at_ms):,}" for part in parts)
        raise HistoryRefused(
            f"the history needs honest payments and at least {FRAUDS_MIN} frauds in its first {LEARNED_PERCENT} %, in "
            f"the {CALIBRATED_PERCENT} % after that, and in the rest; it has {found}"
        )
    return parts


def _counted(stream: Iterable[TrafficEvent], advance: Reading) -> Iterator[TrafficEvent]:
    for count, event in enumerate(stream, start=1):
        if count % ADVANCE_EVERY == 0:
            advance(count)
        yield event


def _manifest(
    model: Model, learner: Learner, training: Mapping[str, Json], metrics: Metrics, golden: Matrix
) -> dict[str, Json]:
    return {
        "features": list(learner.features),
        "typical": dict(model.typical),
        "training": dict(training),
        "metrics": metrics._asdict(),
        "golden": artefact.golden_json(golden_vectors(model, golden, learner.features)),
        "approvals": [],
    }


def _golden_rows(features: Matrix, score_micro: Matrix) -> Matrix:
    """Choose rows from the lowest to the highest score, and add one of which nothing is known."""
    order = np.argsort(score_micro, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, GOLDEN_VECTORS - 1).astype(np.int64)]
    return np.concatenate([features[chosen], np.full((1, len(FEATURES)), NONE, dtype=np.int64)])


def _median(column: Matrix) -> int:
    """Return the median of the known values, the lower of two middle ones; NONE where none is known."""
    known = np.sort(column[column != NONE])
    return int(known[(len(known) - 1) // 2]) if len(known) else NONE


def _sha256(history: History) -> str:
    """Hash what was taught: features, truth, times, and weights where there are any."""
    return examples_sha256(history.examples, b"" if history.weight is None else history.weight.astype("<f8").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m models.train.train", description="Learn the shipped default from the project's own traffic."
    )
    parser.add_argument("--out", type=Path, required=True, help="the registry's directory")
    parser.add_argument("--version", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    if (fault := version_fault(asked.version)) is not None:
        parser.error(fault)
    for name, value in (
        train_default(DEFAULT_TRAFFIC, asked.out / asked.version, asked.seed, asked.jobs)._asdict().items()
    ):
        print(f"{name:32}{value:>12,}")


if __name__ == "__main__":
    main()
