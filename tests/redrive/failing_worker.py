"""A worker whose code fails on one payment until it is mended: `python -m tests.redrive.failing_worker ID MENDED`.

MENDED is a file; once it exists, a worker that starts is sound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from ops.processes.arguments import arguments
from pipeline.decide.batch import Judge
from pipeline.decide.worker_command import run_worker
from pipeline.io.settings import Settings


def main(transaction_id: str, mended: Path) -> None:
    if mended.exists():
        run_worker(Settings())
    sound = Judge._decided

    def failing(self: Judge, payments: Any, *rest: Any) -> Any:
        if any(payment.decoded.transaction.transaction_id == transaction_id for payment in payments):
            raise RuntimeError("our code fails")
        return sound(self, payments, *rest)

    with mock.patch.object(Judge, "_decided", failing):
        run_worker(Settings())


if __name__ == "__main__":
    payment_id, mended = arguments(__doc__, "ID", "MENDED")
    main(payment_id, Path(mended))
