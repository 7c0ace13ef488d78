"""An executor that is early or late, and the proof that its timing changes nothing that isn't recorded.

It tells what became of each decision as the real one does, but only once `held_back` further decisions were made. Which
outcomes a decision had taken in is then a matter of chance, and recorded with it. So from the two logs and the recorded
positions, the reference (`MemoryState`) must come to the same account features for each decision.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ops.bench.rig.publisher import Publisher
from ops.bench.rig.stored import Tail
from ops.bench.rig.topics_io import Outbound
from pipeline.decide.batch import Judge
from pipeline.decide.outcomes.due import ALL
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.features import ACCOUNT_STATE, COLUMN, NONE, UNKNOWN
from pipeline.domain.identities import execution_id, posting_id
from pipeline.domain.log import Span
from pipeline.domain.outcome import PaymentOutcome
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.state.outcome_records import counted_amount_gbp_minor, outcome_of_execution
from pipeline.state.windows import MemoryState

LOOK_S: Final = 0.05
_STATES: Final = {
    Outcome.ALLOW: ExecutionState.SETTLED,
    Outcome.BLOCK: ExecutionState.REFUSED,
    Outcome.ESCALATE: ExecutionState.HELD,
}
_FIRST: Final = COLUMN[ACCOUNT_STATE[0]]
_ACCOUNT: Final = slice(_FIRST, _FIRST + len(ACCOUNT_STATE))


class LateExecutor:
    """Tells outcomes from a thread of its own, for as long as the block runs; at its end it tells what it held back."""

    def __init__(self, bootstrap_servers: str, prefix: str, held_back: int) -> None:
        self._decisions = Tail(bootstrap_servers, f"{prefix}decisions.v1")
        self._publisher, self._topic = Publisher(bootstrap_servers), f"{prefix}executions.v1"
        self._wire, self._held_back = WireFormat(), held_back
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="late-executor", daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> LateExecutor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        waiting: list[Outbound] = []
        try:
            while not self._stopping.wait(LOOK_S):
                waiting += self._told()
                due = max(len(waiting) - self._held_back, 0)
                self._tell(waiting[:due])
                del waiting[:due]
            self._tell([*waiting, *self._told()])
        except Exception as error:  # the thread's outermost loop; the block raises it
            self._failure = error

    def _told(self) -> Iterator[Outbound]:
        for found in self._decisions.news():
            decision = self._wire.decode_decision_record(found.value)
            assert isinstance(decision, Decision), "nothing but decisions is written here"
            yield Outbound(found.key, self._wire.encode(executed(decision)), 0)

    def _tell(self, records: Sequence[Outbound]) -> None:
        for record in records:
            self._publisher.publish(self._topic, record)
        self._publisher.flush()


def executed(decision: Decision) -> Execution:
    """Return what the executor tells where the rail pays what is asked of it."""
    payment = decision.snapshot.transaction
    execution = execution_id(payment)
    return Execution(
        posting_id(execution, "TOLD", 1),
        execution,
        1,
        decision.decision_id,
        decision.transaction_id,
        payment.account_id,
        payment.beneficiary_account_id,
        payment.amount_minor,
        payment.currency,
        _STATES[decision.outcome],
        f"DECIDED_{decision.outcome}",
        payment.event_time_ms,
        payment.event_time_ms,
        counted_amount_gbp_minor(decision),
        decision.source_timestamp_ms,
    )


class Recomputed(NamedTuple):
    """How many decisions the reference came to, and the ids of those whose account features it found otherwise.

    positions: how many different positions of the outcomes the decisions had.
    """

    decisions: int
    positions: int
    differing: list[str]


def recompute(bootstrap_servers: str, prefix: str, judge: Judge) -> Recomputed:
    """Compute the account features of every decision from its logs and the recorded positions alone.

    A position of NONE says that nothing was told on the partition yet.
    """
    wire = WireFormat()
    decisions: dict[tuple[int, int], Decision] = {}
    for found in Tail(bootstrap_servers, f"{prefix}decisions.v1").news():
        decision = wire.decode_decision_record(found.value)
        assert isinstance(decision, Decision)
        decisions[decision.source_partition, decision.source_offset] = decision
    outcomes: dict[int, list[PaymentOutcome]] = {}
    for found in Tail(bootstrap_servers, f"{prefix}executions.v1").news():
        execution = wire.decode_execution(found.value)
        assert isinstance(execution, Execution)
        outcomes.setdefault(found.partition, []).append(outcome_of_execution(execution))
    state, differing = MemoryState(), []
    with LogReader(bootstrap_servers, "checker", {}) as log:
        payments = list(log.read_all(f"{prefix}transactions.v1"))
    for record in payments:
        partition, offset, _ = record.source
        decided = decisions.get((partition, offset))
        [share] = judge.state_events(judge.read([record]), [Span(partition, offset, offset + 1, offset)])
        if decided is not None and decided.snapshot.outcomes_position == UNKNOWN:
            share = share._replace(outcomes_due=ALL)
        elif decided is not None:
            _take_in(state, partition, outcomes.get(partition, []), decided.snapshot.outcomes_position)
        [observed] = state.observe([share])
        if decided is not None:
            recorded = decided.snapshot.features[_ACCOUNT]
            if tuple(observed.state[0, : len(ACCOUNT_STATE)].tolist()) != recorded:
                differing.append(decided.transaction_id)
    positions = len({(each.source_partition, each.snapshot.outcomes_position) for each in decisions.values()})
    return Recomputed(len(decisions), positions, differing)


def _take_in(state: MemoryState, partition: int, outcomes: Sequence[PaymentOutcome], position: int) -> None:
    reached = state.outcomes_position(partition) or 0
    if position == NONE:
        assert reached == 0, "what was taken in stays so"
        return
    assert reached <= position, "positions go forward with the payments"
    state.apply_outcomes(partition, reached, position, outcomes[reached:position])
