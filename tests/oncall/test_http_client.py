"""One bounded request, whatever the server does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ops.bench.alerts.sinks import HttpSink, Manner, http_sink
from pipeline.oncall.sinks.http_client import HttpClient, NoAnswer, NotSent, _retry_after_s


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as sink:
        yield sink


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(None, answer_s=0.3, body_s=0.3)


def test_server_that_never_answers_may_have_taken_it(sink: HttpSink, client: HttpClient) -> None:
    sink.behave(Manner.HANGS)
    with pytest.raises(NoAnswer, match="ReadTimeoutError"):
        client.post(sink.url, b"{}", {})
    assert 1 == len(sink.taken)


def test_body_that_comes_a_byte_at_a_time_is_left(sink: HttpSink, client: HttpClient) -> None:
    sink.behave(Manner.DRIPS)
    answer = client.post(sink.url, b"{}", {})
    assert (200, None) == (answer.status, answer.body)


def test_redirect_is_an_answer_and_not_followed(sink: HttpSink, client: HttpClient) -> None:
    sink.behave(Manner.REDIRECTS)
    assert 307 == client.post(sink.url, b"{}", {}).status
    assert 1 == len(sink.asked)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://no-such-host.invalid", "http://[::1]:1"])
def test_nothing_can_have_arrived_where_nobody_listens(client: HttpClient, address: str) -> None:
    with pytest.raises(NotSent) as refused:
        client.post(f"{address}/secret", b"{}", {})
    assert "secret" not in str(refused.value)


def test_server_without_tls_is_never_spoken_to_in_the_clear(sink: HttpSink, client: HttpClient) -> None:
    with pytest.raises((NotSent, NoAnswer)):
        client.post(sink.url.replace("http:", "https:"), b"secret", {})
    assert [] == sink.asked


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("-7", None),
        ("soon", None),
        ("", None),
        ("1" * 30, None),
        ("²", None),
        ("Sat, 01 Jan 2022 00:00:00 +" + "9" * 20, None),
    ],
)
def test_retry_after_is_seconds_or_nothing(text: str | None, seconds: float | None) -> None:
    assert seconds == _retry_after_s(text)


def test_retry_after_may_be_a_date() -> None:
    later = _retry_after_s(format_datetime(datetime.now(UTC) + timedelta(seconds=90)))
    assert later is not None
    assert 80 < later <= 90
    assert 0.0 == _retry_after_s("Thu, 01 Jan 1970 00:00:00 GMT")
