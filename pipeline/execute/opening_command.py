"""`fraud ledger open`, `import` and `fund`: what they do, and how they answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipeline.domain.free_text import shown
from pipeline.domain.money import count_text
from pipeline.domain.times import utc_text
from pipeline.execute.ledger_admin_store import fund, open_accounts
from pipeline.execute.opening_files import opening_fault, read_openings
from pipeline.execute.references import (
    REFERENCE_CHARACTERS_MAX,
    Funding,
    LedgerConflict,
    Opening,
    canonical_reference,
)
from pipeline.io.settings import Settings
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output

_NOTHING: Final = "Nothing was done."


def open_one(settings: Settings, terms: tuple[str, str, int, int], output: Output) -> None:
    """Raises Failure."""
    if (fault := opening_fault(*map(str, terms))) is not None:
        raise Failure(fault, _NOTHING)
    opening = Opening(*terms)
    with _conflicts_named():
        opened = open_accounts(settings, [opening])
    fields = {"account_id": opening.account_id, "currency": opening.currency, "is_new": bool(opened)}
    name = f"{opening.account_id} in {opening.currency}"
    line = f"Opened {name} with {opening.terms}." if opened else f"{name} is open already, with just these terms."
    output.record(fields, line)


def open_all(settings: Settings, path: Path, output: Output) -> int:
    """Open a file's accounts, or show why none is opened. Returns the exit code. Raises Failure."""
    found = read_openings(path)
    if found.faults:
        for fault in found.faults:
            output.record({"file": path.name, **fault._asdict()}, f"Line {fault.line}: {fault.what}")
        more = "at least " if found.has_more else ""
        output.note(f"Nothing was opened: {path.name} has {more}{count_text(len(found.faults), 'line')} to correct.")
        return FAILED_CHECK
    with _conflicts_named():
        opened = open_accounts(settings, found.openings)
    total = len(found.openings)
    accounts = count_text(total, "account")
    line = f"{opened:,} of {accounts} opened; open with just these terms before: {total - opened:,}."
    output.record({"accounts": total, "opened": opened}, line if opened < total else f"{accounts} opened.")
    return 0


def fund_one(settings: Settings, asked: tuple[str, str, int], reference: str, output: Output) -> None:
    """Raises Failure."""
    account_id, currency, amount_minor = asked
    if (fault := opening_fault(account_id, currency, "0", str(amount_minor))) is not None:
        raise Failure(fault.replace("opening_balance_minor", "amount"), _NOTHING)
    key = canonical_reference(reference)
    if key is None:
        what = (
            f"A reference is 1 to {REFERENCE_CHARACTERS_MAX} characters that everybody sees, with a letter or a digit: "
            "letters of one script, digits, blanks and the punctuation of ASCII."
        )
        raise Failure(what, "Type it anew instead of copying it.")
    funding = Funding("FUNDING", key, account_id, currency, amount_minor)
    with _conflicts_named():
        posted = fund(settings, funding)
    fields = {"account_id": account_id, "currency": currency, "amount_minor": amount_minor, "reference": reference}
    since = utc_text(posted.recorded_at_ms)
    new, again = f"Posted {funding.covered}", f"Nothing was done: {funding.covered} was posted at {since}"
    line = f"{new if posted.is_new else again} under the reference '{shown(reference)}'."
    output.record({**fields, "is_new": posted.is_new}, line)


@contextmanager
def _conflicts_named() -> Iterator[None]:
    try:
        yield
    except LedgerConflict as conflict:
        what, done = " ".join(conflict.sentences), "Nothing was done"
        if conflict.opened:  # somebody opened it otherwise while the file was being opened
            done = f"Only {count_text(conflict.opened, 'account')}, the first by id, came to be opened"
        raise Failure(what, f"{done}: correct it, or ask who did it first.", FAILED_CHECK) from conflict
