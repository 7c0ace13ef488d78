"""Which messages are read as payments, and which of their elements a payment is made from.

ISO publishes a new version of a message nearly every year, and schemes stay with one for many years: SEPA, CBPR+ and
the British schemes with pain.001.001.09 and pacs.008.001.08, many companies' software with pain.001.001.03. The newest
are pain.001.001.13 and pacs.008.001.14. In what a payment is made from they differ only as _ALIASES says.

Not the whole schema is checked: ISO's schema files may not be passed on with a program. What is read is checked here,
element by element, and what isn't read is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:"


class Kind(StrEnum):
    INITIATION = "pain.001"  # from a customer to a bank
    TRANSFER = "pacs.008"  # from bank to bank


class Block(StrEnum):
    """A part of a message: a payment is read from its own and from those that it lies in or behind."""

    GROUP = "GROUP"
    INSTRUCTION = "INSTRUCTION"  # of pain.001 only: the payments of one account on one day
    PAYMENT = "PAYMENT"


class Wanted(NamedTuple):
    block: Block
    name: str  # the path below the block, by which the mapping asks for it


class Form(NamedTuple):
    """One version of one message. Paths begin below Document."""

    name: str
    kind: Kind
    root: str
    blocks: Mapping[str, Block]
    wanted: Mapping[str, Wanted]
    singles: Mapping[str, Wanted]  # what holds wanted elements, and stands at most once in its block


MANY: Final = frozenset({"PmtTpInf/SvcLvl/Cd", "RmtInf/Ustrd", "RmtInf/Strd/CdtrRefInf/Ref", "ChrgsInf/Amt"})
"""Elements that a block may say more than once."""
REPEATED: Final = frozenset({"PmtTpInf/SvcLvl", "RmtInf/Strd", "RmtInf/Strd/CdtrRefInf", "ChrgsInf"})
"""Elements that hold those, and may stand more than once with them."""
AMOUNTS: Final = frozenset(
    {"Amt/InstdAmt", "Amt/EqvtAmt/Amt", "IntrBkSttlmAmt", "InstdAmt", "TtlIntrBkSttlmAmt", "ChrgsInf/Amt"}
)
"""Elements that have their currency as the attribute Ccy. No other has an attribute."""

_AGENT: Final = ("FinInstnId/BICFI", "FinInstnId/ClrSysMmbId/ClrSysId/Cd", "FinInstnId/ClrSysMmbId/MmbId")
_ACCOUNT: Final = ("Id/IBAN", "Id/Othr/Id")
_DEBTOR: Final = (*(f"DbtrAcct/{name}" for name in _ACCOUNT), *(f"DbtrAgt/{name}" for name in _AGENT))
_CREDITOR: Final = (
    "Cdtr/Nm", "Cdtr/PstlAdr/Ctry", "Cdtr/CtryOfRes", "CdtrAgt/FinInstnId/PstlAdr/Ctry",
    *(f"CdtrAcct/{name}" for name in _ACCOUNT), *(f"CdtrAgt/{name}" for name in _AGENT),
    "RmtInf/Ustrd", "RmtInf/Strd/CdtrRefInf/Ref",
)  # fmt: skip
_TYPE: Final = ("PmtTpInf/SvcLvl/Cd",)
_COUNTED: Final = ("NbOfTxs", "CtrlSum")
_ALIASES: Final = {
    "pain.001.001.03": {"FinInstnId/BICFI": "FinInstnId/BIC"},
}
"""How an older version writes what the mapping asks for by its present name."""

_BLOCKS: Final[Mapping[Kind, Mapping[str, tuple[Block, tuple[str, ...]]]]] = {
    Kind.INITIATION: {
        "CstmrCdtTrfInitn/GrpHdr": (Block.GROUP, ("CreDtTm", *_COUNTED)),
        "CstmrCdtTrfInitn/PmtInf": (Block.INSTRUCTION, ("PmtMtd", *_COUNTED, *_TYPE, *_DEBTOR)),
        "CstmrCdtTrfInitn/PmtInf/CdtTrfTxInf": (
            Block.PAYMENT,
            ("PmtId/EndToEndId", "PmtId/UETR", "Amt/InstdAmt", "Amt/EqvtAmt/Amt", "Amt/EqvtAmt/CcyOfTrf", *_TYPE,
             *_CREDITOR),
        ),
    },
    Kind.TRANSFER: {
        "FIToFICstmrCdtTrf/GrpHdr": (Block.GROUP, ("CreDtTm", *_COUNTED, "TtlIntrBkSttlmAmt", *_TYPE)),
        "FIToFICstmrCdtTrf/CdtTrfTxInf": (
            Block.PAYMENT,
            ("PmtId/EndToEndId", "PmtId/TxId", "PmtId/UETR", "IntrBkSttlmAmt", "InstdAmt", "XchgRate", "ChrgBr",
             "ChrgsInf/Amt", "AccptncDtTm", *_TYPE, *_DEBTOR, *_CREDITOR),
        ),
    },
}  # fmt: skip
_ROOTS: Final = {Kind.INITIATION: "CstmrCdtTrfInitn", Kind.TRANSFER: "FIToFICstmrCdtTrf"}
_VERSIONS: Final = {Kind.INITIATION: (3, 9, 10, 11, 12, 13), Kind.TRANSFER: (8, 9, 10, 11, 12, 13, 14)}


def _form(kind: Kind, version: int) -> Form:
    name = f"{kind}.001.{version:02d}"
    aliases = _ALIASES.get(name, {})
    wanted = {}
    for path, (block, names) in _BLOCKS[kind].items():
        for asked in names:
            written = asked
            for present, older in aliases.items():
                written = written.replace(present, older)
            wanted[f"{path}/{written}"] = Wanted(block, asked)
    blocks = {path: block for path, (block, _) in _BLOCKS[kind].items()}
    return Form(name, kind, _ROOTS[kind], blocks, wanted, _singles(wanted))


def _singles(wanted: Mapping[str, Wanted]) -> dict[str, Wanted]:
    found = {}
    for path, (block, name) in wanted.items():
        parts = name.split("/")
        for length in range(1, len(parts)):
            above = "/".join(parts[:length])
            if above not in REPEATED:
                found["/".join(path.split("/")[: length - len(parts)])] = Wanted(block, above)
    return found


FORMS: Final[Mapping[str, Form]] = {
    f"{NAMESPACE}{form.name}": form
    for form in (_form(kind, version) for kind, versions in _VERSIONS.items() for version in versions)
}
"""By the namespace of the document."""
