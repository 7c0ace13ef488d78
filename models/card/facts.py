"""The facts of a model's card: everything that its three forms say, measured or recorded, as values.

Invariants
1. A figure is an integer: money in minor units of GBP, shares in millionths, contributions in millionths of log-odds.
2. What isn't known is None, or an empty tuple that the card calls unknown. No default stands for a measurement.
3. Facts survive the way into canonical JSON and back (`facts_json`), so that a card can be made again with what was
   found later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from models.artefact.strict import Json


class Rate(NamedTuple):
    """A share of a count, with its 95 % interval by Wilson; all None where there was nothing to count."""

    part: int
    whole: int
    ppm: int | None
    low_ppm: int | None
    high_ppm: int | None


class Estimate(NamedTuple):
    """A measure with its 95 % interval by bootstrap; all None where there are too few frauds to say."""

    ppm: int | None
    low_ppm: int | None
    high_ppm: int | None


class Slice(NamedTuple):
    """The quality of the model on some of the measured payments, at the threshold from which it answers BLOCK."""

    segment: str  # "" for all payments
    value: str | None  # None for payments that don't say
    payments: int
    frauds: int
    fraud_minor: int
    blocked: Rate  # of all payments
    caught: Rate  # blocked frauds, of the frauds
    caught_minor: int
    stopped: Rate  # blocked honest payments, of the honest ones: the false-positive rate
    stopped_minor: int
    precise: Rate  # frauds, of the blocked payments
    average_precision: Estimate


class FraudKind(NamedTuple):
    """The share of one kind of fraud that is found."""

    kind: str
    frauds: int
    fraud_minor: int
    caught: Rate  # blocked, of the kind
    caught_minor: int
    alerted: Rate  # among the highest-scored payments that reviewers can look at, of the kind


class ReliabilityBin(NamedTuple):
    """Payments whose probability lies in [from_ppm, below_ppm), and how many of them were fraud."""

    from_ppm: int
    below_ppm: int
    payments: int
    mean_ppm: int | None
    observed: Rate


class Threshold(NamedTuple):
    """The consequences if payments were blocked from this probability on."""

    at_ppm: int
    caught: Rate
    caught_minor: int
    stopped: Rate
    stopped_minor: int


class FairnessVerdict(StrEnum):
    HELD = "at or above the floor"
    BELOW = "below the floor"
    NOT_ENOUGH_DATA = "not enough data"


class FairnessGroup(NamedTuple):
    """One value of a declared segment against all other payments that declare the segment.

    `ratio_ppm` is the others' false-positive rate over the group's: below 1,000,000 the group's honest payments are
    stopped more often. Its interval is corrected for the number of the segment's groups.
    """

    value: str
    outcome: Rate  # blocked, of all the group's payments
    false_positive: Rate  # blocked, of the group's honest payments
    ratio_ppm: int | None
    ratio_low_ppm: int | None
    ratio_high_ppm: int | None
    verdict: FairnessVerdict


class Fairness(NamedTuple):
    """The groups of a declared segment, and the lowest false-positive rate over the highest."""

    segment: str
    groups: tuple[FairnessGroup, ...]
    least_over_greatest_ppm: int | None
    verdict: FairnessVerdict


class Measurement(NamedTuple):
    """All that was measured, on payments later than any that the model learned or was calibrated from."""

    from_ms: int
    until_ms: int
    block_at_ppm: int
    alerted_per_mille: int
    resamples: int
    without_amount: int  # payments whose worth in GBP isn't known: they count, and add no money
    overall: Slice
    slices: tuple[Slice, ...]
    kinds: tuple[FraudKind, ...]  # empty where the history doesn't say of what kind a fraud was
    reliability: tuple[ReliabilityBin, ...]
    thresholds: tuple[Threshold, ...]
    fairness_floor_ppm: int
    fairness: tuple[Fairness, ...]  # empty where no payment declares a segment


class Shape(NamedTuple):
    """One table of the model. Bin 0 lies below the first edge; where that is 0, it holds the values that aren't known.

    `mean_micro` is the mean absolute contribution over the measured payments. `payments` counts them by bin, for a
    table of one feature.
    """

    features: tuple[str, ...]
    edges: tuple[tuple[int, ...], ...]
    contribution_micro: tuple[int, ...]  # a table of two features row by row, the first one's bins as rows
    mean_micro: int | None
    payments: tuple[int, ...]


class Check(NamedTuple):
    """The result of a check of this version, made after training."""

    kind: str
    passed: bool
    made_at_ms: int
    findings: tuple[str, ...]
    figures: Mapping[str, Json]


class Approval(NamedTuple):
    """A person's signature over the artefact's digest. `on`: what it was given on, in words."""

    role: str
    name: str
    at: str
    on: str


class Occasion(StrEnum):
    """When a card was made, by which a reader knows what it can't know."""

    TRAINING = "at training"
    WITHOUT_KEYS = "later, without keys to check what the registry says"
    REGISTRY = "later, from what the registry says"
    REGISTRY_ALONE = "later, from what the registry says, with no database to say whether anything of it is gone"


@dataclass(frozen=True, slots=True)
class CardFacts:
    """The facts of one version. `digest` is the SHA-256 of its manifest, which a card inside the artefact can't know.

    `checks` and `approvals` are None where they can't be known, as at training: that isn't the same as none.
    `approval_faults`: why approvals that the registry holds count as nothing, or don't suffice. `signature`: what is
    known of the artefact's signature, as a sentence.
    """

    version: str
    tables_sha256: str
    digest: str | None
    source: str
    limits: str
    training: Mapping[str, Json]
    metrics: Mapping[str, int]
    features: tuple[str, ...]
    monotone: tuple[str, ...] | None
    shapes: tuple[Shape, ...]
    measurement: Measurement | None
    checks: tuple[Check, ...] | None
    approvals: tuple[Approval, ...] | None
    approval_faults: tuple[str, ...] = ()
    signature: str | None = None
    occasion: Occasion = Occasion.TRAINING
