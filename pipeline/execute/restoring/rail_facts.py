"""What the rail has made of the payments that a ledger, put back from a backup, has yet to come to.

Invariants
1. Of every execution the rail was asked about the attempt that the ledger waits on, and each after those that it knows,
   one after the other, to the first that the rail knows nothing of: an attempt was only made after the one before.
2. The money that the rail has taken from an account, a payer's or that of a payee who was recalled from, is spoken for
   until the ledger has come to it, so that what stands earlier on decisions.v1, and was not paid, can't take it. It is
   what the rail has in the end against what the ledger has posted, whatever attempts lie between.
3. What is left over when the ledger has come to everything is named: no record leads to it. Its money stays set aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.domain.identities import posting_id
from pipeline.execute.postings import MOVEMENTS, NOTHING_RECALLED, Holder, Payment, Posting, Recalled
from pipeline.execute.saga import PART_RECALLS, RECALLS, Saga, State, Step

ASKED: Final = (Step.SUBMIT, Step.RECALL, Step.RECALL_PART)
"""Steps that the rail is asked to carry out, each under keys of its own."""
_WITH_PAYER: Final = frozenset({State.NEW, State.UNRESERVED, State.REFUSED, State.REVERSED, State.RELEASED})
_WITH_BENEFICIARY: Final = frozenset({State.CREDITED, State.SETTLED})
_AWAITED: Final = {State.SUBMITTED: Step.SUBMIT, State.IN_DOUBT: Step.SUBMIT, State.RECALLING: Step.RECALL,
                   State.RECALL_IN_DOUBT: Step.RECALL, State.PART_RECALLING: Step.RECALL_PART,
                   State.PART_RECALL_IN_DOUBT: Step.RECALL_PART}  # fmt: skip
"""The step whose answer a saga waits for."""


class Paid(NamedTuple):
    """A transfer as the rail has it; was_paid: it was, even where all of it is back."""

    payment: tuple[str, str, str, int]  # debtor, creditor, currency, amount
    was_paid: bool


class TakenBack(NamedTuple):
    """A recall as the rail has it; is_back: the rail carried it out."""

    amount_minor: int
    is_back: bool


class Attempt(NamedTuple):
    """One thing that the rail may have been asked to do. number: 1 for the first time that the saga takes the step."""

    execution_id: str
    step: Step
    number: int

    @property
    def key(self) -> str:
        return posting_id(*self)


class Leftover(NamedTuple):
    """Something that the rail has done and that the ledger does not lead to."""

    attempt: Attempt
    amount_minor: int


class Claim(NamedTuple):
    """Money of an account that the rail has taken and the ledger has not."""

    account_id: str
    amount_minor: int


class Known(NamedTuple):
    """What the ledger knew of an execution when the rail was asked about it."""

    saga: Saga = Saga()
    recalled: Recalled = NOTHING_RECALLED


@dataclass(slots=True)
class _Place:
    """Where a payment's money is, by the rail and by the ledger: out is with the beneficiary."""

    rail_out_minor: int  # counts below zero and above the amount while answers come in out of their order
    payer_lacks_minor: int
    beneficiary_has_minor: int

    def claims(self, payment: Payment) -> Iterator[Claim]:
        out_minor = min(max(0, self.rail_out_minor), payment.amount_minor)
        if (of_payer := out_minor - self.payer_lacks_minor) > 0:
            yield Claim(payment.account_id, of_payer)
        if (of_beneficiary := self.beneficiary_has_minor - out_minor) > 0:
            yield Claim(payment.beneficiary_account_id, of_beneficiary)


class Facts:
    """Holds what was asked, in rounds, and is the rail's word for a ledger that catches up (postings.RailWord)."""

    def __init__(self) -> None:
        self._payments: dict[str, Payment] = {}
        self._places: dict[str, _Place] = {}
        self._paid: dict[Attempt, Paid] = {}
        self._taken_back: dict[Attempt, TakenBack] = {}
        self._spoken_for: Counter[tuple[str, str]] = Counter()
        self._posted: set[str] = set()
        self.otherwise: list[Attempt] = []
        """Attempts under whose keys the rail has another payment."""

    def first_attempts(self, payments: Mapping[str, Payment], known: Mapping[str, Known]) -> list[Attempt]:
        """What to ask about these executions first. known: of those that the ledger has."""
        attempts: list[Attempt] = []
        for name, payment in payments.items():
            if name not in self._payments:
                self._payments[name] = payment
                self._places[name] = _place(payment, known.get(name, Known()))
            saga = known.get(name, Known()).saga
            awaited = _AWAITED.get(saga.state)
            attempts += [Attempt(name, step, saga.taken.get(step, 0) + (step is not awaited)) for step in ASKED]
        return attempts

    def take(self, found: Iterable[tuple[Attempt, Paid | TakenBack | None]]) -> Iterator[Attempt]:
        """Keep what the rail has said, and yield what to ask next: after each attempt that it knows, the next one."""
        for attempt, said in found:
            if said is None:
                continue
            if attempt not in self._paid and attempt not in self._taken_back:
                self._keep(attempt, said)
            yield attempt._replace(number=attempt.number + 1)

    # The rail's word

    def knows(self, execution_id: str, attempt: int) -> bool:
        return Attempt(execution_id, Step.SUBMIT, attempt) in self._paid

    def recalled_minor(self, execution_id: str, step: Step, attempt: int) -> int | None:
        taken_back = self._taken_back.get(Attempt(execution_id, step, attempt))
        return None if taken_back is None else taken_back.amount_minor

    def spoken_for_minor(self, account_id: str, currency: str, but_for: str) -> int:
        own = sum(each.amount_minor for each in self.claims(but_for) if each.account_id == account_id)
        return self._spoken_for[account_id, currency] - own

    def posted(self, posting: Posting) -> None:
        """A posting counts once, however often a batch of it is tried."""
        place = self._places.get(posting.execution_id)
        if place is None or posting.posting_id in self._posted:
            return
        self._posted.add(posting.posting_id)
        source, destination = MOVEMENTS[Step(posting.step)]
        with_sign = {source: -posting.amount_minor, destination: posting.amount_minor}
        self._change(
            posting.execution_id,
            _Place(
                place.rail_out_minor,
                place.payer_lacks_minor - with_sign.get(Holder.PAYER, 0),
                place.beneficiary_has_minor + with_sign.get(Holder.BENEFICIARY, 0),
            ),
        )

    def claims(self, execution_id: str) -> list[Claim]:
        """Money that the rail has taken for this execution and the ledger has not come to."""
        place = self._places.get(execution_id)
        return [] if place is None else list(place.claims(self._payments[execution_id]))

    # In the end

    def counts(self) -> dict[str, int]:
        return {
            "executions_asked": len(self._payments),
            "transfers_known": len(self._paid),
            "transfers_paid": sum(each.was_paid for each in self._paid.values()),
            "recalls_known": len(self._taken_back),
        }

    @property
    def names(self) -> list[str]:
        return list(self._payments)

    def leftovers(self, taken: Mapping[str, Mapping[Step, int]]) -> list[Leftover]:
        """What the rail has done beyond the steps that each execution has taken. A refusal moved nothing, so it is
        none."""
        done = [(each, self._payments[each.execution_id].amount_minor) for each, said in self._paid.items()
                if said.was_paid]  # fmt: skip
        done += [(each, said.amount_minor) for each, said in self._taken_back.items() if said.is_back]
        return [
            Leftover(each, amount_minor)
            for each, amount_minor in done
            if taken.get(each.execution_id, {}).get(each.step, 0) < each.number
        ]

    def _keep(self, attempt: Attempt, said: Paid | TakenBack) -> None:
        payment, place = self._payments[attempt.execution_id], self._places[attempt.execution_id]
        match said:
            case Paid():
                if said.payment != payment[1:]:
                    self.otherwise.append(attempt)
                self._paid[attempt] = said
                moved_minor = payment.amount_minor if said.was_paid else 0
            case TakenBack():
                self._taken_back[attempt] = said
                moved_minor = -said.amount_minor if said.is_back else 0
        out_minor = place.rail_out_minor + moved_minor
        self._change(attempt.execution_id, _Place(out_minor, place.payer_lacks_minor, place.beneficiary_has_minor))

    def _change(self, execution_id: str, place: _Place) -> None:
        currency = self._payments[execution_id].currency
        for claim in self.claims(execution_id):
            self._spoken_for[claim.account_id, currency] -= claim.amount_minor
        self._places[execution_id] = place
        for claim in self.claims(execution_id):
            self._spoken_for[claim.account_id, currency] += claim.amount_minor


def _place(payment: Payment, known: Known) -> _Place:
    """By the ledger alone. What the rail owes an answer on counts as not done; the rail is asked about it."""
    state, recalled = known.saga.state, known.recalled
    out_minor = payment.amount_minor - recalled.returned_minor
    if state in _WITH_PAYER:
        return _Place(0, 0, 0)
    if state in _WITH_BENEFICIARY:
        return _Place(out_minor, out_minor, out_minor)
    if state in RECALLS:
        rest_minor = out_minor - recalled.under_way_minor if state in PART_RECALLS else 0
        return _Place(out_minor, out_minor, rest_minor)
    return _Place(0, payment.amount_minor, 0)
