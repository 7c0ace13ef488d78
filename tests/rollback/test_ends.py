"""A plan waits for audit log, ledger and reviews to have what stands on the topic."""

from __future__ import annotations

import pytest

from pipeline.domain.log import Record, Source
from pipeline.io.postgres import Positions
from pipeline.rollback.ends_service import Behind, TopicEnds, wait_for_readers

TOPIC = "decisions.v1"
READERS = ("audit", "executor-settled", "review")


def topic(records, ends):
    """`records`: (partition, offset) of what is committed; what lies between is markers of transactions."""

    def read(starts):
        return [Record(None, b"", Source(*each, 0)) for each in records if each[1] >= starts.get(each[0], 1 << 60)]

    return TopicEnds(TOPIC, lambda: ends, read)


@pytest.fixture
def moved(owner):
    """Moves a consumer of a partition on to an offset."""

    def move(consumer, partition, offset):
        before = Positions(consumer, TOPIC).read(owner, [partition])[partition]
        Positions(consumer, TOPIC).advance(owner, partition, before, offset)

    return move


def behind(connection, found):
    return wait_for_readers(connection, found, 0.0)


def test_nobody_is_behind_an_empty_topic(connection):
    assert behind(connection, topic([], {0: 0, 1: 0})) is None


@pytest.mark.parametrize(
    ("late", "who"),
    [("audit", "the audit log"), ("executor-settled", "the executor"), ("review", "the review service")],
)
def test_whoever_lacks_a_record_is_named(connection, moved, late, who):
    found = topic([(0, 0), (1, 0), (1, 1)], {0: 1, 1: 2})
    lagging = [late, *(("executor-settled",) if late == "audit" else ())]  # the executor follows the audit log
    for consumer in READERS:
        moved(consumer, 0, 1)
        moved(consumer, 1, 1 if consumer in lagging else 2)
    assert behind(connection, found) == Behind(who, 1, 1)
    for consumer in lagging:
        moved(consumer, 1, 2)
    assert behind(connection, found) is None


def test_one_that_has_never_read_is_behind(connection, moved):
    moved("audit", 0, 1)
    moved("review", 0, 1)
    assert behind(connection, topic([(0, 0)], {0: 1})) == Behind("the executor", 0, 0)


def test_a_marker_at_the_end_is_no_record(connection, moved):
    for consumer in READERS:
        moved(consumer, 0, 1)
    assert behind(connection, topic([(0, 0)], {0: 3})) is None


def test_what_is_appended_meanwhile_is_not_waited_for(connection, moved):
    """Payments go on flowing: the plan is about what stood there when it was asked for."""
    for consumer in READERS:
        moved(consumer, 0, 1)
    assert behind(connection, topic([(0, 0), (0, 5)], {0: 4})) is None


def test_it_waits_until_they_have_come_there(connection, moved):
    found = topic([(0, 0)], {0: 1})
    left = [*reversed(READERS)]  # the audit log first, which the executor follows
    assert wait_for_readers(connection, found, 60.0, lambda _: moved(left.pop(), 0, 1)) is None
    assert left == []
