"""The demonstration has a past of the right length, and the worker begins after it."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from models.simulator import TrafficSettings
from ops.demo.past import DAYS_MAX, PAYMENTS_MAX, Past, begin_behind, past_days
from pipeline.io.settings import Settings


@pytest.mark.parametrize(("accounts", "days"), [(400, DAYS_MAX), (2_150, DAYS_MAX), (10_000, 6), (500_000, 1)])
def test_the_past_is_a_month_unless_that_is_too_much_to_count(accounts: int, days: int) -> None:
    assert days == past_days(accounts, 2.0)
    assert days == 1 or accounts * days * 0.3 <= PAYMENTS_MAX


def test_the_worker_begins_behind_the_past() -> None:
    broker = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (servers,) = (f"{each.host}:{each.port}" for each in broker.list_topics(timeout=120).brokers.values())
    for number in range(40):
        broker.produce("transactions.v1", b"a payment", str(number).encode())
    assert 0 == broker.flush(120)
    settings = Settings(bootstrap_servers=servers, consumer_group="began")
    plan = TrafficSettings(seed=1, accounts=100, start_ms=0, days=12, quiet_days=7)
    assert Past(days=7, payments=40) == begin_behind(settings, plan)
    assert 40 == sum(committed(servers, "began"))


def committed(servers: str, group: str) -> list[int]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group})
    try:
        partitions = consumer.list_topics("transactions.v1", timeout=120).topics["transactions.v1"].partitions
        places = [TopicPartition("transactions.v1", partition) for partition in partitions]
        return [place.offset for place in consumer.committed(places, timeout=120)]
    finally:
        consumer.close()
