"""librdkafka's mock cluster as a process: `python mock_broker.py ADDRESS_FILE`.

It writes its bootstrap servers to the file once it listens, then serves until it is ended. The cluster is made through
librdkafka's own C interface, because confluent-kafka's settings reach only the number of brokers. By default a group's
first member waits 3 s for others before it is given any partition; the real brokers of the stack don't wait either.
"""

import ctypes
import signal
import sys
from pathlib import Path
from typing import Final

import confluent_kafka.cimpl

RD_KAFKA_PRODUCER: Final = 0
RD_KAFKA_CONF_OK: Final = 0
REASON_BYTES_MAX: Final = 512
SETTINGS: Final = {"log_level": "3"}  # clients that leave are not worth a line
BROKERS: Final = 1
FIRST_JOIN_DELAY_MS: Final = 0


def main() -> None:
    if sys.argv[1:2] in ([], ["-h"], ["--help"]):
        print("usage: python mock_broker.py ADDRESS_FILE", __doc__, sep="\n\n")
        return
    address_path = Path(sys.argv[1])
    servers = _start_cluster()
    partial_path = address_path.with_suffix(".partial")
    partial_path.write_text(servers)
    partial_path.rename(address_path)  # a reader that sees the file sees all of it
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def _start_cluster() -> str:
    """Start a cluster that stands for as long as this process does; return its bootstrap servers."""
    library = _library()
    settings, reason = library.rd_kafka_conf_new(), ctypes.create_string_buffer(REASON_BYTES_MAX)
    for name, value in SETTINGS.items():
        if library.rd_kafka_conf_set(settings, name.encode(), value.encode(), reason, len(reason)) != RD_KAFKA_CONF_OK:
            raise RuntimeError(reason.value.decode())
    client = library.rd_kafka_new(RD_KAFKA_PRODUCER, settings, reason, len(reason))
    if not client:
        raise RuntimeError(reason.value.decode())
    cluster = library.rd_kafka_mock_cluster_new(client, BROKERS)
    if not cluster:
        raise RuntimeError("librdkafka could not start its mock cluster")
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, FIRST_JOIN_DELAY_MS)
    servers: bytes = library.rd_kafka_mock_cluster_bootstraps(cluster)
    return servers.decode()


def _library() -> ctypes.CDLL:
    """Open the librdkafka that confluent-kafka brings; a look-up of symbols covers the libraries linked to, too."""
    library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    text, pointer, size = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", ctypes.c_int, [pointer, text, text, text, size]),
        ("rd_kafka_new", pointer, [ctypes.c_int, pointer, text, size]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, ctypes.c_int]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # before librdkafka starts its threads
    main()
