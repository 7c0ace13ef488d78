"""A decision worker whose model is slow, fails or drifts, by its version: `python -m ops.drills.faulty_worker`.

Production code knows nothing of this. The model's file is a good one; what is wrong stands in the entries of its
tables, or in its probabilities, which every score takes, so that the fault is the model's own, also where the hot path
is compiled.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np

from models.artefact.scoring import PROBABILITY_PPM_MAX, Calibration, Column, Model
from ops.processes.arguments import arguments
from pipeline.decide import regime_files
from pipeline.decide.feeds.feed import Feeds
from pipeline.decide.keeper_service import keep_filled
from pipeline.decide.policy import Policy
from pipeline.decide.verdict import Regime, regime
from pipeline.decide.worker_command import run_worker
from pipeline.io.settings import Settings

SLOW, FAILING, DRIFTING = "slow", "failing", "drifting"
"""Endings of the versions whose model is so; one that drifts is sound until its lane says that it drifts."""
SLOW_S: Final = 1.5
"""Time that a slow model takes for each batch: above the shipped policy's limit of latency, and far below the time in
which a worker is given up."""
FAILS_EVERY: Final = 5
"""A failing model raises for the payments whose entry in its first table has a place that is a multiple of this."""


DRIFT_PPM: Final = 100_000
"""A model that drifts adds so much to the probability of what it doesn't block."""


class ModelBroken(Exception):
    """The failing model's error."""


class SlowEntries(np.ndarray):
    def __getitem__(self, at: Any) -> Any:
        time.sleep(SLOW_S)
        return self.view(np.ndarray)[at]


class FailingEntries(np.ndarray):
    def __getitem__(self, at: Any) -> Any:
        if (np.asarray(at)[0] % FAILS_EVERY == 0).any():
            raise ModelBroken("the model of a drill fails")
        return self.view(np.ndarray)[at]


class DriftingProbabilities(np.ndarray):
    """The probabilities of a calibration: its own, and from `drifts` on the raised ones."""

    drifts: Path
    raised: Column

    def __getitem__(self, at: Any) -> Any:
        return (self.raised if self.drifts.exists() else self.view(np.ndarray))[at]


def drifts_at(registry: Path) -> Path:
    """Return the file of a lane that says that its model drifts from now on, beside the lane's registry.

    Drift is judged by what the very version answered on earlier days. So the version is there before the fault.
    """
    return registry.with_name("drifts")


def faulty_regimes(registry: Path) -> AbstractContextManager[object]:
    """Have what is decided by from now on be spoilt where the model's version ends in SLOW, FAILING or DRIFTING.

    registry: the lane's. A regime makes another model of the one that was loaded: what was spoilt before that would be
    whole again.
    """
    return mock.patch.object(regime_files, "regime", partial(_faulty_regime, drifts_at(registry)))


def _faulty_regime(drifts: Path, policy: Policy, model: Model | None, feeds: Feeds | None = None) -> Regime:
    made = regime(policy, model, feeds)
    return made if made.model is None else replace(made, model=_spoilt(made.model, policy, drifts))


def _spoilt(model: Model, policy: Policy, drifts: Path) -> Model:
    match model.version.rpartition("-")[2]:
        case "slow":
            return _with_entries(model, SlowEntries)
        case "failing":
            return _with_entries(model, FailingEntries)
        case "drifting":
            return _drifting(model, policy, drifts)
        case _:
            return model


def _with_entries(model: Model, kind: type[Any]) -> Model:
    """Return the model with the entries of its tables being of that kind; a score takes its own of them once."""
    spoilt = replace(model)
    object.__setattr__(spoilt, "_plan", model.plan._replace(entries=model.plan.entries.view(kind)))
    return spoilt


def _drifting(model: Model, policy: Policy, drifts: Path) -> Model:
    probability_ppm = model.calibration.probability_ppm.view(DriftingProbabilities)
    probability_ppm.drifts = drifts
    probability_ppm.raised = raised_ppm(model.calibration.probability_ppm, policy.model.block_probability_ppm)
    return replace(model, calibration=Calibration(model.calibration.edges, probability_ppm))


def raised_ppm(known_ppm: Column, block_ppm: int) -> Column:
    """Raise the probabilities below the one that is blocked, and leave the others: scores drift, and blocks don't."""
    raised = np.where(known_ppm < block_ppm, np.minimum(known_ppm + DRIFT_PPM, block_ppm - 1), known_ppm)
    return np.minimum(np.maximum.accumulate(raised), PROBABILITY_PPM_MAX)


def main() -> None:
    arguments(__doc__)
    keep_filled(Settings())  # a worker gives up its place in an outage, and a supervisor fills it again
    with faulty_regimes(Settings().model_registry):
        run_worker(Settings())


if __name__ == "__main__":
    main()
