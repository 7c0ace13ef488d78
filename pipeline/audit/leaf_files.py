"""The audit log's files outside the database: leaf files that only grow, and signed heads that are written once.

    DIRECTORY/leaves/TOPIC-PPPP.leaves                 48 bytes a record: offset, time of recording, leaf
    DIRECTORY/heads/TOPIC-PPPP/SSSSSSSSSSSSSSSS.json   one head; S is its tree's size

The folder belongs on a disk that no superuser of the database can write, and the heads best on one that keeps what it
was given (an object lock, WORM). Whoever writes a partition's leaf file holds its lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pipeline.audit.chain import ENTRY_BYTES, Entry, entries_of, entry_bytes
from pipeline.audit.head import SignedHead, file_text, head_of

READ_ENTRIES: Final = 65_536
_READ_ONLY: Final = 0o444


class LeafFileBusy(Exception):
    """Another process holds this partition's leaf file; it is that one's until it ends."""


class HeadRefused(Exception):
    """A file among the heads is none."""


class LeafFile:
    """One partition's, locked until `close`. What is read was written by this process or a predecessor."""

    def __init__(self, directory: Path, topic: str, partition: int) -> None:
        path = leaf_path(directory, topic, partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise LeafFileBusy(f"{path} is another process's") from error
        length = os.fstat(self._descriptor).st_size
        self.size = length // ENTRY_BYTES
        if length % ENTRY_BYTES:  # cut short by a crash, so it was never whole, nor any row of it stored
            os.ftruncate(self._descriptor, self.size * ENTRY_BYTES)
        _sync_folder(path.parent)

    def read(self, begin: int, end: int) -> list[Entry]:
        """Entries [begin, end) of those that there are."""
        end = min(end, self.size)
        if begin >= end:
            return []
        return list(entries_of(os.pread(self._descriptor, (end - begin) * ENTRY_BYTES, begin * ENTRY_BYTES)))

    def append(self, entries: Sequence[Entry]) -> None:
        """Returns once they are on the disk. After a failure (a full disk, say) the file is to be opened anew."""
        if not entries:
            return
        content = memoryview(b"".join(map(entry_bytes, entries)))
        while content:
            content = content[os.write(self._descriptor, content) :]
        os.fdatasync(self._descriptor)
        self.size += len(entries)

    def cut(self, size: int) -> None:
        """Take back the entries from `size` on, which no row and no signed head has."""
        os.ftruncate(self._descriptor, size * ENTRY_BYTES)
        os.fdatasync(self._descriptor)
        self.size = min(self.size, size)

    def close(self) -> None:
        os.close(self._descriptor)  # and the lock with it


def leaf_path(directory: Path, topic: str, partition: int) -> Path:
    return directory / "leaves" / f"{topic}-{partition:04}.leaves"


def head_folder(directory: Path, topic: str, partition: int) -> Path:
    return directory / "heads" / f"{topic}-{partition:04}"


def partitions_of(directory: Path, topic: str) -> list[int]:
    """The partitions that have a leaf file."""
    paths = (directory / "leaves").glob(f"{topic}-*.leaves")
    return sorted(int(path.stem.rpartition("-")[2]) for path in paths)


def read_entries(path: Path, begin: int = 0, end: int | None = None) -> Iterator[Entry]:
    """Whole entries [begin, end) of a leaf file, without its lock: the writer may be adding to it."""
    with path.open("rb") as file:
        file.seek(begin * ENTRY_BYTES)
        left = file.seek(0, os.SEEK_END) // ENTRY_BYTES - begin if end is None else end - begin
        file.seek(begin * ENTRY_BYTES)
        while left > 0 and (content := file.read(min(left, READ_ENTRIES) * ENTRY_BYTES)):
            whole = len(content) // ENTRY_BYTES
            yield from entries_of(content[: whole * ENTRY_BYTES])
            left -= whole


def write_head(directory: Path, signed: SignedHead) -> Path:
    """Written whole, then named; never again. Raises FileExistsError where that head is there."""
    head = signed.head
    folder = head_folder(directory, head.topic, head.partition)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{head.tree_size:016}.json"
    partial = folder / f".{path.name}"
    partial.unlink(missing_ok=True)  # of one that was killed meanwhile
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READ_ONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(file_text(signed))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)  # fails where the name is taken, and shows the file whole or not at all
    finally:
        partial.unlink()
    _sync_folder(folder)
    return path


def head_paths(directory: Path, topic: str, partition: int) -> list[Path]:
    """Oldest first."""
    return sorted(head_folder(directory, topic, partition).glob("[0-9]*.json"))


def read_head(path: Path) -> SignedHead:
    """Raises HeadRefused; whether the signature holds is the verifier's to say."""
    try:
        return head_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HeadRefused(f"{path} can't be read as a head") from error


def latest_head(directory: Path, topic: str, partition: int, tree_size_max: int) -> SignedHead | None:
    """The last one of a tree of at most tree_size_max. Raises HeadRefused."""
    for path in reversed(head_paths(directory, topic, partition)):
        if int(path.stem) <= tree_size_max:
            return read_head(path)
    return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
