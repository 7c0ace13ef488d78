"""Parquet and Arrow files, by the types of their columns."""

from __future__ import annotations

import gzip
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from pipeline.publish.table_files import ROWS_FREE
from tests.publish.named_file import SHORTEST, faulty, feather_of, parquet_of, sound, unreadable
from tests.publish.payment_rows import typed, typed_whole, whole


def _arrow() -> None:
    sound("typed.parquet", parquet_of(typed({})), amount_minor=5716)
    sound("TYPED.PARQUET", parquet_of(typed({})), amount_minor=5716)
    sound("typed.pq", parquet_of(typed({})), amount_minor=5716)
    sound("typed.feather", feather_of(typed({})), amount_minor=5716)
    sound("parquet-named.csv", parquet_of(typed({})), amount_minor=5716)
    sound("texts.parquet", parquet_of(typed_whole({})), amount_minor=1250)
    faulty("no-row-groups.parquet", parquet_of(typed({}).slice(0, 0)), 0, None, "no payment")
    sound("no-row-groups-declared.parquet", parquet_of(typed({}).slice(0, 0)), "[file]\npayments = 0\n", payments=0)
    sound("dictionary.parquet", parquet_of(_dictionary()), channel="FASTER_PAYMENT")
    sound("large-strings.parquet", parquet_of(_cast(pa.large_string())), amount_minor=1250)
    amount = {"amount_minor": None}
    for name, column, minor in (
        ("decimal128", pa.array([Decimal("12.50"), Decimal("19.99")], pa.decimal128(12, 2)), 1999),
        ("decimal256", pa.array([Decimal("12.50"), Decimal("19.99")], pa.decimal256(60, 2)), 1999),
        ("decimal-of-more-zeros", pa.array([Decimal("12.5000"), Decimal("19.9900")], pa.decimal128(12, 4)), 1999),
        ("whole-pounds", pa.array([12, 19], pa.int32()), 1900),
        ("unsigned", pa.array([12, 19], pa.uint64()), 1900),
    ):
        sound(f"amount-{name}.parquet", parquet_of(typed(amount | {"amount": column})), amount_minor=minor)
    for name, column in (
        ("single-of-2-to-the-24", pa.array([12, 2**24 + 1], pa.int64()).cast(pa.float32(), safe=False)),
        ("double-of-2-to-the-53", pa.array([12, 2**53 + 1], pa.int64()).cast(pa.float64(), safe=False)),
    ):
        table = typed(amount | {"amount": column})
        faulty(f"amount-{name}.parquet", parquet_of(table), 2, "amount", "more digits", SHORTEST)
    below = pa.array([12.0, 2.0**24 - 1], pa.float32())
    sound("amount-single-below-2-to-the-24.parquet", parquet_of(typed(amount | {"amount": below})), SHORTEST,
          amount_minor=(2**24 - 1) * 100)  # fmt: skip
    half = typed(amount | {"amount": pa.array(np.array([12.5, 19.99], np.float16))})
    unreadable("amount-half.parquet", parquet_of(half), "which is not read", SHORTEST)
    unreadable("amount-half.feather", feather_of(half), "which is not read", SHORTEST)
    doubles = pa.array([12.5, 19.99])
    faulty("amount-double.parquet", parquet_of(typed(amount | {"amount": doubles})), 1, "amount", "binary floating")
    sound(
        "amount-double-declared.parquet", parquet_of(typed(amount | {"amount": doubles})), SHORTEST, amount_minor=1999
    )
    single = pa.array([12.5, 19.99], pa.float32())
    sound("amount-single-declared.parquet", parquet_of(typed(amount | {"amount": single})), SHORTEST, amount_minor=1999)
    for name, value, phrase in (
        ("sum", 0.1 + 0.2, "more digits"),
        ("infinite", float("inf"), "infinite"),
        ("nan", float("nan"), "NaN"),
        ("huge", 1e20, "too large"),
        ("long", 12345678901234.56, "more digits"),
        ("third", 0.333, "more decimals"),
    ):
        table = typed(amount | {"amount": pa.array([12.5, value])})
        faulty(f"amount-double-{name}.parquet", parquet_of(table), 2, "amount", phrase, SHORTEST)
    fine = typed(amount | {"amount": pa.array([Decimal("12.500"), Decimal("19.995")], pa.decimal128(12, 3))})
    faulty("amount-decimal-too-fine.parquet", parquet_of(fine), 2, "amount", "more decimals")
    for name, column, line, phrase in (
        ("true", pa.array([True, False]), 1, "true or false"),
        ("double", pa.array([5716.0, 1.0]), 1, "binary floating"),
        ("decimal", pa.array([Decimal("12.50"), Decimal("1.00")], pa.decimal128(12, 2)), 1, "with decimals"),
        ("null", pa.array([5716, None], pa.int64()), 2, "is empty"),
        ("all-null", pa.nulls(2), 1, "is empty"),
        ("bytes", pa.array([b"5716", b"1"]), 1, "bytes"),
        ("timestamp", pa.array([1, 2], pa.timestamp("ms", "UTC")), 1, "a time"),
        ("negative", pa.array([5716, -1]), 2, "is not 0 to"),
        ("2-to-the-63", pa.array([5716, 2**63], pa.uint64()), 2, "is not 0 to"),
    ):
        faulty(f"minor-{name}.parquet", parquet_of(typed({"amount_minor": column})), line, "amount_minor", phrase)
    halves = typed({"amount_minor": pa.array([5716.0, 12.5])})
    faulty("minor-double-declared.parquet", parquet_of(halves), 2, "amount_minor", "with decimals", SHORTEST)
    for name, column in (
        ("list", pa.array([[1], [2]])),
        ("struct", pa.array([{"a": 1}, {"a": 2}])),
        ("duration", pa.array([1, 2], pa.duration("s"))),
    ):
        unreadable(f"minor-{name}.parquet", parquet_of(typed({"amount_minor": column})), "which is not read")


def _dictionary() -> Any:
    return typed_whole({"channel": pa.array(["CARD", "FASTER_PAYMENT"]).dictionary_encode()})


def _cast(text_type: Any) -> Any:
    table = typed_whole({})
    return table.cast(pa.schema([(name, text_type) for name in table.column_names]))


def _arrow_texts() -> None:
    ids = {"account_id": pa.array([1001, 1002], pa.int64())}
    sound("account-integer.parquet", parquet_of(typed_whole(ids)), account_id="1002")
    doubles = {"account_id": pa.array([1001.0, 1002.0])}
    faulty("account-double.parquet", parquet_of(typed_whole(doubles)), 1, "account_id", "binary floating")
    faulty("account-double-declared.parquet", parquet_of(typed_whole(doubles)), 1, "account_id", "not a text", SHORTEST)
    faulty("account-true.parquet", parquet_of(typed_whole({"account_id": pa.array([True, False])})), 1, "account_id",
           "true or false")  # fmt: skip
    names = {"beneficiary_name": pa.array([b"Mira Holt", b"J\xc3\xb6rg"])}
    faulty("name-bytes.parquet", parquet_of(typed_whole(names)), 1, "beneficiary_name", "is bytes")
    utf8 = '[file]\nbinary = "utf-8"\n'
    sound("name-bytes-declared.parquet", parquet_of(typed_whole(names)), utf8, beneficiary_name="Jörg")
    latin = {"beneficiary_name": pa.array([b"Mira Holt", b"J\xf6rg"])}
    faulty("name-bytes-latin.parquet", parquet_of(typed_whole(latin)), 2, "beneficiary_name", "not UTF-8", utf8)
    for encoding in ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"):  # DuckDB's and others'
        written = parquet_of(typed_whole({}), use_dictionary=False, column_encoding={"reference": encoding})
        sound(f"{encoding}.parquet", written, reference="Rent, July")
    broken = pa.array([b"Mira Holt", b"J\xf6rg"]).view(pa.string())
    faulty("name-not-utf8.parquet", parquet_of(typed_whole({"beneficiary_name": broken})), 2, "beneficiary_name",
           "encoding")  # fmt: skip
    none = {"beneficiary_name": pa.array(["None", None])}
    faulty("name-None.parquet", parquet_of(typed_whole(none)), 1, "beneficiary_name", "missing value")
    sound("name-null.parquet", parquet_of(typed_whole({"beneficiary_name": pa.nulls(2)})), beneficiary_name=None)
    pairs = pa.array([[("age_band", "30")], [("age_band", "40")]], pa.map_(pa.string(), pa.string()))
    sound("segments-map.parquet", parquet_of(typed_whole({"segments": pairs})), segments={"age_band": "40"})
    struct = pa.array([{"age_band": "30"}, {"age_band": None}])
    sound("segments-struct.parquet", parquet_of(typed_whole({"segments": struct})), segments={})
    words = pa.array([[("age_band", "30")], [("age_band", "None")]], pa.map_(pa.string(), pa.string()))
    faulty("segments-map-None.parquet", parquet_of(typed_whole({"segments": words})), 2, "segments", "missing value")
    words = pa.array([{"age_band": "nan"}, {"age_band": "40"}])
    faulty("segments-struct-nan.parquet", parquet_of(typed_whole({"segments": words})), 1, "segments", "missing value")
    twice = pa.array([[("a", "1"), ("a", "2")], []], pa.map_(pa.string(), pa.string()))
    faulty("segments-map-twice.parquet", parquet_of(typed_whole({"segments": twice})), 1, "segments", "twice")
    area = '[segments]\npostcode_area = "area"\n'
    for name, column in (("list", pa.array([["SW"], ["N"]])), ("duration", pa.array([1, 2], pa.duration("s")))):
        table = typed_whole({"segments": None, "area": column})
        unreadable(f"segment-of-a-{name}.parquet", parquet_of(table), "which is not read", area)
    table = typed_whole({"segments": None, "area": pa.array(["SW", "N"])})
    sound("segment-of-a-column.parquet", parquet_of(table), area, segments={"postcode_area": "N"})
    numbers = pa.array([{"age_band": 30}, {"age_band": 40}])
    unreadable(
        "segments-struct-of-numbers.parquet", parquet_of(typed_whole({"segments": numbers})), "which is not read"
    )


def _arrow_times() -> None:
    at_s = 1_782_896_400
    for unit, scale in (("s", 1), ("ms", 1000), ("us", 1_000_000), ("ns", 1_000_000_000)):
        column = pa.array([at_s * scale, (at_s + 1) * scale], pa.timestamp(unit, "Europe/Paris"))
        for field in ("event_time", "event_time_ms"):
            table = typed_whole({"event_time": None, field: column})
            sound(f"{field}-{unit}.parquet", parquet_of(table), event_time_ms=(at_s + 1) * 1000)
    for unit, scale in (("us", 1_000_000), ("ns", 1_000_000_000)):
        column = pa.array([at_s * scale, at_s * scale + 1], pa.timestamp(unit, "UTC"))
        table = typed_whole({"event_time": column})
        faulty(f"event_time-{unit}-lossy.parquet", parquet_of(table), 2, "event_time", "finer than milliseconds")
        cut = '[times]\nevent_time = {below_ms = "cut"}\n'
        sound(f"event_time-{unit}-cut.parquet", parquet_of(table), cut, event_time_ms=at_s * 1000)
    zoned = parquet_of(typed_whole({"event_time": pa.array([at_s, at_s + 1], pa.timestamp("s", "UTC"))}))
    for key in ('zone = "Europe/Berlin"', 'unit = "ms"', 'format = "%Y-%m-%d %H:%M%z"'):
        mapping = f"[times]\nevent_time = {{{key}}}\n"
        unreadable(f"event_time-zoned-{key[:4]}.parquet", zoned, "takes no effect", mapping)
    naive = typed_whole({"event_time": pa.array([at_s * 1000, at_s * 1000 + 1], pa.timestamp("ms"))})
    faulty("event_time-naive.parquet", parquet_of(naive), 1, "event_time", "names no zone")
    zone = '[times]\nevent_time = {zone = "UTC"}\n'
    sound("event_time-naive-declared.parquet", parquet_of(naive), zone, event_time_ms=at_s * 1000 + 1)
    dates = typed_whole({"event_time": pa.array([20635, 20636], pa.date32())})
    faulty("event_time-date.parquet", parquet_of(dates), 1, "event_time", "without a time of day")
    unreadable("event_time-int96.parquet", parquet_of(naive, use_deprecated_int96_timestamps=True), "INT96")
    for name, column, day in (
        ("date32", pa.array([16436, 16437], pa.date32()), 16437),
        ("date64", pa.array([16436 * 86_400_000, 16437 * 86_400_000], pa.date64()), 16437),
        ("midnight", pa.array([16436 * 86_400, 16437 * 86_400], pa.timestamp("s")), 16437),
    ):
        sound(
            f"opened-{name}.parquet", parquet_of(typed_whole({"account_opened": column})), account_opened_epoch_day=day
        )
    for name, column, phrase in (
        ("noon", pa.array([0, 16436 * 86_400 + 43_200], pa.timestamp("s")), "time of day"),
        ("zoned", pa.array([0, 16436 * 86_400], pa.timestamp("s", "UTC")), "depends on a zone"),
    ):
        line = 2 if name == "noon" else 1
        faulty(
            f"opened-{name}.parquet",
            parquet_of(typed_whole({"account_opened": column})),
            line,
            "account_opened",
            phrase,
        )
    days = {"account_opened": None, "account_opened_epoch_day": pa.array([16436, 16437], pa.int32())}
    sound("opened-days.parquet", parquet_of(typed_whole(days)), account_opened_epoch_day=16437)


def _arrow_labels() -> None:
    sound("label-bool.parquet", parquet_of(typed({"fraud": pa.array([True, False])})), fraud=False)
    sound("label-texts.parquet", parquet_of(typed({"fraud": pa.array(["true", "false"])})), fraud=False)
    for name, column, line, phrase in (
        ("null", pa.array([0, None], pa.int8()), 2, "unknown"),
        ("two", pa.array([0, 2], pa.int8()), 2, "neither"),
        ("no", pa.array(["0", "no"]), 2, "neither"),
        ("double", pa.array([0.0, 1.0]), 1, "binary floating"),
    ):
        faulty(f"label-{name}.parquet", parquet_of(typed({"fraud": column})), line, "fraud", phrase)
    sound("label-double-declared.parquet", parquet_of(typed({"fraud": pa.array([0.0, 1.0])})), SHORTEST, fraud=True)


def _arrow_broken() -> None:
    unreadable("stream.arrow", _stream(typed_whole({})), "is an Arrow stream")
    unreadable("equal-rows.parquet", parquet_of(equal_rows(ROWS_FREE + 20_000)), "more of them than bytes")
    sound_bytes = parquet_of(typed({}))
    unreadable("torn.parquet", sound_bytes[: len(sound_bytes) // 2], "can't be read as parquet")
    unreadable("without-its-end.parquet", sound_bytes[:-4], "can't be read as parquet")
    unreadable("only-magic.parquet", b"PAR1", "can't be read as parquet")
    unreadable("encrypted.parquet", b"PARE" + sound_bytes[4:-4] + b"PARE", "encrypted")
    unreadable("not-parquet.parquet", "transaction_id\n1\n", "not what its name says")
    unreadable("gzip.parquet.gz", gzip.compress(sound_bytes), "packed by gzip")
    unreadable("flipped-page.parquet", _flipped(), "can't be read as parquet")
    unreadable("torn.feather", feather_of(typed({}))[:-30], "can't be read as an Arrow file")
    unreadable("version-1.feather", b"FEA1" + b"\0" * 30, "Feather file of version 1")
    unreadable("not-arrow.arrow", "transaction_id\n1\n", "not what its name says")
    odd = typed({"colour": pa.array([1, 2], pa.duration("ns"))})
    sound("ignored-duration.parquet", parquet_of(odd), '[file]\nignore = ["colour"]\n', amount_minor=5716)
    ignore_notes = '[file]\nignore = ["notes.old"]\n'
    sound("ignored-column-of-another-page.parquet", _flipped("notes.old"), ignore_notes, amount_minor=5716)
    dotted = typed({"customer_id": None, "Customer.ID": pa.array([1, 2]), "customer": pa.array([{"id": 7}, {"id": 8}])})
    for name, write in (("parquet", parquet_of), ("feather", feather_of)):
        sound(f"ignored-struct.{name}", write(dotted), '[file]\nignore = ["customer"]\n', account_id="cust-000002")
    same = pa.table([pa.array([1]), pa.array([2])], names=["customer_id", "customer_id"])
    unreadable("two-equal-columns.parquet", parquet_of(same), "two columns")


def _stream(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow has no types


def equal_rows(rows: int) -> Any:
    """Fifty million take hardly more bytes."""
    return pa.table({
        name: pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), [text])
        for name, text in whole(1)[0].items()
    })  # fmt: skip


def _flipped(column: str = "amount_minor") -> bytes:
    """Return a file whose page of a column has another number than its checksum was made for."""
    table = typed({column: pa.array([0x1122334455, 0x1122334455], pa.int64())})
    content = parquet_of(
        table, write_page_checksum=True, write_statistics=False, compression="none", use_dictionary=False
    )
    written = (0x1122334455).to_bytes(8, "little")
    assert written in content
    return content.replace(written, (0x1122334456).to_bytes(8, "little"), 1)


ALL = (_arrow, _arrow_texts, _arrow_times, _arrow_labels, _arrow_broken)
