"""Stored decisions, and what became known of their payments, from files: an audit export, and labels as JSON lines."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from models.lifecycle.differences import LabelKey
from pipeline.terminal.failures import Failure

LOGGED: Final = "ai_decision_log.jsonl"
_LABEL_FIELDS: Final = {"transaction_id", "account_id", "fraud"}


class _Row(NamedTuple):
    """A row of an export. The greatest is the latest, in the order in which the audit database tells them."""

    decided_at: datetime
    partition: int  # below 0: of one moment the first partition comes first
    offset: int
    record: bytes


def exported_records(export: Path, last: int, model_version: str | None = None) -> list[bytes]:
    """Return the stored bytes of the latest decisions of an export of the audit log, newest first.

    An export is in the order of its topic, so the latest are found by when each was decided, and of one moment by where
    each stands: the same ones as the database gives.
    """
    path = export / LOGGED if export.is_dir() else export
    return [row.record for row in heapq.nlargest(last, _rows(path, model_version))]


def labels_of(path: Path) -> dict[LabelKey, bool]:
    """Read lines of {"transaction_id", "account_id", "fraud": true or false}; the last of a payment holds."""
    found: dict[LabelKey, bool] = {}
    for number, value in _objects(path):
        if not value.keys() >= _LABEL_FIELDS or not isinstance(value["fraud"], bool):
            raise Failure(
                f"Line {number} of {path.name} is no label.",
                'Write {"transaction_id": …, "account_id": …, "fraud": true or false}.',
            )
        found[str(value["account_id"]), str(value["transaction_id"])] = value["fraud"]
    return found


def _rows(path: Path, model_version: str | None) -> Iterator[_Row]:
    for number, row in _objects(path):
        record, created_at = row.get("record"), row.get("created_at")
        partition, offset = row.get("topic_partition"), row.get("topic_offset")
        if not (isinstance(record, str) and isinstance(created_at, str) and record.startswith("\\x")) or not (
            type(partition) is int and type(offset) is int  # no bool
        ):
            raise Failure(f"Line {number} of {path.name} is no row of the audit log.", "Give `fraud audit export`'s.")
        if model_version is None or row.get("model_version") == model_version:
            try:
                yield _Row(_moment(created_at), -partition, offset, bytes.fromhex(record[2:]))
            except ValueError as error:
                raise Failure(
                    f"Line {number} of {path.name} holds no bytes, or no time.", "Export it again."
                ) from error


def _moment(text: str) -> datetime:
    """Raises ValueError, also for a time without its zone: nobody could tell which came first."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise Failure(f"Line {number} of {path.name} is no JSON object.", "Give a file of JSON lines.")
                yield number, value
    except (OSError, ValueError) as error:
        raise Failure(f"{path} can't be read as JSON lines ({type(error).__name__}).", "Look at the file.") from error
