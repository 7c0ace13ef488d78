"""The stages of the decision agent: which batch may be in which, and in what order they leave."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import numpy as np
import pytest
from structlog.testing import capture_logs

from pipeline.decide.agent import HOLDS_MAX, DecisionAgent
from pipeline.decide.batch import Judged, Reading, SetAside
from pipeline.decide.observing_agent import StateGivenUp
from pipeline.decide.outcomes.due import ALL, OutcomesDue
from pipeline.decide.tracing.worker_agent import WorkerTraces
from pipeline.domain.decision import Outcome, Route
from pipeline.domain.log import Outgoing, Record, Source, Span
from pipeline.io.kafka.transaction_log import Batch
from pipeline.state.store import Prepared, StateAhead, StateRefused, StateUnavailable
from pipeline.state.windows import ContextUnsure, PartitionEvents, PartitionObservation, SnapshotPruned, StateLost
from pipeline.traces.tracer_service import Tracer

PATIENCE_S = 120.0
COUNT = 5


def batch_of(number: int) -> Batch:
    return Batch([Record(b"", b"", Source(0, number, 0))], [Span(0, number, number + 1, 0)], epoch=0)


class Log:
    def __init__(self) -> None:
        self.committed: list[int] = []
        self.sent: list[tuple[str, int]] = []  # topic, offset of the record that it is about
        self.may_commit = asyncio.Event()
        self.may_commit.set()

    async def commit(self, batch: Batch, outgoing: list[Outgoing]) -> bool:
        await self.may_commit.wait()
        self.committed.append(batch.spans[0].start_offset)
        self.sent += [(each.topic, int(each.value)) for each in outgoing]
        return True

    def release(self) -> None: ...

    def is_current(self, batch: Batch) -> bool:
        return True


class State:
    """A batch is known by the offset that it begins with, which is its number."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.asked_for = [asyncio.Event() for _ in range(COUNT)]
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.lost_at: tuple[int, int] | None = None  # batch, and the how manieth time that it is asked for
        self.away_at: int | None = None  # batch that is refused once, with those behind it until it is asked for again
        self.away_for, self.away = 1, StateUnavailable()
        self.is_lost = False
        self.unsure_at: int | None = None  # batch from which on context is unsure, until it was compared
        self.released: list[int] = []
        self.is_only_accounts = False
        self.due: list[int] = []  # of outcomes, as it was told with each batch
        self.positions: list[int] = []  # of outcomes, in each answer

    def prepare(self, events: list[PartitionEvents]) -> Prepared:
        self.due.append(events[0].outcomes_due)
        return Prepared(events, [], False, False)

    async def release_claims(self, events: list[PartitionEvents]) -> int:
        self.released.append(events[0].start_offset)
        return 1

    async def observe_prepared(self, batch: Prepared, *, when_ready: bool) -> list[PartitionObservation]:
        prepared = batch.batch[0].start_offset
        self.asked[prepared] += 1
        self.asked_for[prepared].set()
        await self.may_answer.wait()
        if self.away_at == prepared and self.asked[prepared] <= self.away_for:
            raise self.away
        if self.unsure_at is not None and prepared >= self.unsure_at:
            raise ContextUnsure
        self.is_lost |= self.lost_at == (prepared, self.asked[prepared])
        is_behind = self.away_at is not None and prepared > self.away_at and self.asked[self.away_at] <= self.away_for
        if self.is_lost or is_behind:
            raise StateLost(0, None)
        nothing = np.zeros(0, dtype=np.int64)
        return [PartitionObservation(nothing.astype(np.int8), nothing, np.array(self.positions, dtype=np.int64))]


class Breaker:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def modes(self, *_: object) -> None: ...

    async def record(self, _batch: object, _answers: object, _in_force: object, seconds: float, _: object) -> None:
        self.seconds.append(seconds)


class JudgeInPlace:
    """Allows each payment; fails at its first attempt at `fails_at`, and at each of `poisoned`."""

    in_force = SimpleNamespace(model=None, currencies=frozenset())
    rollout = None

    def __init__(self) -> None:
        self.fails_at: int | None = None
        self.poisoned: set[int] = set()

    def read(self, records: list[Record]) -> Reading:
        return Reading([], [(record, None) for record in records])

    def state_events(self, reading: Reading, spans: list[Span]) -> list[PartitionEvents]:
        return [PartitionEvents(*spans[0], [])]

    def judge(self, reading: Reading, *_: object):
        offsets = [record.source.offset for record, _ in reading.refused]
        if self.fails_at == offsets[0]:
            self.fails_at = None
            raise RuntimeError("our code fails")
        yield Judged([Outgoing("decisions", b"", b"%d" % offset) for offset in offsets if offset not in self.poisoned])
        if not self.poisoned.isdisjoint(offsets):
            raise RuntimeError("our code fails in the middle")
        yield Judged(outcomes=Counter({(Outcome.ALLOW, Route.MODEL): len(offsets)}))

    def poison(self, record: Record, _now_ms: int) -> Judged:
        return Judged(set_aside=[SetAside(record, "POISON", "")], dead_letters=Counter(POISON=1))


class Rebuild:
    def __init__(self, log: Log, state: State) -> None:
        self._log, self._state = log, state
        self.committed_before: list[list[int]] = []
        self.comparisons = self.ahead_for = 0

    async def compare_context(self) -> None:
        self.comparisons += 1
        if self.comparisons <= self.ahead_for:
            raise StateAhead({0: 20}, {0: 10})
        self._state.unsure_at = None

    async def reaches(self, targets: dict[int, int]) -> bool:
        return not self._state.is_lost

    async def is_shared_whole(self, targets: dict[int, int]) -> bool:
        return self._state.is_only_accounts

    async def run(self, judge: object, positions: dict[int, int]) -> None:
        self.committed_before.append(list(self._log.committed))
        self._state.is_lost = False


def letter_of(each: SetAside) -> Outgoing:
    return Outgoing("dead", each.code.encode(), b"%d" % each.record.source.offset)


class Stages:
    def __init__(self) -> None:
        self.log, self.state, self.judge = Log(), State(), JudgeInPlace()
        self.rebuild = Rebuild(self.log, self.state)
        self.failures: list[BaseException] = []
        self.due, self.breaker = OutcomesDue(), Breaker()
        self.told: list[str] = []
        self.probes = 0
        self.probe_fails: list[BaseException] = []  # the next ones
        self.agent = DecisionAgent(
            self.log,
            self.state,
            self.breaker,
            self.rebuild,
            self.judge,
            self.due,
            letter_of=letter_of,
            probe=self.probe,
            seal=list,
            traces=WorkerTraces(Tracer(None), "transactions", "decisions", "group"),
            tell_held=self.told.append,
            state_patience_s=1.0,
            clock_ms=lambda: 0,
        )
        self.agent.on_failure = self.failures.append

    async def probe(self, judge: object) -> None:
        self.probes += 1
        if self.probe_fails:
            raise self.probe_fails.pop(0)

    async def decide(self) -> None:
        for number in range(COUNT):
            await self.agent.decide(batch_of(number))

    async def settle(self) -> None:
        await self.agent.settle()
        assert self.failures == []
        assert self.log.committed == list(range(COUNT))


def run(scenario: Callable[[Stages], Awaitable[None]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(scenario(Stages()), PATIENCE_S)

    with capture_logs():  # a traceback takes longer to print than a scenario to run
        asyncio.run(whole())


def test_while_a_commit_is_under_way_all_that_was_read_is_observed():
    async def scenario(stages: Stages) -> None:
        stages.log.may_commit.clear()
        await stages.decide()
        await stages.state.asked_for[-1].wait()
        assert stages.log.committed == []
        stages.log.may_commit.set()
        await stages.settle()

    run(scenario)


def test_a_batch_is_asked_for_before_the_one_ahead_of_it_is_answered():
    async def scenario(stages: Stages) -> None:
        stages.state.may_answer.clear()
        deciding = asyncio.create_task(stages.decide())
        await stages.state.asked_for[1].wait()
        stages.state.may_answer.set()
        await deciding
        await stages.settle()
        assert stages.state.asked == Counter(range(COUNT))

    run(scenario)


@pytest.mark.parametrize("away", range(COUNT))
def test_what_was_asked_for_behind_a_batch_that_failed_is_asked_for_again_and_nothing_is_rebuilt(away):
    async def scenario(stages: Stages) -> None:
        stages.state.away_at = away
        await stages.decide()
        await stages.settle()
        assert stages.state.asked[away] == 2
        assert stages.rebuild.committed_before == []

    run(scenario)


@pytest.mark.parametrize("unsure", range(COUNT))
def test_context_is_compared_before_a_batch_is_counted_by_it_and_nothing_is_rebuilt(unsure):
    async def scenario(stages: Stages) -> None:
        stages.state.unsure_at = unsure
        await stages.decide()
        await stages.settle()
        assert stages.rebuild.comparisons == 1
        assert stages.rebuild.committed_before == []
        assert stages.log.committed == list(range(COUNT))

    run(scenario)


@pytest.mark.parametrize("lost", range(COUNT))
def test_a_lost_state_is_rebuilt_when_all_before_is_committed(lost):
    async def scenario(stages: Stages) -> None:
        stages.state.lost_at = lost, 1
        await stages.decide()
        await stages.settle()
        assert stages.rebuild.committed_before == [list(range(lost))]

    run(scenario)


@pytest.mark.parametrize("lost", range(COUNT))
def test_a_state_lost_while_a_batch_is_tried_again_is_rebuilt_before_those_behind_it(lost):
    async def scenario(stages: Stages) -> None:
        stages.judge.fails_at, stages.state.lost_at = lost, (lost, 2)
        await stages.decide()
        await stages.settle()
        assert stages.rebuild.committed_before == [list(range(lost))]

    run(scenario)


@pytest.mark.parametrize("stage", ["read", "state_events", "judge"])
@pytest.mark.parametrize("poisoned", [{0}, {3}, {1, 6}, set(range(7))])
def test_poison_records_become_dead_letters_and_all_others_are_decided_once(stage, poisoned):
    async def scenario(stages: Stages) -> None:
        stages.state.asked_for = [asyncio.Event() for _ in range(7)]
        if stage == "judge":
            stages.judge.poisoned = poisoned
        else:
            fail_at(stages.judge, stage, poisoned)
        records = [Record(b"", b"", Source(0, offset, 0)) for offset in range(7)]
        await stages.agent.decide(Batch(records, [Span(0, 0, 7, 0)], epoch=0))
        await stages.agent.settle()
        assert stages.failures == []
        assert stages.log.committed == [0]
        assert sorted(offset for topic, offset in stages.log.sent if topic == "dead") == sorted(poisoned)
        decided = [offset for topic, offset in stages.log.sent if topic == "decisions"]
        assert decided == [offset for offset in range(7) if offset not in poisoned]
        assert sorted(stages.state.released) == (sorted(poisoned) if stage == "judge" else []), "only what was claimed"

    run(scenario)


def fail_at(judge: JudgeInPlace, stage: str, poisoned: set[int]) -> None:
    sound = getattr(judge, stage)

    def failing(first, *rest):
        records = [record for record, _ in first.refused] if isinstance(first, Reading) else first
        if any(record.source.offset in poisoned for record in records):
            raise RuntimeError("our code fails")
        return sound(first, *rest)

    setattr(judge, stage, failing)


def test_while_a_sound_payment_fails_too_nothing_is_poison():
    """As where Redis forbids what a script does, in words that nobody knew: once it allows it, all are decided."""

    async def scenario(stages: Stages) -> None:
        offsets = set(range(7))
        stages.judge.poisoned = set(offsets)
        stages.state.asked_for = [asyncio.Event() for _ in offsets]

        async def probe(_judge: object) -> None:
            stages.probes += 1
            if stages.probes == 3:
                stages.judge.poisoned = set()
            if stages.judge.poisoned:
                raise RuntimeError("our code fails on every payment")

        stages.agent._probe = probe
        records = [Record(b"", b"", Source(0, offset, 0)) for offset in offsets]
        await stages.agent.decide(Batch(records, [Span(0, 0, 7, 0)], epoch=0))
        await stages.agent.settle()
        assert stages.log.sent == [("decisions", offset) for offset in sorted(offsets)]
        assert (stages.probes, stages.told, stages.agent.is_holding) == (3, ["RuntimeError"], False)

    run(scenario)


def test_a_record_that_fails_again_once_a_sound_payment_is_decided_is_poison():
    async def scenario(stages: Stages) -> None:
        stages.judge.poisoned = {0}
        stages.probe_fails = [RuntimeError("our code fails on every payment")]
        await stages.agent.decide(batch_of(0))
        await stages.agent.settle()
        assert stages.log.sent == [("dead", 0)]
        assert stages.probes == 3, "one failed, one found the fault gone, and one let the record be set aside"

    run(scenario)


def test_a_worker_that_can_decide_nothing_gives_its_place_up_and_sets_nothing_aside():
    async def scenario(stages: Stages) -> None:
        stages.judge.poisoned = {0}
        stages.probe_fails = [RuntimeError("our code fails on every payment")] * 99
        await stages.agent.decide(batch_of(0))
        with pytest.raises(StateGivenUp, match="no payment can be decided: RuntimeError"):
            await stages.agent.settle()
        assert stages.log.sent == []

    run(scenario)


def test_a_fault_of_all_payments_that_comes_and_goes_sets_nothing_aside():
    async def scenario(stages: Stages) -> None:
        stages.judge.poisoned = {0}

        async def probe(_judge: object) -> None:
            stages.probes += 1
            if stages.probes % 2:
                raise RuntimeError("our code fails on every payment")

        stages.agent._probe = probe
        await stages.agent.decide(batch_of(0))
        with pytest.raises(StateGivenUp, match="again and again"):
            await stages.agent.settle()
        assert (stages.log.sent, stages.probes) == ([], 2 * (HOLDS_MAX + 1))

    run(scenario)


def test_a_server_that_refuses_the_scripts_holds_the_batch_and_is_told_once():
    async def scenario(stages: Stages) -> None:
        stages.state.away_at, stages.state.away_for = 0, 4
        stages.state.away = StateRefused("Redis refuses the state's scripts: in words of its own")
        await stages.decide()
        await stages.settle()
        assert stages.told == ["Redis refuses the state's scripts: in words of its own"]

    run(scenario)


def test_a_state_that_is_ahead_of_its_log_holds_the_batch_and_is_told_once():
    async def scenario(stages: Stages) -> None:
        stages.state.unsure_at, stages.rebuild.ahead_for = 1, 3
        await stages.decide()
        await stages.settle()
        assert (stages.rebuild.comparisons, stages.log.committed) == (4, list(range(COUNT)))
        [told] = stages.told
        assert "to 20, but the log ends at 10" in told

    run(scenario)


def test_payments_that_were_committed_before_hold_the_batch_and_are_told_once():
    """Where the log and what was decided were put back, and have grown since, workers ended again and again, and no
    alert said why."""

    async def scenario(stages: Stages) -> None:
        stages.state.away_at, stages.state.away_for, stages.state.away = 0, 4, SnapshotPruned(0, 0)
        await stages.decide()
        await stages.settle()
        [told] = stages.told
        assert "was decided and committed, and is read again" in told

    run(scenario)


def test_payments_that_were_committed_before_are_given_up_in_the_end():
    async def scenario(stages: Stages) -> None:
        stages.state.away_at, stages.state.away_for, stages.state.away = 0, 1_000, SnapshotPruned(0, 0)
        await stages.agent.decide(batch_of(0))
        with pytest.raises(StateGivenUp, match="is read again"):
            await stages.agent.settle()

    run(scenario)


def test_a_failure_of_an_earlier_stage_is_one_of_the_three():
    async def scenario(stages: Stages) -> None:
        attempts = Counter[int]()
        sound = stages.judge.read

        def failing(records: list[Record]) -> Reading:
            attempts[len(records)] += 1
            if records[0].source.offset == 0:
                raise RuntimeError("our code fails")
            return sound(records)

        stages.judge.read = failing
        records = [Record(b"", b"", Source(0, offset, 0)) for offset in range(2)]
        await stages.agent.decide(Batch(records, [Span(0, 0, 2, 0)], epoch=0))
        await stages.agent.settle()
        assert attempts == Counter({2: 3, 1: 2 + 1 + 1}), "once more, for the id that it may hold"
        assert stages.log.sent == [("dead", 0), ("decisions", 1)]

    run(scenario)


def test_the_letters_of_a_batch_leave_in_log_order_whatever_was_found_first():
    """The last letter of a partition then names the last record of it that has one, which a restart goes by."""

    async def scenario(stages: Stages) -> None:
        found = [
            Record(b"", b"", Source(partition, offset, 0)) for partition, offset in ((1, 4), (0, 9), (1, 2), (0, 3))
        ]

        def judge(_: Reading, *__: object):
            yield Judged(set_aside=[SetAside(record, "garbage", "") for record in found[:2]], duplicates=2)
            yield Judged(set_aside=[SetAside(record, "duplicate", "") for record in found[2:]], duplicates=2)

        stages.judge.judge = judge
        await stages.agent.decide(Batch(found, [Span(0, 3, 10, 3), Span(1, 2, 5, 2)], epoch=0))
        await stages.agent.settle()
        assert [offset for _, offset in stages.log.sent] == [3, 9, 2, 4]

    run(scenario)


def test_i4_outcomes_are_due_as_far_as_they_were_known_and_as_far_as_any_answer_had_them():
    async def scenario(stages: Stages) -> None:
        await stages.agent.decide(batch_of(0))
        await stages.agent.settle()
        stages.due.expect(0, 7)
        for number, position in ((1, 5), (2, 9), (3, -2), (4, 9)):
            stages.state.positions = [position]
            await stages.agent.decide(batch_of(number))
            await stages.agent.settle()
        assert stages.state.due == [ALL, 7, 7, 9, 9]

    run(scenario)


def test_the_breaker_hears_how_long_deciding_took_and_of_no_waiting(monkeypatch):
    """Finding 6: a slow broker, or a slow Redis, took the model out of the loop, which makes neither quicker."""
    clock_s = [0.0]
    monkeypatch.setattr("pipeline.decide.agent.time.perf_counter", lambda: clock_s[0])

    def slowed(slow: object, name: str, seconds: float) -> None:
        fast = getattr(slow, name)

        async def after_a_while(*arguments: object, **how: object) -> object:
            clock_s[0] += seconds
            return await fast(*arguments, **how)

        monkeypatch.setattr(slow, name, after_a_while)

    async def scenario(stages: Stages) -> None:
        slowed(stages.log, "commit", 5.0)
        slowed(stages.state, "observe_prepared", 3.0)
        read, judge = stages.judge.read, stages.judge.judge

        def slow_read(records: list[Record]) -> Reading:
            clock_s[0] += 0.125
            return read(records)

        def slow_judge(*arguments: object):
            clock_s[0] += 0.25
            yield from judge(*arguments)

        monkeypatch.setattr(stages.judge, "read", slow_read)
        monkeypatch.setattr(stages.judge, "judge", slow_judge)
        await stages.decide()
        await stages.settle()
        assert stages.breaker.seconds == [0.375] * COUNT

    run(scenario)


@pytest.mark.parametrize("is_on", [True, False])
def test_what_was_decided_is_kept_for_traces_alone_and_goes_out_all_the_same(is_on):
    class Traces:
        def __init__(self) -> None:
            self.is_on, self.kept = is_on, 0

        def mark(self, _batch: Batch, judged: Judged, _outgoing: list[Outgoing]) -> None:
            self.kept += len(judged.decided) + len(judged.verdicts)

        def committed(self, *_: object) -> None: ...

    class Keeping(JudgeInPlace):
        def judge(self, reading: Reading, *_: object):
            for each in super().judge(reading):
                each.decided, each.verdicts = ["payment"] * len(each.outgoing), ["verdict"] * len(each.outgoing)
                yield each

    async def scenario(stages: Stages) -> None:
        stages.agent.judge, stages.agent._traces = Keeping(), Traces()
        await stages.decide()
        await stages.settle()
        assert stages.agent._traces.kept == (2 * COUNT if is_on else 0)
        assert stages.log.sent == [("decisions", number) for number in range(COUNT)]

    run(scenario)
