"""A copy of topics as files: what each file holds, and the manifest that says what they are.

A folder holds one file for each stretch of a partition that was copied at one time, and manifest.json. A file is
frames, one a record: offset, time, key, value, headers. The manifest has, of each partition, where the topic began and
ended, and the stretches in order with their SHA-256. What stands in no stretch is no copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
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
    """A stretch of a partition, in a file."""

    name: str
    end: int  # the offset after the stretch, commit markers included
    records: int
    sha256: str


class PartitionCopy(NamedTuple):
    """begin: the oldest offset that the partition still had when it was copied last."""

    begin: int
    parts: tuple[Part, ...]

    @property
    def end(self) -> int:
        return self.parts[-1].end if self.parts else self.begin


Manifest = dict[str, dict[int, PartitionCopy]]
"""By topic, without its prefix, and partition."""


def read_manifest(folder: Path) -> Manifest:
    """Empty where there is none yet. Raises CopyBroken."""
    try:
        content = json.loads((folder / MANIFEST).read_text())
        if content["format"] != FORMAT:
            raise CopyBroken(f"{folder} holds a copy of format {content['format']}, this release reads {FORMAT}")
        return {topic: {int(number): _partition(each) for number, each in partitions.items()}
                for topic, partitions in content["topics"].items()}  # fmt: skip
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CopyBroken(f"{folder / MANIFEST} can't be read: {type(error).__name__}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace it as a whole, so that a crash leaves the one before."""
    topics = {
        topic: {str(number): {"begin": each.begin, "parts": [part._asdict() for part in each.parts]}
                for number, each in partitions.items()}
        for topic, partitions in manifest.items()
    }  # fmt: skip
    path = folder / f"{MANIFEST}.new"
    with _opened(path) as file:
        file.write(json.dumps({"format": FORMAT, "topics": topics}, indent=1).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    path.replace(folder / MANIFEST)


class PartWriter:
    """Writes one stretch. Payments stand in it in the clear, so the file is its owner's alone."""

    def __init__(self, folder: Path, topic: str, partition: int, first: int) -> None:
        self.name = f"{topic}-{partition:04d}-{first:020d}.records"
        self._file = _opened(folder / self.name)
        self._sha256, self._records = hashlib.sha256(), 0

    def write(self, record: Copied) -> None:
        frame = encode(record)
        self._sha256.update(frame)
        self._file.write(frame)
        self._records += 1

    def close(self, end: int) -> Part:
        """Sync it; what the manifest names is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Part(self.name, end, self._records, self._sha256.hexdigest())


def read_part(folder: Path, part: Part) -> Iterator[Copied]:
    """Yield its records. Raises CopyBroken before the first where the file is not what was written."""
    path = folder / part.name
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
                raise CopyBroken(f"{part.name} is not what was written there")
            file.seek(0)
            while (record := decode(file)) is not None:
                yield record
    except OSError as error:
        raise CopyBroken(f"{part.name} can't be read: {error.strerror or error}") from error


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


def _partition(content: dict[str, Any]) -> PartitionCopy:
    return PartitionCopy(int(content["begin"]), tuple(Part(**part) for part in content["parts"]))


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
