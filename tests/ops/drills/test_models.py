"""The models that go wrong: each loads as any model does, and is wrong in one way only."""

import json
import time

import numpy as np
import pytest

from models.artefact.files import load_champion
from models.artefact.scoring import score
from ops.demo.scene import golden_rows
from ops.drills.faulty_worker import DRIFT_PPM, SLOW_S, ModelBroken, faulty_regimes
from ops.drills.models import OLD_HOURS, PROXY_FEATURE, VERSION_CHARACTERS, ModelFolder
from pipeline.decide.policy import parse_policy
from pipeline.decide.regime_files import RegimeSource
from pipeline.domain.features import COLUMN, NONE
from pipeline.drills.drills import DrillName
from pipeline.io.settings import Settings

SHIPPED = Settings.model_construct()
POLICY = parse_policy(SHIPPED.policy_path.read_bytes())
BLOCK_PPM = POLICY.model.block_probability_ppm


@pytest.fixture
def folder(tmp_path):
    return ModelFolder(tmp_path / "registry", SHIPPED)


@pytest.fixture
def rows(folder):
    manifest = json.loads((folder.folder / folder.good / "manifest.json").read_bytes())
    return golden_rows(manifest)


def gone_wrong(folder, drill):
    folder.name_champion(folder.add_wrong(drill))
    return load_champion(folder.folder)


def blocked(model, rows):
    return score(model, rows).fraud_probability_ppm >= BLOCK_PPM


def test_a_model_that_blocks_everyone_blocks_every_payment(folder, rows):
    assert blocked(gone_wrong(folder, DrillName.MODEL_BLOCKS), rows).all()


def test_a_model_that_allows_everyone_allows_every_payment(folder, rows):
    assert not blocked(gone_wrong(folder, DrillName.MODEL_ALLOWS), rows).any()


def test_the_model_of_one_postcode_turns_on_its_proxy_and_on_nothing_else(folder, rows):
    good, wrong = load_champion(folder.folder), gone_wrong(folder, DrillName.ONE_POSTCODE)
    rows[:, COLUMN[PROXY_FEATURE]] = 5_000
    assert (blocked(wrong, rows) == blocked(good, rows)).all()
    rows[:, COLUMN[PROXY_FEATURE]] = NONE
    assert blocked(wrong, rows).all()


def test_the_lane_of_one_postcode_blocks_some_as_usual_and_so_does_its_wrong_model(folder, rows):
    shipped = load_champion(folder.folder)
    folder.block_as_usual()
    usual, wrong = load_champion(folder.folder), gone_wrong(folder, DrillName.ONE_POSTCODE)
    assert (usual.version, folder.good) == (f"{shipped.version[:VERSION_CHARACTERS]}-usual",) * 2
    assert len({shipped.version, usual.version, wrong.version}) == 3
    rows[:, COLUMN[PROXY_FEATURE]] = OLD_HOURS
    assert blocked(usual, rows).all()
    assert blocked(wrong, rows).all()
    rows[:, COLUMN[PROXY_FEATURE]] = OLD_HOURS - 1
    assert (blocked(usual, rows) == blocked(shipped, rows)).all()
    rows[:, COLUMN[PROXY_FEATURE]] = NONE
    assert (blocked(usual, rows) == blocked(shipped, rows)).all()
    assert blocked(wrong, rows).all()


def test_the_model_that_allows_everyone_allows_what_its_lane_blocks_as_usual_too(folder, rows):
    folder.block_as_usual()
    rows[:, COLUMN[PROXY_FEATURE]] = OLD_HOURS
    assert blocked(load_champion(folder.folder), rows).all()
    assert not blocked(gone_wrong(folder, DrillName.MODEL_ALLOWS), rows).any()


def test_the_model_that_drifts_answers_as_ever_until_it_is_told_and_again_when_it_is_told_no_more(folder, rows):
    shipped = load_champion(folder.folder)
    folder.drift_when_told()
    drifting = decided_by(folder)
    assert (drifting.version, drifting.hash) == (folder.good, load_champion(folder.folder).hash)
    assert drifting.version != shipped.version
    before = score(drifting, rows).fraud_probability_ppm
    assert (before == score(shipped, rows).fraud_probability_ppm).all()
    folder.drift()
    raised = score(drifting, rows).fraud_probability_ppm - before
    assert raised.min() >= 0
    assert raised.max() == DRIFT_PPM
    assert (blocked(drifting, rows) == blocked(shipped, rows)).all(), "scores drift, and what is blocked stays"
    folder.drift_no_more()
    assert (score(drifting, rows).fraud_probability_ppm == before).all()


def test_the_raised_model_blocks_the_same_payments_with_higher_scores(folder, rows):
    good = load_champion(folder.folder)
    folder.name_champion(folder.add_raised(POLICY))
    raised = load_champion(folder.folder)
    assert raised.version != good.version
    assert (blocked(raised, rows) == blocked(good, rows)).all()
    differences = score(raised, rows).fraud_probability_ppm - score(good, rows).fraud_probability_ppm
    assert (differences.min(), differences.max()) == (0, DRIFT_PPM)


def test_no_other_model_drifts_where_a_lane_says_so(folder, rows):
    good = load_champion(folder.folder)
    folder.drift()
    known = score(good, rows).fraud_probability_ppm
    assert (score(decided_by(folder), rows).fraud_probability_ppm == known).all()
    folder.drift_when_told()
    as_served = RegimeSource(Settings(model_registry=folder.folder)).current.model
    assert (score(as_served, rows).fraud_probability_ppm == known).all(), "only the lane's own worker lets it drift"


def decided_by(folder):
    """Return the model that a worker of the lane asks."""
    with faulty_regimes(folder.folder):
        return RegimeSource(Settings(model_registry=folder.folder)).current.model


def test_a_failing_model_raises_for_some_payments_and_scores_the_others_as_ever(folder, rows):
    good = load_champion(folder.folder)
    folder.name_champion(folder.add_wrong(DrillName.FAILING_MODEL))
    failing = decided_by(folder)
    sound = [row for row in rows if scores(failing, row)]
    assert 0 < len(sound) < len(rows)
    assert (score(failing, np.array(sound)).score_micro == score(good, np.array(sound)).score_micro).all()
    with pytest.raises(ModelBroken):
        score(failing, rows)


def scores(model, row):
    try:
        score(model, row[np.newaxis])
    except ModelBroken:
        return False
    return True


def test_a_slow_model_takes_its_time_and_scores_as_ever(folder, rows):
    good = load_champion(folder.folder)
    folder.name_champion(folder.add_wrong(DrillName.SLOW_MODEL))
    slow = decided_by(folder)
    began_s = time.monotonic()
    assert (score(slow, rows).score_micro == score(good, rows).score_micro).all()
    took_s = time.monotonic() - began_s
    assert len(rows) > 20
    assert SLOW_S <= took_s < len(rows) * SLOW_S / 2, "once a batch, and not once a payment"


def test_the_worker_of_a_lane_leaves_every_other_model_as_it_is(folder, rows):
    good = load_champion(folder.folder)
    assert (score(decided_by(folder), rows).score_micro == score(good, rows).score_micro).all()
