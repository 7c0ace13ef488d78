"""The witness's own file of statements, on a volume that neither the audit service nor the database can reach."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.audit.witness import statement_line, witnessed_of
from pipeline.domain.anchor import Witnessed

_NAME = "statements.jsonl"


class StatementFileBroken(Exception):
    """The file is another process's, or holds what is no statement."""


class StatementFile:
    """Only ever appended to, and locked until `close`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / _NAME
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise StatementFileBroken(f"{self.path} is another process's") from error
        self._cut_short()

    def statements(self) -> Iterator[Witnessed]:
        """Oldest first. Raises StatementFileBroken."""
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    yield witnessed_of(line)
                except ValueError as error:
                    raise StatementFileBroken(f"{self.path} holds what is no witness statement") from error

    def append(self, witnessed: Witnessed) -> None:
        """Returns once it is on the disk."""
        content = memoryview(statement_line(witnessed).encode())
        while content:
            content = content[os.write(self._descriptor, content) :]
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)  # and the lock with it

    def _cut_short(self) -> None:
        """Remove a line that a crash cut short: it was never published."""
        size = os.fstat(self._descriptor).st_size
        end = size
        while end and os.pread(self._descriptor, 1, end - 1) != b"\n":
            end -= 1
        if end != size:
            os.ftruncate(self._descriptor, end)
