"""A file's values as plain ones: None, a text, an integer, a decimal, a truth, a Stamp, a Day, pairs; or Wrong.

Invariants
1. Nothing is lost on the way: a plain value says exactly what the file says.
2. What could mean two things (a word for a missing value, a binary fraction, bytes) is Wrong unless the map declares
   which it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import numpy as np

from pipeline.domain.refusals import WORDS_FOR_NOTHING
from pipeline.publish.columns import Column, ColumnKind, Day, Stamp
from pipeline.publish.file_map import FileMap
from pipeline.publish.payment_source import Wrong

Convert = Callable[[object], object]

_WORD_CHARACTERS: Final = 9
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_DOUBLE: Final = 1 << 53, 15
_SINGLE: Final = 1 << 24, 6
"""The integer up to which each has a float of its own, which the next one shares, and the decimal digits that every
float gives back as they were written (IEEE 754's DBL_DIG and FLT_DIG)."""


def plain(field: str, column: Column, rules: FileMap) -> Convert:
    """Return the function that makes a value of the column plain. `field` is for the words that the map translates."""
    words = rules.values.get(field, {})
    text = text_rule(field, rules)
    number = _number(rules, *(_SINGLE if column.kind is ColumnKind.SINGLE else _DOUBLE))
    match column.kind:
        case ColumnKind.TEXT:
            return text if not words else _translated(text, words)
        case ColumnKind.INTEGER | ColumnKind.BOOLEAN:
            return as_is if not words else _translated(as_is, words)
        case ColumnKind.DECIMAL | ColumnKind.NULL | ColumnKind.PAIRS:
            return as_is
        case ColumnKind.DOUBLE | ColumnKind.SINGLE:
            return _single(number) if column.kind is ColumnKind.SINGLE else number
        case ColumnKind.TIMESTAMP:
            unit, is_zoned = column.unit, column.is_zoned
            return lambda value: None if value is None else Stamp(int(value), unit, is_zoned)  # type: ignore[call-overload]
        case ColumnKind.DATE:
            return lambda value: None if value is None else Day(int(value))  # type: ignore[call-overload]
        case ColumnKind.BINARY:
            return _decoded(text if not words else _translated(text, words), rules)
        case ColumnKind.MIXED:
            return _mixed(text, number, words)
        case ColumnKind.OTHER:
            return _refused(f"is of type {column.type_name}, which no field takes")


def as_is(value: object) -> object:
    """Return a value that is plain already."""
    return value


def _refused(what: str) -> Convert:
    def convert(value: object) -> object:
        if value is None:
            return None
        raise Wrong(what)

    return convert


def text_rule(field: str, rules: FileMap) -> Convert:
    """Return the rule for a text wherever it stands, also within pairs: the text, or None where it says nothing."""
    encoding = rules.file.encoding or "utf-8"
    other_encoding = None if encoding.startswith("utf-") else encoding
    absent, kept = frozenset(rules.file.absent), frozenset(rules.file.kept)
    is_stripped, is_country = rules.file.blanks == "strip", field == "beneficiary_country"

    def convert(value: object) -> object:
        if value is None or value == "":
            return None
        assert isinstance(value, str), "a column of texts"
        if not value.isascii() and _LONE_SURROGATE.search(value):
            raise Wrong("has bytes that are not in the encoding that the file is read in, or half a character: declare "
                        "the encoding of a delimited file in the map, or write the text anew")  # fmt: skip
        if "\0" in value:
            raise Wrong("has a NUL character")
        if '"' in value and value not in kept and (value[:1].isspace() or value[-1:].isspace()):
            _refuse_odd_quote(value)
        if other_encoding is not None and not value.isascii() and value not in kept:
            _refuse_utf8(value, other_encoding)
        text = value.strip() if is_stripped else value
        if not text or text in absent:
            return None
        word = text.strip()
        if len(word) <= _WORD_CHARACTERS and word.lower() in WORDS_FOR_NOTHING and text not in kept:
            if is_country and text == "NA":  # Namibia
                return text
            raise Wrong("is a word that often stands for a missing value: name it in the map under absent or kept")
        return text

    return convert


def _refuse_odd_quote(text: str) -> None:
    stripped = text.strip()
    if (text[:1].isspace() and stripped[:1] == '"') or (text[-1:].isspace() and stripped[-1:] == '"'):
        raise Wrong("has blanks outside a quote sign: write the quotes right beside the separators, or name it in the "
                    "map under kept")  # fmt: skip


def _refuse_utf8(text: str, encoding: str) -> None:
    if is_utf8_in(encoding, text):
        raise Wrong(f"has bytes that are sound UTF-8, and the map declares {encoding}: correct its encoding, or name "
                    "it in the map under kept")  # fmt: skip


def is_utf8_in(encoding: str, text: str) -> bool:
    """Whether the text is what an encoding of one byte a character makes of sound UTF-8: two letters of one."""
    try:
        text.encode(encoding).decode()
    except UnicodeError:
        return False
    return True


def _translated(convert: Convert, words: dict[str, str | int | bool]) -> Convert:
    def translate(value: object) -> object:
        if isinstance(value, str) and value in words:
            return words[value]
        plain_value = convert(value)
        if isinstance(plain_value, bool):
            return words.get("true" if plain_value else "false", plain_value)
        return words.get(str(plain_value), plain_value) if isinstance(plain_value, str | int) else plain_value

    return translate


def _number(rules: FileMap, whole_max: int, digits_max: int) -> Convert:
    """Return the rule for floats. The shortest decimal that reads back as the same float is what was written, if it
    has no more digits than every float gives back."""
    is_shortest, is_nan_absent = rules.file.doubles == "shortest", rules.file.nan == "absent"

    def convert(value: object) -> object:
        if value is None:
            return None
        assert isinstance(value, float | np.floating), "a column of floating-point numbers"
        if math.isnan(value):
            if is_nan_absent:
                return None
            raise Wrong("is NaN, no number: declare nan = 'absent' in the map if it means a missing value")
        if math.isinf(value):
            raise Wrong("is infinite")
        if not is_shortest:
            raise Wrong("is a binary floating-point number, which holds no decimals exactly: declare doubles = "
                        "'shortest' in the map, or write decimals or integers")  # fmt: skip
        found = Decimal(str(value))
        if found == found.to_integral_value() and abs(found) < whole_max:
            return found.to_integral_value()
        if len(found.normalize().as_tuple().digits) > digits_max:
            raise Wrong("is a floating-point number with more digits than it holds exactly")
        if found == found.to_integral_value():
            raise Wrong("is a floating-point number too large to be exact")
        return found

    return convert


def _single(number: Convert) -> Convert:
    """Return the rule for floats of 32 bits, whose shortest decimal is another than that of the same double."""
    return lambda value: number(None if value is None else np.float32(value))  # type: ignore[arg-type]


def _decoded(text: Convert, rules: FileMap) -> Convert:
    is_utf8 = rules.file.binary == "utf-8"

    def convert(value: object) -> object:
        if value is None:
            return None
        if not is_utf8:
            raise Wrong("is bytes, not text: declare binary = 'utf-8' in the map, or write text")
        assert isinstance(value, bytes), "a column of bytes"
        try:
            return text(value.decode())
        except UnicodeDecodeError as error:
            raise Wrong("is bytes that are not UTF-8") from error

    return convert


def _mixed(text: Convert, number: Convert, words: dict[str, str | int | bool]) -> Convert:
    """Return the rule for JSON, whose numbers come as integers and decimals, never as doubles."""
    spoken, counted = (_translated(text, words), _translated(as_is, words)) if words else (text, as_is)

    def convert(value: object) -> object:
        if isinstance(value, str):
            return spoken(value)
        if isinstance(value, float):
            return number(value)
        if isinstance(value, list):
            raise Wrong("is a list")
        return counted(value)

    return convert
