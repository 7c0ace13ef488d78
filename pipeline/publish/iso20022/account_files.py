"""The file of accounts that goes with messages: when each was opened, and its time zone, which no message says."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from pipeline.domain.refusals import is_identifier
from pipeline.publish.demands import demand
from pipeline.publish.file_map import FileMap
from pipeline.publish.iso20022.mapping import Account
from pipeline.publish.payment_source import Unreadable, Wrong

COLUMNS: Final = ("account_id", "account_opened", "account_time_zone")
ACCOUNTS_MAX: Final = 2_000_000
"""They are held in memory, in some 600 MB."""
LINE_CHARACTERS_MAX: Final = 1_000
"""The longest sound line has 120. A file of anything else is refused at such a line, and never read as a whole."""
_FIX: Final = (
    f"Its first line must be {','.join(COLUMNS)}, and each other an account, as GB29…,2015-01-01,Europe/London."
)


def read_accounts(path: Path) -> dict[str, Account]:
    """Raises Unreadable with the first line that is wrong. An account stands there once."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(_whole(path, file), strict=True)
            if tuple(next(rows, ())) != COLUMNS:
                raise Unreadable(f"{path.name} has other columns.", _FIX)
            accounts: dict[str, Account] = {}
            for row in rows:
                if row:
                    _take(row, accounts, f"Line {rows.line_num} of {path.name}")
            return accounts
    except OSError as error:
        raise Unreadable(f"{path} can't be read.", "Is it there, and may you read it?") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path.name} is not UTF-8.", "Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise Unreadable(f"{path.name} is no CSV: {error}.", "Look at its quotes.") from error


def _whole(path: Path, file: TextIO) -> Iterator[str]:
    """Yield the lines. Raises Unreadable at one that is too long, and behind the last where the file is cut off, which
    makes another zone of Etc/GMT+12."""
    number, line = 0, ""
    while part := file.readline(LINE_CHARACTERS_MAX + 1):
        number, line = number + 1, part
        if len(line) > LINE_CHARACTERS_MAX:
            raise Unreadable(f"Line {number} of {path.name} has more than {LINE_CHARACTERS_MAX:,} characters.", _FIX)
        yield line
    if line and not line.endswith(("\n", "\r")):
        what = f"{path.name} is cut off: its last line, {number}, has no end."
        raise Unreadable(what, "Get the whole file; if it is whole, end its last line.")


def _take(row: list[str], accounts: dict[str, Account], where: str) -> None:
    if len(row) != len(COLUMNS):
        raise Unreadable(f"{where} has {len(row)} fields.", _FIX)
    account_id, opened, zone = row
    if not is_identifier(account_id):
        raise Unreadable(f"{where}: 'account_id' is not 1 to 64 of A-Z a-z 0-9 . _ : -.", _FIX)
    if account_id in accounts:
        raise Unreadable(f"{where} has an account that stands there already.", "Leave one of them.")
    if len(accounts) == ACCOUNTS_MAX:
        raise Unreadable(f"{where} is the account after {ACCOUNTS_MAX:,}.", "Cut the file, and the messages.")
    try:
        accounts[account_id] = Account(_DAY(opened), str(_ZONE(zone)))  # type: ignore[arg-type]
    except Wrong as wrong:
        raise Unreadable(f"{where}: the opening date or the time zone {wrong}.", _FIX) from wrong


_DAY: Final = demand("account_opened", FileMap())
_ZONE: Final = demand("account_time_zone", FileMap())
