"""A decision worker whose model is slow, or fails, where its version says so: `python -m ops.drills.faulty_worker`.

Production code knows nothing of this. The model's file is a good one; what is wrong stands in the entries of its
tables, which every score takes, so that the fault is the model's own, also where the hot path is compiled.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final
from unittest import mock

import numpy as np

from models.artefact.scoring import Model
from ops.processes.arguments import arguments
from pipeline.decide import regime_files
from pipeline.decide.feeds.feed import Feeds
from pipeline.decide.keeper_service import keep_filled
from pipeline.decide.policy import Policy
from pipeline.decide.verdict import Regime, regime
from pipeline.decide.worker_command import run_worker
from pipeline.io.settings import Settings

SLOW, FAILING = "slow", "failing"
"""Endings of the versions whose model is so."""
SLOW_S: Final = 1.5
"""Time that a slow model takes for each batch: above the shipped policy's limit of latency, and far below the time in
which a worker is given up."""
FAILS_EVERY: Final = 5
"""A failing model raises for the payments whose entry in its first table has a place that is a multiple of this."""


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


def faulty_regimes() -> AbstractContextManager[object]:
    """Have what is decided by from now on be spoilt where the model's version ends in SLOW or FAILING.

    A regime makes another model of the one that was loaded: what was spoilt before that would be whole again.
    """
    return mock.patch.object(regime_files, "regime", _faulty_regime)


def _faulty_regime(policy: Policy, model: Model | None, feeds: Feeds | None = None) -> Regime:
    made = regime(policy, model, feeds)
    return made if made.model is None else replace(made, model=_spoilt(made.model))


def _spoilt(model: Model) -> Model:
    match model.version.rpartition("-")[2]:
        case "slow":
            return _with_entries(model, SlowEntries)
        case "failing":
            return _with_entries(model, FailingEntries)
        case _:
            return model


def _with_entries(model: Model, kind: type[Any]) -> Model:
    """Return the model with the entries of its tables being of that kind; a score takes its own of them once."""
    spoilt = replace(model)
    object.__setattr__(spoilt, "_plan", model.plan._replace(entries=model.plan.entries.view(kind)))
    return spoilt


def main() -> None:
    arguments(__doc__)
    keep_filled(Settings())  # a worker gives up its place in an outage, and a supervisor fills it again
    with faulty_regimes():
        run_worker(Settings())


if __name__ == "__main__":
    main()
