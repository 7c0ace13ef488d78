"""Copies of topics under load, cut short, of another log, or damaged."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from confluent_kafka import Producer

from ops.stack.topics import TOPICS, create_topics
from ops.topics import topic_copies
from ops.topics.copies import (
    MANIFEST,
    UNFINISHED,
    Copied,
    CopyBroken,
    PartitionCopy,
    PartWriter,
    held,
    read_manifest,
    read_under_way,
    write_manifest,
)
from ops.topics.topic_copies import Messages, back_up, put_back
from pipeline.io.kafka.log_reader import Extent
from pipeline.io.settings import Settings
from tests.servers import unused_prefix

BY_NAME = {topic.name: topic for topic in TOPICS}
NOBODY = Settings(bootstrap_servers="127.0.0.1:9")


@pytest.fixture
def settings(stack):
    return topics_of(stack)


def topics_of(stack):
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    return Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=prefix)


def write(settings, topic, values, partition=0):
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    for value in values:
        producer.produce(settings.topic(topic), value, b"key", partition)
    assert producer.flush(30) == 0


def test_no_decision_is_copied_whose_payment_is_not(settings, tmp_path):
    """Payments and decisions about them come all the while: what is restored gives no payment's place away."""
    write(settings, "transactions.v1", [b"payment"] * 20_000)
    write(settings, "decisions.v1", [b"decision"] * 20_000)
    stopping = threading.Event()

    def go_on():
        while not stopping.is_set():
            write(settings, "transactions.v1", [b"payment"] * 10)
            write(settings, "decisions.v1", [b"decision"] * 10)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        back_up(settings, tmp_path)
    finally:
        stopping.set()
        thread.join()
    copied = read_manifest(tmp_path)
    assert copied["decisions.v1"][0].end <= copied["transactions.v1"][0].end
    assert copied["decisions.v1"][0].end >= 20_000


class Killed(Exception):
    pass


def test_a_first_copy_that_was_cut_short_is_not_restored_and_is_gone_on_with(settings, tmp_path, monkeypatch):
    """It would make topics with fewer partitions, and leave others out."""
    write(settings, "transactions.v1", [b"payment"] * 3)
    left = [2]

    def killed(folder, manifest, *, is_whole):
        write_manifest(folder, manifest, is_whole=is_whole)
        left[0] -= 1
        if not left[0]:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(topic_copies, "write_manifest", killed)
        with pytest.raises(Killed):
            back_up(settings, tmp_path)
    with pytest.raises(CopyBroken, match="come to its end"):
        put_back(NOBODY, tmp_path, 1, print)
    assert sum(each.records for each in back_up(settings, tmp_path)) == 0  # the three were copied before
    assert {name: len(kept) for name, kept in read_manifest(tmp_path).items()} == dict.fromkeys(BY_NAME, 4)
    assert not (tmp_path / UNFINISHED).exists()


def test_a_run_that_was_cut_short_leaves_the_copy_before_it(settings, tmp_path, monkeypatch):
    write(settings, "transactions.v1", [b"payment"] * 3)
    back_up(settings, tmp_path)
    write(settings, "transactions.v1", [b"payment"] * 4)
    whole = read_manifest(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(topic_copies, "_copied", lambda *asked: killed_after(*asked))
        with pytest.raises(Killed):
            back_up(settings, tmp_path)
    assert read_manifest(tmp_path) == whole
    assert sum(each.records for each in back_up(settings, tmp_path)) in (0, 4)
    assert read_manifest(tmp_path)["transactions.v1"][0].end == 7


def killed_after(messages, topic, partition, first, end, folder):
    if topic.name != "transactions.v1":
        raise Killed
    yield from _COPIED(messages, topic, partition, first, end, folder)


_COPIED = topic_copies._copied


def test_a_log_that_was_made_anew_and_has_grown_past_the_copy_is_not_gone_on_with(stack, settings, tmp_path):
    write(settings, "decisions.v1", [b"old"] * 5)
    back_up(settings, tmp_path)
    write(settings, "decisions.v1", [b"more"])
    assert sum(each.records for each in back_up(settings, tmp_path)) == 1  # this one is the same
    other = topics_of(stack)
    write(other, "decisions.v1", [b"new"] * 9)
    before = read_manifest(tmp_path)
    with pytest.raises(CopyBroken, match="another topic"):
        back_up(other, tmp_path)
    assert read_manifest(tmp_path) == before


def test_a_log_with_fewer_partitions_than_the_copy_is_another(settings, tmp_path):
    back_up(settings, tmp_path)
    copied = read_manifest(tmp_path)
    copied["alerts.v1"][4] = PartitionCopy(0, ())
    write_manifest(tmp_path, copied, is_whole=True)
    with pytest.raises(CopyBroken, match="fewer partitions"):
        back_up(settings, tmp_path)


@pytest.mark.parametrize(
    ("topic", "low", "why"),
    [
        ("transactions.v1", 8, "would have a gap"),  # 7 was deleted before it was copied
        ("decisions.v1", 6, "for ever"),  # nobody deletes there
    ],
)
def test_a_copy_whose_end_was_deleted_is_not_gone_on_with(settings, tmp_path, topic, low, why):
    writer = PartWriter(tmp_path, topic, 0, 5)
    writer.write(Copied(5, 1_700_000_000_000, b"key", b"value", ()))
    copy = PartitionCopy(5, (writer.close(7),))
    with closing(Messages(settings, topic)) as messages:
        with pytest.raises(CopyBroken, match=why):
            topic_copies._require_same(messages, BY_NAME[topic], 0, copy, Extent(low, 9))
        if topic == "transactions.v1":  # what is past its retention may go
            topic_copies._require_same(messages, BY_NAME[topic], 0, copy, Extent(7, 9))


def test_nothing_is_made_of_a_damaged_copy(settings, tmp_path):
    write(settings, "executions.v1", [b"told"] * 3)
    back_up(settings, tmp_path)
    [part] = read_manifest(tmp_path)["executions.v1"][0].parts
    path = tmp_path / part.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CopyBroken, match="not what was written"):
        put_back(NOBODY, tmp_path, 1, print)  # which would say that there is no broker
    path.unlink()
    with pytest.raises(CopyBroken, match="can't be read"):
        put_back(NOBODY, tmp_path, 1, print)


def test_a_manifest_that_was_changed_is_no_copy(settings, tmp_path):
    write(settings, "decisions.v1", [b"decision"] * 3)
    back_up(settings, tmp_path)
    path = tmp_path / MANIFEST
    path.write_text(path.read_text().replace('"end": 3', '"end": 2'))
    for read in (read_manifest, read_under_way):
        with pytest.raises(CopyBroken, match="not what was written"):
            read(tmp_path)


def test_two_do_not_write_one_copy_at_once(settings, tmp_path):
    with held(tmp_path):
        for act in (lambda: back_up(settings, tmp_path), lambda: put_back(NOBODY, tmp_path, 1, print)):
            with pytest.raises(CopyBroken, match="another command is at work"):
                act()
    back_up(settings, tmp_path)
