"""The new features on streams of other shape: without them, with all of them, and with those that were chosen.

Every shape is made several times, by other seeds, each time streamed through the windows that serve, and judged as the
Handbook's payments are: groups of features are chosen on four validation weeks, and four later weeks tell what that was
worth. Each repetition is a stream of its own, so the standard error over repetitions holds all that is chance: the
frauds that there happened to be, the learner's seed, and the choice.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np

from models.evaluate.folds import TEST_STARTS, VALIDATION_STARTS, Fold, days_of, folds, judged, what_folds_lack
from models.evaluate.learners import WITH, WITHOUT, Glass
from models.evaluate.shapes import EARLIER, stream
from models.evaluate.stream import Payments, read
from models.train.history import HistoryRefused
from models.train.learn import OPTIONAL_FEATURES

WORSE_MAX: Final = 0.005
"""Most that new features may cost of the average precision of a stream (issue 15)."""
SURE: Final = 2.0
"""Standard errors over repetitions beyond which a loss is no longer taken for chance."""
COLUMNS: Final = ("transaction_id", "tx_time_s", "customer_id", "terminal_id", "amount_minor", "fraud")

Say = Callable[[str], None]


class Compared(NamedTuple):
    """One repetition; average precisions are means of the four test weeks."""

    frauds_learned: int  # in the week that a test week is learned from, on average
    groups: tuple[str, ...]  # that were chosen
    without: float
    everything: float
    chosen: float


class Summed(NamedTuple):
    """A shape's repetitions. Differences are to the same payments without the new features."""

    shape: str
    frauds_learned: int
    without: float
    everything: float
    everything_error: float | None  # None with a single repetition
    chosen: float
    chosen_error: float | None
    taken: dict[str, int]  # how often each group was chosen

    @property
    def verdict(self) -> str:
        if self.chosen >= -WORSE_MAX:
            return "ok"
        is_sure = self.chosen_error is not None and self.chosen + SURE * self.chosen_error < -WORSE_MAX
        return "WORSE" if is_sure else "not told from chance"


def summed(shape: str, found: Sequence[Compared]) -> Summed:
    everything = [each.everything - each.without for each in found]
    chosen = [each.chosen - each.without for each in found]
    return Summed(
        shape,
        round(float(np.mean([each.frauds_learned for each in found]))),
        float(np.mean([each.without for each in found])),
        float(np.mean(everything)),
        _error(everything),
        float(np.mean(chosen)),
        _error(chosen),
        {group: sum(group in each.groups for each in found) for group in OPTIONAL_FEATURES},
    )


def _error(differences: Sequence[float]) -> float | None:
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else None


def compared(shape: str, seed: int, payments: int, bags: int, jobs: int) -> Compared:
    """Make one stream and judge on it. Raises HistoryRefused where a week of it has nothing to learn or judge by."""
    held = _held(shape, seed, payments)
    validation, tested = (_folds(held, starts, shape) for starts in (VALIDATION_STARTS, TEST_STARTS))
    glass = Glass(bags, jobs)
    found = glass.chosen(validation).chosen
    scored = {
        features: float(
            np.mean([judged(part.tested, glass.learning(features, 1)(part)).average_precision for part in tested])
        )
        for features in dict.fromkeys((WITHOUT, WITH, found.features))
    }
    frauds = round(float(np.mean([part.learned.fraud.sum() for part in tested])))
    return Compared(frauds, found.groups, scored[WITHOUT], scored[WITH], scored[found.features])


def _folds(held: Payments, starts: tuple[int, ...], shape: str) -> list[Fold]:
    parts = list(folds(held, tuple(start - EARLIER for start in starts)))
    if lack := what_folds_lack(parts):
        raise HistoryRefused(f"the stream '{shape}' is too small: {lack}")
    return parts


def _held(shape: str, seed: int, payments: int) -> Payments:
    made = stream(shape, seed, payments)
    starts = tuple(start - EARLIER for start in (*VALIDATION_STARTS, *TEST_STARTS))
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{shape}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            columns = (made.time_s, made.account, made.payee, made.amount_minor, made.fraud.astype(np.int64))
            writer.writerows(zip(range(len(made.fraud)), *(column.tolist() for column in columns), strict=True))
        return read(path, days_of(starts))


def table(found: Sequence[Summed], repetitions: int) -> str:
    head = ("stream", "frauds", "without", "with all", "chosen", "groups chosen", "")
    lines = [head]
    for each in found:
        groups = ", ".join(f"{group} {count}/{repetitions}" for group, count in each.taken.items())
        differences = (
            _signed(each.everything, each.everything_error),
            _signed(each.chosen, each.chosen_error),
        )
        lines.append((each.shape, str(each.frauds_learned), f"{each.without:.3f}", *differences, groups, each.verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _signed(difference: float, error: float | None) -> str:
    return f"{difference:+.4f}" + ("" if error is None else f" ± {error:.4f}")
