"""I8: money is integer minor units with an ISO 4217 code, on every topic and in every table."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.io.avro.schema_files import SCHEMAS, schema_text

MIGRATIONS = sorted(Path("ops/migrations").glob("*.sql"))
MONEY = re.compile(r"^\s*(\w*(?:_minor|amount|balance)\w*)\s+([a-z]+)", re.MULTILINE)
"""A column's line in CREATE TABLE: its name, and the first word of its type."""
COLUMN_TYPES = (
    "bigint",
    "numeric",
    "integer",
    "smallint",
    "text",
    "jsonb",
    "real",
    "double",
    "money",
    "decimal",
    "float",
)


def types_of(schema: object) -> Iterator[str]:
    """Every primitive type that a schema names, whatever it is nested in."""
    match schema:
        case str():
            yield schema
        case list():
            for each in schema:
                yield from types_of(each)
        case dict():
            for key in ("type", "items", "values"):
                if key in schema:
                    yield from types_of(schema[key])
            for field in schema.get("fields", []):
                yield from types_of(field["type"])


def amounts_of(schema: object) -> Iterator[tuple[str, object]]:
    """Name and type of every field that holds money by its name."""
    match schema:
        case list():
            for each in schema:
                yield from amounts_of(each)
        case dict():
            for field in schema.get("fields", []):
                if field["name"].endswith("_minor"):
                    yield field["name"], field["type"]
                yield from amounts_of(field["type"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_schema_holds_a_float(name: str) -> None:
    assert not {"float", "double"} & set(types_of(json.loads(schema_text(name))))


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_amount_is_a_long(name: str) -> None:
    for field, kind in amounts_of(json.loads(schema_text(name))):
        assert kind in ("long", ["null", "long"]), field


@pytest.mark.parametrize("schema", [{"type": "double"}, ["null", "float"], {"type": "array", "items": "double"}])
def test_a_planted_float_is_found(schema: object) -> None:
    assert {"float", "double"} & set(types_of({"type": "record", "fields": [{"name": "x", "type": schema}]}))


def amounts_in(sql: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind in MONEY.findall(sql) if kind in COLUMN_TYPES]


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: path.stem)
def test_no_table_holds_an_amount_that_is_no_integer(path: Path) -> None:
    """A balance is numeric, so that no sum overflows, and checked to be whole."""
    sql = path.read_text()
    assert [] == [
        (name, kind)
        for name, kind in amounts_in(sql)
        if kind != "bigint" and f"{name} numeric NOT NULL CHECK ({name} = trunc({name}))" not in sql
    ]


def test_a_planted_amount_in_numeric_is_found() -> None:
    assert [("amount_minor", "numeric")] == amounts_in("CREATE TABLE t (\n    amount_minor numeric NOT NULL\n)")
    assert any(amounts_in(path.read_text()) for path in MIGRATIONS)
