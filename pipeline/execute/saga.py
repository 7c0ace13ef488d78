"""The saga of one decision, step by step, as three tables.

A saga knows where the money is (State) and where it shall end (Aim). A record of `decisions.v1` sets the aim (AIMS),
the plan names the next step from where the money is (PLAN), a step leads to the next state (TRANSITIONS). What undoes
a payment is therefore the same plan walked backwards, whatever state the record meets.

Invariants
1. The tables are complete: every aim and cause, every state and aim, every step of the plan has its entry.
2. From every state each aim is reached, or the saga waits for the rail, in at most STEPS_MAX steps.
3. RELEASED is never left: the payment goes on under another id, so nothing may pay it here again.
4. A saga is a function of its records and the answers of rail and funds, in order: `restore` of what was stored is the
   saga that stored it.
5. Money is with the rail only between SUBMIT and its answer, and after CREDIT until RECALLED or REST_RECALLED.
6. Only what the beneficiary still has is recalled: the whole, or the part that is there, never their overdraft.
7. A ruling has nobody paid: money that people say is here goes to the payer, and where the payment was still to be made
   or held, it is released.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.domain.enums import FastStrEnum
from pipeline.domain.identities import posting_id

STEPS_MAX: Final = 8
"""The longest way without waiting: from SETTLED backwards is 4, forwards from REFUSED 3; what is above is a loop."""


class State(FastStrEnum):
    """The place where the money is."""

    NEW = "NEW"  # with the payer; nothing was done yet
    RESERVED = "RESERVED"  # set aside
    DEBITED = "DEBITED"  # in clearing, not with the rail
    SUBMITTED = "SUBMITTED"  # in clearing, and the rail is asked to pay it
    IN_DOUBT = "IN_DOUBT"  # as SUBMITTED, and the rail didn't say what became of it
    CREDITED = "CREDITED"  # with the beneficiary
    RECALLING = "RECALLING"  # in clearing, and the rail is asked to take it back
    RECALL_IN_DOUBT = "RECALL_IN_DOUBT"
    PART_RECALLING = "PART_RECALLING"  # what is left of it in clearing, and the rail is asked to take that part back
    PART_RECALL_IN_DOUBT = "PART_RECALL_IN_DOUBT"
    UNRESERVED = "UNRESERVED"  # with the payer, again or for want of funds still
    SETTLED = "SETTLED"  # with the beneficiary; upstream was told
    HELD = "HELD"  # set aside until a review
    REFUSED = "REFUSED"  # with the payer
    REVERSED = "REVERSED"  # with the payer again
    RELEASED = "RELEASED"  # with the payer, who may be decided on anew under another id


class Aim(FastStrEnum):
    """The end that a saga works towards; each has the state that it rests in."""

    SETTLE = "SETTLE"
    HOLD = "HOLD"
    REFUSE = "REFUSE"
    REVERSE = "REVERSE"
    RELEASE = "RELEASE"


class Cause(FastStrEnum):
    """The word of a record of `decisions.v1`."""

    DECIDED_ALLOW = "DECIDED_ALLOW"
    DECIDED_ESCALATE = "DECIDED_ESCALATE"
    DECIDED_BLOCK = "DECIDED_BLOCK"
    REVIEWED_ALLOW = "REVIEWED_ALLOW"
    REVIEWED_BLOCK = "REVIEWED_BLOCK"
    REVERSED_TO_ALLOW = "REVERSED_TO_ALLOW"
    REVERSED_TO_ESCALATE = "REVERSED_TO_ESCALATE"
    REVERSED_TO_BLOCK = "REVERSED_TO_BLOCK"
    REVERSED_TO_NOTHING = "REVERSED_TO_NOTHING"  # goes back to be decided anew


class Ignored(StrEnum):
    """Why a record changes nothing, in order of precedence."""

    DUPLICATE = "DUPLICATE"  # it was heard before
    NO_DECISION = "NO_DECISION"  # it is about a payment that no decision was heard of
    ALREADY_DECIDED = "ALREADY_DECIDED"  # a second decision about the payment
    OTHER_DECISION = "OTHER_DECISION"  # of a second decision about the payment, which was executed as the first says
    ELSEWHERE = "ELSEWHERE"  # it doesn't stand behind its decision in the same partition, so their order says nothing
    OVERTAKEN = "OVERTAKEN"  # a reversal of what is not, or no longer, in force
    OTHER_ROUND = "OTHER_ROUND"  # a review of a round that isn't open, or no longer
    ALREADY_RELEASED = "ALREADY_RELEASED"  # it is in force, but the payment goes on under another id
    NOT_HELD = "NOT_HELD"  # a review that is in force, but its payment isn't held: unfunded, or not to be had back


class Reason(StrEnum):
    """Why a saga was turned from its aim, in order of precedence."""

    OUT_OF_ORDER = "OUT_OF_ORDER"  # something took the decision back before it was heard
    ACCOUNT_NOT_OPEN = "ACCOUNT_NOT_OPEN"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    RAIL_REFUSED = "RAIL_REFUSED"
    BENEFICIARY_FUNDS_GONE = "BENEFICIARY_FUNDS_GONE"
    RECALL_REFUSED = "RECALL_REFUSED"
    PARTLY_RECALLED = "PARTLY_RECALLED"  # what was there is with the payer; the rest is for a person
    PART_RECALL_REFUSED = "PART_RECALL_REFUSED"
    RULED_NOT_MADE = "RULED_NOT_MADE"  # people say that the rail did not pay it, so it may be paid under another id
    RULED_RECALLED = "RULED_RECALLED"  # they say that the rail took it back
    RULED_REST_RECALLED = "RULED_REST_RECALLED"


class Step(FastStrEnum):
    RESERVE = "RESERVE"
    DEBIT = "DEBIT"
    SUBMIT = "SUBMIT"  # the intent: it is stored before the rail is asked
    CREDIT = "CREDIT"  # the rail has paid
    REJECT = "REJECT"  # the rail has refused
    DOUBT = "DOUBT"  # the rail doesn't say
    COMPLETE = "COMPLETE"
    HOLD = "HOLD"
    REFUSE = "REFUSE"
    REVERSE = "REVERSE"
    RELEASE = "RELEASE"
    RECALL = "RECALL"  # the intent; in the books the money is taken back first, so that it can't be spent meanwhile
    RECALLED = "RECALLED"  # the rail has taken it back
    GIVE_BACK = "GIVE_BACK"  # the rail has refused to: in the books it goes back to the beneficiary
    RECALL_PART = "RECALL_PART"  # as RECALL, of what the beneficiary still has
    PART_RECALLED = "PART_RECALLED"  # the rail has taken the part back: it is the payer's
    REST_RECALLED = "REST_RECALLED"  # the rail has taken back all that was out: nothing is with the beneficiary
    GIVE_BACK_PART = "GIVE_BACK_PART"
    DENY = "DENY"  # the funds aren't there: nothing is set aside
    KEEP = "KEEP"  # the beneficiary has spent it: nothing to recall
    UNDEBIT = "UNDEBIT"
    UNRESERVE = "UNRESERVE"


class Answer(FastStrEnum):
    """The rail's answer about a transfer, or about its recall."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"
    # It knows nothing of a key that is older than it keeps keys, so it may have done it; or has another's under it.
    FORGOTTEN = "FORGOTTEN"


_S, _A, _C, _I, _T = State, Aim, Cause, Ignored, Step

DECISIONS: Final = (_C.DECIDED_ALLOW, _C.DECIDED_ESCALATE, _C.DECIDED_BLOCK)
REVIEWS: Final = (_C.REVIEWED_ALLOW, _C.REVIEWED_BLOCK)
_REVERSALS: Final = (_C.REVERSED_TO_ALLOW, _C.REVERSED_TO_ESCALATE, _C.REVERSED_TO_BLOCK, _C.REVERSED_TO_NOTHING)
_REVERSED_AIMS: Final = {
    _C.REVERSED_TO_ALLOW: _A.SETTLE,
    _C.REVERSED_TO_ESCALATE: _A.HOLD,
    _C.REVERSED_TO_BLOCK: _A.REVERSE,
    _C.REVERSED_TO_NOTHING: _A.RELEASE,
}

AIMS: Final[dict[tuple[Aim | None, Cause], Aim | Ignored]] = {
    (None, _C.DECIDED_ALLOW): _A.SETTLE,
    (None, _C.DECIDED_ESCALATE): _A.HOLD,
    (None, _C.DECIDED_BLOCK): _A.REFUSE,
    **{(None, cause): _I.NO_DECISION for cause in (*REVIEWS, *_REVERSALS)},
    **{(aim, cause): _I.ALREADY_DECIDED for aim in Aim for cause in DECISIONS},
    **{(aim, cause): _I.NOT_HELD for aim in Aim for cause in REVIEWS},
    **{(aim, cause): after for aim in Aim for cause, after in _REVERSED_AIMS.items()},
    (_A.HOLD, _C.REVIEWED_ALLOW): _A.SETTLE,
    (_A.HOLD, _C.REVIEWED_BLOCK): _A.REFUSE,
    (_A.REFUSE, _C.REVERSED_TO_BLOCK): _A.REFUSE,  # nothing moved, so nothing is taken back
    **{(_A.RELEASE, cause): _I.ALREADY_RELEASED for cause in (*REVIEWS, *_REVERSALS)},
}
"""A record's effect on the aim; later lines go before earlier ones. None: no decision was heard yet."""

PART_RECALLS: Final = frozenset({_S.PART_RECALLING, _S.PART_RECALL_IN_DOUBT})
RECALLS: Final = frozenset({_S.RECALLING, _S.RECALL_IN_DOUBT}) | PART_RECALLS
AWAITS_RAIL: Final = frozenset({_S.SUBMITTED, _S.IN_DOUBT}) | RECALLS
DOUBTFUL: Final = frozenset({_S.IN_DOUBT, _S.RECALL_IN_DOUBT, _S.PART_RECALL_IN_DOUBT})

ASKS_RAIL: Final = frozenset({_T.SUBMIT, _T.RECALL, _T.RECALL_PART})
"""Steps that the rail is asked to carry out, each time under a key of its own. They are stored before it is asked."""

RAIL_AIMS: Final = frozenset({_A.SETTLE, _A.HOLD})
"""Aims on whose way the rail is asked to pay, now or once a person has decided."""

PART_AIMS: Final = frozenset({_A.REFUSE, _A.REVERSE})
"""Aims for which a part is better than nothing; a part can neither be held for review nor be decided anew."""


def _row(
    state: State, settle: Step | None, hold: Step | None, refuse: Step | None, *rest: Step | None
) -> dict[tuple[State, Aim], Step | None]:
    """One state's steps by aim. `rest`: REVERSE and RELEASE where they differ from REFUSE."""
    steps = (settle, hold, refuse, *(rest or (refuse, refuse)))
    return {(state, aim): step for aim, step in zip(Aim, steps, strict=True)}


PLAN: Final[dict[tuple[State, Aim], Step | None]] = {
    **_row(_S.NEW, _T.RESERVE, _T.RESERVE, _T.REFUSE, _T.REVERSE, _T.RELEASE),
    **_row(_S.RESERVED, _T.DEBIT, _T.HOLD, _T.UNRESERVE),
    **_row(_S.DEBITED, _T.SUBMIT, _T.UNDEBIT, _T.UNDEBIT),
    **_row(_S.SUBMITTED, None, None, None),
    **_row(_S.IN_DOUBT, None, None, None),
    **_row(_S.CREDITED, _T.COMPLETE, _T.RECALL, _T.RECALL),
    **_row(_S.RECALLING, None, None, None),
    **_row(_S.RECALL_IN_DOUBT, None, None, None),
    **_row(_S.PART_RECALLING, None, None, None),
    **_row(_S.PART_RECALL_IN_DOUBT, None, None, None),
    **_row(_S.UNRESERVED, _T.RESERVE, _T.RESERVE, _T.REFUSE, _T.REVERSE, _T.RELEASE),
    **_row(_S.SETTLED, None, _T.RECALL, _T.RECALL),
    **_row(_S.HELD, _T.DEBIT, None, _T.UNRESERVE),
    **_row(_S.REFUSED, _T.RESERVE, _T.RESERVE, None, _T.REVERSE, _T.RELEASE),
    **_row(_S.REVERSED, _T.RESERVE, _T.RESERVE, None, None, _T.RELEASE),
    **_row(_S.RELEASED, None, None, None),
}
"""The next step; None: it rests here, or waits for the rail."""

TRANSITIONS: Final[dict[tuple[State, Step], State]] = {
    **{(before, _T.RESERVE): _S.RESERVED for before in (_S.NEW, _S.UNRESERVED, _S.REFUSED, _S.REVERSED)},
    **{(before, _T.DENY): _S.UNRESERVED for before in (_S.NEW, _S.UNRESERVED, _S.REFUSED, _S.REVERSED)},
    (_S.NEW, _T.REFUSE): _S.REFUSED,
    (_S.NEW, _T.REVERSE): _S.REVERSED,
    (_S.NEW, _T.RELEASE): _S.RELEASED,
    (_S.RESERVED, _T.DEBIT): _S.DEBITED,
    (_S.RESERVED, _T.HOLD): _S.HELD,
    (_S.RESERVED, _T.UNRESERVE): _S.UNRESERVED,
    (_S.HELD, _T.DEBIT): _S.DEBITED,
    (_S.HELD, _T.UNRESERVE): _S.UNRESERVED,
    (_S.DEBITED, _T.SUBMIT): _S.SUBMITTED,
    (_S.DEBITED, _T.UNDEBIT): _S.RESERVED,
    (_S.SUBMITTED, _T.CREDIT): _S.CREDITED,
    (_S.SUBMITTED, _T.REJECT): _S.DEBITED,
    (_S.SUBMITTED, _T.DOUBT): _S.IN_DOUBT,
    (_S.IN_DOUBT, _T.CREDIT): _S.CREDITED,
    (_S.IN_DOUBT, _T.REJECT): _S.DEBITED,
    (_S.CREDITED, _T.COMPLETE): _S.SETTLED,
    (_S.CREDITED, _T.RECALL): _S.RECALLING,
    (_S.CREDITED, _T.KEEP): _S.CREDITED,
    (_S.SETTLED, _T.RECALL): _S.RECALLING,
    (_S.SETTLED, _T.KEEP): _S.CREDITED,
    (_S.RECALLING, _T.RECALLED): _S.DEBITED,
    (_S.RECALLING, _T.GIVE_BACK): _S.CREDITED,
    (_S.RECALLING, _T.DOUBT): _S.RECALL_IN_DOUBT,
    (_S.RECALL_IN_DOUBT, _T.RECALLED): _S.DEBITED,
    (_S.RECALL_IN_DOUBT, _T.GIVE_BACK): _S.CREDITED,
    (_S.CREDITED, _T.RECALL_PART): _S.PART_RECALLING,
    (_S.SETTLED, _T.RECALL_PART): _S.PART_RECALLING,
    (_S.PART_RECALLING, _T.PART_RECALLED): _S.CREDITED,
    (_S.PART_RECALLING, _T.REST_RECALLED): _S.UNRESERVED,
    (_S.PART_RECALLING, _T.GIVE_BACK_PART): _S.CREDITED,
    (_S.PART_RECALLING, _T.DOUBT): _S.PART_RECALL_IN_DOUBT,
    (_S.PART_RECALL_IN_DOUBT, _T.PART_RECALLED): _S.CREDITED,
    (_S.PART_RECALL_IN_DOUBT, _T.REST_RECALLED): _S.UNRESERVED,
    (_S.PART_RECALL_IN_DOUBT, _T.GIVE_BACK_PART): _S.CREDITED,
    (_S.UNRESERVED, _T.REFUSE): _S.REFUSED,
    (_S.UNRESERVED, _T.REVERSE): _S.REVERSED,
    (_S.UNRESERVED, _T.RELEASE): _S.RELEASED,
    (_S.REFUSED, _T.REVERSE): _S.REVERSED,
    (_S.REFUSED, _T.RELEASE): _S.RELEASED,
    (_S.REVERSED, _T.RELEASE): _S.RELEASED,
}

ANSWERED: Final[dict[tuple[State, Answer], Step | None]] = {
    (_S.SUBMITTED, Answer.DONE): _T.CREDIT,
    (_S.SUBMITTED, Answer.REFUSED): _T.REJECT,
    (_S.SUBMITTED, Answer.UNKNOWN): _T.DOUBT,
    (_S.SUBMITTED, Answer.FORGOTTEN): _T.DOUBT,
    (_S.IN_DOUBT, Answer.DONE): _T.CREDIT,
    (_S.IN_DOUBT, Answer.REFUSED): _T.REJECT,
    (_S.IN_DOUBT, Answer.UNKNOWN): None,
    (_S.IN_DOUBT, Answer.FORGOTTEN): None,
    (_S.RECALLING, Answer.DONE): _T.RECALLED,
    (_S.RECALLING, Answer.REFUSED): _T.GIVE_BACK,
    (_S.RECALLING, Answer.UNKNOWN): _T.DOUBT,
    (_S.RECALLING, Answer.FORGOTTEN): _T.DOUBT,
    (_S.RECALL_IN_DOUBT, Answer.DONE): _T.RECALLED,
    (_S.RECALL_IN_DOUBT, Answer.REFUSED): _T.GIVE_BACK,
    (_S.RECALL_IN_DOUBT, Answer.UNKNOWN): None,
    (_S.RECALL_IN_DOUBT, Answer.FORGOTTEN): None,
    (_S.PART_RECALLING, Answer.DONE): _T.PART_RECALLED,
    (_S.PART_RECALLING, Answer.REFUSED): _T.GIVE_BACK_PART,
    (_S.PART_RECALLING, Answer.UNKNOWN): _T.DOUBT,
    (_S.PART_RECALLING, Answer.FORGOTTEN): _T.DOUBT,
    (_S.PART_RECALL_IN_DOUBT, Answer.DONE): _T.PART_RECALLED,
    (_S.PART_RECALL_IN_DOUBT, Answer.REFUSED): _T.GIVE_BACK_PART,
    (_S.PART_RECALL_IN_DOUBT, Answer.UNKNOWN): None,
    (_S.PART_RECALL_IN_DOUBT, Answer.FORGOTTEN): None,
}
"""The step that an answer of the rail is; None: still in doubt, which is no news."""

NOT_IN_FORCE: Final = frozenset(
    {_I.DUPLICATE, _I.NO_DECISION, _I.ALREADY_DECIDED, _I.OTHER_DECISION, _I.ELSEWHERE, _I.OVERTAKEN, _I.OTHER_ROUND}
)
"""What is ignored so never was in force; what is ignored otherwise is, though no money follows it."""

ANNOUNCED: Final = frozenset({_T.COMPLETE, _T.HOLD, _T.REFUSE, _T.REVERSE, _T.RELEASE})
"""Steps into rest. Upstream is told before they are stored, so that a stored one was told; a crash tells it twice."""

GUARDED: Final = frozenset({_T.RESERVE, _T.RECALL})
"""Steps that take money from an account which may not have it; see pipeline.execute.postings."""


TURNS: Final = {
    Reason.OUT_OF_ORDER: (_T.DENY, _A.REFUSE),
    Reason.ACCOUNT_NOT_OPEN: (_T.DENY, _A.REFUSE),
    Reason.INSUFFICIENT_FUNDS: (_T.DENY, _A.REFUSE),
    Reason.RAIL_REFUSED: (_T.REJECT, _A.REFUSE),
    Reason.BENEFICIARY_FUNDS_GONE: (_T.KEEP, _A.SETTLE),
    Reason.RECALL_REFUSED: (_T.GIVE_BACK, _A.SETTLE),
    Reason.PARTLY_RECALLED: (_T.PART_RECALLED, _A.SETTLE),
    Reason.PART_RECALL_REFUSED: (_T.GIVE_BACK_PART, _A.SETTLE),
    Reason.RULED_NOT_MADE: (_T.REJECT, _A.RELEASE),
    Reason.RULED_RECALLED: (_T.RECALLED, _A.RELEASE),
    Reason.RULED_REST_RECALLED: (_T.REST_RECALLED, _A.RELEASE),
}
"""The step that is taken instead of the plan's, and the aim from then on."""


RAIL_KEY_FORGOTTEN: Final = "RAIL_KEY_FORGOTTEN"
"""Why a person must act on a payment in doubt: the rail forgot its key, so neither it nor the ledger can say."""
RAIL_PAID_OTHERWISE: Final = "RAIL_PAID_OTHERWISE"
"""Why a person must act on a payment that the rail has made and the records on decisions.v1 do not lead to."""

RULING: Final = "RULING"
"""Origin of a step that two people have ruled, where the rail can't say any more."""
RULING_CONTRADICTED: Final = "RULING_CONTRADICTED"
"""Why a person must act on a payment that people have ruled on: the rail says otherwise after all."""

RECOVERED_BY_PEOPLE: Final = frozenset(
    {Reason.BENEFICIARY_FUNDS_GONE, Reason.RECALL_REFUSED, Reason.PARTLY_RECALLED, Reason.PART_RECALL_REFUSED}
)
"""Reasons for which money that was to be had back is out; each opens a recovery case, in the step's own transaction."""


class Transition(NamedTuple):
    """One stored step. `aim` is the saga's after it; `reason` says why it was turned from the aim before, if it was."""

    sequence: int
    step: Step
    before: State
    after: State
    aim: Aim
    reason: Reason | None


class Heard(NamedTuple):
    """One stored record of `decisions.v1`: the aim that it set when the saga had taken `sequence` steps."""

    sequence: int
    aim: Aim


_NOTHING_TAKEN: Final[Mapping[Step, int]] = MappingProxyType({})


class Saga(NamedTuple):
    state: State = State.NEW
    aim: Aim | None = None
    sequence: int = 0  # of the last transition
    taken: Mapping[Step, int] = _NOTHING_TAKEN  # how often each step was taken

    @property
    def next_step(self) -> Step | None:
        """None while it waits for the rail, or rests."""
        return None if self.aim is None else PLAN[self.state, self.aim]

    @property
    def is_at_rest(self) -> bool:
        return self.next_step is None and self.state not in AWAITS_RAIL


def hear(saga: Saga, cause: Cause, *, is_behind: bool = True, is_in_turn: bool = True) -> Saga | Ignored:
    """The saga with the aim that the record sets.

    is_behind: it stands behind its decision, in the same partition. is_in_turn: it takes the place of the record in
    force.
    """
    aim = AIMS[saga.aim, cause]
    if isinstance(aim, Ignored) and aim in NOT_IN_FORCE:
        return aim
    if not is_behind:
        return Ignored.ELSEWHERE
    if not is_in_turn:
        return Ignored.OTHER_ROUND if cause in REVIEWS else Ignored.OVERTAKEN
    return aim if isinstance(aim, Ignored) else saga._replace(aim=aim)


def take(saga: Saga, step: Step) -> tuple[Saga, Transition]:
    return _taken(saga, step, saga.aim, None)


def turn(saga: Saga, reason: Reason) -> tuple[Saga, Transition]:
    """The step that is taken for this reason instead of the planned one, and the aim that follows from it."""
    step, aim = TURNS[reason]
    return _taken(saga, step, aim, reason)


def answer(saga: Saga, said: Answer, *, is_rest: bool = False) -> tuple[Saga, Transition] | None:
    """The effect of the rail's answer; None: nothing new. A refusal turns the saga, but not one about an old aim.

    `is_rest`: the part that is being recalled is all that is out.
    """
    step = ANSWERED[saga.state, said]
    if step is None:
        return None
    if step is Step.REJECT and saga.aim is Aim.SETTLE:
        return turn(saga, Reason.RAIL_REFUSED)
    if step is Step.PART_RECALLED and is_rest:
        return take(saga, Step.REST_RECALLED)
    reason = _TURNING_ANSWERS.get(step)
    return take(saga, step) if reason is None else turn(saga, reason)


def rule(saga: Saga, said: Answer, *, is_rest: bool = False) -> tuple[Saga, Transition]:
    """The effect of people's ruling on a doubt, which stands for the rail's answer: DONE or REFUSED.

    As the answer's, but that the rail is not asked to pay again because of it.
    """
    assert saga.state in DOUBTFUL, f"nobody rules on {saga.state}"
    assert said in (Answer.DONE, Answer.REFUSED), f"nobody rules {said}"
    moved = answer(saga, said, is_rest=is_rest)
    assert moved is not None, "an answer ends a doubt"
    reason = _TURNING_RULINGS.get(moved[1].step)
    return moved if reason is None or saga.aim not in RAIL_AIMS else turn(saga, reason)


_TURNING_RULINGS: Final = {
    _T.REJECT: Reason.RULED_NOT_MADE,
    _T.RECALLED: Reason.RULED_RECALLED,
    _T.REST_RECALLED: Reason.RULED_REST_RECALLED,
}
_TURNING_ANSWERS: Final = {
    _T.GIVE_BACK: Reason.RECALL_REFUSED,
    _T.PART_RECALLED: Reason.PARTLY_RECALLED,
    _T.GIVE_BACK_PART: Reason.PART_RECALL_REFUSED,
}


def restore(transitions: Iterable[Transition], heard: Iterable[Heard]) -> Saga:
    """The saga that stored these, each in order. A record heard after the last step has the last word."""
    saga = Saga()
    for transition in transitions:
        assert transition.before is saga.state, f"step {transition.sequence} follows {saga.state}"
        assert transition.sequence == saga.sequence + 1, f"step {transition.sequence} follows {saga.sequence}"
        saga, again = _taken(saga, transition.step, transition.aim, transition.reason)
        assert again.after is transition.after, f"step {transition.sequence} led elsewhere"
    for sequence, aim in heard:
        if sequence >= saga.sequence:
            saga = saga._replace(aim=aim)
    return saga


def rail_key(execution_id: str, saga: Saga) -> str:
    """The idempotency key of the transfer last submitted; another one for a later submission."""
    attempt = saga.taken.get(Step.SUBMIT, 0)
    assert attempt, "nothing was submitted"
    return posting_id(execution_id, Step.SUBMIT, attempt)


def recall_key(execution_id: str, saga: Saga) -> str:
    """The idempotency key of the recall under way: another one for each that is asked for."""
    step = Step.RECALL_PART if saga.state in PART_RECALLS else Step.RECALL
    attempt = saga.taken.get(step, 0)
    assert attempt, "nothing is recalled"
    return posting_id(execution_id, step, attempt)


def diagram() -> str:
    """TRANSITIONS as a Mermaid state diagram."""
    arrows = [f"    {before} --> {after}: {step}" for (before, step), after in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> NEW", *arrows]) + "\n"


def _taken(saga: Saga, step: Step, aim: Aim | None, reason: Reason | None) -> tuple[Saga, Transition]:
    after = TRANSITIONS.get((saga.state, step))
    assert after is not None, f"no {step} from {saga.state}"
    assert aim is not None, f"{step} without an aim"
    sequence = saga.sequence + 1
    taken = {**saga.taken, step: saga.taken.get(step, 0) + 1}
    return Saga(after, aim, sequence, taken), Transition(sequence, step, saga.state, after, aim, reason)
