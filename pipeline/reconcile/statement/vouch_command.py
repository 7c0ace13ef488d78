"""`fraud reconcile vouch`: what a person has from the rail is held against what was taken in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pipeline.io.settings import Settings
from pipeline.people.identity_command import identity_of
from pipeline.reconcile.statement.entries import Entry, Head, LinesDigest, StatementUnusable, Sum
from pipeline.reconcile.statement.statement_service import reader_of, statements_of
from pipeline.reconcile.statement.statement_store import TakenIn
from pipeline.ruling.acts import Statement
from pipeline.ruling.ruling_command import show_proposal, taken_fields, taken_text, vouch
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output, coloured

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def vouch_for(settings: Settings, path: Path, evidence: str, reason: str, output: Output) -> None:
    """Vouch for each statement of the file, or for none of those behind the first that is another. Failure says why."""
    try:
        copies = list(copies_of(path))
    except StatementUnusable as error:
        raise Failure(f"{path} is no statement: {error}.", "Ask the rail for the right one.", FAILED_CHECK) from error
    except OSError as error:
        raise Failure(f"{path} can't be read: {error.strerror or error}.", "Name another file.") from error
    by = identity_of(settings)
    with connected(settings) as connection:
        for copy in copies:
            proposal = vouch(connection, copy, by, evidence, reason)
            if proposal is None:
                output.note(f"Two people have vouched for statement {copy.sequence} in {copy.currency} before.")
            else:
                show_proposal(output, proposal)


def copies_of(path: Path) -> Iterator[Statement]:
    """The statements of a person's own file. Raises StatementUnusable, OSError."""
    with path.open("rb") as file:
        read = reader_of(file)
        for head, entries in statements_of(read(file)):
            yield _copy(head, entries)


def _copy(head: Head, entries: Iterator[Entry]) -> Statement:
    total, digest = Sum(head), LinesDigest()
    for entry in entries:
        total.add(entry)
        digest.add(entry)
    total.check()
    return Statement(
        0,
        head.account_id,
        head.currency,
        head.sequence,
        head.name,
        _microseconds(head.from_at),
        _microseconds(head.to_at),
        head.opening_minor,
        head.closing_minor,
        digest.lines,
        digest.hexdigest(),
    )


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def show_unvouched(output: Output, taken: TakenIn) -> None:
    word = coloured("UNVOUCHED", "red", is_bold=True)
    output.record({"unvouched": taken_fields(taken)}, f"{word} {taken_text(taken)}.")
