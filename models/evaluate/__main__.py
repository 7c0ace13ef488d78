"""Measure the learner on payments in the Fraud Detection Handbook's form, by its protocol.

    python -m models.evaluate handbook PATH [--bags N] [--seeds N] [--validation] [--earlier DAYS]
    python -m models.evaluate streams [--shape NAME]... [--repetitions N] [--payments N]

The features are those of the stream: `models.train.history` feeds the very windows that serve, from the file's first
payment on, with labels as they come. Groups of features are chosen on the validation folds, as a training chooses them.
For each fold a model is learned, compiled to integers and judged by its integer score. Beside it stand the same learner
with all of them, and without what the stream knows of unusual payments and runs of frauds, and two other learners with
the same features, so that nobody takes the features' gain for the learner's.

`streams` makes payments of different shapes, several times each, and says what the new features cost or gain on each
(`models.evaluate.streams`); it ends with 1 where the chosen ones are worse than none by more than chance tells.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from models.evaluate.folds import (
    TEST_STARTS,
    VALIDATION_STARTS,
    Fold,
    Judged,
    Scores,
    average_precisions_resampled,
    card_precisions,
    days_of,
    days_resampled,
    folds,
    judged,
    what_folds_lack,
)
from models.evaluate.learners import ALONE, WITH, WITHOUT, Glass, Learn, boosted_trees, forest
from models.evaluate.shapes import PAYMENTS, PAYMENTS_MIN, SHAPES
from models.evaluate.stream import Payments, read
from models.evaluate.streams import WORSE_MAX, Summed, compared, summed
from models.evaluate.streams import table as table_of_streams
from models.train.feature_sets import Choice
from models.train.history import HistoryRefused
from pipeline.publish.payment_source import Unreadable
from pipeline.terminal.output import Advance, progress

RESAMPLES: Final = 200
SURE_PERCENT: Final = 95
AP: Final = "average_precision"
CHOSEN: Final = "glass box, features chosen"
OLD: Final = "glass box without these features"
PUBLISHED: Final = (
    ("logistic regression", 0.868, 0.623, 0.297),
    ("random forest", 0.870, 0.678, 0.299),
    ("XGBoost, exact splits", 0.872, 0.687, 0.302),
    ("feed-forward network", 0.876, 0.675, 0.303),
    ("balanced bagging", 0.879, 0.680, 0.305),
)
"""The Handbook's own figures with its 15 features: the mean of the four weekly test folds."""


class Measured(NamedTuple):
    name: str
    folds: tuple[Judged, ...]
    scores: tuple[Scores, ...]

    def mean(self, measure: str) -> float:
        return float(np.mean([getattr(fold, measure) for fold in self.folds]))


def measured(parts: list[Fold], learners: dict[str, Learn], advance: Advance) -> Iterator[Measured]:
    """Yield what each learner comes to."""
    for place, (name, learn) in enumerate(learners.items()):
        scores = []
        for number, part in enumerate(parts):
            scores.append(learn(part))
            advance(place * len(parts) + number + 1)
        found = zip(parts, scores, strict=True)
        yield Measured(name, tuple(judged(part.tested, score) for part, score in found), tuple(scores))


def intervals(parts: list[Fold], of: Measured) -> dict[str, list[float]]:
    """The intervals of both means: of the average precision by account, of the card precision by day."""
    pairs = list(zip(parts, of.scores, strict=True))
    precision = [
        average_precisions_resampled(part.tested, score, RESAMPLES, seed) for seed, (part, score) in enumerate(pairs)
    ]
    cards = [
        days_resampled(card_precisions(part.tested, score), RESAMPLES, seed) for seed, (part, score) in enumerate(pairs)
    ]
    return {"average_precision": _interval(precision), "card_precision": _interval(cards)}


def _interval(resampled: list[Scores]) -> list[float]:
    tail = (100 - SURE_PERCENT) / 2
    low, high = np.percentile(np.mean(resampled, axis=0), [tail, 100 - tail])
    return [round(float(low), 4), round(float(high), 4)]


def difference(parts: list[Fold], of: Measured, to: Measured) -> dict[str, object]:
    """The difference of two average precisions, and its interval over the same resamples of the accounts."""
    both = [
        average_precisions_resampled(part.tested, one, RESAMPLES, seed)
        - average_precisions_resampled(part.tested, other, RESAMPLES, seed)
        for seed, (part, one, other) in enumerate(zip(parts, of.scores, to.scores, strict=True))
    ]
    return {"mean": round(of.mean(AP) - to.mean(AP), 4), "interval": _interval(both)}


def handbook(asked: argparse.Namespace) -> dict[str, object]:
    starts = tuple(start - asked.earlier for start in (VALIDATION_STARTS if asked.validation else TEST_STARTS))
    choosing = tuple(start - asked.earlier for start in VALIDATION_STARTS if start >= asked.earlier)
    with progress("streaming", None) as advance:
        payments = read(asked.path, days_of((*choosing, *starts)), advance)
    parts = list(folds(payments, starts))
    if lack := what_folds_lack(parts):
        days = days_of(starts)
        raise HistoryRefused(f"days {days.start} to {days.stop - 1} since the first payment are needed, but {lack}")
    glass = Glass(asked.bags, asked.jobs)
    validation = _validation(payments, choosing)
    with progress("choosing features", None) as advance:
        found = glass.chosen(validation, advance)
    told = _choice_told(found, len(validation))
    print("\n".join(_choice_lines(told)), file=sys.stderr, flush=True)
    features = found.chosen.features
    learners = {f"{CHOSEN}, seed {seed}": glass.learning(features, seed) for seed in range(1, asked.seeds + 1)}
    learners |= {
        "glass box, all of these features": glass.learning(WITH, 1),
        OLD: glass.learning(WITHOUT, 1),
        "glass box, amount and these alone": glass.learning(ALONE, 1),
        "XGBoost, all of these features": boosted_trees(WITH, 1, asked.jobs),
        "random forest, all of these features": forest(WITH, 1, asked.jobs),
    }
    results = []
    with progress("learning", len(learners) * len(starts)) as advance:
        for each in measured(parts, learners, advance):
            print(f"{each.name:40}" + _row(*(each.mean(name) for name in Judged._fields)), file=sys.stderr, flush=True)
            results.append(each)
    return {
        "folds": "validation" if asked.validation else "test",
        "payments_learned": [len(part.learned.fraud) for part in parts],
        "payments_tested": [len(part.tested.fraud) for part in parts],
        "choice": told,
        "means": {each.name: {name: round(each.mean(name), 4) for name in Judged._fields} for each in results},
        "by_fold": {each.name: [round(fold.average_precision, 4) for fold in each.folds] for each in results},
        "intervals_of_the_first": intervals(parts, results[0]),
        "first_to_without": difference(parts, results[0], next(each for each in results if each.name == OLD)),
        "bags": asked.bags,
    }


def _validation(payments: Payments, starts: tuple[int, ...]) -> list[Fold]:
    """Return the validation folds that the file has; one without frauds, or before the file began, says nothing."""
    return [fold for fold in folds(payments, starts) if not what_folds_lack([fold])]


def _choice_told(found: Choice, periods: int) -> dict[str, object]:
    return {
        "validation_folds": periods,
        "chosen": list(found.chosen.groups),
        "sets": [
            {
                "groups": list(each.set.groups),
                "average_precision": round(each.mean_ppm / 1e6, 4) if each.precisions else None,
                "behind_best": round(each.behind_ppm / 1e6, 4),
                "may_be_noise": None if each.noise_ppm is None else round(each.noise_ppm / 1e6, 4),
            }
            for each in found.weighed
        ],
    }


def _row(auc: float, average_precision: float, card_precision: float) -> str:
    return f"{auc:8.3f}{average_precision:8.3f}{card_precision:8.3f}"


def table(told: dict[str, object]) -> str:
    means = told["means"]
    assert isinstance(means, dict)
    lines = [f"{'mean of four weekly ' + str(told['folds']) + ' folds':40}{'AUC':>8}{'AP':>8}{'CP@100':>8}"]
    lines += [f"{name:40}{_row(*each.values())}" for name, each in means.items()]
    lines += [f"{'published: ' + name:40}{_row(*each)}" for name, *each in PUBLISHED]
    lines.append(f"{SURE_PERCENT} % intervals of the first line (average precision by account, CP@100 by day):")
    lines.append(json.dumps(told["intervals_of_the_first"]))
    lines.append("average precision of the first line less that without these features, over the same resamples:")
    lines.append(json.dumps(told["first_to_without"]))
    lines += _choice_lines(told["choice"])
    return "\n".join(lines)


def _choice_lines(choice: Any) -> list[str]:
    chosen = ", ".join(choice["chosen"]) or "no group"
    lines = [
        f"chosen on {choice['validation_folds']} validation folds: {chosen} (the fewest groups that are behind the "
        "best by no more than may be noise)",
        f"{'groups':40}{'AP':>8}{'behind':>8}{'noise':>8}",
    ]
    for each in choice["sets"]:
        figures = (each["average_precision"], each["behind_best"], each["may_be_noise"])
        cells = "".join(f"{'-':>8}" if figure is None else f"{figure:8.4f}" for figure in figures)
        lines.append(f"{', '.join(each['groups']) or 'none':40}{cells}")
    return lines


def streams(asked: argparse.Namespace) -> list[Summed]:
    found, shapes = [], asked.shape or list(SHAPES)
    with progress("comparing", len(shapes) * asked.repetitions) as advance:
        for number, shape in enumerate(shapes):
            of_shape = []
            for place in range(asked.repetitions):
                of_shape.append(compared(shape, asked.seed + place, asked.payments, asked.bags, asked.jobs))
                advance(number * asked.repetitions + place + 1)
            found.append(summed(shape, of_shape))
            print(table_of_streams(found[-1:], asked.repetitions).splitlines()[1], file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.evaluate", description=(__doc__ or "").partition("\n")[0])
    names = parser.add_subparsers(dest="name", required=True)
    of_file = names.add_parser("handbook", help="the protocol, on a file of labelled payments")
    of_file.add_argument("path", type=Path, help="the file of labelled payments")
    of_file.add_argument(
        "--seeds", type=_positive, default=3, help="seeds that the glass box is learned with; 3 by default"
    )
    of_file.add_argument("--validation", action="store_true", help="measure on the folds that features are chosen on")
    of_file.add_argument("--earlier", type=int, default=0, help="days by which folds begin earlier, for a shorter file")
    of_streams = names.add_parser("streams", help="what the new features do to generated streams of other shapes")
    of_streams.add_argument("--shape", action="append", choices=list(SHAPES), help="only this; may be repeated")
    of_streams.add_argument("--repetitions", type=_positive, default=3, help="streams of each shape; 3 by default")
    of_streams.add_argument(
        "--payments", type=_at_least(PAYMENTS_MIN), default=PAYMENTS, help=f"of a stream; {PAYMENTS:,} by default"
    )
    of_streams.add_argument("--seed", type=_at_least(0), default=1, help="the first stream's; the next has the next")
    for each in (of_file, of_streams):
        each.add_argument("--bags", type=_positive, default=8, help="bags of each learner; 8 by default")
        each.add_argument("--json", action="store_true", help="print JSON in place of the table")
        each.add_argument(
            "--jobs",
            type=_positive,
            default=os.cpu_count() or 1,
            help="bags at a time; as many as processors by default",
        )
    asked = parser.parse_args()
    try:
        if asked.name == "streams":
            _print_streams(streams(asked), asked)
            return
        told = handbook(asked)
    except (HistoryRefused, Unreadable) as refused:
        raise SystemExit(str(refused)) from refused
    print(json.dumps(told) if asked.json else table(told))


def _at_least(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"it is not at least {least:,}")
        return value

    return whole


_positive: Final = _at_least(1)


def _print_streams(found: list[Summed], asked: argparse.Namespace) -> None:
    """Print, and end with 1 where a stream is worse."""
    if asked.json:
        print(json.dumps([{**each._asdict(), "verdict": each.verdict} for each in found]))
    else:
        print(
            f"average precision on {asked.payments:,} payments, {asked.repetitions} streams of each shape; with "
            "all and chosen: the difference to without, and its standard error"
        )
        print(table_of_streams(found, asked.repetitions))
    if worse := [each.shape for each in found if each.verdict == "WORSE"]:
        raise SystemExit(f"worse by more than {WORSE_MAX}: {', '.join(worse)}")


if __name__ == "__main__":
    main()
