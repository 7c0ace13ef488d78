"""A plan's canonical bytes: written with the plan, and read back once, into a file that only this process has.

Invariants
1. What `lines` gives are exactly the bytes that `digest` was computed of: both come from the file, and nobody else can
   write to it. A line that is slipped into the database after that, or another order, has no effect.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Final, Self

from pipeline.io.postgres import Connection
from pipeline.rollback.plan_store import append_content, content_parts
from pipeline.rollback.reversal import (
    CHANGING,
    PlanHeader,
    PlanLine,
    header_bytes,
    header_of,
    line_bytes,
    line_of,
)

MEMORY_BYTES_MAX: Final = 32 * 1024 * 1024
"""A larger plan is kept in a file without a name; a million lines take about 700 MB."""


class PlanRefused(Exception):
    """The plan may not be made, or would say nothing. One sentence."""


class ContentWriter:
    """Stores a plan's canonical bytes, and says their digest."""

    def __init__(self, connection: Connection, header: PlanHeader) -> None:
        self._connection, self._plan_id = connection, header.plan_id
        self._digest, self._part = hashlib.sha256(), 0
        self._append(header_bytes(header))

    def add(self, lines: list[PlanLine]) -> None:
        self._append(b"".join(map(line_bytes, lines)))

    def digest(self) -> bytes:
        return self._digest.digest()

    def _append(self, content: bytes) -> None:
        self._digest.update(content)
        append_content(self._connection, self._plan_id, self._part, content)
        self._part += 1


class PlanContent:
    """A plan as its bytes say. Close it after use."""

    def __init__(self, file: IO[bytes], digest: bytes) -> None:
        self._file, self.digest = file, digest
        self._file.seek(0)
        self.header = header_of(self._file.readline())
        self._lines_begin = self._file.tell()

    def lines(self) -> Iterator[PlanLine]:
        """All lines in order; iterations may overlap, each has a place of its own. Raises PlanRefused at a line that
        can't be read: whoever wrote the plan chose its bytes."""
        place = self._lines_begin
        while True:
            if self._file.tell() != place:
                self._file.seek(place)
            content = self._file.readline()
            if not content:
                return
            place += len(content)
            try:
                line = line_of(content)
            except (ValueError, TypeError) as error:
                raise PlanRefused("The plan has a line that can't be read") from error
            yield line

    def changing(self) -> Iterator[PlanLine]:
        """The lines that lead to a record."""
        return (line for line in self.lines() if line.disposition in CHANGING)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_content(connection: Connection, plan_id: str, expected: bytes) -> PlanContent | None:
    """The plan's bytes, where their digest is `expected` and they begin with a header; else None."""
    digest = hashlib.sha256()
    # Rolled over by itself to a file without a name once it grows.
    file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES_MAX)  # noqa: SIM115 - PlanContent closes it
    try:
        with connection.transaction():
            for part in content_parts(connection, plan_id):
                digest.update(part)
                file.write(part)
        if digest.digest() == expected:
            return PlanContent(file, expected)
    except (ValueError, TypeError):  # whoever writes the rows chooses the bytes, and signs them too
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    file.close()
    return None
