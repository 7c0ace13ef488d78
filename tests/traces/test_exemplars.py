"""Where traces and metrics meet: what is measured within a trace that is recorded names it, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from pipeline.io.metrics.exemplars import exemplar, trace_with
from pipeline.io.settings import Settings
from pipeline.traces.current_service import Scope, within
from pipeline.traces.tracer_service import Tracer, tracer_of
from tests.traces.given import UPSTREAM

NOBODY = "http://127.0.0.1:9"
"""An address at which nothing listens; whoever has nothing to export never asks it."""


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    yield
    trace_with(lambda: None)


@pytest.fixture
def tracing() -> Iterator[Tracer]:
    with closing(tracer_of(Settings(otlp_endpoint=NOBODY), "worker")) as tracer:
        yield tracer


@pytest.mark.usefixtures("tracing")
def test_what_is_measured_within_a_trace_names_it() -> None:
    assert exemplar() is None
    with within(Scope(UPSTREAM)):
        assert {"trace_id": UPSTREAM.trace_id} == exemplar()
        with within(None):
            assert exemplar() is None
    assert exemplar() is None


@pytest.mark.usefixtures("tracing")
def test_a_trace_that_nobody_records_is_no_exemplar() -> None:
    with within(Scope(UPSTREAM._replace(is_sampled=False))):
        assert exemplar() is None


def test_a_process_that_traces_nothing_names_nothing() -> None:
    tracer_of(Settings(), "worker")
    with within(Scope(UPSTREAM)):
        assert exemplar() is None
