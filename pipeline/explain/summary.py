"""The first three sentences: what was decided and why, who has looked at it since, and where the money is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.decide.decision_topics import amount_text
from pipeline.domain.identities import review_id
from pipeline.execute.saga import Reason, State
from pipeline.explain.explanation import Explanation
from pipeline.explain.life_store import OtherDecision
from pipeline.explain.moments import REASON_WORDS, decider
from pipeline.explain.whole_life_store import Life, NotShown
from pipeline.io.avro.wire import Datum
from pipeline.review.cases import Kind
from pipeline.terminal.output import utc_text

STATE_WORDS: Final = {
    State.NEW: "nothing was done about it yet, so the payer has the {amount}",
    State.RESERVED: "the {amount} is set aside on the payer's account",
    State.DEBITED: "the {amount} is in clearing, not yet with the payment rail",
    State.SUBMITTED: "the {amount} is in clearing, and the payment rail is asked to pay it",
    State.IN_DOUBT: "the {amount} is in clearing, and the payment rail has not said whether it paid",
    State.CREDITED: "the {amount} is with the beneficiary",
    State.RECALLING: "the {amount} is in clearing, and the payment rail is asked to take it back",
    State.RECALL_IN_DOUBT: "the {amount} is in clearing, and the payment rail has not said whether it took it back",
    State.UNRESERVED: "the payer has the {amount}",
    State.SETTLED: "the beneficiary has the {amount}",
    State.HELD: "the {amount} is held on the payer's account until a person decides",
    State.REFUSED: "the payer has kept the {amount}",
    State.REVERSED: "the payer has the {amount}, and the beneficiary has nothing of it",
    State.RELEASED: "the payer has the {amount}, and the payment goes on under another id",
}
_VERBS: Final = {"ALLOW": "allowed", "BLOCK": "blocked", "ESCALATE": "escalated"}


def sentences(explained: Explanation, life: Life | NotShown) -> tuple[str, str, str]:
    """Each ends with a full stop. Where nothing of the life is shown, the last says so."""
    decided = _decided(explained)
    if isinstance(life, NotShown):
        return decided, "What people and services did about it since is not known here.", life.why
    return decided, _since(explained, life), _standing(explained, life)


def _decided(explained: Explanation) -> str:
    fields, payment = explained.stored.fields, explained.stored.transaction
    because = fields["summary"].partition(" because ")[2].rstrip(".") or fields["summary"].rstrip(".")
    return (
        f"At {utc_text(payment.event_time_ms)} account {payment.account_id} asked to pay {amount_text(payment)} to "
        f"{payment.beneficiary_account_id}, which {decider(fields)} {_VERBS[fields['outcome']]} at "
        f"{utc_text(fields['decided_at_ms'])} because {because}."
    )


def _since(explained: Explanation, life: Life) -> str:
    acts = [text for _, text in sorted(_acts(explained.stored.fields["decision_id"], life))]
    if not acts:
        return "Since then nobody has reviewed the decision, and nobody has taken it back."
    return f"Since then {', then '.join(acts)}."


def _acts(decision_id: str, life: Life) -> Iterator[tuple[int, str]]:
    """What people did about it, each with its place in time."""
    for audited in life.of_kind("ReviewOutcome"):
        fields = audited.fields
        by = " and ".join(name for name in (fields["reviewed_by"], fields["second_reviewer"]) if name)
        why = fields["reason"].strip().rstrip(".")
        at_ms = fields["reviewed_at_ms"]
        yield at_ms, f"{by} reviewed it at {utc_text(at_ms)} and decided {fields['outcome']} ({why})"
    for audited in life.of_kind("Reversal"):
        yield _reversal(life, audited.fields)
    if (case := _open_case(decision_id, life)) is not None:
        yield case


def _reversal(life: Life, fields: Datum) -> tuple[int, str]:
    at_ms = fields["reversed_at_ms"]
    plans = {plan.plan_id: plan.reason for plan in life.rows.plans}
    why = plans.get(fields["plan_id"], fields["reason"].partition(" Under model ")[0]).rstrip(".")
    after = fields["corrected_outcome"]
    to = "to be decided anew" if after is None else f"to {after}"
    people = f"as {fields['requested_by']} planned and {fields['approved_by']} approved at {utc_text(at_ms)}"
    return at_ms, f"it was taken back, from {fields['reversed_outcome']} {to}, {people} ({why})"


def _open_case(decision_id: str, life: Life) -> tuple[int, str] | None:
    """A case that no outcome on the topic has ended yet."""
    if not life.rows.cases:
        return None
    last = life.rows.cases[-1]
    published = {each.fields["review_id"] for each in life.of_kind("ReviewOutcome")}
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
    amount = amount_text(explained.stored.transaction)
    state = life.state
    if state is None:
        return f"The execution service has not heard of it, so the payer has the {amount}."
    rows = life.rows
    since = utc_text(rows.steps[-1].recorded_at_ms) if rows.steps else "it was heard"
    turned = next((step.reason for step in reversed(rows.steps) if step.reason is not None), None)
    why = f", after {REASON_WORDS[Reason(turned)]}" if turned is not None else ""
    return f"The payment has been {state} since {since}{why}: {STATE_WORDS[state].format(amount=amount)}{_anew(life)}."


def _anew(life: Life) -> str:
    if life.state is not State.RELEASED:
        return ""
    other = life.rows.released_as
    return ", which is yet to be decided" if other is None else f", {_other(other)}"


def _other(other: OtherDecision) -> str:
    stands = "" if other.state is None else f" and is {other.state}"
    return f"{other.transaction_id}, which was {_VERBS[other.outcome]} at {utc_text(other.decided_at_ms)}{stands}"
