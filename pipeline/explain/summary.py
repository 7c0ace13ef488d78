"""The first three sentences: what was decided and why, who has looked at it since, and where the money is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import DecisionId, review_id
from pipeline.domain.money import amount_text
from pipeline.domain.reversal import Reversal
from pipeline.domain.times import utc_text
from pipeline.execute.saga import Reason, State
from pipeline.explain.explanation import Explanation
from pipeline.explain.life import Life, NotShown, OtherDecision
from pipeline.explain.moments import REASON_WORDS, decider
from pipeline.review.cases import Kind

STATE_WORDS: Final = {
    State.NEW: "nothing was done about it yet, so the payer has the {amount}",
    State.RESERVED: "the {amount} is set aside on the payer's account",
    State.DEBITED: "the {amount} is in clearing, not yet with the payment rail",
    State.SUBMITTED: "the {amount} is in clearing, and the payment rail is asked to pay it",
    State.IN_DOUBT: "the {amount} is in clearing, and the payment rail has not said whether it paid",
    State.CREDITED: "the {amount} is with the beneficiary",
    State.RECALLING: "the {amount} is in clearing, and the payment rail is asked to take it back",
    State.RECALL_IN_DOUBT: "the {amount} is in clearing, and the payment rail has not said whether it took it back",
    State.PART_RECALLING: "what is left of it is in clearing, and the payment rail is asked to take that part back",
    State.PART_RECALL_IN_DOUBT: "what is left is in clearing, and the payment rail has not said if it took it back",
    State.UNRESERVED: "the payer has the {amount}",
    State.SETTLED: "the beneficiary has the {amount}",
    State.HELD: "the {amount} is held on the payer's account until a person decides",
    State.REFUSED: "the payer has kept the {amount}",
    State.REVERSED: "the payer has the {amount}, and the beneficiary has nothing of it",
    State.RELEASED: "the payer has the {amount}, and the payment goes on under another id",
}
_VERBS: Final = {Outcome.ALLOW: "allowed", Outcome.BLOCK: "blocked", Outcome.ESCALATE: "escalated"}


def sentences(explained: Explanation, life: Life | NotShown) -> tuple[str, str, str]:
    """Each ends with a full stop. Where nothing of the life is shown, the last says so."""
    decided = _decided(explained)
    if isinstance(life, NotShown):
        return decided, "What people and services did about it since is not known here.", life.why
    return decided, _since(explained, life), _standing(explained, life)


def _decided(explained: Explanation) -> str:
    decision = explained.decision
    payment = decision.snapshot.transaction
    because = decision.summary.partition(" because ")[2].rstrip(".") or decision.summary.rstrip(".")
    return (
        f"At {utc_text(payment.event_time_ms)} account {payment.account_id} asked to pay {amount_text(payment)} to "
        f"{payment.beneficiary_account_id}, which {decider(decision)} {_VERBS[decision.outcome]} at "
        f"{utc_text(decision.decided_at_ms)} because {because}."
    )


def _since(explained: Explanation, life: Life) -> str:
    acts = [text for _, text in sorted(_acts(explained.decision.decision_id, life))]
    if not acts:
        return "Since then nobody has reviewed the decision, and nobody has taken it back."
    return f"Since then {', then '.join(acts)}."


def _acts(decision_id: DecisionId, life: Life) -> Iterator[tuple[int, str]]:
    """The acts of people about the decision, each with its place in time."""
    for _, review in life.reviews:
        by = " and ".join(name for name in (review.reviewed_by, review.second_reviewer) if name)
        why = review.reason.strip().rstrip(".")
        at_ms = review.reviewed_at_ms
        yield at_ms, f"{by} reviewed it at {utc_text(at_ms)} and decided {review.outcome} ({why})"
    for _, reversal in life.reversals:
        yield _reversal(life, reversal)
    if (case := _open_case(decision_id, life)) is not None:
        yield case


def _reversal(life: Life, reversal: Reversal) -> tuple[int, str]:
    at_ms = reversal.reversed_at_ms
    plans = {plan.plan_id: plan.reason for plan in life.rows.plans}
    why = plans.get(reversal.plan_id, reversal.reason.partition(" Under model ")[0]).rstrip(".")
    after = reversal.corrected_outcome
    to = "to be decided anew" if after is None else f"to {after}"
    people = f"as {reversal.requested_by} planned and {reversal.approved_by} approved at {utc_text(at_ms)}"
    return at_ms, f"it was taken back, from {reversal.reversed_outcome} {to}, {people} ({why})"


def _open_case(decision_id: DecisionId, life: Life) -> tuple[int, str] | None:
    """A case that no outcome on the topic has ended yet."""
    if not life.rows.cases:
        return None
    last = life.rows.cases[-1]
    published = {review.review_id for _, review in life.reviews}
    if last.kind in (Kind.WITHDRAWN, Kind.PUBLISHED) or review_id(decision_id, last.round) in published:
        return None
    if last.kind in (Kind.DECIDED, Kind.EXPIRED):
        return (
            last.at_ms,
            f"{last.actor} decided {last.outcome} at {utc_text(last.at_ms)}, which is yet to be published",
        )
    opened = next(row for row in life.rows.cases if row.round == last.round)
    until = utc_text(last.expires_at_ms)
    return opened.at_ms, f"it has been with reviewers since {utc_text(opened.at_ms)}, who have until {until} to decide"


def _standing(explained: Explanation, life: Life) -> str:
    amount = amount_text(explained.decision.snapshot.transaction)
    state = life.state
    if state is None:
        return f"The execution service has not heard of it, so the payer has the {amount}."
    rows = life.rows
    since = utc_text(rows.steps[-1].recorded_at_ms) if rows.steps else "it was heard"
    turned = next((step.reason for step in reversed(rows.steps) if step.reason is not None), None)
    why = f", because {REASON_WORDS[Reason(turned)]}" if turned is not None else ""
    return f"The payment has been {state} since {since}{why}: {STATE_WORDS[state].format(amount=amount)}{_anew(life)}."


def _anew(life: Life) -> str:
    if life.state is not State.RELEASED:
        return ""
    other = life.rows.released_as
    return ", which is yet to be decided" if other is None else f", {_other(other)}"


def _other(other: OtherDecision) -> str:
    stands = "" if other.state is None else f" and is {other.state}"
    return f"{other.transaction_id}, which was {_VERBS[other.outcome]} at {utc_text(other.decided_at_ms)}{stands}"
