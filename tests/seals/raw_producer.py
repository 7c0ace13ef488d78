"""Appends a record with a header whose name is not UTF-8, which no client library writes of its own accord.

`AIOKAFKA_NO_EXTENSIONS=1 python -m tests.seals.raw_producer SERVERS TOPIC PARTITION`: without its extensions aiokafka
takes any name that has an `encode`.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer

from ops.processes.arguments import arguments


class Name:
    def encode(self, _: str) -> bytes:
        return b"\xff\xfe"


async def append(servers: str, topic: str, partition: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        headers = [(Name(), b""), ("seal", b"seal")]
        await producer.send_and_wait(topic, b"garbage", b"key", headers=headers, partition=partition)
    finally:
        await producer.stop()


if __name__ == "__main__":
    servers, topic, partition = arguments(__doc__, "SERVERS", "TOPIC", "PARTITION")
    asyncio.run(append(servers, topic, int(partition)))
