"""A version that may be promoted, to take something away from."""

from __future__ import annotations

from models.versions.evidence import ASKED_KINDS, seed_of
from pipeline.decide.rollout.limits import DAY_MS, Promotion, RedTeamLimits
from pipeline.promotion.facts import COMPARED_KINDS, Approval, Facts, Found, Reviewed, Shadow

NOW_MS = 1_796_000_000_000
DIGEST, CHAMPION = "a" * 64, "glass-1"
CHAMPION_DIGEST, POLICY, DRAWN = "c" * 64, "d" * 64, "e" * 64
LIMITS = Promotion(
    shadow_days=28,
    shadow_payments=10_000,
    agreement_percent=98,
    agreement_stopped_percent=90,
    review_all_from_gbp_minor=100_000,
    review_each_stratum=20,
    evidence_days=30,
    approval_days=30,
    challenger_right_percent=50,
    shares_percent=(1, 10, 50, 100),
    share_hours=24,
    share_payments=1_000,
    stop_outcome_points=5,
    stop_fraud_points=10,
    stop_confidence_percent=99,
    failed_runs=2,
    red_team=RedTeamLimits(
        budget=120, trials=40, rise_points=5, rise_percent=10, rise_gbp_minor=10_000, chance_percent=5
    ),
)
SHADOW = Shadow(
    days=29,
    until_ms=NOW_MS,
    payments=100_000,
    agreed=98_500,
    stopped=2_000,
    stopped_agreed=1_850,
    large=Reviewed(100, 100, 100),
    strata={"ALLOW -> BLOCK": Reviewed(1_490, 110, 110), "BLOCK -> ALLOW": Reviewed(10, 10, 10)},
)


def found_of(kind: str) -> Found:
    """Return evidence that passes."""
    found = Found(DIGEST, NOW_MS - DAY_MS, True, is_recorded=True)
    if kind in COMPARED_KINDS:
        found = found._replace(champion=CHAMPION_DIGEST, policy=POLICY)
    if kind == "red-team":
        found = found._replace(seed=seed_of(DIGEST, CHAMPION_DIGEST, POLICY, DRAWN), effort=(120, 40))
    return found


FACTS = Facts(
    version="glass-2",
    digest=DIGEST,
    champion=CHAMPION,
    champion_digest=CHAMPION_DIGEST,
    policy=POLICY,
    drawn=DRAWN,
    limits=LIMITS,
    evidence={kind: found_of(kind) for kind in ASKED_KINDS},
    evidence_gone=(),
    shadow=SHADOW,
    approvals=(
        Approval("rita", "RISK", DIGEST, NOW_MS - DAY_MS),
        Approval("cora", "COMPLIANCE", DIGEST, NOW_MS - DAY_MS),
        Approval("edda", "ENGINEERING", DIGEST, NOW_MS - DAY_MS),
    ),
    approvals_void=(),
    promoter="ann",
    promoter_fault=None,
    standing_fault=None,
    now_ms=NOW_MS,
)
