"""Statements to start from, and a rail's books."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ops.rail.books import Books, Recall, Transfer
from ops.rail.statement import FORMATS, Asked, statement

SINCE_MS, UNTIL_MS = 1_780_000_000_000, 1_780_086_400_000
KEY = "0f8fad5b-d9cb-569f-a165-70867728950e"
RECALL_KEY = "7c9e6679-7425-50de-944b-e07fc1f90ae7"


def books_with(path: Path, currency: str = "GBP", amount_minor: int = 12_345) -> Books:
    """A transfer, and a part of it taken back."""
    books = Books(path / "rail.jsonl", lambda: SINCE_MS + 1_000)
    books.pay(Transfer(KEY, "GB29-0001", "GB29-0002", currency, amount_minor), is_refused=False)
    books.pay(Transfer("refused", "GB29-0001", "GB29-0002", currency, 5), is_refused=True)
    books.recall(Recall(RECALL_KEY, KEY, 345), is_refused=False)
    return books


def written(path: Path, form: str = FORMATS[0], currency: str = "GBP", **asked) -> bytes:
    """Write the statement of those books."""
    known = {"sequence": 1, "opening_minor": 100_000, "since_ms": SINCE_MS, "until_ms": UNTIL_MS, **asked}
    with closing(books_with(path, currency)) as books:
        return b"".join(statement(books, Asked(form, currency, **known)))
