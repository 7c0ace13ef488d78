"""A histogram that takes in the values of a whole batch at once.

The client library's takes one value a call, which costs about a microsecond a payment; this one costs some microseconds
a batch, whatever its size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from pipeline.io.metrics.exemplars import exemplar


class BatchHistogram(Collector):
    """A histogram without labels. Values are seconds, and a bound belongs to the bucket that it ends."""

    def __init__(
        self, name: str, documentation: str, bounds_s: Sequence[float], registry: CollectorRegistry | None = REGISTRY
    ) -> None:
        """bounds_s: ascending; the bucket without an end is added."""
        assert list(bounds_s) == sorted(set(bounds_s)), "bounds ascend"
        self._name, self._documentation = name, documentation
        self._bounds: Final = np.array(bounds_s, dtype=np.float64)
        self._shown = [*map(floatToGoString, bounds_s), "+Inf"]
        self._counts = np.zeros(len(self._shown), dtype=np.int64)
        self._sum_s = 0.0
        self._exemplars: list[Exemplar | None] = [None] * len(self._shown)
        self._lock = threading.Lock()
        if registry is not None:
            registry.register(self)

    def observe(self, values_s: NDArray[np.float64]) -> None:
        """Take in a batch. The trace under way becomes the exemplar of the slowest value's bucket."""
        if not values_s.size:
            return
        places = np.searchsorted(self._bounds, values_s)
        counts = np.bincount(places, minlength=len(self._shown))
        labels = exemplar()
        with self._lock:
            self._counts += counts
            self._sum_s += float(values_s.sum())
            if labels is not None:
                slowest = int(values_s.argmax())
                self._exemplars[int(places[slowest])] = Exemplar(labels, float(values_s[slowest]), time.time())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the one family, with counts that add up: no batch is half in."""
        with self._lock:
            totals, sum_s, exemplars = np.cumsum(self._counts).tolist(), self._sum_s, list(self._exemplars)
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = [
            (bound, float(total)) if each is None else (bound, float(total), each)
            for bound, total, each in zip(self._shown, totals, exemplars, strict=True)
        ]
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], buckets, sum_s)
        yield family
