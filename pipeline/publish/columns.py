"""The columns that a file of payments has, by the types of Arrow, and the rows that come out of them.

A text file (CSV) has columns of texts. JSON lines have columns of whatever their values are: kind MIXED.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class ColumnKind(StrEnum):
    TEXT = "TEXT"
    BINARY = "BINARY"
    INTEGER = "INTEGER"
    SINGLE = "SINGLE"  # a float of 32 bits, given as a Python float
    DOUBLE = "DOUBLE"
    DECIMAL = "DECIMAL"
    BOOLEAN = "BOOLEAN"
    TIMESTAMP = "TIMESTAMP"  # an integer in `unit`, since 1970-01-01 in UTC or, if not `is_zoned`, on some wall clock
    DATE = "DATE"  # an integer: days since 1970-01-01
    PAIRS = "PAIRS"  # names and texts: a map, or a struct
    NULL = "NULL"
    MIXED = "MIXED"  # each value has a type of its own
    OTHER = "OTHER"


class Column(NamedTuple):
    name: str  # as the file spells it
    kind: ColumnKind
    type_name: str = "text"  # as the file's format calls its type
    unit: str = ""  # "s", "ms", "us" or "ns"
    is_zoned: bool = False


class Batch(NamedTuple):
    lines: Sequence[int]
    values: Sequence[Sequence[object]]  # a sequence a column


class Stamp(NamedTuple):
    """A value of a TIMESTAMP column."""

    number: int
    unit: str
    is_zoned: bool


class Day(NamedTuple):
    """A value of a DATE column."""

    number: int


def plain_name(name: str) -> str:
    """Fold what people vary in a header: case, blanks, hyphens and dots; and marks without width around it."""
    return "_".join(name.strip("\ufeff\u200b").casefold().replace("-", " ").replace(".", " ").replace("_", " ").split())
