"""Bank statements by ISO 20022, camt.053.001.02 and .08, read as a stream.

The XML is read within bounds (pipeline/io/xml_stream.py), texts are bounded, and of a file of any size only one entry
is in memory. Elements that say nothing about whose money moved are passed over.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final

from pipeline.io.xml_stream import XmlRefused, XmlStream
from pipeline.reconcile.statement.entries import (
    Entry,
    Head,
    Kind,
    StatementUnusable,
    amount_minor,
    currency_of,
    named_key,
    sequence_of,
    time_of,
)

FORMS: Final = {f"urn:iso:std:iso:20022:tech:xsd:{name}": name for name in ("camt.053.001.02", "camt.053.001.08")}
TEXT_CHARACTERS_MAX: Final = 2_000
DETAILS_MAX: Final = 100_000
"""Transactions that are booked as one entry."""
_STATEMENT: Final = "/Document/BkToCstmrStmt/Stmt"
_BALANCE, _ENTRY = f"{_STATEMENT}/Bal", f"{_STATEMENT}/Ntry"
_DETAILS: Final = f"{_ENTRY}/NtryDtls/TxDtls"
_HEAD_TEXTS: Final = ("Id", "ElctrncSeqNb", "LglSeqNb", "FrToDt/FrDtTm", "FrToDt/ToDtTm", "Acct/Id/IBAN",
                      "Acct/Id/Othr/Id", "Acct/Ccy", "TxsSummry/TtlNtries/NbOfNtries")  # fmt: skip
_BALANCE_TEXTS: Final = ("Tp/CdOrPrtry/Cd", "Amt", "CdtDbtInd")
_ENTRY_TEXTS: Final = ("Amt", "CdtDbtInd", "RvslInd", "Sts", "Sts/Cd")
_DETAIL_TEXTS: Final = ("Refs/EndToEndId", "Refs/TxId", "Amt", "CdtDbtInd", "AmtDtls/TxAmt/Amt",
                        "RltdPties/DbtrAcct/Id/IBAN", "RltdPties/DbtrAcct/Id/Othr/Id",
                        "RltdPties/CdtrAcct/Id/IBAN", "RltdPties/CdtrAcct/Id/Othr/Id",
                        "RtrInf/Rsn/Cd", "RtrInf/Rsn/Prtry")  # fmt: skip
_WANTED: Final = {
    f"{prefix}/{name}": (prefix, name)
    for prefix, names in (
        (_STATEMENT, _HEAD_TEXTS),
        (_BALANCE, _BALANCE_TEXTS),
        (_ENTRY, _ENTRY_TEXTS),
        (_DETAILS, _DETAIL_TEXTS),
    )
    for name in names
}
_OPENING, _CLOSING = ("OPBD", "PRCD"), ("CLBD",)
_SIGN: Final = {"CRDT": 1, "DBIT": -1}
_NOT_GIVEN: Final = frozenset({"NOTPROVIDED"})

Part = Head | Entry
Texts = dict[str, str]


def read_camt(file: BinaryIO) -> Iterator[Part]:
    """Yield each statement's head and then its entries. Raises StatementUnusable."""
    reading = _Reading()
    try:
        for _ in XmlStream(reading).read(file):
            yield from reading.taken()
    except XmlRefused as refusal:
        raise StatementUnusable(str(refusal)) from refusal
    if not reading.statements:
        raise StatementUnusable("the file holds no statement by camt.053")


def camt_of(content: bytes) -> list[Part]:
    return list(read_camt(io.BytesIO(content)))


class _Reading:
    """The stream's listener: where in the document it is, and the texts of what is being read."""

    def __init__(self) -> None:
        self.statements = 0
        self._form = ""
        self._path = ""
        self._paths: list[str] = []
        self._text: list[str] | None = None
        self._characters = 0
        self._scopes: dict[str, Texts] = {prefix: {} for prefix in (_STATEMENT, _BALANCE, _ENTRY, _DETAILS)}
        self._balances: dict[str, tuple[int, str]] = {}
        self._details: list[Texts] = []
        self._head: Head | None = None
        self._number = 0
        self._taken: list[Part] = []
        self._ends: dict[str, Callable[[], None]] = {
            _BALANCE: self._end_balance,
            _DETAILS: self._end_details,
            _ENTRY: self._end_entry,
            _STATEMENT: self._end_statement,
        }

    def taken(self) -> list[Part]:
        taken, self._taken = self._taken, []
        return taken

    # Elements

    def start(self, namespace: str, name: str, attributes: Mapping[str, str]) -> None:
        if not self._paths:
            self._form = FORMS.get(namespace, "")
            if not self._form:
                raise StatementUnusable(f"the document is none of {', '.join(FORMS.values())}")
        self._paths.append(self._path)
        # An element of another namespace is another one, whatever its name.
        self._path = f"{self._path}/{name if FORMS.get(namespace) == self._form else '?'}"
        wanted = _WANTED.get(self._path)
        self._text, self._characters = (None, 0) if wanted is None else ([], 0)
        if wanted is not None and "Ccy" in attributes:
            prefix, short = wanted
            self._scopes[prefix][f"{short}@Ccy"] = attributes["Ccy"]
        if self._path == _ENTRY and self._head is None:
            self._head = self._begin()

    def hear(self, text: str) -> None:
        if self._text is not None:
            self._characters += len(text)
            if self._characters > TEXT_CHARACTERS_MAX:
                raise StatementUnusable(f"a text is longer than {TEXT_CHARACTERS_MAX} characters")
            self._text.append(text)

    def end(self) -> None:
        wanted = _WANTED.get(self._path)
        if wanted is not None and self._text is not None:
            prefix, short = wanted
            if short in self._scopes[prefix]:
                raise StatementUnusable(f"{short} is said twice")
            self._scopes[prefix][short] = "".join(self._text).strip()
        self._text = None
        if (end := self._ends.get(self._path)) is not None:
            end()
        self._path = self._paths.pop()

    # What they say

    def _end_balance(self) -> None:
        texts = self._scoped(_BALANCE)
        kind = texts.get("Tp/CdOrPrtry/Cd", "")
        if kind in self._balances:
            raise StatementUnusable(f"the balance {kind} is said twice")
        currency = texts.get("Amt@Ccy", "")
        self._balances[kind] = amount_minor(texts.get("Amt", ""), currency) * _sign(texts), currency

    def _begin(self) -> Head:
        texts = self._scopes[_STATEMENT]
        currencies = {currency for _, currency in self._balances.values()} | {texts.get("Acct/Ccy", "")} - {""}
        if len(currencies) != 1:
            raise StatementUnusable("the statement's balances and account are not of one currency")
        entries = texts.get("TxsSummry/TtlNtries/NbOfNtries")
        head = Head(
            _one(texts, "Acct/Id/IBAN", "Acct/Id/Othr/Id"),
            currency_of(currencies.pop()),
            sequence_of(_one(texts, "ElctrncSeqNb", "LglSeqNb")),
            _said(texts, "Id"),
            self._form,
            time_of(_said(texts, "FrToDt/FrDtTm")),
            time_of(_said(texts, "FrToDt/ToDtTm")),
            self._balance(_OPENING),
            self._balance(_CLOSING),
            None if entries is None else sequence_of(entries),
        )
        self._taken.append(head)
        return head

    def _balance(self, kinds: tuple[str, ...]) -> int:
        found = [self._balances[kind][0] for kind in kinds if kind in self._balances]
        if len(set(found)) != 1:
            raise StatementUnusable(f"the statement does not say one booked balance {' or '.join(kinds)}")
        return found[0]

    def _end_details(self) -> None:
        if len(self._details) == DETAILS_MAX:
            raise StatementUnusable(f"an entry has more than {DETAILS_MAX} transactions")
        self._details.append(self._scoped(_DETAILS))

    def _end_entry(self) -> None:
        texts, details, self._details = self._scoped(_ENTRY), self._details, []
        head = self._head
        assert head is not None, "an entry begins after its statement"
        if texts.get("Sts/Cd", texts.get("Sts")) != "BOOK":
            raise StatementUnusable("an entry is not booked")
        if texts.get("Amt@Ccy") != head.currency:
            raise StatementUnusable("an entry is of another currency than its account")
        total_minor = amount_minor(texts.get("Amt", ""), head.currency) * _sign(texts)
        is_plain = texts.get("RvslInd", "false") in ("false", "0")
        entries = [self._entry(each, texts, head.currency, len(details), is_plain) for each in details or [{}]]
        if sum(each.amount_minor for each in entries) != total_minor:
            raise StatementUnusable("an entry's transactions do not sum to it")
        self._taken += entries

    def _entry(self, detail: Texts, entry: Texts, currency: str, count: int, is_plain: bool) -> Entry:
        self._number += 1
        amount = _detail_amount(detail, currency)
        if amount is None:
            if count > 1:
                raise StatementUnusable("a transaction among several of one entry says no amount")
            amount = amount_minor(entry.get("Amt", ""), currency)
        signed = amount * _sign(detail if "CdtDbtInd" in detail else entry)
        is_return = "RtrInf/Rsn/Cd" in detail or "RtrInf/Rsn/Prtry" in detail
        key = detail.get("Refs/TxId" if is_return else "Refs/EndToEndId", "")
        kind = Kind.OTHER
        if is_plain and key and key not in _NOT_GIVEN:
            kind = Kind.RETURN if is_return else Kind.TRANSFER
        return Entry(
            self._number,
            kind,
            named_key(kind, key),
            signed,
            _party(detail, "Dbtr"),
            _party(detail, "Cdtr"),
        )

    def _end_statement(self) -> None:
        if self._head is None:
            self._begin()  # a day without entries
        self.statements += 1
        self._scoped(_STATEMENT)
        self._balances, self._head, self._number = {}, None, 0

    def _scoped(self, prefix: str) -> Texts:
        texts, self._scopes[prefix] = self._scopes[prefix], {}
        return texts


def _sign(texts: Texts) -> int:
    sign = _SIGN.get(texts.get("CdtDbtInd", ""))
    if sign is None:
        raise StatementUnusable("an amount does not say whether it is a credit or a debit")
    return sign


def _detail_amount(detail: Texts, currency: str) -> int | None:
    for name in ("Amt", "AmtDtls/TxAmt/Amt"):
        if name in detail:
            if detail.get(f"{name}@Ccy") != currency:
                raise StatementUnusable("a transaction is of another currency than its account")
            return amount_minor(detail[name], currency)
    return None


def _party(detail: Texts, side: str) -> str | None:
    found = [detail.get(f"RltdPties/{side}Acct/Id/{kind}") for kind in ("IBAN", "Othr/Id")]
    return next((each for each in found if each), None)


def _said(texts: Texts, name: str) -> str:
    if not texts.get(name):
        raise StatementUnusable(f"the statement does not say its {name}")
    return texts[name]


def _one(texts: Texts, *names: str) -> str:
    for name in names:
        if texts.get(name):
            return texts[name]
    raise StatementUnusable(f"the statement says none of {', '.join(names)}")
