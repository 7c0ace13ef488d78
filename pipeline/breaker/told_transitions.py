"""Transitions as they are read back from the alerts that tell of them.

What is read is what `breaker_alert` writes, and more: a later release may say more, and an earlier one said less.
Nothing that an alert says stops its reader, and what can't be read is told as that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.alerts.catalogue import CATALOGUE, AlertCode
from pipeline.breaker.states import MONITOR, Cause
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState

BREAKER_PREFIX: Final = "BREAKER_"
UNPROVED: Final = "(unproved)"
"""The author, in the history, of a transition that no worker is proved to have told of. No person's name has
brackets."""
_COUNTED: Final = ("allow", "block", "escalate", "errors")
_NUMBER_MAX: Final = 2**63 - 1
_CONDITIONS_MAX: Final = 20
"""Conditions that are read; there are about five."""


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

    @property
    def is_proved(self) -> bool:
        """Whether a worker is proved to have told of it."""
        return self.author != UNPROVED

    def unproved(self, why: str) -> ToldTransition:
        """The transition as history has it where nobody is proved to have told of it: author and cause say so."""
        return self._replace(author=UNPROVED, cause=f"NOT PROVED to be a worker's word ({why}): {self.cause}")


def told_transition(told: Alert) -> ToldTransition | None:
    """Read a transition back; None of an alert that tells of none."""
    if not told.code.startswith(BREAKER_PREFIX):
        return None
    said = told.evidence
    counts = {name: count for name in _COUNTED if (count := whole(said.get(name))) is not None}
    return ToldTransition(
        scope=told.scope,
        event=told.code.removeprefix(BREAKER_PREFIX),
        before=said.get("before", str(BreakerState.UNKNOWN)),
        after=said.get("after", str(BreakerState.UNKNOWN)),
        version=whole(said.get("version")),
        author=_author(said.get("author", "unknown")),
        cause=cause_in(told.code, told.summary),
        counts=counts,
        at_ms=told.raised_at_ms,
    )


def headline(code: AlertCode, cause: Cause) -> str:
    """Say what has become of the model, then by whom where a person did it, and why: an alert's summary."""
    by = "" if cause.author == MONITOR else f", by {cause.author}"
    return f"{CATALOGUE[code].meaning.removesuffix('.')}{by}: {cause.text}"


def cause_in(code: str, summary: str) -> str:
    """Return what follows the headline; of an alert of an earlier release, which had none, all that it says."""
    if code not in CATALOGUE or not summary.startswith(CATALOGUE[AlertCode(code)].meaning.removesuffix(".")):
        return summary
    return summary.partition(": ")[2] or summary


def _author(said: str) -> str:
    """Nobody but history calls a transition unproved."""
    return "unknown" if said == UNPROVED else said


def window_from_ms(evidence: Mapping[str, str]) -> int | None:
    """Return when the window began that a transition was made on; None where the evidence doesn't say."""
    return whole(evidence.get("window_from_ms")) or None


def conditions_of(evidence: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    """Return the conditions that held, each by the names of what is said of it; none where that can't be read."""
    try:
        read = json.loads(evidence.get("conditions", "[]"))
    except (ValueError, RecursionError):
        return []
    if not isinstance(read, list):
        return []
    found = [each for each in read[:_CONDITIONS_MAX] if isinstance(each, dict)]
    return [{_writable(name): _writable(value) for name, value in each.items()} for each in found]


def _writable(read: object) -> str:
    """JSON can name half a character, which no output can hold."""
    return str(read).encode(errors="replace").decode()


def whole(text: str | None) -> int | None:
    """Return a whole number that a column holds, or None where the text is none."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > len(str(_NUMBER_MAX)):
        return None
    number = int(text)
    return number if number <= _NUMBER_MAX else None
