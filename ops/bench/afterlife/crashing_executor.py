"""An executor that kills itself with SIGKILL at a step of a batch.

`python -m ops.bench.afterlife.crashing_executor STEP`

Production code knows nothing of this: this module wraps methods, then runs the same service.
"""

from __future__ import annotations

import itertools
import os
import signal
from typing import Any, Final, NamedTuple

from ops.processes.arguments import arguments
from pipeline.execute.batch_service import Executor
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.notice_topics import Notices
from pipeline.execute.rail_client import Rail
from pipeline.execute.service_command import run_executor
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings

BATCHES_BEFORE: Final = 4
"""Batches that pass before the crash, so that it meets an executor in full flow."""


class Step(NamedTuple):
    """The point at which to end: before or after the n-th call of a method."""

    owner: Any
    method: str
    is_after: bool
    calls: int = BATCHES_BEFORE


STEPS: Final = {
    "while taking up what another left": Step(Executor, "resume", True, 1),
    "before hearing": Step(Executor, "_hear", False),
    "after looking at the balances": Step(Ledger, "limits", True),
    "between decisions and steps": Step(Ledger, "append_executions", True),
    "between steps and postings": Step(Ledger, "append_transitions", True),
    "before the reservation is committed": Step(Executor, "_hear", True),
    "once it is reserved": Step(Executor, "_finish", False),
    "before the rail is asked": Step(Rail, "pay", False),
    "after the rail has paid": Step(Rail, "pay", True),
    "before the rail's answers are committed": Step(Executor, "_append", True, 3 * BATCHES_BEFORE - 1),
    "once they are stored": Step(Executor, "_complete", False),
    "before upstream is told": Step(Notices, "tell", False),
    "after upstream was told": Step(Notices, "tell", True),
    "before its completion is committed": Step(Executor, "_append", True, 3 * BATCHES_BEFORE),
    "once it is complete": Step(Executor, "_take_checkpoints", False),
    "before a recall is asked for": Step(Rail, "recall", False, 1),
    "after the rail has taken it back": Step(Rail, "recall", True, 1),
    "after looking for what is in doubt": Step(Ledger, "doubtful", True, 2),
}
"""Steps by name, in the order of a batch."""


def crash_at(step: Step) -> None:
    calls = itertools.count(1)
    original = getattr(step.owner, step.method)

    def crashing(*arguments: Any, **named: Any) -> Any:
        is_last = next(calls) == step.calls
        if is_last and not step.is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*arguments, **named)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(step.owner, step.method, crashing)


def main() -> None:
    [step] = arguments(__doc__, "STEP", choices=list(STEPS))
    crash_at(STEPS[step])
    settings = Settings()
    run_executor(settings, WireFormat(settings.framing, settings.confluent_ids))


if __name__ == "__main__":
    main()
