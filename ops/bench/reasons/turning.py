"""Counterfactuals of decisions that did not allow: each that is told must turn the outcome when decided again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pipeline.decide.rules import hits_of
from pipeline.decide.verdict import Regime, decide
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.features import COLUMN
from pipeline.explain.counterfactual.counterfactual import Counterfactual, Otherwise, otherwise_of
from pipeline.explain.counterfactual.relations import Relations
from pipeline.explain.counterfactual.words import otherwise_lines
from pipeline.replay.redecide import Basis, mode_of

_STRICT: Final = {Outcome.ALLOW: 0, Outcome.ESCALATE: 1, Outcome.BLOCK: 2}
EXAMPLES: Final = 3


class Turned(NamedTuple):
    """kinds: of what was told, by what became of the outcome and by how many changes. wrong: ids of decisions whose
    counterfactual does not turn them."""

    looked_at: int
    kinds: Counter[str]
    wrong: list[str]
    ms: list[int]  # of each, in order
    examples: list[list[str]]


def turned(decisions: Sequence[Decision], in_force: Regime, seconds_max: float) -> Turned:
    """Of decisions that all are no ALLOW, as many as the CPU seconds allow, in an order of no meaning."""
    until_s = time.process_time() + seconds_max
    kinds: Counter[str] = Counter()
    wrong: list[str] = []
    spent: list[int] = []
    examples: dict[str, list[str]] = {}
    for decision in sorted(decisions, key=_decision_id):
        if time.process_time() > until_s:
            break
        started = time.process_time_ns()
        told = otherwise_of(decision, lambda _: in_force)
        spent.append((time.process_time_ns() - started) // 1_000_000)
        kind = _kind(decision, told)
        kinds[kind] += 1
        if kind.startswith("missing") or not _is_true(decision, told, in_force):
            wrong.append(decision.decision_id)
        if len(examples) < EXAMPLES:
            examples.setdefault(kind, [decision.summary, *otherwise_lines(decision, told)])
    return Turned(len(spent), kinds, wrong, sorted(spent), list(examples.values()))


def _decision_id(decision: Decision) -> str:
    """Its ids are hashes."""
    return decision.decision_id


def _kind(decision: Decision, told: object) -> str:
    if not isinstance(told, Otherwise):
        return f"missing: {told}"
    found = told.found
    if not isinstance(found, Counterfactual):
        return "none within the bound" if found.is_exhaustive else "none before the search was cut short"
    to = "lifted" if found.outcome is None else str(found.outcome)
    return f"{decision.outcome} to {to} by {len(found.changes)}{'' if found.is_smallest else ', cut short'}"


def _is_true(decision: Decision, told: object, in_force: Regime) -> bool:
    """Decides on the facts as they are told to be otherwise."""
    if not isinstance(told, Otherwise) or not isinstance(told.found, Counterfactual):
        return True
    found, row = told.found, np.array(decision.snapshot.features, dtype=np.int64)
    relations = Relations(row, in_force.policy.near_limit_gbp_minor())
    after = np.array([[change.after for change in found.changes]], dtype=np.int64)
    rows, possible = relations.rows_with([COLUMN[change.feature] for change in found.changes], after)
    if not possible[0]:
        return False
    if found.outcome is None:
        return not hits_of(in_force.rules.static_hard, rows)
    failed = [0] if decision.has_model_failed else []
    [again] = decide(rows, [mode_of(decision, Basis.RECORDED)], in_force, failed=failed)
    return again.outcome is found.outcome and _STRICT[again.outcome] < _STRICT[decision.outcome]
