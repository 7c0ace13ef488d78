"""Losses of the store: how a worker notices one, and what it writes then.

Invariants
1. A store descends from what a worker remembers only where it names the write that the worker remembers. A higher
   revision proves nothing: revisions are clock values, and a worker that never knew of a lost write makes one, too.
2. After a loss every remembered scope is at least as strict as it was remembered, and every scope whose latest switch
   is FORCED_OPEN is FORCED_OPEN.
3. The repaired state descends from what was stored and from what was remembered, so that nobody who knew either takes
   it for a loss again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import ALL, Counts
from pipeline.breaker.evaluating import Transition
from pipeline.breaker.settings import BreakerSettings
from pipeline.breaker.states import MONITOR, BreakerRecord, Cause, Event, step, unwritten
from pipeline.breaker.switches import Switches, cause_of, forced_scopes
from pipeline.domain.decision import BreakerState

LINEAGE_MAX: Final = 32
"""Most writes that a lineage names. There is about one an interval, of at least a second, and a worker looks every
second. A worker that stood still for longer knows no more than one that starts."""
_CAUSE_CHARACTERS_MAX: Final = 1000
"""Longest text of a cause, so that a store that is lost again and again doesn't make it grow with each loss."""


class Lineage(NamedTuple):
    """The latest writes to a store, newest first, each as REVISION-MARK. The mark is random: no two writes share it."""

    writes: tuple[str, ...] = ()

    @property
    def revision(self) -> int:
        """The revision of the latest write; 0 where nothing was ever written."""
        return _revision(self.writes[0]) if self.writes else 0

    def descends_from(self, other: Lineage) -> bool:
        if not other.writes or other.writes[0] in self.writes:
            return True
        is_complete = len(self.writes) < LINEAGE_MAX
        return not is_complete and other.revision < _revision(self.writes[-1])

    def followed_by(self, revision: int, mark: str) -> Lineage:
        return Lineage((f"{revision}-{mark}", *self.writes)[:LINEAGE_MAX])

    def joined_with(self, other: Lineage) -> Lineage:
        writes = sorted({*self.writes, *other.writes}, key=lambda write: (_revision(write), write), reverse=True)
        return Lineage(tuple(writes)[:LINEAGE_MAX])


def transitions_after_loss(
    stored: Mapping[str, BreakerRecord],
    remembered: Mapping[str, BreakerRecord],
    switches: Switches,
    now_ms: int,
    settings: BreakerSettings,
    revision: int,
) -> list[Transition]:
    """Return the transitions to write when the store is empty, or doesn't descend from what this worker remembers."""
    open_before = [scope for scope, record in remembered.items() if record.state is not BreakerState.CLOSED]
    still_forced = [scope for scope, record in stored.items() if record.state is BreakerState.FORCED_OPEN]
    transitions = []
    for scope in dict.fromkeys([ALL, *open_before, *forced_scopes(switches), *still_forced]):
        before = stored.get(scope, unwritten(scope, is_store_empty=ALL not in stored))
        was = remembered.get(scope)
        released = _released(before, was, switches, now_ms, settings, revision)
        if released.state is BreakerState.FORCED_OPEN:
            continue
        event, cause = _restored(scope, was, switches)
        after = step(released, event, cause, now_ms, settings, revision)
        frozen = None if was is None else was.frozen
        transitions.append(Transition(before.state, event, after._replace(frozen=frozen), now_ms, Counts()))
    return transitions


def _released(
    stored: BreakerRecord,
    remembered: BreakerRecord | None,
    switches: Switches,
    now_ms: int,
    settings: BreakerSettings,
    revision: int,
) -> BreakerRecord:
    """Return the stored record, released where the store is of before the release and this worker knows of it."""
    switch = switches.latest.get(stored.scope)
    is_known = remembered is not None and remembered.state is not BreakerState.FORCED_OPEN
    if stored.state is not BreakerState.FORCED_OPEN or switch is None or switches.is_forced(stored.scope):
        return stored
    return step(stored, Event.RELEASE, cause_of(switch), now_ms, settings, revision) if is_known else stored


def _restored(scope: str, remembered: BreakerRecord | None, switches: Switches) -> tuple[Event, Cause]:
    if (forcing := switches.forcing(scope)) is not None:
        return Event.FORCE_OPEN, cause_of(forcing)
    if remembered is not None and remembered.state is BreakerState.FORCED_OPEN:
        return Event.FORCE_OPEN, remembered.cause
    if remembered is None or remembered.state is BreakerState.CLOSED:
        return Event.STATE_LOST, Cause("the store lost the breaker's state", MONITOR)
    text = f"the store lost the breaker's state, which was {remembered.state} because {remembered.cause.text}"
    return Event.STATE_LOST, Cause(text[:_CAUSE_CHARACTERS_MAX], MONITOR, remembered.cause.tripped_by)


def _revision(write: str) -> int:
    return int(write.partition("-")[0])
