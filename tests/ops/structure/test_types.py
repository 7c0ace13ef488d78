"""Past the codecs no mapping of fields travels: a record has a type, and its fields are its attributes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.structure.modules import modules_of

ROOTS = ("pipeline.", "models.")
CODECS = "pipeline.io.avro."
"""Bytes become records here, and nowhere else."""
FOREIGN = {
    "pipeline.io.kafka.client": "librdkafka's options are a mapping of its own",
    "pipeline.io.redis.line": "the Redis client's own arguments",
    "pipeline.io.secret_settings": "what pydantic asks of a source of settings",
}
"""Modules that may name a mapping of anything, and why: somebody else's interface is one."""
MAPPINGS = frozenset({"Dict", "Mapping", "MutableMapping", "dict"})


def untyped(source: str) -> Iterator[tuple[int, str]]:
    """Line and offence: `fields["…"]`, in which a misspelt name waits for its test, and mappings of anything."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(
                value=ast.Name(id="fields") | ast.Attribute(attr="fields"), slice=ast.Constant(value=str())
            ):
                yield node.lineno, "fields of a mapping"
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=[ast.Name(id="str"), ast.Name(id="Any")])):
                if name in MAPPINGS:
                    yield node.lineno, "a mapping of anything"
            case ast.Name(id="Datum") | ast.alias(name="Datum"):
                yield node.lineno, "a decoded mapping"


def test_records_have_types() -> None:
    modules = modules_of(Path(__file__).parents[3])
    found = {
        module: offences
        for module, path in modules.items()
        if module.startswith(ROOTS) and not module.startswith(CODECS)
        if (offences := list(untyped(path.read_text(encoding="utf-8"))))
    }
    assert FOREIGN.keys() == found.keys(), {name: found[name] for name in found.keys() - FOREIGN.keys()}
    assert {"a mapping of anything"} == {offence for offences in found.values() for _, offence in offences}


@pytest.mark.parametrize(
    ("source", "offence"),
    [
        ('outcome = fields["outcome"]', "fields of a mapping"),
        ('outcome = record.fields["outcome"]', "fields of a mapping"),
        ("def f(fields: Mapping[str, Any]) -> None: ...", "a mapping of anything"),
        ("def f() -> dict[str, Any]: ...", "a mapping of anything"),
        ("read: list[Mapping[str, Any]] = []", "a mapping of anything"),
        ("def f(fields: Datum) -> None: ...", "a decoded mapping"),
        ("from pipeline.io.avro.wire import Datum", "a decoded mapping"),
    ],
)
def test_a_planted_mapping_is_found(source: str, offence: str) -> None:
    assert [(1, offence)] == list(untyped(source))


@pytest.mark.parametrize("source", ["fields[0]", "counts: dict[str, int] = {}", 'kept["fields"]', "decision.outcome"])
def test_what_has_a_type_is_let_pass(source: str) -> None:
    assert [] == list(untyped(source))
