"""The breaker's states as one table, and the record of the state that a scope is in.

Invariants
1. A missing key of TRANSITIONS is a bug and raises AssertionError.
2. Only INITIALISE leads from UNKNOWN to CLOSED, and only a deployment with an empty log may use it.
3. OPEN changes to HALF_OPEN before `open_until_ms` only by a person's RELEASE.
4. Versions only grow, even across a loss of the store, because they start from the clock.
5. Probation begins with the least share, however it began; a share only grows by SHARE_RAISED.
6. A drill begins in CLOSED only, and goes the way of a trip. What is wrong meanwhile is no drill any more.

UNKNOWN is what a reader sees when the store can't be read or holds nothing; it is never written. A store that is
reachable but empty, or doesn't descend from what a worker has seen, has lost its state. Nobody then knows whether the
model was trusted before, so the monitor writes OPEN with the cause STATE_LOST, and the way back leads through
HALF_OPEN. A minute or so on the fallback's rules is cheap; a model that was taken out of the loop and comes back
because a server restarted is not (I4). A worker writes what it still remembers of tripped scopes as it was; a person's
kill switch stands outside the store (`switches`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.breaker.detecting.baselines import Baseline
from pipeline.breaker.settings import BreakerSettings, Condition
from pipeline.domain.decision import BreakerState


class Event(StrEnum):
    INITIALISE = "INITIALISE"
    STATE_LOST = "STATE_LOST"
    TRIP = "TRIP"
    DRILL = "DRILL"  # two people had it opened for a while, to see what becomes of it
    OPEN_PERIOD_OVER = "OPEN_PERIOD_OVER"  # the model's answers in shadow are good again, too
    STILL_BAD = "STILL_BAD"  # the period is over, but the answers in shadow are still bad
    SHARE_RAISED = "SHARE_RAISED"  # the model passed at this share, and answers a larger one
    PROBE_GOOD = "PROBE_GOOD"
    PROBE_BAD = "PROBE_BAD"
    FORCE_OPEN = "FORCE_OPEN"
    RELEASE = "RELEASE"


_S, _E = BreakerState, Event
TRANSITIONS: Final[dict[tuple[BreakerState, Event], BreakerState]] = {
    (_S.UNKNOWN, _E.INITIALISE): _S.CLOSED,
    (_S.UNKNOWN, _E.STATE_LOST): _S.OPEN,
    (_S.UNKNOWN, _E.FORCE_OPEN): _S.FORCED_OPEN,
    (_S.CLOSED, _E.STATE_LOST): _S.OPEN,
    (_S.CLOSED, _E.TRIP): _S.OPEN,
    (_S.CLOSED, _E.DRILL): _S.OPEN,
    (_S.CLOSED, _E.FORCE_OPEN): _S.FORCED_OPEN,
    (_S.OPEN, _E.STATE_LOST): _S.OPEN,
    (_S.OPEN, _E.STILL_BAD): _S.OPEN,
    (_S.OPEN, _E.OPEN_PERIOD_OVER): _S.HALF_OPEN,
    (_S.OPEN, _E.RELEASE): _S.HALF_OPEN,
    (_S.OPEN, _E.FORCE_OPEN): _S.FORCED_OPEN,
    (_S.HALF_OPEN, _E.STATE_LOST): _S.OPEN,
    (_S.HALF_OPEN, _E.SHARE_RAISED): _S.HALF_OPEN,
    (_S.HALF_OPEN, _E.PROBE_GOOD): _S.CLOSED,
    (_S.HALF_OPEN, _E.PROBE_BAD): _S.OPEN,
    (_S.HALF_OPEN, _E.RELEASE): _S.HALF_OPEN,
    (_S.HALF_OPEN, _E.FORCE_OPEN): _S.FORCED_OPEN,
    (_S.FORCED_OPEN, _E.RELEASE): _S.HALF_OPEN,
}


class Cause(NamedTuple):
    """The reason for a scope's state: plain English, its author, and the conditions where a trip began it."""

    text: str
    author: str
    tripped_by: tuple[Condition, ...] = ()


class BreakerRecord(NamedTuple):
    """The state of one scope: `all`, `model:<version>`, `segment:<name>=<value>` or `channel:<name>`.

    salt: keys the sample of a probation. It is random and known to workers alone.
    drill: the id of the drill that opened it, until it is closed and opened again; empty where no drill did.
    """

    scope: str
    state: BreakerState
    version: int
    since_ms: int
    open_until_ms: int  # 0 unless OPEN
    cause: Cause
    reopenings: int = 0  # reopenings since it was last CLOSED; each doubles the open period
    frozen: Baseline | None = None  # the baseline of before the trip; it judges where no seasonal one is known
    share_percent: int = 0  # of the payments that the model answers; 0 unless HALF_OPEN
    salt: str = ""
    drill: str = ""

    @property
    def is_drill(self) -> bool:
        """Whether it is out of the loop because of a drill, and nothing else."""
        return self.drill != "" and self.state is not BreakerState.CLOSED


MONITOR: Final = "monitor"


def unwritten(scope: str, *, is_store_empty: bool) -> BreakerRecord:
    """Return the record of a scope that has none: CLOSED where the store knows others, UNKNOWN where it is empty."""
    if is_store_empty:
        return BreakerRecord(scope, BreakerState.UNKNOWN, 0, 0, 0, Cause("nothing is recorded", MONITOR))
    return BreakerRecord(scope, BreakerState.CLOSED, 0, 0, 0, Cause("never tripped", MONITOR))


def is_possible(state: BreakerState, event: Event) -> bool:
    """Return whether the table has the transition; only a person's request, which may be anything, needs to know."""
    return (state, event) in TRANSITIONS


def step(
    record: BreakerRecord, event: Event, cause: Cause, now_ms: int, settings: BreakerSettings, revision: int
) -> BreakerRecord:
    """Return the next record.

    `revision` is the store's and at least the record's version; the new version is above both.
    """
    after = TRANSITIONS.get((record.state, event))
    assert after is not None, f"no transition from {record.state} on {event}"
    reopenings = _reopenings(record, event)
    return BreakerRecord(
        scope=record.scope,
        state=after,
        version=next_version(max(record.version, revision), now_ms),
        since_ms=record.since_ms if after is record.state and event is not Event.SHARE_RAISED else now_ms,
        open_until_ms=now_ms + _open_s(event, reopenings, settings) * 1000 if after is BreakerState.OPEN else 0,
        cause=cause,
        reopenings=reopenings,
        frozen=record.frozen,
        share_percent=_share(record, event, settings) if after is BreakerState.HALF_OPEN else 0,
        salt=record.salt,
        drill=record.drill if event in _OF_A_DRILL else "",
    )


VERSION_MAX: Final = 2**63 - 1
"""The largest that a record of the topic holds. Times reach it in 292 million years, so nothing honest does."""


def next_version(version: int, now_ms: int) -> int:
    """Return a version above `version`, and above what a lost store had reached; VERSION_MAX is above itself.

    The latter holds as long as clocks agree to within the milliseconds that the store lost.
    """
    return min(max(version + 1, now_ms), VERSION_MAX)


_OF_A_DRILL: Final = frozenset({Event.DRILL, Event.OPEN_PERIOD_OVER, Event.SHARE_RAISED, Event.PROBE_GOOD})
"""The course of a drill. Whatever else happens is no drill any more."""


def diagram() -> str:
    """Draw TRANSITIONS as a Mermaid state diagram."""
    arrows = [f"    {before} --> {after}: {event}" for (before, event), after in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> UNKNOWN", *arrows]) + "\n"


def _share(record: BreakerRecord, event: Event, settings: BreakerSettings) -> int:
    if event is not Event.SHARE_RAISED:
        return settings.half_open_shares_percent[0]
    raised = settings.next_share(record.share_percent)
    assert raised is not None, "the last share isn't raised"
    return raised


def _reopenings(record: BreakerRecord, event: Event) -> int:
    match event:
        case Event.PROBE_BAD | Event.STILL_BAD:
            return record.reopenings + 1
        case Event.OPEN_PERIOD_OVER | Event.SHARE_RAISED | Event.RELEASE | Event.FORCE_OPEN:
            return record.reopenings
        case Event.INITIALISE | Event.STATE_LOST | Event.TRIP | Event.DRILL | Event.PROBE_GOOD:
            return 0


_DOUBLINGS_MAX: Final = 20
"""Most doublings of the open period: beyond any open_period_max_s, but few enough to keep the power of two small."""


def _open_s(event: Event, reopenings: int, settings: BreakerSettings) -> int:
    if event is Event.STATE_LOST:
        return settings.state_lost_open_s
    return min(settings.open_period_s << min(reopenings, _DOUBLINGS_MAX), settings.open_period_max_s)
