"""What the rail is asked about sagas that wait for it, and what its answers do to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pipeline.execute.ledger_store import AccountKey, NewRecovery
from pipeline.execute.postings import Advance, Funds, advance, guarded_account, is_rest, posting_of
from pipeline.execute.rail_client import Rail, Recall, Transfer
from pipeline.execute.saga import (
    PART_RECALLS,
    RAIL_KEY_FORGOTTEN,
    RECALLS,
    Answer,
    Saga,
    Transition,
    answer,
    rail_key,
    recall_key,
)
from pipeline.execute.work_store import Rows, Work


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


def take_answer(work: Work, said_of_it: Answer, funds: Funds, rows: Rows) -> None:
    moved = answer(work.saga, said_of_it, is_rest=is_rest(work.subject.payment, work.recalled))
    if moved is None:
        return
    work.origin = "RAIL"
    saga, transition = moved
    rows.add(work, _posted(work, saga, transition, funds))
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


def guarded_by_answers(works: Sequence[Work], answers: Sequence[Answer]) -> Iterator[AccountKey]:
    for work, said_of_it in zip(works, answers, strict=True):
        if said_of_it is Answer.DONE:
            key = guarded_account(work.subject.payment, work.saga)
            if key is not None:
                yield key
