"""The fault proxy, before a server that echoes, and the addresses in Kafka's answers."""

import socket
import socketserver
import struct
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.drills.proxies.kafka_addresses import Answers, Endpoint, HostTooShort, in_answers, loopback_as_long_as
from ops.drills.proxies.proxy import FaultProxy, Target

BROKER = in_answers(Endpoint("broker-1.bank", 9093))
PROXY = in_answers(Endpoint(loopback_as_long_as("broker-1.bank"), 20_000))
WAIT_S = 120.0


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while read := self.request.recv(4096):
            self.request.sendall(read)


@pytest.fixture
def proxy():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        made = FaultProxy(Target(Endpoint("127.0.0.1", server.server_address[1])))
        try:
            yield made
        finally:
            made.close()
            server.shutdown()
            thread.join()


def connected(proxy):
    return socket.create_connection(proxy.endpoint, timeout=WAIT_S)


def echoed(connection, text):
    connection.sendall(text)
    read = b""
    while len(read) < len(text):
        more = connection.recv(4096)
        if not more:
            break
        read += more
    return read


def test_without_a_fault_everything_passes(proxy):
    text = b"x" * 300_000
    with connected(proxy) as connection:
        threading.Thread(target=connection.sendall, args=[text]).start()
        read = b""
        while len(read) < len(text):
            read += connection.recv(65536)
    assert read == text


def test_a_cut_ends_connections_and_refuses_new_ones_until_it_is_mended(proxy):
    with connected(proxy) as connection:
        assert echoed(connection, b"one") == b"one"
        proxy.cut()
        with pytest.raises(ConnectionError):
            connection.recv(1)
    with pytest.raises(ConnectionError), connected(proxy) as refused:  # as early as in connecting
        refused.recv(1)
    proxy.mend()
    with connected(proxy) as connection:
        assert echoed(connection, b"three") == b"three"


def test_a_stall_keeps_connections_and_passes_what_waited_once_it_is_mended(proxy):
    with connected(proxy) as connection:
        assert echoed(connection, b"one") == b"one"
        proxy.stall()
        connection.sendall(b"two")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        connection.settimeout(WAIT_S)
        proxy.mend()
        assert connection.recv(10) == b"two"


def test_a_delay_lets_everything_pass_late(proxy):
    with connected(proxy) as connection:
        proxy.delay(0.2)
        began_s = time.monotonic()
        assert echoed(connection, b"one") == b"one"
        assert time.monotonic() - began_s >= 0.4, "late on the way there, and on the way back"


def test_a_reset_ends_the_connections_that_there_are_and_serves_new_ones(proxy):
    with connected(proxy) as connection:
        assert echoed(connection, b"one") == b"one"
        proxy.reset()
        with pytest.raises(ConnectionError):
            connection.recv(1)
    with connected(proxy) as connection:
        assert echoed(connection, b"two") == b"two"


def test_a_server_that_is_away_resets_its_clients():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    proxy = FaultProxy(Target(Endpoint("127.0.0.1", port)))
    try:
        # The reset may come before the client knows that it is connected.
        with pytest.raises(ConnectionError), connected(proxy) as connection:
            connection.recv(1)
    finally:
        proxy.close()


@pytest.mark.parametrize("length", range(5, 64))
def test_there_is_a_name_of_loopback_of_every_length(length):
    name = loopback_as_long_as("b" * length)
    assert len(name) == length
    assert socket.getaddrinfo(name, 80, socket.AF_INET)[0][4] == ("127.0.0.1", 80)


def test_a_broker_with_a_shorter_name_is_refused():
    with pytest.raises(HostTooShort):
        loopback_as_long_as("kafk")


def framed(body):
    return struct.pack(">i", len(body)) + body


@given(
    bodies=st.lists(
        st.lists(st.sampled_from([BROKER, BROKER[:-1], b"broker-1", b"", b"b", bytes(5)]), max_size=5).map(b"".join),
        min_size=1,
        max_size=5,
    ),
    cuts=st.lists(st.integers(min_value=1, max_value=17), min_size=1),
)
def test_invariants_1_and_2_addresses_are_replaced_however_the_answers_are_cut(bodies, cuts):
    answers, stream = Answers({BROKER: PROXY}), b"".join(map(framed, bodies))
    expected = b"".join(framed(body.replace(BROKER, PROXY)) for body in bodies)
    read, place, turn = b"", 0, 0
    ends = {sum(len(framed(body)) for body in bodies[: number + 1]) for number in range(len(bodies))}
    while place < len(stream):
        step = cuts[turn % len(cuts)]
        read += answers.feed(stream[place : place + step])
        place, turn = place + step, turn + 1
        if min(place, len(stream)) in ends:
            assert len(read) == min(place, len(stream)), "nothing of a whole answer waits"
    assert read == expected
