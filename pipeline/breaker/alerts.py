"""The alerts that tell on-call about the breaker."""

from __future__ import annotations

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.breaker.evaluating import Transition
from pipeline.domain.alert import Alert


def breaker_alert(transition: Transition) -> Alert:
    """Return the alert for a transition.

    A model that is taken out of the loop needs on-call at once; its way back is for information only.
    """
    after, window = transition.after, transition.window
    evidence = {
        "before": str(transition.before),
        "after": str(after.state),
        "version": str(after.version),
        "author": after.cause.author,
        "allow": str(window.allow),
        "block": str(window.block),
        "escalate": str(window.escalate),
        "errors": str(window.errors),
    }
    code = AlertCode(f"BREAKER_{transition.event}")
    return alert(code, after.cause.text, after.scope, evidence, transition.at_ms)
