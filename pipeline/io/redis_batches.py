"""Batches of Redis commands: one write, one time limit, replies in order; on whatever servers hold the state.

On one server all batches go over one connection, in the order in which callers ask. On a cluster a batch is split by
the masters of its keys' slots, and goes over one connection to each. No batch waits for the replies to earlier ones, so
a server has the next batch at hand when it is done with one, whatever this process is doing at the time.

A server that says that it isn't the one (MOVED, READONLY, CLUSTERDOWN, ...) has done nothing. The servers are then
looked for again, and from the first such command on, those of its slot are sent again, in order. A slot's commands may
so be carried out twice, but none before an earlier one.

A slot that moves key by key (ASK, TRYAGAIN) is waited for and not followed. Scripts use keys that follow from the keys
they are given, and in the midst of such a move these may be on the other server: the new one would take those for keys
that never were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import hiredis
from redis.exceptions import ClusterDownError, MovedError, ResponseError
from redis.exceptions import ConnectionError as ConnectionLost

from pipeline.io.redis.address import parse_address
from pipeline.io.redis.conditions import is_elsewhere
from pipeline.io.redis.line import Line
from pipeline.io.redis.topology import Layout, Topology, find, slot_of

LOST_MAX: Final = 2
"""Most attempts that end with a lost connection: it may have been closed while it was idle, so one more is due."""
PAUSES_S: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.2, 0.2, 0.2)
"""Pauses before a batch is sent again to servers that said it belongs elsewhere; one attempt more than there are."""
SLOTS_CACHED: Final = 4096
_KEY_AT: Final[Mapping[str, int]] = {"EVALSHA": 3, "EVAL": 3}
_KEYLESS: Final = frozenset({"SCRIPT", "PING", "ECHO", "CLIENT"})

Command = tuple[Any, ...]


class _Share(NamedTuple):
    """The part of a batch that goes to one server."""

    node: str
    places: Sequence[int]  # in the batch


class _Request:
    """A batch, and what is known of it so far."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.packed = [hiredis.pack_command(command) for command in commands]
        self.replies: list[Any] = [None] * len(commands)
        self.waiting: Sequence[int] = range(len(commands))  # places that are to be sent
        self.moved: dict[int, str] = {}  # slot → the server that another one named for it
        self._commands = commands
        self._slots: list[int | None] | None = None

    @property
    def slots(self) -> list[int | None]:
        """The slot of each command; None for one without a key, which concerns every server."""
        if self._slots is None:
            self._slots = [_slot(command) for command in self._commands]
        return self._slots


class RedisBatches:
    """Sends batches of commands to the servers that hold their keys."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Connect on first use. `timeout_s` limits a whole batch, its connecting and the batches before it included.

        Raises AddressRefused.
        """
        self._address, self._timeout_s = parse_address(url), timeout_s
        self._layout: Layout | None = None
        self._known: tuple[str, ...] = ()  # masters of a cluster when it was last found
        self._finding = asyncio.Lock()
        self._lines: dict[str, Line] = {}

    async def topology(self) -> Topology:
        """Return what the servers are. Raises RedisError, OSError or TimeoutError where that can't be found out."""
        if self._layout is not None:
            return self._layout.topology
        async with asyncio.timeout(self._timeout_s):
            return (await self._find()).topology

    async def run(self, commands: Sequence[Command], *, is_repeatable: bool = True) -> list[Any]:
        """Return the replies; that of a command that failed is its ResponseError.

        is_repeatable: the commands may be carried out twice. Others are not sent again where a connection fails before
        it brings the reply. Raises RedisError, OSError or TimeoutError where no replies can be had; some commands may
        still have been carried out.
        """
        request = _Request(commands)
        losses, pauses = 0, iter(PAUSES_S)
        async with asyncio.timeout(self._timeout_s):
            while True:
                layout = self._layout
                try:
                    layout = layout or await self._find()
                    if await self._exchange(layout, request):
                        return request.replies
                except (ConnectionLost, OSError):
                    losses += 1
                    is_sent = layout is not None
                    if losses == LOST_MAX or (is_sent and not is_repeatable):
                        raise
                    continue
                pause_s = next(pauses, None)
                if pause_s is None:
                    return request.replies
                await asyncio.sleep(pause_s)

    async def each(self, command: Command) -> list[Any]:
        """Return the reply of every server that holds keys. Raises what `run` raises, and a command's ResponseError."""
        packed = [hiredis.pack_command(command)]
        async with asyncio.timeout(self._timeout_s):
            layout = self._layout or await self._find()
            try:
                replies = await asyncio.gather(*[self._line_to(node).exchange(packed, 1) for node in layout.masters])
            except BaseException:
                self._forget(layout)
                raise
        for (reply,) in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return [reply for (reply,) in replies]

    async def close(self) -> None:
        for line in self._lines.values():
            await line.close()

    async def _find(self) -> Layout:
        async with self._finding:
            if self._layout is None:
                layout = await find(self._address, self._timeout_s, self._known)
                if layout.topology is Topology.CLUSTER:
                    self._known = layout.masters
                for node in set(self._lines) - set(layout.masters):
                    await self._lines.pop(node).close()
                self._layout = layout
            return self._layout

    def _line_to(self, node: str) -> Line:
        line = self._lines.get(node)
        if line is None or line.is_closed:
            line = self._lines[node] = Line(node)
        return line

    async def _exchange(self, layout: Layout, request: _Request) -> bool:
        """Send what waits, once; return whether all of it was answered by the right servers."""
        if layout.topology is not Topology.CLUSTER:
            return await self._exchange_with_one(layout, request)
        shares = _shares(layout, request)
        answers = await asyncio.gather(*[self._share(share, request) for share in shares], return_exceptions=True)
        again = set(request.waiting).difference(*[share.places for share in shares])  # of slots that nobody serves
        lost: BaseException | None = None
        for share, answer in zip(shares, answers, strict=True):
            if isinstance(answer, BaseException):
                lost = lost if isinstance(lost, asyncio.CancelledError) else answer
                again.update(share.places)
            else:
                again |= self._taken(share, answer, request)
        request.waiting = sorted(again)
        if again:
            self._forget(layout)
        if lost is not None:
            request.moved.clear()
            raise lost
        return not again

    async def _exchange_with_one(self, layout: Layout, request: _Request) -> bool:
        (node,) = layout.masters
        line = self._line_to(node)
        try:
            request.replies = await line.exchange(request.packed, len(request.packed))
        except BaseException:
            self._forget(layout)
            raise
        for reply in request.replies:
            if isinstance(reply, ResponseError) and is_elsewhere(reply):
                await line.close()  # the old primary stays up, and would refuse for ever
                self._forget(layout)
                return False
        return True

    async def _share(self, share: _Share, request: _Request) -> list[Any]:
        packed = [request.packed[place] for place in share.places]
        return await self._line_to(share.node).exchange(packed, len(packed))

    def _taken(self, share: _Share, answers: Sequence[Any], request: _Request) -> set[int]:
        """Take in a server's replies; return the places that are to be sent again."""
        again: set[int] = set()
        elsewhere: set[int | None] = set()
        for place, reply in zip(share.places, answers, strict=True):
            slot = request.slots[place]
            if isinstance(reply, ResponseError) and is_elsewhere(reply):
                elsewhere.add(slot)
                if isinstance(reply, MovedError) and reply.host and slot is not None:
                    request.moved[slot] = self._address.node(reply.host, reply.port)
            if slot is not None or not isinstance(request.replies[place], ResponseError):
                request.replies[place] = reply
            if slot in elsewhere:
                again.add(place)
        return again

    def _forget(self, layout: Layout) -> None:
        """Look for the servers again before the next batch, unless somebody has done so since."""
        if self._layout is layout:
            self._layout = None


def _shares(layout: Layout, request: _Request) -> list[_Share]:
    places: dict[str, list[int]] = {}
    for place in request.waiting:
        slot = request.slots[place]
        nodes = layout.masters if slot is None else [request.moved.get(slot) or layout.master_of(slot)]
        for node in nodes:
            if node is not None:
                places.setdefault(node, []).append(place)
            else:
                request.replies[place] = ClusterDownError("nobody serves the slot")
    return [_Share(node, each) for node, each in places.items()]


def _slot(command: Command) -> int | None:
    name = command[0]
    if name in _KEYLESS:
        return None
    return _slot_of(command[_KEY_AT.get(name, 1)])


def _slot_of(key: str) -> int:
    begin = key.find("{") + 1
    end = key.find("}", begin)
    return _slot_of_tag(key[begin:end] if 0 < begin < end else key)


@lru_cache(SLOTS_CACHED)
def _slot_of_tag(tag: str) -> int:
    return slot_of(tag)
