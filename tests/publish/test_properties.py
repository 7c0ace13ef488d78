"""Whatever a file holds, it is read exactly or refused in words."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.money import minor_digits
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.publish.amounts import amount_minor_of
from pipeline.publish.columns import Column, ColumnKind
from pipeline.publish.demands import major_amount
from pipeline.publish.file_map import FileMap, FileRules
from pipeline.publish.payment_files import open_payments
from pipeline.publish.payment_source import Unreadable, Wrong
from pipeline.publish.plain_values import plain
from pipeline.publish.whole_check import check
from tests.publish.named_file import parquet_of
from tests.publish.payment_rows import csv_text, typed, whole

CURRENCIES = st.sampled_from(["GBP", "EUR", "JPY", "KWD", "CLF"])
SHORTEST = FileMap(file=FileRules(doubles="shortest"))
SOUND = csv_text(whole(3)).encode()
LINES = "\n".join(json.dumps(row) for row in whole(3)).encode()


@given(amount=st.decimals(-(10**12), 10**12, places=6), currency=CURRENCIES)
def test_an_amount_is_exact_or_refused(amount: Decimal, currency: str) -> None:
    scaled = amount * 10 ** minor_digits(currency)
    if scaled == scaled.to_integral_value():
        assert int(scaled) == amount_minor_of(amount, currency)
    else:
        with pytest.raises(Wrong, match="more decimals"):
            amount_minor_of(amount, currency)


WAYS = [(".", ""), (".", ","), (",", "."), (",", ""), (".", "'"), (",", "\u00a0"), (",", "\u202f"), (",", " ")]
"""The signs before decimals and between thousands, as countries have them."""


def written(minor: int, digits: int, decimal: str, grouping: str, *, is_whole_short: bool) -> str:
    """An amount as somebody writes it; `is_whole_short`: without decimals where they are none."""
    whole_units, part = divmod(minor, 10**digits)
    text = f"{whole_units:,}".replace(",", grouping)
    return text if not digits or (is_whole_short and not part) else f"{text}{decimal}{part:0{digits}d}"


@given(
    minor=st.one_of(st.integers(1, 999).map(lambda n: n * 10**5), st.integers(0, AMOUNT_MINOR_MAX)),
    currency=st.sampled_from(["GBP", "EUR", "USD", "JPY"]),
    signs=st.sampled_from(WAYS),
    is_whole_short=st.booleans(),
)
def test_an_amount_is_read_as_its_writer_meant_it_or_refused(
    minor: int, currency: str, signs: tuple[str, str], is_whole_short: bool
) -> None:
    """Whatever country's: 12.000 without a map was twelve, and meant twelve thousand. Dinars have three decimals."""
    text = written(minor, minor_digits(currency), *signs, is_whole_short=is_whole_short)
    declared = FileRules(decimal=signs[0], grouping=signs[1])  # type: ignore[arg-type]  # of WAYS
    assert minor == amount_minor_of(major_amount(text, declared), currency)
    try:
        found = amount_minor_of(major_amount(text, FileRules()), currency)
    except Wrong:
        assert signs != (".", "")
        return
    assert minor == found


@given(minor=st.integers(0, AMOUNT_MINOR_MAX), currency=CURRENCIES)
def test_a_double_gives_the_amount_that_was_written(minor: int, currency: str) -> None:
    written = Decimal(minor).scaleb(-minor_digits(currency))
    read = plain("amount", Column("amount", ColumnKind.DOUBLE), SHORTEST)
    found = read(float(written))
    assert isinstance(found, Decimal)
    assert minor == amount_minor_of(found, currency)


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_never_another_number(number: float) -> None:
    try:
        found = plain("amount", Column("amount", ColumnKind.DOUBLE), SHORTEST)(number)
    except Wrong:
        return
    assert isinstance(found, Decimal)
    assert number == float(found)
    assert Decimal(repr(number)) == found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sound=st.sampled_from([SOUND, LINES]),
    begin=st.integers(0, len(SOUND)),
    length=st.integers(0, 40),
    put=st.one_of(
        st.binary(max_size=30), st.sampled_from([b'"', b"\r", b"\0", b"\n\n", b"\xff\xfe", b",,", b"{", b"}"])
    ),
)
def test_a_damaged_text_file_is_read_or_refused_and_nothing_else(
    tmp_path: Path, sound: bytes, begin: int, length: int, put: bytes
) -> None:
    (tmp_path / "payments").write_bytes(sound[:begin] + put + sound[begin + length :])
    try:
        source = open_payments(tmp_path / "payments", with_labels=True)
        found = check(source, 1_800_000_000_000, is_order_needed=True)
    except Unreadable:
        return
    assert found.payments <= 3


@pytest.mark.parametrize("part", range(8))
def test_a_torn_parquet_file_is_refused(tmp_path: Path, part: int) -> None:
    content = parquet_of(typed({}))
    for length in range(4 + part, len(content), 8 * 5):
        (tmp_path / "payments.parquet").write_bytes(content[:length])
        with pytest.raises(Unreadable, match="can't be read as parquet"):
            open_payments(tmp_path / "payments.parquet", with_labels=True)
