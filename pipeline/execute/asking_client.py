"""What the rail is asked about sagas that wait for it, and what its answers, or people's rulings, do to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.execute.ledger_store import AccountKey, NewRecovery
from pipeline.execute.postings import Advance, Funds, advance, guarded_account, is_rest, posting_of
from pipeline.execute.rail_client import Rail, Recall, Transfer
from pipeline.execute.saga import (
    PART_RECALLS,
    RAIL_KEY_FORGOTTEN,
    RECALLS,
    Answer,
    Saga,
    State,
    Step,
    Transition,
    answer,
    rail_key,
    recall_key,
    rule,
)
from pipeline.execute.work_store import Rows, Work
from pipeline.ruling.acts import Doubt, Verdict
from pipeline.ruling.proved_store import Proved

_ASKED_BY: Final = {
    State.IN_DOUBT: Step.SUBMIT,
    State.RECALL_IN_DOUBT: Step.RECALL,
    State.PART_RECALL_IN_DOUBT: Step.RECALL_PART,
}
_RULED: Final = {Verdict.MADE: Answer.DONE, Verdict.NOT_MADE: Answer.REFUSED}


class Answered(NamedTuple):
    """What is said of one saga: by the rail, or in its place by a ruling, whose act this names."""

    answer: Answer
    ruling: str | None = None


def answers(rail: Rail, works: Sequence[Work], old_keys: Collection[str], *, is_retry: bool) -> list[Answer]:
    """The rail's, in the order of `works`. old_keys: those that it is asked about and never asked to carry out."""
    keys, transfers, recalls = [], [], []
    for work in works:
        payment, saga = work.subject.payment, work.saga
        key = rail_key(payment.execution_id, saga)
        if saga.state in RECALLS:
            amount_minor = work.recalled.under_way_minor if saga.state in PART_RECALLS else payment.amount_minor
            recalls.append(Recall(recall_key(payment.execution_id, saga), key, amount_minor))
            keys.append(recalls[-1].key)
        else:
            transfers.append(Transfer(key, *payment[1:]))
            keys.append(key)
    said_of = rail.pay(transfers, is_retry=is_retry, old_keys=old_keys) if transfers else {}
    said_of |= rail.recall(recalls, is_retry=is_retry, old_keys=old_keys) if recalls else {}
    return [said_of[key] for key in keys]


def doubt_of(work: Work) -> Doubt | None:
    """The doubt that people may rule on, as this process has it; None where the saga is in none."""
    step = _ASKED_BY.get(work.saga.state)
    if step is None:
        return None
    payment = work.subject.payment
    is_part = step is Step.RECALL_PART
    return Doubt(
        payment.execution_id,
        work.saga.sequence,
        step.value,
        work.saga.taken[step],
        asked_key(work),
        payment.currency,
        work.recalled.under_way_minor if is_part else payment.amount_minor,
        payment.account_id,
        payment.beneficiary_account_id,
    )


def ruled(works: Sequence[Work], said: Sequence[Answer], rulings: Mapping[Doubt, Proved]) -> list[Answered]:
    """The rail's answers, and a ruling where it has forgotten the key. Whatever the rail still says goes before one."""
    return [_ruled(work, said_of_it, rulings) for work, said_of_it in zip(works, said, strict=True)]


def _ruled(work: Work, said: Answer, rulings: Mapping[Doubt, Proved]) -> Answered:
    doubt = doubt_of(work) if said is Answer.FORGOTTEN else None
    found = None if doubt is None else rulings.get(doubt)
    return Answered(said) if found is None else Answered(_RULED[found.ruling.verdict], found.act)


def take_answer(work: Work, answered: Answered, funds: Funds, rows: Rows) -> None:
    said, ruling = answered
    is_all = is_rest(work.subject.payment, work.recalled)
    moved = answer(work.saga, said, is_rest=is_all) if ruling is None else rule(work.saga, said, is_rest=is_all)
    if moved is None:
        return
    work.origin = "RAIL"
    saga, transition = moved
    rows.add(work, _posted(work, saga, transition, funds), ruling)
    rows.add(work, advance(work.subject.payment, work.saga, funds, work.recalled))


def asked_key(work: Work) -> str:
    name, saga = work.subject.payment.execution_id, work.saga
    return recall_key(name, saga) if saga.state in RECALLS else rail_key(name, saga)


def forgotten_case(work: Work) -> NewRecovery:
    payment = work.subject.payment
    name, sequence = payment.execution_id, work.saga.sequence
    return NewRecovery(name, sequence, RAIL_KEY_FORGOTTEN, payment.amount_minor, payment.currency)


def _posted(work: Work, saga: Saga, transition: Transition, funds: Funds) -> Advance:
    posting = posting_of(work.subject.payment, saga, transition.step, work.recalled.under_way_minor)
    if posting is None:
        return Advance(saga, [transition], [])
    funds.apply(posting)
    return Advance(saga, [transition], [posting])


def guarded_by_answers(works: Sequence[Work], answered: Sequence[Answered]) -> Iterator[AccountKey]:
    for work, (said, _) in zip(works, answered, strict=True):
        if said is Answer.DONE:
            key = guarded_account(work.subject.payment, work.saga)
            if key is not None:
                yield key
