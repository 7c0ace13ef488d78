"""`fraud audit` where nothing stands outside the database, or where nothing can be written."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.audit.outside_command import _anchors_on_topic, _statements_on_topic
from pipeline.domain.anchor import Anchor, Witnessed
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from tests.commands import Fraud
from tests.servers import unused_prefix, url_as


def test_no_head_is_no_proof(fraud: Fraud, tmp_path: Path) -> None:
    """A folder that is named wrongly holds none, and none that is refused."""
    assert fraud("keys", "create", "audit", tmp_path / "key").code == 0
    asked = "audit", "heads", "--keys", tmp_path / "key.keys"
    found = fraud(*asked, audit_directory=str(tmp_path / "misspelt"))
    assert (found.code, found.out, "No heads" in found.err) == (1, "", True)


def test_an_export_that_can_not_be_written_is_refused_in_a_sentence(
    fraud: Fraud, tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    found = fraud(
        "audit", "export", tmp_path / "file" / "export", "--no-topic", database_url=url_as(database_url, "fraud_audit")
    )
    assert (found.code, "can't be read or written" in found.err) == (2, True)


def test_one_record_of_anybodys_keeps_no_export_from_an_auditor(stack: EmbeddedStack) -> None:
    wire, prefix, passed_over = WireFormat(), unused_prefix(), list[str]()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    head = Anchor("decisions.v1", 0, 1, 0, 0, bytes(32), bytes(32), bytes(32), 1, "key", b"signature", [])
    for topic, value in {
        "anchors.v1": wire.encode(head),
        "witness.v1": wire.encode(Witnessed("no statement", "key", b"signature", None)),
    }.items():
        for written in (b"rubbish", value):
            producer.produce(prefix + topic, written, b"key")
    assert producer.flush(120) == 0
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=prefix)
    assert len(list(_anchors_on_topic(settings, wire, passed_over))) == 1
    assert list(_statements_on_topic(settings, wire, passed_over)) == []
    assert sorted(place.partition("[")[0] for place in passed_over) == ["anchors.v1", "witness.v1", "witness.v1"]
