"""The alerts that tell on-call about the breaker, and transitions as they are read back from them.

What `told_transition` reads is what `breaker_alert` writes, and more: a later release may say more, and an earlier one
said less. Nothing that it says stops a reader, and what can't be read is told as that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.breaker.evaluating import Transition
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState

_PREFIX: Final = "BREAKER_"
COUNTED: Final = ("allow", "block", "escalate", "errors")
_VERSION_MAX: Final = 2**63 - 1


class ToldTransition(NamedTuple):
    """A transition as an alert tells it.

    event, before, after: words of `states`, or of a later release. version: None where it can't be read. counts: over
    the window that was looked at, those that can be read.
    """

    scope: str
    event: str
    before: str
    after: str
    version: int | None
    author: str
    cause: str
    counts: Mapping[str, int]
    at_ms: int


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
    code = AlertCode(f"{_PREFIX}{transition.event}")
    return alert(code, after.cause.text, after.scope, evidence, transition.at_ms)


def told_transition(told: Alert) -> ToldTransition | None:
    """Read a transition back; None of an alert that tells of none."""
    if not told.code.startswith(_PREFIX):
        return None
    said = told.evidence
    counts = {name: count for name in COUNTED if (count := _whole(said.get(name))) is not None}
    return ToldTransition(
        scope=told.scope,
        event=told.code.removeprefix(_PREFIX),
        before=said.get("before", str(BreakerState.UNKNOWN)),
        after=said.get("after", str(BreakerState.UNKNOWN)),
        version=_whole(said.get("version")),
        author=said.get("author", "unknown"),
        cause=told.summary,
        counts=counts,
        at_ms=told.raised_at_ms,
    )


def _whole(text: str | None) -> int | None:
    """A whole number that a column holds, or None where the text is none."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > len(str(_VERSION_MAX)):
        return None
    number = int(text)
    return number if number <= _VERSION_MAX else None
