"""What is said of a model's inputs and scores over a span: by feature, and the quality that may be expected."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.bias.drift.counting import SCORE, InputCounts
from pipeline.bias.drift.quality import Quality, expected_quality
from pipeline.bias.drift.reference import Reference
from pipeline.bias.drift.settings import DriftSettings
from pipeline.bias.drift.stability import Stability, Verdict, judged


class DriftReport(NamedTuple):
    """stabilities: None where the model has no reference, so that nothing can be said of its inputs."""

    payments: int
    stabilities: tuple[Stability, ...] | None
    quality: Quality

    @property
    def drifted(self) -> tuple[Stability, ...]:
        return tuple([each for each in self.stabilities or () if each.verdict is Verdict.DRIFTED])

    @property
    def is_proved_stable(self) -> bool:
        """Whether everything was judged and nothing drifted; what is not known is not stable."""
        return bool(self.stabilities) and all(each.verdict is Verdict.STABLE for each in self.stabilities or ())


def drift_report(counts: InputCounts, reference: Reference | None, settings: DriftSettings) -> DriftReport:
    quality = expected_quality(counts.sums)
    if reference is None:
        return DriftReport(counts.sums.payments, None, quality)
    named = {**reference.features, SCORE: reference.score_ppm}
    nothing = {name: (0,) * len(histogram.counts) for name, histogram in named.items()}
    found = {**nothing, **counts.histograms}
    stabilities = [judged(name, each, found[name], len(named), settings) for name, each in named.items()]
    return DriftReport(counts.sums.payments, tuple(stabilities), quality)
