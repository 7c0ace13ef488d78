"""The circuit breaker decides when the model may answer and when the fallback rules answer instead (docs/breaker.md).

`settings` holds what a person may set, `states` the state machine, `judging` the conditions and `routing` the hot path.
"""

from pipeline.breaker.answer_counts import SEGMENT_OTHER
from pipeline.breaker.detecting.conditions import Observation, Trip, Watch
from pipeline.breaker.detecting.history import HISTORY_MS, History, hours_touched
from pipeline.breaker.detecting.judging import judge, next_event
from pipeline.breaker.evaluating import Affected, ScopeReading, Transition, advance
from pipeline.breaker.losses import LINEAGE_MAX, Lineage, transitions_after_loss
from pipeline.breaker.routing import Governing, Routing, draw_of
from pipeline.breaker.settings import SEGMENTS_MAX, BreakerSettings, Condition
from pipeline.breaker.states import (
    MONITOR,
    TRANSITIONS,
    BreakerRecord,
    Cause,
    Event,
    diagram,
    is_possible,
    next_version,
    step,
    unwritten,
)
from pipeline.breaker.switches import Refused, Switches, TakenOver, governed, taken_over

__all__ = [
    "HISTORY_MS",
    "LINEAGE_MAX",
    "MONITOR",
    "SEGMENTS_MAX",
    "SEGMENT_OTHER",
    "TRANSITIONS",
    "Affected",
    "BreakerRecord",
    "BreakerSettings",
    "Cause",
    "Condition",
    "Event",
    "Governing",
    "History",
    "Lineage",
    "Observation",
    "Refused",
    "Routing",
    "ScopeReading",
    "Switches",
    "TakenOver",
    "Transition",
    "Trip",
    "Watch",
    "advance",
    "diagram",
    "draw_of",
    "governed",
    "hours_touched",
    "is_possible",
    "judge",
    "next_event",
    "next_version",
    "step",
    "taken_over",
    "transitions_after_loss",
    "unwritten",
]
