"""Following what became of payments, from its topic into the state (ADR 0012).

Invariants
1. No decision waits for an outcome that isn't told yet. What isn't known makes no payee known, and leaves every payment
   in the volume. What was known and was lost is UNKNOWN until all of it is back (I4).
2. A state that went back is noticed within CHECK_INTERVAL_S, also where no outcome comes.

Partitions of outcomes are shared out by a consumer group of their own; whoever follows one writes to the state of all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog

from pipeline.alerts.catalogue import AlertCode
from pipeline.decide import metrics
from pipeline.decide.outcomes.intake_service import RECORDS_MAX, Intake, Logs, OutcomesMisplaced
from pipeline.domain.log import LogRecord
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.state.outcome_records import Told

IDLE_WAIT_S: Final = 0.2
PAUSE_S: Final = 0.1
"""Pause after a turn that found the end of the log, so that outcomes gather and each call takes in several."""
DUTY_MAX: Final = 0.5
"""Largest share of the time that reading a backlog takes, while decisions run beside it."""
LAG_INTERVAL_S: Final = 5.0
CHECK_INTERVAL_S: Final = 1.0
"""Interval at which the state is asked how far it is: one short question for each partition."""
RETRY_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses before the follower begins again after a failure; the last one repeats."""
STATE_ANSWER_S: Final = 30.0

log = structlog.get_logger("outcomes")


class Follower:
    """Follows the partitions that its group gives to it, for as long as `run` runs."""

    def __init__(
        self,
        intake: Intake,
        logs: Logs,
        *,
        patience_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """patience_s: time without a turn that went well, after which people are told."""
        self._intake, self._logs = intake, logs
        self._patience_s, self._clock_s = patience_s, clock_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-outcomes")
        self._stopping = asyncio.Event()
        self._source: PositionedLog[Told] | None = None
        self._failures, self._went_well_s = 0, clock_s()
        self._lag_due_s = self._check_due_s = 0.0
        self._why: str | None = "it has only just been started"

    @property
    def summary(self) -> dict[str, object]:
        """The follower's part of /ready: the next offset by partition, and why it follows none or waits."""
        positions = {} if self._source is None else self._source.positions
        return {"positions": {str(partition): offset for partition, offset in positions.items()}, "why": self._why}

    async def run(self) -> None:
        """Follow until `stop` is called. A failure of whatever kind is told, and followed by another beginning."""
        while not self._stopping.is_set():
            try:
                await self._open()
                while not self._stopping.is_set():
                    await self._turn()
            except Exception as error:  # the outermost loop: decisions go on without outcomes
                await self._failed(error)
            finally:
                await self._close()

    def stop(self) -> None:
        """Let `run` return after its turn; call it in the event loop."""
        self._stopping.set()

    async def _open(self) -> None:
        extents, payments = (
            await self._in_thread(self._logs.extents),
            await self._in_thread(self._logs.payment_partitions),
        )
        if len(extents) != payments:
            raise OutcomesMisplaced(f"outcomes have {len(extents)} partitions, payments have {payments}")
        loop = asyncio.get_running_loop()

        def positions(partitions: Iterable[int]) -> Mapping[int, int]:
            return asyncio.run_coroutine_threadsafe(self._intake.starts(list(partitions)), loop).result(STATE_ANSWER_S)

        self._source = await self._in_thread(self._logs.open_source, positions)

    async def _turn(self) -> None:
        assert self._source is not None, "it was opened"
        began_s = self._clock_s()
        batch = await self._in_thread(self._source.read, RECORDS_MAX, IDLE_WAIT_S)
        of: dict[int, list[LogRecord[Told]]] = {span.partition: [] for span in batch.spans}
        for record in batch.records:
            of[record.partition].append(record)
        for span in batch.spans:
            reached = await self._intake.take_in(span, of[span.partition])
            if reached != span.after:
                log.warning("outcomes_elsewhere", partition=span.partition, expected=span.after, reached=reached)
                await self._in_thread(self._source.rewind)
                break
        await self._check(self._source)
        count = len(batch.records) + len(batch.unproved)  # what isn't proved has to be read past, too
        await self._tell_lag(self._source, is_idle=not count)
        self._went_well()
        is_behind = count == RECORDS_MAX
        took_s = self._clock_s() - began_s
        await self._pause(took_s * (1 - DUTY_MAX) / DUTY_MAX if is_behind else PAUSE_S)

    async def _check(self, source: PositionedLog[Told]) -> None:
        """Go where the state is, which somebody may have set back, as by restoring a snapshot."""
        if self._clock_s() < self._check_due_s:
            return
        self._check_due_s = self._clock_s() + CHECK_INTERVAL_S
        for partition, position in source.positions.items():
            if not await self._intake.is_at(partition, position):
                log.warning("outcomes_elsewhere", partition=partition, expected=position)
                await self._in_thread(source.rewind)
                break
        await self._intake.find_ends()

    async def _tell_lag(self, source: PositionedLog[Told], *, is_idle: bool) -> None:
        if self._clock_s() < self._lag_due_s:
            return
        self._lag_due_s = self._clock_s() + LAG_INTERVAL_S
        ends, positions = await self._in_thread(source.end_offsets), source.positions
        metrics.OUTCOMES_LAG.clear()
        for partition, offset in positions.items():
            end = ends.get(partition, offset)
            metrics.OUTCOMES_LAG.labels(str(partition)).set(max(end - offset, 0))
            if is_idle and end > offset:  # commit markers, which the source passes over in silence
                await self._intake.read_up_to(partition, offset, end)

    def _went_well(self) -> None:
        self._failures, self._went_well_s, self._why = 0, self._clock_s(), None

    async def _failed(self, error: Exception) -> None:
        self._why = f"{type(error).__name__}: {error}"
        log.error("outcomes_not_followed", error=type(error).__name__, why=str(error))
        if self._clock_s() - self._went_well_s > self._patience_s:
            await self._intake.alert(AlertCode.OUTCOMES_NOT_FOLLOWED, {"error": type(error).__name__})
        await self._pause(RETRY_S[min(self._failures, len(RETRY_S) - 1)])
        self._failures += 1

    async def _close(self) -> None:
        if self._source is not None:
            source, self._source = self._source, None
            await self._in_thread(source.close)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _in_thread(self, call: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
