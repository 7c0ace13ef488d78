"""What every process exposes: whole batches in a histogram, exemplars with trace ids, and readiness."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pipeline.io.metrics.batch_histogram import BatchHistogram
from pipeline.io.metrics.exemplars import exemplar, trace_with
from pipeline.io.metrics.exposition import READY, exposition, tell_readiness

BOUNDS_S = [0.1, 0.2, 1.0]
OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def traced() -> Iterator[None]:
    trace_with(lambda: TRACE_ID)
    yield
    trace_with(lambda: None)


def histogram(registry: CollectorRegistry | None = None) -> BatchHistogram:
    return BatchHistogram("age_seconds", "For tests", BOUNDS_S, registry)


def samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    return {
        (each.name, each.labels.get("le", "")): each.value
        for family in registry.collect()
        for each in family.samples
        if not each.name.endswith("_created")
    }


@given(st.lists(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 1.0, 7.5]), max_size=20), max_size=5))
def test_a_batch_counts_as_its_values_one_by_one_do(batches: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batched, single = histogram(ours), Histogram("age_seconds", "For tests", buckets=BOUNDS_S, registry=theirs)
    for batch in batches:
        batched.observe(np.array(batch, dtype=np.float64))
        for value in batch:
            single.observe(value)
    assert samples(ours) == pytest.approx(samples(theirs))


def test_a_value_on_the_bound_is_within_it() -> None:
    registry = CollectorRegistry()
    histogram(registry).observe(np.array([0.2, 0.200001]))
    assert 1 == samples(registry)["age_seconds_bucket", "0.2"]


def test_bounds_that_do_not_ascend_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="ascend"):
        BatchHistogram("age_seconds", "For tests", [0.2, 0.1], None)


@pytest.mark.usefixtures("traced")
def test_the_slowest_value_of_a_batch_names_its_trace() -> None:
    registry = CollectorRegistry()
    histogram(registry).observe(np.array([0.05, 0.15, 0.12]))
    [family] = text_string_to_metric_families(generate_latest(registry).decode())
    named = {each.labels["le"]: each.exemplar for each in family.samples if each.exemplar is not None}
    assert ["0.2"] == list(named)
    assert ({"trace_id": TRACE_ID}, 0.15) == (named["0.2"].labels, named["0.2"].value)


@pytest.mark.parametrize("trace_id", [None, "", "4BF92F3577B34DA6A3CE929D0E0E4736", "42", TRACE_ID + "\n", "x" * 200])
def test_what_is_no_trace_id_is_no_exemplar(trace_id: str | None) -> None:
    trace_with(lambda: trace_id)
    try:
        assert exemplar() is None
    finally:
        trace_with(lambda: None)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [(None, "text/plain"), ("", "text/plain"), (OPEN_METRICS, "application/openmetrics-text")],
)
def test_page_is_in_the_format_that_is_asked_for(accept: str | None, content_type: str) -> None:
    page = exposition(accept)
    assert page.content_type.startswith(content_type)
    assert b"fraud_ready" in page.body


def test_readiness_is_asked_for_at_every_scrape() -> None:
    why: list[str | None] = [None]
    tell_readiness(lambda: why[-1])
    found = [READY.collect()[0].samples[0].value]
    for word in ("it holds", None):
        why.append(word)
        found.append(READY.collect()[0].samples[0].value)
    assert [1.0, 0.0, 1.0] == found


def test_no_series_says_when_a_counter_began() -> None:
    assert b"_created" not in exposition(None).body
