"""A version that may be promoted, to take something away from."""

from __future__ import annotations

from pipeline.decide.rollout.limits import DAY_MS, Promotion
from pipeline.promotion.facts import EVIDENCE_KINDS, Approval, Facts, Found, Reviewed, Shadow

NOW_MS = 1_796_000_000_000
DIGEST, CHAMPION = "a" * 64, "glass-1"
LIMITS = Promotion(
    shadow_days=28,
    shadow_payments=10_000,
    agreement_percent=98,
    agreement_stopped_percent=90,
    review_all_from_gbp_minor=100_000,
    review_each_stratum=20,
    evidence_days=30,
    approval_days=30,
    shares_percent=(1, 10, 50, 100),
    share_hours=24,
    share_payments=1_000,
    stop_outcome_points=5,
    stop_fraud_points=10,
    stop_confidence_percent=99,
)
SHADOW = Shadow(
    days=29,
    until_ms=NOW_MS,
    payments=100_000,
    beside_champion=90_000,
    agreed=98_500,
    stopped=2_000,
    stopped_agreed=1_850,
    large=Reviewed(100, 100),
    strata={"ALLOW -> BLOCK": Reviewed(1_490, 110), "BLOCK -> ALLOW": Reviewed(10, 10)},
)
FACTS = Facts(
    version="glass-2",
    digest=DIGEST,
    champion=CHAMPION,
    limits=LIMITS,
    evidence={kind: Found(DIGEST, NOW_MS - DAY_MS, True) for kind in EVIDENCE_KINDS},
    shadow=SHADOW,
    approvals=(
        Approval("rita", "RISK", DIGEST, NOW_MS - DAY_MS),
        Approval("cora", "COMPLIANCE", DIGEST, NOW_MS - DAY_MS),
        Approval("edda", "ENGINEERING", DIGEST, NOW_MS - DAY_MS),
    ),
    approvals_void=(),
    promoter_fault=None,
    standing_fault=None,
    now_ms=NOW_MS,
)
