"""What is usual on its topic, on the embedded broker."""

from __future__ import annotations

import asyncio

import pytest

from ops.stack.topics import create_topics
from pipeline.breaker.hour_topics import HourTopic
from pipeline.domain.context import BreakerHour
from pipeline.domain.log import Outgoing
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from tests.servers import unused_prefix

WIRE = WireFormat()
HOUR_MS = 3_600_000


@pytest.fixture
def topic(stack) -> HourTopic:
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=unused_prefix())
    create_topics(settings.bootstrap_servers, prefix=settings.topic_prefix)
    appender = Appender.of(settings, "test")

    async def append(records) -> None:
        appender.append(records)

    return HourTopic(settings.topic("breaker_hours.v1"), WIRE, lambda: LogReader.of(settings, "test"), append)


def hour(number: int, block: int = 1, excluded: tuple[str, ...] = ()) -> BreakerHour:
    return BreakerHour(number * HOUR_MS + 7_000, ["all"], [100, block, 0, 0, 5, 6], list(excluded))


def test_latest_record_of_each_hour_is_read_back_in_order(topic):
    assert topic.read() == []
    asyncio.run(topic.keep([hour(2), hour(1)]))
    asyncio.run(topic.keep([hour(1, excluded=("*",)), hour(3)]))
    assert topic.read() == [hour(1, excluded=("*",)), hour(2), hour(3)]


def test_hours_that_say_nothing_sound_are_passed_over(topic):
    broken = hour(2)._replace(counts=[1, 2, 3])
    negative = hour(3)._replace(counts=[-1, 0, 0, 0, 0, 0])
    asyncio.run(topic.keep([hour(1), broken, negative]))
    asyncio.run(topic._append([Outgoing(topic._topic, b"9", b"junk")]))
    assert topic.read() == [hour(1)]
