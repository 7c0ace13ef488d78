"""Options and arguments that several commands share, so that one word means one thing in all of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def utc_time(text: str) -> datetime:
    """ISO 8601; UTC where it names no zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no time. Write it as 2026-11-24T09:00:00Z.") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, and nothing else.")]
PaymentId = Annotated[str, typer.Argument(metavar="ID", help="A decision's id, or a transaction's.")]
Account = Annotated[
    str | None,
    typer.Option("--account", metavar="ID", help="Search only the partition of this paying account, which is faster."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept with the record.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Show at most this many.")]
Page = Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Write one HTML page there.")]
Rate = Annotated[
    float | None,
    typer.Option("--rate", min=0.1, max=1_000_000, help="Payments a second; as fast as possible without it."),
]
ClockStamps = Annotated[
    bool, typer.Option("--now", help="Stamp records with the clock's time instead of each payment's own.")
]
PaymentsMap = Annotated[
    Path | None, typer.Option("--map", metavar="FILE", help="Say in TOML which of its columns is which field.")
]
