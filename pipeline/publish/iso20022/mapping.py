"""A payment made from what a message says of it.

Invariants
1. Nothing is guessed: what a payment needs and the message lacks is a fault, and where two elements contradict each
   other neither wins.
2. An amount is exact in its currency's decimals, or a fault.
3. The same message gives the same payments, whenever and however often it is read.

Which element becomes which field, and by what rule, stands in docs/integration.md.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final, NamedTuple

from pipeline.domain.payment import Channel, Transaction
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS, TEXT_CHARACTERS_MAX, is_text
from pipeline.publish.iso20022.messages import Kind
from pipeline.publish.iso20022.parties import CREDITOR, DEBTOR, account_of, agent_of, country_of
from pipeline.publish.iso20022.said import Said, Text
from pipeline.publish.iso20022.settlement import Amount, amount_of, settled
from pipeline.publish.iso20022.values import (
    IDENTIFIER_CHARACTERS_MAX,
    control_sum,
    count_of,
    identifier_of,
    is_time,
    is_uetr,
)
from pipeline.publish.payment_source import Wrong

_ACCEPTED_BEFORE_MS_MAX: Final = 366 * 86_400_000
"""Banks take orders dated ahead by up to a year; an acceptance before that has another year than was meant."""
UETR_SYSTEM: Final = "uetr"
"""The source system of ids that are unique in the world."""
_CONTROLS: Final = "has controls, which no screen shows as they are"
_CHEQUE: Final = "CHK"
_METHODS: Final = frozenset({"TRF", "TRA", _CHEQUE})
SERVICE_LEVEL: Final = "PmtTpInf/SvcLvl/Cd"
CHANNELS: Final = {"SEPA": Channel.SEPA, "G001": Channel.SWIFT}
"""By the code of the service level (SvcLvl): the SEPA scheme, and SWIFT's tracked customer transfer."""


class Account(NamedTuple):
    """Facts of a paying account that a payment needs and no message says."""

    opened_epoch_day: int
    time_zone: str


class Rules(NamedTuple):
    """The rules that were told beside the file."""

    account: Callable[[str], Account | None]  # by the paying account's id; None: it isn't known
    time_ms: Callable[[object], int]  # raises Wrong; it knows the zone of times that name none, if there is one
    channel: Channel | None = None  # of payments that don't say how they are made


class Group(NamedTuple):
    """A message's header. None: it isn't said, or can't be read."""

    created_ms: int | None
    payments: int | None
    control_sum: Decimal | None
    total: Amount | None  # all payments together, in the one currency that they have then
    channels: frozenset[Channel]


class Instruction(NamedTuple):
    """The part that all payments of one instruction of pain.001 share."""

    account_id: str | None
    payments: int | None
    control_sum: Decimal | None
    channels: frozenset[Channel]


class Payment(NamedTuple):
    """amount: for the sums, also where another fault leaves no transaction."""

    transaction: Transaction | None
    amount: Amount | None


def group_of(said: Said, rules: Rules) -> Group:
    created = said.needed("CreDtTm")
    total = said.one("TtlIntrBkSttlmAmt")
    return Group(
        None if created is None else _time(said, "CreDtTm", created, rules),
        _count(said, is_needed=True),
        _control_sum(said),
        None if total is None else amount_of(said, "TtlIntrBkSttlmAmt", total),
        _channels(said),
    )


def instruction_of(said: Said) -> Instruction:
    method = said.needed("PmtMtd")
    if method is not None and method.text not in _METHODS:
        said.fault("PmtMtd", f"is none of {', '.join(sorted(_METHODS))}", method.line)
    elif method is not None and method.text == _CHEQUE:
        said.fault("PmtMtd", "is a cheque, which is no transfer from account to account", method.line)
    account_id = account_of(said, DEBTOR, agent_of(said, DEBTOR))
    return Instruction(account_id, _count(said, is_needed=False), _control_sum(said), _channels(said))


def payment_of(kind: Kind, group: Group, instruction: Instruction | None, said: Said, rules: Rules) -> Payment:
    """`instruction`: of pain.001 only. Faults stand in `said`, those of group and instruction in theirs."""
    debtor_agent = agent_of(said, DEBTOR) if instruction is None else None
    account_id = account_of(said, DEBTOR, debtor_agent) if instruction is None else instruction.account_id
    creditor_account_id = account_of(said, CREDITOR, agent_of(said, CREDITOR))
    amount = _instructed(said) if kind is Kind.INITIATION else settled(said)
    name, reference = _name(said), _reference(said)
    country = country_of(said)
    channel = _channel(said, group, instruction, rules)
    at_ms = _asked_at(said, group, rules)
    identity = _identity(said, account_id, debtor_agent)
    account = None if account_id is None else rules.account(account_id)
    if account_id is not None and account is None:
        said.fault(
            f"{DEBTOR}Acct", "is an account whose opening date and time zone nobody says: give --accounts or a map"
        )
    if None in (account_id, creditor_account_id, amount, country, channel, at_ms, identity, account) or said.faults:
        return Payment(None, amount)
    assert account_id is not None
    assert creditor_account_id is not None
    assert amount is not None
    assert at_ms is not None
    assert country is not None
    assert channel is not None
    assert identity is not None
    assert account is not None
    return Payment(
        Transaction(
            identity[0], account_id, amount.minor, amount.currency, at_ms, creditor_account_id, name, country, None,
            reference, channel, None, None, account.opened_epoch_day, account.time_zone, {}, identity[1],
        ),
        amount,
    )  # fmt: skip


# Amounts


def _instructed(said: Said) -> Amount | None:
    """The amount that a pain.001 instructs. An equivalent in another currency leaves open how much that is."""
    instructed, equivalent = said.one("Amt/InstdAmt"), said.one("Amt/EqvtAmt/Amt")
    if instructed is not None and equivalent is not None:
        said.fault("Amt", "says an amount and an equivalent one", equivalent.line)
    elif instructed is not None:
        return amount_of(said, "Amt/InstdAmt", instructed)
    elif equivalent is not None:
        paid_in = said.needed("Amt/EqvtAmt/CcyOfTrf")
        if paid_in is not None and paid_in.text == equivalent.currency:
            return amount_of(said, "Amt/EqvtAmt/Amt", equivalent)
        said.fault("Amt/EqvtAmt", "leaves open what the amount is in the currency that is paid", equivalent.line)
        return None
    else:
        said.fault("Amt", "is missing")
    return None


def _control_sum(said: Said) -> Decimal | None:
    text = said.one("CtrlSum")
    found = None if text is None else control_sum(text.text)
    if text is not None and found is None:
        said.fault("CtrlSum", "is no decimal number of at most 18 digits", text.line)
    return found


def _count(said: Said, *, is_needed: bool) -> int | None:
    text = said.needed("NbOfTxs") if is_needed else said.one("NbOfTxs")
    found = None if text is None else count_of(text.text)
    if text is not None and found is None:
        said.fault("NbOfTxs", "is no number of at most 15 digits", text.line)
    return found


# Times, texts, names


def _asked_at(said: Said, group: Group, rules: Rules) -> int | None:
    """When the customer's bank accepted the order, where the message says it, else when the message was made."""
    accepted = said.one("AccptncDtTm")
    if accepted is None:
        return group.created_ms
    at_ms = _time(said, "AccptncDtTm", accepted, rules)
    if at_ms is not None and group.created_ms is not None and at_ms > group.created_ms + FUTURE_TOLERANCE_MS:
        said.fault("AccptncDtTm", "is later than the message that tells of it", accepted.line)
    if at_ms is not None and group.created_ms is not None and at_ms < group.created_ms - _ACCEPTED_BEFORE_MS_MAX:
        said.fault("AccptncDtTm", "is over a year before the message that tells of it", accepted.line)
    return at_ms


def _time(said: Said, name: str, text: Text, rules: Rules) -> int | None:
    if not is_time(text.text):
        said.fault(name, "is not written as 2026-11-24T09:00:00Z", text.line)
        return None
    try:
        return rules.time_ms(text.text)
    except Wrong as wrong:
        said.fault(name, str(wrong), text.line)
        return None


def _name(said: Said) -> str | None:
    name = said.told("Cdtr/Nm")
    if name is not None and len(name.text) > TEXT_CHARACTERS_MAX:
        said.fault("Cdtr/Nm", f"is over {TEXT_CHARACTERS_MAX} characters", name.line)
    elif name is not None and not is_text(name.text):
        said.fault("Cdtr/Nm", _CONTROLS, name.line)
    return None if name is None or not name.text else name.text


def _reference(said: Said) -> str | None:
    """All lines of text, and then all references of the creditor's, with a blank between each; whole, or a fault."""
    parts = [*said.many("RmtInf/Ustrd"), *said.many("RmtInf/Strd/CdtrRefInf/Ref")]
    whole = " ".join(each.text for each in parts if each.text)
    if len(whole) > TEXT_CHARACTERS_MAX:
        said.fault("RmtInf", f"is over {TEXT_CHARACTERS_MAX} characters in all", parts[-1].line)
    elif not is_text(whole):
        said.fault("RmtInf", _CONTROLS, next(each.line for each in parts if not is_text(each.text)))
    return whole or None


def _channels(said: Said) -> frozenset[Channel]:
    return frozenset(CHANNELS[each.text] for each in said.many(SERVICE_LEVEL) if each.text in CHANNELS)


def _channel(said: Said, group: Group, instruction: Instruction | None, rules: Rules) -> Channel | None:
    shared = group.channels | (instruction.channels if instruction is not None else frozenset())
    told = frozenset() if rules.channel is None else frozenset({rules.channel})
    found = _channels(said) | shared | told
    if len(found) > 1:
        said.fault("PmtTpInf/SvcLvl", "says another way of paying than was said elsewhere")
        return None
    return next(iter(found), Channel.OTHER)


# Identity


def _identity(said: Said, account_id: str | None, debtor_agent: str | None) -> tuple[str, str] | None:
    """(id, the system that gave it): of the ids that a payment has, the one that is unique the furthest."""
    uetr = said.one("PmtId/UETR")
    given, end_to_end = (said.told(f"PmtId/{name}") for name in ("TxId", "EndToEndId"))
    if uetr is not None:
        if is_uetr(uetr.text):
            return uetr.text, UETR_SYSTEM
        said.fault("PmtId/UETR", "is no UUID of version 4 in small letters", uetr.line)
        return None
    if given is not None:
        if debtor_agent is None:
            said.fault("PmtId/TxId", "is unique within the debtor's bank, which says no BIC and no number", given.line)
            return None
        return _id_within(said, "TxId", given, f"txid:{debtor_agent}")
    if end_to_end is None:
        said.fault("PmtId", "says nothing by which the payment is known: no UETR, no TxId, no EndToEndId that is one")
        return None
    return None if account_id is None else _id_within(said, "EndToEndId", end_to_end, f"e2e:{account_id}")


def _id_within(said: Said, name: str, text: Text, system: str) -> tuple[str, str] | None:
    found = identifier_of(text.text)
    if found is None:
        said.fault(f"PmtId/{name}", f"is empty, or over {IDENTIFIER_CHARACTERS_MAX} characters as an id", text.line)
        return None
    if len(system) > IDENTIFIER_CHARACTERS_MAX:
        said.fault(f"PmtId/{name}", f"is within an account of over {IDENTIFIER_CHARACTERS_MAX} characters", text.line)
        return None
    return found, system
