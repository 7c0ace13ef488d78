"""`fraud explain`. It imports what it needs when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Account, Json, Page, PaymentId
from pipeline.terminal.output import Output

Customer = Annotated[bool, typer.Option("--customer", help="Print what the customer may be told, and nothing else.")]


def explain(
    wanted: PaymentId, account: Account = None, customer: Customer = False, html: Page = None, as_json: Json = False
) -> None:
    """Tell the whole life of a payment. What was decided and why, what happened since, and where the money is."""
    from pipeline.explain.page import write_page
    from pipeline.explain.text_page import show_whole
    from pipeline.explain.whole_command import whole
    from pipeline.replay.regimes import Missing

    settings, output = settings_from_environment(), Output(as_json=as_json)
    told = whole(settings, wire_format(settings), wanted, account)
    if customer:
        if isinstance(told.customer, Missing):
            why = told.customer.why
            raise Failure(f"{why[0].upper()}{why[1:]}.", "`fraud explain ID` says what is known of it.")
        output.record({"customer": told.customer}, told.customer)
        return
    if html is not None:
        write_page(html, told)
    if html is None or as_json:
        show_whole(output, told)
    else:
        for sentence in told.sentences:
            output.line(sentence)
