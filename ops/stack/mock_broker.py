"""librdkafka's mock cluster as a process: `python mock_broker.py ADDRESS_FILE`.

It writes its bootstrap servers to the file once it answers, then serves until it is ended.
"""

import signal
import sys
from pathlib import Path

from confluent_kafka import Producer

METADATA_TIMEOUT_S = 10.0


def main() -> None:
    address_path = Path(sys.argv[1])
    # Holding the producer is what holds the cluster up. "log_level": clients that leave are no news.
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 3})
    servers = ",".join(str(broker) for broker in _brokers(producer))
    partial_path = address_path.with_suffix(".partial")
    partial_path.write_text(servers)
    partial_path.rename(address_path)  # whoever sees the file sees all of it
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def _brokers(producer: Producer) -> list[str]:
    metadata = producer.list_topics(timeout=METADATA_TIMEOUT_S)
    return [f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()]


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # before librdkafka starts its threads
    main()
