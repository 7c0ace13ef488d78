"""The breaker's memory in Redis: running totals, states, and the claim to the next evaluation.

Every batch adds to running totals of the model's answers by scope. In each interval one worker claims the evaluation,
and a script copies the totals for it. So every window is the difference of two readings, exact and by one clock (Redis
TIME), without a bucket for each second and scope. Writes are compare-and-set on one revision, so two evaluators never
trip twice. All keys share one hash tag. They must not be evicted, so Redis runs with `maxmemory-policy noeviction`.

People's switches are no part of it: their topic holds them (ADR 0017), and what Redis holds of them is a copy. Every
reading lays them over the states, and a worker's evaluation takes over those that are new.

Any command that fails raises BreakerUnavailable; the caller then routes by `Routing({}, ...)`, which is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from redis.exceptions import NoScriptError, RedisError, ResponseError

from pipeline.breaker import (
    HISTORY_MS,
    BreakerRecord,
    BreakerSettings,
    Cause,
    Event,
    History,
    Lineage,
    Observation,
    Switches,
    Transition,
    Watch,
    advance,
    codec,
    governed,
    hours_touched,
    next_version,
    step,
    taken_over,
    transitions_after_loss,
    unwritten,
)
from pipeline.breaker.answer_counts import (
    ALL,
    Counts,
    is_part,
)
from pipeline.breaker.detecting.blindness import Blindness
from pipeline.breaker.detecting.gauges import Gauge, ProbationGauge, gauges, probation_gauge
from pipeline.breaker.evaluating import observed
from pipeline.breaker.readings import (
    affected,
    models_judged,
    newly_excluded,
    parts_judged,
    scope_reading,
    watches_left,
)
from pipeline.domain.context import BreakerHour
from pipeline.domain.decision import BreakerState
from pipeline.io.clock import now_ms
from pipeline.io.redis_batches import RedisBatches

TRANSITIONS_KEPT: Final = 10_000
UNTOLD_MAX: Final = 100
"""Most transitions that are told at once; an incident in every scope makes more, which follow a second later."""
UNTOLD_AFTER_MS: Final = 10_000
"""Age at which another worker tells a transition, because the one that made it has not."""
MARK_BYTES: Final = 4
SALT_BYTES: Final = 16
SCOPES_A_SLICE: Final = 4
"""Scopes that are judged before the event loop gets its turn: under 1 ms, and about 6 ms in the first evaluation of an
hour."""
_LUA: Final = Path(__file__).parent / "lua"
_RECORD, _CLAIM, _COMMIT = ((_LUA / f"{name}.lua").read_text("utf-8") for name in ("record", "claim", "commit"))
_TIME: Final = "return redis.call('TIME')"
"""The clock of the server that holds the key, so that on a cluster, too, all workers go by one."""

T = TypeVar("T")
R = TypeVar("R")


_NOTHING: Final = codec.States(Lineage(), 0, {})


class BreakerUnavailable(Exception):
    """Redis can't be reached, or holds something that can't be read; the state is UNKNOWN."""


class View(NamedTuple):
    """The states for a Routing; without records, everything is UNKNOWN."""

    records: Mapping[str, BreakerRecord]


class Told(NamedTuple):
    """A transition as the history holds it, and its place there."""

    place: str
    transition: Transition


class BreakerStore:
    def __init__(
        self, url: str, prefix: str = "fraud", *, timeout_s: float = 1.0, clock_ms: Callable[[], int] | None = None
    ) -> None:
        """Connect on first use. Without `clock_ms` the clock is Redis TIME, one clock for all workers."""
        tag = f"{prefix}:{{breaker}}:"
        names = ("totals", "reached", "marks", "hours", "states", "watch", "excluded", "transitions", "told")
        self._key = {name: tag + name for name in names}
        self._at_key = tag + "at:"
        self._redis = RedisBatches(url, timeout_s=timeout_s)
        self._clock_ms = clock_ms
        self.warnings: dict[str, tuple[str, ...]] = {}
        """What neared a condition at this worker's last evaluation, by scope."""
        self.blind: list[Blindness] = []
        """The scopes that couldn't be judged for long, by this worker's last evaluation."""
        self._history = History()
        self._remembered = _NOTHING
        self._reply: dict[bytes, bytes] = {}
        self._read = _NOTHING  # parsed from that reply

    async def close(self) -> None:
        await self._redis.close()

    # The hot path

    async def read(self, switches: Switches) -> View:
        """Return every state that was ever written, by one command, with people's switches over them."""
        known = self._remembered.lineage  # taken before asking, as an evaluation's write may overtake the answer
        states = await self._states()
        if _is_lost(states, known):
            return View(governed({}, 0, switches, self._own_ms()))
        self._remember(states)
        return View(governed(states.records, states.switched, switches, self._own_ms()))

    async def switched(self) -> int:
        """Return the sequence up to which people's switches are taken over; 0 for none."""
        return (await self._states()).switched

    async def scopes(self) -> list[str]:
        """Return the scopes under which payments were counted, by name."""
        fields = _text(await self._ask("HKEYS", self._key["totals"]))
        return sorted(codec.scopes_in(fields))

    async def record(self, spans: Iterable[tuple[int, int, int]], counts_by_scope: Mapping[str, Counts]) -> bool:
        """Add a committed batch's counts; False where they were counted before.

        `spans` are the batch's (partition, start offset, end offset). A batch that a crash kept from being recorded is
        never counted; nothing is counted twice.
        """
        places = [number for span in spans for number in span]
        arguments: list[str | int] = [len(places) // 3, *places]
        for scope, counts in counts_by_scope.items():
            pairs = list(codec.counters(counts))
            arguments += [scope, len(pairs), *(part for pair in pairs for part in pair)]
        return bool(await self._call(_RECORD, self._keys("totals", "reached"), arguments))

    # Evaluating

    async def evaluate(
        self, settings: BreakerSettings, model_version: str | None, switches: Switches
    ) -> tuple[Transition, ...]:
        """Bring the store up to date, and return the transitions that this call made.

        Every worker calls this every second. A lost store is repaired and people's new switches are taken over at once;
        the scopes are evaluated where it is this worker's turn.
        """
        known = self._remembered
        states = await self._states()
        if _is_lost(states, known.lineage):
            return await self._repaired(states, known, switches, settings)
        self._remember(states)
        if switches.settled > states.switched:
            return await self._taken_over(states, switches, settings)
        claimed = await self._claimed(settings, "claim")
        if claimed is None or _is_lost(claimed.states, self._remembered.lineage):
            return ()
        self._remember(claimed.states)
        await self._learn(claimed)
        return await self._evaluated(claimed, settings, model_version)

    async def gauges(self, settings: BreakerSettings, model_version: str | None) -> dict[str, list[Gauge]]:
        """Return how every detector stands now, by scope, without evaluating anything."""
        _, looked = await self._looked(settings, model_version)
        return {
            record.scope: gauges(record.scope, seen, watch, settings, peers) for record, seen, watch, peers in looked
        }

    async def probations(self, settings: BreakerSettings, model_version: str | None) -> dict[str, ProbationGauge]:
        """Return how each probation stands now, by scope, without evaluating anything."""
        now_ms, looked = await self._looked(settings, model_version)
        found = {
            record.scope: probation_gauge(record, seen, watch, now_ms, settings, peers)
            for record, seen, watch, peers in looked
        }
        return {scope: gauge for scope, gauge in found.items() if gauge is not None}

    def restore(self, hours: Iterable[BreakerHour], now_ms: int) -> None:
        """Take in what is usual from where it outlives the store."""
        self._history.restore(hours, now_ms)

    def unkept_hours(self) -> list[BreakerHour]:
        """Return the hours that `mark_kept` has not said are kept outside the store."""
        return self._history.unkept()

    def mark_kept(self, hours: Iterable[BreakerHour]) -> None:
        self._history.mark_kept(hours)

    async def initialise(self, by: str, settings: BreakerSettings) -> bool:
        """Close a breaker that has no state. Only a deployment with an empty log may: there, nothing can be lost."""
        states = await self._states()
        if states.records or self._remembered.records:
            return False
        now_ms = await self._now_ms()
        before = unwritten(ALL, is_store_empty=True)
        cause = Cause("a new deployment", by)
        after = step(before, Event.INITIALISE, cause, now_ms, settings, states.lineage.revision)
        return await self._write(states, now_ms, [Transition(before.state, Event.INITIALISE, after, now_ms, Counts())])

    async def history(self, count: int = 100) -> list[Transition]:
        """Return the latest transitions, newest first."""
        entries = _text(await self._ask("XREVRANGE", self._key["transitions"], "+", "-", "COUNT", count))
        return [_readable(codec.transition_from, transition) for _, (_, transition) in entries]

    async def untold(self, made: Sequence[Transition]) -> list[Told]:
        """Return the transitions that nobody has been told of, oldest first: those just `made`, and forgotten ones.

        A worker can die between writing a transition and telling it. So whatever still stands untold after a while is
        told by whoever looks.
        """
        told = _text(await self._ask("GET", self._key["told"])) or "0-0"
        command = ("XRANGE", self._key["transitions"], f"({told}", "+", "COUNT", UNTOLD_MAX)
        entries = _text(await self._ask(*command))
        if not entries:
            return []
        seconds, microseconds = await self._call(_TIME, [self._key["states"]], [])
        old_ms = int(seconds) * 1000 + int(microseconds) // 1000 - UNTOLD_AFTER_MS
        found = [Told(place, _readable(codec.transition_from, text)) for place, (_, text) in entries]
        ours = {(each.after.scope, each.after.version) for each in made}
        is_ours = [(each.transition.after.scope, each.transition.after.version) in ours for each in found]
        if any(is_ours) or int(found[0].place.partition("-")[0]) <= old_ms:
            return found
        return []

    async def mark_told(self, told: Sequence[Told]) -> None:
        """Remember that these were told; telling one twice does no harm, as its alert has one id."""
        if told:
            await self._ask("SET", self._key["told"], told[-1].place)

    # Helpers, in call order

    def _own_ms(self) -> int:
        """Return the time by this machine's clock, where asking Redis for its own would cost every batch a trip."""
        return now_ms() if self._clock_ms is None else self._clock_ms()

    async def _states(self) -> codec.States:
        reply = await self._ask("HGETALL", self._key["states"])
        if reply != self._reply:  # it seldom changes, but every batch asks for it
            self._reply, self._read = reply, _readable(codec.states_from_bytes, reply)
        return self._read

    def _remember(self, states: codec.States) -> None:
        if states.lineage.descends_from(self._remembered.lineage):
            self._remembered = states

    async def _repaired(
        self, stored: codec.States, known: codec.States, switches: Switches, settings: BreakerSettings
    ) -> tuple[Transition, ...]:
        now_ms, lineage = await self._now_ms(), stored.lineage.joined_with(known.lineage)
        made = transitions_after_loss(
            stored.records, known.records, switches, now_ms, settings, max(lineage.revision, stored.lineage.revision)
        )
        # Where nobody knows what the store had taken over, what is restored here is all that there is.
        switched = max(stored.switched, known.switched) if known.records else switches.settled
        made = [_salted(transition) for transition in made]
        is_written = await self._write(stored, now_ms, made, lineage=lineage, switched=switched)
        return tuple(made) if is_written else ()

    async def _taken_over(
        self, states: codec.States, switches: Switches, settings: BreakerSettings
    ) -> tuple[Transition, ...]:
        now_ms = await self._now_ms()
        found = taken_over(states.records, states.switched, switches, now_ms, settings, states.lineage.revision)
        made, forgotten, watch = [_salted(each.transition) for each in found], [], ""
        for each in found:
            if each.is_shift_accepted:
                scope = each.transition.after.scope
                forgotten += await self._every_hour(scope)
                watch = await self._unusual(watch, scope)
        is_written = await self._write(states, now_ms, made, watch=watch, excluded=forgotten, switched=switches.settled)
        return tuple(made) if is_written else ()

    async def _claimed(self, settings: BreakerSettings, how: str) -> codec.Claimed | None:
        interval_ms, window_ms = settings.evaluation_interval_s * 1000, settings.window_s * 1000
        names = ("totals", "marks", "hours", "states", "watch", "excluded")
        now = "" if self._clock_ms is None else self._clock_ms()
        kept_ms = 2 * (window_ms + interval_ms)
        arguments = [now, interval_ms, settings.error_window_s * 1000, window_ms, kept_ms, HISTORY_MS, how]
        answer = await self._call(_CLAIM, [*self._keys(*names), self._at_key], arguments)
        return _readable(codec.claimed_from, answer)

    async def _looked(
        self, settings: BreakerSettings, model_version: str | None
    ) -> tuple[int, list[tuple[BreakerRecord, Observation, Watch, int]]]:
        """Return the time, and what an evaluation would judge now: each scope's record, readings, watch and peers."""
        claimed = await self._claimed(settings, "look")
        assert claimed is not None, "whoever looks needs no turn"
        await self._learn(claimed)
        parts, found = parts_judged(claimed, settings), []
        for scope in [ALL, *models_judged(claimed, model_version), *parts]:
            record = claimed.states.records.get(scope, unwritten(scope, is_store_empty=False))
            watch = claimed.watches.get(scope, Watch())
            seen = observed(record, scope_reading(scope, claimed, self._history, settings), watch)
            found.append((record, seen, watch, len(parts) if is_part(scope) else 1))
        return claimed.now_ms, found

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
        parts, models = parts_judged(claimed, settings), models_judged(claimed, model_version)
        watches: dict[str, Watch] = {}
        made: list[Transition] = []
        self.warnings, self.blind = {}, []
        for position, scope in enumerate([ALL, *models, *parts]):
            if position % SCOPES_A_SLICE == SCOPES_A_SLICE - 1:
                await asyncio.sleep(0)
            advanced = advance(
                claimed.states.records.get(scope, unwritten(scope, is_store_empty=False)),
                claimed.watches.get(scope, Watch()),
                scope_reading(scope, claimed, self._history, settings),
                claimed.now_ms,
                settings,
                peers=len(parts) if is_part(scope) else 1,
                revision=claimed.states.lineage.revision,
                affected=affected(claimed),
            )
            watches[scope] = advanced.watch
            if advanced.transition is not None:
                made.append(advanced.transition)
            if advanced.warnings:
                self.warnings[scope] = advanced.warnings
            if advanced.blind is not None:
                self.blind.append(advanced.blind)
        excluded = newly_excluded(claimed, made, settings, watches.keys())
        watch = codec.watches_to_json({**watches_left(claimed, watches), **watches})
        made = [_salted(transition) for transition in made]
        is_written = await self._write(claimed.states, claimed.now_ms, made, watch=watch, excluded=sorted(excluded))
        return tuple(made) if is_written else ()

    async def _every_hour(self, scope: str) -> list[tuple[str, int]]:
        marks = _text(await self._ask("ZRANGE", self._key["hours"], 0, -1))
        return [hour for mark in marks for hour in hours_touched(scope, int(mark), int(mark))]

    async def _unusual(self, watch: str, scope: str) -> str:
        """Return the watches, or those that are stored, without what was usual where a shift of `scope` is accepted."""
        stored = watch or _text(await self._ask("GET", self._key["watch"])) or "{}"
        return _readable(
            lambda text: codec.without_usual(text, lambda each: each == scope or not is_part(scope)), stored
        )

    async def _write(
        self,
        stored: codec.States,
        now_ms: int,
        made: list[Transition],
        *,
        watch: str = "",
        excluded: Sequence[tuple[str, int]] = (),
        lineage: Lineage | None = None,
        switched: int | None = None,
    ) -> bool:
        """Write the transitions and return True; return False where another wrote since `stored` was read.

        lineage: the writes that this one follows on from; None for those of `stored`. switched: None leaves it.
        """
        before = stored.lineage if lineage is None else lineage
        following = before.followed_by(next_version(before.revision, now_ms), secrets.token_hex(MARK_BYTES))
        reached = stored.switched if switched is None else switched
        arguments: list[str | int] = [codec.lineage_to_text(stored.lineage), codec.lineage_to_text(following), reached]
        arguments += [watch, now_ms - HISTORY_MS, TRANSITIONS_KEPT, len(excluded)]
        arguments += [part for scope, hour_ms in excluded for part in (hour_ms, codec.excluded_member(scope, hour_ms))]
        for transition in made:
            after = transition.after
            arguments += [after.scope, codec.record_to_json(after), codec.transition_to_json(transition)]
        keys = self._keys("states", "watch", "excluded", "transitions")
        # A commit whose answer was lost must not be tried again unnoticed.
        is_written = bool(await self._call(_COMMIT, keys, arguments, is_repeatable=False))
        if is_written:
            changed = {transition.after.scope: transition.after for transition in made}
            self._remembered = codec.States(following, reached, {**stored.records, **changed})
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


def _is_lost(states: codec.States, known: Lineage) -> bool:
    """Return whether the store is empty, or doesn't descend from what this worker had seen when it asked.

    A failover can lose acknowledged writes.
    """
    return ALL not in states.records or not states.lineage.descends_from(known)


def _salted(transition: Transition) -> Transition:
    """Draw a salt for a probation that begins; one that goes on keeps its own."""
    after = transition.after
    if after.state is not BreakerState.HALF_OPEN or transition.event is Event.SHARE_RAISED:
        return transition
    return transition._replace(after=after._replace(salt=secrets.token_hex(SALT_BYTES)))


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
