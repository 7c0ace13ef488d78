"""The rail's books: a dictionary, and a file of lines from which it is read again after a restart.

Invariants
1. A key is paid or refused once, and so is a recall under a key of its own; asking again for the same gives the first
   answer and is counted, and asking for something else under it is told as that. All that is recalled of a transfer is
   never more than its amount.
2. Every answer is in the file: its lines are written and synced before the answer leaves.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from pipeline.io.clock import now_ms

KEY_CHARACTERS_MAX: Final = 64


class Status(StrEnum):
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    RECALLED = "RECALLED"
    UNKNOWN = "UNKNOWN"  # there is no such key
    OTHERWISE = "OTHERWISE"  # the key stands for something else, which is not done for this


class Transfer(NamedTuple):
    key: str
    debtor_account_id: str
    creditor_account_id: str
    currency: str
    amount_minor: int


class Entry(NamedTuple):
    transfer: Transfer
    status: Status  # RECALLED: the whole
    recalled_minor: int = 0
    booked_at_ms: int = 0


class Recall(NamedTuple):
    """A recall of all or a part of a transfer. Several parts of one are recalls of their own."""

    key: str
    transfer_key: str
    amount_minor: int


class RecallEntry(NamedTuple):
    recall: Recall
    status: Status  # RECALLED or REFUSED
    booked_at_ms: int = 0


class Books:
    def __init__(self, path: Path, now_ms: Callable[[], int] = now_ms) -> None:
        self._now_ms = now_ms
        self._entries: dict[str, Entry] = {}
        self._recalls: dict[str, RecallEntry] = {}
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
            return known.status if known.transfer == transfer else Status.OTHERWISE
        entry = Entry(transfer, Status.REFUSED if is_refused else Status.ACCEPTED, 0, self._now_ms())
        self._keep(entry)
        return entry.status

    def recall(self, recall: Recall, *, is_refused: bool) -> Status:
        """Recall a transfer, or a part of it.

        Return RECALLED, or REFUSED where the money can't be had back, or UNKNOWN where it was never paid.
        """
        known = self._recalls.get(recall.key)
        if known is not None:
            self.refused_duplicates += 1
            return known.status if known.recall == recall else Status.OTHERWISE
        paid = self._entries.get(recall.transfer_key)
        if paid is None or paid.status is Status.REFUSED:
            return Status.UNKNOWN
        amount_minor, recalled_minor = paid.transfer.amount_minor, paid.recalled_minor + recall.amount_minor
        if is_refused or paid.status is Status.RECALLED or recalled_minor > amount_minor:
            return self._keep_recall(RecallEntry(recall, Status.REFUSED, self._now_ms()))
        return self._keep_recall(RecallEntry(recall, Status.RECALLED, self._now_ms()))

    def status(self, key: str) -> Status:
        known = self._entries.get(key)
        return Status.UNKNOWN if known is None else known.status

    def recall_status(self, key: str) -> Status:
        """Return RECALLED or REFUSED where the recall of that key was answered, else UNKNOWN."""
        known = self._recalls.get(key)
        return Status.UNKNOWN if known is None else known.status

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
                paid[entry.transfer.currency] += entry.transfer.amount_minor - entry.recalled_minor
        return {"counts": dict(counts), "paid_minor": dict(paid), "refused_duplicates": self.refused_duplicates}

    def entries(self) -> Iterable[Entry]:
        return self._entries.values()

    def recall_entries(self) -> Iterable[RecallEntry]:
        return self._recalls.values()

    def entry(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def recall_entry(self, key: str) -> RecallEntry | None:
        return self._recalls.get(key)

    def close(self) -> None:
        self._file.close()

    def _keep(self, entry: Entry) -> None:
        self._entries[entry.transfer.key] = entry
        self._lines.append(orjson.dumps([*entry.transfer, entry.status, entry.booked_at_ms]) + b"\n")

    def _keep_recall(self, entry: RecallEntry) -> Status:
        self._apply(entry)
        self._lines.append(orjson.dumps([*entry.recall, entry.status, entry.booked_at_ms]) + b"\n")
        return entry.status

    def _apply(self, entry: RecallEntry) -> None:
        """What is recalled of a transfer follows from its recalls, of which each has a line of its own."""
        self._recalls[entry.recall.key] = entry
        if entry.status is Status.RECALLED:
            paid = self._entries[entry.recall.transfer_key]
            recalled_minor = paid.recalled_minor + entry.recall.amount_minor
            status = Status.RECALLED if recalled_minor == paid.transfer.amount_minor else paid.status
            self._entries[paid.transfer.key] = paid._replace(status=status, recalled_minor=recalled_minor)

    def _read(self, path: Path) -> None:
        """Read the file. A last line that a crash cut short was never answered, so it is cut off."""
        if not path.exists():
            return
        whole = path.read_bytes()
        end = whole.rfind(b"\n") + 1
        for entry in _entries(whole[:end]):
            if isinstance(entry, Entry):
                self._entries[entry.transfer.key] = entry
            else:
                self._apply(entry)
        if end < len(whole):
            os.truncate(path, end)


def _entries(lines: bytes) -> Iterator[Entry | RecallEntry]:
    """Transfers have as many fields as no recall has."""
    for line in lines.splitlines():
        fields = orjson.loads(line)
        if len(fields) == len(Recall._fields) + 2:
            *recall, status, booked_at_ms = fields
            yield RecallEntry(Recall(*recall), Status(status), booked_at_ms)
        else:
            *transfer, status, booked_at_ms = fields
            yield Entry(Transfer(*transfer), Status(status), 0, booked_at_ms)
