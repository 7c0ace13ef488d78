"""Attacks on the shipped model, on what stands without it, and on models that are weakened on purpose.

Every plan is decided in this process by the worker's own code. The same attacks meet the shipped model with everything
around it, the fallback's rules alone, the model without soft guardrails (so that it shows what each layer buys), and
two weakened models. The gate's comparison of each weakened model with the shipped one must refuse it; that of the
shipped model with itself must not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from models.artefact.strict import Json, canonical
from models.redteam.comparison import Compared, Pair, compared
from models.redteam.evidence import evidence_of
from models.redteam.report import attack_json, attack_line, compared_json, honest_json, plan_file
from models.redteam.search import Searched
from models.redteam.target import Target, target_of, without_soft
from models.redteam.trials import Attacked, Effort, attacked
from models.redteam.weakened import Weakness, weakened
from models.versions.loading_files import load_champion_of
from pipeline.decide.policy import parse_new_policy
from pipeline.io.settings import Settings

SIZES: Final = {"budget": 120, "trials": 40, "seed": 20261130}
QUICK: Final = {"budget": 12, "trials": 10, "seed": 20261130}


def run(
    say: Callable[[str], None], folder: Path, *, is_quick: bool, sizes: Mapping[str, int] | None = None
) -> dict[str, object]:
    size = {**(QUICK if is_quick else SIZES), **(sizes or {})}
    began, effort, settings = time.monotonic(), Effort(size["budget"], size["trials"]), Settings()
    policy = parse_new_policy(settings.policy_path.read_bytes())
    limits = policy.promotion.red_team if policy.promotion is not None else None
    assert limits is not None, "the shipped policy has limits of a red team"
    model = load_champion_of(settings).model
    shipped = target_of("shipped", policy, model, size["seed"])
    found = {"shipped": _attacked(say, shipped, effort)}
    for layer in (
        target_of("fallback alone", policy, None, size["seed"]),
        target_of("no soft guardrails", without_soft(policy), model, size["seed"]),
    ):
        found[layer.name] = _attacked(say, layer, effort)
    searched = {each.strategy.name: each.searched for each in found["shipped"]}
    refused: dict[str, object] = {}
    comparisons: dict[str, Json] = {}
    for weakness in Weakness:
        weak = target_of(f"weakened: {weakness}", policy, weakened(model, weakness), size["seed"])
        made = Compared(tuple(_pairs(say, shipped, weak, effort, searched)), limits)
        evidence = evidence_of(shipped, weak, made, effort, drawn="", made_at_ms=0)
        refused[weakness.value] = {
            "refused": bool(made.findings),
            "evidence_passed": evidence.passed,
            "findings": list(made.findings),
            "honest": honest_json(weak),
        }
        comparisons[weakness.value] = compared_json(made)
    (folder / "comparisons.json").write_bytes(canonical(comparisons))
    _write_plans(folder, found["shipped"], size["seed"])
    same = compared(shipped, shipped, Effort(4, effort.trials), searched=searched)
    is_steady = not Compared(tuple(same), limits).findings
    is_seen = all(isinstance(each, dict) and each["refused"] for each in refused.values())
    return {
        "ok": is_seen and is_steady,
        "sizes": size,
        "seconds": round(time.monotonic() - began, 1),
        "honest": honest_json(shipped),
        "evasion": {name: {each.strategy.name: _brief(each) for each in attacks} for name, attacks in found.items()},
        "weakened": refused,
        "itself_refused": not is_steady,
    }


def _attacked(say: Callable[[str], None], target: Target, effort: Effort) -> list[Attacked]:
    say(f"attacking: {target.name}")
    found = []
    for each in attacked(target, effort):
        say(attack_line(each))
        found.append(each)
    return found


def _pairs(
    say: Callable[[str], None], before: Target, after: Target, effort: Effort, searched: Mapping[str, Searched]
) -> list[Pair]:
    say(f"comparing: {after.name}")
    pairs = []
    for pair in compared(before, after, effort, searched=searched):
        say(f"{attack_line(pair.after)}  (before: {pair.before.evaded}, chance {pair.chance_ppm} ppm)")
        pairs.append(pair)
    return pairs


def _brief(each: Attacked) -> dict[str, Json]:
    whole = attack_json(each)
    return {name: value for name, value in whole.items() if name not in ("attack", "about", "choices")}


def _write_plans(folder: Path, found: list[Attacked], seed: int) -> None:
    for each in found:
        if (carried := each.cheapest) is not None:
            (folder / f"plan-{each.strategy.name}.json").write_bytes(canonical(plan_file(carried, seed)))
