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
from pipeline.keys.key_sets import KeyUse
from pipeline.seals.seal_files import sealer_of, worker_proves
from tests.servers import unused_prefix

WIRE = WireFormat()
HOUR_MS = 3_600_000


@pytest.fixture
def settings(stack, tmp_path) -> Settings:
    settings = Settings(
        bootstrap_servers=stack.bootstrap_servers, topic_prefix=unused_prefix(), seal_directory=tmp_path / "seals"
    )
    create_topics(settings.bootstrap_servers, prefix=settings.topic_prefix)
    return settings


@pytest.fixture
def topic(settings) -> HourTopic:
    appender = Appender.of(settings, "test")

    async def append(records) -> None:
        appender.append(records)

    return HourTopic.of(settings, WIRE, lambda: LogReader.of(settings, "test", proves=worker_proves(settings)), append)


def hour(number: int, block: int = 1, excluded: tuple[str, ...] = ()) -> BreakerHour:
    return BreakerHour(number * HOUR_MS + 7_000, ["all"], [100, block, 0, 0, 5, 6], list(excluded), [])


def test_latest_record_of_each_hour_is_read_back_in_order(topic):
    assert topic.read() == []
    asyncio.run(topic.keep([hour(2), hour(1)]))
    asyncio.run(topic.keep([hour(1, excluded=("*",)), hour(3)]))
    assert topic.read() == [hour(1, excluded=("*",)), hour(2), hour(3)]


def test_hours_that_say_nothing_sound_are_passed_over(topic):
    broken = hour(2)._replace(counts=[1, 2, 3])
    negative = hour(3)._replace(counts=[-1, 0, 0, 0, 0, 0])
    doubts = [hour(4)._replace(doubts=[1]), hour(5)._replace(doubts=[-1, 9])]
    asyncio.run(topic.keep([hour(1), broken, negative, *doubts]))
    asyncio.run(topic._append(topic._seal([Outgoing(topic._topic, b"9", b"junk")])))
    assert topic.read() == [hour(1)]


def forged(topic, seal) -> None:
    """Write of both hours that an incident touched all of them, and of one that much more is usual."""
    hours = [hour(1, excluded=("*",)), hour(2, block=60, excluded=("*",))]
    records = [Outgoing(topic._topic, b"1", WIRE.encode(each)) for each in hours]
    asyncio.run(topic._append(seal(records)))


def test_what_no_worker_sealed_is_not_usual_and_excludes_nothing(topic, settings, capsys):
    asyncio.run(topic.keep([hour(1), hour(2)]))
    forged(topic, list)
    forged(topic, sealer_of(settings, KeyUse.REVIEWS, name="breaker_hours.v1").seal)
    assert topic.read() == [hour(1), hour(2)]
    assert "breaker_hour_unproved" in capsys.readouterr().out


def test_older_record_that_comes_again_takes_no_incident_back(topic):
    sealed = topic._seal([Outgoing(topic._topic, b"1", WIRE.encode(hour(1)))])
    asyncio.run(topic._append(sealed))
    asyncio.run(topic.keep([hour(1, excluded=("segment:W1",)), hour(1, excluded=("*",))]))
    asyncio.run(topic._append(sealed))
    assert topic.read() == [hour(1, excluded=("*", "segment:W1"))]
