"""`fraud ledger`: accounts and their money, what anyone had at any time, and whether the books are whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, NamedTuple

from psycopg import IntegrityError

from pipeline.domain.money import count_text, money_text
from pipeline.execute.opening_files import FUNDED_MAX_MINOR, OVERDRAFT_MAX_MINOR
from pipeline.execute.references import Funding, LedgerConflict, Opening, funding_conflict, opening_conflict
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, connect, failures_named, statements
from pipeline.io.settings import Settings
from pipeline.ruling.proved_store import ProvedRulings
from pipeline.terminal.failures import FAILED_CHECK, Failure, database_away
from pipeline.terminal.output import Output

SHOWN_MAX: Final = 20
ROWS_A_STATEMENT: Final = 5_000


class Posted(NamedTuple):
    is_new: bool
    recorded_at_ms: int  # now, or when the same was posted before


class Balance(NamedTuple):
    currency: str
    balance_minor: int
    postings: int


class Finding(NamedTuple):
    """Something that a whole ledger does not have."""

    code: str
    detail: str


def open_accounts(settings: Settings, openings: Sequence[Opening]) -> int:
    """Return how many accounts were opened. Raises Failure, and LedgerConflict, before any is opened, where one is
    open with another overdraft or another balance to begin with."""
    if any(each.overdraft_limit_minor > OVERDRAFT_MAX_MINOR for each in openings):
        raise Failure(
            f"No account may be overdrawn by more than {OVERDRAFT_MAX_MINOR:,} minor units.", "Lower the overdraft."
        )
    with _connected(settings) as connection:
        return append_openings(connection, openings, server_now_ms(connection))


def append_openings(connection: Connection, openings: Sequence[Opening], at_ms: int) -> int:
    """Return how many accounts are new. An opening balance comes from outside, under an id that follows from the
    account. Raises LedgerConflict.

    All are compared with what is open before the first is opened. Then each transaction opens some, so that no executor
    waits for long, and a crash leaves whole accounts: the same file again opens the rest. Accounts are taken in the
    order of their names, so that two imports never wait for each other in a circle. Where another import opens an
    account otherwise meanwhile, that is a conflict, too, behind those that were opened.
    """
    ordered, opened = sorted(openings), 0
    parts = [ordered[start : start + ROWS_A_STATEMENT] for start in range(0, len(ordered), ROWS_A_STATEMENT)]
    for part in parts:
        _require_agreed(connection, part)
    for part in parts:
        try:
            with connection.transaction():
                opened += _open_part(connection, part, at_ms)
        except LedgerConflict as conflict:
            raise LedgerConflict(conflict.sentences, opened) from conflict
    return opened


def fund(settings: Settings, funding: Funding) -> Posted:
    """Raises Failure where the account isn't open, and LedgerConflict where the reference stands for something else."""
    if not 0 < funding.amount_minor <= FUNDED_MAX_MINOR:
        raise Failure(f"No more than {FUNDED_MAX_MINOR:,} minor units come in at once.", "Lower the amount.")
    with _connected(settings) as connection, connection.transaction():
        ledger, at_ms = statements("pipeline.execute", "ledger"), server_now_ms(connection)
        open_in = {row[0] for row in connection.execute(ledger["limits_of_account"], [funding.account_id]).fetchall()}
        if funding.currency not in open_in:
            what = f"{funding.account_id} is not open in {funding.currency}."
            raise Failure(what, "Open it first: `fraud ledger open`.", FAILED_CHECK)
        with _bound_named(funding):
            is_new = append_fundings(connection, [funding], at_ms) == 1
        return Posted(True, at_ms) if is_new else Posted(False, _posted_before(connection, funding))


def append_fundings(connection: Connection, fundings: Sequence[Funding], at_ms: int) -> int:
    """Return how many were posted. Nothing is for an amount of zero, nor for a reference that was posted before."""
    rows = [(each.funding_id, *each) for each in fundings if each.amount_minor]
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(6)]
    return connection.execute(statements("pipeline.execute", "ledger")["fund_account"], [at_ms, *columns]).rowcount


def balances(
    settings: Settings, account_id: str, as_of: datetime | None, recorded_as_of: datetime | None
) -> list[Balance]:
    """The balance in each currency that the account has postings in by then, or is open in now. Failure where it
    was never heard of."""
    ledger = statements("pipeline.execute", "ledger")
    with _connected(settings) as connection:
        rows = connection.execute(ledger["balance"], [account_id, as_of, recorded_as_of]).fetchall()
        found = {currency: Balance(currency, int(minor), postings) for currency, minor, postings in rows}
        opened = connection.execute(ledger["limits_of_account"], [account_id]).fetchall()
        if as_of is None and recorded_as_of is None:
            found = {currency: Balance(currency, 0, 0) for currency, _ in opened} | found
        if not (found or opened or connection.execute(ledger["balance"], [account_id, None, None]).fetchall()):
            what = f"The ledger has no account {account_id!r}, and nothing was ever posted to it."
            raise Failure(what, "Write the id as the payments have it.")
        return [found[currency] for currency in sorted(found)]


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
            found.append(Finding("SUM_NOT_ZERO", f"all accounts sum to {money_text(int(sum_minor), currency)}"))
    for account_id, currency, balance_minor, limit_minor in connection.execute(
        ledger["overdrawn"], [SHOWN_MAX]
    ).fetchall():
        has, least = money_text(int(balance_minor), currency), money_text(-int(limit_minor), currency)
        found.append(Finding("OVERDRAWN", f"{account_id} has {has}, and may have {least} at least"))
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
    has = money_text(balance.balance_minor, balance.currency)
    line = f"{account_id}  {has} in {balance.currency}, by {count_text(balance.postings, 'posting')}"
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


def _open_part(connection: Connection, openings: Sequence[Opening], at_ms: int) -> int:
    ledger = statements("pipeline.execute", "ledger")
    account_ids, currencies, limits_minor, _ = (list(column) for column in zip(*openings, strict=True))
    values = [account_ids, currencies, limits_minor, [at_ms] * len(openings)]
    new = set(connection.execute(ledger["open_account"], values).fetchall())
    append_fundings(connection, [each.funding for each in openings if each[:2] in new], at_ms)
    if len(new) < len(openings):
        _require_agreed(connection, openings)
    return len(new)


def _require_agreed(connection: Connection, openings: Sequence[Opening]) -> None:
    """Raises LedgerConflict where one of them is open, and was opened otherwise."""
    account_ids, currencies, *_ = (list(column) for column in zip(*openings, strict=True))
    wanted = [account_ids, currencies, [each.funding.funding_id for each in openings]]
    rows = connection.execute(statements("pipeline.execute", "ledger")["stored_openings"], wanted).fetchall()
    stored = {row[:2]: Opening(*row) for row in rows}
    found = [opening_conflict(each, stored.get(each[:2], each)) for each in openings]
    if conflicts := [each for each in found if each is not None]:
        more = len(conflicts) - SHOWN_MAX
        untold = [f"At least {more:,} more contradict what is open."] if more > 0 else []
        raise LedgerConflict(conflicts[:SHOWN_MAX] + untold)


def _posted_before(connection: Connection, funding: Funding) -> int:
    """When the same was posted. Raises LedgerConflict where the reference stands for something else."""
    rows = connection.execute(
        statements("pipeline.execute", "ledger")["stored_fundings"],
        [funding.funding_id, funding.kind, funding.reference],
    ).fetchall()
    assert rows, "nothing that was posted is ever deleted"
    for account_id, currency, amount_minor, _ in rows:
        stored = Funding(funding.kind, funding.reference, account_id, currency, amount_minor)
        if (conflict := funding_conflict(funding, stored)) is not None:
            raise LedgerConflict([conflict])
    return int(rows[0][3])


@contextmanager
def _bound_named(funding: Funding) -> Iterator[None]:
    """Raises Failure where the account would have had more from outside, in all, than the database lets come in."""
    try:
        yield
    except IntegrityError as error:
        if error.diag.constraint_name != "funding_is_bounded":
            raise
        most = money_text(FUNDED_MAX_MINOR, funding.currency)
        what = f"With {funding.covered}, more than {most} would have come into it from outside, all together."
        raise Failure(what, "Nothing was done: is the amount right?", FAILED_CHECK) from error


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    try:
        with connect(settings.database_url, "fraud-ledger") as connection, failures_named():
            yield connection
    except DatabaseUnavailable as error:
        raise database_away(settings.database_url) from error
    except DatabaseRefused as refusal:
        raise Failure(f"{refusal}.", "Was `fraud database migrate` run, and may this role?", FAILED_CHECK) from refusal
