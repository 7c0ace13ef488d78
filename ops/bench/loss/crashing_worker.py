"""A worker that kills itself with SIGKILL at a chosen step of a batch, and that its keeper then replaces.

`python -m ops.bench.loss.crashing_worker STEP MARK`, where the file MARK says that the crash has happened.

Production code knows nothing of this: this module wraps methods of the composed worker, then runs the same app.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

from ops.processes.arguments import arguments
from pipeline.decide import app
from pipeline.decide.batch import Judge
from pipeline.decide.keeper_service import keep_filled
from pipeline.decide.worker_command import run_worker
from pipeline.io.settings import Settings

BATCHES_BEFORE: Final = 12
"""Batches that pass before the crash, so that it meets a worker in full flow."""


class Step(NamedTuple):
    """The point at which to end: before or after the n-th call of a method."""

    owner: Callable[[app.Worker], Any]
    method: str
    is_after: bool
    calls: int = BATCHES_BEFORE


def _transport(worker: app.Worker) -> Any:
    return worker.transactions


def _producer(worker: app.Worker) -> Any:
    return worker.transactions._producer


def _state(worker: app.Worker) -> Any:
    return worker.state


def _judge(_worker: app.Worker) -> Any:
    return Judge  # the class, because a change of the policy replaces the instance


def _breaker(worker: app.Worker) -> Any:
    return worker.breaker


STEPS: Final = {
    "after reading": Step(_transport, "_batch", True),
    "before observing": Step(_state, "observe_prepared", False),
    "after observing": Step(_state, "observe_prepared", True),
    "before judging": Step(_judge, "judge", False),
    "after judging": Step(_judge, "judge", True),
    "before the transaction": Step(_producer, "begin_transaction", False),
    "in the open transaction": Step(_producer, "begin_transaction", True),
    "between two decisions": Step(_producer, "produce", False, 60),
    "before the flush": Step(_producer, "flush", False),
    "after the flush": Step(_producer, "flush", True),
    "before the offsets": Step(_producer, "send_offsets_to_transaction", False),
    "after the offsets": Step(_producer, "send_offsets_to_transaction", True),
    "before the commit": Step(_producer, "commit_transaction", False),
    "after the commit": Step(_producer, "commit_transaction", True),
    "before the breaker counts": Step(_breaker, "record", False),
    "after the breaker counts": Step(_breaker, "record", True),
}
"""Steps by name, in the order of a batch."""


class _Wrapped:
    """A wrapper that passes everything on to an object whose own attributes can't be replaced."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def crash_at(step: Step, worker: app.Worker) -> None:
    worker.transactions._producer = _Wrapped(worker.transactions._producer)  # type: ignore[assignment]
    owner, calls = step.owner(worker), itertools.count(1)
    original = getattr(owner, step.method)

    def is_last() -> bool:
        return next(calls) == step.calls

    def crash_before(*arguments: Any, **named: Any) -> Any:
        if is_last():
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    def crash_after(*arguments: Any, **named: Any) -> Any:
        answer = original(*arguments, **named)
        if is_last():
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    async def crash_after_waiting(*arguments: Any, **named: Any) -> Any:
        answer = await original(*arguments, **named)
        if is_last():
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    after = crash_after_waiting if asyncio.iscoroutinefunction(original) else crash_after
    setattr(owner, step.method, after if step.is_after else crash_before)


def main() -> None:
    step_name, mark_name = arguments(__doc__, "STEP", "MARK", choices=list(STEPS))
    step, mark = STEPS[step_name], Path(mark_name)
    keep_filled(Settings())
    if mark.exists():
        run_worker(Settings())
    mark.touch()

    class CrashingWorker(app.Worker):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings)
            crash_at(step, self)

    with mock.patch.object(app, "Worker", CrashingWorker):
        run_worker(Settings())


if __name__ == "__main__":
    main()
