"""A model that doesn't read what a late start can't know is asked all the same; one that reads it never is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.artefact.files import load_version
from models.artefact.scoring import Model
from pipeline.decide.policy import parse_policy
from pipeline.decide.reasons.asking import LASTING, read_by, silencing
from pipeline.decide.verdict import Mode, Verdict, decide, regime
from pipeline.domain.decision import BreakerState, Outcome, Route
from pipeline.domain.features import COLUMN, DERIVED, FEATURES, STATE, UNKNOWN, Matrix
from pipeline.state.coverage import LIFELONG

CLOSED = Mode(BreakerState.CLOSED, "all", True)
CHAMPION, SUCCESSOR = (load_version(Path("models/registry"), f"glass-2026-11-{day}") for day in ("02", "30"))
POLICY = parse_policy(Path("pipeline/decide/policies/default.toml").read_bytes())


def lasting_of(model: Model) -> list[str]:
    """The features that a model reads of those that a late start never knows."""
    reads = read_by(model)
    assert reads is not None, "it is a model"
    return sorted(reads & set(LASTING))


def typical(model: Model, **unknown: int) -> Matrix:
    row = np.array([[model.typical.get(name, 0) for name in FEATURES]], dtype=np.int64)
    for name, value in unknown.items():
        row[0, COLUMN[name]] = value
    return row


def decided(model: Model, *names: str) -> Verdict:
    [verdict] = decide(typical(model, **dict.fromkeys(names, UNKNOWN)), [CLOSED], regime(POLICY, model))
    return verdict


def test_what_lasts_is_what_a_late_start_never_knows() -> None:
    lasting = {name for name in LASTING if name in STATE}
    assert lasting == set(LIFELONG)
    assert set(LASTING) - lasting <= set(DERIVED)


def test_the_champion_is_asked_after_a_late_start() -> None:
    assert lasting_of(CHAMPION) == []
    verdict = decided(CHAMPION, *LASTING)
    assert (Route.MODEL, None) == (verdict.route, verdict.silence)
    assert decided(CHAMPION).model_answer == verdict.model_answer


@pytest.mark.parametrize("name", lasting_of(SUCCESSOR))
def test_a_model_is_not_asked_where_one_of_these_that_it_reads_is_unknown(name: str) -> None:
    verdict = decided(SUCCESSOR, name)
    assert Route.FALLBACK == verdict.route
    assert verdict.silence is not None


@pytest.mark.parametrize("name", sorted(set(STATE) - set(LASTING)))
def test_any_other_unknown_value_silences_whoever_reads_it_or_not(name: str) -> None:
    verdict = decided(CHAMPION, name)
    assert Route.FALLBACK == verdict.route or verdict.outcome is Outcome.BLOCK


def test_the_value_that_is_named_is_one_that_kept_the_model_from_it() -> None:
    verdict = decided(CHAMPION, *LASTING, "beneficiary_labelled_1d")
    assert "ever attempted" not in verdict.reasons[-1].text
    assert "labelled" in verdict.reasons[-1].text or "checked" in verdict.reasons[-1].text


def test_without_a_model_every_unknown_value_counts() -> None:
    assert silencing(typical(CHAMPION, account_count_ever=UNKNOWN), None).any()
