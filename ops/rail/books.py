"""The rail's books: a dictionary, and a file of lines from which it is read again after a restart.

Invariants
1. A key is paid or refused once; asking again gives the first answer and is counted.
2. Every answer is in the file: its lines are written and synced before the answer leaves.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import orjson

KEY_CHARACTERS_MAX: Final = 64


class Status(StrEnum):
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    RECALLED = "RECALLED"
    UNKNOWN = "UNKNOWN"  # there is no such key


class Transfer(NamedTuple):
    key: str
    debtor_account_id: str
    creditor_account_id: str
    currency: str
    amount_minor: int


class Entry(NamedTuple):
    transfer: Transfer
    status: Status
    is_recall_refused: bool = False


class Books:
    def __init__(self, path: Path) -> None:
        self._entries: dict[str, Entry] = {}
        self.refused_duplicates = 0
        """Number of refused duplicates since this process started."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._read(path)
        self._file = path.open("ab")
        self._lines: list[bytes] = []

    def pay(self, transfer: Transfer, *, is_refused: bool) -> Status:
        known = self._entries.get(transfer.key)
        if known is not None:
            self.refused_duplicates += 1
            return known.status
        entry = Entry(transfer, Status.REFUSED if is_refused else Status.ACCEPTED)
        self._keep(entry)
        return entry.status

    def recall(self, key: str, *, is_refused: bool) -> Status:
        """Recall a transfer.

        Return RECALLED, or REFUSED where the money can't be had back, or UNKNOWN where it was never paid.
        """
        known = self._entries.get(key)
        if known is None or known.status is Status.REFUSED:
            return Status.UNKNOWN
        if known.status is Status.RECALLED or known.is_recall_refused:
            self.refused_duplicates += 1
            return Status.RECALLED if known.status is Status.RECALLED else Status.REFUSED
        entry = known._replace(is_recall_refused=True) if is_refused else known._replace(status=Status.RECALLED)
        self._keep(entry)
        return Status.REFUSED if is_refused else Status.RECALLED

    def status(self, key: str) -> Status:
        known = self._entries.get(key)
        return Status.UNKNOWN if known is None else known.status

    def recall_status(self, key: str) -> Status:
        """Return RECALLED or REFUSED where a recall was answered, else UNKNOWN."""
        known = self._entries.get(key)
        if known is None:
            return Status.UNKNOWN
        if known.status is Status.RECALLED:
            return Status.RECALLED
        return Status.REFUSED if known.is_recall_refused else Status.UNKNOWN

    def sync(self) -> None:
        """Write and sync the lines; this must happen before an answer leaves."""
        if self._lines:
            self._file.write(b"".join(self._lines))
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._lines.clear()

    def summary(self) -> dict[str, object]:
        """Return counts by status, what is out in each currency, and how many duplicates were refused."""
        counts = Counter(entry.status.value for entry in self._entries.values())
        paid: Counter[str] = Counter()
        for entry in self._entries.values():
            if entry.status is Status.ACCEPTED:
                paid[entry.transfer.currency] += entry.transfer.amount_minor
        return {"counts": dict(counts), "paid_minor": dict(paid), "refused_duplicates": self.refused_duplicates}

    def entries(self) -> Iterable[Entry]:
        return self._entries.values()

    def close(self) -> None:
        self._file.close()

    def _keep(self, entry: Entry) -> None:
        self._entries[entry.transfer.key] = entry
        self._lines.append(orjson.dumps([*entry.transfer, entry.status, entry.is_recall_refused]) + b"\n")

    def _read(self, path: Path) -> None:
        """Read the file. A last line that a crash cut short was never answered, so it is cut off."""
        if not path.exists():
            return
        whole = path.read_bytes()
        end = whole.rfind(b"\n") + 1
        for entry in _entries(whole[:end]):
            self._entries[entry.transfer.key] = entry
        if end < len(whole):
            os.truncate(path, end)


def _entries(lines: bytes) -> Iterator[Entry]:
    for line in lines.splitlines():
        *transfer, status, is_recall_refused = orjson.loads(line)
        yield Entry(Transfer(*transfer), Status(status), bool(is_recall_refused))
