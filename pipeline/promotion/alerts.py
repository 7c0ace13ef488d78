"""The alerts about a rollout, in the catalogue's form."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.domain.alert import Alert


def rolled_back_alert(scope: str, sequence: int, words: Mapping[str, str], raised_at_ms: int) -> Alert:
    """Make the alert about a version that was taken back. scope: the breaker's, of that version.

    sequence: of the record that did it. words: `version` that decides now, `by` whom, and the `reason`.
    """
    version, evidence = words["version"], {"sequence": str(sequence), "version": words["version"]}
    summary = f"{scope.removeprefix('model:')} was taken back by {words['by']}; {version} decides: {words['reason']}"
    return alert(AlertCode.MODEL_ROLLED_BACK, summary, scope, evidence, raised_at_ms)


def unwatched_rollout_alert(scope: str, sequence: int, raised_at_ms: int) -> Alert:
    """Make the alert about a rollout that the stop rule can't judge, or can't end. sequence: of its present record."""
    summary = f"Nothing can take {scope.removeprefix('model:')} back by itself: its rollout can't be judged or ended."
    return alert(AlertCode.ROLLOUT_UNWATCHED, summary, scope, {"sequence": str(sequence)}, raised_at_ms)


def unsigned_move_alert(scope: str, sequence: int, by: str, raised_at_ms: int) -> Alert:
    """Make the alert about a move that nobody has signed. sequence: of its record. by: whoever it says has done it."""
    version = scope.removeprefix("model:")
    summary = (
        f"{version} was put in force past the gate: record {sequence} of the alias names {by}, who signed no move."
    )
    return alert(AlertCode.MODEL_MOVED_UNSIGNED, summary, scope, {"sequence": str(sequence)}, raised_at_ms)
