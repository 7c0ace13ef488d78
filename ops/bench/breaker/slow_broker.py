"""The decision agent with a broker whose commit takes longer than the breaker's limit of latency."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from pipeline.decide.agent import DecisionAgent
from pipeline.decide.batch import Judged, Reading
from pipeline.decide.outcomes.due import OutcomesDue
from pipeline.decide.tracing.worker_agent import WorkerTraces
from pipeline.domain.decision import Outcome, Route
from pipeline.domain.log import Outgoing, Record, Source, Span
from pipeline.io.kafka.transaction_log import Batch
from pipeline.state.store import Prepared
from pipeline.state.windows import PartitionEvents, PartitionObservation
from pipeline.traces.tracer_service import Tracer

COMMIT_S: Final = 1.0
BATCHES: Final = 3


class _SlowLog:
    async def commit(self, _batch: Batch, _outgoing: Sequence[Outgoing]) -> bool:
        await asyncio.sleep(COMMIT_S)
        return True

    def release(self) -> None: ...

    def is_current(self, _batch: Batch) -> bool:
        return True


class _State:
    def prepare(self, events: list[PartitionEvents]) -> Prepared:
        return Prepared(events, [], False, False)

    async def observe_prepared(self, _batch: Prepared, *, when_ready: bool) -> list[PartitionObservation]:  # noqa: ARG002 - a keyword
        nothing = np.zeros(0, dtype=np.int64)
        return [PartitionObservation(nothing.astype(np.int8), nothing, nothing)]


class _Breaker:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def modes(self, *_: object) -> None: ...

    async def record(self, _batch: object, _answers: object, _in_force: object, seconds: float, _: object) -> None:
        self.seconds.append(seconds)


class _Judge:
    in_force = SimpleNamespace(model=None, currencies=frozenset())
    rollout = None

    def read(self, records: Sequence[Record]) -> Reading:
        return Reading([], [(record, None) for record in records])  # type: ignore[misc] # no refusal: nobody asks

    def state_events(self, _reading: Reading, spans: Sequence[Span]) -> list[PartitionEvents]:
        return [PartitionEvents(*spans[0], [])]

    def judge(self, reading: Reading, *_: object) -> Iterator[Judged]:
        yield Judged(outcomes=Counter({(Outcome.ALLOW, Route.MODEL): len(reading.refused)}))


async def seconds_of_deciding() -> list[float]:
    """Return what the breaker hears of each batch."""
    breaker: Any = _Breaker()
    parts: list[Any] = [_SlowLog(), _State(), breaker, SimpleNamespace(), _Judge(), OutcomesDue()]
    agent = DecisionAgent(
        *parts,
        letter_of=_none,
        probe=_none,
        seal=list,
        traces=WorkerTraces(Tracer(None), "transactions", "decisions", "bench"),
        tell_held=_none,
        state_patience_s=1.0,
        clock_ms=lambda: 0,
    )
    for number in range(BATCHES):
        await agent.decide(Batch([Record(b"", b"", Source(0, number, 0))], [Span(0, number, number + 1, 0)], epoch=0))
    await agent.settle()
    found: list[float] = breaker.seconds
    return found


def _none(*_: object) -> Any:
    return None
