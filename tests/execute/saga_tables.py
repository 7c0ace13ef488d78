"""The saga as rows, by walking the code: what the database's tables have to hold."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.execute.postings import MOVEMENTS, PART_STEPS, REVERSES
from pipeline.execute.saga import (
    AIMS,
    AWAITS_RAIL,
    DOUBTFUL,
    PART_AIMS,
    Aim,
    Answer,
    Ignored,
    Reason,
    Saga,
    State,
    Step,
    Transition,
    answer,
    rule,
    take,
    turn,
)

StepRow = tuple[str, str, str, str, str, str]


def hearing_rows() -> list[tuple[str, str, str]]:
    """Aim before ('' for none), cause, aim after."""
    return sorted(
        (aim or "", cause, becomes) for (aim, cause), becomes in AIMS.items() if not isinstance(becomes, Ignored)
    )


def movement_rows() -> list[tuple[str, str, str, bool, str | None]]:
    return sorted(
        (step, source, destination, step in PART_STEPS, REVERSES.get(step))
        for step, (source, destination) in MOVEMENTS.items()
    )


def step_rows() -> list[StepRow]:
    """State, aim, step, reason ('' for none), state and aim after."""
    found: set[StepRow] = set()
    for state in State:
        for aim in Aim:
            saga = Saga(state, aim)
            found |= {_row(saga, transition) for transition in (*_taken(saga), *_ruled(saga))}
    return sorted(found)


def _taken(saga: Saga) -> Iterator[Transition]:
    """Every step that the executor may store from here."""
    step = saga.next_step
    if step is not None:
        yield take(saga, step)[1]
    if step is Step.RESERVE:
        yield turn(saga, Reason.ACCOUNT_NOT_OPEN)[1]
        yield turn(saga, Reason.INSUFFICIENT_FUNDS)[1]
    if step is Step.RECALL:
        yield turn(saga, Reason.BENEFICIARY_FUNDS_GONE)[1]
        if saga.aim in PART_AIMS:
            yield take(saga, Step.RECALL_PART)[1]
    if saga.state is State.NEW and saga.aim in {aim for (before, _), aim in AIMS.items() if before is None}:
        yield turn(saga, Reason.OUT_OF_ORDER)[1]
    if saga.state in AWAITS_RAIL:
        for said in Answer:
            for is_rest in (False, True):
                if (moved := answer(saga, said, is_rest=is_rest)) is not None:
                    yield moved[1]


def _ruled(saga: Saga) -> Iterator[Transition]:
    """Every step that people may have ruled from here."""
    if saga.state in DOUBTFUL:
        for said in (Answer.DONE, Answer.REFUSED):
            for is_rest in (False, True):
                yield rule(saga, said, is_rest=is_rest)[1]


def _row(saga: Saga, transition: Transition) -> StepRow:
    assert saga.aim is not None
    _, step, before, after, aim, reason = transition
    return before, saga.aim, step, reason or "", after, aim
