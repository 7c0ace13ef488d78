"""Labels as a CSV file: transaction_id, fraud (0 or 1), labelled_at (ISO 8601, with its zone). One line a statement.

Of several statements about a payment the one with the latest time holds, as on labels.v1.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from models.train.history import HistoryRefused
from models.train.topics import Labels, labels_of
from pipeline.domain.context import Label
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS

COLUMNS: Final = ["transaction_id", "fraud", "labelled_at"]
LINES_MAX: Final = 20_000_000
"""More labels than a large bank finds in years; a file of more is no file of labels."""


def read_labels(path: Path, now_ms: int) -> Labels:
    """Raises HistoryRefused; the message quotes no value."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return labels_of(_statements(csv.reader(file, strict=True), path.name, now_ms))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HistoryRefused(f"{path.name} can't be read as CSV ({type(error).__name__})") from error


def _statements(lines: Iterator[list[str]], name: str, now_ms: int) -> Iterator[tuple[Label, int]]:
    if next(lines, None) != COLUMNS:
        raise HistoryRefused(f"the first line of {name} is not {','.join(COLUMNS)}")
    for number, line in enumerate(lines, start=2):
        if number > LINES_MAX:
            raise HistoryRefused(f"{name} has more than {LINES_MAX:,} lines")
        label = _label(line)
        if label is None:
            raise HistoryRefused(f"line {number} of {name} is not an id, 0 or 1, and a time with its zone")
        if label.labelled_at_ms > now_ms + FUTURE_TOLERANCE_MS:
            # Payments up to the last label pass for old enough, so one slip of a year would make all frauds that are
            # still to be found honest.
            raise HistoryRefused(f"line {number} of {name} is a label of the future")
        yield label, label.labelled_at_ms


def _label(line: list[str]) -> Label | None:
    if len(line) != len(COLUMNS) or not line[0] or line[1] not in ("0", "1"):
        return None
    try:
        at = datetime.fromisoformat(line[2])
    except ValueError:
        return None
    if at.tzinfo is None or at.timestamp() < 0:
        return None
    return Label(line[0], "", "", 0, line[1] == "1", int(at.timestamp() * 1000), "file")
