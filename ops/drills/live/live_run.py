"""A drill on the live breaker, from two people's consent to the signed report (ADR 0040).

Invariants
1. Nothing is thrown without a proved consent that was never used, within its time, and where all is well.
2. The record on the topic has the drill's end in it, so nothing of what follows needs this process.
3. This process only watches after that: it closes nothing, releases nothing, and throws nothing again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from models.artefact.files import ModelRefused
from models.versions.loading_files import champion_version_of
from ops.access.roles import POSTGRES_OWNER
from ops.drills.live.watching import LiveWatch, Watched, trip_s
from ops.drills.notes import Moment
from ops.drills.run import signing_key
from pipeline.breaker import BreakerRecord, Refused
from pipeline.breaker.answer_counts import ALL, MODEL_PREFIX, model_scope
from pipeline.breaker.control_command import GROUP
from pipeline.breaker.proofs_files import drill_fault, signed_switch
from pipeline.breaker.store import BreakerStore, BreakerUnavailable
from pipeline.breaker.switch_topics import SwitchTopic
from pipeline.breaker.switches import Switches
from pipeline.decide.policy import Policy
from pipeline.domain.alert import IncidentKind
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.domain.decision import BreakerState
from pipeline.drills.consent_store import (
    Paged,
    ProposedDrill,
    append_begin,
    incident_of,
    pages_of,
    proved_consent,
    read_live_drills,
)
from pipeline.drills.consents import Consent, LiveDrill, begin_fault, consent_text
from pipeline.drills.judging import Measured
from pipeline.io.clock import now_ms
from pipeline.io.filing import server_now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, DatabaseUnavailable, connect
from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity
from pipeline.people.people_files import PeopleFileRefused, read_people
from pipeline.terminal.configuration import wire_format

WARM_S: Final = 30.0
"""Decisions are watched for so long before the drill: a partition with none in it says nothing of its worker."""
TICK_S: Final = 0.1
ASK_S: Final = 1.0
"""From one look at the database for the page and the incident to the next."""
PATIENCE_S: Final = 120.0
"""Longer than every probation is thought to last: what comes later is told as not seen."""


class LiveDrillRefused(Exception):
    """The drill was not begun, or shows nothing; the message says why."""


class LiveAsked(NamedTuple):
    """Who carries which consent out. warm_s: how long decisions are watched before."""

    drill: str
    drill_id: str
    by: Identity
    warm_s: float = WARM_S


@dataclass(slots=True)
class LiveCourse:
    """What is noted while a live drill runs; thrown_s is time.monotonic()'s."""

    thrown_s: float = 0.0
    ends_at_ms: int = 0
    moments: list[Moment] = field(default_factory=list)
    states: dict[int, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    page: Paged | None = None
    thrown_at_ms: int = 0  # by the database's clock
    ended_ms: int | None = None  # when its end was seen, by the clock
    recovered_ms: int | None = None

    def note(self, what: str) -> None:
        self.moments.append(Moment(round(time.monotonic() - self.thrown_s, 2), what))


class LivePerformed(NamedTuple):
    live: LiveDrill
    measured: Measured
    course: LiveCourse
    watched: Watched


class _Breaker:
    """The scope's record as workers have written it, from one thread."""

    def __init__(self, settings: Settings, scope: str) -> None:
        self._loop, self._scope = asyncio.new_event_loop(), scope
        self._store = BreakerStore(settings.redis_url, settings.state_prefix)

    def record(self) -> BreakerRecord | None:
        """Return the scope's record; None where the store can't be read, or holds nothing."""
        try:
            records = self._loop.run_until_complete(self._store.read(Switches())).records
        except BreakerUnavailable:
            return None
        if ALL not in records:
            return None
        return records.get(self._scope) or records[ALL]._replace(
            scope=self._scope, state=BreakerState.CLOSED, drill="", version=0
        )

    def not_closed(self) -> list[str] | None:
        """Return the scopes that aren't closed; None where the store can't be read, or holds nothing."""
        try:
            records = self._loop.run_until_complete(self._store.read(Switches())).records
        except BreakerUnavailable:
            return None
        closed = BreakerState.CLOSED
        return sorted(scope for scope, each in records.items() if each.state is not closed) if ALL in records else None

    def switched(self) -> int:
        try:
            return self._loop.run_until_complete(self._store.switched())
        except BreakerUnavailable as error:
            raise LiveDrillRefused(f"Redis can't be read: {error}") from error

    def close(self) -> None:
        self._loop.run_until_complete(self._store.close())
        self._loop.close()


class _Told:
    """Who was told of the drill, by the deployment's database, which may be away for a moment."""

    def __init__(self, url: str, live: LiveDrill) -> None:
        self._url, self._drill_id = url, live.drill_id

    def page(self) -> Paged | None:
        """Return the first message that arrived; None where there is none, or the database does not answer."""
        try:
            with closing(connect(self._url, "fraud-drill")) as connection:
                return next(iter(pages_of(connection, self._drill_id)), None)
        except DatabaseUnavailable:
            return None

    def incident(self) -> tuple[str, str] | None:
        try:
            with closing(connect(self._url, "fraud-drill")) as connection:
                return incident_of(connection, self._drill_id)
        except DatabaseUnavailable:
            return None


def perform_live(
    asked: LiveAsked,
    deployment: Settings,
    policy: Policy,
    folder: Path,
    say: Callable[[str], None],
    tell_begun: Callable[[], None],
) -> LivePerformed:
    """Carry a live drill out. tell_begun: is called once its consent is used up.

    Raises LiveDrillRefused, and what the database, the broker and Redis raise.
    """
    signing_key(deployment, folder)  # before anything is touched: without it there is no report
    url = deployment.as_role(POSTGRES_OWNER).database_url
    with closing(connect(url, "fraud-drill")) as connection:
        found = _consented(connection, asked)
    live, course = found.live, LiveCourse(thrown_s=time.monotonic())
    told, breaker = _Told(url, live), _Breaker(deployment, live.scope)
    watch = LiveWatch(deployment, wire_format(deployment), live.scope, live.drill_id)
    try:
        _require_well(breaker, deployment)
        watch.start()
        say(f"decisions in {live.scope} are watched for {asked.warm_s:.0f} s")
        _warm_up(watch, asked.warm_s)
        with closing(connect(url, "fraud-drill")) as connection:
            consent = _begin(connection, asked, found, deployment, breaker)
            tell_begun()
            _throw(connection, asked, consent, deployment, breaker, watch, course)
        say(f"the drill {live.drill_id} is thrown; it ends in {live.open_s} s, whoever is still there")
        _follow(told, live, policy, breaker, watch, course, say)
        return _performed(told, live, watch, course)
    finally:
        watch.stop()
        breaker.close()


def _consented(connection: Connection, asked: LiveAsked) -> ProposedDrill:
    found = next(iter(read_live_drills(connection, 1, asked.drill_id)), None)
    if found is None:
        raise LiveDrillRefused(f"there is no live drill {asked.drill_id[:60]!r}")
    if found.live.drill != asked.drill:
        raise LiveDrillRefused(f"{asked.drill_id} was consented to as {found.live.drill}, and not as {asked.drill}")
    if found.begun_by is not None:
        raise LiveDrillRefused("its consent was used before")
    if (fault := begin_fault(found.live, server_now_ms(connection))) is not None:
        raise LiveDrillRefused(fault)
    return found


def _require_well(breaker: _Breaker, deployment: Settings) -> None:
    """A drill where something is wrong already would show nothing, and cover it up.

    The record of a version that isn't in force stays open for as long as nobody goes back to it.
    """
    if (found := breaker.not_closed()) is None:
        raise LiveDrillRefused("the breaker's state can't be read")
    try:
        in_force = model_scope(champion_version_of(deployment))
    except (ModelRefused, OSError):
        in_force = None
    open_scopes = [
        scope for scope in found if in_force is None or not scope.startswith(MODEL_PREFIX) or scope == in_force
    ]
    if open_scopes:
        raise LiveDrillRefused(f"all is not well: {', '.join(open_scopes)[:200]} is not closed")


def _warm_up(watch: LiveWatch, warm_s: float) -> None:
    until_s = time.monotonic() + warm_s
    while time.monotonic() < until_s:
        watch.check()
        time.sleep(TICK_S)
    with watch.look() as watched:
        if not watched.partitions:
            raise LiveDrillRefused("nothing was decided in its scope, so nothing would be seen")


def _begin(
    connection: Connection, asked: LiveAsked, found: ProposedDrill, deployment: Settings, breaker: _Breaker
) -> Consent:
    """Use the consent up. What is proved to nobody here would be to no worker."""
    consent = proved_consent(connection, found)
    _root(deployment, consent, asked.by)
    _require_well(breaker, deployment)
    append_begin(connection, found.live, asked.by)
    return consent


def _throw(
    connection: Connection,
    asked: LiveAsked,
    consent: Consent,
    deployment: Settings,
    breaker: _Breaker,
    watch: LiveWatch,
    course: LiveCourse,
) -> None:
    live, root = consent.live, _root(deployment, consent, asked.by)
    topic = SwitchTopic.of(deployment, wire_format(deployment), lambda: LogReader.of(deployment, GROUP))
    wanted = _switch(live, consent, asked.by, now_ms())
    append, sign = Appender.of(deployment, GROUP).append, partial(signed_switch, by=asked.by, root=root)
    course.thrown_at_ms, course.ends_at_ms = server_now_ms(connection), wanted.ends_at_ms
    with closing(topic):
        try:
            topic.throw(wanted, append, wanted.thrown_at_ms, breaker.switched(), sign)
        except Refused as refusal:
            raise LiveDrillRefused(str(refusal)) from refusal
    course.thrown_s = time.monotonic()
    watch.thrown(course.thrown_s, wanted.ends_at_ms)
    course.note("the fault begins")


def _switch(live: LiveDrill, consent: Consent, by: Identity, at_ms: int) -> BreakerSwitch:
    return BreakerSwitch(
        live.scope,
        SwitchPosition.FORCED_OPEN,
        0,
        at_ms,
        by.name,
        live.reason,
        False,
        drill=live.drill_id,
        ends_at_ms=at_ms + live.open_s * 1000,
        consent=consent_text(consent),
    )


def _root(deployment: Settings, consent: Consent, by: Identity) -> str:
    """Return the registry's root, once its file proves the whole drill: each worker has the same file."""
    if deployment.people_file is None:
        raise LiveDrillRefused("FRAUD_PEOPLE_FILE names no file by which workers prove the consent")
    try:
        registry = read_people(deployment.people_file).registry
    except PeopleFileRefused as refusal:
        raise LiveDrillRefused(str(refusal)) from refusal
    at_ms = now_ms()
    tried = signed_switch(_switch(consent.live, consent, by, at_ms)._replace(sequence=1), by, registry.root)
    if (fault := drill_fault(registry, tried, at_ms)) is not None:
        raise LiveDrillRefused(f"the people's file does not prove it: {fault}; `fraud people export` writes it anew")
    return registry.root


def _follow(
    told: _Told,
    live: LiveDrill,
    policy: Policy,
    breaker: _Breaker,
    watch: LiveWatch,
    course: LiveCourse,
    say: Callable[[str], None],
) -> None:
    """Watch until the scope is closed again, until something else has opened it, or until nothing more is expected."""
    deadline_s = course.thrown_s + live.open_s + _probation_s(policy) + PATIENCE_S
    before, asked_s = (BreakerState.CLOSED.value, ""), 0.0
    while time.monotonic() < deadline_s:
        watch.check()
        now_s, record = time.monotonic(), breaker.record()
        stands = ("UNKNOWN", "") if record is None else (record.state.value, record.drill)
        course.states[int(now_s)] = stands[0]
        if stands != before:
            course.note(f"breaker {before[0]} to {stands[0]} for {live.scope}{'' if record is None else _why(record)}")
            before = stands
        if now_s - asked_s >= ASK_S:
            asked_s = now_s
            _look_for_page(told, course, say)
        if record is not None and _is_over(record, live, course, say):
            _look_for_page(told, course, say)
            return
        time.sleep(TICK_S)
    course.note("it did not recover in the time that a drill waits")


def _is_over(record: BreakerRecord, live: LiveDrill, course: LiveCourse, say: Callable[[str], None]) -> bool:
    """Note how far the drill is; return whether it is over, well or not."""
    is_its = record.drill == live.drill_id
    match record.state:
        case BreakerState.HALF_OPEN if is_its and course.ended_ms is None:
            course.ended_ms = now_ms()
            course.note("the fault is mended")
            say("the open period is over, and the model is on probation")
        case BreakerState.CLOSED if is_its:
            course.recovered_ms = now_ms()
            course.note("all is well again")
            return True
        case BreakerState.OPEN | BreakerState.FORCED_OPEN if not is_its:
            course.faults.append(f"it was no drill any more: {record.state} because {record.cause.text}"[:500])
            return True
        case _:
            pass
    return False


def _look_for_page(told: _Told, course: LiveCourse, say: Callable[[str], None]) -> None:
    """Note the first message that arrived."""
    if course.page is None and (page := told.page()) is not None:
        course.page = page
        course.note("on-call is paged")
        say(f"{page.sink} has the page")


def _performed(told: _Told, live: LiveDrill, watch: LiveWatch, course: LiveCourse) -> LivePerformed:
    with watch.look() as watched:
        tripped_s = trip_s(watched.partitions, course.thrown_s)
        course.faults += sorted(_faults(watched))
    course.faults += _told_faults(told, live, course)
    page_s = None if course.page is None else round((course.page.at_ms - course.thrown_at_ms) / 1000, 2)
    recover_s = None
    if course.recovered_ms is not None:
        recover_s = round(max(course.recovered_ms - course.ends_at_ms, 0) / 1000, 2)
    return LivePerformed(live, Measured(trip_s=tripped_s, page_s=page_s, recover_s=recover_s), course, watched)


def _faults(watched: Watched) -> list[str]:
    found = [
        f"partition {partition} of transactions.v1 decided nothing in the scope since, so nobody knows of its worker"
        for partition, seen in watched.partitions.items()
        if seen.before and seen.out_s is None and seen.in_s is None
    ]
    found += [
        f"in partition {partition} of transactions.v1 the model was in the loop again before the drill's end"
        for partition, seen in watched.partitions.items()
        if seen.is_back
    ]
    if not watched.marked:
        found.append("no decision names the drill")
    if watched.unreadable:
        found.append(f"{watched.unreadable:,} records of decisions.v1 can't be read")
    return found


def _told_faults(told: _Told, live: LiveDrill, course: LiveCourse) -> list[str]:
    found = []
    if (incident := told.incident()) is None:
        found.append("no incident was opened")
    elif incident[1] != IncidentKind.DRILL:
        found.append(f"the incident {incident[0]} is of the kind {incident[1]}, and not of a drill")
    agreed = {name.strip() for name in live.pages.split(",")}
    if course.page is not None and course.page.sink not in agreed:
        found.append(f"{course.page.sink} was paged, to which nobody consented")
    return found


def _probation_s(policy: Policy) -> int:
    """The least time that probation takes by the policy, and as long again, as a worker looks once an interval."""
    breaker = policy.breaker
    return 2 * breaker.half_open_s * len(breaker.half_open_shares_percent) + 4 * breaker.evaluation_interval_s


def _why(record: BreakerRecord) -> str:
    return f": {record.cause.text}"[:500]
