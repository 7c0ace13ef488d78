"""The work of `fraud models red-team`: it loads, attacks and shows, and writes plans and evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from models.artefact.files import ModelRefused
from models.artefact.plain_files import read_plain
from models.artefact.scoring import Model
from models.artefact.strict import Json, canonical
from models.redteam import report as reporting
from models.redteam.comparison import Compared, compared, trials_needed
from models.redteam.deciding import carry_out
from models.redteam.evidence import evidence_of
from models.redteam.plan import Plan, PlanRefused, plan_of
from models.redteam.search import Carried
from models.redteam.strategies.table import STRATEGIES
from models.redteam.target import Target, target_of
from models.redteam.trials import HEAVY_SHARE, Attacked, Effort, attacked
from models.versions.evidence import seed_of
from models.versions.evidence_files import file_evidence
from models.versions.loading_files import load_champion_of, load_registered
from models.versions.registry_files import registry_at
from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide.policy import Policy, PolicyRefused, parse_new_policy
from pipeline.decide.rollout.limits import RedTeamLimits
from pipeline.domain.money import count_text
from pipeline.io.filing import server_now_ms
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey, SigningKeyRefused
from pipeline.promotion.store import draw
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Advance, Output, coloured

ATTACKS: Final = len(STRATEGIES)
PLAN_BYTES_MAX: Final = 16 * 1024 * 1024
"""Largest plan: some hundred payments of 600 bytes each."""


def report(
    settings: Settings, version: str, seed: int, effort: Effort, plans: Path | None, output: Output, advance: Advance
) -> None:
    target = target_of(version, _policy(settings), _model(settings, version), seed)
    _show_head(output, target)
    for done, found in enumerate(attacked(target, effort), start=1):
        output.record(reporting.attack_json(found), reporting.attack_line(found))
        _write_plan(plans, found, seed)
        advance(done)
    _show_honest(output, target)


def compare(
    settings: Settings, version: str, plans: Path | None, key_path: Path, output: Output, advance: Advance
) -> bool:
    """Attack the champion and the version side by side, and write the evidence; True where it passed.

    How hard it tries is the policy's, and the seed follows from both artefacts, the policy and what the database draws
    once: whoever begins it again finds the same. The time is the database's.
    """
    key, policy = _key(key_path), _policy(settings)
    limits = _limits(policy)
    effort = Effort(limits.budget, limits.trials)
    _require_enough(effort, limits)
    try:
        champion = load_champion_of(settings).model
    except ModelRefused as refusal:
        raise Failure(f"There is no champion to compare with: {refusal}.", "Name one first.") from refusal
    model = _model(settings, version)
    compared_with = model.hash.hex(), champion.hash.hex(), policy.sha256.hex()
    with connected(settings) as connection:
        drawn = draw(connection, *compared_with)
    seed = seed_of(*compared_with, drawn)
    before, after = target_of(champion.version, policy, champion, seed), target_of(version, policy, model, seed)
    _show_head(output, after)
    pairs = []
    for done, pair in enumerate(compared(before, after, effort), start=1):
        pairs.append(pair)
        fields: dict[str, Json] = {"attack": pair.name, **reporting.pair_json(pair)}
        before_words = f"  (before: {pair.before.evaded}, £{pair.before.worst.through_minor // 100:,})"
        output.record(fields, reporting.attack_line(pair.after) + before_words)
        _write_plan(plans, pair.after, seed)
        advance(done)
    with connected(settings) as connection:
        found = Compared(tuple(pairs), limits)
        evidence = evidence_of(before, after, found, effort, drawn, server_now_ms(connection))
        try:
            name = file_evidence(connection, registry_at(settings.model_registry), evidence, key)
        except ModelRefused as refusal:
            raise Failure(f"The evidence is not written: {refusal}.", "See docs/models.md.") from refusal
    word = coloured("passed", "green") if evidence.passed else coloured("refused", "red", is_bold=True)
    fields = {"evidence": name, "passed": evidence.passed, "findings": list(evidence.findings)}
    output.record(fields, f"{version} against {champion.version}: {word}; {name}")
    for finding in () if output.as_json else evidence.findings:
        output.line(f"  {finding}")
    return evidence.passed


def _limits(policy: Policy) -> RedTeamLimits:
    limits = None if policy.promotion is None else policy.promotion.red_team
    if limits is None:
        what = "The policy has no [promotion.red_team], so nothing says how far findings may rise."
        raise Failure(what, "Set FRAUD_POLICY_PATH to one that has it.")
    return limits


def _require_enough(effort: Effort, limits: RedTeamLimits) -> None:
    needed = trials_needed(ATTACKS, limits)
    short = [each.name for each in STRATEGIES if effort.for_attack(each.name).trials < needed]
    if short:
        raise Failure(
            f"Evidence takes {needed} trials of each attack, and {', '.join(short)} would get fewer.",
            f"Let the policy ask for {needed * HEAVY_SHARE} trials.",
        )


def replayed(settings: Settings, version: str, path: Path, output: Output) -> bool:
    """Carry a written plan out again; True where every payment ends as the plan's file says."""
    value, plan = _read_plan(path)
    seed, claimed = value.get("seed"), value.get("outcomes")
    if not isinstance(seed, int):
        raise Failure(f"{path.name} is no plan: it names no seed.", "Give a file that --plans wrote.")
    target = target_of(version, _policy(settings), _model(settings, version), seed)
    course = carry_out(plan, target)
    is_same = list(course.outcomes) == claimed
    for line in reporting.plan_lines(Carried(plan, course)):
        if not output.as_json:
            output.line(line)
    fields: dict[str, Json] = {
        "attack": plan.attack, "outcomes": list(course.outcomes), "through_minor": course.through_minor,
        "as_claimed": is_same,
    }  # fmt: skip
    word = "as the plan says" if is_same else "otherwise than the plan says"
    through = f"£{course.through_minor // 100:,} of £{course.sought_minor // 100:,}"
    output.record(
        fields, f"{count_text(len(course.outcomes), 'payment')} decided by {version}, {word}: {through} got through."
    )
    return is_same


def _show_head(output: Output, target: Target) -> None:
    if not output.as_json:
        output.line(f"{target.name} under policy {target.in_force.policy.version}, seed {target.world.seed}")
        output.line(reporting.HEADER)


def _show_honest(output: Output, target: Target) -> None:
    output.record(
        {"honest": reporting.honest_json(target), "prices_minor": reporting.prices_json()},
        f"Of {target.honest_payments:,} honest payments of the same days it blocks {target.honest_stopped:,} and "
        f"escalates {target.honest_escalated:,}.",
    )


def _write_plan(folder: Path | None, found: Attacked, seed: int) -> None:
    """Write the cheapest plan that succeeded, or the worst find's first where none did."""
    if folder is None:
        return
    carried = found.cheapest or found.worst.carried[0]
    content: Json = {**reporting.plan_file(carried, seed)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{found.strategy.name}.json").write_bytes(canonical(content))


def _read_plan(path: Path) -> tuple[dict[str, Json], Plan]:
    try:
        value: Json = json.loads(read_plain(path, PLAN_BYTES_MAX))
        plan = plan_of(value)
    except (OSError, ValueError, RecursionError, PlanRefused) as error:
        raise Failure(f"{path.name} is no plan: {error}.", "Give a file that --plans wrote.") from error
    assert isinstance(value, dict), "plan_of takes objects only"
    return value, plan


def _policy(settings: Settings) -> Policy:
    try:
        return parse_new_policy(read_plain(settings.policy_path, POLICY_BYTES_MAX))
    except OSError as error:
        raise Failure(f"The policy can't be read ({error.strerror}).", "Set FRAUD_POLICY_PATH.") from error
    except PolicyRefused as refusal:
        raise Failure(f"The policy is refused: {refusal}.", "Mend it, or set FRAUD_POLICY_PATH.") from refusal


def _model(settings: Settings, version: str) -> Model:
    try:
        return load_registered(settings.model_registry, version)
    except ModelRefused as refusal:
        raise Failure(f"{refusal}.", "Name a version of the registry, or set FRAUD_MODEL_REGISTRY.") from refusal


def _key(path: Path) -> SigningKey:
    try:
        return SigningKey.from_file(path)
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", "Give the private key of use models.") from refusal
