"""The trace that a measurement belongs to: an exemplar leads from a bar of a histogram to one payment's path.

This is the one place where tracing meets metrics. Until `trace_with` is called, nothing has a trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

TraceIdOf = Callable[[], str | None]
"""A function that gives the id of the trace under way, as 32 hexadecimal digits; None where nothing is traced."""

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


def _untraced() -> str | None:
    return None


_current: TraceIdOf = _untraced


def trace_with(current: TraceIdOf) -> None:
    """Have exemplars name the trace that `current` gives at the time of the measurement."""
    global _current
    _current = current


def exemplar() -> dict[str, str] | None:
    """Return the labels of an exemplar for what is measured now, or None.

    What isn't a trace id of W3C's is left out: an exposition with a wrong exemplar would be refused as a whole.
    """
    trace_id = _current()
    if trace_id is None or not _TRACE_ID.fullmatch(trace_id):
        return None
    return {"trace_id": trace_id}
