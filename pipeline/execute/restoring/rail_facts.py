"""What the rail has made of the payments that a ledger, put back from a backup, has yet to come to.

Invariants
1. Of every execution the rail was asked about each attempt after those that the ledger knows, one after the other, to
   the first that it knows nothing of: an attempt was only made after the one before.
2. An account's money that the rail has paid out is spoken for until the ledger comes to that payment, so that what
   stands earlier on decisions.v1, and was not paid, can't take it.
3. What is left over when the ledger has come to everything is named: no record leads to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from pipeline.domain.identities import posting_id
from pipeline.execute.postings import Payment
from pipeline.execute.saga import Saga, State, Step

ASKED: Final = (Step.SUBMIT, Step.RECALL, Step.RECALL_PART)
"""Steps that the rail is asked to carry out, each under keys of its own."""
_BEFORE_RESERVE: Final = frozenset({State.NEW, State.UNRESERVED, State.REFUSED, State.REVERSED})


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


class Facts:
    """Holds what was asked, in rounds, and is the rail's word for a ledger that catches up (postings.RailWord)."""

    def __init__(self) -> None:
        self._payments: dict[str, Payment] = {}
        self._paid: dict[Attempt, Paid] = {}
        self._taken_back: dict[Attempt, TakenBack] = {}
        self._spoken_for: Counter[tuple[str, str]] = Counter()
        self._speaking: set[str] = set()
        self.otherwise: list[Attempt] = []
        """Attempts under whose keys the rail has another payment."""

    def first_attempts(self, payments: Mapping[str, Payment], sagas: Mapping[str, Saga]) -> list[Attempt]:
        """What to ask about these executions first. sagas: of those that the ledger knows."""
        self._payments |= payments
        known = ((name, sagas.get(name, Saga()).taken) for name in payments)
        return [Attempt(name, step, taken.get(step, 0) + 1) for name, taken in known for step in ASKED]

    def take(
        self, found: Iterable[tuple[Attempt, Paid | TakenBack | None]], sagas: Mapping[str, Saga]
    ) -> Iterator[Attempt]:
        """Keep what the rail has said, and yield what to ask next: after each attempt that it knows, the next one."""
        for attempt, said in found:
            match said:
                case Paid():
                    self._keep_paid(attempt, said, sagas)
                case TakenBack():
                    self._taken_back[attempt] = said
                case None:
                    continue
            yield attempt._replace(number=attempt.number + 1)

    # The rail's word

    def has_paid(self, execution_id: str, attempt: int) -> bool:
        paid = self._paid.get(Attempt(execution_id, Step.SUBMIT, attempt))
        return paid is not None and paid.was_paid

    def recalled_minor(self, execution_id: str, step: Step, attempt: int) -> int | None:
        taken_back = self._taken_back.get(Attempt(execution_id, step, attempt))
        return None if taken_back is None else taken_back.amount_minor

    def spoken_for_minor(self, account_id: str, currency: str) -> int:
        return self._spoken_for[account_id, currency]

    def come_to(self, execution_id: str) -> None:
        if execution_id in self._speaking:
            self._speaking.remove(execution_id)
            payment = self._payments[execution_id]
            self._spoken_for[payment.account_id, payment.currency] -= payment.amount_minor

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

    def _keep_paid(self, attempt: Attempt, paid: Paid, sagas: Mapping[str, Saga]) -> None:
        payment = self._payments[attempt.execution_id]
        if paid.payment != payment[1:]:
            self.otherwise.append(attempt)
        self._paid[attempt] = paid
        is_with_payer = sagas.get(attempt.execution_id, Saga()).state in _BEFORE_RESERVE
        if paid.was_paid and is_with_payer and attempt.execution_id not in self._speaking:
            self._speaking.add(attempt.execution_id)
            self._spoken_for[payment.account_id, payment.currency] += payment.amount_minor
