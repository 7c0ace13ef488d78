"""Following outcomes from a broker into a state that says where to go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import pytest
from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.alerts.catalogue import AlertCode
from pipeline.decide.outcomes.due import ALL, OutcomesDue
from pipeline.decide.outcomes.following_service import Follower
from pipeline.decide.outcomes.intake_service import READ_MAX, Intake, Logs, OutcomesMisplaced, Telling
from pipeline.domain.alert import Alert
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.execution import ExecutionState
from pipeline.domain.features import FEATURES
from pipeline.domain.identities import DecisionId
from pipeline.domain.log import LogRecord, Record
from pipeline.domain.outcome import PaymentOutcome
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerAway, BrokerFailed, TopicMissing
from pipeline.io.kafka.log_reader import Extent, LogReader, RangeRead
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.state.outcome_records import Told, outcome_of_execution, told_by_decision, told_by_execution
from pipeline.state.outcomes import Effect, effect_of, is_doubtful
from pipeline.state.store import StateUnavailable
from tests.decisions import DECISION, reversal_of, review_of, written
from tests.records import NOON_MS, PAYMENT
from tests.servers import SOON_FREE, unused_prefix
from tests.state.test_outcome_records import TOLD

WIRE = WireFormat()
PARTITION = 2
DEADLINE_S = 120.0
OLDEST_MS = 1_700_000_000_000


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


class State:
    """What a state store does with outcomes: it takes in what follows, and says where it stands."""

    def __init__(self) -> None:
        self.positions: dict[int, int] = {}
        self.taken: list[PaymentOutcome] = []
        self.calls: list[tuple[int, int, int, int | None]] = []
        self.due: dict[int, int] = {}
        self.held: dict[tuple[int, str], bytes] = {}
        self.told: dict[tuple[int, str], int] = {}
        self.notes: dict[int, bytes] = {}
        self.is_away = False

    async def note_outcome(self, partition: int, note: bytes) -> None:
        self.notes[partition] = note

    async def noted_outcome(self, partition: int) -> bytes | None:
        return self.notes.get(partition)

    async def outcomes_position(self, partition: int) -> int | None:
        return self.positions.get(partition)

    async def hold_payments(self, partition: int, held: Mapping[str, bytes]) -> None:
        self.held |= {(partition, name): text for name, text in held.items()}

    async def held_payments(self, partition: int, decision_ids: Sequence[str]) -> dict[str, bytes]:
        return {name: self.held[partition, name] for name in decision_ids if (partition, name) in self.held}

    async def first_told(self, partition: int, offsets: Mapping[str, int]) -> dict[str, int]:
        return {name: self.told.setdefault((partition, name), offset) for name, offset in offsets.items()}

    async def await_outcomes(self, partition: int, due: int) -> None:
        self.due[partition] = due

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
    ) -> int:
        if self.is_away:
            raise StateUnavailable("Redis can't be reached: ConnectionError")
        self.calls.append((partition, first, last, since_ms))
        assert initial is (since_ms is not None)
        reached = self.positions.setdefault(partition, first if initial else 0)
        if reached == first and last > first:
            self.positions[partition] = last
            self.taken += outcomes
        return self.positions[partition]


class Bench:
    """A topic of outcomes on the shared broker, and a state."""

    def __init__(self, stack: EmbeddedStack, topic: str = "executions.v1") -> None:
        self.servers, self.prefix = stack.bootstrap_servers, unused_prefix()
        create_topics(self.servers, prefix=self.prefix)
        self.topic = f"{self.prefix}{topic}"
        self.told = told_of_execution if topic == "executions.v1" else told_of_decision
        self.state = State()
        self.letters: list[tuple[Record, Refusal]] = []
        self.alerts: list[Alert] = []
        self.payment_partitions = 4
        self.oldest: dict[int, int] = {}
        self.now_s = 0.0
        self.due = OutcomesDue()
        self.extents_failure: Exception | None = None
        self.read = self._read_log
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 2})

    def send(self, *values: bytes | None, key: bytes = b"payer") -> None:
        for value in values:
            self._producer.produce(self.topic, value, key, PARTITION)
        assert self._producer.flush(DEADLINE_S) == 0

    def follower(self, slot: int = 0) -> Follower:
        def open_source(positions: Callable[[Iterable[int]], Mapping[int, int]]) -> PositionedLog:
            return PositionedLog(
                self.servers,
                self.topic,
                self.told,
                f"{self.prefix}follow",
                slot=slot,
                positions=positions,
                options=SOON_FREE,
            )

        logs = Logs(
            open_source,
            lambda *span: self.read(*span),
            self._extents,
            lambda *_: OLDEST_MS,
            lambda: self.payment_partitions,
        )
        telling = Telling(self._refuse, self._raise_alert)
        self.intake = Intake(self.state, logs, telling, self.due, clock_s=lambda: self.now_s)
        return Follower(self.intake, logs, patience_s=60.0, clock_s=lambda: self.now_s)

    @asynccontextmanager
    async def following(self, slot: int = 0) -> AsyncIterator[Follower]:
        follower = self.follower(slot)
        running = asyncio.create_task(follower.run())
        try:
            yield follower
        finally:
            follower.stop()
            await running

    async def until(self, is_so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not is_so():
            assert time.monotonic() < deadline_s, "it takes too long"
            await asyncio.sleep(0.02)

    async def until_taken(self, count: int) -> None:
        await self.until(lambda: len(self.state.taken) >= count)

    def _read_log(self, partition: int, first: int, end: int) -> RangeRead[LogRecord[Told]]:
        def log_record(record: Record) -> LogRecord[Told]:
            return LogRecord(*record.source, record.key or b"", record.value or b"", self.told(record.value))

        with LogReader(self.servers, "read", {}) as reader:
            return reader.read_range(self.topic, partition, first, end, READ_MAX, log_record)

    def _extents(self) -> Mapping[int, Extent]:
        if self.extents_failure is not None:
            raise self.extents_failure
        with LogReader(self.servers, "extents", {}) as reader:
            found = reader.extents(self.topic)
        return {partition: Extent(self.oldest.get(partition, low), high) for partition, (low, high) in found.items()}

    async def _refuse(self, record: Record, refusal: Refusal) -> None:
        self.letters.append((record, refusal))

    async def _raise_alert(self, raised: Alert) -> None:
        self.alerts.append(raised)


def told_of_execution(value: bytes | None) -> Told:
    return told_by_execution(WIRE.decode_execution(value))


def told_of_decision(value: bytes | None) -> Told:
    return told_by_decision(WIRE.decode_decision_record(value))


def executions(count: int, first: int = 0) -> list[bytes]:
    return [WIRE.encode(TOLD._replace(execution_id=f"execution-{number}")) for number in range(first, first + count)]


def outcomes(count: int) -> list[PaymentOutcome | None]:
    return [outcome_of_execution(TOLD._replace(execution_id=f"execution-{number}")) for number in range(count)]


@in_loop
async def test_outcomes_are_taken_in_once_and_in_order(stack):
    bench = Bench(stack)
    bench.send(*executions(700))
    async with bench.following() as follower:
        await bench.until_taken(700)
        bench.send(*executions(5, first=700))
        await bench.until_taken(705)
        assert follower.summary == {"positions": {"0": 0, "1": 0, "2": 705, "3": 0}, "why": None}
    assert bench.state.taken == outcomes(705)
    assert max(last - first for _, first, last, _ in bench.state.calls) <= 256


@in_loop
async def test_another_worker_goes_on_where_the_state_stands(stack):
    bench = Bench(stack)
    bench.send(*executions(10))
    async with bench.following():
        await bench.until_taken(10)
    bench.send(*executions(10, first=10))
    async with bench.following(slot=1):
        await bench.until_taken(20)
    assert bench.state.taken == outcomes(20)


@in_loop
async def test_two_workers_at_once_do_no_harm(stack):
    """The second one has taken a slice in while the first was asleep: the first goes on where the state stands."""
    bench = Bench(stack)
    async with bench.following() as follower:
        await bench.until(lambda: follower.summary["why"] is None)
        bench.state.positions[PARTITION] = 4
        bench.send(*executions(10))
        await bench.until_taken(6)
    assert bench.state.taken == outcomes(10)[4:]


@in_loop
async def test_a_state_that_lost_outcomes_gets_them_again(stack):
    bench = Bench(stack)
    bench.send(*executions(10))
    async with bench.following():
        await bench.until_taken(10)
        bench.state.positions.clear()
        bench.state.taken.clear()
        bench.send(*executions(1, first=10))
        await bench.until_taken(11)
    assert bench.state.taken == outcomes(11)
    assert bench.state.due == {PARTITION: 11}


@in_loop
async def test_a_state_that_is_away_is_waited_for(stack):
    bench = Bench(stack)
    async with bench.following() as follower:
        await bench.until(lambda: follower.summary["why"] is None)
        bench.state.is_away = True
        bench.send(*executions(10))
        await bench.until(lambda: str(follower.summary["why"]).startswith("StateUnavailable"))
        bench.state.is_away = False
        await bench.until_taken(10)
    assert bench.state.taken == outcomes(10)


@in_loop
async def test_where_the_oldest_outcomes_are_gone_it_begins_with_what_is_there(stack):
    bench = Bench(stack)
    bench.oldest[PARTITION] = 3
    bench.send(*executions(10))
    async with bench.following():
        await bench.until_taken(7)
    assert bench.state.taken == outcomes(10)[3:]
    assert (PARTITION, 3, 3, OLDEST_MS) in bench.state.calls


@in_loop
async def test_what_cannot_be_used_is_told_and_passed_over(stack):
    bench = Bench(stack)
    [one, other, foreign] = executions(3)
    bench.send(b"\xc3\x01 is no execution", one, None, other)
    bench.send(foreign, key=b"another")
    bench.send(*executions(1, first=2))
    async with bench.following():
        await bench.until_taken(3)
    assert bench.state.taken == outcomes(3)
    assert bench.state.positions[PARTITION] == 6
    told = [(record.source.offset, refusal.code) for record, refusal in bench.letters]
    assert told == [
        (0, RefusalCode.SCHEMA_UNKNOWN),
        (2, RefusalCode.RECORD_EMPTY),
        (4, RefusalCode.KEY_MISMATCH),
    ]
    assert [alert.code for alert in bench.alerts] == [AlertCode.OUTCOMES_REFUSED]


@in_loop
async def test_a_letter_that_cannot_be_written_lets_nothing_pass(stack, monkeypatch):
    bench = Bench(stack)
    bench.send(b"no execution", *executions(1))

    async def away(_record: Record, _refusal: Refusal) -> None:
        raise BrokerFailed("no broker")

    monkeypatch.setattr(bench, "_refuse", away)
    async with bench.following() as follower:
        await bench.until(lambda: follower.summary["why"] == "BrokerFailed: no broker")
    assert (bench.state.taken, bench.state.positions[PARTITION]) == ([], 0)


@in_loop
async def test_topics_of_different_shape_are_refused_aloud(stack):
    bench = Bench(stack)
    bench.payment_partitions = 12
    bench.send(*executions(1))
    async with bench.following() as follower:
        await bench.until(lambda: "payments have 12" in str(follower.summary["why"]))
        assert bench.alerts == []
        bench.now_s = 61.0
        await bench.until(lambda: bool(bench.alerts))
    assert [alert.code for alert in bench.alerts] == [AlertCode.OUTCOMES_NOT_FOLLOWED]
    assert bench.state.taken == []


def decided(name: str, outcome: str, **features: int) -> Decision:
    known = {"account_count_1h": 1, "amount_gbp_minor": 600} | features
    values = [known.get(each, 0) for each in FEATURES]
    payment = PAYMENT._replace(account_id="payer", beneficiary_account_id="payee", event_time_ms=NOON_MS)
    return DECISION._replace(
        decision_id=DecisionId(name),
        account_id="payer",
        outcome=Outcome(outcome),
        source_timestamp_ms=NOON_MS + 40,
        snapshot=DECISION.snapshot._replace(transaction=payment, features=tuple(values)),
    )


@in_loop
async def test_where_no_executor_of_ours_runs_decisions_say_what_became_of_payments(stack):
    bench = Bench(stack, "decisions.v1")
    held, refused = decided("held", "ESCALATE"), decided("refused", "ESCALATE")
    bench.send(
        written(decided("allowed", "ALLOW")),
        written(decided("blocked", "BLOCK")),
        written(decided("guardrail", "BLOCK", account_count_1h=-1)),
        written(held),
        written(refused),
        WIRE.encode(review_of(held, Outcome.ALLOW)),
        WIRE.encode(review_of(refused, Outcome.BLOCK)),
        WIRE.encode(reversal_of(held, Outcome.BLOCK)),
    )
    async with bench.following():
        await bench.until_taken(8)
    made_ms, reviewed_ms = NOON_MS + 40, NOON_MS + 60_000
    assert [(each.name.decode(), each.kind, each.made_at_ms, effect_of(each)) for each in bench.state.taken] == [
        ("allowed", "MADE", made_ms, Effect.MAKE),
        ("blocked", "WITHDRAWN", -1, Effect.WITHDRAW),
        ("guardrail", "WITHDRAWN", -1, Effect.UNMAKE),
        ("held", "UNMADE", made_ms, Effect.HOLD),
        ("refused", "UNMADE", made_ms, Effect.HOLD),
        ("held", "MADE", reviewed_ms, Effect.MAKE),
        ("refused", "WITHDRAWN", -1, Effect.WITHDRAW),
        ("held", "UNMADE", -1, Effect.HOLD),
    ]
    assert {(each.beneficiary_account_id, each.payment_time_ms) for each in bench.state.taken} == {("payee", NOON_MS)}


@in_loop
async def test_what_is_said_again_of_a_decision_counts_from_where_it_was_said_first(stack):
    """A review is sent again with the same bytes, maybe behind a reversal."""
    bench = Bench(stack, "decisions.v1")
    held = decided("held", "ESCALATE")
    review, reversal = WIRE.encode(review_of(held, Outcome.ALLOW)), WIRE.encode(reversal_of(held, Outcome.BLOCK))
    bench.send(written(held), review, review, reversal)
    async with bench.following():
        await bench.until_taken(4)
        bench.send(review, reversal)
        await bench.until_taken(6)
    assert [(each.kind, each.order) for each in bench.state.taken] == [
        ("UNMADE", -1),
        ("MADE", 1),
        ("MADE", 1),
        ("UNMADE", 3),
        ("MADE", 1),
        ("UNMADE", 3),
    ]


@in_loop
async def test_times_ahead_of_their_record_are_not_believed(stack):
    bench = Bench(stack)
    ahead_ms = time.time_ns() // 1_000_000 + 3_600_000
    bench.send(WIRE.encode(TOLD._replace(state=ExecutionState.REFUSED, payment_time_ms=ahead_ms)))
    async with bench.following():
        await bench.until_taken(1)
    [told] = bench.state.taken
    assert (told.payment_time_ms, effect_of(told), is_doubtful(told)) == (-1, Effect.UNMAKE, True)


@in_loop
async def test_a_review_of_what_is_not_remembered_makes_nobody_known(stack):
    bench = Bench(stack, "decisions.v1")
    unknown = decided("unknown", "ESCALATE")
    bench.send(WIRE.encode(review_of(unknown, Outcome.ALLOW)), WIRE.encode(reversal_of(unknown, None)))
    async with bench.following():
        await bench.until_taken(2)
    assert [effect_of(each) for each in bench.state.taken] == [Effect.UNSETTLE, Effect.UNMAKE]
    assert not any(map(is_doubtful, bench.state.taken)), "an escalation was never of a normal month"


@in_loop
async def test_i4_a_reversal_of_what_was_made_leaves_the_month_in_doubt_as_it_does_not_say_how_much(stack):
    bench = Bench(stack, "decisions.v1")
    allowed = decided("allowed", "ALLOW")
    bench.send(written(allowed), *[WIRE.encode(reversal_of(allowed, each)) for each in (Outcome.BLOCK, None)])
    async with bench.following():
        await bench.until_taken(3)
    assert [is_doubtful(each) for each in bench.state.taken] == [False, True, True]
    assert {each.counted_until_ms for each in bench.state.taken[1:]} == {reversal_of(allowed, None).reversed_at_ms}


@in_loop
async def test_what_the_log_holds_is_taken_in_before_a_partition_is_decided(stack):
    """More than one slice, and more than one reading."""
    bench = Bench(stack)
    count = READ_MAX + 300
    bench.send(*executions(count))
    bench.follower()
    await bench.intake.begin({PARTITION: 5, 1: -1})
    assert bench.state.taken == outcomes(count)
    assert (bench.due.of(PARTITION), bench.due.of(1), bench.due.unknown) == (count, 0, [])
    assert max(last - first for _, first, last, _ in bench.state.calls) <= 256


@in_loop
async def test_i4_a_log_whose_offsets_were_given_out_anew_is_not_followed_as_if_it_were_the_one_before(stack):
    """It was made anew, or lost records by an unclean election of a leader, and is longer than before by now."""
    before, after = Bench(stack), Bench(stack)
    before.send(*executions(5))
    before.follower()
    await before.intake.begin({PARTITION: 5})
    after.send(*executions(20, first=100))
    after.state = before.state
    after.follower()
    await after.intake.begin({PARTITION: 5})
    assert (after.state.taken, after.due.of(PARTITION)) == (outcomes(5), ALL)
    with pytest.raises(OutcomesMisplaced, match="at 4 isn't the one"):
        await after.intake.starts([PARTITION])


@in_loop
async def test_a_log_that_was_put_back_with_other_times_is_followed_on(stack):
    before, after = Bench(stack), Bench(stack)
    before.send(*executions(5))
    before.follower()
    await before.intake.begin({PARTITION: 5})
    after.send(*executions(9))
    after.state = before.state
    after.follower()
    await after.intake.begin({PARTITION: 5})
    assert after.state.taken == outcomes(9)


@in_loop
async def test_what_cannot_be_taken_in_in_time_is_due_and_left_to_the_follower(stack):
    bench = Bench(stack)
    bench.send(*executions(10))
    async with bench.following():
        await bench.until_taken(10)
        bench.state.is_away = True
        bench.send(*executions(5, first=10))
        await bench.intake.begin({PARTITION: 12})
        assert bench.due.of(PARTITION) == 15
        bench.state.is_away = False
        await bench.until_taken(15)
    assert bench.state.taken == outcomes(15)


@in_loop
async def test_a_log_that_is_away_keeps_nobody_from_deciding_and_everything_is_due_until_it_is_back(stack):
    bench = Bench(stack)
    bench.send(*executions(3))
    async with bench.following() as follower:
        await bench.until_taken(3)
        bench.extents_failure = BrokerAway("the broker is silent")
        await bench.intake.begin({PARTITION: 3})
        assert (bench.due.of(PARTITION), bench.due.unknown) == (ALL, [PARTITION])
        bench.extents_failure = None
        bench.now_s += 2.0
        await bench.until(lambda: not bench.due.unknown)
        assert (bench.due.of(PARTITION), follower.summary["why"]) == (3, None)


@in_loop
async def test_i4_a_log_that_ends_before_the_state_leaves_everything_due(stack):
    """It was made anew: what is told there of a payee's payments would not be taken in, and nobody would miss it."""
    bench = Bench(stack)
    bench.state.positions[PARTITION] = 9
    bench.send(*executions(3))
    async with bench.following() as follower:
        await bench.until(lambda: "the state has outcomes" in str(follower.summary["why"]))
        await bench.intake.begin({PARTITION: 9})
        assert (bench.due.of(PARTITION), bench.due.unknown) == (ALL, [PARTITION])
        bench.send(*executions(6, first=3))
        bench.now_s += 2.0
        await bench.until(lambda: not bench.due.unknown)
    assert bench.due.of(PARTITION) == 9


@in_loop
async def test_where_there_is_no_topic_of_outcomes_only_what_was_seen_is_due(stack):
    bench = Bench(stack)
    bench.follower()
    bench.extents_failure = TopicMissing("executions.v1")
    await bench.intake.begin({PARTITION: 7, 1: -2})
    assert (bench.due.of(PARTITION), bench.due.of(1), bench.due.unknown) == (7, 0, [])


@in_loop
async def test_i4_a_state_that_went_back_is_noticed_although_no_outcome_comes(stack):
    """A snapshot that somebody restored: until all is back, what outcomes tell is UNKNOWN."""
    bench = Bench(stack)
    bench.send(*executions(10))
    async with bench.following():
        await bench.until_taken(10)
        bench.state.positions[PARTITION] = 4
        del bench.state.taken[4:]
        bench.now_s += 2.0
        await bench.until_taken(10)
    assert bench.state.taken == outcomes(10)
    assert bench.state.due == {PARTITION: 10}
    assert bench.due.of(PARTITION) == ALL, "nobody decides it here"


@in_loop
async def test_commit_markers_at_the_end_of_the_log_are_passed_over(stack):
    """Otherwise the end of the log, which is due, would never be reached."""
    bench = Bench(stack)
    bench.follower()
    bench.state.positions[PARTITION] = 10
    bench.read = lambda _partition, _first, end: RangeRead([], end, True)
    await bench.intake.read_up_to(PARTITION, 10, 12)
    assert (bench.state.positions[PARTITION], bench.state.taken) == (12, [])
