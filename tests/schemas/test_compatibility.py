"""Full transitive compatibility: every released version reads every other, and the current one is released."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastavro.schema import to_parsing_canonical_form

from pipeline.domain.features import FEATURES, NONE, UNKNOWN
from pipeline.io.avro.schema_files import SCHEMAS, releases, schema_text
from tests.schemas.compatibility import reading_failure

RELEASED = Path("schemas/released")
DECISION = json.loads(schema_text("decision.v1"))


def versions(name):
    return [json.loads(path.read_text()) for path in sorted((RELEASED / name).glob("*.avsc"))]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_current_schema_is_the_latest_release(name):
    current = json.loads(schema_text(name))
    assert to_parsing_canonical_form(current) == to_parsing_canonical_form(versions(name)[-1])


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_release_reads_every_other(name):
    released = versions(name)
    failures = [reading_failure(writer, reader) for writer in released for reader in released]
    assert failures == [None] * len(released) ** 2


def changed(change):
    schema = copy.deepcopy(DECISION)
    change(schema[0]["fields"])
    return schema


def field(fields, name):
    return next(each for each in fields if each["name"] == name)


ALLOWED = {
    "a new field with a default": lambda fields: fields.append({"name": "extra", "type": "string", "default": ""}),
    "a new optional field": lambda fields: fields.insert(3, {"name": "x", "type": ["null", "long"], "default": None}),
    "a field with a default goes": lambda fields: fields.remove(field(fields, "score_micro")),
    "other words": lambda fields: field(fields, "outcome").update(doc="other words"),
}
FORBIDDEN = {
    "a new field without a default": lambda fields: fields.append({"name": "extra", "type": "string"}),
    "a field without a default goes": lambda fields: fields.remove(field(fields, "decision_id")),
    "a field is renamed": lambda fields: field(fields, "summary").update(name="text"),
    "a number becomes a text": lambda fields: field(fields, "source_offset").update(type="string"),
    "an outcome is added": lambda fields: field(fields, "outcome")["type"]["symbols"].append("HOLD"),
    "an outcome goes": lambda fields: field(fields, "outcome")["type"]["symbols"].remove("BLOCK"),
    "a hash becomes shorter": lambda fields: field(fields, "model_hash")["type"].update(size=20),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED)
def test_changes_that_are_allowed(change):
    assert (reading_failure(DECISION, changed(change)), reading_failure(changed(change), DECISION)) == (None, None)


@pytest.mark.parametrize("change", FORBIDDEN.values(), ids=FORBIDDEN)
def test_changes_that_are_found_out(change):
    assert reading_failure(DECISION, changed(change)) or reading_failure(changed(change), DECISION)


def fields_of(schema: object, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a schema, nested ones too, by its dotted place."""
    match schema:
        case list():
            for branch in schema:
                name = branch.get("name", "") if isinstance(branch, dict) else ""
                yield from fields_of(branch, f"{place}{name}." if place == "" and name else place)
        case dict():
            for each in schema.get("fields", []):
                yield f"{place}{each['name']}", each
                yield from fields_of(each["type"], f"{place}{each['name']}.")
            for key in ("items", "values", "type"):
                if isinstance(schema.get(key), dict | list):
                    yield from fields_of(schema[key], place)


ADDED = [
    (name, place, each)
    for name in SCHEMAS
    for place, each in fields_of(json.loads(schema_text(name)))
    if any(place not in dict(fields_of(release)) for release in versions(name))
]


@pytest.mark.parametrize(("name", "place", "added"), ADDED, ids=[f"{name}: {place}" for name, place, _ in ADDED])
def test_a_field_that_a_writer_may_lack_says_what_that_means(name, place, added):
    """Never a permissive default: a missing value is known to be NONE, or it is UNKNOWN, and the schema says which."""
    word, _, sentence = added["unsaid"].partition(": ")
    assert word in {"NONE", "UNKNOWN"}
    assert sentence.endswith(".")
    if place.startswith("Decision.snapshot.features."):
        assert (UNKNOWN if word == "UNKNOWN" else NONE) == added["default"]
    if word == "NONE":
        assert added["default"] in (None, "", 0, -1, False, [], {}, "\0" * 32)


def test_the_fields_that_were_added_are_found():
    places = {place for _, place, _ in ADDED}
    assert {"is_over", "Decision.snapshot.features.event_age_hours", "Reversal.plan_digest"} < places


def test_no_feature_ever_goes():
    """A model that reads it decided, and its decisions are decided again for ever."""
    for schema in versions("decision.v1"):
        for place, _ in fields_of(schema):
            if place.startswith("Decision.snapshot.features."):
                assert place.rpartition(".")[2] in FEATURES


def test_a_release_keeps_its_number():
    for name in SCHEMAS:
        assert list(range(1, len(releases(name)) + 1)) == list(releases(name))
