"""The circuit breaker decides when the model may answer and when the fallback rules answer instead (docs/breaker.md).

`settings` holds what a person may set, `states` the state machine, `judging` the conditions and `routing` the hot path.
"""

from pipeline.breaker.conditions import Observation, Watch
from pipeline.breaker.evaluating import ScopeReading, Transition, advance, transitions_after_loss
from pipeline.breaker.history import HISTORY_MS, History, hours_touched
from pipeline.breaker.judging import judge, next_event
from pipeline.breaker.routing import SEGMENT_OTHER, SEGMENTS_MAX, Governing, Routing
from pipeline.breaker.settings import BreakerSettings, Condition
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

__all__ = [
    "HISTORY_MS",
    "MONITOR",
    "SEGMENTS_MAX",
    "SEGMENT_OTHER",
    "TRANSITIONS",
    "BreakerRecord",
    "BreakerSettings",
    "Cause",
    "Condition",
    "Event",
    "Governing",
    "History",
    "Observation",
    "Routing",
    "ScopeReading",
    "Transition",
    "Watch",
    "advance",
    "diagram",
    "hours_touched",
    "is_possible",
    "judge",
    "next_event",
    "next_version",
    "step",
    "transitions_after_loss",
    "unwritten",
]
