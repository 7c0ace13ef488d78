"""The breaker's memory in Redis: running totals, states, and the claim to the next evaluation.

Every batch adds to running totals of the model's answers by scope. In each interval one worker claims the evaluation,
and a script copies the totals for it. So every window is the difference of two readings, exact and by one clock (Redis
TIME), without a bucket for each second and scope. Writes are compare-and-set on one revision, so two evaluators never
trip twice. All keys share one hash tag. They must not be evicted, so Redis runs with `maxmemory-policy noeviction`.

Any command that fails raises BreakerUnavailable; the caller then routes by `Routing({}, ...)`, which is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from redis.exceptions import NoScriptError, RedisError, ResponseError

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
    hours_touched,
    is_possible,
    next_version,
    step,
    transitions_after_loss,
    unwritten,
)
from pipeline.breaker.answer_counts import ALL, Counts, difference, model_scope
from pipeline.domain.decision import BreakerState
from pipeline.io.redis_batches import RedisBatches

TRANSITIONS_KEPT: Final = 10_000
SCOPE_BYTES_MAX: Final = 128
ATTEMPTS_MAX: Final = 5
"""Most attempts at a person's change. Evaluators write at most once an interval, so the second attempt wins."""
SCOPES_A_SLICE: Final = 4
"""Scopes that are judged before the event loop gets its turn: under 1 ms, and about 6 ms in the first evaluation of an
hour."""
REASON_CHARACTERS_MAX: Final = 500
_SCOPE: Final = re.compile(r"all|model:\S+|segment:[^=]+=.+|segment:other")
_LUA: Final = Path(__file__).parent / "lua"
_RECORD, _CLAIM, _COMMIT = ((_LUA / f"{name}.lua").read_text("utf-8") for name in ("record", "claim", "commit"))
_TIME: Final = "return redis.call('TIME')"
"""The clock of the server that holds the key, so that on a cluster, too, all workers go by one."""

T = TypeVar("T")
R = TypeVar("R")


class BreakerUnavailable(Exception):
    """Redis can't be reached, or holds something that can't be read; the state is UNKNOWN."""


class BreakerRefused(ValueError):
    """A person asked for something that can't be done; the message is one sentence for them."""


class View(NamedTuple):
    """Arguments for Routing; without records, everything is UNKNOWN."""

    records: Mapping[str, BreakerRecord]
    tracked_segments: frozenset[str]


class BreakerStore:
    def __init__(
        self, url: str, prefix: str = "fraud", *, timeout_s: float = 1.0, clock_ms: Callable[[], int] | None = None
    ) -> None:
        """Connect on first use. Without `clock_ms` the clock is Redis TIME, one clock for all workers."""
        tag = f"{prefix}:{{breaker}}:"
        names = ("totals", "reached", "segments", "marks", "hours", "states", "watch", "excluded", "transitions")
        self._key = {name: tag + name for name in names}
        self._at_key = tag + "at:"
        self._redis = RedisBatches(url, timeout_s=timeout_s)
        self._clock_ms = clock_ms
        self._history = History()
        self._remembered = codec.States(0, {})
        self._reply: dict[bytes, bytes] = {}
        self._read = codec.States(0, {})  # parsed from that reply

    async def close(self) -> None:
        await self._redis.close()

    # The hot path

    async def read(self) -> View:
        """Return every state that was ever written, by one command."""
        known = self._remembered.revision  # taken before asking, as an evaluation's write may overtake the answer
        states = await self._states()
        if _is_lost(states, known):
            return View({}, frozenset())
        self._remember(states)
        rest = states.records.get(SEGMENT_OTHER)
        if rest is None or rest.state is BreakerState.CLOSED:
            return View(states.records, frozenset())
        return View(states.records, frozenset(_text(await self._ask("SMEMBERS", self._key["segments"]))))

    async def record(self, spans: Iterable[tuple[int, int, int]], counts_by_scope: Mapping[str, Counts]) -> bool:
        """Add a committed batch's counts; False where they were counted before.

        `spans` are the batch's (partition, start offset, end offset). A batch that a crash kept from being recorded is
        never counted; nothing is counted twice.
        """
        places = [number for span in spans for number in span]
        arguments: list[str | int] = [len(places) // 3, *places, SEGMENTS_MAX, SCOPE_BYTES_MAX, SEGMENT_OTHER]
        for scope, counts in counts_by_scope.items():
            pairs = list(codec.counters(counts))
            arguments += [scope, len(pairs), *(part for pair in pairs for part in pair)]
        return bool(await self._call(_RECORD, self._keys("totals", "reached", "segments"), arguments))

    # Evaluating

    async def evaluate(self, settings: BreakerSettings, model_version: str | None) -> tuple[Transition, ...]:
        """Evaluate every scope, where it is this worker's turn, and return the transitions that this call made.

        Every worker calls this every second; most calls find that the interval's evaluation is done. A lost store is
        repaired here.
        """
        known = self._remembered.revision
        claimed = await self._claimed(settings)
        if claimed is None:
            return ()
        if _is_lost(claimed.states, known):
            remembered = self._remembered
            revision = max(claimed.states.revision, remembered.revision)
            made = transitions_after_loss(
                claimed.states.records, remembered.records, claimed.now_ms, settings, revision
            )
            return tuple(made) if await self._write(claimed.states.revision, revision, claimed.now_ms, made) else ()
        self._remember(claimed.states)
        await self._learn(claimed)
        return await self._evaluated(claimed, settings, model_version)

    async def initialise(self, by: str, settings: BreakerSettings) -> bool:
        """Close a breaker that has no state. Only a deployment with an empty log may: there, nothing can be lost."""
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
        """Throw the kill switch, which stays until it is released."""
        return await self._person(scope, Event.FORCE_OPEN, Cause(reason, by), settings)

    async def release(
        self, scope: str, by: str, reason: str, settings: BreakerSettings, *, accept_shift: bool = False
    ) -> Transition:
        """Put a scope on probation (HALF_OPEN), whatever opened it.

        With `accept_shift` the model's present behaviour becomes the new normal, and the old baselines are forgotten.
        """
        return await self._person(scope, Event.RELEASE, Cause(reason, by), settings, accept_shift=accept_shift)

    async def history(self, count: int = 100) -> list[Transition]:
        """Return the latest transitions, newest first."""
        entries = _text(await self._ask("XREVRANGE", self._key["transitions"], "+", "-", "COUNT", count))
        return [_readable(codec.transition_from, transition) for _, (_, transition) in entries]

    # Helpers, in call order

    async def _states(self) -> codec.States:
        reply = await self._ask("HGETALL", self._key["states"])
        if reply != self._reply:  # it seldom changes, but every batch asks for it
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
        answer = await self._call(_CLAIM, [*self._keys(*names), self._at_key], arguments)
        return _readable(codec.claimed_from, answer)

    async def _learn(self, claimed: codec.Claimed) -> None:
        """Read the hourly totals that this worker hasn't seen: one in each hour, and all of them after a start."""
        for mark in claimed.hours:
            if self._history.last_ms is None or int(mark) > self._history.last_ms:
                fields = _text(await self._ask("HGETALL", self._at_key + mark))
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
        for position, scope in enumerate([ALL, *models, *segments]):
            if position % SCOPES_A_SLICE == SCOPES_A_SLICE - 1:
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
            revision, revision, claimed.now_ms, made, codec.watches_to_json(watches), sorted(excluded)
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
        marks = _text(await self._ask("ZRANGE", self._key["hours"], 0, -1))
        return [hour for mark in marks for hour in hours_touched(scope, int(mark), int(mark))]

    async def _write(
        self,
        expected_revision: int,
        revision: int,
        now_ms: int,
        made: list[Transition],
        watch: str = "",
        excluded: list[tuple[str, int]] | None = None,
    ) -> bool:
        """Write the transitions and return True; return False where another wrote since `expected_revision` was read.

        The new revision is above `revision`.
        """
        following = next_version(revision, now_ms)
        hours = excluded or []
        arguments: list[str | int] = [expected_revision, following, watch]
        arguments += [now_ms - HISTORY_MS, TRANSITIONS_KEPT, len(hours)]
        arguments += [part for scope, hour_ms in hours for part in (hour_ms, codec.excluded_member(scope, hour_ms))]
        for transition in made:
            after = transition.after
            arguments += [after.scope, codec.record_to_json(after), codec.transition_to_json(transition)]
        keys = self._keys("states", "watch", "excluded", "transitions")
        # A commit whose answer was lost must not be tried again unnoticed.
        is_written = bool(await self._call(_COMMIT, keys, arguments, is_repeatable=False))
        if is_written:
            changed = {transition.after.scope: transition.after for transition in made}
            self._remembered = codec.States(following, {**self._remembered.records, **changed})
        return is_written

    async def _now_ms(self) -> int:
        if self._clock_ms is not None:
            return self._clock_ms()
        seconds, microseconds = await self._call(_TIME, [self._key["states"]], [])
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def _ask(self, *command: Any, is_repeatable: bool = True) -> Any:
        """Return the reply to a command; its failures as BreakerUnavailable, but for NoScriptError."""
        try:
            (reply,) = await self._redis.run([command], is_repeatable=is_repeatable)
        except (TimeoutError, RedisError, OSError) as error:
            raise BreakerUnavailable(str(error) or type(error).__name__) from error
        if isinstance(reply, NoScriptError):
            raise reply
        if isinstance(reply, ResponseError):
            raise BreakerUnavailable(str(reply)) from reply
        return reply

    async def _call(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | int], *, is_repeatable: bool = True
    ) -> Any:
        """Call a script by its hash, or by its text where the server has forgotten it; return the reply as text."""
        rest = (len(keys), *keys, *arguments)
        sha = sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return _text(await self._ask("EVALSHA", sha, *rest, is_repeatable=is_repeatable))
        except NoScriptError:
            return _text(await self._ask("EVAL", script, *rest, is_repeatable=is_repeatable))

    def _keys(self, *names: str) -> list[str]:
        return [self._key[name] for name in names]


def _is_lost(states: codec.States, known_revision: int) -> bool:
    """Return whether the store is empty, or older than what this worker had seen when it asked.

    A failover can lose acknowledged writes.
    """
    return ALL not in states.records or states.revision < known_revision


def _newly_excluded(claimed: codec.Claimed, made: list[Transition], settings: BreakerSettings) -> set[tuple[str, int]]:
    """Return the hours that incidents newly touch.

    They are this hour for every scope that isn't closed, and the hours in which a trip began.
    """
    now_ms = claimed.now_ms
    began_ms = now_ms - 1000 * (settings.window_s + settings.confirmations * settings.evaluation_interval_s)
    found = [
        hour
        for record in claimed.states.records.values()
        if record.state is not BreakerState.CLOSED
        for hour in hours_touched(record.scope, now_ms, now_ms)
    ]
    found += [
        hour
        for transition in made
        if transition.event is Event.TRIP
        for hour in hours_touched(transition.after.scope, began_ms, now_ms)
    ]
    return set(found) - claimed.excluded


def _check(scope: str, cause: Cause) -> None:
    if len(scope) > SCOPE_BYTES_MAX or not _SCOPE.fullmatch(scope):
        raise BreakerRefused(f"'{scope}' is no scope: give all, model:VERSION or segment:NAME=VALUE")
    if not cause.text.strip() or len(cause.text) > REASON_CHARACTERS_MAX:
        raise BreakerRefused(f"a reason is needed, of at most {REASON_CHARACTERS_MAX} characters")
    if not cause.author.strip() or cause.author == MONITOR:
        raise BreakerRefused("say who asks for this")


def _text(reply: Any) -> Any:
    """Return a reply with its bytes as text."""
    match reply:
        case bytes():
            return reply.decode()
        case dict():
            return {_text(name): _text(value) for name, value in reply.items()}
        case list() | set():
            return [_text(part) for part in reply]
        case _:
            return reply


def _readable(parse: Callable[[T], R], stored: T) -> R:
    try:
        return parse(stored)
    except codec.Unreadable as error:
        raise BreakerUnavailable(str(error)) from error
