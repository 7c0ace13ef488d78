"""The rail's books, and the client's word on what the rail said."""

from __future__ import annotations

import contextlib
import socket
import threading
from contextlib import closing, contextmanager

import pytest

from ops.processes.servers import free_port
from ops.rail.books import Books, Recall, Status, Transfer
from ops.rail.misbehaviour import Misbehaviour
from ops.rail.process import rail_process, rail_url
from ops.stack.certificates import certificates
from pipeline.execute import rail_client as rail
from pipeline.execute.rail_client import ATTEMPTS_MAX, Identity, Rail, RailSilent
from pipeline.execute.saga import Answer

PAID = Transfer("key-1", "GB29-0001", "GB29-0002", "GBP", 700)
WHOLE = Recall("recall-1", "key-1", 700)


@pytest.fixture
def books_of(tmp_path):
    """Open the books, and close all of them after the test."""
    opened = []

    def open_books() -> Books:
        opened.append(Books(tmp_path / "rail.jsonl"))
        return opened[-1]

    yield open_books
    for books in opened:
        books.close()


def test_a_key_is_paid_once(books_of):
    books = books_of()
    assert books.pay(PAID, is_refused=False) is Status.ACCEPTED
    assert books.pay(PAID, is_refused=True) is Status.ACCEPTED
    assert books.pay(PAID._replace(amount_minor=9), is_refused=True) is Status.OTHERWISE
    assert books.summary() == {"counts": {"ACCEPTED": 1}, "paid_minor": {"GBP": 700}, "refused_duplicates": 2}


def test_books_are_the_same_after_a_restart(books_of):
    books = books_of()
    books.pay(PAID, is_refused=False)
    books.pay(PAID._replace(key="key-2"), is_refused=True)
    books.pay(PAID._replace(key="key-3"), is_refused=False)
    books.recall(WHOLE, is_refused=False)
    books.recall(Recall("part-1", "key-3", 300), is_refused=False)
    books.sync()
    again = books_of()
    assert [each.recalled_minor for each in again.entries()] == [700, 0, 300]
    assert again.recall_status("part-1") is Status.RECALLED
    assert list(again.entries()) == list(books.entries())
    assert (again.status("key-1"), again.status("key-2")) == (Status.RECALLED, Status.REFUSED)


def test_a_line_that_a_crash_cut_short_was_never_answered(books_of, tmp_path):
    path, books = tmp_path / "rail.jsonl", books_of()
    books.pay(PAID, is_refused=False)
    books.sync()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2].replace(b"key-1", b"key-2"))
    again = books_of()
    assert (again.status("key-1"), again.status("key-2")) == (Status.ACCEPTED, Status.UNKNOWN)
    again.pay(PAID._replace(key="key-3"), is_refused=False)
    again.sync()
    assert books_of().status("key-3") is Status.ACCEPTED


def test_what_was_never_paid_is_not_recalled(books_of):
    books = books_of()
    books.pay(PAID, is_refused=True)
    assert books.recall(WHOLE, is_refused=False) is Status.UNKNOWN
    assert books.recall(WHOLE._replace(transfer_key="key-9"), is_refused=False) is Status.UNKNOWN


def test_a_refused_recall_stays_refused(books_of):
    books = books_of()
    books.pay(PAID, is_refused=False)
    assert books.recall(WHOLE, is_refused=True) is Status.REFUSED
    assert books.recall(WHOLE, is_refused=False) is Status.REFUSED
    assert (books.status("key-1"), books.recall_status(WHOLE.key)) == (Status.ACCEPTED, Status.REFUSED)


def test_parts_are_recalled_once_each_and_never_more_than_the_whole(books_of):
    books = books_of()
    books.pay(PAID, is_refused=False)
    parts = [Recall("part-1", "key-1", 300), Recall("part-1", "key-1", 300), Recall("part-2", "key-1", 401)]
    assert [books.recall(part, is_refused=False) for part in parts] == ["RECALLED", "RECALLED", "REFUSED"]
    assert books.summary()["paid_minor"] == {"GBP": 400}
    assert books.recall(Recall("part-3", "key-1", 400), is_refused=False) is Status.RECALLED
    assert (books.status("key-1"), books.summary()["paid_minor"]) == (Status.RECALLED, {})


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match="shares"):
        Misbehaviour(refused_share=share)


def test_the_client_asks_a_bounded_number_of_times():
    waits = []
    with closing(Rail(f"http://127.0.0.1:{free_port()}", timeout_s=0.2, wait=waits.append)) as client:
        assert client.pay([rail.Transfer(*PAID)]) == {"key-1": Answer.UNKNOWN}
    assert len(waits) == ATTEMPTS_MAX


class Scripted(Rail):
    """A client whose rail answers these replies one after another, an exception where it is silent."""

    def __init__(self, *replies):
        super().__init__("http://127.0.0.1:1", wait=lambda _: None)
        self.replies, self.asked = list(replies), []

    def _post(self, path, body):
        self.asked.append(path)
        reply = self.replies.pop(0) if self.replies else rail.RailSilent("nothing")
        if isinstance(reply, Exception):
            raise reply
        return reply


SILENT = rail.RailSilent("timed out")
ASK, PAY, LOOK = "/v1/transfers/query", "/v1/transfers", "/v1/lookup"
NOT_KNOWN, ACCEPTED = {"key-1": "UNKNOWN"}, {"key-1": "ACCEPTED"}
OURS = {"key-1": ["ACCEPTED", *PAID[1:]]}


@pytest.mark.parametrize(
    ("is_retry", "replies", "asked", "said"),
    [
        (False, [ACCEPTED], [PAY], Answer.DONE),
        (False, [SILENT, ACCEPTED, OURS], [PAY, ASK, LOOK], Answer.DONE),
        (False, [SILENT, NOT_KNOWN, ACCEPTED], [PAY, ASK, PAY], Answer.DONE),
        (True, [ACCEPTED, OURS], [ASK, LOOK], Answer.DONE),
        (True, [ACCEPTED, SILENT, ACCEPTED, OURS], [ASK, LOOK, ASK, LOOK], Answer.DONE),
        (True, [NOT_KNOWN, ACCEPTED], [ASK, PAY], Answer.DONE),
        (True, [], [ASK] * ATTEMPTS_MAX, Answer.UNKNOWN),
        (True, [SILENT, {}, {"key-1": "PENDING"}, {"key-2": "UNKNOWN"}], [ASK] * ATTEMPTS_MAX, Answer.UNKNOWN),
        (False, [SILENT, {}], [PAY, *[ASK] * (ATTEMPTS_MAX - 1)], Answer.UNKNOWN),
    ],
)
def test_a_key_that_the_rail_may_have_met_is_paid_only_once_it_says_that_it_has_not(is_retry, replies, asked, said):
    with closing(Scripted(*replies)) as client:
        assert client.pay([rail.Transfer(*PAID)], is_retry=is_retry) == {"key-1": said}
        assert client.asked == asked


@pytest.fixture(scope="module")
def secure_rail(tmp_path_factory):
    """A rail that speaks TLS and asks for a certificate: its address, and the certificates."""
    directory, port = tmp_path_factory.mktemp("secure-rail"), free_port()
    made = certificates(directory / "tls")
    process = rail_process(directory, port, identity=identity_of(made))
    process.start()
    yield rail_url(port, is_secure=True), made
    process.stop()


def identity_of(made):
    return Identity(made.authority_path, made.certificate_path, made.key_path)


def test_executor_and_rail_know_each_other_by_certificates(secure_rail):
    address, made = secure_rail
    with closing(Rail(address, identity=identity_of(made))) as client:
        assert client.pay([rail.Transfer(*PAID)]) == {"key-1": Answer.DONE}


def test_a_rail_or_an_executor_of_another_authority_is_no_partner(secure_rail, tmp_path):
    address, made = secure_rail
    others = certificates(tmp_path / "others")
    false_rail = identity_of(made)._replace(authority=others.authority_path)
    false_executor = identity_of(others)._replace(authority=made.authority_path)
    for identity in (false_rail, false_executor):
        with closing(Rail(address, identity=identity, wait=lambda _: None)) as client:
            assert client.pay([rail.Transfer("key-2", *PAID[1:])]) == {"key-2": Answer.UNKNOWN}
    with closing(Rail(address, identity=identity_of(made))) as client:
        assert client._post(ASK, b'["key-2"]') == {"key-2": "UNKNOWN"}


def test_a_rail_that_asks_for_a_certificate_hears_no_plain_text(secure_rail):
    address, _ = secure_rail
    with closing(Rail(address.replace("https", "http"), wait=lambda _: None)) as client:
        assert client.pay([rail.Transfer("key-3", *PAID[1:])]) == {"key-3": Answer.UNKNOWN}


def test_the_rail_remembers_over_a_kill(tmp_path):
    port = free_port()
    process = rail_process(tmp_path, port)
    process.start()
    with closing(Rail(rail_url(port))) as client:
        transfer = rail.Transfer(*PAID)
        assert client.pay([transfer]) == {"key-1": Answer.DONE}
        process.kill()
        process.start()
        assert client.pay([transfer], is_retry=True) == {"key-1": Answer.DONE}
        assert client.recall([rail.Recall(*WHOLE)]) == {"recall-1": Answer.DONE}
    process.stop()


@pytest.mark.parametrize(
    "body",
    [b"no JSON", b"{}", b'[["key-1"]]', b'[["key-1","a","b","GBP",-5]]', b'[["key-1","a","b","GBP",1.5]]', b"[7]"],
)
def test_the_rail_takes_only_transfers(body, rail_address):
    with closing(Rail(rail_address)) as client, pytest.raises(rail.RailSilent, match="status 400"):
        client._post("/v1/transfers", body)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@contextmanager
def trickling(begun, again, stopping):
    """Serve one connection: what is `begun`, then `again` for ever, more often than the client's time limit."""

    def serve(server):
        with contextlib.suppress(OSError), server, server.accept()[0] as connection:
            connection.recv(65_536)
            connection.sendall(begun)
            while not stopping.wait(0.05):
                connection.sendall(again)

    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(120)
    thread = threading.Thread(target=serve, args=(server,), daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        stopping.set()
        thread.join(120)


TRICKLES = {
    "a body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
    "a header": b"HTTP/1.1 200 OK\r\nX-Header: ",
    "nothing yet": b"",
}


@pytest.mark.parametrize(("begun", "byte"), [(each, b" ") for each in TRICKLES.values()] + [(b"", CONTINUE)])
def test_a_rail_that_answers_a_byte_at_a_time_is_silent(begun, byte):
    """Each byte comes within the time limit of the socket, and the reply never ends."""
    with (
        trickling(begun, byte, threading.Event()) as port,
        closing(Rail(f"http://127.0.0.1:{port}", timeout_s=0.2)) as client,
        pytest.raises(RailSilent),
    ):
        client._post("/v1/transfers", b"[]")
