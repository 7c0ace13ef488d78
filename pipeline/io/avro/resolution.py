"""How values of one schema become values of another: Avro's resolution, compiled into steps (resolving.py).

It knows what Avro's specification allows and the project's schemas use: fields that come, go or move, enums and unions
that grow, int where long is read, and text where bytes are. Aliases and floating point are refused, as is whatever
could only be guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastavro.schema import SchemaParseException, UnknownType, expand_schema

from pipeline.io.avro.resolving import (
    BooleanStep,
    Branch,
    BytesStep,
    EnumStep,
    Field,
    FixedStep,
    IntoUnionStep,
    IntStep,
    LongStep,
    ManyStep,
    MovedRecordStep,
    NullStep,
    RecordStep,
    Resolution,
    Step,
    TextStep,
    UnionStep,
    encoded_long,
)

Json = Any
"""A schema as JSON has it, names and all; fastavro has checked it."""
_PRIMITIVES: Final[Mapping[str, type[Step]]] = {
    "null": NullStep,
    "boolean": BooleanStep,
    "int": IntStep,
    "long": LongStep,
    "string": TextStep,
    "bytes": BytesStep,
}
_SAME_BYTES: Final = frozenset({("int", "long"), ("string", "bytes")})
"""Types of a writer and a reader whose values have the same bytes."""
_ENUM_SYMBOLS_MAX: Final = 64
"""The number of a symbol takes one byte; see pipeline.io.avro.reading."""
_NESTED_MAX: Final = 32


class Unresolvable(ValueError):
    """Values of the one schema can't be read with the other. The message is one sentence that names the field."""


def resolution(writer: Json, reader: Json) -> Resolution:
    """Return how values of `writer` become values of `reader`. Raises Unresolvable."""
    return Resolution(_step(expanded(writer), expanded(reader), ""))


def expanded(schema: Json) -> Json:
    """Return the schema with every named type where it is used. Raises Unresolvable where it is none."""
    try:
        whole = expand_schema(schema)
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Unresolvable(f"it is no Avro schema ({type(error).__name__}: {error})") from error
    if _depth(whole) > _NESTED_MAX:
        raise Unresolvable(f"it is nested more than {_NESTED_MAX} levels deep")
    return whole


def kind_of(schema: Json) -> str:
    """Return what a schema is of: a primitive's name, record, enum, fixed, array, map, or union."""
    if isinstance(schema, list):
        return "union"
    return str(schema["type"] if isinstance(schema, Mapping) else schema)


def _depth(schema: Json) -> int:
    """Return how deep it is nested; a name that stands for a type around it is a recursion, which has no depth."""
    if isinstance(schema, str):
        if schema not in _PRIMITIVES and schema not in {"float", "double"}:
            raise Unresolvable(f"{schema} contains itself, and recursive schemas are refused")
        return 0
    if isinstance(schema, list):
        if not schema:
            raise Unresolvable("a union of nothing has no values")
        return 1 + max(map(_depth, schema), default=0)
    if not isinstance(schema["type"], str):
        return _depth(schema["type"])
    inner = [schema[key] for key in ("items", "values") if key in schema]
    inner += [field["type"] for field in schema.get("fields", ())]
    return 1 + max(map(_depth, inner), default=0)


def _step(writer: Json, reader: Json, place: str) -> Step:
    written, read = kind_of(writer), kind_of(reader)
    if written == "union":
        return UnionStep([_branch(branch, reader, place) for branch in writer])
    if read == "union":
        number = _branch_of(writer, reader)
        if number is None:
            raise Unresolvable(f"{_at(place)} {written} is written, and none of its types is that")
        return IntoUnionStep(_step(writer, reader[number], place), encoded_long(number))
    if written in _PRIMITIVES and (written == read or (written, read) in _SAME_BYTES):
        return _PRIMITIVES[written]()
    if written != read or written not in {"record", "enum", "fixed", "array", "map"}:
        raise Unresolvable(f"{_at(place)} {written} is written, and {read} is read")
    if written in {"array", "map"}:
        key = "items" if written == "array" else "values"
        if takes_no_bytes(writer[key]):
            raise Unresolvable(f"{_at(place)} an entry may take no bytes, so a few of them could claim any number")
        return ManyStep(_step(writer[key], reader[key], place), written == "map")
    if _bare_name(writer) != _bare_name(reader):
        raise Unresolvable(f"{_at(place)} {_bare_name(writer)} is written, and {_bare_name(reader)} is read")
    if written == "record":
        return _record(writer, reader, place)
    return _enum(writer, reader, place) if written == "enum" else _fixed(writer, reader, place)


def _branch(writer: Json, reader: Json, place: str) -> Branch:
    """Return a branch of the writer's union; one that the reader has no place for is refused when it is met."""
    branches = reader if isinstance(reader, list) else [reader]
    number = _branch_of(writer, branches)
    if number is None:
        return Branch(_step(writer, writer, place), None)
    prefix = encoded_long(number) if isinstance(reader, list) else b""
    return Branch(_step(writer, branches[number], place), prefix)


def _branch_of(writer: Json, branches: Sequence[Json]) -> int | None:
    """Return the reader's branch for what is written: of the same type, else the first with the same bytes."""
    written = kind_of(writer)
    for number, branch in enumerate(branches):
        if kind_of(branch) == written and _bare_name(branch) == _bare_name(writer):
            return number
    return next((n for n, branch in enumerate(branches) if (written, kind_of(branch)) in _SAME_BYTES), None)


def _record(writer: Json, reader: Json, place: str) -> RecordStep:
    reads = {field["name"]: field for field in reader["fields"]}
    names = [field["name"] for field in writer["fields"]]
    defaults = {name: _default(field, f"{place}{name}") for name, field in reads.items() if name not in names}
    fields = [
        Field(
            field["name"],
            _step(field["type"], reads.get(field["name"], field)["type"], f"{place}{field['name']}."),
            is_kept=field["name"] in reads,
            before=b"",
        )
        for field in writer["fields"]
    ]
    order = [name for name in reads if name in names]
    if order != [name for name in names if name in reads]:
        places = [names.index(name) if name in names else -1 for name in reads]
        return MovedRecordStep(fields, places, [defaults.get(name, b"") for name in reads])
    kept = iter([field for field in fields if field.is_kept])
    waiting = b""
    for name in reads:
        if name in defaults:
            waiting += defaults[name]
        else:
            next(kept).before, waiting = waiting, b""
    return RecordStep(fields, waiting)


def _enum(writer: Json, reader: Json, place: str) -> EnumStep:
    if len(writer["symbols"]) > _ENUM_SYMBOLS_MAX:
        raise Unresolvable(f"{_at(place)} an enum has more than {_ENUM_SYMBOLS_MAX} symbols")
    symbols = list(reader["symbols"])
    other = symbols.index(reader["default"]) if "default" in reader else -1
    targets = [symbols.index(each) if each in symbols else other for each in writer["symbols"]]
    if all(target < 0 for target in targets):
        raise Unresolvable(f"{_at(place)} none of the symbols that are written can be read")
    return EnumStep(targets)


def _fixed(writer: Json, reader: Json, place: str) -> FixedStep:
    if writer["size"] != reader["size"]:
        raise Unresolvable(f"{_at(place)} {writer['size']} bytes are written, and {reader['size']} are read")
    return FixedStep(writer["size"])


def takes_no_bytes(schema: Json) -> bool:
    """Whether values of a schema may take no bytes: a count of such entries could be any number."""
    kind = kind_of(schema)
    if kind == "record":
        return all(takes_no_bytes(field["type"]) for field in schema["fields"])
    return kind == "null" or (kind == "fixed" and schema["size"] == 0)


def _default(field: Json, place: str) -> bytes:
    if "default" not in field:
        raise Unresolvable(f"{place} is not written, and it must be: there is no default for it")
    return encoded_default(field["type"], field["default"])


def encoded_default(schema: Json, value: Json) -> bytes:
    """Encode a default as JSON has it; a union's is of its first branch."""
    match kind_of(schema):
        case "null":
            return b""
        case "union":
            return b"\0" + encoded_default(schema[0], value)
        case "boolean":
            return b"\1" if value else b"\0"
        case "int" | "long":
            return encoded_long(value)
        case "string":
            return _sized(value.encode())
        case "bytes":
            return _sized(value.encode("latin-1"))
        case "fixed":
            return bytes(value.encode("latin-1"))
        case "enum":
            return encoded_long(schema["symbols"].index(value))
        case "array":
            return _block([encoded_default(schema["items"], each) for each in value])
        case "map":
            entries = [_sized(name.encode()) + encoded_default(schema["values"], each) for name, each in value.items()]
            return _block(entries)
        case "record":
            fields = schema["fields"]
            return b"".join(
                encoded_default(field["type"], value.get(field["name"], field.get("default"))) for field in fields
            )
    raise Unresolvable(f"{kind_of(schema)} is not used here")


def _sized(content: bytes) -> bytes:
    return encoded_long(len(content)) + content


def _block(entries: Sequence[bytes]) -> bytes:
    return b"".join((encoded_long(len(entries)), *entries, b"\0")) if entries else b"\0"


def _bare_name(schema: Json) -> str:
    """Return a named type's name without its namespace, which resolution leaves out; empty for any other."""
    return str(schema.get("name", "")).rpartition(".")[2] if isinstance(schema, Mapping) else ""


def _at(place: str) -> str:
    return f"{place.removesuffix('.')}:" if place else "as a whole,"
