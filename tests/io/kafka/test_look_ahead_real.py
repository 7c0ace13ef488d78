"""What is looked at on a real broker is what the library reads there, and what it can't unpack is neither's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.access.rights import ADMINISTRATOR
from ops.processes.servers import free_port
from ops.stack.kafka.broker import bootstrap_servers, kafka_broker
from ops.stack.kafka.security import BrokerSecurity
from ops.stack.topics import create_topics
from pipeline.domain.log import Presented
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.look_ahead import LookAhead

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TOPIC = "transactions.v1"
HEAVY = [bytes(5 << 20)] * 14
SNAPPY_MOST = 3
"""More of them weigh more than a batch may, packed by Snappy."""
DELIVERY_S = 120.0


def _write(
    servers: str, options: Mapping[str, str], values: list[bytes], compression: str, *, is_aborted: bool = False
) -> None:
    tuning = {"message.max.bytes": 1_000_000_000, "batch.size": 1_000_000_000, "linger.ms": 10_000}
    size = {"queue.buffering.max.kbytes": 1_000_000, "compression.type": compression}
    producer = Producer({"bootstrap.servers": servers, **options, **tuning, **size, "transactional.id": "test"})
    producer.init_transactions(DELIVERY_S)
    producer.begin_transaction()
    for value in values:
        producer.produce(TOPIC, value, b"account", 0, headers=[("trace", b"kept")])
    assert producer.flush(DELIVERY_S) == 0
    if is_aborted:
        producer.abort_transaction(DELIVERY_S)
    else:
        producer.commit_transaction(DELIVERY_S)


def _read(servers: str, options: Mapping[str, str], ahead: LookAhead | None) -> list[Presented]:
    with closing(LogReader(servers, "test", options, ahead=ahead)) as reader:
        return list(reader.read_presented(TOPIC, {0: 0, 1: 0}))


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "TLS and SCRAM"])
def test_a_look_finds_what_the_library_reads(tmp_path: Path, is_secure: bool) -> None:
    port = free_port()
    security = BrokerSecurity(tmp_path / "secrets") if is_secure else None
    options = {} if security is None else security.client_options(ADMINISTRATOR)
    broker, servers = kafka_broker(tmp_path, port, free_port(), security), bootstrap_servers(port)
    broker.start()
    try:
        create_topics(servers, partitions=2, client_settings=options)
        _write(servers, options, [b"first", b"second"], "none")
        _write(servers, options, [b"never"], "gzip", is_aborted=True)
        for compression in ("gzip", "lz4", "zstd", "snappy"):
            _write(servers, options, HEAVY[:2], compression, is_aborted=True)
            _write(servers, options, HEAVY[: SNAPPY_MOST if compression == "snappy" else None], compression)
        _write(servers, options, [b"last"], "lz4")
        with closing(LookAhead(servers, options)) as ahead:
            assert ahead.heavy(TOPIC, {0: 0, 1: 0}).keys() == {0}
        looked, trusted = _read(servers, options, LookAhead(servers, options)), _read(servers, options, None)
        if is_secure:
            _is_refused(servers, {**options, "sasl.password": "another"})
            _is_refused(servers, {name: value for name, value in options.items() if name != "ssl.ca.location"})
            _is_refused(servers, {})
    finally:
        broker.stop()
    assert len(looked) == 3 + 3 * len(HEAVY) + SNAPPY_MOST
    assert looked == trusted


def _is_refused(servers: str, options: Mapping[str, str]) -> None:
    """Whoever can't log in finds nothing, within the limit of a look."""
    with closing(LookAhead(servers, options)) as ahead:
        assert ahead.look(TOPIC, {0: 0}) is None
