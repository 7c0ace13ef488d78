"""Keys go where the clients that publish them put them."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from pipeline.io.partitioner import Partitioner, Partitioning, murmur2

JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""The vectors of Kafka's own UtilsTest.testMurmur2."""
PARTITIONS = 4  # librdkafka's mock cluster gives every topic this many
KEYS = [f"{'acc' * (number % 5)}-{number}".encode() for number in range(400)]


@pytest.mark.parametrize(("key", "expected"), JAVA.items())
def test_murmur2_is_the_hash_of_kafkas_own_vectors(key: bytes, expected: int) -> None:
    assert expected & 0xFFFF_FFFF == murmur2(key)


@pytest.mark.parametrize("partitioner", Partitioner)
def test_invariant_1_librdkafka_puts_a_key_where_we_say(partitioner: Partitioner) -> None:
    found: dict[bytes, int | None] = {}
    producer = Producer(
        {
            "test.mock.num.brokers": 1,
            "partitioner": partitioner.librdkafka_name,
            "on_delivery": lambda _error, message: found.update({message.key(): message.partition()}),
            "log_level": 0,
        }
    )
    for key in KEYS:
        producer.produce("keys", b"", key)
    assert producer.flush(120) == 0
    partitioning = Partitioning(partitioner, PARTITIONS)
    assert {key: partitioning.of(key) for key in KEYS} == found


@given(st.binary(min_size=1, max_size=64), st.integers(1, 10_000))
def test_a_key_has_one_partition_among_those_that_are(key: bytes, partitions: int) -> None:
    for partitioner in Partitioner:
        found = Partitioning(partitioner, partitions).of(key)
        assert 0 <= found < partitions
        assert Partitioning(partitioner, partitions).of(key) == found
