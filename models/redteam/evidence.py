"""A red team's comparison as evidence for the gate: one sentence for each rise, and all figures."""

from __future__ import annotations

from typing import Final

from models.redteam.comparison import Compared
from models.redteam.report import compared_json, honest_json, prices_json
from models.redteam.target import Target
from models.redteam.trials import Effort
from models.versions.evidence import Evidence

KIND: Final = "red-team"


def evidence_of(
    before: Target, after: Target, compared: Compared, effort: Effort, drawn: str, made_at_ms: int
) -> Evidence:
    """Return the evidence about `after`. What was tried too little to tell anything is a finding, too.

    drawn: what the seed rests on beside artefacts and policy, so that anybody can make the check again.
    """
    model, champion = after.in_force.model, before.in_force.model
    assert model is not None, "the fallback is no version"
    assert champion is not None, "the fallback is no version"
    findings = (*compared.findings, *_too_few(compared))
    return Evidence(
        kind=KIND,
        version=model.version,
        digest=model.hash.hex(),
        made_at_ms=made_at_ms,
        passed=not findings,
        findings=findings,
        figures={
            "seed": after.world.seed,
            "drawn": drawn,
            "budget": effort.budget,
            "trials": effort.trials,
            "policy": after.in_force.policy.version,
            "policy_sha256": after.in_force.policy.sha256.hex(),
            "limits": compared.limits.model_dump(),
            "champion": {"version": champion.version, "digest": champion.hash.hex()},
            "honest": {"before": honest_json(before), "after": honest_json(after)},
            "prices_minor": prices_json(),
            "attacks": compared_json(compared),
        },
    )


def _too_few(compared: Compared) -> tuple[str, ...]:
    """Attacks whose every trial going one way would not be reported: no evidence is no good news."""
    needed = compared.trials_needed
    short = [pair for pair in compared.pairs if len(pair.after.worst.courses) < needed]
    return tuple(
        f"{pair.name} was tried in {len(pair.after.worst.courses)} scenes, and fewer than {needed} can show no rise"
        for pair in short
    )
