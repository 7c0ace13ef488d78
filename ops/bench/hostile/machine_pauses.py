"""How long a process that wants nothing but a core must wait for one: the floor beneath every time of a busy machine.

`python -m ops.bench.hostile.machine_pauses` looks at the clock each millisecond until its stdin ends, and prints the
99.9th percentile and the longest of how late it was, in ms.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from types import TracebackType
from typing import Final, Self

import numpy as np

from ops.processes.arguments import arguments

TICK_S: Final = 0.001
ENDING_S: Final = 120.0


class MachinePauses:
    """Measures while the block runs. `figures` is empty until then."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            out, _ = self._child.communicate(timeout=ENDING_S)
            self.figures = json.loads(out)
        finally:
            self._child.kill()


def measure() -> dict[str, float]:
    """Return how late a sleeper of 1 ms woke until stdin ended: the 99.9th percentile and the longest, in ms."""
    late_ms = [0.0]
    while True:
        began_s = time.perf_counter()
        is_over, _, _ = select.select([sys.stdin], [], [], TICK_S)
        if is_over:
            return {"p99.9": round(float(np.percentile(late_ms, 99.9)), 2), "longest": round(max(late_ms), 2)}
        late_ms.append((time.perf_counter() - began_s - TICK_S) * 1_000)


if __name__ == "__main__":
    arguments(__doc__)
    print(json.dumps(measure()))
