"""Versions compared in pairs: equals are equal, the stronger is never called weaker, and the weakened are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.artefact.strict import canonical
from models.redteam.comparison import Compared, compared
from models.redteam.evidence import evidence_of
from models.redteam.report import attack_json, attack_line, compared_json, plan_lines
from models.redteam.statistics import PPM, sign_test_ppm, wilson
from models.redteam.strategies.table import BY_NAME
from models.redteam.target import target_of, without_soft
from models.redteam.trials import Effort, attacked
from models.redteam.weakened import Weakness, weakened
from models.versions.evidence_files import read_evidence, write_evidence
from pipeline.decide.rollout.limits import RedTeamLimits
from tests.models.redteam.given import SEED, shipped, target
from tests.models.versions.given import keys_of, models_key, shipped_registry
from tests.records import policy

LIMITS = RedTeamLimits(budget=120, trials=40, rise_points=5, rise_percent=10, rise_gbp_minor=10_000, chance_percent=5)
FEW = [BY_NAME[name] for name in ("split-over-payees", "warm-up", "mule-fan-in", "honest-labels")]
EFFORT = Effort(budget=8, trials=8)
STRICTER, LAXER = 2_000_000, -6_000_000


def compare(before_micro: int, after_micro: int) -> Compared:
    return Compared(tuple(compared(target(before_micro), target(after_micro), EFFORT, FEW)), LIMITS)


def test_a_version_compared_with_itself_shows_no_rise() -> None:
    found = compare(0, 0)
    assert () == found.findings
    assert {0} == {pair.through_rise_minor for pair in found.pairs}
    assert {PPM} == {pair.chance_ppm for pair in found.pairs}


@pytest.mark.parametrize(("weak", "strong"), [(0, STRICTER), (LAXER, 0), (LAXER, STRICTER)])
def test_a_stronger_model_is_never_reported_as_weaker(weak: int, strong: int) -> None:
    assert () == compare(weak, strong).findings


def test_a_weaker_model_is_reported_and_its_evidence_refuses(tmp_path: Path) -> None:
    before, after = target(), target(LAXER)
    found = compare(0, LAXER)
    assert found.findings
    evidence = evidence_of(before, after, found, EFFORT, "ab", made_at_ms=7)
    assert not evidence.passed
    registry, key = shipped_registry(tmp_path / "registry"), models_key(tmp_path)
    name = write_evidence(registry, evidence, key)  # the shift alone leaves version and digest as they are
    assert name.startswith(f"evidence/{shipped().version}/red-team-")
    assert [evidence] == read_evidence(registry, shipped().version, keys_of(key))


def test_how_far_a_rise_may_go_is_the_policys() -> None:
    found = compare(0, LAXER)
    lax = found._replace(limits=LIMITS.model_copy(update={"rise_points": 50, "rise_gbp_minor": 10**9}))
    assert len(lax.findings) < len(found.findings)
    assert {*evidence_of(target(), target(LAXER), lax, EFFORT, "ab", made_at_ms=7).figures} >= {
        "limits",
        "policy_sha256",
    }
    shipped_limits = policy().promotion
    assert shipped_limits is not None
    assert shipped_limits.red_team == LIMITS


def test_too_few_trials_are_no_good_news() -> None:
    found = Compared(tuple(compared(target(), target(), Effort(4, 3), FEW[:1])), LIMITS)
    evidence = evidence_of(target(), target(), found, Effort(4, 3), "ab", made_at_ms=7)
    assert not evidence.passed
    assert "fewer than" in evidence.findings[0]


def test_the_same_seed_gives_the_same_bytes() -> None:
    anew = target_of("shifted by 0", policy(), shipped(), SEED)
    for strategy in FEW[:2]:
        first, second = (
            canonical(attack_json(found)) for on in (target(), anew) for found in attacked(on, EFFORT, [strategy])
        )
        assert first == second
    pairs = [
        canonical(compared_json(Compared(tuple(compared(target(), on, EFFORT, FEW[:1])), LIMITS)))
        for on in (target(), anew)
    ]
    assert pairs[0] == pairs[1]


def test_a_weakened_model_is_another_and_scores_lower() -> None:
    model = shipped()
    for weakness in Weakness:
        weak = weakened(model, weakness)
        assert weak.version != model.version
        assert weak.hash != model.hash
        assert len(weak.version) <= 32
    blind = weakened(model, Weakness.BLIND)
    unseen = [term for term in blind.terms if any("fraud_reports" in name for name in term.features)]
    assert unseen
    assert {0} == {int(abs(term.table).max()) for term in unseen}


def test_soft_guardrails_can_be_taken_off_to_see_what_they_buy() -> None:
    bare = without_soft(policy())
    assert () == bare.soft.rules
    assert bare.hard == policy().hard


def test_reports_are_read_by_people() -> None:
    [found] = attacked(target(), EFFORT, [BY_NAME["mule-fan-in"]])
    assert attack_line(found).startswith("mule-fan-in")
    carried = found.cheapest or found.worst.carried[0]
    first, *payments = plan_lines(carried)
    assert first.startswith("Bought for £")
    assert len(payments) == len(carried.plan.acts)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(0, 10, 0, 277_533), (5, 10, 236_593, 763_407), (10, 10, 722_467, PPM)]
)
def test_wilsons_interval_is_as_published(hits: int, trials: int, low: int, high: int) -> None:
    share = wilson(hits, trials)
    assert abs(share.low_ppm - low) <= 2
    assert abs(share.high_ppm - high) <= 2


def test_of_no_trials_nothing_is_known() -> None:
    assert (0, 0, PPM) == wilson(0, 0)


def test_the_sign_test_is_exact() -> None:
    assert sign_test_ppm(0, 0) == PPM
    assert sign_test_ppm(5, 0) == 31_250
    assert sign_test_ppm(9, 1) == 10_743
    assert sign_test_ppm(1, 1) == 750_000
    assert Compared((), LIMITS).trials_needed == 5
