"""Measure a model on payments that it didn't learn from: overall, by segment, by kind of fraud, and by threshold."""

from __future__ import annotations

import hashlib
import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.card.facts import (
    Estimate,
    Fairness,
    FairnessGroup,
    FairnessVerdict,
    FraudKind,
    Measurement,
    Rate,
    ReliabilityBin,
    Slice,
    Threshold,
)
from models.card.measuring.intervals import average_precision, rate, ratio
from models.card.measuring.measured import (
    Measured,
    Part,
    amount_parts,
    channel_parts,
    declared_parts,
    declared_segments,
    kinds_of,
)

RESAMPLES: Final = 200
"""Resamples of a bootstrap: the ends of a 95 % interval then stand on the fifth value from either end, and a card of
100,000 payments takes seconds."""
FAIRNESS_FLOOR_PPM: Final = 800_000
"""The policy's floor for the ratio of false-positive rates: four fifths."""
THRESHOLDS_PPM: Final = (
    10_000, 50_000, 100_000, 200_000, 300_000, 400_000, 500_000, 600_000, 700_000, 800_000, 850_000, 900_000, 950_000,
    980_000, 990_000,
)  # fmt: skip
RELIABILITY_EDGES_PPM: Final = (
    0, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 400_000, 600_000, 800_000, 900_000, 1_000_001,
)  # fmt: skip
"""Finer where most payments lie; the last bin holds certainty, too."""
_PPM: Final = 1_000_000


def measurement(measured: Measured, block_at_ppm: int, alerted_per_mille: int, seed: int) -> Measurement:
    """Measure everything. There must be a payment."""
    assert len(measured.fraud), "there is nothing to measure on"
    everything = np.arange(len(measured.fraud))
    segments = declared_segments(measured)
    parts = [*amount_parts(measured), *channel_parts(measured)]
    parts += [part for segment in segments for part in declared_parts(measured, segment)]
    slices = tuple(_slice(measured, part, block_at_ppm, seed) for part in parts)
    return Measurement(
        from_ms=int(measured.event_time_ms.min()),
        until_ms=int(measured.event_time_ms.max()),
        block_at_ppm=block_at_ppm,
        alerted_per_mille=alerted_per_mille,
        resamples=RESAMPLES,
        without_amount=int((measured.amount_gbp_minor < 0).sum()),
        overall=_slice(measured, Part("", None, everything), block_at_ppm, seed),
        slices=slices,
        kinds=_kinds(measured, block_at_ppm, alerted_per_mille),
        reliability=_reliability(measured),
        thresholds=tuple(_threshold(measured, at) for at in sorted({*THRESHOLDS_PPM, block_at_ppm})),
        fairness_floor_ppm=FAIRNESS_FLOOR_PPM,
        fairness=tuple(_fairness(name, [each for each in slices if each.segment == name]) for name in segments),
    )


def _slice(measured: Measured, part: Part, block_at_ppm: int, seed: int) -> Slice:
    fraud, rows = measured.fraud[part.rows], part.rows
    blocked = measured.probability_ppm[rows] >= block_at_ppm
    return Slice(
        segment=part.segment,
        value=part.value,
        payments=len(rows),
        frauds=int(fraud.sum()),
        fraud_minor=_money(measured, rows[fraud]),
        blocked=rate(int(blocked.sum()), len(rows)),
        caught=rate(int((blocked & fraud).sum()), int(fraud.sum())),
        caught_minor=_money(measured, rows[blocked & fraud]),
        stopped=rate(int((blocked & ~fraud).sum()), int((~fraud).sum())),
        stopped_minor=_money(measured, rows[blocked & ~fraud]),
        precise=rate(int((blocked & fraud).sum()), int(blocked.sum())),
        average_precision=_ranking(measured, part, seed),
    )


def _ranking(measured: Measured, part: Part, seed: int) -> Estimate:
    named = hashlib.sha256(f"{part.segment}\0{part.value}".encode()).digest()[:8]
    seeds = (seed, int.from_bytes(named, "big"))
    return average_precision(measured.score_micro[part.rows], measured.fraud[part.rows], RESAMPLES, seeds)


def _kinds(measured: Measured, block_at_ppm: int, alerted_per_mille: int) -> tuple[FraudKind, ...]:
    order = np.argsort(-measured.score_micro, kind="stable")
    alerted = np.zeros(len(order), dtype=np.bool_)
    alerted[order[: max(1, len(order) * alerted_per_mille // 1000)]] = True
    blocked = measured.probability_ppm >= block_at_ppm
    return tuple(
        FraudKind(
            kind=kind,
            frauds=len(rows),
            fraud_minor=_money(measured, rows),
            caught=rate(int(blocked[rows].sum()), len(rows)),
            caught_minor=_money(measured, rows[blocked[rows]]),
            alerted=rate(int(alerted[rows].sum()), len(rows)),
        )
        for kind, rows in kinds_of(measured).items()
    )


def _reliability(measured: Measured) -> tuple[ReliabilityBin, ...]:
    found = np.searchsorted(np.array(RELIABILITY_EDGES_PPM[1:]), measured.probability_ppm, side="right")
    bins = []
    for number, (low, high) in enumerate(itertools.pairwise(RELIABILITY_EDGES_PPM)):
        rows = np.flatnonzero(found == number)
        mean = int(measured.probability_ppm[rows].sum()) // len(rows) if len(rows) else None
        observed = rate(int(measured.fraud[rows].sum()), len(rows))
        bins.append(ReliabilityBin(low, min(high, _PPM), len(rows), mean, observed))
    return tuple(bins)


def _threshold(measured: Measured, at_ppm: int) -> Threshold:
    blocked, fraud = measured.probability_ppm >= at_ppm, measured.fraud
    return Threshold(
        at_ppm=at_ppm,
        caught=rate(int((blocked & fraud).sum()), int(fraud.sum())),
        caught_minor=_money(measured, np.flatnonzero(blocked & fraud)),
        stopped=rate(int((blocked & ~fraud).sum()), int((~fraud).sum())),
        stopped_minor=_money(measured, np.flatnonzero(blocked & ~fraud)),
    )


def _fairness(segment: str, slices: list[Slice]) -> Fairness:
    """Compare the groups that declare the segment; those that don't are no group."""
    groups = [each for each in slices if each.value is not None]
    honest, stopped = sum(each.stopped.whole for each in groups), sum(each.stopped.part for each in groups)
    compared = tuple(
        _group(each, rate(stopped - each.stopped.part, honest - each.stopped.whole), len(groups)) for each in groups
    )
    rates = [each.stopped.ppm for each in groups if each.stopped.ppm is not None]
    least_over_greatest = min(rates) * _PPM // max(rates) if len(rates) > 1 and max(rates) else None
    verdicts = {each.verdict for each in compared}
    return Fairness(segment, compared, least_over_greatest, _worst(verdicts))


def _group(group: Slice, others: Rate, comparisons: int) -> FairnessGroup:
    assert group.value is not None
    compared = ratio(group.stopped, others, comparisons)
    middle, low, high = compared or (None, None, None)
    return FairnessGroup(group.value, group.blocked, group.stopped, middle, low, high, _verdict(compared))


def _verdict(compared: tuple[int, int, int] | None) -> FairnessVerdict:
    """Say it only where the whole interval says it."""
    if compared is None:
        return FairnessVerdict.NOT_ENOUGH_DATA
    _, low, high = compared
    if high < FAIRNESS_FLOOR_PPM:
        return FairnessVerdict.BELOW
    return FairnessVerdict.HELD if low >= FAIRNESS_FLOOR_PPM else FairnessVerdict.NOT_ENOUGH_DATA


def _worst(verdicts: set[FairnessVerdict]) -> FairnessVerdict:
    for verdict in (FairnessVerdict.BELOW, FairnessVerdict.NOT_ENOUGH_DATA, FairnessVerdict.HELD):
        if verdict in verdicts:
            return verdict
    return FairnessVerdict.NOT_ENOUGH_DATA


def _money(measured: Measured, rows: NDArray[np.intp]) -> int:
    return int(np.maximum(measured.amount_gbp_minor[rows], 0).sum())
