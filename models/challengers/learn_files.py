"""Challengers that are no glass boxes: an estimator of scikit-learn, learned here and written as ONNX.

The estimator goes from memory to ONNX, and is gone: nothing of it is pickled, and nothing is ever unpickled. What was
written is read back as the shadow reads it, and answers as the estimator did, or it isn't kept.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

# Neither library ships types.
import skl2onnx  # type: ignore[import-untyped]
from numpy.typing import NDArray
from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-untyped]
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

from models.train.history import LABEL_DELAY_DAYS, Examples, HistoryRefused, examples_sha256
from models.train.learn import MODEL_FEATURES
from models.train.lineage import code, libraries
from models.train.settled import DAY_MS
from models.train.train import history_of_file
from pipeline.domain.features import COLUMN
from pipeline.publish.file_map import FileMap
from pipeline.shadow.onnx_files import INPUT, OUTPUT, checked_session, write_onnx

OPSET: Final = {"": 17, "ai.onnx.ml": 3}
"""Releases of the operators: of 2022, so that each runtime since knows them."""
TEST_SHARE: Final = 0.2
"""The last part of the history, on which the challenger is measured, and from which it never learns."""
FRAUDS_MIN: Final = 20
PPM: Final = 1_000_000
DIFFERENCE_MAX: Final = 1e-4
"""Largest difference between the estimator's probability and ONNX's: its floats are of 32 bits."""
FLIPPED_SHARE_MAX: Final = 0.001
"""Share of rows that may differ by more: rows that lie on a tree's edge fall to either side in 32 bits."""


class Unlike(Exception):
    """The written file does not answer as the estimator did; the message is a clause."""


class Learned(NamedTuple):
    digest: str
    examples: int
    frauds: int
    average_precision: float
    onnx_bytes: int


def learn(
    history: Path, rules: FileMap, directory: Path, learner: str, seed: int, *, are_labels_final: bool = False
) -> Learned:
    """Learn and write, from what a glass box would learn from: of the youngest payments nobody knows the truth yet,
    unless all labels are in. Raises HistoryRefused, Unreadable, Unlike, FileExistsError.
    """
    if directory.exists():
        raise FileExistsError(directory)
    taught = history_of_file(history, rules, LABEL_DELAY_DAYS * DAY_MS, are_labels_final=are_labels_final)
    return write_learned(taught.examples, directory, learner, seed)


def write_learned(examples: Examples, directory: Path, learner: str, seed: int) -> Learned:
    """Learn from the first part of the examples, measure on the last, write, and read back."""
    begin = int(len(examples.fraud) * (1 - TEST_SHARE))
    known, later = examples.rows(0, begin), examples.rows(begin, len(examples.fraud))
    if known.fraud.sum() < FRAUDS_MIN or not 0 < later.fraud.sum() < len(later.fraud):
        raise HistoryRefused(f"it has under {FRAUDS_MIN} frauds to learn from, or none to be measured on")
    estimator = _estimator(learner, seed)
    estimator.fit(columns(known), known.fraud.astype(np.int64))
    content = to_onnx(estimator)
    rows = columns(later)
    expected = estimator.predict_proba(rows)[:, 1]
    _compare(content, rows, expected)
    precision = float(average_precision_score(later.fraud, expected))
    write_onnx(
        directory,
        content,
        MODEL_FEATURES,
        {
            "learner": learner,
            "seed": seed,
            "examples": len(known.fraud),
            "frauds": int(known.fraud.sum()),
            "data_sha256": examples_sha256(examples),
            "average_precision_ppm": round(precision * PPM),
            "code": code(),
            "libraries": {**libraries(), "skl2onnx": skl2onnx.__version__},
        },
    )
    digest = hashlib.sha256((directory / "challenger.json").read_bytes()).hexdigest()
    return Learned(digest, len(known.fraud), int(known.fraud.sum()), round(precision, 4), len(content))


def columns(examples: Examples) -> NDArray[np.float32]:
    """The features as the shadow gives them: NONE is -1, and values from 2^24 on lose their last digits."""
    chosen: NDArray[np.float32] = examples.features[:, [COLUMN[name] for name in MODEL_FEATURES]].astype(np.float32)
    return chosen


def to_onnx(estimator: Any) -> bytes:
    """An estimator that was fitted in this process, as ONNX with one input and its probabilities."""
    model = skl2onnx.convert_sklearn(
        estimator,
        initial_types=[(INPUT, FloatTensorType([None, len(MODEL_FEATURES)]))],
        options={id(estimator): {"zipmap": False}},
        target_opset=OPSET,
    )
    names = [each.name for each in model.graph.output]
    assert OUTPUT in names, "skl2onnx calls them so"
    content: bytes = model.SerializeToString()
    return content


def _estimator(learner: str, seed: int) -> Any:
    if learner == "boosted":
        # Not the histogram kind: skl2onnx 1.20 can't convert it under numpy 2.4, for it mixes kinds of integers.
        return GradientBoostingClassifier(n_estimators=150, subsample=0.5, max_depth=4, random_state=seed)
    if learner == "forest":
        return RandomForestClassifier(200, min_samples_leaf=20, max_depth=16, n_jobs=1, random_state=seed)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed))


def _compare(content: bytes, rows: NDArray[np.float32], expected: NDArray[np.float64]) -> None:
    """Raises Unlike; ModelRefused where it is no model that the shadow takes."""
    session = checked_session(content, rows.shape[1])
    (given,) = session.run([OUTPUT], {INPUT: rows})
    apart = np.abs(np.asarray(given)[:, 1] - expected) > DIFFERENCE_MAX
    if apart.mean() > FLIPPED_SHARE_MAX:
        raise Unlike(f"as ONNX it answers otherwise on {apart.mean():.2%} of the payments")
