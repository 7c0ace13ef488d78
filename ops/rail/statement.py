"""The rail's statements of our account with it, as camt.053 and as CSV, from its books."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple, Self
from xml.sax.saxutils import escape

from ops.rail.books import Books, Status
from pipeline.domain.money import minor_digits
from pipeline.reconcile.statement.csv_files import COLUMNS

ACCOUNT: Final = "FRAUD-SETTLEMENT"
FORMATS: Final = ("camt.053.001.08", "camt.053.001.02", "csv")


class Asked(NamedTuple):
    """One currency's bookings in [since, until), from an opening balance."""

    form: str
    currency: str
    sequence: int
    opening_minor: int
    since_ms: int
    until_ms: int
    account_id: str = ACCOUNT

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """Raises ValueError."""
        form = query.get("format", FORMATS[0])
        if form not in FORMATS:
            raise ValueError(f"a statement is written as {', '.join(FORMATS)}")
        sequence, opening, since, until = (int(query.get(name, default)) for name, default in _NUMBERS)
        return cls(form, query.get("currency", "GBP"), sequence, opening, since, until)

    @property
    def name(self) -> str:
        return f"STATEMENT-{self.currency}-{self.sequence:06d}"


_NUMBERS: Final = (("sequence", "1"), ("opening_minor", "0"), ("since_ms", "0"), ("until_ms", str(4_102_444_800_000)))


class Line(NamedTuple):
    """A booking. amount_minor: from the bank's side, so below zero is paid out."""

    booked_at_ms: int
    key: str
    transfer_key: str | None  # of a return: of the transfer that it takes back
    amount_minor: int
    debtor_account_id: str
    creditor_account_id: str


def statement(books: Books, asked: Asked) -> Iterator[bytes]:
    lines = sorted(
        line
        for line in _lines(books, asked.currency)
        if asked.since_ms <= line.booked_at_ms < asked.until_ms and line.amount_minor
    )
    return _csv(asked, lines) if asked.form == "csv" else _camt(asked, lines)


def _lines(books: Books, currency: str) -> Iterator[Line]:
    for entry in books.entries():
        transfer = entry.transfer
        if transfer.currency == currency and entry.status is not Status.REFUSED:
            parties = transfer.debtor_account_id, transfer.creditor_account_id
            yield Line(entry.booked_at_ms, transfer.key, None, -transfer.amount_minor, *parties)
    for recalled in books.recall_entries():
        recall = recalled.recall
        paid = books.entry(recall.transfer_key)
        if recalled.status is Status.RECALLED and paid is not None and paid.transfer.currency == currency:
            parties = paid.transfer.debtor_account_id, paid.transfer.creditor_account_id
            yield Line(recalled.booked_at_ms, recall.key, recall.transfer_key, recall.amount_minor, *parties)


def _closing_minor(asked: Asked, lines: Iterable[Line]) -> int:
    return asked.opening_minor + sum(line.amount_minor for line in lines)


def _csv(asked: Asked, lines: list[Line]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="")
    writer.writeheader()
    mine = {"account": asked.account_id, "currency": asked.currency}
    closing_minor = _closing_minor(asked, lines)
    writer.writerow(
        {
            **mine,
            "record": "STATEMENT",
            "sequence": asked.sequence,
            "statement": asked.name,
            "from": _time(asked.since_ms),
            "to": _time(asked.until_ms),
            "opening": decimal_text(asked.opening_minor, asked.currency),
            "closing": decimal_text(closing_minor, asked.currency),
            "entries": len(lines),
        }
    )
    for line in lines:
        writer.writerow(
            {
                **mine,
                "record": "ENTRY",
                "kind": "TRANSFER" if line.transfer_key is None else "RETURN",
                "key": line.key,
                "amount": decimal_text(line.amount_minor, asked.currency),
                "debtor": line.debtor_account_id,
                "creditor": line.creditor_account_id,
            }
        )
    yield text.getvalue().encode()


def _camt(asked: Asked, lines: list[Line]) -> Iterator[bytes]:
    """Keys stand without dashes, since an EndToEndId has at most 35 characters."""
    since, until = _time(asked.since_ms), _time(asked.until_ms)
    yield (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="urn:iso:std:iso:20022:tech:xsd:{asked.form}">'
        f"<BkToCstmrStmt><GrpHdr><MsgId>{asked.name}</MsgId><CreDtTm>{until}</CreDtTm></GrpHdr><Stmt>"
        f"<Id>{asked.name}</Id><ElctrncSeqNb>{asked.sequence}</ElctrncSeqNb><CreDtTm>{until}</CreDtTm>"
        f"<FrToDt><FrDtTm>{since}</FrDtTm><ToDtTm>{until}</ToDtTm></FrToDt>"
        f"<Acct>{_account(asked.account_id)}<Ccy>{asked.currency}</Ccy></Acct>"
    ).encode()
    for kind, minor, at in (
        ("OPBD", asked.opening_minor, since),
        ("CLBD", _closing_minor(asked, lines), until),
    ):
        yield (
            f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>{_amount(minor, asked.currency)}"
            f"<Dt><DtTm>{at}</DtTm></Dt></Bal>"
        ).encode()
    yield f"<TxsSummry><TtlNtries><NbOfNtries>{len(lines)}</NbOfNtries></TtlNtries></TxsSummry>".encode()
    for number, line in enumerate(lines, 1):
        yield _entry(number, line, asked).encode()
    yield b"</Stmt></BkToCstmrStmt></Document>\n"


def _entry(number: int, line: Line, asked: Asked) -> str:
    is_newer = asked.form == "camt.053.001.08"
    amount = _amount(line.amount_minor, asked.currency)
    references = f"<EndToEndId>{_short(line.transfer_key or line.key)}</EndToEndId>"
    returned = ""
    if line.transfer_key is not None:
        references += f"<TxId>{_short(line.key)}</TxId>"
        returned = "<RtrInf><Rsn><Cd>FOCR</Cd></Rsn></RtrInf>"
    plain = f'<Amt Ccy="{asked.currency}">{decimal_text(abs(line.amount_minor), asked.currency)}</Amt>'
    details = amount if is_newer else f"<AmtDtls><TxAmt>{plain}</TxAmt></AmtDtls>"
    family = "RCDT" if line.transfer_key is not None else "ICDT"
    return (
        f"<Ntry><NtryRef>{number}</NtryRef>{amount}<Sts>{'<Cd>BOOK</Cd>' if is_newer else 'BOOK'}</Sts>"
        f"<BookgDt><DtTm>{_time(line.booked_at_ms)}</DtTm></BookgDt>"
        f"<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>{family}</Cd><SubFmlyCd>DMCT</SubFmlyCd></Fmly></Domn></BkTxCd>"
        f"<NtryDtls><TxDtls><Refs>{references}</Refs>{details}<RltdPties>"
        f"<DbtrAcct>{_account(line.debtor_account_id)}</DbtrAcct><CdtrAcct>{_account(line.creditor_account_id)}"
        f"</CdtrAcct></RltdPties>{returned}</TxDtls></NtryDtls></Ntry>"
    )


def decimal_text(minor: int, currency: str) -> str:
    """The amount with as many decimals as its currency has."""
    digits = minor_digits(currency)
    return f"{Decimal(minor).scaleb(-digits):.{digits}f}"


def _amount(minor: int, currency: str) -> str:
    side = "DBIT" if minor < 0 else "CRDT"
    text = decimal_text(abs(minor), currency)
    return f'<Amt Ccy="{currency}">{text}</Amt><CdtDbtInd>{side}</CdtDbtInd>'


def _account(account_id: str) -> str:
    return f"<Id><Othr><Id>{escape(account_id)}</Id></Othr></Id>"


def _short(key: str) -> str:
    return escape(key.replace("-", ""))


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
