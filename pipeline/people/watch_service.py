"""A look at every signed act as it comes, so that somebody is told of one that counts as nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from pipeline.io.postgres import Connection
from pipeline.people.act_store import CHECKS, RegistryReader, acts_since, latest_sequence
from pipeline.people.acts import REGISTRY_KINDS, ActMalformed, SignedAct, act_of
from pipeline.people.registry import Registry, proof_fault

ACTS_A_LOOK: Final = 500


class Unproved(NamedTuple):
    """`kind`, `name` and `at_ms` are what the act says, as far as it can be read."""

    digest: str
    kind: str
    name: str
    why: str
    at_ms: int


class ActWatch:
    """For one thread. A fault that is told again after a restart keeps its alert's id."""

    def __init__(self, recent: int | None = None) -> None:
        """`recent`: only so many of the latest acts are looked at, and all that come; None: every one."""
        self._reader, self._recent, self._reached = RegistryReader(), recent, 0
        self._connection: Connection | None = None
        self.looked_at = 0

    def look(self, connection: Connection) -> tuple[list[Unproved], bool]:
        """Return what is wrong among the next acts, and whether there were any."""
        registry = self._reader.read(connection)
        if connection is not self._connection:  # the database may have been put back: its next acts have old numbers
            latest = 0 if self._recent is None else latest_sequence(connection) - self._recent
            self._reached, self._connection = max(0, latest), connection
        found = acts_since(connection, self._reached, ACTS_A_LOOK)
        for sequence, _ in found:
            self._reached = sequence
        self.looked_at += len(found)
        return [each for _, signed in found for each in self._faults(registry, signed)], bool(found)

    def _faults(self, registry: Registry, signed: SignedAct) -> Iterator[Unproved]:
        try:
            act = act_of(signed.content)
        except ActMalformed as malformed:
            yield Unproved(signed.digest, "?", "?", str(malformed), 0)
            return
        fault = self._reader.faults.get(signed.digest)
        if act.kind not in REGISTRY_KINDS:
            fault = proof_fault(registry, signed, act, CHECKS)  # what ended all authority is told once, of its act
        if fault is not None:
            yield Unproved(signed.digest, act.kind, act.name, fault, act.at_ms)
