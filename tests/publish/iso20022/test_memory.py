"""A message of any size is read in the same memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.publish.iso20022.messages import NAMESPACE
from tests.publish.iso20022.given import PAIN, PAYMENT, pain

PIECES = 20 * 1024
"""Pieces of a kilobyte each."""
READ = """
import resource, sys
from pathlib import Path
from pipeline.publish.iso20022.mapping import Account, Rules
from pipeline.publish.iso20022.message_files import MessageSource
from pipeline.publish.file_map import TimeRule
from pipeline.publish.payment_source import Fault
from pipeline.publish.table_files import WatchedFile
from pipeline.publish.times import time_ms

rules = Rules(lambda _: Account(16_436, "Europe/London"), time_ms(TimeRule()))
source = MessageSource(WatchedFile(Path(sys.argv[1])), rules)
payments = faults = 0
for each in source.read():
    faults += isinstance(each, Fault)
    payments += not isinstance(each, Fault)
print(payments, faults, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
"""A process of its own, since a process's peak never falls again."""


def write(path: Path, payments: int) -> None:
    """One instruction with many payments of 1.00, written piece by piece."""
    text = PAIN.format(namespace=f"{NAMESPACE}pain.001.001.09", count=payments, total=payments, payments="|")
    before, after = text.split("|")
    with path.open("w") as file:
        file.write(before)
        for number in range(payments):
            file.write(PAYMENT.format(number=number, amount="1.00"))
        file.write(after)


def peak(path: Path) -> tuple[int, int, int]:
    """Payments, faults and the process's peak of memory in KiB."""
    answer = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True, timeout=600)
    payments, faults, peak_kib = map(int, answer.stdout.split())
    return payments, faults, peak_kib


@pytest.mark.parametrize("payments", [40_000, pytest.param(2_000_000, marks=pytest.mark.nightly)])
def test_memory_does_not_grow_with_the_file(payments, tmp_path):
    """40,000 payments are 18 MB; 2,000,000 by night are nearly a gigabyte."""
    small, large = tmp_path / "small.xml", tmp_path / "large.xml"
    write(small, 100)
    write(large, payments)
    assert peak(small)[:2] == (100, 0)
    read, faults, peak_kib = peak(large)
    assert (read, faults) == (payments, 0)
    assert peak_kib - peak(small)[2] < 8 * 1024
    large.unlink()


@pytest.mark.parametrize(
    ("begin", "piece", "end"),
    [
        ("<!--", "y" * 1024, "-->"),
        ("<MsgId x='", "y" * 1024, "'>"),
        ("<SplmtryData>", "y" * 1024, "</SplmtryData>"),
        ("<SplmtryData>", f"<a>{'y' * 1000}</a>", "</SplmtryData>"),
        ("<Nm>", "<![CDATA[" + "y" * 1024 + "]]>", "</Nm>"),
    ],
)
def test_no_piece_of_a_file_is_held_whole(begin, piece, end, tmp_path):
    """20 MB of each: in a comment, an attribute, a text, elements, and CDATA."""
    path = tmp_path / "piece.xml"
    before, after = pain().split("<MsgId>", 1)
    with path.open("w") as file:
        file.write(before + begin)
        for _ in range(PIECES):
            file.write(piece)
        file.write(end + "<MsgId>" + after)
    write(tmp_path / "small.xml", 100)
    assert peak(path)[2] - peak(tmp_path / "small.xml")[2] < 8 * 1024
    path.unlink()
