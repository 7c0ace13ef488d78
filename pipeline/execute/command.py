"""`fraud executor run` and `fraud ledger`. Each command imports what it needs when it is called."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json, utc_time
from pipeline.terminal.output import Output

executor_app = typer.Typer()
ledger_app = typer.Typer()

AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]
Currency = Annotated[str, typer.Argument(metavar="CURRENCY", help="An ISO 4217 code, such as GBP.")]


@executor_app.command("run")
def run() -> None:
    """Run the execution service until SIGTERM. FRAUD_* variables configure it."""
    from pipeline.execute.service_command import run_executor

    settings = settings_from_environment("executor")
    run_executor(settings, wire_format(settings))


@executor_app.command("restore")
def restore(
    reason: Annotated[str, typer.Option("--reason", help="Say why the database was put back.")],
    since: Annotated[
        datetime | None,
        typer.Option(parser=utc_time, metavar="TIME", help="Ask also about payments that were decided since."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Reconcile a ledger that was put back with the rail.

    Run it after PostgreSQL was restored from a backup. The rail is asked first, and nothing is paid twice. Until it
    was run, executors pay nothing from such a ledger. Exit 1 where the rail has done what no record leads to.
    """
    from pipeline.execute.restoring.restore_command import restore as restored

    settings = settings_from_environment("executor")
    is_whole = restored(settings, wire_format(settings), reason, since, Output(as_json=as_json))
    raise typer.Exit(0 if is_whole else 1)


@ledger_app.command("open")
def open_account(
    account_id: AccountId,
    currency: Currency,
    overdraft: Annotated[int, typer.Option(min=0, help="How far below zero it may go, in minor units.")] = 0,
    balance: Annotated[int, typer.Option(min=0, help="What it has to begin with, in minor units.")] = 0,
    as_json: Json = False,
) -> None:
    """Open an account, so that it can pay. Again with the same terms does nothing; exit 1 where it has others."""
    from pipeline.execute.opening_command import open_one

    open_one(
        settings_from_environment("bookkeeper"), (account_id, currency, overdraft, balance), Output(as_json=as_json)
    )


@ledger_app.command("import")
def import_accounts(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV: account_id, currency, overdraft_limit_minor, opening_balance_minor.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Open the accounts of a file. Exit 1, and nothing is opened, where a line of it is wrong, stands there twice, or
    contradicts an account that is open.
    """
    from pipeline.execute.opening_command import open_all

    raise typer.Exit(open_all(settings_from_environment("bookkeeper"), path, Output(as_json=as_json)))


@ledger_app.command("fund")
def fund_account(
    account_id: AccountId,
    currency: Currency,
    amount_minor: Annotated[
        int,
        typer.Argument(metavar="AMOUNT", min=1, help="In the currency's minor units: 250000 of GBP is 2,500 pounds."),
    ],
    reference: Annotated[str, typer.Option(help="Where the money comes from. One reference stands for one funding.")],
    as_json: Json = False,
) -> None:
    """Move money into an open account from outside. Exit 1 where the reference stands for something else."""
    from pipeline.execute.opening_command import fund_one

    asked = account_id, currency, amount_minor
    fund_one(settings_from_environment("bookkeeper"), asked, reference, Output(as_json=as_json))


@ledger_app.command("balance")
def show_balances(
    account_id: AccountId,
    as_of: Annotated[
        datetime | None, typer.Option(parser=utc_time, metavar="TIME", help="Count what had happened by then.")
    ] = None,
    recorded_as_of: Annotated[
        datetime | None, typer.Option(parser=utc_time, metavar="TIME", help="Count what was known then.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what an account has, or had. ACCOUNT/held is what is set aside of it, /clearing what is on its way."""
    from pipeline.execute.ledger_admin_store import balances, show_balance

    output = Output(as_json=as_json)
    found = balances(settings_from_environment(), account_id, as_of, recorded_as_of)
    for balance in found:
        show_balance(output, account_id, balance)
    if not found:
        output.note("No postings by then.")


@ledger_app.command("check")
def check_books(as_json: Json = False) -> None:
    """Check that the books are whole. Every currency sums to zero, no account is overdrawn, and all money is where its
    state says. Exit 1 otherwise.
    """
    from pipeline.execute.ledger_admin_store import check, show_check

    raise typer.Exit(0 if show_check(Output(as_json=as_json), *check(settings_from_environment())) else 1)
