"""The breaker's memory in Redis: running totals, states, and who evaluates when.

Every batch adds to running totals of the model's answers by scope. One worker an interval claims an evaluation: a
script copies the totals, which makes every window the difference of two readings, exact and by one clock (Redis TIME),
at the cost of no bucket per second and scope. Writes are compare-and-set on one revision, so two evaluators never trip
twice. All keys share one hash tag. They must not be evicted: Redis runs with `maxmemory-policy noeviction`.

Any command that fails raises BreakerUnavailable; the caller routes by `Routing({}, ...)`: UNKNOWN.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError, ResponseError

from pipeline.breaker import (
    HISTORY_MS,
    MONITOR,
    SEGMENT_OTHER,
    SEGMENTS_MAX,
    BreakerRecord,
    BreakerSettings,
    Cause,
    Event,
    History,
    ScopeReading,
    Transition,
    Watch,
    advance,
    codec,
    is_possible,
    lost,
    next_version,
    step,
    touched,
    unwritten,
)
from pipeline.breaker.answer_counts import ALL, Counts, difference, model_scope
from pipeline.domain.decision import BreakerState
from pipeline.io.redis_batches import RedisBatches

TRANSITIONS_KEPT: Final = 10_000
SCOPE_BYTES_MAX: Final = 128
ATTEMPTS_MAX: Final = 5
"""Of a person's change against evaluators, who write at most once an interval: the second attempt wins."""
SCOPES_A_SLICE: Final = 4
"""Judged before the event loop gets its turn: under 1 ms, and about 6 ms in the first evaluation of an hour."""
REASON_CHARACTERS_MAX: Final = 500
_SCOPE: Final = re.compile(r"all|model:\S+|segment:[^=]+=.+|segment:other")
_LUA: Final = Path(__file__).parent / "lua"

T = TypeVar("T")
R = TypeVar("R")


class BreakerUnavailable(Exception):
    """Redis can't be reached, or holds what can't be read: the state is UNKNOWN."""


class BreakerRefused(ValueError):
    """A person asked for what can't be; the message is one sentence for them."""


class View(NamedTuple):
    """Arguments for Routing. No records: UNKNOWN."""

    records: Mapping[str, BreakerRecord]
    tracked_segments: frozenset[str]


class BreakerStore:
    def __init__(
        self, url: str, prefix: str = "fraud", *, timeout_s: float = 1.0, clock_ms: Callable[[], int] | None = None
    ) -> None:
        """`clock_ms` None: Redis TIME, one clock for all workers."""
        self._redis: Redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # a commit whose answer was lost must not be tried again unnoticed
        )
        tag = f"{prefix}:{{breaker}}:"
        names = ("totals", "reached", "segments", "marks", "hours", "states", "watch", "excluded", "transitions")
        self._key = {name: tag + name for name in names}
        self._at_key = tag + "at:"
        self._batches = RedisBatches(url, timeout_s=timeout_s)  # for what is asked once a batch
        self._clock_ms = clock_ms
        self._record = self._script("record")
        self._claim = self._script("claim")
        self._commit = self._script("commit")
        self._history = History()
        self._remembered = codec.States(0, {})
        self._reply: dict[bytes, bytes] = {}
        self._read = codec.States(0, {})  # from that reply

    async def close(self) -> None:
        await self._batches.close()
        await self._redis.aclose()

    # The hot path

    async def read(self) -> View:
        """Every state that was ever written, in one command."""
        known = self._remembered.revision  # before asking: an evaluation's write may overtake the answer
        states = await self._states()
        if _is_lost(states, known):
            return View({}, frozenset())
        self._remember(states)
        rest = states.records.get(SEGMENT_OTHER)
        if rest is None or rest.state is BreakerState.CLOSED:
            return View(states.records, frozenset())
        return View(states.records, frozenset(await _reached(self._redis.smembers(self._key["segments"]))))

    async def record(self, spans: Iterable[tuple[int, int, int]], counts_by_scope: Mapping[str, Counts]) -> bool:
        """Adds a committed batch's counts. `spans` are its (partition, start offset, end offset); False when they were
        counted before. A batch that a crash kept from being recorded is never counted; nothing is counted twice."""
        places = [number for span in spans for number in span]
        arguments: list[str | int] = [len(places) // 3, *places, SEGMENTS_MAX, SCOPE_BYTES_MAX, SEGMENT_OTHER]
        for scope, counts in counts_by_scope.items():
            pairs = list(codec.counters(counts))
            arguments += [scope, len(pairs), *(part for pair in pairs for part in pair)]
        return bool(await _reached(self._record(self._keys("totals", "reached", "segments"), arguments)))

    # Evaluating

    async def evaluate(self, settings: BreakerSettings, model_version: str | None) -> tuple[Transition, ...]:
        """The transitions that this call made. To be called every second by every worker: most calls find that the
        interval's evaluation was done. Repairs a lost store."""
        known = self._remembered.revision
        claimed = await self._claimed(settings)
        if claimed is None:
            return ()
        if _is_lost(claimed.states, known):
            remembered = self._remembered
            revision = max(claimed.states.revision, remembered.revision)
            made = lost(claimed.states.records, remembered.records, claimed.now_ms, settings, revision)
            return tuple(made) if await self._write(claimed.states.revision, revision, claimed.now_ms, made) else ()
        self._remember(claimed.states)
        await self._learn(claimed)
        return await self._evaluated(claimed, settings, model_version)

    async def initialise(self, by: str, settings: BreakerSettings) -> bool:
        """Closes a breaker that has no state. Only for a deployment whose log is empty: nothing can have been lost."""
        states = await self._states()
        if states.records or self._remembered.records:
            return False
        now_ms = await self._now_ms()
        before = unwritten(ALL, is_store_empty=True)
        cause = Cause("a new deployment", by)
        after = step(before, Event.INITIALISE, cause, now_ms, settings, states.revision)
        made = [Transition(before.state, Event.INITIALISE, after, now_ms, Counts())]
        return await self._write(states.revision, states.revision, now_ms, made)

    # People

    async def force_open(self, scope: str, by: str, reason: str, settings: BreakerSettings) -> Transition:
        """The kill switch: stays until released."""
        return await self._person(scope, Event.FORCE_OPEN, Cause(reason, by), settings)

    async def release(
        self, scope: str, by: str, reason: str, settings: BreakerSettings, *, accept_shift: bool = False
    ) -> Transition:
        """On probation (HALF_OPEN), whatever opened it. `accept_shift`: what the model does now is the new normal; what
        was usual so far is forgotten."""
        return await self._person(scope, Event.RELEASE, Cause(reason, by), settings, accept_shift=accept_shift)

    async def history(self, count: int = 100) -> list[Transition]:
        """The latest transitions, newest first."""
        entries = await _reached(self._redis.xrevrange(self._key["transitions"], count=count))
        return [_readable(codec.transition_from, fields["transition"]) for _, fields in entries]

    # Below: in call order

    async def _states(self) -> codec.States:
        (reply,) = await _reached(self._batches.run([("HGETALL", self._key["states"])]))
        if isinstance(reply, ResponseError):
            raise BreakerUnavailable(str(reply)) from reply
        if reply != self._reply:  # it seldom changes, and is asked for once a batch
            self._reply, self._read = reply, _readable(codec.states_from_bytes, reply)
        return self._read

    def _remember(self, states: codec.States) -> None:
        if states.revision >= self._remembered.revision:
            self._remembered = states

    async def _claimed(self, settings: BreakerSettings) -> codec.Claimed | None:
        interval_ms, window_ms = settings.evaluation_interval_s * 1000, settings.window_s * 1000
        names = ("totals", "marks", "hours", "states", "watch", "excluded")
        now = "" if self._clock_ms is None else self._clock_ms()
        kept_ms = 2 * (window_ms + interval_ms)
        arguments = [now, interval_ms, settings.error_window_s * 1000, window_ms, kept_ms, HISTORY_MS]
        answer = await _reached(self._claim([*self._keys(*names), self._at_key], arguments))
        return _readable(codec.claimed_from, answer) if answer[1] else None

    async def _learn(self, claimed: codec.Claimed) -> None:
        """Reads the hourly totals that this worker hasn't seen: one an hour, and all of them after a start."""
        for mark in claimed.hours:
            if self._history.last_ms is None or int(mark) > self._history.last_ms:
                fields = await _reached(self._redis.hgetall(self._at_key + mark))
                flat = [part for pair in fields.items() for part in pair]
                self._history.add(int(mark), codec.totals_from(flat))
        self._history.exclude(claimed.excluded)

    async def _evaluated(
        self, claimed: codec.Claimed, settings: BreakerSettings, model_version: str | None
    ) -> tuple[Transition, ...]:
        segments = sorted(scope for scope in claimed.totals if scope.startswith("segment:"))
        models = [] if model_version is None else [model_scope(model_version)]
        watches: dict[str, Watch] = {}
        made: list[Transition] = []
        for place, scope in enumerate([ALL, *models, *segments]):
            if place % SCOPES_A_SLICE == SCOPES_A_SLICE - 1:
                await asyncio.sleep(0)
            record = claimed.states.records.get(scope, unwritten(scope, is_store_empty=False))
            advanced = advance(
                record,
                claimed.watches.get(scope, Watch()),
                self._reading(scope, claimed, settings),
                claimed.now_ms,
                settings,
                peers=len(segments) if scope.startswith("segment:") else 1,
                revision=claimed.states.revision,
            )
            watches[scope] = advanced.watch
            if advanced.transition is not None:
                made.append(advanced.transition)
        excluded = _newly_excluded(claimed, made, settings)
        revision = claimed.states.revision
        is_written = await self._write(
            revision, revision, claimed.now_ms, made, codec.watches_to(watches), sorted(excluded)
        )
        return tuple(made) if is_written else ()

    def _reading(self, scope: str, claimed: codec.Claimed, settings: BreakerSettings) -> ScopeReading:
        total, none, history, now_ms = claimed.totals.get(scope, Counts()), Counts(), self._history, claimed.now_ms
        at_window = claimed.at_window.get(scope, none)
        seasonal = history.seasonal(scope, now_ms, settings)
        everywhere = history.seasonal(ALL, now_ms, settings) if scope.startswith("model:") else None
        trailing = None
        if seasonal is None and everywhere is None and scope != ALL:
            trailing = history.trailing(scope, now_ms, claimed.window_mark_ms, at_window, settings)
        return ScopeReading(
            window=difference(total, at_window),
            error_window=difference(total, claimed.at_error_window.get(scope, none)),
            span=difference(total, claimed.at_before.get(scope, none)),
            seasonal=seasonal,
            seasonal_everywhere=everywhere,
            trailing=trailing,
        )

    async def _person(
        self, scope: str, event: Event, cause: Cause, settings: BreakerSettings, *, accept_shift: bool = False
    ) -> Transition:
        _check(scope, cause)
        for _ in range(ATTEMPTS_MAX):
            states = await self._states()
            before = states.records.get(scope, unwritten(scope, is_store_empty=ALL not in states.records))
            if not is_possible(before, event):
                raise BreakerRefused(f"{scope} is {before.state}: {event} is not possible from there")
            now_ms = await self._now_ms()
            after = step(before, event, cause, now_ms, settings, states.revision)
            if accept_shift:
                after = after._replace(frozen=None)
            made = [Transition(before.state, event, after, now_ms, Counts())]
            forgotten = await self._every_hour(scope) if accept_shift else []
            if await self._write(states.revision, states.revision, now_ms, made, "", forgotten):
                return made[0]
        raise BreakerUnavailable(f"others kept changing the breaker {ATTEMPTS_MAX} times in a row")

    async def _every_hour(self, scope: str) -> list[tuple[str, int]]:
        marks = await _reached(self._redis.zrange(self._key["hours"], 0, -1))
        return [place for mark in marks for place in touched(scope, int(mark), int(mark))]

    async def _write(
        self,
        expected_revision: int,
        revision: int,
        now_ms: int,
        made: list[Transition],
        watch: str = "",
        excluded: list[tuple[str, int]] | None = None,
    ) -> bool:
        """False when another wrote since `expected_revision` was read. The new revision is above `revision`."""
        following = next_version(revision, now_ms)
        hours = excluded or []
        arguments: list[str | int] = [expected_revision, following, watch]
        arguments += [now_ms - HISTORY_MS, TRANSITIONS_KEPT, len(hours)]
        arguments += [part for scope, hour_ms in hours for part in (hour_ms, codec.member_to(scope, hour_ms))]
        for transition in made:
            after = transition.after
            arguments += [after.scope, codec.record_to(after), codec.transition_to(transition)]
        keys = self._keys("states", "watch", "excluded", "transitions")
        is_written = bool(await _reached(self._commit(keys, arguments)))
        if is_written:
            changed = {transition.after.scope: transition.after for transition in made}
            self._remembered = codec.States(following, {**self._remembered.records, **changed})
        return is_written

    async def _now_ms(self) -> int:
        if self._clock_ms is not None:
            return self._clock_ms()
        seconds, microseconds = await _reached(self._redis.time())
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _script(self, name: str) -> AsyncScript:
        return self._redis.register_script((_LUA / f"{name}.lua").read_text("utf-8"))

    def _keys(self, *names: str) -> list[str]:
        return [self._key[name] for name in names]


def _is_lost(states: codec.States, known_revision: int) -> bool:
    """Empty, or older than what this worker had seen when it asked: a failover can lose acknowledged writes."""
    return ALL not in states.records or states.revision < known_revision


def _newly_excluded(claimed: codec.Claimed, made: list[Transition], settings: BreakerSettings) -> set[tuple[str, int]]:
    """The hours that incidents touch: this one for every scope that isn't closed, and those in which a trip began."""
    now_ms = claimed.now_ms
    began_ms = now_ms - 1000 * (settings.window_s + settings.confirmations * settings.evaluation_interval_s)
    found = [
        place
        for record in claimed.states.records.values()
        if record.state is not BreakerState.CLOSED
        for place in touched(record.scope, now_ms, now_ms)
    ]
    found += [
        place
        for transition in made
        if transition.event is Event.TRIP
        for place in touched(transition.after.scope, began_ms, now_ms)
    ]
    return set(found) - claimed.excluded


def _check(scope: str, cause: Cause) -> None:
    if len(scope) > SCOPE_BYTES_MAX or not _SCOPE.fullmatch(scope):
        raise BreakerRefused(f"'{scope}' is no scope: give all, model:VERSION or segment:NAME=VALUE")
    if not cause.text.strip() or len(cause.text) > REASON_CHARACTERS_MAX:
        raise BreakerRefused(f"a reason is needed, of at most {REASON_CHARACTERS_MAX} characters")
    if not cause.author.strip() or cause.author == MONITOR:
        raise BreakerRefused("say who asks for this")


async def _reached(answer: Awaitable[Any]) -> Any:
    """The client's types are those of bytes and text at once; what a command gives with decoding on is known here."""
    try:
        return await answer
    except (TimeoutError, RedisError, OSError) as error:
        raise BreakerUnavailable(str(error) or type(error).__name__) from error


def _readable(parse: Callable[[T], R], stored: T) -> R:
    try:
        return parse(stored)
    except codec.Unreadable as error:
        raise BreakerUnavailable(str(error)) from error
