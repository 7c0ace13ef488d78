"""Stored decisions, and what became known of their payments, from files: an audit export, and labels as JSON lines."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.lifecycle.differences import LabelKey
from pipeline.terminal.failures import Failure

LOGGED: Final = "ai_decision_log.jsonl"
_LABEL_FIELDS: Final = {"transaction_id", "account_id", "fraud"}


def exported_records(export: Path, last: int, model_version: str | None = None) -> list[bytes]:
    """Return the stored bytes of the latest decisions of an export of the audit log, newest first.

    An export is in the order of its topic, so the latest are found by when each was decided.
    """
    path = export / LOGGED if export.is_dir() else export
    kept: deque[tuple[str, bytes]] = deque(_rows(path, model_version))
    newest = sorted(kept, key=lambda row: row[0], reverse=True)
    return [record for _, record in newest[:last]]


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


def _rows(path: Path, model_version: str | None) -> Iterator[tuple[str, bytes]]:
    for number, row in _objects(path):
        record, created_at = row.get("record"), row.get("created_at")
        if not isinstance(record, str) or not isinstance(created_at, str) or not record.startswith("\\x"):
            raise Failure(f"Line {number} of {path.name} is no row of the audit log.", "Give `fraud audit export`'s.")
        if model_version is None or row.get("model_version") == model_version:
            try:
                yield created_at, bytes.fromhex(record[2:])
            except ValueError as error:
                raise Failure(f"Line {number} of {path.name} holds no bytes.", "Export it again.") from error


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
