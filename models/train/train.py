"""Train a glass-box model on labelled history and write its artefact, in one command.

    python -m models.train.train --history PATH --out models/registry --version V
    python -m models.train.train --generate --out models/registry --version V     (the shipped default)

The history is split by time: the model learns from the first part, the next calibrates it, and the last measures it.
The same history, seed and library versions give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.artefact import files as artefact
from models.artefact.scoring import Calibration, Model, score
from models.artefact.strict import Json
from models.artefact.vectors import golden_vectors
from models.simulator import TrafficSettings
from models.train.card import card
from models.train.compile import calibrate, compile_terms
from models.train.history import Examples, HistoryRefused, generated, read
from models.train.learn import Learner, fit
from models.train.metrics import Metrics, measure
from models.train.reference import with_reference
from pipeline.domain.features import COLUMN, FEATURES, NONE, Matrix
from pipeline.publish.file_map import FileMap
from pipeline.publish.payment_files import NO_MAP

LEARNED_PERCENT: Final = 65
CALIBRATED_PERCENT: Final = 15
GOLDEN_VECTORS: Final = 64
FRAUDS_MIN: Final = 20
"""Least number of frauds in each of the three parts; with fewer, calibration and measures are noise."""

DEFAULT_TRAFFIC: Final = TrafficSettings(seed=20261101, accounts=3000, start_ms=1_782_864_000_000, days=100)

_LIBRARIES: Final = ("interpret-core", "numpy", "scikit-learn")
_GENERATED_LIMITS = """\
It has only seen simulated traffic: its figures say how well it learned the simulator, not how well it finds real fraud.
Before real use, train it on the institution's own history. It finds takeovers, card testing and structuring best, about
half of the push payments, and of the frauds at a compromised merchant few before the first labels arrive."""
_HISTORY_LIMITS = """\
It knows frauds of the kinds and the times in its history; new schemes and drift are what monitoring, the circuit
breaker and the fallback rules are for."""


def train(history: Path, out_dir: Path, version: str, seed: int, rules: FileMap = NO_MAP, jobs: int = 1) -> Metrics:
    """Write `out_dir/version` from a file of labelled payments (see `models.train.history`)."""
    examples = read(history, rules)
    return train_examples(examples, out_dir / version, Learner(seed), "Labelled history", _HISTORY_LIMITS, jobs)


def train_examples(
    examples: Examples, directory: Path, learner: Learner, source: str, limits: str, jobs: int = 1
) -> Metrics:
    """Learn, compile, calibrate, measure, write, and load again as serving will.

    Raises FileExistsError where the version exists.
    """
    if directory.exists():
        raise FileExistsError(f"model version '{directory.name}' exists already; versions are never changed")
    learned, calibrating, measured = _parts(examples)
    booster = fit(learner, learned.features, learned.fraud, jobs)
    model = compiled_model(booster, learner, directory.name, learned, calibrating)
    scores = score(model, measured.features)
    metrics = measure(scores, measured.fraud)
    training: dict[str, int | str] = {
        "source": source,
        "payments": len(learned.fraud),
        "frauds": int(learned.fraud.sum()),
        "calibration_payments": len(calibrating.fraud),
        "from_ms": int(examples.event_time_ms[0]),
        "until_ms": int(examples.event_time_ms[-1]),
        "sha256": _sha256(examples),
        "seed": learner.seed,
    }
    text = card(
        model, metrics, training, scores, [name for name in learner.features if name in learner.monotone], limits
    )
    manifest = _manifest(model, learner, training, metrics, _golden_rows(measured.features, scores.score_micro))
    seen = measured.features, learner.features, scores.fraud_probability_ppm
    manifest["training"] = with_reference(manifest["training"], *seen)
    artefact.write(directory, artefact.tables_json(model), text.encode(), manifest)
    artefact.load(directory)
    return metrics


def compiled_model(booster: Any, learner: Learner, version: str, learned: Examples, calibrating: Examples) -> Model:
    intercept_micro, terms = compile_terms(booster, learner.features)
    flat = Calibration(np.array([], dtype=np.int64), np.array([0], dtype=np.int64))
    typical = {name: _median(learned.features[:, COLUMN[name]]) for name in learner.features}
    raw = Model(version, bytes(32), intercept_micro, terms, flat, typical)
    calibration = calibrate(score(raw, calibrating.features).score_micro, calibrating.fraud)
    return Model(version, bytes(32), intercept_micro, terms, calibration, typical)


def _parts(examples: Examples) -> tuple[Examples, Examples, Examples]:
    """Split the examples by time, so that later payments never teach about earlier ones."""
    count = len(examples.fraud)
    first, second = count * LEARNED_PERCENT // 100, count * (LEARNED_PERCENT + CALIBRATED_PERCENT) // 100
    parts = examples.rows(0, first), examples.rows(first, second), examples.rows(second, count)
    if any(part.fraud.sum() < FRAUDS_MIN or part.fraud.all() for part in parts):
        raise HistoryRefused(
            f"the history needs honest payments and at least {FRAUDS_MIN} frauds in its first {LEARNED_PERCENT} %"
            f", in the {CALIBRATED_PERCENT} % after that, and in the rest"
        )
    return parts


def _manifest(
    model: Model, learner: Learner, training: Mapping[str, int | str], metrics: Metrics, golden: Matrix
) -> dict[str, Json]:
    libraries: dict[str, Json] = {name: library_version(name) for name in _LIBRARIES}
    return {
        "features": list(learner.features),
        "typical": dict(model.typical),
        "training": {**training, "libraries": {**libraries, "python": platform.python_version()}},
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


def _sha256(examples: Examples) -> str:
    digest = hashlib.sha256(examples.features.astype("<i8").tobytes())
    digest.update(examples.fraud.astype("u1").tobytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.train.train", description=__doc__.partition("\n")[0])
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--history", type=Path, help="a parquet or CSV file of labelled payments")
    origin.add_argument("--generate", action="store_true", help="train on the project's own seeded traffic")
    parser.add_argument("--out", type=Path, required=True, help="the registry's directory")
    parser.add_argument("--version", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    if asked.generate:
        traffic = DEFAULT_TRAFFIC
        source = (
            f"The project's own seeded traffic generator (seed {traffic.seed}, {traffic.accounts:,} accounts, "
            f"{traffic.days} days)"
        )
        directory = asked.out / asked.version
        metrics = train_examples(
            generated(traffic), directory, Learner(asked.seed), source, _GENERATED_LIMITS, asked.jobs
        )
    else:
        metrics = train(asked.history, asked.out, asked.version, asked.seed, jobs=asked.jobs)
    for name, value in metrics._asdict().items():
        print(f"{name:32}{value:>12,}")


if __name__ == "__main__":
    main()
