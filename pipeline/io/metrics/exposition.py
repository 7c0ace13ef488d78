"""The page that Prometheus reads, which every process gives alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, disable_created_metrics
from prometheus_client.exposition import choose_encoder

READY = Gauge("fraud_ready", "1 while the process does its work, as its page /ready says, else 0")

# A series with the time at which each counter began would double what is stored; a reset is seen by the values.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Exposition(NamedTuple):
    content_type: str
    body: bytes


def exposition(accept: str | None, registry: CollectorRegistry = REGISTRY) -> Exposition:
    """Return all metrics in the format that is asked for; only OpenMetrics' has room for exemplars."""
    encode, content_type = choose_encoder(accept or "")
    return Exposition(content_type, encode(registry))


def tell_readiness(not_ready: Callable[[], str | None]) -> None:
    """Have `fraud_ready` say at every scrape what /ready would say then. not_ready: gives why it isn't, or None."""
    READY.set_function(lambda: float(not_ready() is None))
