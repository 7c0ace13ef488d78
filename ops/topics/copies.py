"""A copy of topics as files: what each file holds, and the manifest that says what they are.

A folder holds one file for each stretch of a partition that was copied at one time, and manifest.json. A file is
frames, one a record: offset, time, key, value, headers. The manifest has, of each partition, where the topic began and
ended, and the stretches in order with their SHA-256. What stands in no stretch is no copy.

The manifest is of the last run that came to its end, since only then do all topics end at about one moment. How far a
run has come that did not stands in another file, by which the next goes on.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

FORMAT: Final = 2
MANIFEST: Final = "manifest.json"
UNFINISHED: Final = "unfinished.json"
LOCK: Final = "lock"
_NUMBERS: Final = struct.Struct(">qqH")  # offset, timestamp_ms, number of headers
_LENGTH: Final = struct.Struct(">i")  # -1: there is none
FIELD_BYTES_MAX: Final = 64 * 1024 * 1024


class CopyBroken(Exception):
    """The folder holds no copy that can be used; the message says why."""


class Copied(NamedTuple):
    """A record as it stands on its topic."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Part(NamedTuple):
    """A stretch of a partition, in a file.

    last_offset and last_sha256: the place of its last record, and the digest of that one's frame; -1 and nothing where
    it holds none. By them the next run knows that it goes on with the same topic.
    """

    name: str
    end: int  # the offset after the stretch, commit markers included
    records: int
    sha256: str
    last_offset: int
    last_sha256: str


class PartitionCopy(NamedTuple):
    """begin: the oldest offset that the partition still had when it was copied last."""

    begin: int
    parts: tuple[Part, ...]

    @property
    def end(self) -> int:
        return self.parts[-1].end if self.parts else self.begin

    @property
    def last(self) -> Part | None:
        """The stretch with the record that was copied last; None where there is none."""
        return next((part for part in reversed(self.parts) if part.records), None)


Manifest = dict[str, dict[int, PartitionCopy]]
"""By topic, without its prefix, and partition."""


def read_manifest(folder: Path, name: str = MANIFEST) -> Manifest:
    """Empty where there is none yet. Raises CopyBroken."""
    try:
        content = json.loads((folder / name).read_text())
        if content["format"] != FORMAT:
            raise CopyBroken(f"{folder} holds a copy of format {content['format']}, this release reads {FORMAT}")
        if content["sha256"] != _digest(content["topics"]):
            raise CopyBroken(f"{folder / name} is not what was written there")
        return {topic: {int(number): _partition(each) for number, each in partitions.items()}
                for topic, partitions in content["topics"].items()}  # fmt: skip
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CopyBroken(f"{folder / name} can't be read: {type(error).__name__}") from error


def read_under_way(folder: Path) -> Manifest:
    """What a run that did not come to its end has copied, and the runs before it. Raises CopyBroken."""
    return read_manifest(folder, UNFINISHED) or read_manifest(folder)


def write_manifest(folder: Path, manifest: Manifest, *, is_whole: bool) -> None:
    """Replace it as a whole, so that a crash leaves the one before. is_whole: the run has come to its end."""
    topics = {
        topic: {str(number): {"begin": each.begin, "parts": [part._asdict() for part in each.parts]}
                for number, each in partitions.items()}
        for topic, partitions in manifest.items()
    }  # fmt: skip
    name = MANIFEST if is_whole else UNFINISHED
    path = folder / f"{name}.new"
    with _opened(path) as file:
        content = {"format": FORMAT, "sha256": _digest(topics), "topics": topics}
        file.write(json.dumps(content, indent=1).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    path.replace(folder / name)
    if is_whole:
        forget_under_way(folder)


def forget_under_way(folder: Path) -> None:
    """Drop what a run has copied that did not come to its end: the log doesn't go on there any more, or it is whole."""
    (folder / UNFINISHED).unlink(missing_ok=True)


def require_files(folder: Path, manifest: Manifest) -> None:
    """Raise CopyBroken where a file is not what was written, so that nothing is made of a copy that is damaged."""
    for partitions in manifest.values():
        for copy in partitions.values():
            for part in copy.parts:
                with _intact(folder, part):
                    pass


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep others from the folder: two runs at once would write the same files. Raises CopyBroken, OSError."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CopyBroken(f"another command is at work in {folder}") from error
        yield
    finally:
        os.close(descriptor)  # and the lock with it


class PartWriter:
    """Writes one stretch. Payments stand in it in the clear, so the file is its owner's alone."""

    def __init__(self, folder: Path, topic: str, partition: int, first: int) -> None:
        self.name = f"{topic}-{partition:04d}-{first:020d}.records"
        self._file = _opened(folder / self.name)
        self._sha256, self._records = hashlib.sha256(), 0
        self._last: Copied | None = None

    def write(self, record: Copied) -> None:
        frame = encode(record)
        self._sha256.update(frame)
        self._file.write(frame)
        self._records += 1
        self._last = record

    def close(self, end: int) -> Part:
        """Sync it; what the manifest names is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        last = (-1, "") if self._last is None else (self._last.offset, record_digest(self._last))
        return Part(self.name, end, self._records, self._sha256.hexdigest(), *last)


def read_part(folder: Path, part: Part) -> Iterator[Copied]:
    """Yield its records. Raises CopyBroken before the first where the file is not what was written."""
    with _intact(folder, part) as file:
        try:
            while (record := decode(file)) is not None:
                yield record
        except OSError as error:
            raise CopyBroken(f"{part.name} can't be read: {error.strerror or error}") from error


def record_digest(record: Copied) -> str:
    return hashlib.sha256(encode(record)).hexdigest()


def encode(record: Copied) -> bytes:
    fields = [_NUMBERS.pack(record.offset, record.timestamp_ms, len(record.headers))]
    fields += [_field(record.key), _field(record.value)]
    for name, value in record.headers:
        fields += [_field(name.encode()), _field(value)]
    return b"".join(fields)


def decode(file: BinaryIO) -> Copied | None:
    """The next record; None at the end. Raises CopyBroken."""
    numbers = file.read(_NUMBERS.size)
    if not numbers:
        return None
    if len(numbers) < _NUMBERS.size:
        raise CopyBroken("a file ends within a record")
    offset, timestamp_ms, count = _NUMBERS.unpack(numbers)
    key, value = _taken(file), _taken(file)
    headers = tuple(((_taken(file) or b"").decode(), _taken(file)) for _ in range(count))
    return Copied(offset, timestamp_ms, key, value, headers)


def _field(value: bytes | None) -> bytes:
    return _LENGTH.pack(-1) if value is None else _LENGTH.pack(len(value)) + value


def _taken(file: BinaryIO) -> bytes | None:
    length = file.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        raise CopyBroken("a file ends within a record")
    (size,) = _LENGTH.unpack(length)
    if size == -1:
        return None
    if not 0 <= size <= FIELD_BYTES_MAX:
        raise CopyBroken("a record has a field of an impossible size")
    value = file.read(size)
    if len(value) < size:
        raise CopyBroken("a file ends within a record")
    return value


@contextmanager
def _intact(folder: Path, part: Part) -> Iterator[BinaryIO]:
    """A stretch's file, from its beginning, once its digest was found right. Raises CopyBroken."""
    try:
        file = (folder / part.name).open("rb")
    except OSError as error:
        raise CopyBroken(f"{part.name} can't be read: {error.strerror or error}") from error
    with file:
        try:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
        except OSError as error:
            raise CopyBroken(f"{part.name} can't be read: {error.strerror or error}") from error
        if digest != part.sha256:
            raise CopyBroken(f"{part.name} is not what was written there")
        yield file


def _digest(topics: object) -> str:
    return hashlib.sha256(json.dumps(topics, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _partition(content: dict[str, Any]) -> PartitionCopy:
    return PartitionCopy(int(content["begin"]), tuple(Part(**part) for part in content["parts"]))


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
