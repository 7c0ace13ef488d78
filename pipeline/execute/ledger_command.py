"""What `fraud ledger` offers. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ledger_app = typer.Typer(
    help="Accounts, their money at any time, and whether the books are whole.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT")]
Currency = Annotated[str, typer.Argument(help="ISO 4217, such as GBP.")]


@ledger_app.command("open")
def ledger_open(
    account_id: AccountId,
    currency: Currency,
    overdraft: Annotated[int, typer.Option(min=0, help="In minor units: how far below zero it may go.")] = 0,
    balance: Annotated[int, typer.Option(min=0, help="In minor units: what it has to begin with.")] = 0,
) -> None:
    """Open an account, so that it can pay. One that is open stays as it is."""
    from pipeline.execute.ledger_admin_store import Opening, open_accounts
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    opened = open_accounts(settings_from_environment("bookkeeper"), [Opening(account_id, currency, overdraft, balance)])
    Output(as_json=False).note("Opened." if opened else "It is open already.")


@ledger_app.command("import")
def ledger_import(
    path: Annotated[Path, typer.Argument(help="CSV: account_id,currency,overdraft_limit_minor,opening_balance_minor.")],
) -> None:
    """Open the accounts of a file."""
    from pipeline.execute.ledger_admin_store import open_accounts, read_openings
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    openings = read_openings(path)
    opened = open_accounts(settings_from_environment("bookkeeper"), openings)
    Output(as_json=False).note(f"{opened:,} of {len(openings):,} accounts opened; the others were open.")


@ledger_app.command("fund")
def ledger_fund(
    account_id: AccountId,
    currency: Currency,
    amount_minor: Annotated[int, typer.Argument(min=1, help="In minor units.")],
    reference: Annotated[str, typer.Option(help="Where it comes from; the same reference is posted once.")],
) -> None:
    """Move money into an open account from outside."""
    from pipeline.execute.ledger_admin_store import fund
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    is_new = fund(settings_from_environment("bookkeeper"), account_id, currency, amount_minor, reference)
    Output(as_json=False).note("Posted." if is_new else "This reference was posted before; nothing was done.")


@ledger_app.command("balance")
def ledger_balance(
    account_id: AccountId,
    as_of: Annotated[str | None, typer.Option(help="By what had happened by this time.")] = None,
    recorded_as_of: Annotated[str | None, typer.Option(help="By what was known at this time.")] = None,
    as_json: Json = False,
) -> None:
    """What an account has, or had. ACCOUNT/held is what is set aside of it, /clearing what is on its way."""
    from pipeline.execute.ledger_admin_store import balances, show_balance, time_of
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    output = Output(as_json=as_json)
    found = balances(settings_from_environment(), account_id, time_of(as_of), time_of(recorded_as_of))
    for balance in found:
        show_balance(output, account_id, balance)
    if not found:
        output.note("No postings.")


@ledger_app.command("check")
def ledger_check(as_json: Json = False) -> None:
    """Whether every currency sums to zero, no account is overdrawn, and all money is where its state says."""
    from pipeline.execute.ledger_admin_store import check, show_check
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    raise typer.Exit(0 if show_check(Output(as_json=as_json), *check(settings_from_environment())) else 1)
