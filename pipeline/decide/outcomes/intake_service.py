"""Taking outcomes into the state, whoever reads them: the follower as they come, and a worker before it decides.

Invariants
1. The state alone says where to go on. It takes a slice in only where that follows what it has, so a slice that comes
   twice, or from two workers at once, counts once.
2. A record that can't be used is passed over only once its dead letter stands on the topic.
3. A worker decides no payment of a partition before it has looked for the end of the partition's outcomes. What it
   can't take in by then within CATCH_UP_S is UNKNOWN until it is taken in; no partition waits longer than that (I4).
4. Where another record stands where the state took in its last one, the log isn't the one that the state knows, and
   what outcomes tell is UNKNOWN: those before were never taken in.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import structlog

from pipeline.alerts.catalogue import CATALOGUE, AlertCode, alert
from pipeline.decide import metrics
from pipeline.decide.outcomes.due import OutcomesDue
from pipeline.domain.alert import Alert
from pipeline.domain.log import LogRecord, Record, Source
from pipeline.domain.outcome import PaymentOutcome
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.kafka.client import BrokerFailed, TopicMissing
from pipeline.io.kafka.log_reader import Extent, RangeRead
from pipeline.io.kafka.positioned_log import PositionedLog, PositionMove, PositionsOf
from pipeline.state.outcome_records import (
    Held,
    Later,
    Told,
    Unusable,
    held_outcome,
    held_text,
    outcome_of_later,
    within_log,
)
from pipeline.state.store import StateUnavailable

RECORDS_MAX: Final = 256
"""Records that the state takes in by one call; so many are a millisecond of Redis."""
READ_MAX: Final = 2_048
"""Records that are read at once where a worker catches up."""
CATCH_UP_S: Final = 3.0
"""Time that a worker takes to catch up with the outcomes before it decides: some 50,000 of them, or what came in the
minutes in which nobody followed. It is spent while the group waits for this worker."""
REFUSED_ALERTED: Final = 3
"""Records refused since the last alert that are no accident any more."""
ALERT_INTERVAL_S: Final = 600.0

_DIGEST_BYTES: Final = 16
_NOTE: Final = struct.Struct(f">qq{_DIGEST_BYTES}s")  # offset, log time in ms and digest of a record

_Content = PaymentOutcome | Held | Later

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
        offsets: Sequence[int] | None = None,
        initial: bool = False,
        since_ms: int | None = None,
    ) -> int: ...
    async def await_outcomes(self, partition: int, due: int) -> None: ...
    async def outcomes_position(self, partition: int) -> int | None: ...
    async def note_outcome(self, partition: int, note: bytes) -> None: ...
    async def noted_outcome(self, partition: int) -> bytes | None: ...
    async def hold_payments(self, partition: int, held: Mapping[str, bytes]) -> None: ...
    async def held_payments(self, partition: int, decision_ids: Sequence[str]) -> dict[str, bytes]: ...
    async def first_told(self, partition: int, offsets: Mapping[str, int]) -> dict[str, int]: ...


class OutcomesMisplaced(Exception):
    """The topic of outcomes can't belong to the payments: it has another number of partitions."""


class Logs(NamedTuple):
    """The view of Kafka. All functions block."""

    open_source: Callable[[PositionsOf], PositionedLog[Told]]
    read: Callable[[int, int, int], RangeRead[LogRecord[Told]]]  # up to READ_MAX of a partition, between two offsets
    extents: Callable[[], Mapping[int, Extent]]  # of the topic of outcomes
    since_of: Callable[[int, int], int]  # since when outcomes are whole that begin with a partition's oldest record
    payment_partitions: Callable[[], int]


class Telling(NamedTuple):
    """Tells people by dead letters and alerts. Each raises BrokerFailed."""

    refuse: Callable[[Record, Refusal], Any]
    raise_alert: Callable[[Alert], Any]


class Intake:
    """Takes outcomes into the state, and knows how far it had come."""

    def __init__(
        self,
        state: OutcomesState,
        logs: Logs,
        telling: Telling,
        due: OutcomesDue,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._logs, self._telling, self._due, self._clock_s = state, logs, telling, due, clock_s
        self._reached: dict[int, int] = {}  # the furthest that the state was known to be, by partition
        self._refused = 0
        self._alerted_s: dict[AlertCode, float] = {}

    async def begin(self, seen: Mapping[int, int]) -> None:
        """Take in what the log has before these partitions are decided, as far as that takes at most CATCH_UP_S.

        seen: partition → the position that its latest decision had seen; less than 0 where it doesn't say. Nothing that
        is away keeps anybody from deciding, so it raises nothing.
        """
        for partition, position in seen.items():
            self._due.expect_all(partition, position)
        try:
            await self._catch_up(list(seen), self._clock_s() + CATCH_UP_S)
        except TopicMissing as missing:  # so there are none; what was seen before stays due
            log.error("outcomes_missing", topic=missing.topic)
            for partition in seen:
                self._due.expect(partition, 0)
        except (BrokerFailed, StateUnavailable, OutcomesMisplaced, TimeoutError) as failure:
            log.error("outcomes_not_caught_up", partitions=sorted(seen), error=type(failure).__name__, why=str(failure))

    async def find_ends(self) -> None:
        """Look once more for the ends that could not be found when their partitions began to be decided."""
        unknown = self._due.unknown
        if unknown:
            self._expect(unknown, await _in_thread(self._logs.extents))

    async def starts(self, partitions: Sequence[int]) -> dict[int, int]:
        """Return where the state goes on in each partition; where it has nothing, it begins with the oldest record."""
        extents = await _in_thread(self._logs.extents)
        starts: dict[int, int] = {}
        for partition in partitions:
            low, high = extents[partition]
            held = await self._state.outcomes_position(partition)
            await self._require_same(partition, extents[partition], held or 0)
            if (held or 0) < self._reached.get(partition, 0):  # it had more, and lost that
                await self._state.await_outcomes(partition, high)
            since_ms = None
            if low > (held or 0):  # nothing older can be had
                since_ms = await _in_thread(self._logs.since_of, partition, low)
                log.error("outcomes_expired", partition=partition, reached=held, oldest=low)
            start = await self._state.apply_outcomes(
                partition, low, low, (), initial=since_ms is not None, since_ms=since_ms
            )
            if not low <= start <= high:
                self._due.expect_all(partition, start)  # no outcome of this log would be taken in before it ends there
                raise OutcomesMisplaced(f"the state has outcomes of [{partition}] to {start}, the log {low} to {high}")
            starts[partition] = start
            self._has_reached(partition, start)
            log.info("outcomes_followed", partition=partition, offset=start, end=high)
        return starts

    async def take_in(self, span: PositionMove, records: Sequence[LogRecord[Told]]) -> int:
        """Return how far the state is. Where that isn't the span's end, it had meanwhile come further, or lost what it
        had: then it says where to go on."""
        told: list[_Content] = []
        usable: list[LogRecord[Told]] = []
        for record in records:
            content = _checked(record)
            if isinstance(content, Unusable):
                await self._refuse(record, content.refusal)
            else:
                told.append(content)
                usable.append(record)
        outcomes = [
            within_log(outcome, record.timestamp_ms)
            for outcome, record in zip(await self._outcomes(span.partition, told, usable), usable, strict=True)
        ]
        offsets = [record.offset for record in usable]
        reached = await self._state.apply_outcomes(span.partition, span.before, span.after, outcomes, offsets=offsets)
        if reached == span.after:
            self._has_reached(span.partition, reached)
            if records:
                await self._state.note_outcome(span.partition, _note(records[-1]))
            for kind, count in Counter(outcome.kind for outcome in outcomes).items():
                metrics.OUTCOMES.labels(kind).inc(count)
        return reached

    async def read_up_to(self, partition: int, start: int, end: int, until_s: float = math.inf) -> None:
        """Read on from `start`, where the state is, to `end`; commit markers at the log's end have offsets, too.

        until_s: time by the clock after which it is left to the follower.
        """
        while start < end and self._clock_s() < until_s:
            read = await _in_thread(self._logs.read, partition, start, end)
            start, before = await self._take_in_slices(partition, start, read), start
            if read.is_at_end or start <= before:
                return

    async def is_at(self, partition: int, position: int) -> bool:
        """Return whether the state is where a reader believes it to be."""
        return await self._state.outcomes_position(partition) == position

    async def alert(self, code: AlertCode, evidence: dict[str, str]) -> bool:
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

    async def _catch_up(self, partitions: Sequence[int], until_s: float) -> None:
        extents = await asyncio.wait_for(_in_thread(self._logs.extents), CATCH_UP_S)
        self._expect(partitions, extents)
        for partition, start in (await self.starts(partitions)).items():
            await self.read_up_to(partition, start, extents[partition].high, until_s)

    def _expect(self, partitions: Sequence[int], extents: Mapping[int, Extent]) -> None:
        if not set(partitions) <= set(extents):
            raise OutcomesMisplaced(f"outcomes have {len(extents)} partitions, but {max(partitions)} is decided")
        for partition in partitions:
            self._due.expect(partition, extents[partition].high)

    async def _take_in_slices(self, partition: int, start: int, read: RangeRead[LogRecord[Told]]) -> int:
        """Return where the state is afterwards."""
        for place in range(0, max(len(read.taken), 1), RECORDS_MAX):
            records = read.taken[place : place + RECORDS_MAX]
            is_last = place + RECORDS_MAX >= len(read.taken)
            after = read.end_offset if is_last else records[-1].offset + 1
            reached = await self.take_in(PositionMove(partition, start, after), records)
            if reached != after:
                return reached
            start = after
        return start

    async def _require_same(self, partition: int, extent: Extent, held: int) -> None:
        """Raise OutcomesMisplaced where another record stands where the last one stood that was taken in.

        The log lost records and gave their offsets out anew, or was made anew and has grown since. A copy of it may
        have been put back with other times. A record that is gone, or not proved any more, says nothing.
        """
        note = await self._state.noted_outcome(partition)
        if note is None:
            return
        offset, _, _ = _NOTE.unpack(note)
        if not extent.low <= offset < min(extent.high, held):
            return
        found = (await _in_thread(self._logs.read, partition, offset, offset + 1)).taken
        if not found or _is_noted(found[0], note):
            return
        self._due.expect_all(partition, held)
        raise OutcomesMisplaced(f"the outcome of [{partition}] at {offset} isn't the one that the state has taken in")

    def _has_reached(self, partition: int, position: int) -> None:
        self._reached[partition] = position
        self._due.saw(partition, position)

    async def _outcomes(
        self, partition: int, told: Sequence[_Content], records: Sequence[LogRecord[Told]]
    ) -> list[PaymentOutcome]:
        """Return what was told as outcomes. Decisions that wait are remembered, for what is said of them later.

        What is said again of a decision counts from where it was said first.
        """
        held = {each.decision_id: held_text(each.outcome) for each in told if isinstance(each, Held)}
        await self._state.hold_payments(partition, held)
        asked = list({each.decision_id for each in told if isinstance(each, Later)})
        known = await self._state.held_payments(partition, asked)
        said: dict[str, int] = {}
        for each, record in zip(told, records, strict=True):
            if isinstance(each, Later):
                said.setdefault(each.event_id, record.offset)
        first = await self._state.first_told(partition, said)
        outcomes: list[PaymentOutcome] = []
        for each in told:
            match each:
                case Held():
                    outcomes.append(each.outcome)
                case Later():
                    text = known.get(each.decision_id)
                    before = None if text is None else held_outcome(each.account_id, each.decision_id, text)
                    outcomes.append(outcome_of_later(each, before)._replace(order=first[each.event_id]))
                case PaymentOutcome():
                    outcomes.append(each)
        return outcomes

    async def _refuse(self, record: LogRecord[Told], refusal: Refusal) -> None:
        log.warning("outcome_refused", partition=record.partition, offset=record.offset, **refusal._asdict())
        source = Source(record.partition, record.offset, record.timestamp_ms)
        await self._telling.refuse(Record(record.key, record.value, source), refusal)
        metrics.OUTCOMES.labels("REFUSED").inc()
        self._refused += 1
        if self._refused >= REFUSED_ALERTED and await self.alert(AlertCode.OUTCOMES_REFUSED, {"code": refusal.code}):
            self._refused = 0


async def _in_thread(call: Callable[..., Any], *arguments: object) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


def _note(record: LogRecord[Told]) -> bytes:
    return _NOTE.pack(record.offset, record.timestamp_ms, hashlib.sha256(record.value).digest()[:_DIGEST_BYTES])


def _is_noted(record: LogRecord[Told], note: bytes) -> bool:
    noted, found = _NOTE.unpack(note), _NOTE.unpack(_note(record))
    return any(was == now for was, now in zip(noted[1:], found[1:], strict=True))


def _checked(record: LogRecord[Told]) -> Told:
    """Return what the record tells; an account is followed on its own partition only, which its key decides."""
    told = record.content
    if isinstance(told, Unusable):
        return told
    account_id = told.outcome.account_id if isinstance(told, Held) else told.account_id
    if record.key != account_id.encode():
        return Unusable(Refusal(RefusalCode.KEY_MISMATCH, "the record's key is not its account_id"))
    return told
