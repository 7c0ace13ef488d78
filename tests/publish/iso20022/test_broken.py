"""Messages that were damaged at random: payments or faults, and never anything else."""

from __future__ import annotations

import random

import pytest

from pipeline.publish.payment_source import Fault
from tests.publish.iso20022.given import pacs, pain, read

ROUNDS = 400


def damaged(message: bytes, dice: random.Random) -> bytes:
    """With some bytes cut out, doubled, exchanged or replaced."""
    for _ in range(dice.randint(1, 3)):
        begin = dice.randrange(len(message))
        end = min(len(message), begin + dice.choice((1, 2, 8, 40, 400)))
        piece = message[begin:end]
        other = dice.choice((b"", piece + piece, piece[::-1], bytes(dice.randrange(256) for _ in piece[:8]), b"<a>"))
        message = message[:begin] + other + message[end:]
    return message


@pytest.mark.parametrize("seed", range(4))
def test_whatever_becomes_of_a_message_it_is_payments_and_faults(seed, tmp_path):
    dice = random.Random(seed)
    sound = [pain("03"), pain(), pain("13"), pacs(), pacs("14")]
    faults_seen = 0
    for _ in range(ROUNDS):
        message = dice.choice(sound).encode()
        _, faults, _ = read(tmp_path, damaged(message, dice))
        assert all(isinstance(each, Fault) and each.what and each.line >= 1 for each in faults)
        faults_seen += bool(faults)
    assert faults_seen > ROUNDS // 2


ELEMENTS = (
    "PmtId",
    "Amt",
    "Cdtr",
    "CdtrAcct",
    "CdtrAgt",
    "GrpHdr",
    "PmtInf",
    "DbtrAcct",
    "IBAN",
    "InstdAmt",
    "CreDtTm",
)


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("make", [pain, pacs])
def test_an_element_that_is_cut_out_or_doubled_is_never_passed_over(element, make, tmp_path):
    """There is a fault, or the payments are the same, but for a name that is missing, which a guardrail stops."""
    message = make(payments=1)
    sound = read(tmp_path, message)[0]
    begin = message.find(f"<{element}>") if f"<{element}>" in message else message.find(f"<{element} ")
    if begin < 0:
        return
    end = message.index(f"</{element}>", begin) + len(element) + 3
    piece = message[begin:end]
    for other in ("", piece + piece):
        payments, faults, _ = read(tmp_path, message[:begin] + other + message[end:])
        nameless = [each.transaction._replace(beneficiary_name=None) for each in sound]
        assert faults or [each.transaction for each in payments] in ([each.transaction for each in sound], nameless)
