"""Double entry: what each saga step posts, and whether the funds for it are there.

Invariants
1. A posting moves a positive amount of one currency from one account to another, so the sum over all accounts is zero
   by construction (I6), and a saga's postings move its own amount, or the part of it that is recalled. A payment of 0
   posts nothing.
2. What undoes a step posts the same amount the other way, or a part of it, and names the posting that it reverses (I5).
3. At rest nothing of the payment is in clearing; it is set aside only where the saga is HELD.
4. No step takes an account below its limit (I8: integers), by the balances given; an account that was never opened
   can't pay. A recall takes no account below zero, whatever its overdraft: nobody borrows to give back.

Balances are derived: `Funds` holds what the store summed for a batch, and moves with the batch's own postings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from pipeline.domain.enums import FastStrEnum
from pipeline.domain.identities import DecisionId, ExecutionId, posting_id
from pipeline.execute.saga import (
    ANNOUNCED,
    GUARDED,
    PART_AIMS,
    PART_RECALLS,
    STEPS_MAX,
    Aim,
    Reason,
    Saga,
    State,
    Step,
    Transition,
    take,
    turn,
)

CLEARING: Final = "/clearing"
"""Money under way to the rail. No customer's account id holds a slash."""
FUNDING: Final = "/funding"
"""The world outside: what comes in is taken from here, so it stands at minus what all others have."""
RESERVE_SUFFIX: Final = "/held"


class Payment(NamedTuple):
    """The payment that a decision is about; it stays the same whatever becomes of the decision."""

    execution_id: ExecutionId
    account_id: str
    beneficiary_account_id: str
    currency: str
    amount_minor: int


class Posting(NamedTuple):
    posting_id: str
    execution_id: str
    step: str
    attempt: int  # 1, then one more each time that the saga takes this step again
    source_account_id: str
    destination_account_id: str
    currency: str
    amount_minor: int
    reverses: str | None  # the posting that this one undoes


class Limit(NamedTuple):
    """The known state of an account in one currency, without what a restored ledger has set aside of it for people.

    `overdraft_limit_minor` is None where it was never opened.
    """

    balance_minor: int
    overdraft_limit_minor: int | None


class Holder(FastStrEnum):
    """The owner of an account that a posting touches."""

    PAYER = "PAYER"
    RESERVE = "RESERVE"
    CLEARING = "CLEARING"
    BENEFICIARY = "BENEFICIARY"


_H, _T = Holder, Step
MOVEMENTS: Final[dict[Step, tuple[Holder, Holder]]] = {
    _T.RESERVE: (_H.PAYER, _H.RESERVE),
    _T.DEBIT: (_H.RESERVE, _H.CLEARING),
    _T.CREDIT: (_H.CLEARING, _H.BENEFICIARY),
    _T.RECALL: (_H.BENEFICIARY, _H.CLEARING),
    _T.GIVE_BACK: (_H.CLEARING, _H.BENEFICIARY),
    _T.RECALL_PART: (_H.BENEFICIARY, _H.CLEARING),
    _T.PART_RECALLED: (_H.CLEARING, _H.PAYER),
    _T.REST_RECALLED: (_H.CLEARING, _H.PAYER),
    _T.GIVE_BACK_PART: (_H.CLEARING, _H.BENEFICIARY),
    _T.UNDEBIT: (_H.CLEARING, _H.RESERVE),
    _T.UNRESERVE: (_H.RESERVE, _H.PAYER),
}
"""From whom to whom a step moves the payment's amount; the other steps move nothing."""
PART_STEPS: Final = frozenset({_T.RECALL_PART, _T.PART_RECALLED, _T.REST_RECALLED, _T.GIVE_BACK_PART})
"""Steps that move the part that is recalled."""

REVERSES: Final[dict[Step, Step]] = {
    _T.RECALL: _T.CREDIT,
    _T.GIVE_BACK: _T.RECALL,
    _T.RECALL_PART: _T.CREDIT,
    _T.GIVE_BACK_PART: _T.RECALL_PART,
    _T.UNDEBIT: _T.DEBIT,
    _T.UNRESERVE: _T.RESERVE,
}


class RailWord(Protocol):
    """What the rail has made of payments that a ledger knows less of, because it was put back from a backup."""

    def knows(self, execution_id: str, attempt: int) -> bool:
        """Whether it has met the transfer of this SUBMIT, and has paid it or refused it."""

    def recalled_minor(self, execution_id: str, step: Step, attempt: int) -> int | None:
        """The amount that it was asked to take back by this RECALL or RECALL_PART; None: it was not asked."""

    def spoken_for_minor(self, account_id: str, currency: str, but_for: str) -> int:
        """How much more it has taken from an account than the ledger has come to, by other executions than but_for."""

    def posted(self, posting: Posting) -> None:
        """The ledger has come to this posting."""


class NoWord:
    """Of a ledger that knows all that was asked of the rail, because it was stored before."""

    def knows(self, execution_id: str, attempt: int) -> bool:
        del execution_id, attempt
        return False

    def recalled_minor(self, execution_id: str, step: Step, attempt: int) -> int | None:
        del execution_id, step, attempt
        return None

    def spoken_for_minor(self, account_id: str, currency: str, but_for: str) -> int:
        del account_id, currency, but_for
        return 0

    def posted(self, posting: Posting) -> None:
        del posting


NO_WORD: Final = NoWord()


class Funds:
    """The balances that a batch's guarded steps look at, by (account, currency).

    What the rail has done is so, whether the funds for it are there or not.
    """

    def __init__(self, limits: Mapping[tuple[str, str], Limit], word: RailWord = NO_WORD) -> None:
        self._word = word
        self._open = {key for key, limit in limits.items() if limit.overdraft_limit_minor is not None}
        self._balance_minor = {key: limit.balance_minor for key, limit in limits.items()}
        self._overdraft_minor = {key: limit.overdraft_limit_minor or 0 for key, limit in limits.items()}

    def refusal(self, payment: Payment, saga: Saga) -> Reason | None:
        """Why the payer's money can't be set aside; None: it can, or it is with the beneficiary already."""
        if self._word.knows(payment.execution_id, saga.taken.get(Step.SUBMIT, 0) + 1):
            return None
        key = payment.account_id, payment.currency
        there_minor = self._there_minor(payment, payment.account_id)
        is_enough = there_minor + self._overdraft_minor[key] >= payment.amount_minor
        if key not in self._open:
            return Reason.ACCOUNT_NOT_OPEN
        return None if is_enough else Reason.INSUFFICIENT_FUNDS

    def recallable_minor(self, payment: Payment, saga: Saga) -> int:
        """The most that can be recalled: what the beneficiary has, without an overdraft, or what the rail was asked."""
        for step in (Step.RECALL, Step.RECALL_PART):
            asked_minor = self._word.recalled_minor(payment.execution_id, step, saga.taken.get(step, 0) + 1)
            if asked_minor is not None:
                return asked_minor
        return max(0, self._there_minor(payment, payment.beneficiary_account_id))

    def _there_minor(self, payment: Payment, account_id: str) -> int:
        """Without what the rail has taken from the account for others; a payment's own claim is its own."""
        key = account_id, payment.currency
        return self._balance_minor[key] - self._word.spoken_for_minor(*key, payment.execution_id)

    def apply(self, posting: Posting) -> None:
        self._word.posted(posting)
        source = posting.source_account_id, posting.currency
        if source in self._balance_minor:
            self._balance_minor[source] -= posting.amount_minor
        destination = posting.destination_account_id, posting.currency
        if destination in self._balance_minor:
            self._balance_minor[destination] += posting.amount_minor


class Advance(NamedTuple):
    """The point that a saga has reached: it rests, waits for the rail, or its next step is to be announced first."""

    saga: Saga
    transitions: list[Transition]
    postings: list[Posting]


class Recalled(NamedTuple):
    """Parts of a payment that were recalled: with the payer again, and under way."""

    returned_minor: int = 0
    under_way_minor: int = 0

    def after(self, step: str, amount_minor: int) -> Recalled:
        """With a posting of any step, of this amount."""
        match step:
            case Step.RECALL_PART:
                return Recalled(self.returned_minor, amount_minor)
            case Step.PART_RECALLED:
                return Recalled(self.returned_minor + amount_minor)
            case Step.REST_RECALLED:
                return Recalled()
            case Step.GIVE_BACK_PART:
                return Recalled(self.returned_minor)
            case _:
                return self


NOTHING_RECALLED: Final = Recalled()


def is_rest(payment: Payment, recalled: Recalled) -> bool:
    """Whether the part under way is all that is out."""
    return recalled.returned_minor + recalled.under_way_minor == payment.amount_minor


def advance(payment: Payment, saga: Saga, funds: Funds, recalled: Recalled = NOTHING_RECALLED) -> Advance:
    """Takes the plan's steps until one needs the outside."""
    transitions: list[Transition] = []
    postings: list[Posting] = []
    for _ in range(STEPS_MAX):
        step = saga.next_step
        if step is None or step in ANNOUNCED:
            return Advance(saga, transitions, postings)
        (saga, transition), part_minor = _guarded(payment, saga, step, funds, recalled)
        transitions.append(transition)
        posting = posting_of(payment, saga, transition.step, part_minor)
        if posting is not None:
            funds.apply(posting)
            postings.append(posting)
    raise AssertionError(f"{saga.state} takes over {STEPS_MAX} steps to {saga.aim}")


def _guarded(
    payment: Payment, saga: Saga, step: Step, funds: Funds, recalled: Recalled
) -> tuple[tuple[Saga, Transition], int]:
    """The planned step, or the one that is taken for want of funds; and the part that it moves, if it moves one."""
    if step not in GUARDED:
        return take(saga, step), 0
    if step is Step.RESERVE:
        reason = funds.refusal(payment, saga)
        return (take(saga, step) if reason is None else turn(saga, reason)), 0
    assert step is Step.RECALL, f"{step} is not guarded"
    there_minor = min(funds.recallable_minor(payment, saga), payment.amount_minor - recalled.returned_minor)
    if there_minor == payment.amount_minor:
        return take(saga, step), 0
    if there_minor and saga.aim in PART_AIMS:
        return take(saga, Step.RECALL_PART), there_minor
    return turn(saga, Reason.BENEFICIARY_FUNDS_GONE), 0


def posting_of(payment: Payment, saga: Saga, step: Step, part_minor: int = 0) -> Posting | None:
    """The posting of the step that `saga` has just taken; None where it moves nothing. `part_minor`: of PART_STEPS."""
    movement = MOVEMENTS.get(step)
    if movement is None or payment.amount_minor == 0:
        return None
    source, destination = movement
    attempt = saga.taken[step]
    return Posting(
        posting_id(payment.execution_id, step, attempt),
        payment.execution_id,
        step,
        attempt,
        _account(payment, source),
        _account(payment, destination),
        payment.currency,
        part_minor if step in PART_STEPS else payment.amount_minor,
        _reversed(payment, saga, step),
    )


def reserve_account(account_id: str) -> str:
    """The account that holds what is set aside of an account's money."""
    return account_id + RESERVE_SUFFIX


def guarded_account(payment: Payment, saga: Saga) -> tuple[str, str] | None:
    """The (account, currency) whose balance the saga's way to its aim looks at; None: none."""
    if saga.aim is None:
        return None
    if saga.state in _BEFORE_RESERVE or saga.state in PART_RECALLS:
        return payment.account_id, payment.currency
    if saga.state in _WITH_BENEFICIARY and saga.aim is not Aim.SETTLE:
        return payment.beneficiary_account_id, payment.currency
    return None


_BEFORE_RESERVE: Final = frozenset({State.NEW, State.UNRESERVED, State.REFUSED, State.REVERSED})
_WITH_BENEFICIARY: Final = frozenset({State.SUBMITTED, State.IN_DOUBT, State.CREDITED, State.SETTLED})
"""Or with the rail, whose answer may put it there."""


def balances(postings: Iterable[Posting]) -> dict[tuple[str, str], int]:
    """The change of every account that the postings touch, by (account, currency)."""
    found: dict[tuple[str, str], int] = {}
    for posting in postings:
        source = posting.source_account_id, posting.currency
        destination = posting.destination_account_id, posting.currency
        found[source] = found.get(source, 0) - posting.amount_minor
        found[destination] = found.get(destination, 0) + posting.amount_minor
    return found


def _account(payment: Payment, holder: Holder) -> str:
    match holder:
        case Holder.PAYER:
            return payment.account_id
        case Holder.RESERVE:
            return reserve_account(payment.account_id)
        case Holder.CLEARING:
            return CLEARING
        case Holder.BENEFICIARY:
            return payment.beneficiary_account_id


def _reversed(payment: Payment, saga: Saga, step: Step) -> str | None:
    undone = REVERSES.get(step)
    if undone is None:
        return None
    return posting_id(payment.execution_id, undone, saga.taken[undone])


class Subject(NamedTuple):
    """The subject of a saga, beside the money."""

    payment: Payment
    decision_id: DecisionId
    transaction_id: str
    caused_at_ms: int  # under which the execution is filed; the same for all of its rows
    topic_partition: int
    payment_time_ms: int
    amount_gbp_minor: int  # as the state counted it; NONE where it never counted, or isn't known
    payment_logged_at_ms: int  # of the payment's record on transactions.v1; NONE where it isn't known
