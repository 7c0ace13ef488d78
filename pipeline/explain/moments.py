"""The timeline's moments: everything recorded of a payment, in sentences with time, author and place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from pipeline.decide.phrases import percent_of_bp
from pipeline.domain.decision import Decision, Route
from pipeline.domain.identities import DecisionId, posting_id, review_id
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.money import amount_text, count_text, money_text
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.domain.times import utc_text
from pipeline.execute.saga import ANSWERED, RULING, Cause, Ignored, Reason, Step
from pipeline.explain.explanation import Explanation
from pipeline.explain.life import (
    Audited,
    CaseRow,
    CauseRow,
    ExecutionRow,
    Life,
    NotShown,
    PlanRow,
    PostingRow,
    StepRow,
)
from pipeline.explain.timeline import Moment, Money, Thread, strung
from pipeline.review.cases import Kind
from pipeline.rollback.reversal import Disposition, regime_words

AUDIT: Final = "audit service"
EXECUTOR: Final = "execution service"
RAIL: Final = "payment rail"

STEP_WORDS: Final = {
    Step.RESERVE: "Set {amount} aside on the payer's account.",
    Step.DEBIT: "Took the {amount} that was set aside into clearing.",
    Step.SUBMIT: "Asked the payment rail to pay {amount} to {beneficiary}, under the key {rail_key}.",
    Step.CREDIT: "The payment rail paid: {amount} is with {beneficiary}.",
    Step.REJECT: "The payment rail refused to pay.",
    Step.DOUBT: "The payment rail did not say what became of it; it is asked again, and nothing is guessed.",
    Step.COMPLETE: "Settled: {amount} is with {beneficiary}; upstream was told.",
    Step.HOLD: "Held: {amount} stays set aside until a person decides; upstream was told.",
    Step.REFUSE: "Refused: the payer keeps the {amount}; upstream was told.",
    Step.REVERSE: "Reversed: the payer has the {amount}; upstream was told.",
    Step.RELEASE: "Released: the payer has the {amount}, and the payment goes on under another id; upstream was told.",
    Step.RECALL: "Took {amount} back from {beneficiary} in the books and asked the payment rail to take it back.",
    Step.RECALLED: "The payment rail took it back.",
    Step.GIVE_BACK: "The payment rail refused to take it back: in the books {beneficiary} has the {amount} again.",
    Step.RECALL_PART: "Took back from {beneficiary} in the books what is left of it, and asked the payment rail to.",
    Step.PART_RECALLED: "The payment rail took that part back: the payer has it again.",
    Step.REST_RECALLED: "The payment rail took back all that was still out: the payer has the {amount} again.",
    Step.GIVE_BACK_PART: "The payment rail refused to take that part back: in the books {beneficiary} has it again.",
    Step.DENY: "Set nothing aside.",
    Step.KEEP: "Recalled nothing.",
    Step.UNDEBIT: "Moved {amount} from clearing back to what is set aside.",
    Step.UNRESERVE: "Gave the payer back the {amount} that was set aside.",
}
RULED_WORDS: Final = {
    Step.CREDIT: "Two people ruled that the payment rail paid: {amount} is with {beneficiary}.",
    Step.REJECT: "Two people ruled that the payment rail did not pay.",
    Step.RECALLED: "Two people ruled that the payment rail took it back.",
    Step.GIVE_BACK: "Two people ruled that it was not taken back: in the books {beneficiary} has the {amount} again.",
    Step.PART_RECALLED: "Two people ruled that that part was taken back: the payer has it again.",
    Step.REST_RECALLED: "Two people ruled that the rest was taken back: the payer has the {amount} again.",
    Step.GIVE_BACK_PART: "Two people ruled that that part was not taken back: in the books {beneficiary} has it again.",
}
"""Steps that people have ruled, where the rail could not say any more."""
REASON_WORDS: Final = {
    Reason.OUT_OF_ORDER: "a later record took the decision back before it was heard",
    Reason.ACCOUNT_NOT_OPEN: "the payer's account is not open in this currency",
    Reason.INSUFFICIENT_FUNDS: "the payer's account does not have the money",
    Reason.RAIL_REFUSED: "the payment rail refused it",
    Reason.BENEFICIARY_FUNDS_GONE: "the beneficiary no longer has the money",
    Reason.RECALL_REFUSED: "the payment rail refused to take it back",
    Reason.PARTLY_RECALLED: "the beneficiary had only a part of the money, which is back",
    Reason.PART_RECALL_REFUSED: "the payment rail refused to take the part back that was there",
    Reason.RULED_NOT_MADE: "two people ruled that it was never made, so it may be made under another id",
    Reason.RULED_RECALLED: "two people ruled that it was taken back, so it may be made under another id",
    Reason.RULED_REST_RECALLED: "two people ruled that it was taken back, so it may be made under another id",
}
CAUSE_WORDS: Final = {
    Cause.DECIDED_ALLOW: "the decision to ALLOW",
    Cause.DECIDED_ESCALATE: "the decision to ESCALATE",
    Cause.DECIDED_BLOCK: "the decision to BLOCK",
    Cause.REVIEWED_ALLOW: "the review's ALLOW",
    Cause.REVIEWED_BLOCK: "the review's BLOCK",
    Cause.REVERSED_TO_ALLOW: "the reversal to ALLOW",
    Cause.REVERSED_TO_ESCALATE: "the reversal to ESCALATE",
    Cause.REVERSED_TO_BLOCK: "the reversal to BLOCK",
    Cause.REVERSED_TO_NOTHING: "the reversal that gives the payment back to be decided anew",
}
IGNORED_WORDS: Final = {
    Ignored.DUPLICATE: "it was heard before",
    Ignored.NO_DECISION: "no decision about the payment had been heard",
    Ignored.ALREADY_DECIDED: "the payment was decided already",
    Ignored.OTHER_DECISION: "the payment is executed as an earlier decision says",
    Ignored.ALREADY_RELEASED: "the payment goes on under another id",
    Ignored.ELSEWHERE: "it did not stand behind its decision in the same partition",
    Ignored.OVERTAKEN: "what it was to replace was not, or no longer, in force",
    Ignored.NOT_HELD: "the payment was not held any more",
    Ignored.OTHER_ROUND: "no such round of review was open",
}
DISPOSITION_WORDS: Final = {
    Disposition.NOT_EXECUTED: "its payment is executed as another decision says, so it is left",
    Disposition.UNSETTLED: "its payment was under way or in doubt, so it is left",
    Disposition.RECOVERING: "a person sees to money that was had back in part, so it is left",
    Disposition.NOT_MADE: "its payment failed for another reason than the decision, so it is left",
    Disposition.GIVEN_BACK: "an earlier reversal gave it back, so it is left",
    Disposition.REVIEWED: "a person decided, so it is left",
    Disposition.UNDECIDABLE: "it can't be decided again, so it is left",
    Disposition.UNCHANGED: "it would be decided the same, so it is left",
    Disposition.REVERSE: "{before} is to be reversed to {after}",
    Disposition.RELEASE: "the payment is to be given back, {before} no more, and decided anew",
}
_RAIL_SAYS: Final = frozenset(step for step in ANSWERED.values() if step is not None)


def moments(explained: Explanation, life: Life | NotShown) -> Iterator[Moment]:
    """Everything that is recorded, in no order; `pipeline.explain.timeline.timeline` gives it one."""
    yield from strung(Thread.DECISION, "", _decision(explained))
    if isinstance(life, NotShown):
        return
    for audited in life.audited:
        place = f"{audited.row.partition:06}:{audited.row.offset:020}"
        yield from strung(Thread.AUDIT, place, _audited(audited))
    yield from _cases(explained.decision.decision_id, life)
    yield from _rollbacks(life)
    yield from strung(Thread.EXECUTION, "", _execution(explained, life))
    yield from _released(life)


def _decision(explained: Explanation) -> Iterator[Moment]:
    decision = explained.decision
    payment = decision.snapshot.transaction
    what = f"{payment.account_id} asked to pay {amount_text(payment)} to {payment.beneficiary_account_id}."
    yield Moment(
        payment.event_time_ms, "PAYMENT_MADE", what, f"account {payment.account_id}", f"channel {payment.channel}"
    )
    source = f"transactions.v1 {decision.source_partition}:{decision.source_offset}"
    yield Moment(decision.source_timestamp_ms, "PUBLISHED", "The payment was published.", "payment systems", source)
    by = f"{decider(decision)}, in {decision.agent_id}"
    where = f"decisions.v1 {explained.partition}:{explained.offset}"
    said = f"Decided {decision.outcome}, {percent_of_bp(decision.confidence_bp)} sure. {decision.summary}"
    yield Moment(decision.decided_at_ms, "DECIDED", said, by, where)


def decider(decision: Decision) -> str:
    """Who answered."""
    policy = f"policy {decision.policy_version}"
    match decision.route:
        case Route.MODEL:
            return f"model {decision.model_version} under {policy}"
        case Route.FALLBACK:
            return f"the fallback rules of {policy}"
        case Route.GUARDRAIL:
            return f"a hard guardrail of {policy}"


class _Filed(NamedTuple):
    """Which table of the audit log keeps a record, and what the record is called."""

    table: str
    name: str


def _filed(content: DecisionRecord) -> _Filed:
    match content:
        case Decision():
            return _Filed("audit.ai_decision_log", "decision")
        case Reversal():
            return _Filed("audit.reversal_log", "reversal")
        case ReviewOutcome():
            return _Filed("audit.review_log", "review's outcome")


def record_name(content: DecisionRecord) -> str:
    """The name that people use for it."""
    return _filed(content).name


def _audited(audited: Audited) -> Iterator[Moment]:
    table, name = _filed(audited.content)
    where = f"{table}, decisions.v1 {audited.row.partition}:{audited.row.offset}"
    what = f"The {name} was put into the audit log, leaf {audited.row.leaf.hex()[:16]}…"
    yield Moment(audited.row.recorded_at_us // 1000, "AUDITED", what, AUDIT, where)
    if audited.cover is not None:
        head = audited.cover.head
        what = f"The {name} was covered by a signed head, over the partition's first {records(head.tree_size)}."
        signed = f"anchors.v1, partition {head.partition}, tree size {head.tree_size}"
        yield Moment(head.anchored_at_ms, "ANCHORED", what, f"{AUDIT}, key {audited.cover.key_id}", signed)


def records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"


def _cases(decision_id: DecisionId, life: Life) -> Iterator[Moment]:
    rounds = sorted({row.round for row in life.rows.cases})
    for number in rounds:
        rows = [row for row in life.rows.cases if row.round == number]
        yield from strung(Thread.REVIEW, f"{number:06}", map(_case_moment, rows))
    kept = {review_id(decision_id, number) for number in rounds}
    for audited, review in life.reviews:
        if review.review_id not in kept:  # the cases are gone, or never were here: the record still says it
            yield from strung(Thread.REVIEW, review.review_id, [_reviewed(audited, review)])


def _reviewed(audited: Audited, review: ReviewOutcome) -> Moment:
    by = " and ".join(name for name in (review.reviewed_by, review.second_reviewer) if name)
    where = f"decisions.v1 {audited.row.partition}:{audited.row.offset}"
    return Moment(review.reviewed_at_ms, "REVIEWED", f"Decided {review.outcome}: {review.reason}", by, where)


def _case_moment(row: CaseRow) -> Moment:
    where = f"review.case_event, round {row.round}, event {row.sequence}"
    return Moment(row.at_ms, f"CASE_{row.kind}", _case_words(row), row.actor, where)


def _case_words(row: CaseRow) -> str:
    match Kind(row.kind):
        case Kind.OPENED:
            return f"Opened a case for people to decide, until {utc_text(row.expires_at_ms)}."
        case Kind.CLAIMED:
            return f"Claimed the case until {utc_text(row.claimed_until_ms or row.at_ms)}."
        case Kind.RELEASED:
            return "Gave the case back."
        case Kind.PROPOSED:
            return f"Proposed {row.outcome}, for a second person to confirm: {row.reason}"
        case Kind.DECLINED:
            return f"Declined what was proposed, for {row.outcome}: {row.reason}"
        case Kind.DECIDED:
            return f"Decided {row.outcome}: {row.reason}"
        case Kind.EXPIRED:
            return f"Nobody had decided in time, so the case expired to {row.outcome}: {row.reason}"
        case Kind.WITHDRAWN:
            return f"Withdrew the case: {row.reason}"
        case Kind.VOIDED:
            return f"Opened the case again: {row.reason}"
        case Kind.PUBLISHED:
            return "Found the outcome on decisions.v1, which ends the case."


def _rollbacks(life: Life) -> Iterator[Moment]:
    heard = {cause.cause_id: cause.caused_at_ms for cause in life.rows.causes}
    written = {reversal.plan_id: _reversal(audited, reversal, heard) for audited, reversal in life.reversals}
    planned = set()
    for plan in life.rows.plans:
        planned.add(plan.plan_id)
        yield from strung(Thread.ROLLBACK, plan.plan_id, _plan(plan, written.get(plan.plan_id)))
    for plan_id, reversed_then in written.items():
        if plan_id not in planned:
            yield from strung(Thread.ROLLBACK, plan_id, [reversed_then])


def _plan(plan: PlanRow, reversed_then: Moment | None) -> Iterator[Moment]:
    where = f"control.rollback_plan {plan.plan_id}"
    yield Moment(plan.requested_at_ms, "ROLLBACK_PLANNED", _plan_words(plan), plan.requested_by, where)
    if plan.approved_by is not None and plan.approved_at_ms is not None:
        what = "Approved the plan, as another person than who made it."
        yield Moment(plan.approved_at_ms, "ROLLBACK_APPROVED", what, plan.approved_by, where)
    if plan.started_by is not None and plan.started_at_ms is not None:
        yield Moment(plan.started_at_ms, "ROLLBACK_STARTED", "Began to carry the plan out.", plan.started_by, where)
    if reversed_then is not None:
        yield reversed_then
    yield from _completion(plan)


def _completion(plan: PlanRow) -> Iterator[Moment]:
    """How far the plan is carried out, by the reversals that the audit log has; what the row of its progress says of
    that is told only where it is otherwise. What the ledger did stands among the steps."""
    planned = count_text(plan.changing, "planned reversal")
    counted = f"{plan.reversals:,} of {planned} on decisions.v1, by the audit log"
    if plan.reversed_at_ms is not None and plan.reversals == plan.changing:
        taken_back = count_text(plan.reversals, "decision")
        what = f"All of the plan stands on decisions.v1, by the audit log: reversals of {taken_back}."
        yield Moment(plan.reversed_at_ms, "ROLLBACK_COMPLETED", what, AUDIT, "audit.reversal_log")
    elif plan.reversed_at_ms is not None and plan.completed_at_ms is None:
        yield Moment(plan.reversed_at_ms, "ROLLBACK_UNDER_WAY", f"{counted}.", AUDIT, "audit.reversal_log")
    elif plan.completed_by is not None and plan.completed_at_ms is not None and plan.changing:
        what = f"Said that the plan is carried out, which is not proved: {counted}."
        where = f"control.rollback_progress {plan.plan_id}"
        yield Moment(plan.completed_at_ms, "ROLLBACK_UNPROVED", what, plan.completed_by, where)


def _plan_words(plan: PlanRow) -> str:
    disposition = Disposition(plan.disposition)
    what = DISPOSITION_WORDS[disposition].format(before=plan.before, after=plan.after)
    regime = regime_words(plan.good_model_version, plan.good_policy_version, plan.good_feeds)
    why = f" Under {regime}: {plan.why}" if plan.why else ""
    return f"Looked at the decision in a rollback plan, because {plan.reason.rstrip('.')}: {what}.{why}"


def _reversal(audited: Audited, reversal: Reversal, heard: dict[str, int]) -> Moment:
    """At the time of its record, where the execution service has noted that; else of its approval."""
    after = reversal.corrected_outcome
    to = "to be decided anew" if after is None else f"to {after}"
    what = f"Took the decision back, {reversal.reversed_outcome} {to}: {reversal.reason}"
    by = f"{reversal.requested_by}, approved by {reversal.approved_by}"
    where = f"decisions.v1 {audited.row.partition}:{audited.row.offset}"
    at_ms = heard.get(reversal.reversal_id) or reversal.reversed_at_ms
    return Moment(at_ms, "REVERSED", what, by, where)


def _execution(explained: Explanation, life: Life) -> Iterator[Moment]:
    execution = life.rows.execution
    if execution is None:
        return
    yield _heard(execution, explained.decision.decision_id)
    causes, taken = list(life.rows.causes), Counter[str]()
    moved = {(row.step, row.attempt): row for row in life.rows.postings}
    for step in life.rows.steps:
        while causes and causes[0].after_sequence < step.sequence:
            yield _cause(causes.pop(0))
        taken[step.step] += 1
        yield _step(explained, execution, step, taken)
        posting = moved.pop((step.step, taken[step.step]), None)
        if posting is not None:
            yield _posting(posting)
    yield from map(_cause, causes)
    yield from map(_posting, moved.values())  # none: the ledger's own checks look for that


def _heard(row: ExecutionRow, decision_id: str) -> Moment:
    earlier = "" if row.decision_id == decision_id else f" (of an earlier decision on it, {row.decision_id})"
    what = f"Heard {CAUSE_WORDS[Cause(row.cause)]}{earlier}, and set out to {row.aim}."
    return Moment(row.recorded_at_ms, "HEARD", what, EXECUTOR, f"ledger.execution {row.execution_id}")


def _cause(row: CauseRow) -> Moment:
    words = CAUSE_WORDS[Cause(row.cause)]
    where = f"ledger.cause {row.cause_id}"
    if row.ignored is None:
        return Moment(row.recorded_at_ms, "HEARD", f"Heard {words}.", EXECUTOR, where)
    what = f"Heard {words}, which changed nothing: {IGNORED_WORDS[Ignored(row.ignored)]}."
    return Moment(row.recorded_at_ms, "HEARD_IGNORED", what, EXECUTOR, where)


_ORIGIN: Final = {
    "DECISION": f"{EXECUTOR}, on the decision",
    "REVIEW": f"{EXECUTOR}, on the review",
    "REVERSAL": f"{EXECUTOR}, on the reversal",
    "RAIL": f"{EXECUTOR}, on the rail's answer",
    "RESTORE": f"{EXECUTOR}, catching up with the rail after a restore",
    RULING: f"{EXECUTOR}, on two people's ruling",
}


def _step(explained: Explanation, execution: ExecutionRow, row: StepRow, taken: Counter[str]) -> Moment:
    step = Step(row.step)
    is_ruled = row.cause == RULING
    said = RULED_WORDS.get(step) if is_ruled else None
    words = (said or STEP_WORDS[step]).format(
        amount=money_text(execution.amount_minor, execution.currency),
        beneficiary=explained.decision.snapshot.transaction.beneficiary_account_id,
        rail_key=posting_id(execution.execution_id, Step.SUBMIT, max(taken[Step.SUBMIT], 1)),
    )
    if row.reason is not None:
        words = f"{words.removesuffix('.')}: {REASON_WORDS[Reason(row.reason)]}."
    by = RAIL if step in _RAIL_SAYS and not is_ruled else _ORIGIN[row.cause]
    where = f"ledger.transition {row.sequence}, {row.before} to {row.after}"
    return Moment(row.recorded_at_ms, f"STEP_{step}", words, by, where)


def _posting(row: PostingRow) -> Moment:
    money = Money(row.source_account_id, row.destination_account_id, row.amount_minor, row.currency)
    undone = "" if row.reverses is None else f", which undoes posting {row.reverses}"
    amount = money_text(row.amount_minor, row.currency)
    what = f"Posted {amount} from {row.source_account_id} to {row.destination_account_id}{undone}."
    return Moment(row.recorded_at_ms, "POSTED", what, EXECUTOR, f"ledger.posting {row.posting_id}", money)


def _released(life: Life) -> Iterator[Moment]:
    """The same payment under its other ids."""
    for other, word in ((life.rows.released_from, "before"), (life.rows.released_as, "after")):
        if other is not None:
            state = "" if other.state is None else f" It stands as {other.state}."
            name = "an earlier" if word == "before" else "its new"
            what = f"The payment was decided under {name} id, {other.transaction_id}: {other.outcome}. {other.summary}"
            where = f"audit.ai_decision_log {other.decision_id}"
            moment = Moment(other.decided_at_ms, f"DECIDED_{word.upper()}", f"{what}{state}", "decision worker", where)
            yield from strung(Thread.DECISION, word, [moment])
