"""`fraud quarantine` on a topic: exactly the bytes that stand there, proposed by one and confirmed by another."""

from __future__ import annotations

import json
from pathlib import Path

from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from pipeline.io.postgres import Connection
from pipeline.quarantine.put_aside_store import statement_of
from tests.commands import Fraud
from tests.known import settings_of
from tests.quarantine.given import REASON, appoint
from tests.servers import unused_prefix, url_as

POISON = b"\xc3\x01 no record"


def test_record_is_proposed_confirmed_and_listed(
    fraud: Fraud, stack: EmbeddedStack, database_url: str, owner: Connection, tmp_path: Path
) -> None:
    appoint(owner)
    prefix = unused_prefix()
    topic = f"{prefix}decisions.v1"
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    producer.produce(topic, POISON, b"key", 0)
    assert producer.flush(120) == 0
    places = {
        "bootstrap_servers": stack.bootstrap_servers,
        "topic_prefix": prefix,
        "database_url": url_as(database_url, "fraud_rollback"),
    }
    rob, ada = settings_of(tmp_path, "rob"), settings_of(tmp_path, "ada")
    asked = ["quarantine", "propose", "decisions.v1", "0", "0", "--reason", REASON, "--json"]
    proposed = fraud(*asked, **places, **rob)
    assert proposed.code == 0, proposed.err
    assert "no record of decisions.v1" in proposed.err
    quarantine_id = json.loads(proposed.out)["quarantine_id"]
    refused = fraud("quarantine", "confirm", quarantine_id, **places, **rob)
    assert (refused.code, statement_of(owner, topic, 0, 0, POISON)) == (1, None)
    confirmed = fraud("quarantine", "confirm", quarantine_id, **places, **ada)
    assert confirmed.code == 0, confirmed.err
    said = statement_of(owner, topic, 0, 0, POISON)
    assert said is not None
    assert ("rob", "ada", REASON) == tuple(json.loads(said)[name] for name in ("proposed_by", "confirmed_by", "reason"))
    assert statement_of(owner, topic, 0, 0, POISON + b"!") is None
    listed = fraud("quarantine", "list", "--json", **places)
    assert [quarantine_id] == [json.loads(line)["quarantine_id"] for line in listed.out.splitlines()]
    nothing = fraud("quarantine", "propose", "decisions.v1", "0", "9", "--reason", REASON, **places, **rob)
    assert nothing.code == 2
