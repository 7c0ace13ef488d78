"""Which payments of a history may teach, and what: the truth about each as far as it is known, and never more.

Invariants
1. A payment younger than the delay that labels take teaches nothing, labelled or not: of the youngest days only the
   frauds that were found at once would be known, and they would stand among payments taken for honest.
2. A payment that was stopped and has no label of its own teaches nothing: nobody knows what would have become of it.
   It counts neither as honest nor as fraud, and how many there are is told.
3. A payment that was let through, is old enough and has no label is honest: somebody would have complained.
4. What is taught at a moment (`known_at`) rests on labels that were known by then.
5. A payment about which no model is asked, as a value was UNKNOWN (`pipeline.decide.reasons.asking`), teaches nothing.

Leaving stopped payments out makes what the model in force blocks rare among the examples. Where some like them were let
through (by the fallback, by a breaker's sample, by a person) or were labelled, these stand for the others as well: each
counts by one over the share, among all payments with such a probability, of which the truth is known, up to WEIGHT_MAX.
So they count where probabilities are calibrated and settings judged. The tables are learned without weights, because
what was stopped follows from what the features say, and then weights bring only noise (ADR 0042). Where the truth of
none is known, no weight can help, and the count is told ("unseen").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.artefact.strict import Json
from models.train.history import Examples, HistoryRefused
from pipeline.decide.reasons.asking import silencing
from pipeline.domain.features import NONE

Column = NDArray[np.int64]

DAY_MS: Final = 86_400_000
BANDS_PPM: Final = (0, 10_000, 50_000, 200_000, 500_000, 800_000, 950_000)
"""Lower ends of the bands of probability within which a known payment stands for an unknown one."""
WEIGHT_MAX: Final = 20.0
"""Most payments that one example may stand for. Beyond, a handful of labels would be most of what is learned."""
UNLABELLED: Final = -1


class Truth(NamedTuple):
    """What is known of each example, in their order."""

    label: NDArray[np.int8]  # 1 fraud, 0 honest, UNLABELLED
    labelled_at_ms: Column  # when the label was known; any number where there is none
    stopped: NDArray[np.bool_]  # it was not let through, as far as the history tells
    probability_ppm: Column  # by the model in force when it was decided; NONE where it said nothing

    @classmethod
    def of_labels(cls, label: NDArray[np.int8], labelled_at_ms: Column) -> Truth:
        """Make it of a history that doesn't tell what was decided."""
        count = len(label)
        return cls(label, labelled_at_ms, np.zeros(count, dtype=np.bool_), np.full(count, NONE, dtype=np.int64))


class History(NamedTuple):
    """Examples that may teach, in time order."""

    examples: Examples
    known_at_ms: Column  # when the truth about each was known
    weight: NDArray[np.float64] | None  # None where all count the same
    delay_ms: int
    source: str
    labels: Mapping[str, Json]  # how their truth is known, for the manifest
    stopped: NDArray[np.bool_] | None = None  # before its label was known nothing was known of it; None where none was

    def rows(self, begin: int, end: int) -> History:
        place = np.arange(len(self.known_at_ms))
        return self.chosen((begin <= place) & (place < end))

    def chosen(self, rows: NDArray[np.bool_]) -> History:
        weight = None if self.weight is None else self.weight[rows]
        stopped = None if self.stopped is None else self.stopped[rows]
        examples, known_at_ms = self.examples.chosen(rows), self.known_at_ms[rows]
        return self._replace(examples=examples, known_at_ms=known_at_ms, weight=weight, stopped=stopped)


def final(examples: Examples, source: str, delay_ms: int = 0) -> History:
    """Take each example's own word for the truth: a simulator's, or a file's whose labels are all in.

    delay_ms: how long it took labels to come in. They are in now, and were not when a validation period began.
    """
    unknown = _is_unknown(examples)
    answered = examples.chosen(~unknown)
    labels: dict[str, Json] = {"kind": "final", "left_out_as_unknown": int(unknown.sum())}
    return History(answered, answered.event_time_ms + delay_ms, None, delay_ms, source, labels)


def in_order(examples: Examples) -> Examples:
    """Put examples in the order of their payments' own times; the log has a late payment where it came."""
    return examples.chosen(np.argsort(examples.event_time_ms, kind="stable"))


def settled(
    examples: Examples, truth: Truth, until_ms: int, delay_ms: int, source: str, reads: Collection[str] | None = None
) -> History:
    """Keep what may teach by what is known at `until_ms`, the history's end. Raises HistoryRefused.

    reads: the features that the model is to read; None: it may be any.
    """
    known = (truth.label != UNLABELLED) & (truth.labelled_at_ms <= until_ms)
    old, answered = examples.event_time_ms <= until_ms - delay_ms, ~_is_unknown(examples, reads)
    mature = old & answered
    taught = known | ~truth.stopped
    kept = mature & taught
    if old.any() and not mature.any():
        raise HistoryRefused("of all its payments that are old enough something was not known, so no model is asked")
    if not mature.any():
        raise HistoryRefused(
            f"no payment of it is older than the {delay_ms // DAY_MS} days that labels take, so none is known honest"
        )
    if not kept.any():
        raise HistoryRefused("all its payments were stopped and none is labelled, so nothing is known of any")
    weight, bands = _weights(truth.probability_ppm[mature], taught[mature])
    fraud = known & (truth.label == 1)
    known_at_ms = np.where(known, truth.labelled_at_ms, examples.event_time_ms + delay_ms)
    labels: dict[str, Json] = {
        "kind": "settled",
        "delay_ms": delay_ms,
        "until_ms": until_ms,
        "payments": len(mature),
        "left_out_as_young": int((~old).sum()),
        "left_out_as_unknown": int((old & ~answered).sum()),
        "left_out_as_stopped_and_unlabelled": int((mature & ~taught).sum()),
        "stopped_and_labelled": int((kept & truth.stopped).sum()),
        "bands": bands,
    }
    every = History(examples._replace(fraud=fraud), known_at_ms, None, delay_ms, source, labels, truth.stopped)
    every = every.chosen(kept)
    return every._replace(weight=None if weight is None else weight[taught[mature]])


def known_at(history: History, moment_ms: int) -> History:
    """Return what could have been taught at a moment: payments old enough by then, by the labels of then.

    A payment that was stopped and labelled later taught nothing then.
    """
    taught = history.examples.event_time_ms <= moment_ms - history.delay_ms
    if history.stopped is not None:
        taught &= ~history.stopped | (history.known_at_ms <= moment_ms)
    then = history.chosen(taught)
    fraud = then.examples.fraud & (then.known_at_ms <= moment_ms)
    return then._replace(examples=then.examples._replace(fraud=fraud))


def _is_unknown(examples: Examples, reads: Collection[str] | None = None) -> NDArray[np.bool_]:
    return np.asarray(silencing(examples.features, reads).any(axis=1))


def _weights(probability_ppm: Column, taught: NDArray[np.bool_]) -> tuple[NDArray[np.float64] | None, Json]:
    """Return each payment's weight, None where all is known, and the bands where it isn't, for people.

    Payments without a probability are a band of their own.
    """
    if taught.all():
        return None, []
    band = np.searchsorted(np.array(BANDS_PPM), probability_ppm, side="right")
    weight, told = np.ones(len(band)), list[Json]()
    for each in np.unique(band).tolist():
        of_band = band == each
        known, count = int((of_band & taught).sum()), int(of_band.sum())
        weight[of_band] = min(count / known, WEIGHT_MAX) if known else 1.0
        if known < count:
            told.append(
                {
                    "from_ppm": NONE if each == 0 else BANDS_PPM[each - 1],
                    "payments": count,
                    "known": known,
                    "unseen": 0 if known else count,
                    "weight_micro": round(float(weight[of_band][0]) * 1_000_000) if known else 0,
                }
            )
    return weight, told
