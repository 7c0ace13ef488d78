"""One decision and its life, put into one order and three sentences."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.explain.explanation import Explanation
from pipeline.explain.life import Life, NotShown
from pipeline.explain.moments import moments
from pipeline.explain.summary import sentences
from pipeline.explain.timeline import Moment, timeline
from pipeline.replay.regimes import Missing


class Trace(NamedTuple):
    """The trace that tells how the payment passed through the system, where spans of it were recorded.

    origin: who named it, as a clause.
    """

    trace_id: str
    origin: str


class Whole(NamedTuple):
    """Everything that is said of one decision.

    customer: what the customer may be told of it. origin: where it was read, as a clause.
    """

    explained: Explanation
    life: Life | NotShown
    timeline: tuple[Moment, ...]
    sentences: tuple[str, str, str]
    customer: str | Missing
    origin: str
    trace: Trace


def assembled(
    explained: Explanation, life: Life | NotShown, customer: str | Missing, origin: str, trace: Trace
) -> Whole:
    moved = timeline(moments(explained, life))
    return Whole(explained, life, moved, sentences(explained, life), customer, origin, trace)
