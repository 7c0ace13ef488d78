"""The topic table: what must hold between its rows, and what they become on a broker."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from ops.stack.topics import DAY_MS, FOR_EVER, TOPICS, Cleanup, topic_settings
from ops.stack.versions import KAFKA_VERSION, MESSAGE_MAX_BYTES
from pipeline.io.kafka.topic_settings import STAMPED_TOPICS

POM = Path(__file__).parents[3] / "ops" / "stack" / "kafka" / "pom.xml"
WINDOW_REACH_DAYS = 30 + 7  # the longest window, and the delay of labels before it
TABLE = {topic.name: topic for topic in TOPICS}


def test_transactions_are_kept_for_longer_than_windows_reach_back() -> None:
    assert TABLE["transactions.v1"].retention_ms > WINDOW_REACH_DAYS * DAY_MS


def test_decisions_and_labels_are_kept_for_ever() -> None:
    assert TABLE["decisions.v1"].retention_ms == TABLE["labels.v1"].retention_ms == FOR_EVER
    assert TABLE["decisions.v1"].cleanup is TABLE["labels.v1"].cleanup is Cleanup.DELETE


def test_what_is_keyed_by_account_has_as_many_partitions_as_transactions() -> None:
    names = {topic.name for topic in TOPICS if topic.is_partitioned}
    assert names == {"transactions.v1", "decisions.v1", "executions.v1", "shadow.v1"}


def test_what_carries_a_transaction_may_weigh_more_than_it() -> None:
    carriers = (TABLE["decisions.v1"], TABLE["transactions.dead.v1"])
    assert all(topic.message_max_bytes > TABLE["transactions.v1"].message_max_bytes for topic in carriers)
    assert all(topic.message_max_bytes <= MESSAGE_MAX_BYTES for topic in TOPICS)


def test_compacted_topics_have_no_retention() -> None:
    assert topic_settings(TABLE["accounts.v1"], 1) == {
        "cleanup.policy": "compact",
        "max.message.bytes": "1048576",
        "message.timestamp.after.max.ms": "3600000",
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "1",
        "unclean.leader.election.enable": "false",
    }


def test_the_broker_stamps_every_topic_but_those_of_history_that_others_publish_to() -> None:
    stamped = {topic.name: topic_settings(topic, 1)["message.timestamp.type"] for topic in TOPICS}
    assert set(stamped.values()) == {"LogAppendTime"}
    history = {topic.name: topic_settings(topic, 1, is_history=True) for topic in TOPICS}
    ours = {name for name, found in history.items() if found["message.timestamp.type"] == "LogAppendTime"}
    assert ours == set(TABLE) - set(STAMPED_TOPICS)
    assert history["transactions.v1"]["retention.ms"] == str(FOR_EVER)


def test_replicated_topics_bear_the_loss_of_one_replica() -> None:
    assert topic_settings(TABLE["decisions.v1"], 3)["min.insync.replicas"] == "2"


def test_jars_are_of_the_version_in_the_table() -> None:
    names = {"maven": "http://maven.apache.org/POM/4.0.0"}
    versions = {
        dependency.findtext("maven:artifactId", "", names): dependency.findtext("maven:version", "", names)
        for dependency in ElementTree.parse(POM).iterfind(".//maven:dependency", names)
    }
    assert versions["kafka_2.13"] == KAFKA_VERSION
