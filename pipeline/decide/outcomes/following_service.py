"""Following what became of payments, from its topic into the state (ADR 0012).

Invariants
1. The state alone says where to go on. It takes a slice in only where that follows what it has, so a slice that comes
   twice, or from two workers at once, counts once.
2. No decision waits for an outcome. What isn't known yet makes no payee known, and leaves every payment in the volume.
   What was known and was lost is UNKNOWN until all of it is back (I4).
3. A record that can't be used is passed over only once its dead letter stands on the topic.

Partitions of outcomes are shared out by a consumer group of their own; whoever follows one writes to the state of all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, Protocol

import structlog

from pipeline.alerts.catalogue import CATALOGUE, AlertCode, alert
from pipeline.decide import metrics
from pipeline.domain.alert import Alert
from pipeline.domain.log import LogRecord, Record, Source
from pipeline.domain.outcome import PaymentOutcome
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import Extent
from pipeline.io.kafka.positioned_log import PositionedLog, PositionMove, PositionsOf
from pipeline.state.outcome_records import Held, Later, Told, Unusable, held_outcome, held_text, outcome_of_later

RECORDS_MAX: Final = 256
"""Records that the state takes in by one call; so many are a millisecond of Redis."""
IDLE_WAIT_S: Final = 0.2
PAUSE_S: Final = 0.1
"""Pause after a turn that found the end of the log, so that outcomes gather and each call takes in several."""
DUTY_MAX: Final = 0.5
"""Largest share of the time that reading a backlog takes, while decisions run beside it."""
LAG_INTERVAL_S: Final = 5.0
RETRY_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses before the follower begins again after a failure; the last one repeats."""
STATE_ANSWER_S: Final = 30.0
REFUSED_ALERTED: Final = 3
"""Records refused since the last alert that are no accident any more."""
ALERT_INTERVAL_S: Final = 600.0

log = structlog.get_logger("outcomes")


class OutcomesState(Protocol):
    """The part of the state store that takes in outcomes."""

    async def apply_outcomes(
        self,
        partition: int,
        first: int,
        last: int,
        outcomes: Sequence[PaymentOutcome],
        *,
        initial: bool = False,
        since_ms: int | None = None,
    ) -> int: ...
    async def await_outcomes(self, partition: int, due: int) -> None: ...
    async def outcomes_position(self, partition: int) -> int | None: ...
    async def hold_payments(self, partition: int, held: Mapping[str, bytes]) -> None: ...
    async def held_payments(self, partition: int, decision_ids: Sequence[str]) -> dict[str, bytes]: ...


class OutcomesMisplaced(Exception):
    """The topic of outcomes can't belong to the payments: it has another number of partitions."""


class Logs(NamedTuple):
    """The follower's view of Kafka. All functions block, and are called in the follower's own thread."""

    open_source: Callable[[PositionsOf], PositionedLog[Told]]
    extents: Callable[[], Mapping[int, Extent]]  # of the topic of outcomes
    time_of: Callable[[int, int], int]  # log time of a partition's record at an offset, or now where there is none
    payment_partitions: Callable[[], int]


class Telling(NamedTuple):
    """The follower's words to people: dead letters and alerts. Each raises BrokerFailed."""

    refuse: Callable[[Record, Refusal], Any]
    raise_alert: Callable[[Alert], Any]


class Follower:
    """Follows the partitions that its group gives to it, for as long as `run` runs."""

    def __init__(
        self,
        state: OutcomesState,
        logs: Logs,
        telling: Telling,
        *,
        patience_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """patience_s: time without a turn that went well, after which people are told."""
        self._state, self._logs, self._telling = state, logs, telling
        self._patience_s, self._clock_s = patience_s, clock_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-outcomes")
        self._stopping = asyncio.Event()
        self._source: PositionedLog[Told] | None = None
        self._reached: dict[int, int] = {}  # the furthest that the state was known to be, by partition
        self._failures, self._went_well_s = 0, clock_s()
        self._refused = 0
        self._lag_due_s = 0.0
        self._alerted_s: dict[AlertCode, float] = {}
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
            return asyncio.run_coroutine_threadsafe(self._starts(list(partitions)), loop).result(STATE_ANSWER_S)

        self._source = await self._in_thread(self._logs.open_source, positions)

    async def _starts(self, partitions: Sequence[int]) -> dict[int, int]:
        """Return where the state goes on in each partition; where it has nothing, it begins with the oldest record."""
        in_any_thread = asyncio.get_running_loop().run_in_executor
        extents = await in_any_thread(None, self._logs.extents)
        starts: dict[int, int] = {}
        for partition in partitions:
            low, high = extents[partition]
            held = await self._state.outcomes_position(partition)
            if (held or 0) < self._reached.get(partition, 0):  # it had more, and lost that
                await self._state.await_outcomes(partition, high)
            since_ms = None
            if low > (held or 0):  # nothing older can be had
                since_ms = await in_any_thread(None, self._logs.time_of, partition, low)
                log.error("outcomes_expired", partition=partition, reached=held, oldest=low)
            start = await self._state.apply_outcomes(
                partition, low, low, (), initial=since_ms is not None, since_ms=since_ms
            )
            if not low <= start <= high:
                raise OutcomesMisplaced(f"the state has outcomes of [{partition}] to {start}, the log {low} to {high}")
            starts[partition] = self._reached[partition] = start
            log.info("outcomes_followed", partition=partition, offset=start, end=high)
        return starts

    async def _turn(self) -> None:
        assert self._source is not None, "it was opened"
        began_s = self._clock_s()
        batch = await self._in_thread(self._source.read, RECORDS_MAX, IDLE_WAIT_S)
        of: dict[int, list[LogRecord[Told]]] = {span.partition: [] for span in batch.spans}
        for record in batch.records:
            of[record.partition].append(record)
        for span in batch.spans:
            if not await self._take_in(span, of[span.partition]):
                await self._in_thread(self._source.rewind)
                break
        await self._tell_lag()
        self._went_well()
        is_behind = len(batch.records) == RECORDS_MAX
        took_s = self._clock_s() - began_s
        await self._pause(took_s * (1 - DUTY_MAX) / DUTY_MAX if is_behind else PAUSE_S)

    async def _take_in(self, span: PositionMove, records: Sequence[LogRecord[Told]]) -> bool:
        """Return False where the state has meanwhile come further, or lost what it had: then it says where to go on."""
        told: list[PaymentOutcome | Held | Later] = []
        for record in records:
            content = _checked(record)
            if isinstance(content, Unusable):
                await self._refuse(record, content.refusal)
            else:
                told.append(content)
        outcomes = await self._outcomes(span.partition, told)
        reached = await self._state.apply_outcomes(span.partition, span.before, span.after, outcomes)
        if reached != span.after:
            log.warning("outcomes_elsewhere", partition=span.partition, expected=span.after, reached=reached)
            return False
        self._reached[span.partition] = reached
        for kind, count in Counter(outcome.kind for outcome in outcomes).items():
            metrics.OUTCOMES.labels(kind).inc(count)
        return True

    async def _outcomes(self, partition: int, told: Sequence[PaymentOutcome | Held | Later]) -> list[PaymentOutcome]:
        """Return what was told as outcomes. Decisions that wait are remembered, for what is said of them later."""
        held = {each.decision_id: held_text(each.outcome) for each in told if isinstance(each, Held)}
        await self._state.hold_payments(partition, held)
        asked = list({each.decision_id for each in told if isinstance(each, Later)})
        known = await self._state.held_payments(partition, asked)
        outcomes: list[PaymentOutcome] = []
        for each in told:
            match each:
                case Held():
                    outcomes.append(each.outcome)
                case Later():
                    text = known.get(each.decision_id)
                    before = None if text is None else held_outcome(each.account_id, each.decision_id, text)
                    outcomes.append(outcome_of_later(each, before))
                case PaymentOutcome():
                    outcomes.append(each)
        return outcomes

    async def _refuse(self, record: LogRecord[Told], refusal: Refusal) -> None:
        log.warning("outcome_refused", partition=record.partition, offset=record.offset, **refusal._asdict())
        source = Source(record.partition, record.offset, record.timestamp_ms)
        await self._telling.refuse(Record(record.key, record.value, source), refusal)
        metrics.OUTCOMES.labels("REFUSED").inc()
        self._refused += 1
        if self._refused >= REFUSED_ALERTED and await self._alert(AlertCode.OUTCOMES_REFUSED, {"code": refusal.code}):
            self._refused = 0

    async def _tell_lag(self) -> None:
        if self._source is None or self._clock_s() < self._lag_due_s:
            return
        self._lag_due_s = self._clock_s() + LAG_INTERVAL_S
        ends, positions = await self._in_thread(self._source.end_offsets), self._source.positions
        metrics.OUTCOMES_LAG.clear()
        for partition, offset in positions.items():
            metrics.OUTCOMES_LAG.labels(str(partition)).set(max(ends.get(partition, offset) - offset, 0))

    def _went_well(self) -> None:
        self._failures, self._went_well_s, self._why = 0, self._clock_s(), None

    async def _failed(self, error: Exception) -> None:
        self._why = f"{type(error).__name__}: {error}"
        log.error("outcomes_not_followed", error=type(error).__name__, why=str(error))
        if self._clock_s() - self._went_well_s > self._patience_s:
            await self._alert(AlertCode.OUTCOMES_NOT_FOLLOWED, {"error": type(error).__name__})
        await self._pause(RETRY_S[min(self._failures, len(RETRY_S) - 1)])
        self._failures += 1

    async def _alert(self, code: AlertCode, evidence: dict[str, str]) -> bool:
        """Raise the alert, unless it was raised a short while ago; return whether it was raised."""
        now_s = self._clock_s()
        if now_s - self._alerted_s.get(code, -ALERT_INTERVAL_S) < ALERT_INTERVAL_S:
            return False
        try:
            raised_at_ms = time.time_ns() // 1_000_000
            await self._telling.raise_alert(alert(code, CATALOGUE[code].meaning, "outcomes", evidence, raised_at_ms))
        except BrokerFailed as error:
            log.error("alert_not_raised", code=code, why=str(error))
            return False
        self._alerted_s[code] = now_s
        return True

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


def _checked(record: LogRecord[Told]) -> Told:
    """Return what the record tells; an account is followed on its own partition only, which its key decides."""
    told = record.content
    if isinstance(told, Unusable):
        return told
    account_id = told.outcome.account_id if isinstance(told, Held) else told.account_id
    if record.key != account_id.encode():
        return Unusable(Refusal(RefusalCode.KEY_MISMATCH, "the record's key is not its account_id"))
    return told
