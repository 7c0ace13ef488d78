"""The records of decisions.v1 that the audit log stores as put aside, since it isn't proved who wrote them.

What was noted once stays so: a leaf may be on disk that says it, and a key set that knows more by now changes no leaf.
A note about other bytes than the record's says nothing about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pipeline.domain.log import Presented, Prove, Unproved
from pipeline.io.postgres import Connection
from pipeline.seals.passed_over_store import Noted, PassedOver


class Noting:
    """For one thread. `prove` is for the log that is read: it lets every record through, and remembers."""

    def __init__(self, check: Prove, passed_over: PassedOver) -> None:
        self._check, self._passed_over = check, passed_over
        self._noted: dict[tuple[int, int], Noted] = {}
        self._found: list[Unproved] = []

    def begin(self, connection: Connection, positions: Mapping[int, int]) -> None:
        """Partitions are taken over, or read again from there."""
        self._found = []
        noted = self._passed_over.noted(connection, positions)
        self._noted = {(each.partition, each.offset): each for each in noted}

    def prove(self, record: Presented) -> None:
        noted = self._noted.pop((record.partition, record.offset), None)
        if noted is not None and noted.record_sha256 == hashlib.sha256(record.value).digest():
            found: Unproved | None = Unproved(*noted[:2], record.value, noted.why, noted.key_id)
        else:
            found = self._check(record)
        if found is not None:
            self._found.append(found)

    def note(self, connection: Connection) -> list[Unproved]:
        """Keep what was found since the last call, before it is stored, and return it."""
        self._passed_over.note(connection, self._found)
        found, self._found = self._found, []
        return found
