"""Marks beside the state in Redis: its shape, what was evicted, backups, and who rebuilds."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.io.clock import now_ms
from pipeline.state.evictions import (
    CLOCK,
    EARLY,
    LOST,
    Evictions,
    apart_ms,
    early_ms,
    evicted_counts,
    evicted_since,
    evicting_policies,
    latest_ms,
)
from pipeline.state.script_store import ScriptStore
from pipeline.state.shape import Shape, parse_shape


class MarkStore(ScriptStore):
    async def hold_shape(self, shape: Shape) -> Mapping[str, int | str]:
        """Record the shape that the state is built with, and return it; what came first stands.

        With a state that begins, what its servers evicted before is noted, because it was none of it.
        """
        held = await self.held_shape()
        if held is not None:
            return held
        await self.begin_evictions()
        key = self._keys.shape()
        _, text = await self._run([("SET", key, shape.text(), "NX"), ("GET", key)])
        return parse_shape(text)

    async def held_shape(self) -> Mapping[str, int | str] | None:
        """Return the shape that the state was built with; None for a state that begins."""
        (text,) = await self._run([("GET", self._keys.shape())])
        return None if text is None else parse_shape(text)

    async def begin_evictions(self) -> None:
        """Note what the servers have evicted so far: none of it was of this state."""
        counts = evicted_counts(await self.facts())
        fields = [part for server, count in counts.items() for part in (server, count)]
        await self._run([("HSET", self._keys.evictions(), *fields)])

    async def evictions(self, *, never_evicts: bool) -> Evictions:
        """Return what the servers may forget and have forgotten. Keys that the state lost are noted in it for ever.

        A state that hasn't begun has lost none.
        """
        at_ms = now_ms()
        masters, key = await self.facts(), self._keys.evictions()
        has_begun, *found = await self._run([("EXISTS", self._keys.shape()), ("HKEYS", key), ("HVALS", key)])
        held = {name.decode(): int(count) for name, count in zip(*found, strict=True)}
        counts = evicted_counts(masters)
        lost, early, told_ms = held.pop(LOST, 0), held.pop(EARLY, 0), held.pop(CLOCK, 0)
        apart = apart_ms(masters, at_ms)
        if has_begun and not early and (early := early_ms(told_ms, apart, at_ms)):
            await self._run([("HSETNX", key, EARLY, early)])
        if has_begun and (latest := latest_ms(masters)) > told_ms:
            await self._run([("HSET", key, CLOCK, latest)])
        if has_begun and not lost and (lost := evicted_since(counts, held)):
            _, text = await self._run([("HSETNX", key, LOST, lost), ("HGET", key, LOST)])
            lost = int(text)
        policies = evicting_policies(masters, never_evicts=never_evicts)
        return Evictions(policies, lost, sorted(counts), early, apart)

    async def backup_at_ms(self) -> int | None:
        """Return when `fraud state backup` last ended well."""
        (held,) = await self._run([("GET", self._keys.backup())])
        return None if held is None else int(held)

    async def remember_backup(self, at_ms: int) -> None:
        await self._run([("SET", self._keys.backup(), at_ms)])

    async def regime_told(self) -> str | None:
        """Return the regime that people were told of last; None for a state that begins."""
        (held,) = await self._run([("GET", self._keys.regime())])
        return None if held is None else str(held.decode())

    async def remember_regime(self, name: str) -> None:
        await self._run([("SET", self._keys.regime(), name)])

    async def take_lease(self, partition: int, holder: str, lease_ms: int) -> bool:
        """Return whether `holder` is the one to rebuild the partition, for another `lease_ms`.

        Two may for a moment believe it; what one has observed, the other passes over.
        """
        return await self._take_lease(self._keys.lease(partition), holder, lease_ms)

    async def release_lease(self, partition: int) -> None:
        await self._run([("DEL", self._keys.lease(partition))])
