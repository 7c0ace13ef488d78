"""One saga walked against a rail and a balance, keeping everything that would be stored."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from pipeline.execute.postings import (
    NOTHING_RECALLED,
    Funds,
    Limit,
    Payment,
    Posting,
    advance,
    is_rest,
    posting_of,
)
from pipeline.execute.saga import (
    ANNOUNCED,
    AWAITS_RAIL,
    PART_RECALLS,
    RECALLS,
    Answer,
    Cause,
    Heard,
    Ignored,
    Saga,
    Transition,
    answer,
    hear,
    take,
)

EXECUTION = "8a1c3ab0-2f7b-5d3c-9f43-0f6d3a1b2c4d"
PAYMENT = Payment(EXECUTION, "GB29-0001", "GB29-0002", "GBP", 700)
CAUSES = [*Cause, Cause.DECIDED_ALLOW, Cause.DECIDED_ESCALATE]


class Walk:
    def __init__(self, balance_minor: int, beneficiary_minor: int = 10_000, *, is_open: bool = True) -> None:
        self.saga = Saga()
        self.transitions: list[Transition] = []
        self.postings: list[Posting] = []
        self.heard: list[Heard] = []
        self.balance_minor, self.beneficiary_minor, self.is_open = balance_minor, beneficiary_minor, is_open
        self.out_minor = 0  # with the beneficiary, as the rail has it
        self.recalled = NOTHING_RECALLED
        self.history: list[tuple[int, int, Saga]] = []  # steps and records stored by then, and the saga that stood

    def hear(self, cause: Cause) -> None:
        """As the executor does: what is heard is stored, then the saga goes as far as it can by itself."""
        heard = hear(self.saga, cause)
        if isinstance(heard, Ignored):
            return
        self.saga = heard
        assert heard.aim is not None
        self.heard.append(Heard(heard.sequence, heard.aim))
        self._keep()
        self.go_on()

    def run(self, answers: Sequence[Answer]) -> None:
        """Announces what may be, and gives the rail's answers where it waits for one; ends when there are no more."""
        left = list(answers)
        while True:
            self.go_on()
            step = self.saga.next_step
            if step in ANNOUNCED and step is not None:
                self.saga, transition = take(self.saga, step)
                self.transitions.append(transition)
                self._keep()
            elif self.saga.state in AWAITS_RAIL and left:
                self.answer(left.pop(0))
            else:
                return

    def answer(self, said: Answer) -> None:
        if said is Answer.DONE:
            part_minor = self.recalled.under_way_minor if self.saga.state in PART_RECALLS else PAYMENT.amount_minor
            self.out_minor += -part_minor if self.saga.state in RECALLS else part_minor
        moved = answer(self.saga, said, is_rest=is_rest(PAYMENT, self.recalled))
        if moved is None:
            return
        self.saga, transition = moved
        self.transitions.append(transition)
        posting = posting_of(PAYMENT, self.saga, transition.step, self.recalled.under_way_minor)
        self._post([] if posting is None else [posting])
        self._keep()

    def go_on(self) -> None:
        moved = advance(PAYMENT, self.saga, self.funds(), self.recalled)
        self.saga = moved.saga
        self.transitions += moved.transitions
        self._post(moved.postings)
        self._keep()

    def _post(self, postings: Sequence[Posting]) -> None:
        for posting in postings:
            self.recalled = self.recalled.after(posting.step, posting.amount_minor)
            self.postings.append(posting)

    def _keep(self) -> None:
        self.history.append((len(self.transitions), len(self.heard), self.saga))

    def funds(self) -> Funds:
        payer, payee = self.balance_minor, self.beneficiary_minor
        for posting in self.postings:
            payer += _effect(posting, PAYMENT.account_id)
            payee += _effect(posting, PAYMENT.beneficiary_account_id)
        payer_limit = Limit(payer, 0 if self.is_open else None)
        return Funds(
            {
                (PAYMENT.account_id, PAYMENT.currency): payer_limit,
                (PAYMENT.beneficiary_account_id, PAYMENT.currency): Limit(payee, 0),
            }
        )


def _effect(posting: Posting, account_id: str) -> int:
    gained = posting.amount_minor if posting.destination_account_id == account_id else 0
    return gained - (posting.amount_minor if posting.source_account_id == account_id else 0)


def walked(draw: st.DataObject, causes: Sequence[Cause]) -> Walk:
    """`causes` heard one after the other, with answers of the rail in between, from drawn balances."""
    walk = Walk(
        draw.draw(st.sampled_from([0, 699, 700, 5_000])),
        draw.draw(st.sampled_from([-700, -300, -1, 0, 10_000])),
        is_open=draw.draw(st.booleans()),
    )
    for cause in causes:
        walk.hear(cause)
        walk.run(draw.draw(st.lists(st.sampled_from(Answer), max_size=3)))
    return walk
