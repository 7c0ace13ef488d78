"""`fraud schemas check`: what it tells a publisher is what then becomes of his values."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.schema_files import SCHEMAS, released_text, releases, schema_text
from pipeline.io.avro.wire import WireFormat
from tests.commands import Fraud
from tests.records import PAYMENT

Fields = list[dict[str, Any]]


def changed(change: Callable[[Fields], object]) -> Any:
    schema = json.loads(schema_text("transaction.v1"))
    change(schema["fields"])
    return schema


def field(fields: Fields, name: str) -> dict[str, Any]:
    return next(each for each in fields if each["name"] == name)


def said(fraud: Fraud, tmp_path: Path, schema: Any, topic: str = "transactions.v1") -> tuple[int, list[dict[str, Any]]]:
    path = tmp_path / "mine.avsc"
    path.write_text(json.dumps(schema))
    answer = fraud("schemas", "check", path, "--topic", topic, "--json")
    return answer.code, [json.loads(line) for line in answer.out.splitlines()]


@pytest.mark.parametrize("number", releases("transaction.v1"))
def test_every_release_is_accepted(fraud: Fraud, tmp_path: Path, number: int) -> None:
    code, [*fields, verdict] = said(fraud, tmp_path, json.loads(released_text("transaction.v1", number)))
    assert (0, True, f"transaction.v1/{number}") == (code, verdict["is_accepted"], verdict["release"])
    assert {each["fate"] for each in fields} <= {"READ", "DEFAULT"}


def test_other_words_and_orders_of_keys_are_the_same_schema(fraud: Fraud, tmp_path: Path) -> None:
    schema = changed(lambda fields: field(fields, "amount_minor").update(doc="ours"))
    assert said(fraud, tmp_path, schema)[0] == 0


def test_a_field_that_is_left_out_takes_a_default_with_a_meaning(fraud: Fraud, tmp_path: Path) -> None:
    code, [*fields, verdict] = said(fraud, tmp_path, changed(lambda fields: fields.remove(field(fields, "device_id"))))
    [told] = [each for each in fields if each["place"] == "device_id"]
    assert ("DEFAULT", 1) == (told["fate"], code)
    assert told["meaning"].startswith("None: NONE: no device is known")
    assert (False, True) == (verdict["is_accepted"], verdict["is_releasable"])


def test_a_field_of_his_own_is_ignored(fraud: Fraud, tmp_path: Path) -> None:
    own = {"name": "branch", "type": "string", "default": ""}
    _, [*fields, verdict] = said(fraud, tmp_path, changed(lambda fields: fields.insert(2, own)))
    assert ["branch"] == [each["place"] for each in fields if each["fate"] == "IGNORED"]
    assert verdict["is_releasable"]


REFUSED: dict[str, tuple[Callable[[Fields], object], str]] = {
    "a field that must be there goes": (lambda f: f.remove(field(f, "currency")), "currency is not written"),
    "money as floating point": (lambda f: field(f, "amount_minor").update(type="double"), "amount_minor: double"),
    "a text for a time": (lambda f: field(f, "event_time_ms").update(type="string"), "event_time_ms: string"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_read_is_named(
    fraud: Fraud, tmp_path: Path, refused: tuple[Callable[[Fields], object], str]
) -> None:
    change, says = refused
    code, [verdict] = said(fraud, tmp_path, changed(change))
    assert (1, False) == (code, verdict["is_releasable"])
    assert says in verdict["why"]


def test_values_without_a_place_are_counted(fraud: Fraud, tmp_path: Path) -> None:
    schema = changed(lambda fields: field(fields, "currency").update(type=["null", "string"]))
    code, [*fields, verdict] = said(fraud, tmp_path, schema)
    assert ["currency"] == [each["place"] for each in fields if each["fate"] == "SOMETIMES_REFUSED"]
    assert (1, False) == (code, verdict["is_releasable"])
    assert verdict["unreadable"] > 0


def test_symbols_that_nobody_knows_become_the_default(fraud: Fraud, tmp_path: Path) -> None:
    schema = changed(lambda fields: field(fields, "channel")["type"]["symbols"].append("CRYPTO"))
    _, [*fields, _] = said(fraud, tmp_path, schema)
    assert "CRYPTO become OTHER" in next(each["meaning"] for each in fields if each["place"] == "channel")


def test_the_verdict_in_words(fraud: Fraud, tmp_path: Path) -> None:
    path = tmp_path / "mine.avsc"
    path.write_text(schema_text("account.v1"))
    assert "ACCEPTED: it is account.v1/1" in fraud("schemas", "check", path, "--topic", "accounts.v1").out
    refused = fraud("schemas", "check", path, "--topic", "labels.v1")
    assert 1 == refused.code
    assert "REFUSED: its values can't be read as label.v1" in refused.out


@pytest.mark.parametrize(
    ("content", "topic", "says"),
    [
        ("{", "transactions.v1", "is no JSON"),
        ("[" * 100_000, "transactions.v1", "is no JSON"),
        ("{}", "payments", "no topic payments"),
    ],
)
def test_what_is_no_question_is_refused_in_words(
    fraud: Fraud, tmp_path: Path, content: str, topic: str, says: str
) -> None:
    path = tmp_path / "mine.avsc"
    path.write_text(content)
    answer = fraud("schemas", "check", path, "--topic", topic)
    assert 2 == answer.code
    assert says in answer.err
    assert "can't be read" in fraud("schemas", "check", tmp_path / "none", "--topic", "transactions.v1").err


@pytest.mark.parametrize("content", ["7", '"money"', "[]", '{"type": "record"}', "null", '{"type": ["null", 3]}'])
def test_what_is_no_schema_is_refused_in_words(fraud: Fraud, tmp_path: Path, content: str) -> None:
    code, [verdict] = said(fraud, tmp_path, json.loads(content))
    assert 1 == code
    assert verdict["why"]


def test_what_it_says_of_a_stranger_is_what_becomes_of_his_values() -> None:
    schema = changed(lambda fields: fields.remove(field(fields, "device_id")))
    header = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
    stream = io.BytesIO()
    schemaless_writer(stream, parse_schema(copy.deepcopy(schema)), PAYMENT._asdict())
    refusal = WireFormat().decode_transaction(header + stream.getvalue())
    assert isinstance(refusal, Refusal)
    assert RefusalCode.SCHEMA_UNKNOWN == refusal.code


def test_every_schema_has_a_topic(fraud: Fraud, tmp_path: Path) -> None:
    from ops.stack.registry_command import TOPIC_OF

    assert set(SCHEMAS) == set(TOPIC_OF)
