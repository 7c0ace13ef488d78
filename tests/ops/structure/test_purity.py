"""A module that isn't named for it does nothing to the world, and asks nothing of it (docs/architecture.md)."""

from pathlib import Path

import pytest

from ops.structure.modules import modules_of
from ops.structure.purity import Violation, is_impure, violations, violations_of

ROOT = Path(__file__).parents[3]
MODULES = modules_of(ROOT)
PURE = "pipeline.audit.chain"


def faults(source: str, module: str = PURE) -> list[tuple[str, str]]:
    return [(found.kind, found.what) for found in violations_of(module, source, MODULES)]


def test_every_module_named_as_pure_is_pure() -> None:
    assert [] == list(violations(MODULES))


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import time", ("clock", "time")),
        ("from time import monotonic", ("clock", "time")),
        ("from datetime import datetime\nat = datetime.now()", ("clock", "now")),
        ("from datetime import date\nday = date.today()", ("clock", "today")),
        ("import random", ("randomness", "random")),
        ("def pick():\n    import secrets\n    return secrets.token_hex()", ("randomness", "secrets")),
        ("from uuid import uuid4\nkey = uuid4()", ("randomness", "uuid4")),
        ("place = hash('text')", ("randomness", "hash")),
        ("import logging", ("logging", "logging")),
        ("import structlog", ("client library", "structlog")),
        ("async def ask(): ...", ("await", "AsyncFunctionDef")),
        ("import redis.asyncio", ("client library", "redis.asyncio")),
        ("from confluent_kafka import Consumer", ("client library", "confluent_kafka")),
        ("import psycopg", ("client library", "psycopg")),
        ("import os", ("input or output", "os")),
        ("from pathlib import Path", ("input or output", "pathlib")),
        ("text = open('file').read()", ("input or output", "open")),
        ("print('here')", ("input or output", "print")),
        ("import fastavro", ("input or output", "fastavro")),
        ("from pipeline.io import postgres", ("impure module", "pipeline.io.postgres")),
        ("from pipeline.io.postgres import connect", ("impure module", "pipeline.io.postgres")),
        ("from pipeline.review import service", ("impure module", "pipeline.review.service")),
        ("from models.train import learn", ("impure module", "models.train.learn")),
        ("import ops.stack", ("impure module", "ops.stack")),
    ],
)
def test_a_planted_violation_is_found(source: str, fault: tuple[str, str]) -> None:
    assert [fault] == faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\nat = datetime.fromtimestamp(0, UTC)",
        "from pipeline.domain.features import COLUMN",
        "from pipeline.io.avro.wire import WireFormat",
        "import hashlib, json, re, numpy",
        "class Fast(str):\n    __hash__ = str.__hash__",
    ],
)
def test_values_from_values_are_pure(source: str) -> None:
    assert [] == faults(source)


def test_a_codec_may_use_the_schema_library_and_no_clock() -> None:
    codec = "pipeline.io.avro.wire"
    assert [] == faults("from io import BytesIO\nimport fastavro", codec)
    assert [("clock", "time")] == faults("import time", codec)


def test_a_planted_file_is_found_by_its_place(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("import time\n")
    found = list(violations({**MODULES, "pipeline.review.planted": planted}))
    assert [Violation("pipeline.review.planted", 1, "clock", "time")] == found
    assert [] == list(violations({**MODULES, "pipeline.review.planted_service": planted}))


@pytest.mark.parametrize("module", ["pipeline.io.postgres", "pipeline.audit.log_store", "pipeline.decide.app"])
def test_a_name_or_a_place_says_that_a_module_acts(module: str) -> None:
    assert is_impure(module)


@pytest.mark.parametrize("module", ["pipeline.decide.batch", "pipeline.io.avro.wire", "pipeline.audit.restored"])
def test_a_word_counts_whole_only(module: str) -> None:
    assert not is_impure(module)
