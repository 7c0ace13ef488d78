"""`fraud payments`. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import ClockStamps, Json, PaymentsMap, Rate
from pipeline.terminal.output import Output, progress

if TYPE_CHECKING:
    from pipeline.io.settings import Settings
    from pipeline.publish.payment_source import PaymentSource

payments_app = typer.Typer()


@payments_app.command("publish")
def publish(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="CSV, JSON lines, parquet, Arrow, pain.001 or pacs.008; in order of payment."
        ),
    ],
    map_path: PaymentsMap = None,
    accounts_path: Annotated[
        Path | None,
        typer.Option(
            "--accounts", metavar="FILE", help="Name the CSV of what pain.001 and pacs.008 don't say of payers."
        ),
    ] = None,
    is_check: Annotated[bool, typer.Option("--check", help="List what is wrong with it, and publish nothing.")] = False,
    rate: Rate = None,
    payments: Annotated[
        int | None, typer.Option("--payments", min=0, metavar="N", help="Refuse it unless it holds so many payments.")
    ] = None,
    sums: Annotated[
        list[str] | None,
        typer.Option("--sum", metavar="EUR=AMOUNT", help="Refuse it unless its payments come to it, by currency."),
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Publish its frauds as labels, too.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Publish at most this many payments.")] = None,
    now: ClockStamps = False,
    as_json: Json = False,
) -> None:
    """Check a file of payments whole, then publish it."""
    from pipeline.publish.file_command import (
        check_file,
        failures_named,
        require_sound,
        require_topics,
        show_checked,
        show_left_out,
    )
    from pipeline.publish.iso20022.account_files import read_accounts
    from pipeline.publish.payment_files import open_payments, read_map

    output = Output(as_json=as_json)
    with failures_named():
        accounts = None if accounts_path is None else read_accounts(accounts_path)
        source = open_payments(
            path,
            with_labels=labels,
            rules=read_map(map_path),
            accounts=accounts,
            payments=payments,
            sums=sums or (),
        )
    settings = settings_from_environment()
    if not is_check:
        require_topics(settings, with_labels=labels)
    with progress("checking", limit or source.count) as advance:
        checked = check_file(source, None if source.is_whole else limit, advance)
    show_left_out(output, source)
    if is_check:
        raise typer.Exit(show_checked(output, source, checked))
    require_sound(source, checked)
    _publish(output, settings, source, rate=rate, with_labels=labels, is_now=now, limit=limit)


def _publish(
    output: Output,
    settings: Settings,
    source: PaymentSource,
    *,
    rate: float | None,
    with_labels: bool,
    is_now: bool,
    limit: int | None,
) -> None:
    from pipeline.publish.file_command import advice, publish_payments, show_published

    wire = wire_format(settings)
    with progress("publishing", limit or source.count) as advance:
        published = publish_payments(
            settings, wire, source, rate=rate, with_labels=with_labels, is_now=is_now, limit=limit, advance=advance
        )
    if not is_now and (sentence := advice(published)):
        output.note(sentence)
    show_published(output, source.name, published)
