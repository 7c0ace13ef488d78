"""Calls to the state store's scripts, and what their failures mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.exceptions import NoScriptError, RedisError, ResponseError

from pipeline.io.redis.conditions import condition_of, is_of_the_request
from pipeline.io.redis.topology import Topology
from pipeline.io.redis_batches import Command, RedisBatches
from pipeline.state.requests import Keys
from pipeline.state.script_files import ALL, Call
from pipeline.state.windows import LogReplaced

FAULT_CHARACTERS_MAX: Final = 300

_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")


class StateUnavailable(Exception):
    """Redis could not be reached in time, or answered that it can't serve now."""


class StateRefused(StateUnavailable):
    """Redis answered with an error that no request can have caused, and that is no condition known to pass."""


class StateAhead(StateRefused):
    """The state has observed more of a partition than its log holds, so nothing may be decided on it."""

    def __init__(self, ahead: Mapping[int, int], ends: Mapping[int, int]) -> None:
        partition, offset = min(ahead.items())
        super().__init__(ahead_text(partition, offset, ends.get(partition, 0)))


class StateReplaced(StateRefused, LogReplaced):
    """The state was built from records that the log has no more, so nothing may be decided on it."""

    def __init__(self, partition: int, offset: int) -> None:
        LogReplaced.__init__(self, partition, offset)


def ahead_text(partition: int, observed: int, end: int) -> str:
    """Say that a state is ahead of its log."""
    return (
        f"the state has partition {partition} of transactions.v1 to {observed}, but the log ends at {end}: it was made"
        " anew, or put back from an older copy"
    )


class StateFault(Exception):
    """A script failed on what it was given, which is a fault of ours: the same request would fail again."""


class ScriptStore:
    """One Redis, asked by commands and by scripts."""

    def __init__(self, redis: RedisBatches, keys: Keys) -> None:
        self._redis, self._keys, self._shards = redis, keys, range(keys.shards)

    async def facts(self) -> list[dict[str, str]]:
        """Return what each master says about itself (INFO)."""
        try:
            replies = await self._redis.each(("INFO",))
        except (RedisError, OSError) as error:
            raise StateUnavailable(f"Redis can't be reached: {type(error).__name__}") from error
        lines = [[line.partition(":") for line in bytes(reply).decode().splitlines()] for reply in replies]
        return [{name: value for name, found, value in each if found} for each in lines]

    async def _take_lease(self, key: str, holder: str, lease_ms: int) -> bool:
        taken, held = await self._run([("SET", key, holder, "NX", "PX", lease_ms), ("GET", key)])
        if taken is None and held == holder.encode():
            await self._run([("PEXPIRE", key, lease_ms)])
        return bool(held == holder.encode())

    async def _call(
        self, calls: Sequence[Call], before: Sequence[Command] = (), connections: int | None = None
    ) -> list[Any]:
        """Return the replies to the commands `before`, then those to the calls; `connections` as for RedisBatches."""
        scripts = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for script, keys, arguments in calls]
        commands = [*before, *scripts]
        try:
            return await self._run(commands, connections)
        except NoScriptError:
            await self._run([("SCRIPT", "LOAD", script.text) for script in ALL])
            return await self._run(
                commands, connections
            )  # payments counted before the missing script are not counted again

    async def _is_cluster(self) -> bool:
        try:
            return await self._redis.topology() is Topology.CLUSTER
        except (RedisError, OSError) as error:
            raise StateUnavailable(f"Redis can't be reached: {type(error).__name__}") from error

    async def _run(self, commands: Sequence[Command], connections: int | None = None) -> list[Any]:
        """Return the replies. Raises NoScriptError, StateUnavailable or StateFault; none quotes a key (I10)."""
        try:
            replies = await self._redis.run(commands, connections=connections)
        except (RedisError, OSError) as error:
            raise StateUnavailable(f"Redis can't be reached: {type(error).__name__}") from error
        if failures := [reply for reply in replies if isinstance(reply, ResponseError)]:
            raise _failure(failures)
        return replies


def _failure(failures: Sequence[ResponseError]) -> Exception:
    """Return the exception that the errors among a batch's replies come to.

    A condition of the server's goes first, known or not: while it lasts, whatever else failed may be due to it.
    """
    for failure in failures:
        if (condition := condition_of(failure)) is not None:
            return StateUnavailable(f"Redis can't serve now: {condition}")
    for failure in failures:
        if isinstance(failure, NoScriptError):
            return failure
    for failure in failures:
        if not is_of_the_request(failure):
            refused = StateRefused(f"Redis refuses the state's scripts: {_without_values(str(failure))}")
            refused.__cause__ = failure
            return refused
    fault = StateFault(f"a script failed: {_without_values(str(failures[0]))}")
    fault.__cause__ = failures[0]
    return fault


def _without_values(text: str) -> str:
    """Return what a script's error says about the script: its line and Lua's or Redis' words, no key and no value."""
    return _QUOTED.sub("'...'", text)[:FAULT_CHARACTERS_MAX]
