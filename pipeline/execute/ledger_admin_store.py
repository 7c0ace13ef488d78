"""`fraud ledger`: accounts and their money, what anyone had at any time, and whether the books are whole."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.domain.identities import funding_id
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, connect, failures_named, statements
from pipeline.io.settings import Settings
from pipeline.ruling.proved_store import ProvedRulings
from pipeline.terminal.failures import FAILED_CHECK, Failure, database_away
from pipeline.terminal.output import Output

SHOWN_MAX: Final = 20
ROWS_A_STATEMENT: Final = 5_000
OVERDRAFT_MAX_MINOR: Final = 100_000_000
"""The most that an account may be overdrawn, which the database holds, too: 1,000,000.00 with two decimals."""
FUNDED_MAX_MINOR: Final = 10**15
"""The most that may come into one account from outside, which the database holds, too."""
_COLUMNS: Final = ("account_id", "currency", "overdraft_limit_minor", "opening_balance_minor")


class Opening(NamedTuple):
    account_id: str
    currency: str
    overdraft_limit_minor: int
    opening_balance_minor: int


class Balance(NamedTuple):
    currency: str
    balance_minor: int
    postings: int


class Finding(NamedTuple):
    """Something that a whole ledger does not have."""

    code: str
    detail: str


def open_accounts(settings: Settings, openings: Sequence[Opening]) -> int:
    """Return how many accounts were opened; one that is open stays as it is, and is not funded again."""
    if any(each.overdraft_limit_minor > OVERDRAFT_MAX_MINOR for each in openings):
        raise Failure(
            f"No account may be overdrawn by more than {OVERDRAFT_MAX_MINOR:,} minor units.", "Lower the overdraft."
        )
    with _connected(settings) as connection:
        return append_openings(connection, openings, server_now_ms(connection))


def append_openings(connection: Connection, openings: Sequence[Opening], at_ms: int) -> int:
    """Return how many accounts are new. An opening balance comes from outside, under an id that follows from the
    account."""
    ledger, opened = statements("pipeline.execute", "ledger"), 0
    for start in range(0, len(openings), ROWS_A_STATEMENT):
        part = openings[start : start + ROWS_A_STATEMENT]
        with connection.transaction():
            columns = [list(column) for column in zip(*part, strict=True)]
            opened += connection.execute(ledger["open_account"], [*columns[:3], [at_ms] * len(part)]).rowcount
            _fund(connection, [(f"opening {each[0]} {each[1]}", *each[:2], each[3]) for each in part], at_ms)
    return opened


def fund(settings: Settings, account_id: str, currency: str, amount_minor: int, reference: str) -> bool:
    """False where the same reference was posted before."""
    with _connected(settings) as connection:
        at_ms = server_now_ms(connection)
        return _fund(connection, [(f"funding {reference}", account_id, currency, amount_minor)], at_ms) == 1


def read_openings(path: Path) -> list[Opening]:
    """A CSV file with the columns of _COLUMNS."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != _COLUMNS:
                raise Failure(f"{path} has other columns.", f"Its first line must be {','.join(_COLUMNS)}.")
            return [
                Opening(row[_COLUMNS[0]], row[_COLUMNS[1]], int(row[_COLUMNS[2]]), int(row[_COLUMNS[3]]))
                for row in rows
            ]
    except (OSError, ValueError) as error:
        raise Failure(f"{path} can't be read as accounts.", "Amounts are whole minor units.") from error


def balances(
    settings: Settings, account_id: str, as_of: datetime | None, recorded_as_of: datetime | None
) -> list[Balance]:
    """The balance in each currency that the account has postings in; empty where it has none."""
    with _connected(settings) as connection:
        rows = connection.execute(
            statements("pipeline.execute", "ledger")["balance"], [account_id, as_of, recorded_as_of]
        ).fetchall()
        return [Balance(currency, int(balance_minor), postings) for currency, balance_minor, postings in rows]


def check(settings: Settings) -> tuple[list[Finding], list[tuple[str, str, int, int]]]:
    """The faults found, at most SHOWN_MAX of each kind, and how many executions stand in each state."""
    with _connected(settings) as connection, connection.transaction():
        connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        rows = connection.execute(statements("pipeline.execute", "ledger")["states"]).fetchall()
        return findings(connection), [(state, currency, count, int(minor)) for state, currency, count, minor in rows]


def findings(connection: Connection) -> list[Finding]:
    """The faults found, at most SHOWN_MAX of each kind, as a role that may read everything."""
    ledger = statements("pipeline.execute", "ledger")
    found = []
    for currency, sum_minor, _ in connection.execute(ledger["sums"]).fetchall():
        if sum_minor:
            found.append(Finding("SUM_NOT_ZERO", f"{currency} sums to {sum_minor}"))
    for account_id, currency, balance_minor, limit_minor in connection.execute(
        ledger["overdrawn"], [SHOWN_MAX]
    ).fetchall():
        found.append(Finding("OVERDRAWN", f"{account_id} has {balance_minor} {currency}, its limit is -{limit_minor}"))
    for account_id, currency, number in connection.execute(ledger["wrong_checkpoints"], [SHOWN_MAX]).fetchall():
        found.append(Finding("CHECKPOINT_WRONG", f"{account_id} in {currency} through {number}"))
    for execution_id, sequence in ProvedRulings().unproved_steps(connection)[:SHOWN_MAX]:
        what = f"nobody proves that two people ruled step {sequence} of {execution_id}"
        found.append(Finding("RULED_OTHERWISE", what))
    return found + [
        Finding(code or str(row[1]), detail.format(*row))
        for statement, code, detail in _FAULTS
        for row in connection.execute(ledger[statement], [SHOWN_MAX]).fetchall()
    ]


_FAULTS: Final = (
    ("execution_faults", None, "{0}"),
    ("posting_faults", "POSTED_OTHERWISE", "posting {0} of {1}"),
    ("cause_faults", "CAUSE_UNFOUNDED", "{0} about {1}"),
    ("stale_holds", "STALE_HOLD", "{0} is held since {1:%Y-%m-%dT%H:%M:%SZ}, and no case can free it"),
    ("ruling_faults", "RULED_OTHERWISE", "step {1} of {0} is none that two people have ruled"),
    ("untold_recoveries", "RECOVERY_UNTOLD", "step {1} of {0} left money out, and no case tells of it"),
)
"""Statements, the code of what they find (None: the row says), and how it is told."""


def show_balance(output: Output, account_id: str, balance: Balance) -> None:
    line = f"{account_id}  {balance.balance_minor:,} minor units of {balance.currency}, {balance.postings:,} postings"
    output.record({"account_id": account_id, **balance._asdict()}, line)


def show_check(output: Output, found: Sequence[Finding], states: Sequence[tuple[str, str, int, int]]) -> bool:
    """True where the books are whole."""
    for state, currency, count, amount_minor in states:
        fields = {"state": state, "currency": currency, "executions": count, "amount_minor": amount_minor}
        output.record(fields, f"{state:<16} {currency} {count:>10,} executions")
    for finding in found:
        output.record(finding._asdict(), f"{finding.code}: {finding.detail}")
    if not found:
        output.note(
            "The books are whole: every currency sums to zero, and all money went as decided, to where it is said."
        )
    return not found


def _fund(connection: Connection, funded: Sequence[tuple[str, str, str, int]], at_ms: int) -> int:
    """(what for, account, currency, amount) each; nothing is posted for an amount of zero, or for the same again."""
    rows = [(funding_id(what), *money) for what, *money in funded if money[2]]
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], [], []]
    return connection.execute(statements("pipeline.execute", "ledger")["fund_account"], [at_ms, *columns]).rowcount


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    try:
        with connect(settings.database_url, "fraud-ledger") as connection, failures_named():
            yield connection
    except DatabaseUnavailable as error:
        raise database_away(settings.database_url) from error
    except DatabaseRefused as refusal:
        raise Failure(f"{refusal}.", "Was `fraud database migrate` run, and may this role?", FAILED_CHECK) from refusal
