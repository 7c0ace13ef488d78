"""`fraud reconcile statement` and `fraud reconcile findings`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.money import count_text, minor_digits
from pipeline.io.addresses import shown_address
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable, connect, failures_named
from pipeline.io.settings import Settings
from pipeline.reconcile.statement.comparing import Found
from pipeline.reconcile.statement.entries import StatementUnusable
from pipeline.reconcile.statement.statement_service import StatementIntake, Taken
from pipeline.reconcile.statement.statement_store import OpenFinding, Stated, Statements
from pipeline.reconcile.statement.statement_watch_service import unstated
from pipeline.reconcile.statement.vouch_command import show_unvouched
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output, coloured

GROUP: Final = "fraud-reconcile-statement"
SHOWN_MAX: Final = 1_000


def take_in(settings: Settings, wire: WireFormat, path: Path, output: Output) -> bool:
    """True where nothing of the statements differs."""
    publisher = AlertPublisher(Appender.of(settings, GROUP).append, wire, settings.topic("alerts.v1"))
    try:
        with closing(connect(settings.database_url, GROUP)) as connection:
            taken = StatementIntake(connection, settings.rail_account, publisher).take(path)
    except StatementUnusable as error:
        raise Failure(f"{path} was not taken in: {error}.", "Ask the rail for the right one.", FAILED_CHECK) from error
    except (DatabaseUnavailable, DatabaseRefused) as error:
        raise _database(settings, error) from error
    except OSError as error:
        raise Failure(f"{path} can't be read: {error.strerror or error}.", "Name another file.") from error
    for each in taken:
        show_taken(output, each)
    return not any(each.opened for each in taken)


def list_findings(settings: Settings, output: Output) -> bool:
    """True where nothing differs but what people have accounted for, shown as that, and no statement is missing, nor
    any there that no two people vouch for.

    Up to when was compared is shown, too: nothing differs where nothing was compared.
    """
    try:
        with closing(connect(settings.database_url, GROUP)) as connection, failures_named():
            statements = Statements(connection)
            found, compared = statements.all_open(SHOWN_MAX), statements.stated()
            with connection.transaction():
                statements.begin()
                unvouched = statements.unvouched(is_whole=True)
            known = {(each.currency, each.found.key) for each in found}
            found += [
                OpenFinding(settings.rail_account, currency, missing, statements.now())
                for currency, missing in unstated(connection, settings.rail_account)
                if (currency, missing.key) not in known
            ]
    except (DatabaseUnavailable, DatabaseRefused) as error:
        raise _database(settings, error) from error
    for each in found:
        show_open(output, each)
    output.end_list("differences from the rail's statements")
    for each_taken in unvouched[:SHOWN_MAX]:
        show_unvouched(output, each_taken)
    for last in compared:
        show_compared(output, last)
    if not compared:
        output.note("No statement of the rail was ever taken in, so nothing was compared.")
    return not unvouched and all(each.explained is not None for each in found)


def show_taken(output: Output, taken: Taken) -> None:
    head = taken.head
    for found in taken.opened:
        output.record({"opened": _fields(found)}, _line("DIFFERS", "red", head.currency, found))
    for found in taken.closed:
        output.record({"closed": _fields(found)}, _line("HEALED", "green", head.currency, found))
    fields = {
        "account": head.account_id,
        "currency": head.currency,
        "sequence": head.sequence,
        "from": head.from_at.isoformat(),
        "to": head.to_at.isoformat(),
        "entries": taken.entries,
        "opened": len(taken.opened),
        "closed": len(taken.closed),
    }
    line = (
        f"Statement {head.sequence} in {head.currency} to {head.to_at.isoformat()}: "
        f"{count_text(taken.entries, 'entry')}, {len(taken.opened):,} differences, {len(taken.closed):,} healed."
    )
    output.record(fields, line)


def show_open(output: Output, each: OpenFinding) -> None:
    fields = {"account": each.account_id, "currency": each.currency, "at": each.at.isoformat(), **_fields(each.found)}
    if each.explained is None:
        output.record(fields, _line("DIFFERS", "red", each.currency, each.found))
        return
    ruling, proposed_by, confirmed_by, _ = each.explained
    by = f"{proposed_by} and {confirmed_by} by ruling {ruling.ruling_id}: {ruling.reason}"
    explained = {
        "ruling_id": ruling.ruling_id,
        "proposed_by": proposed_by,
        "confirmed_by": confirmed_by,
        "reason": ruling.reason,
        "evidence": ruling.evidence,
    }
    line = _line("EXPLAINED", "green", each.currency, each.found)
    output.record({**fields, "explained": explained}, f"{line}, by {by}")


def show_compared(output: Output, last: Stated) -> None:
    line = f"Compared in {last.currency} until {last.until.isoformat()}, by statement {last.sequence}"
    output.record({"compared": {**last._asdict(), "until": last.until.isoformat()}}, f"{line} of {last.account_id}.")


def _fields(found: Found) -> dict[str, object]:
    return {**found._asdict(), "kind": found.kind.value}


def _line(word: str, colour: str, currency: str, found: Found) -> str:
    sides = f"rail {_amount(found.rail_minor, currency)}, ledger {_amount(found.ledger_minor, currency)}"
    about = found.execution_id or "no execution"
    return f"{coloured(word, colour, is_bold=True)} {found.kind:<15} {found.key}, {about}: {sides} ({found.detail})"


def _amount(minor: int | None, currency: str) -> str:
    if minor is None:
        return "nothing"
    digits = minor_digits(currency)
    whole, part = divmod(abs(minor), 10**digits)
    return f"{'-' if minor < 0 else ''}{whole}" + (f".{part:0{digits}d}" if digits else "") + f" {currency}"


def _database(settings: Settings, error: Exception) -> Failure:
    what = f"The database at {shown_address(settings.database_url)} can't be used: {error}."
    return Failure(what, "Is it up and migrated, and are you fraud_reconcile?")
