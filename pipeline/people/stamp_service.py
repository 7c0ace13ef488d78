"""Keeps the people's file as new as the database: written anew, with a stamp, every few seconds.

A worker heeds a release only by a file from after it, so that no copy from before a revocation lets anybody release.
Nor is a file replaced by people of before it: a database that was put back has lost the revocations since.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection
from pipeline.people.act_store import RegistryReader
from pipeline.people.people_files import PeopleFileRefused, Stamp, lost_acts, stamp_bytes, write_people
from pipeline.people.registry import Registry

STAMP_INTERVAL_S: Final = 5.0
"""Between two stamps: as long a release waits, beside what clocks may differ."""

log = structlog.get_logger("people")


class PeopleStamper:
    """For one thread."""

    def __init__(self, path: Path, key_id: str, sign: Callable[[bytes], bytes]) -> None:
        """key_id: of the key that `sign` signs with."""
        self._path, self._key_id, self._sign = path, key_id, sign
        self._reader = RegistryReader()
        self._stamped_s = float("-inf")
        self._written_head: str | None = None
        self._why_not: str | None = None
        self.lost: str | None = None
        """Why the file is left alone, where the database has lost acts that it has."""

    def step(self, connection: Connection) -> None:
        """Write the file where it is time to. Raises psycopg's exceptions.

        A registry that is broken, that nobody has begun, or that lacks acts of the file, is not written: what is there
        grows old, and then no release counts.
        """
        if time.monotonic() - self._stamped_s < STAMP_INTERVAL_S:
            return
        self._stamped_s = time.monotonic()
        as_of_ms = server_now_ms(connection)  # before the acts are read, so that none of before it is missing
        registry = self._reader.read(connection)
        if not registry.root or registry.broken is not None:
            self._fail(registry.broken or "nobody is registered yet")
            return
        if lost := self._lost(registry):
            which = "`fraud people verify --file` tells which"
            self.lost = f"the database has lost {lost} acts that {self._path} has: {which}"
            self._fail(self.lost)
            return
        self.lost = None
        signature = self._sign(stamp_bytes(registry.root, registry.head, as_of_ms))
        try:
            write_people(self._path, self._reader.acts, Stamp(as_of_ms, registry.head, self._key_id, signature))
        except OSError as error:
            self._fail(f"{self._path} can't be written ({error.strerror})")
            return
        self._why_not, self._written_head = None, registry.head

    def _lost(self, registry: Registry) -> int:
        """How many acts the file has that the database hasn't. What this process wrote since a restore isn't read."""
        known = {signed.digest for signed in self._reader.acts}
        if self._written_head in known:
            return 0
        try:
            return len(lost_acts(self._path, registry.root, known))
        except PeopleFileRefused:
            return 0  # there is none yet, or it proves nothing

    def _fail(self, why: str) -> None:
        """Say it once; workers say of each release that their file is too old."""
        if why != self._why_not:
            log.error("people_not_stamped", why=why)
        self._why_not = why
