"""The checks that `fraud models check` makes, and that the gate takes what it files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.artefact.vectors import GoldenVector
from models.versions.artefact_files import digest_of
from models.versions.evidence import Evidence
from models.versions.evidence_files import file_evidence
from pipeline.domain.trials.shadow_answer import Band
from pipeline.io.postgres import Connection
from pipeline.promotion.check_command import checks
from pipeline.promotion.checks import (
    ALONE_US_MAX,
    BATCH_US_MAX,
    CALIBRATION_ERROR_PPM_MAX,
    LABELLED_FRAUDS_MIN,
    Checked,
    calibration_check,
    golden_trial,
    latency_trial,
    shadow_check,
)
from pipeline.promotion.facts import Reviewed, Unread
from pipeline.promotion.gathering_store import Terms
from tests.promotion.given import CHAMPION_DIGEST, LIMITS, NOW_MS, SHADOW
from tests.promotion.given import POLICY as GIVEN_POLICY
from tests.promotion.stage import CANDIDATE, POLICY, Stage
from tests.promotion.stage import LIMITS as STAGE_LIMITS

BESIDE = {"version": "glass-1", "digest": CHAMPION_DIGEST}
ENOUGH = Band(10_000, 10_000, 100 * 1_000_000, 100)
VECTOR = GoldenVector((1, 2), (3, 4), 7, 500)


@pytest.fixture
def stage(tmp_path: Path, owner: Connection, database_url: str) -> Iterator[Stage]:
    stage = Stage(tmp_path, owner, database_url)
    yield stage
    stage.close()


def made(stage: Stage, version: str = CANDIDATE) -> dict[str, Checked]:
    digest = digest_of(stage.registry, version)
    found = checks(stage.people, stage.desk, version, digest, Terms(STAGE_LIMITS, POLICY), 0)
    return {each.kind: each for each in found}


def test_golden_vectors_hold_alone_as_together() -> None:
    assert golden_trial([VECTOR], [VECTOR]).passed
    for other in (VECTOR._replace(score_micro=8), VECTOR._replace(contribution_micro=(4, 3))):
        assert golden_trial([VECTOR, VECTOR], [VECTOR, other]).findings == (
            "golden vector 1 is answered otherwise than at training",
        )
    assert not golden_trial([], []).passed


@pytest.mark.parametrize(
    ("batch_us", "alone_us", "passed"),
    [
        ([BATCH_US_MAX], [ALONE_US_MAX], True),
        ([99.0, BATCH_US_MAX], [999.0, ALONE_US_MAX], True),
        ([BATCH_US_MAX + 0.01], [ALONE_US_MAX], False),
        ([BATCH_US_MAX], [ALONE_US_MAX + 0.1], False),
        ([], [], False),
    ],
)
def test_the_quickest_round_says_how_fast_it_is(batch_us: list[float], alone_us: list[float], passed: bool) -> None:
    assert latency_trial(batch_us, alone_us).passed is passed


def test_probabilities_hold_where_no_band_has_surely_more_frauds_than_they_say() -> None:
    assert calibration_check(0, [ENOUGH]).trial.passed
    fewer = ENOUGH._replace(frauds=LABELLED_FRAUDS_MIN)
    assert calibration_check(CALIBRATION_ERROR_PPM_MAX, [fewer]).trial.passed, "selection hides frauds"
    more = calibration_check(0, [ENOUGH._replace(frauds=200)])
    assert not more.trial.passed
    assert more.trial.findings[-1] == (
        "of payments that it puts at 1 % and more 2.00 % are fraud (200 of 10,000), and it says 1.00 %"
    )
    hidden = [Band(0, 1_000_000, 1_000_000_000, 900), Band(500_000, 100, 60 * 1_000_000, 100)]
    assert calibration_check(0, hidden).trial.findings == (
        "of payments that it puts at 50 % and more 100.00 % are fraud (100 of 100), and it says 60.00 %",
    )


@pytest.mark.parametrize(
    ("error_ppm", "bands", "is_early"),
    [
        (None, [ENOUGH], False),
        (-1, [ENOUGH], False),
        (CALIBRATION_ERROR_PPM_MAX + 1, [ENOUGH], False),
        (0, [ENOUGH._replace(frauds=LABELLED_FRAUDS_MIN - 1)], True),
        (0, [], True),
        (None, [], False),
    ],
)
def test_what_is_not_known_of_probabilities_passes_nothing(
    error_ppm: int | None, bands: list[Band], is_early: bool
) -> None:
    found = calibration_check(error_ppm, bands)
    assert (found.trial.passed, found.is_early) == (False, is_early)


def test_the_shadow_is_judged_as_the_gate_judges_it() -> None:
    found = shadow_check("glass-2", SHADOW, LIMITS, NOW_MS, BESIDE, GIVEN_POLICY)
    assert (found.trial.passed, found.is_early) == (True, False)
    assert found.trial.figures["champion"] == BESIDE
    assert found.trial.figures["policy_sha256"] == GIVEN_POLICY
    for changed, is_early in (
        (SHADOW._replace(agreed=97_000), True),  # 1,500 more to review
        (SHADOW._replace(stopped_agreed=1_000), False),
        (SHADOW._replace(days=27), True),
        (SHADOW._replace(large=Reviewed(100, 99, 99)), True),
        (Unread("the database is away"), True),
    ):
        found = shadow_check("glass-2", changed, LIMITS, NOW_MS, BESIDE, GIVEN_POLICY)
        assert (found.trial.passed, found.is_early) == (False, is_early)
    without = shadow_check("glass-2", SHADOW, None, NOW_MS, BESIDE, None)
    assert (without.trial.passed, without.is_early) == (False, True)


def test_a_version_is_promoted_on_what_its_checks_filed(stage: Stage) -> None:
    stage.shadow(CANDIDATE)
    stage.review(CANDIDATE)
    stage.frauds = [f"tx-{number}" for number in range(0, 2 * LABELLED_FRAUDS_MIN, 2)]
    found = made(stage)
    assert found["golden"].trial.findings == found["shadow"].trial.findings == ()
    assert found["latency"].trial.figures.keys() == {"batch_ns", "alone_ns", "rounds"}
    assert not found["calibration"].trial.passed, "it says 2 %, and a third is fraud"
    stage.prove(CANDIDATE, "bias", "red-team", "latency", "calibration")
    file(stage, found["golden"], found["shadow"])
    stage.approve(CANDIDATE)
    assert stage.promote().record is not None


def test_a_check_that_comes_too_early_is_told_apart_from_one_that_failed(stage: Stage) -> None:
    found = made(stage)
    assert (found["golden"].is_early, found["shadow"].is_early) == (False, True)


def test_an_artefact_with_a_changed_byte_passes_no_golden_vector(stage: Stage) -> None:
    path = stage.archive.registry / CANDIDATE / "tables.json"
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    found = made(stage)
    assert not found["golden"].trial.passed
    assert not found["latency"].trial.passed


def file(stage: Stage, *found: Checked) -> None:
    for kind, trial, _ in found:
        evidence = Evidence(
            kind, CANDIDATE, digest_of(stage.registry, CANDIDATE), stage.now_ms, trial.passed, trial.findings,
            trial.figures,
        )  # fmt: skip
        file_evidence(stage.people, stage.registry, evidence, stage.signing)
