"""People's switches, as their topic holds them, laid over what Redis holds.

Invariants
1. A scope whose latest switch is FORCED_OPEN is FORCED_OPEN, whatever the store holds, has lost, or got back.
2. A release takes a scope to probation and never further. Where the store says CLOSED of a scope whose release it has
   not taken over, it has lost that the scope was open, and the scope is OPEN.
3. A store that says which switches it has taken over (`reached`) takes none of them over again.
4. A record that can't be read forces its scope open until a switch is thrown. So does a release that nobody is proved
   to have thrown, and one that can't be proved or refuted yet, for as long as that is so. One whose sequence is ahead
   of its record's time by more than clocks differ can't be read: no record takes the sequences to come away.
5. A drill opens what is CLOSED, has an end that nobody needs to be there for, and goes the way of a trip from there. It
   stands under a key of its own, so it takes no kill switch away. One that nobody is proved to have consented to trips
   its scope. One that a higher sequence precedes on the topic is none, because a store may be past it already.
6. Of SCOPES_MAX scopes the switches are told apart. One of a further scope forces all traffic open, until that is
   released, and its own release is passed over: nobody makes every worker's reading, and each batch, take longer and
   longer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import ALL, CHANNEL_PREFIX, SCOPE_BYTES_MAX, Counts, channel_scope
from pipeline.breaker.evaluating import Transition
from pipeline.breaker.settings import BreakerSettings
from pipeline.breaker.states import MONITOR, BreakerRecord, Cause, Event, next_version, step, unwritten
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.domain.decision import DRILL_PREFIX, BreakerState
from pipeline.domain.free_text import is_name, reason_fault
from pipeline.domain.log import Record
from pipeline.domain.payment import Channel
from pipeline.domain.refusals import Refusal
from pipeline.domain.times import utc_text
from pipeline.drills.consents import OPEN_S_MAX, consent_of

REASON_CHARACTERS_MAX: Final = 500
_SCOPE: Final = re.compile(r"all|model:\S+|segment:[^=]+=.+|segment:other|channel:[A-Z_]+")
_CHANNELS: Final = [channel_scope(channel) for channel in Channel]
_NOBODY: Final = MONITOR
SEQUENCE_AHEAD_MAX_MS: Final = 300_000
"""By which a sequence may be above the broker's time of its record. It comes from the clock of whoever throws."""
SCOPES_MAX: Final = 1_000
"""Switches are kept for ever: this is one of a new version or segment a week for 19 years. Each worker holds them, and
looks at all of them in each batch, in a third of a millisecond."""
UNPROVED: Final = "unproved"
"""The id of a drill that nobody is proved to have consented to. A genuine one is hexadecimal."""


class Fault(NamedTuple):
    """Why a release is not heeded. is_awaited: it may be proved yet, once it is known who people were by then."""

    why: str
    is_awaited: bool = False


FaultOf = Callable[[BreakerSwitch, int], Fault | None]


class Awaited(NamedTuple):
    """A release that nobody can prove or refute yet, and the switch that stands for it until then."""

    thrown: BreakerSwitch
    stand_in: BreakerSwitch


class Switches(NamedTuple):
    """The latest switch of each scope. awaited: what stands for releases that can't be proved yet. drills: the latest
    of each scope, which is no switch, because it has an end."""

    latest: Mapping[str, BreakerSwitch] = {}
    awaited: Mapping[str, BreakerSwitch] = {}
    drills: Mapping[str, BreakerSwitch] = {}

    @property
    def reached(self) -> int:
        """The highest sequence; 0 where nobody ever threw a switch."""
        return max((switch.sequence for found in self for switch in found.values()), default=0)

    @property
    def settled(self) -> int:
        """The highest sequence up to which a store may take the switches over: below every one that is awaited."""
        below = min((switch.sequence - 1 for switch in self.awaited.values()), default=self.reached)
        return min(self.reached, below)

    def forcing(self, scope: str) -> BreakerSwitch | None:
        """Return the switch that forces a scope open, if one does."""
        switch = self.latest.get(scope)
        is_forced = switch is not None and switch.position is SwitchPosition.FORCED_OPEN
        return switch if is_forced else self.awaited.get(scope)

    def is_forced(self, scope: str) -> bool:
        return self.forcing(scope) is not None

    def after(self, switch: BreakerSwitch) -> Switches:
        if switch.drill:
            return self._after_drill(switch)
        known = self.latest.get(switch.scope)
        if known is not None and known.sequence > switch.sequence:
            return self
        return self._replace(latest={**self.latest, switch.scope: switch})

    def has_room(self, scope: str) -> bool:
        """Whether a switch of this scope is told apart from others."""
        is_known = scope == ALL or any(scope in found for found in self)
        return is_known or sum(map(len, self)) < SCOPES_MAX

    def crowded(self, record: Record) -> Switches:
        """Return the switches after one for which there was no room; where all traffic is forced open, they stay.

        What forces it is of the record's own time, so a later release of all traffic holds in whichever order
        partitions are read.
        """
        if self.is_forced(ALL):
            return self
        why = f"is of one more scope than the {SCOPES_MAX:,} that are told apart"
        return self.after(_unreadable(record, ALL, 0, why))

    def _after_drill(self, drill: BreakerSwitch) -> Switches:
        """A drill is begun once: what begins it again, under whichever sequence, changes nothing.

        One that another switch has overtaken isn't begun: stores may be past its sequence, so it is thrown again.
        """
        known = self.drills.get(drill.scope)
        if drill.sequence <= self.reached or (known is not None and known.drill == drill.drill != UNPROVED):
            return self
        return self._replace(drills={**self.drills, drill.scope: drill})


class Refused(ValueError):
    """A person asked for something that can't be done; the message is one sentence for them."""


def require_sound(switch: BreakerSwitch) -> None:
    """Raise Refused where a switch names no scope, no reason or nobody."""
    if not is_scope(switch.scope):
        raise Refused(f"'{switch.scope}' is no scope: give all, model:VERSION, segment:NAME=VALUE or channel:NAME")
    is_forced = switch.position is SwitchPosition.FORCED_OPEN  # what stands may always be released
    if is_forced and switch.scope.startswith(CHANNEL_PREFIX) and switch.scope not in _CHANNELS:
        raise Refused(f"no payment has '{switch.scope}': there are {', '.join(_CHANNELS)}")
    if (fault := reason_fault(switch.reason, characters_max=REASON_CHARACTERS_MAX)) is not None:
        raise Refused(f"a reason is needed, of at most {REASON_CHARACTERS_MAX} characters: this one {fault}")
    if not is_name(switch.thrown_by) or switch.thrown_by == MONITOR:
        raise Refused("say who asks for this")


def key_of(switch: BreakerSwitch) -> bytes:
    """Return the key under which a switch stands on its topic; a drill's is its own, so it replaces no switch."""
    return (f"{DRILL_PREFIX}{switch.scope}" if switch.drill else switch.scope).encode()


def is_scope(scope: str) -> bool:
    return len(scope.encode()) <= SCOPE_BYTES_MAX and _SCOPE.fullmatch(scope) is not None


def switch_of(
    record: Record, decoded: BreakerSwitch | Refusal, reached: int, fault_of: FaultOf
) -> BreakerSwitch | Awaited:
    """Return a record's switch; that of a record that can't be read forces its scope open, or all traffic.

    fault_of: says why nobody is proved to have thrown a switch, whose record came at a time; None where somebody is.
    """
    key = (record.key or b"").decode(errors="replace")
    if key.startswith(DRILL_PREFIX):
        return _drill_of(record, key.removeprefix(DRILL_PREFIX), decoded, reached, fault_of)
    why = "can't be read"
    if isinstance(decoded, BreakerSwitch) and _is_ahead(decoded, record):
        why = _AHEAD
    elif isinstance(decoded, BreakerSwitch) and decoded.scope == key and is_scope(key):
        # Under a scope's own key nothing has an end: what says so is a kill switch, or a release, all the same.
        is_forced = decoded.position is SwitchPosition.FORCED_OPEN
        accepts_shift = decoded.accepts_shift and not is_forced  # what needs no proof forgets nothing
        decoded = decoded._replace(accepts_shift=accepts_shift, drill="", ends_at_ms=0, consent="")
        fault = None if is_forced else fault_of(decoded, record.source.timestamp_ms)
        if fault is None:
            return decoded
        why = f"is not proved{' yet' if fault.is_awaited else ''}: {fault.why}"
        if fault.is_awaited:
            reason = f"the switch at offset {record.source.offset} of its topic {why}"
            forced = decoded._replace(position=SwitchPosition.FORCED_OPEN, thrown_by=_NOBODY, accepts_shift=False)
            return Awaited(decoded, forced._replace(reason=reason))
    return _unreadable(record, key, reached, why)


def _drill_of(
    record: Record, scope: str, decoded: BreakerSwitch | Refusal, reached: int, fault_of: FaultOf
) -> BreakerSwitch:
    """Return a record's drill. One that nobody is proved to have consented to is none: its scope trips by it.

    It has an end all the same, because nobody but whoever may throw the kill switch writes the topic.
    """
    if (
        not isinstance(decoded, BreakerSwitch)
        or decoded.scope != scope
        or not is_scope(scope)
        or not decoded.drill
        or decoded.position is not SwitchPosition.FORCED_OPEN
        or decoded.accepts_shift
    ):
        return _unreadable(record, scope, reached, "can't be read")
    if _is_ahead(decoded, record):
        return _unreadable(record, scope, reached, _AHEAD)
    if (fault := fault_of(decoded, record.source.timestamp_ms)) is None:
        return decoded
    reason = f"the drill at offset {record.source.offset} of its topic is not proved: {fault.why}"
    unproved = decoded._replace(drill=UNPROVED, thrown_by=_NOBODY, reason=reason, accepts_shift=False, consent="")
    return unproved._replace(sequence=next_version(reached, max(record.source.timestamp_ms, 0)))


_AHEAD: Final = "can't be read: its sequence is of a time to come"


def _is_ahead(switch: BreakerSwitch, record: Record) -> bool:
    return switch.sequence > record.source.timestamp_ms + SEQUENCE_AHEAD_MAX_MS


def _unreadable(record: Record, key: str, reached: int, why: str) -> BreakerSwitch:
    scope, at_ms = key if is_scope(key) else ALL, max(record.source.timestamp_ms, 0)
    reason = f"the switch at offset {record.source.offset} of its topic {why}"
    return BreakerSwitch(scope, SwitchPosition.FORCED_OPEN, next_version(reached, at_ms), at_ms, _NOBODY, reason, False)


def governed(
    records: Mapping[str, BreakerRecord], reached: int, switches: Switches, now_ms: int
) -> Mapping[str, BreakerRecord]:
    """Return the records that govern payments: the store's, with the switches over them.

    A drill that no store may take over yet, because a release before it is awaited, still has its end. One that a store
    may take over is left to it: behind its end it shows a loss.
    """
    found = dict(records)
    for scope, switch in {**switches.awaited, **switches.latest}.items():
        record = records.get(scope, unwritten(scope, is_store_empty=ALL not in records))
        if (forcing := switches.forcing(scope)) is not None:
            if record.state is not BreakerState.FORCED_OPEN:
                found[scope] = _forced(forcing, record.version)
        elif switch.sequence > reached and record.state is BreakerState.CLOSED:
            found[scope] = record._replace(state=BreakerState.OPEN, cause=_lost(switch))
    for scope, drill in switches.drills.items():
        record = found.get(scope, unwritten(scope, is_store_empty=ALL not in records))
        is_over = drill.sequence > switches.settled and drill.drill != UNPROVED and now_ms >= drill.ends_at_ms
        if drill.sequence > reached and record.state is BreakerState.CLOSED and not is_over:
            found[scope] = record._replace(state=BreakerState.OPEN, cause=drill_cause(drill), drill=_mark(drill))
    return found


class TakenOver(NamedTuple):
    """A switch's transition; `is_shift_accepted` says that what was usual in the scope so far is to be forgotten."""

    transition: Transition
    is_shift_accepted: bool


def taken_over(
    records: Mapping[str, BreakerRecord],
    reached: int,
    switches: Switches,
    now_ms: int,
    settings: BreakerSettings,
    revision: int,
) -> list[TakenOver]:
    """Return the transitions of the switches that a store hasn't taken over yet."""
    thrown = (*switches.latest.values(), *switches.drills.values())
    pending = [switch for switch in thrown if reached < switch.sequence <= switches.settled]
    made, current = [], dict(records)
    for switch in sorted(pending, key=lambda switch: switch.sequence):
        before = current.get(switch.scope, unwritten(switch.scope, is_store_empty=False))
        if (asked := _event(before.state, switch, now_ms)) is None:
            continue
        after = step(before, *asked, now_ms, settings, revision)
        if switch.accepts_shift:
            after = after._replace(frozen=None)
        if asked[0] is Event.DRILL:
            ends_at_ms = min(switch.ends_at_ms, now_ms + OPEN_S_MAX * 1000)
            after = after._replace(open_until_ms=ends_at_ms, drill=switch.drill)
        current[switch.scope] = after
        transition = Transition(before.state, asked[0], after, now_ms, Counts())
        made.append(TakenOver(transition, switch.accepts_shift))
    return made


def cause_of(switch: BreakerSwitch) -> Cause:
    return Cause(switch.reason, switch.thrown_by)


def drill_cause(drill: BreakerSwitch) -> Cause:
    """Return the cause of what a drill does, whose consent is proved."""
    consent = consent_of(drill.consent)
    if consent is None or drill.drill == UNPROVED:
        return Cause(drill.reason, drill.thrown_by)
    people = f"{consent.proposed_by} and {consent.confirmed_by}"
    text = f"drill {drill.drill} ({consent.live.drill}) until {utc_text(drill.ends_at_ms)}, by consent of {people}"
    return Cause(f"{text}: {drill.reason}", drill.thrown_by)


def forced_scopes(switches: Switches) -> Iterable[str]:
    return [scope for scope in {**switches.awaited, **switches.latest} if switches.is_forced(scope)]


def _forced(switch: BreakerSwitch, version: int) -> BreakerRecord:
    return BreakerRecord(
        switch.scope, BreakerState.FORCED_OPEN, version, switch.thrown_at_ms, open_until_ms=0, cause=cause_of(switch)
    )


def _event(state: BreakerState, switch: BreakerSwitch, now_ms: int) -> tuple[Event, Cause] | None:
    """Return the event that brings a scope to its switch, with its cause; None where it is there."""
    if switch.drill:
        return _drill_event(state, switch, now_ms)
    if switch.position is SwitchPosition.FORCED_OPEN:
        return None if state is BreakerState.FORCED_OPEN else (Event.FORCE_OPEN, cause_of(switch))
    if state is BreakerState.CLOSED:
        return Event.STATE_LOST, _lost(switch)
    return Event.RELEASE, cause_of(switch)


def _drill_event(state: BreakerState, drill: BreakerSwitch, now_ms: int) -> tuple[Event, Cause] | None:
    """A drill begins where all is well, and nowhere else: what is out of the loop already stays as it is.

    One whose end has passed before a store took it over shows that the store has lost that the scope was open.
    """
    if state is not BreakerState.CLOSED:
        return None
    if drill.drill == UNPROVED:
        return Event.TRIP, Cause(drill.reason, MONITOR)
    if now_ms >= drill.ends_at_ms:
        return Event.STATE_LOST, Cause(f"the drill {drill.drill} is over, but the store doesn't know of it", MONITOR)
    return Event.DRILL, drill_cause(drill)


def _mark(drill: BreakerSwitch) -> str:
    return "" if drill.drill == UNPROVED else drill.drill


def _lost(switch: BreakerSwitch) -> Cause:
    return Cause(f"{switch.thrown_by} released it, but the store doesn't know that it was open", MONITOR)
