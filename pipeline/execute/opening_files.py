"""Files of accounts to open: CSV, converted by checking, each fault with its line. One fault, and nothing is opened.

A file whose last line has no end, where the others have one, may be cut off in the middle of a number, and is refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from pipeline.domain.money import CURRENCIES
from pipeline.domain.refusals import WORDS_FOR_NOTHING, is_identifier, reads_as_float
from pipeline.execute.references import Opening
from pipeline.terminal.failures import Failure

COLUMNS: Final = ("account_id", "currency", "overdraft_limit_minor", "opening_balance_minor")
OVERDRAFT_MAX_MINOR: Final = 100_000_000
"""The most that an account may be overdrawn, which the database holds, too: 1,000,000.00 with two decimals."""
FUNDED_MAX_MINOR: Final = 10**15
"""The most that may come into one account from outside, which the database holds, too."""
ROWS_MAX: Final = 2_000_000
"""Accounts of one file, which are opened in one transaction; they take some 500 MB."""
FAULTS_MAX: Final = 100
LINE_CHARACTERS_MAX: Final = 1_000
"""The longest sound line has 120. A file of anything else is refused at such a line, and never read as a whole."""
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_MINOR: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class LineFault(NamedTuple):
    line: int
    what: str  # a sentence that quotes no amount


class ReadOpenings(NamedTuple):
    openings: list[Opening]  # in the file's order
    faults: list[LineFault]  # at most FAULTS_MAX
    has_more: bool  # reading ended at the last of them


def read_openings(path: Path) -> ReadOpenings:
    """Raises Failure where the file is no CSV of accounts at all."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(_whole(path, file), strict=True)
            header = tuple(next(rows, ()))
            if header != COLUMNS:
                raise Failure(f"{path} has other columns.", f"Its first line must be {','.join(COLUMNS)}.")
            found = _read(path, _numbered(rows))
            if not (found.openings or found.faults):
                raise Failure(f"{path} has no account behind its first line.", "Is that the whole file?")
            return found
    except OSError as error:
        raise Failure(f"{path} can't be read.", "Is it there, and may you read it?") from error
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not UTF-8.", "Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise Failure(f"{path} is no CSV: {error}.", "Look at its quotes.") from error


def opening_fault(account_id: str, currency: str, overdraft_minor: str, balance_minor: str) -> str | None:
    """Why the texts are no account to open, in a sentence; None where they are one."""
    if not is_identifier(account_id):
        return "The account_id is not 1 to 64 of A-Z a-z 0-9 . _ : -."
    if not _CURRENCY.fullmatch(currency):
        return "The currency is no code of three capitals."
    if currency not in CURRENCIES:
        return f"The currency {currency} is none that ISO 4217 gives a number of decimals."
    if not _MINOR.fullmatch(overdraft_minor) or int(overdraft_minor) > OVERDRAFT_MAX_MINOR:
        return f"The overdraft_limit_minor is no whole number from 0 to {OVERDRAFT_MAX_MINOR:,}."
    if not _MINOR.fullmatch(balance_minor) or int(balance_minor) > FUNDED_MAX_MINOR:
        return f"The opening_balance_minor is no whole number from 0 to {FUNDED_MAX_MINOR:,}."
    return None


def _whole(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file; raises Failure at one that is too long, and behind the last where the file is cut off."""
    number, line = 0, ""
    while part := file.readline(LINE_CHARACTERS_MAX + 1):
        number, line = number + 1, part
        if len(line) > LINE_CHARACTERS_MAX:
            what = f"{path} is no CSV of accounts: its line {number} has more than {LINE_CHARACTERS_MAX:,} characters."
            raise Failure(what, "Save it as CSV, an account a line.")
        yield line
    if number > 1 and not line.endswith(("\n", "\r")):
        what = f"{path} is cut off: its last line, {number}, has no end, and the others have one."
        raise Failure(what, "Get the whole file; if it is whole, end its last line.")


def _numbered(rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line that it ends in; the csv module counts, since a quoted text may hold line ends."""
    for row in rows:
        if row:
            yield rows.line_num, row  # type: ignore[attr-defined]


def _read(path: Path, rows: Iterator[tuple[int, list[str]]]) -> ReadOpenings:
    openings, faults, lines = list[Opening](), list[LineFault](), dict[tuple[str, str], int]()
    for line, row in rows:
        if len(faults) == FAULTS_MAX:
            return ReadOpenings(openings, faults, True)
        if len(openings) == ROWS_MAX:
            raise Failure(f"{path} has more than {ROWS_MAX:,} accounts.", "Cut it.")
        fault = _row_fault(row)
        if fault is None:
            opening = Opening(row[0], row[1], int(row[2]), int(row[3]))
            first = lines.setdefault(opening[:2], line)
            fault = None if first == line else f"The account stands in line {first} already, in the same currency."
            openings.append(opening)
        if fault is not None:
            faults.append(LineFault(line, fault))
    return ReadOpenings(openings, faults, False)


def _row_fault(row: list[str]) -> str | None:
    if len(row) != len(COLUMNS):
        return f"The line has {len(row)} fields, and not {len(COLUMNS)}."
    return opening_fault(*row) or _name_fault(row[0])


def _name_fault(account_id: str) -> str | None:
    """Why a file's account may be none, though its id is sound: programs write such where they lose one."""
    if account_id.lower() in WORDS_FOR_NOTHING or not any(map(str.isalnum, account_id)):
        what = "stands for a missing value in many files"
    elif reads_as_float(account_id):
        what = "looks like a floating-point number"
    else:
        return None
    return f"The account_id {what}: write it as it was, or open the account alone with `fraud ledger open`."
