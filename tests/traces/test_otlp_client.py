"""The export: what arrives at a collector, and what becomes of spans where none takes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ops.bench.rig.collector import Collector, running_collector
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import free_port
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.traces import otlp_client
from pipeline.traces.otlp_client import OtlpClient, client_of
from pipeline.traces.tracer_service import tracer_of
from tests.traces.given import UPSTREAM, counted, span

WAIT_S = 120.0
ENDS = ("exported", "queue_full", "export_failed", "left")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_client, "GATHER_S", 0.0)
    monkeypatch.setattr(otlp_client, "CLOSING_S", 0.5)


@contextmanager
def counting() -> Iterator[dict[str, float]]:
    """Yield what is counted meanwhile, by how spans ended; filled on leaving."""
    found: dict[str, float] = {}
    before = {end: counted("fraud_trace_spans_total", end=end) for end in ENDS}
    yield found
    after = {end: counted("fraud_trace_spans_total", end=end) for end in ENDS}
    found |= {end: after[end] - before[end] for end in ENDS if after[end] != before[end]}


def client(address: str, **settings: object) -> OtlpClient:
    return client_of(Settings(otlp_endpoint=address, otlp_timeout_s=1.0, **settings), "worker")  # type: ignore[arg-type]


def test_a_span_arrives_whole(collector: Collector) -> None:
    told = span(8, links=(UPSTREAM,), error="TimeoutError")
    headers = {"Authorization": "Bearer t"}
    with counting() as ends, closing(client(collector.address, otlp_headers=headers)) as exporter:
        exporter.offer([told])
        wait_until(lambda: bool(collector.spans), WAIT_S, "a span")
    [found] = collector.spans
    assert ("fraud-worker", "decide t", "CONSUMER") == (found.service, found.name, found.kind)
    assert (told.context.trace_id, told.context.span_id) == (found.trace_id, found.span_id)
    assert (told.parent_id, 5, 7) == (found.parent_id, found.started_ns, found.ended_ns)
    assert ({"a": "b", "c": 3}, ((UPSTREAM.trace_id, UPSTREAM.span_id),)) == (found.attributes, found.links)
    assert "TimeoutError" == found.error
    assert {"exported": 1} == ends
    assert "Bearer t" == collector.headers["authorization"]


def test_1_whoever_offers_never_waits_and_every_drop_is_counted(collector: Collector) -> None:
    collector.is_open.clear()  # it takes the connection, and answers nothing
    with counting() as ends, closing(client(collector.address, trace_queue_spans=100)) as exporter:
        before_s = time.thread_time()
        for number in range(5_000):
            exporter.offer([span(number)])
        spent_s = time.thread_time() - before_s
        dropped = counted("fraud_trace_spans_total", end="queue_full")
    assert dropped > 0
    assert 5_000 == sum(ends.values())
    assert "exported" not in ends
    assert spent_s < 2.0


def test_2_what_a_collector_refuses_is_counted_and_told_once(collector: Collector) -> None:
    collector.status = 400
    with counting() as ends, capture_logs() as lines, closing(client(collector.address)) as exporter:
        for number in range(3):
            exporter.offer([span(number)])
            wait_until(lambda number=number: collector.requests > number, WAIT_S, "a refusal")
        wait_until(lambda: any(line["event"] == "traces_not_exported" for line in lines), WAIT_S, "the line")
        collector.status = 200
        exporter.offer([span(9)])
        wait_until(lambda: bool(collector.spans), WAIT_S, "a span")
    assert {"exported": 1, "export_failed": 3} == ends
    assert ["traces_not_exported", "traces_exported_again"] == [line["event"] for line in lines]


@pytest.mark.parametrize("status", [302, 307, 304, 401, 404, 500])
def test_every_answer_but_success_is_a_failure(collector: Collector, status: int) -> None:
    collector.status = status
    with counting() as ends, closing(client(collector.address)) as exporter:
        exporter.offer([span()])
        wait_until(lambda: collector.requests > 0, WAIT_S, "a request")
    assert {"export_failed": 1} == ends


def test_a_collector_that_is_away_costs_its_spans_alone() -> None:
    with counting() as ends, closing(client(f"http://127.0.0.1:{free_port()}")) as exporter:
        exporter.offer([span(number) for number in range(10)])
    assert 10 == sum(ends.values())
    assert "exported" not in ends


def test_a_collector_that_comes_back_within_the_time_loses_nothing(collector: Collector) -> None:
    collector.status = 503
    with counting() as ends, closing(client(collector.address)) as exporter:
        exporter._exporter._client._timeout = 10.0
        exporter.offer([span()])
        wait_until(lambda: collector.requests > 0, WAIT_S, "a first attempt")
        collector.status = 200
        wait_until(lambda: bool(collector.spans), WAIT_S, "another attempt")
    assert {"exported": 1} == ends


def test_what_is_queued_is_exported_when_a_process_ends(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_client, "GATHER_S", 60.0)
    monkeypatch.setattr(otlp_client, "CLOSING_S", 20.0)
    exporter = client(collector.address)
    with counting() as ends:
        exporter.offer([span(number) for number in range(1_500)])
        exporter.close()
        exporter.offer([span()])  # too late, and counted
    assert 1_500 == len({each.span_id for each in collector.spans})
    assert {"exported": 1_500, "left": 1} == ends


class Broken:
    """An exporter with a fault of its own."""

    def __init__(self) -> None:
        self.called = threading.Event()

    def export(self, spans: object) -> object:
        self.called.set()
        raise RuntimeError("a fault of the library's")

    def shutdown(self) -> None: ...


def test_a_fault_of_the_library_costs_its_spans_alone() -> None:
    broken = Broken()
    with counting() as ends, closing(OtlpClient(broken, "s", "s-0", 10)) as exporter:  # type: ignore[arg-type]
        exporter.offer([span()])
        assert broken.called.wait(WAIT_S)
        broken.called.clear()
        exporter.offer([span()])
        assert broken.called.wait(WAIT_S)
    assert {"export_failed": 2} == ends


def test_nothing_is_traced_without_an_endpoint() -> None:
    off = tracer_of(Settings(), "worker")
    assert (False, 0.0) == (off.is_on, off.share)
    off.emit([span()])
    off.close()


def test_an_authority_that_can_t_be_read_is_told_at_the_start(tmp_path: Path) -> None:
    settings = Settings(otlp_endpoint="https://collector:4318", otlp_authority_file=tmp_path / "ca.pem")
    with pytest.raises(Failure, match="can't be read: No such file"):
        tracer_of(settings, "worker")


@pytest.mark.parametrize(
    "address",
    ["collector:4318", "grpc://host:4317", "http://", "http://user:password@host", "http://host/x?y", ""],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="otlp_endpoint"):
        Settings(otlp_endpoint=address)
