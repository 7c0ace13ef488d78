"""The alerts that tell on-call, and whoever keeps incidents, about the breaker."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.breaker.detecting.baselines import HOUR_MS
from pipeline.breaker.detecting.blindness import Blindness
from pipeline.breaker.evaluating import Transition
from pipeline.breaker.told_transitions import headline
from pipeline.domain.alert import Alert


def breaker_alert(transition: Transition) -> Alert:
    """Return the alert for a transition, with all that an incident needs.

    A model that is taken out of the loop needs on-call at once; its way back is for information only. `conditions` is
    a JSON array of the conditions that held, each with its count, sample, limit and by how much; the positions are
    PARTITION:OFFSET of transactions.v1, from the window's first payment on and before the end (`Affected`). `drill`
    names the drill that a transition belongs to. The same transition always makes the same alert.
    """
    after, window, affected = transition.after, transition.window, transition.affected
    evidence = {
        "event": str(transition.event),
        "before": str(transition.before),
        "after": str(after.state),
        "version": str(after.version),
        "author": after.cause.author,
        "share_percent": str(after.share_percent),
        "allow": str(window.allow),
        "block": str(window.block),
        "escalate": str(window.escalate),
        "errors": str(window.errors),
        "doubt": str(window.doubt),
        "doubt_known": str(window.doubt_known),
        "conditions": json.dumps([trip._asdict() for trip in transition.trips]),
        "window_from_ms": str(affected.from_ms),
        "error_window_from_ms": str(affected.error_from_ms),
        "window_to_ms": str(affected.to_ms),
        "first_positions": _positions(affected.first),
        "end_positions": _positions(affected.end),
    }
    if after.drill:
        evidence["drill"] = after.drill
    code = AlertCode(f"BREAKER_{transition.event}")
    return alert(code, headline(code, after.cause), after.scope, evidence, transition.at_ms)


def unwatched_alert(blind: Blindness) -> Alert:
    """Return the alert that a scope can't be judged; the same one, whichever worker finds it and however often."""
    hours = (blind.told_from_ms - blind.since_ms) // HOUR_MS
    subject = f"the {blind.what} of {blind.scope}" if blind.what else blind.scope
    summary = f"The breaker can't judge {subject}, and couldn't for {hours} hours: {blind.why}."
    evidence = {"since_ms": str(blind.since_ms), "why": blind.why}
    if blind.what:
        evidence["what"] = blind.what
    return alert(AlertCode.MODEL_UNWATCHED, summary, blind.scope, evidence, blind.told_from_ms)


def _positions(offsets: Mapping[int, int]) -> str:
    return " ".join(f"{partition}:{offset}" for partition, offset in sorted(offsets.items()))
