"""Who pays and who is paid: accounts, their banks, and the country that a beneficiary is in.

Invariants
1. One account has one id. An IBAN is its own; any other number counts within its bank only, and bears the bank's name.
2. A beneficiary is in one country: where the message names two, whichever elements say them, that is a fault. None is
   preferred, since the other may be the one that is under sanctions.
"""

from __future__ import annotations

from typing import Final

from pipeline.publish.iso20022.said import Said, Text
from pipeline.publish.iso20022.values import (
    IDENTIFIER_CHARACTERS_MAX,
    bic_of,
    iban_fault,
    identifier_of,
    is_country,
    is_spaced_iban,
    member_of,
)

DEBTOR: Final = "Dbtr"
CREDITOR: Final = "Cdtr"
_WHOLE: Final = ("Cdtr/PstlAdr/Ctry", "Cdtr/CtryOfRes", "CdtrAgt/FinInstnId/PstlAdr/Ctry")
_WITHIN: Final = (
    ("CdtrAcct/Id/IBAN", 0),
    ("CdtrAgt/FinInstnId/BICFI", 4),
    ("CdtrAgt/FinInstnId/ClrSysMmbId/ClrSysId/Cd", 0),
)
"""Elements that are a country, and those that hold one from a place on."""


def agent_of(said: Said, side: str) -> str | None:
    """The side's bank: its BIC with eleven characters, else its number in a clearing system; None without either."""
    path = f"{side}Agt/FinInstnId"
    if (bic := said.told(f"{path}/BICFI")) is not None:
        name = bic_of(bic.text)
        if name is None:
            said.fault(f"{path}/BICFI", "is no BIC of 8 or 11 characters", bic.line)
        return name
    clearing, member = (said.told(f"{path}/ClrSysMmbId/{name}") for name in ("ClrSysId/Cd", "MmbId"))
    if clearing is None or member is None:
        return None
    name = member_of(clearing.text, member.text)
    if name is None:
        what = "is no bank's number in a clearing system with a code of five letters"
        said.fault(f"{path}/ClrSysMmbId", what, member.line)
    return name


def account_of(said: Said, side: str, agent: str | None) -> str | None:
    """The side's account as an id of ours. None, with a fault, where the message says none that can be one."""
    path = f"{side}Acct/Id"
    iban, other = said.one(f"{path}/IBAN"), said.told(f"{path}/Othr/Id")
    if iban is not None and other is None:
        fault = iban_fault(iban.text)
        if fault is None:
            return iban.text
        said.fault(f"{path}/IBAN", fault, iban.line)
    elif other is not None and iban is None:
        fault = _other_fault(other, agent)
        if fault is None:
            return f"{agent}:{identifier_of(other.text)}"
        said.fault(f"{path}/Othr/Id", fault, other.line)
    else:
        said.fault(
            path, "is missing, and a payment has two accounts" if iban is None else "says an IBAN and another id"
        )
    return None


def country_of(said: Said) -> str | None:
    """The beneficiary's country, on which all elements that say one agree. None, with a fault, where none says one."""
    found = dict(_countries(said))
    countries = set(found.values())
    if len(countries) > 1:
        said.fault(CREDITOR, f"is in one country by {', in another by '.join(_first_of_each(found))}")
        return None
    if not countries:
        said.fault(CREDITOR, "is in a country that neither account, nor bank, nor address says")
        return None
    country = countries.pop()
    if not is_country(country):
        said.fault(CREDITOR, f"has no country's code of two capitals in {min(found)}")
        return None
    return country


def _other_fault(other: Text, agent: str | None) -> str | None:
    if is_spaced_iban(other.text):
        return "is an IBAN in the place of other ids: one account would be two"
    if agent is None:
        return "names an account within its bank only, and the bank says no BIC, and no number in a clearing system"
    number = identifier_of(other.text)
    if number is None or len(f"{agent}:{number}") > IDENTIFIER_CHARACTERS_MAX:
        return f"is empty, or with its bank's name over {IDENTIFIER_CHARACTERS_MAX} characters"
    return None


def _countries(said: Said) -> list[tuple[str, str]]:
    """Each element that says a country, and which."""
    whole = [(name, text.text) for name in _WHOLE if (text := said.one(name)) is not None]
    return whole + [
        (name, text.text[start : start + 2]) for name, start in _WITHIN if (text := said.told(name)) is not None
    ]


def _first_of_each(found: dict[str, str]) -> list[str]:
    """The first element that says each country."""
    firsts: dict[str, str] = {}
    for name, country in found.items():
        firsts.setdefault(country, name)
    return list(firsts.values())
