"""Files on disk, opened for a reading of their own each time, and watched for changes between and during readings."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol, cast

from pipeline.publish.columns import Batch, Column
from pipeline.publish.payment_source import Fault, Unreadable

HEAD_BYTES: Final = 64 * 1024
GZIP: Final = b"\x1f\x8b"
BATCH_ROWS: Final = 4096
BLANK_LINES_MAX: Final = 10_000
"""In a row. Packed, a million take 1 KB, so that a small file could keep its reader busy for hours."""
TOO_BLANK: Final = f"is blank, as the {BLANK_LINES_MAX:,} lines before it are"


ROWS_FREE: Final = 100_000
"""Rows that a file may have whatever its size; they are read within seconds."""


class Table(Protocol):
    """A file with columns and rows."""

    @property
    def unit(self) -> str:
        """What lines are called: "line" or "row"."""

    @property
    def count(self) -> int | None:
        """The number of rows, where the file says it without being read."""

    @property
    def columns(self) -> list[Column]:
        """The columns, in the file's order."""

    def batches(self, wanted: Set[int], /) -> Iterator[Batch | Fault]:
        """Yield the rows, anew at each call, with the values of the columns at the places that are `wanted`; those of
        others may be left out. Raises Unreadable."""


class WatchedFile:
    """A regular file that must not change from one reading to the next."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        with _named(path):
            status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable(f"{path} is a folder.", "Give one file.")
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable(f"{path} is no regular file, and it is read twice.", "Save it to a file first.")
        self._was = _state(status)
        if status.st_size == 0:
            raise Unreadable(f"{self.name} is empty.", "Look at the program that wrote it.")

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the file's bytes as they are."""
        with _named(self.path), self.path.open("rb") as file:
            self._compare(file)
            yield file
            self._compare(file)

    @contextmanager
    def unpacked(self) -> Iterator[BinaryIO]:
        """Open the file's bytes, behind gzip where it is packed so. Its checksum counts only where all is read."""
        with self.opened() as file:
            is_packed = file.read(len(GZIP)) == GZIP
            file.seek(0)
            if not is_packed:
                yield file
                return
            try:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield cast(BinaryIO, unpacked)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise Unreadable(
                    f"{self.name} is no sound gzip file: it is cut off or damaged.", "Pack it again."
                ) from error

    def refuse_rows(self, rows: int) -> None:
        """Raises Unreadable where so many rows can't be payments that differ: packed, or said by runs, fifty million
        equal ones take some KB, and keep their reader busy for minutes before the second one's id is told."""
        if rows > ROWS_FREE + self._was.size_bytes:
            raise Unreadable(
                f"{self.name} has over {ROWS_FREE:,} rows, and more of them than bytes: they can't be payments that "
                "differ.",
                "Look at the program that wrote it.",
            )

    def head(self) -> bytes:
        with self.unpacked() as file:
            return file.read(HEAD_BYTES)

    def read_to_its_end(self) -> None:
        """Read all of it where it is packed, since its checksum stands at its end. Raises Unreadable."""
        with self.unpacked() as file:
            while isinstance(file, gzip.GzipFile) and file.read(HEAD_BYTES):
                pass

    def require_same(self) -> None:
        """Raises Unreadable where the file is another than it was when it was first seen."""
        with _named(self.path):
            self._require_state(self.path.stat())

    def _compare(self, file: BinaryIO) -> None:
        self._require_state(os.fstat(file.fileno()))

    def _require_state(self, status: os.stat_result) -> None:
        if _state(status) != self._was:
            raise Unreadable(f"{self.name} changed while it was read.", "Give a file that nobody writes to any more.")


class _State(NamedTuple):
    """The time of the last change of the file's entry can't be set back, as that of its content can."""

    device: int
    entry: int
    size_bytes: int
    content_changed_ns: int
    entry_changed_ns: int


def _state(status: os.stat_result) -> _State:
    return _State(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Unreadable(f"There is no file {path}.", "Give the path of a file of payments.") from error
    except PermissionError as error:
        raise Unreadable(f"{path} may not be read by this user.", "Change its permissions.") from error
    except OSError as error:
        raise Unreadable(
            f"{path} can't be read: {error.strerror or 'the system failed'}.", "Look at its disk."
        ) from error
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise Unreadable("A path can't hold a NUL character.", "Give the path of a file of payments.") from error
