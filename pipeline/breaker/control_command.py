"""`fraud breaker`: its states, its history, and a person's kill switch.

A switch goes onto its topic and nowhere else, so that it works while Redis is away, and is what workers go by whatever
becomes of Redis. Each takes it over within a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple, TypeVar

from models.artefact.plain_files import read_plain
from pipeline.breaker import (
    TRANSITIONS,
    BreakerRecord,
    BreakerSettings,
    Event,
    Refused,
    Switches,
    Transition,
    is_possible,
)
from pipeline.breaker.answer_counts import ALL
from pipeline.breaker.proofs_files import NO_FILE, signed_switch
from pipeline.breaker.settings import POLICY_BYTES_MAX, breaker_settings_of
from pipeline.breaker.store import BreakerStore, BreakerUnavailable
from pipeline.breaker.switch_topics import SwitchTopic
from pipeline.breaker.switches import require_sound
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.domain.decision import BreakerState
from pipeline.domain.times import utc_text
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import COMMAND_GROUP, LogReader
from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity
from pipeline.people.people_files import PeopleFileRefused, read_people
from pipeline.people.roles import Role
from pipeline.people.store import person_of
from pipeline.terminal.configuration import wire_format
from pipeline.terminal.failures import FAILED_CHECK, Failure, redis_away
from pipeline.terminal.output import Output, coloured

GROUP = "fraud-breaker"
_COLOUR = {BreakerState.CLOSED: "green", BreakerState.HALF_OPEN: "yellow"}
_EVENT = {SwitchPosition.FORCED_OPEN: Event.FORCE_OPEN, SwitchPosition.RELEASED: Event.RELEASE}
SEEN_SHOWN_MAX = 300
"""Scopes that are named; a policy declares at most 256."""
T = TypeVar("T")


class Thrown(NamedTuple):
    """A switch as it stands on the topic now, and the state that its scope had before.

    seen: the scopes under which payments were counted; None where the store can't be asked.
    """

    before: BreakerState
    switch: BreakerSwitch
    seen: Sequence[str] | None = None

    @property
    def after(self) -> BreakerState:
        return TRANSITIONS.get((self.before, _EVENT[self.switch.position]), BreakerState.FORCED_OPEN)

    @property
    def is_seen(self) -> bool | None:
        """Whether a payment was ever counted under its scope; None where that isn't known. Every one is under `all`."""
        if self.switch.scope == ALL:
            return True
        return None if self.seen is None else self.switch.scope in self.seen


def states(settings: Settings) -> list[BreakerRecord]:
    """Return the states of every scope that ever left CLOSED, or that a person forced open.

    There is none where no worker has begun, or where the store has lost its state and nobody threw a switch.
    """
    with closing(_switch_topic(settings, COMMAND_GROUP)) as topic:
        switches = topic.look()
    records = with_store(settings, lambda store: _records(store, switches))
    return sorted(records.values(), key=lambda record: record.scope)


def changes(settings: Settings, limit: int) -> list[Transition]:
    """Return the latest changes, oldest first."""
    return with_store(settings, lambda store: store.history(limit))[::-1]


def force_open(settings: Settings, scope: str, by: Identity, reason: str) -> Thrown:
    """Throw the kill switch, which stays until it is released."""
    wanted = BreakerSwitch(scope, SwitchPosition.FORCED_OPEN, 0, _now_ms(), by.name, reason, False)
    return _throw(settings, wanted, by, _root(settings))


def release(settings: Settings, scope: str, by: Identity, reason: str, *, accept_shift: bool) -> Thrown:
    """Put a scope on probation, whatever opened it.

    With `accept_shift` the model's present behaviour becomes the new normal, and the old baselines are forgotten.
    """
    wanted = BreakerSwitch(scope, SwitchPosition.RELEASED, 0, _now_ms(), by.name, reason, accept_shift)
    return _throw(settings, wanted, by, _root_to_release(settings, by))


def _throw(settings: Settings, wanted: BreakerSwitch, by: Identity, root: str) -> Thrown:
    with closing(_switch_topic(settings, GROUP)) as topic:
        try:
            require_sound(wanted)
            switches = topic.look()
            before, switched, seen = _standing(settings, wanted, switches)
            append, sign = Appender.of(settings, GROUP).append, partial(signed_switch, by=by, root=root)
            return Thrown(before, topic.throw(wanted, append, wanted.thrown_at_ms, switched, sign), seen)
        except Refused as refusal:
            raise Failure(f"{refusal}.", "`fraud breaker show` says what is.", FAILED_CHECK) from refusal


def _root(settings: Settings) -> str:
    """The registry's root, as far as its file is there: the kill switch works without it."""
    try:
        return "" if settings.people_file is None else read_people(settings.people_file).registry.root
    except PeopleFileRefused:
        return ""


def _root_to_release(settings: Settings, by: Identity) -> str:
    """The registry's root. Failure where its file does not say that this person may release."""
    if settings.people_file is None:
        raise Failure(f"{NO_FILE}.", "The review service writes it; every worker has the same.")
    try:
        registry = read_people(settings.people_file).registry
    except PeopleFileRefused as refusal:
        what = f"{str(refusal)[:1].upper()}{str(refusal)[1:]}."
        raise Failure(what, "The review service writes it anew, and so does `fraud people export`.") from refusal
    if not person_of(registry, by).holds(Role.OPERATOR):
        raise Failure("Refused: only an OPERATOR releases.", "`fraud people list` shows who is one.", FAILED_CHECK)
    return registry.root


def _standing(
    settings: Settings, wanted: BreakerSwitch, switches: Switches
) -> tuple[BreakerState, int, Sequence[str] | None]:
    """Return the scope's state, up to where the store has taken switches over, and the scopes that it has seen.

    The kill switch needs no store; a release does, but where a switch is what it releases. Raises Refused.
    """
    is_forced, is_release = switches.is_forced(wanted.scope), wanted.position is SwitchPosition.RELEASED
    if is_forced and not is_release:
        raise Refused(f"{wanted.scope} is {BreakerState.FORCED_OPEN}: {Event.FORCE_OPEN} is not possible from there")

    async def ask(store: BreakerStore) -> tuple[BreakerState, int, Sequence[str]]:
        records = await _records(store, switches)
        return _state_of(records, wanted.scope), await store.switched(), await store.scopes()

    try:
        before, switched, seen = _ask(settings, ask)
    except BreakerUnavailable as error:
        if is_release and not is_forced:
            raise redis_away(settings.redis_url) from error
        return (BreakerState.FORCED_OPEN if is_forced else BreakerState.UNKNOWN), 0, None
    if is_release and not is_possible(before, Event.RELEASE):
        raise Refused(f"{wanted.scope} is {before}: {Event.RELEASE} is not possible from there")
    return before, switched, seen


async def _records(store: BreakerStore, switches: Switches) -> Mapping[str, BreakerRecord]:
    return (await store.read(switches)).records


def _state_of(records: Mapping[str, BreakerRecord], scope: str) -> BreakerState:
    if scope in records:
        return records[scope].state
    return BreakerState.CLOSED if ALL in records else BreakerState.UNKNOWN


def show_states(output: Output, records: list[BreakerRecord]) -> bool:
    """True when nothing is open, and something is known."""
    for record in records:
        fields = {
            "scope": record.scope,
            "state": record.state,
            "since": utc_text(record.since_ms),
            "cause": record.cause.text,
            "author": record.cause.author,
        }
        line = f"{_state(record.state)} {record.scope:<32} since {utc_text(record.since_ms)} by {record.cause.author}: "
        output.record(fields, line + record.cause.text)
    if not records:
        fields = {"scope": "all", "state": BreakerState.UNKNOWN}
        output.record(fields, f"{_state(BreakerState.UNKNOWN)} nothing is recorded: no worker has run, or it was lost")
    return bool(records) and all(record.state is BreakerState.CLOSED for record in records)


def show_transition(output: Output, change: Transition) -> None:
    after = change.after
    fields = {
        "at": utc_text(change.at_ms),
        "scope": after.scope,
        "before": change.before,
        "event": change.event,
        "after": after.state,
        "cause": after.cause.text,
        "author": after.cause.author,
        "counts": change.window._asdict(),
        "conditions": [trip._asdict() for trip in change.trips],
        "share_percent": after.share_percent,
    }
    arrow = f"{change.before:>11} -> {_state(after.state)}"
    output.record(fields, f"{utc_text(change.at_ms)} {arrow} {after.scope}  {after.cause.text} ({after.cause.author})")


def show_thrown(output: Output, thrown: Thrown) -> None:
    switch = thrown.switch
    fields = {
        "at": utc_text(switch.thrown_at_ms),
        "scope": switch.scope,
        "before": thrown.before,
        "event": _EVENT[switch.position],
        "after": thrown.after,
        "cause": switch.reason,
        "author": switch.thrown_by,
        "sequence": switch.sequence,
        "is_seen": thrown.is_seen,
    }
    arrow = f"{thrown.before:>11} -> {_state(thrown.after)}"
    line = f"{utc_text(switch.thrown_at_ms)} {arrow} {switch.scope}  {switch.reason} ({switch.thrown_by})"
    output.record(fields, f"{line}; {_effect(thrown)}")


def _effect(thrown: Thrown) -> str:
    """Say what a switch does. A mistyped scope is as good as any to a worker, and holds no payment."""
    is_release = thrown.switch.position is SwitchPosition.RELEASED
    when = f"every worker has it {'once its people file is of after it' if is_release else 'within a second'}"
    if thrown.is_seen:
        return when
    if thrown.seen is None:
        return f"{when}; whether any payment belongs to the scope can't be known now"
    there = ", ".join(thrown.seen[:SEEN_SHOWN_MAX]) + (" and more" if len(thrown.seen) > SEEN_SHOWN_MAX else "")
    what = "NO PAYMENT WAS COUNTED UNDER IT, so it may hold none: a typing error, a version that has not begun, or a "
    return f"{what}segment that the policy doesn't declare. There are {there or 'none yet'}"


def _state(state: BreakerState) -> str:
    return coloured(f"{state:<11}", _COLOUR.get(state, "red"), is_bold=True)


def _switch_topic(settings: Settings, group: str) -> SwitchTopic:
    return SwitchTopic.of(settings, wire_format(settings), lambda: LogReader.of(settings, group))


def with_store(settings: Settings, ask: Callable[[BreakerStore], Awaitable[T]]) -> T:
    try:
        return _ask(settings, ask)
    except BreakerUnavailable as error:
        raise redis_away(settings.redis_url) from error


def _ask(settings: Settings, ask: Callable[[BreakerStore], Awaitable[T]]) -> T:
    async def run() -> T:
        store = BreakerStore(settings.redis_url, settings.state_prefix)
        try:
            return await ask(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def breaker_settings(settings: Settings) -> BreakerSettings:
    try:
        return breaker_settings_of(read_plain(settings.policy_path, POLICY_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise Failure(
            f"The policy's [breaker] table can't be used: {error}.", "`fraud config check` says more."
        ) from error
