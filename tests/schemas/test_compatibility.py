"""Full transitive compatibility: every released version reads every other, and the current one is released."""

import copy
import json
from pathlib import Path

import pytest
from fastavro.schema import to_parsing_canonical_form

from pipeline.io.avro.wire import SCHEMAS, schema_text
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
