from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artefact.files import load_champion
from pipeline.decide.verdict import Mode, decide, regime
from pipeline.domain.decision import BreakerState
from pipeline.domain.features import UNKNOWN
from pipeline.explain.counterfactual.answers import LEVEL, Answers
from tests.explain.counterfactual.rows import rows
from tests.records import policy, small_model

REGIMES = [
    regime(policy(), small_model()),
    regime(policy(), load_champion(Path("models/registry"))),
    regime(policy(), None),
]


@pytest.mark.parametrize("in_force", REGIMES, ids=["small", "shipped", "no model"])
@pytest.mark.parametrize(("use_model", "has_failed"), [(True, False), (False, False), (True, True)])
@given(row=rows(), unknown=st.lists(st.integers(10, 38), max_size=2))
def test_an_outcome_is_the_verdict_s(row, unknown, in_force, use_model, has_failed):
    row = row.copy()
    row[unknown] = UNKNOWN
    mode = Mode(BreakerState.CLOSED if use_model else BreakerState.OPEN, "all", use_model)
    [verdict] = decide(row[np.newaxis], [mode], in_force, failed=[0] if has_failed else [])
    [level] = Answers(in_force, use_model=use_model and not has_failed).levels(row[np.newaxis])
    assert level == LEVEL[verdict.outcome]
