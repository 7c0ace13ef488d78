"""The decision path in one process: logs, state, judge and model, with a seam wherever the outside comes in.

What is left out is the transport. A batch that fails is tried again as the agent tries it, and then record by record;
what fails alone is set aside. A state that is lost or behind is rebuilt from the logs, as far as they still reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from models.artefact import asking
from models.artefact.scoring import Model, Scores
from pipeline.decide.batch import DUPLICATE, Judge, TopicNames
from pipeline.decide.policy import PolicyRefused, parse_new_policy
from pipeline.decide.verdict import Mode, Regime, decide, regime
from pipeline.domain.context import Account, Label
from pipeline.domain.decision import BreakerState, Decision, Outcome, Route
from pipeline.domain.features import NONE, Matrix
from pipeline.domain.log import Record, Source, Span
from pipeline.io.avro.wire import WireFormat
from pipeline.state.outcome_records import counted_amount_gbp_minor
from pipeline.state.windows import MemoryState, PartitionEvents, PartitionObservation, StateLost
from tests.permissive.world import PARTITIONING, Item, Paid, Stated, Told, outcome_name

WIRE: Final = WireFormat()
TOPICS: Final = TopicNames("decisions.v1", "alerts.v1")
CLOSED: Final = Mode(BreakerState.CLOSED, "all", True)
OPEN: Final = Mode(BreakerState.OPEN, "all", False)
TRIES: Final = 3
BATCH: Final = 4


class StateAway(Exception):
    """Redis did not answer, or not in time."""


class Decided(NamedTuple):
    outcome: Outcome
    route: Route
    by_fallback: Outcome  # what the fallback says of the same snapshot


class Path:
    """Runs a world. Each attribute is a seam, which a fault may put something else into."""

    def __init__(self, in_force: Regime) -> None:
        self.in_force = in_force
        self.state = self.backup = MemoryState()
        self.mode = CLOSED
        self.scorer: Callable[[Model, Matrix], Scores] = asking.score
        self.spoil_record: Callable[[Record], Record] = lambda record: record
        self.order: Callable[[list[Record]], list[Record]] = lambda records: records
        self.reading_raises: Callable[[Record], bool] = lambda _: False
        self.observe: Callable[[Sequence[PartitionEvents]], list[PartitionObservation]] = self._observe_all
        self.hear: Callable[[Item], list[Item]] = lambda item: [item]
        self.is_read_twice = False
        self.log: dict[int, list[Record]] = {partition: [] for partition in range(PARTITIONING.partitions)}
        self.outcomes: dict[int, list[Told]] = {partition: [] for partition in self.log}
        self.outcomes_low = dict.fromkeys(self.log, 0)  # the oldest that the topic still holds
        self.is_following = True
        self.low = dict.fromkeys(self.log, 0)
        self.context: list[Stated] = []
        self.decided: dict[str, Decided] = {}
        self.uncounted: set[Source] = set()  # dead letters that the state never saw
        self._never_counted: set[bytes] = set()  # names, as outcomes tell them, of what a static guardrail blocked
        self.sources: dict[str, Source] = {}  # of each payment's last record
        self._waiting: list[Record] = []
        self._decided_below = dict.fromkeys(self.log, 0)

    def run(self, items: Sequence[Item]) -> None:
        for item in items:
            for heard in self.hear(item):
                self._take(heard)
        self.settle()

    def settle(self) -> None:
        """Decide what waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._decide(self.order(waiting))
            if self.is_read_twice:
                self._decide_one_by_one(waiting)

    def _take(self, item: Item) -> None:
        if isinstance(item, Paid):
            self._append(item)
            if len(self._waiting) == BATCH:
                self.settle()
            return
        self.settle()
        if isinstance(item, Told):
            self.outcomes[item.partition].append(self._as_told(item))
            self.follow_outcomes(item.partition)
        else:
            self.context.append(item)
            self._state_context(item)

    def _append(self, item: Paid) -> None:
        log = self.log[item.partition]
        value = WIRE.encode_transaction(item.transaction)
        key = item.transaction.account_id.encode()
        self.sources[item.transaction.transaction_id] = Source(item.partition, len(log), item.log_time_ms)
        record = self.spoil_record(Record(key, value, Source(item.partition, len(log), item.log_time_ms)))
        log.append(record)
        self._waiting.append(record)

    # Context and outcomes

    def _as_told(self, item: Told) -> Told:
        """Whoever tells outcomes knows from the decision that a payment was never counted."""
        if item.outcome.name not in self._never_counted:
            return item
        return replace(item, outcome=item.outcome._replace(amount_gbp_minor=NONE))

    def follow_outcomes(self, partition: int) -> None:
        """Read the outcomes from the position that the state holds, or from the oldest that there are."""
        if not self.is_following:
            return
        log, low = self.outcomes[partition], self.outcomes_low[partition]
        first = self.state.outcomes_position(partition)
        if first is None or first < low:
            since_ms = log[low].log_time_ms if low < len(log) else log[-1].log_time_ms if log else 0
            first, is_initial = low, low > 0
        else:
            since_ms, is_initial = 0, False
        told = [each.outcome for each in log[first:]]
        self.state.apply_outcomes(
            partition, first, len(log), told, initial=is_initial, since_ms=since_ms if is_initial else None
        )

    def _state_context(self, stated: Stated) -> None:
        record, place = stated.record, stated.place
        if isinstance(record, Label):
            self.state.label(record)
        elif isinstance(record, Account):
            self.state.upsert_account(record, place)
        else:
            self.state.upsert_risk_signal(record, place)

    # Decisions

    def _decide(self, records: Sequence[Record]) -> None:
        for _ in range(TRIES):
            try:
                self._try(records)
                return
            except StateAway:
                raise
            except Exception:
                continue
        self._decide_one_by_one(records)

    def _decide_one_by_one(self, records: Sequence[Record]) -> None:
        for record in sorted(records, key=lambda each: (each.source.partition, each.source.offset)):
            for _ in range(TRIES):
                try:
                    self._try([record])
                    break
                except Exception:
                    continue
            else:
                self._set_aside(record)

    def _set_aside(self, record: Record) -> None:
        """A dead letter; the state must know that it was passed."""
        partition, offset, _ = record.source
        if (self.state.positions(partition) or 0) <= offset:
            self.uncounted.add(record.source)
        self._held([PartitionEvents(partition, offset, offset + 1, offset, [])])
        self._decided_below[partition] = max(self._decided_below[partition], offset + 1)

    def _try(self, records: Sequence[Record]) -> None:
        if any(map(self.reading_raises, records)):
            raise ValueError("reading")
        judge = Judge(self.in_force, WIRE, TOPICS, "decide/test", PARTITIONING.of)
        reading = judge.read(records)
        spans = [
            Span(partition, min(offsets), max(offsets) + 1, min(offsets))
            for partition in sorted({record.source.partition for record in records})
            if (offsets := [record.source.offset for record in records if record.source.partition == partition])
        ]
        shares = judge.state_events(reading, spans)
        observations = self._held(shares)
        real, asking.score = asking.score, self.scorer
        try:
            parts = list(judge.judge(reading, observations, lambda _: self.mode, 0))
        finally:
            asking.score = real
        for part in parts:
            for outgoing in part.outgoing:
                if outgoing.topic == TOPICS.decisions:
                    self._keep(WIRE.decode_decision_record(outgoing.value))
            self.uncounted.update(each.record.source for each in part.set_aside if each.code != DUPLICATE)
        for span in spans:
            self._decided_below[span.partition] = max(self._decided_below[span.partition], span.end_offset)

    def _held(self, shares: Sequence[PartitionEvents]) -> list[PartitionObservation]:
        """Ask the state until it answers, as a worker does that holds its batch."""
        for _ in range(2 * TRIES):
            try:
                return self.observe(shares)
            except StateLost:
                self.rebuild()
            except StateAway:
                continue
        raise StateAway

    def _observe_all(self, shares: Sequence[PartitionEvents]) -> list[PartitionObservation]:
        return self.state.observe(shares)

    def _keep(self, decision: object) -> None:
        assert isinstance(decision, Decision)
        row = np.array([decision.snapshot.features], dtype=np.int64)
        [fallback] = decide(row, [OPEN], self.in_force)
        if counted_amount_gbp_minor(decision) == NONE:
            self._never_counted.add(outcome_name(decision.snapshot.transaction))
        found = Decided(decision.outcome, decision.route, fallback.outcome)
        before = self.decided.setdefault(decision.transaction_id, found)
        if before.outcome is not Outcome.ALLOW and found.outcome is Outcome.ALLOW:
            self.decided[decision.transaction_id] = found  # decided again, and more permissively

    # State that is lost

    def rebuild(self) -> None:
        """Bring the state up to what was decided, from the logs as far back as they reach, and all of context."""
        for partition, log in self.log.items():
            end, reached = self._decided_below[partition], self.state.positions(partition)
            begin = self.low[partition] if reached is None else max(reached, self.low[partition])
            if reached is None or reached < end:
                self._observe_again(partition, begin, log[begin:end])
            self.follow_outcomes(partition)
        for stated in self.context:
            self._state_context(stated)

    def _observe_again(self, partition: int, begin: int, records: Sequence[Record]) -> None:
        judge = Judge(self.in_force, WIRE, TOPICS, "decide/test", PARTITIONING.of)
        end = begin + len(records)
        [share] = judge.state_events(judge.read(records), [Span(partition, begin, end, begin)])
        log = self.log[partition]
        since_ms = log[min(begin, len(log) - 1)].source.timestamp_ms if begin > 0 else None
        self.state.observe([share], initial=begin > 0, since_ms=since_ms, is_rebuild=True)

    def change_policy(self, content: bytes) -> None:
        """As a worker looks at its file: what can't be used changes nothing."""
        try:
            self.in_force = regime(parse_new_policy(content), self.in_force.model, self.in_force.feeds)
        except PolicyRefused:
            return

    def ids_of(self, sources: set[Source]) -> set[str]:
        return {name for name, source in self.sources.items() if source in sources}

    def copy_of_state(self) -> MemoryState:
        return deepcopy(self.state)
