"""Messages as banks and companies write them, made small, and read as the command reads them."""

from __future__ import annotations

from pathlib import Path

from pipeline.domain.payment import Channel
from pipeline.publish.file_map import TimeRule
from pipeline.publish.iso20022.mapping import Account, Rules
from pipeline.publish.iso20022.message_files import MessageSource
from pipeline.publish.iso20022.messages import NAMESPACE
from pipeline.publish.payment_source import Fault, FilePayment
from pipeline.publish.table_files import WatchedFile
from pipeline.publish.times import time_ms

PAYER = "GB29NWBK60161331926819"
PAYEE = "DE89370400440532013000"
OTHER_PAYER = "NWBKGB2LXXX:60161331926819"
UETR = "8a562c67-ca16-48ba-b074-65581be6f011"
ACCOUNTS = {PAYER: Account(16_436, "Europe/London"), OTHER_PAYER: Account(17_000, "Europe/London")}
NINE_MS = 1_763_974_800_000  # 2025-11-24T09:00:00Z

PAYMENT = """\
   <CdtTrfTxInf>
    <PmtId><EndToEndId>INVOICE-{number}</EndToEndId></PmtId>
    <Amt><InstdAmt Ccy="EUR">{amount}</InstdAmt></Amt>
    <CdtrAgt><FinInstnId><BICFI>COBADEFFXXX</BICFI></FinInstnId></CdtrAgt>
    <Cdtr><Nm>Mira Holt</Nm></Cdtr>
    <CdtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></CdtrAcct>
    <RmtInf><Ustrd>Invoice {number}</Ustrd></RmtInf>
   </CdtTrfTxInf>
"""
PAIN = """\
<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="{namespace}">
 <CstmrCdtTrfInitn>
  <GrpHdr>
   <MsgId>M-1</MsgId>
   <CreDtTm>2025-11-24T09:00:00Z</CreDtTm>
   <NbOfTxs>{count}</NbOfTxs>
   <CtrlSum>{total}</CtrlSum>
   <InitgPty><Nm>Acme Ltd</Nm></InitgPty>
  </GrpHdr>
  <PmtInf>
   <PmtInfId>P-1</PmtInfId>
   <PmtMtd>TRF</PmtMtd>
   <BtchBookg>true</BtchBookg>
   <NbOfTxs>{count}</NbOfTxs>
   <CtrlSum>{total}</CtrlSum>
   <PmtTpInf><SvcLvl><Cd>SEPA</Cd></SvcLvl></PmtTpInf>
   <ReqdExctnDt><Dt>2025-11-25</Dt></ReqdExctnDt>
   <Dbtr><Nm>Acme Ltd</Nm></Dbtr>
   <DbtrAcct><Id><IBAN>GB29NWBK60161331926819</IBAN></Id></DbtrAcct>
   <DbtrAgt><FinInstnId><BICFI>NWBKGB2L</BICFI></FinInstnId></DbtrAgt>
   <ChrgBr>SLEV</ChrgBr>
{payments}  </PmtInf>
 </CstmrCdtTrfInitn>
</Document>
"""
TRANSFER = """\
  <CdtTrfTxInf>
   <PmtId><InstrId>I-{number}</InstrId><EndToEndId>E-{number}</EndToEndId><UETR>{uetr}</UETR></PmtId>
   <PmtTpInf><SvcLvl><Cd>G001</Cd></SvcLvl></PmtTpInf>
   <IntrBkSttlmAmt Ccy="EUR">{amount}</IntrBkSttlmAmt>
   <ChrgBr>SHAR</ChrgBr>
   <Dbtr><Nm>Acme Ltd</Nm></Dbtr>
   <DbtrAcct><Id><IBAN>GB29NWBK60161331926819</IBAN></Id></DbtrAcct>
   <DbtrAgt><FinInstnId><BICFI>NWBKGB2L</BICFI></FinInstnId></DbtrAgt>
   <CdtrAgt><FinInstnId><BICFI>COBADEFFXXX</BICFI></FinInstnId></CdtrAgt>
   <Cdtr><Nm>Mira Holt</Nm></Cdtr>
   <CdtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></CdtrAcct>
   <RmtInf><Ustrd>Invoice {number}</Ustrd></RmtInf>
  </CdtTrfTxInf>
"""
PACS = """\
<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="{namespace}">
 <FIToFICstmrCdtTrf>
  <GrpHdr>
   <MsgId>M-1</MsgId>
   <CreDtTm>2025-11-24T10:00:00.250+01:00</CreDtTm>
   <NbOfTxs>{count}</NbOfTxs>
   <TtlIntrBkSttlmAmt Ccy="EUR">{total}</TtlIntrBkSttlmAmt>
   <SttlmInf><SttlmMtd>INDA</SttlmMtd></SttlmInf>
  </GrpHdr>
{payments} </FIToFICstmrCdtTrf>
</Document>
"""


def pain(version: str = "09", *, payments: int = 2) -> str:
    """As many payments of 100.50 and a cent more each. Version 03 names banks and dates otherwise."""
    each = "".join(PAYMENT.format(number=n, amount=f"{100.50 + n / 100:.2f}") for n in range(1, payments + 1))
    total = f"{sum(10_050 + n for n in range(1, payments + 1)) / 100:.2f}"
    namespace = f"{NAMESPACE}pain.001.001.{version}"
    text = PAIN.format(namespace=namespace, count=payments, total=total, payments=each)
    if version == "03":
        text = text.replace("BICFI>", "BIC>").replace("<Dt>2025-11-25</Dt>", "2025-11-25")
    return text


def pacs(version: str = "08", *, payments: int = 2) -> str:
    each = "".join(
        TRANSFER.format(number=n, amount=f"{100.50 + n / 100:.2f}", uetr=f"{UETR[:-4]}{n:04x}")
        for n in range(1, payments + 1)
    )
    total = f"{sum(10_050 + n for n in range(1, payments + 1)) / 100:.2f}"
    return PACS.format(namespace=f"{NAMESPACE}pacs.008.001.{version}", count=payments, total=total, payments=each)


def read(
    path: Path, message: str | bytes, *, rule: TimeRule | None = None, channel: Channel | None = None
) -> tuple[list[FilePayment], list[Fault], MessageSource]:
    """Payments, faults, and the source, of a message in a file of that folder."""
    file = path / "message.xml"
    file.write_bytes(message if isinstance(message, bytes) else message.encode())
    source = MessageSource(WatchedFile(file), Rules(ACCOUNTS.get, time_ms(rule or TimeRule()), channel))
    found = list(source.read())
    faults = [each for each in found if isinstance(each, Fault)]
    return [each for each in found if isinstance(each, FilePayment)], faults, source


def line_of(message: str, element: str) -> int:
    """The first line that holds a piece of text."""
    return next(number for number, line in enumerate(message.splitlines(), 1) if element in line)
