"""Python's collector of garbage, in processes that work on batches."""

from __future__ import annotations

import gc
from typing import Final

GC_ALLOCATIONS: Final = 100_000
"""Young objects before the collector looks: a few batches' worth; the default is 700."""


def calm_garbage_collector() -> None:
    """A batch makes tens of thousands of tuples and no cycles; at the default threshold the collector walks all that
    lives again and again for nothing. Call it when everything that lives as long as the process is there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 50, 100)
