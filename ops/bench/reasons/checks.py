"""Each check looks for one kind of reason that may not be, and yields a sentence for each that a decision has.

The kinds are those that were seen in decisions once. A check reads what a decision records, its facts and its texts,
and the policy and model that it names; it does not ask the code that made the words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from models.artefact.scoring import Scores
from ops.bench.reasons.quantities import MONEY, Quantity, comparisons, is_checkable
from pipeline.decide.policy import rules_of
from pipeline.decide.policy_rules import AMOUNT, CONFIDENCE, Condition, PolicyRule
from pipeline.decide.verdict import Regime
from pipeline.domain.decision import Decision, Outcome, Reason, Route, Silence
from pipeline.domain.features import COLUMN, NONE
from pipeline.domain.money import money_text, pounds_text

SURE: Final = ("MODEL_SURE_HONEST", "MODEL_SURE_FRAUD")
NEAREST: Final = "NEAREST_"
NO_RULE: Final = "FALLBACK_NO_RULE"
MINUTES: Final = frozenset({"local_minute_of_day", "logged_minute_of_day"})
_STRICT: Final = {Outcome.ALLOW: 0, Outcome.ESCALATE: 1, Outcome.BLOCK: 2}


class Seen(NamedTuple):
    """A decision, and what it is held against.

    scores: the model's of its features, None where no model answered. customer: the text fit to be sent.
    """

    decision: Decision
    in_force: Regime
    rules: Mapping[str, PolicyRule]
    scores: Scores | None
    customer: str | None

    def value(self, feature: str) -> int:
        """Return the observed value of a feature, or NONE where there is no such feature."""
        return self.decision.snapshot.features[COLUMN[feature]] if feature in COLUMN else NONE

    def texts(self) -> Iterator[str]:
        yield self.decision.summary
        for reason in self.decision.reasons:
            yield reason.text


Check = Callable[[Seen], Iterator[str]]


def rules_by_code(in_force: Regime) -> dict[str, PolicyRule]:
    return {rule.code: rule for rule in rules_of(in_force.policy)}


def _rule_of(reason: Reason, seen: Seen) -> PolicyRule | None:
    return seen.rules.get(reason.code.removeprefix(NEAREST))


def _model_features(reason: Reason) -> tuple[str, ...]:
    """The features of a model's term that a reason tells."""
    if reason.code in SURE or not reason.code.startswith("MODEL_") or reason.code in tuple(Silence):
        return ()
    names = reason.code.removeprefix("MODEL_").split("_AND_")
    return tuple(name.lower() for name in names)


_ABSENT: Final = re.compile(
    r"\bis not known\b|\bwas not looked up\b|\bno normal month yet\b|\bto compare with\b|\bno IP address is given\b"
    r"|\bno device is given\b|\bnobody says when\b|\bno exchange rate\b|\bhas no payments in the checked\b"
    r"|\bthe first payment that\b|\bwhen it was made$|\battempted no payment in\b|\bnot one that the policy knows\b"
)


def absent_or_unknown(seen: Seen) -> Iterator[str]:
    """Nothing that is missing is a reason, unless a rule says that it counts."""
    for reason in seen.decision.reasons:
        if reason.code in tuple(Silence):
            continue
        rule = _rule_of(reason, seen)
        counts = rule is not None and not reason.code.startswith(NEAREST) and _holds_for_missing(rule, seen)
        is_missing = reason.observed < 0 or _ABSENT.search(reason.text) or _is_of_missing(reason, seen)
        if not counts and reason.code != NO_RULE and is_missing:
            yield f"{reason.code}: {reason.text}"


def _is_of_missing(reason: Reason, seen: Seen) -> bool:
    """Whether a term had a share in it of a feature that is missing, and typically isn't."""
    typical = {} if seen.in_force.model is None else seen.in_force.model.typical
    return any(seen.value(name) < 0 <= typical.get(name, NONE) for name in _model_features(reason))


def _holds_for_missing(rule: PolicyRule, seen: Seen) -> bool:
    return any(
        (seen.value(each.feature) == NONE and each.holds_when_none)
        or (seen.value(each.feature) < NONE and each.holds_when_unknown)
        for each in rule.when
        if each.feature != CONFIDENCE
    )


def echo_of_the_amount(seen: Seen) -> Iterator[str]:
    """The payment's own amount is a reason only where a rule compared it with a limit."""
    amounts = {pounds_text(seen.value(AMOUNT)), _own_text(seen.decision)}
    for reason in seen.decision.reasons:
        if _rule_of(reason, seen) is not None:
            continue
        told = re.sub(r"\(typically [^)]*\)|\([^)]* is typical\)|the typical \S+( [\d,.]+)?", "", reason.text)
        if amounts & set(MONEY.findall(told)):
            yield f"{reason.code}: {reason.text}"


def _own_text(decision: Decision) -> str:
    payment = decision.snapshot.transaction
    return money_text(payment.amount_minor, payment.currency)


_CLAUSES: Final = re.compile(r"; and |, and |; |, (?=the |no )| and (?=the |no |nobody )")


def a_fact_twice(seen: Seen) -> Iterator[str]:
    """Neither a sentence nor the reasons say a thing twice."""
    texts = [reason.text for reason in seen.decision.reasons]
    for clauses in (_clauses(seen.decision.summary), [each for text in texts for each in _clauses(text)]):
        for clause, number in Counter(clauses).items():
            if number > 1:
                yield f"{number} times: {clause}"
    for code, number in Counter(reason.code for reason in seen.decision.reasons).items():
        if number > 1:
            yield f"{number} times {code}"


def _clauses(text: str) -> list[str]:
    """Facts of which a text consists, without limits and what is typical, which differ from one saying to the next."""
    text = text.replace(", and counts as the worst", "")
    _, _, after = text.partition(" because ")
    whole = re.sub(r" \((?:typically|from|up to)[^)]*\)| \([^)]* is typical\)", "", (after or text).rstrip("."))
    return [clause for clause in _CLAUSES.split(whole) if len(clause.split()) > 3]


_WINDOW: Final = re.compile(r"(?P<measure>.+)_(?P<span>\d+[hd])", re.ASCII)
_COUNTED_BY: Final = {
    "account_sum_minor": "account_count",
    "account_average_minor": "account_count",
    "beneficiary_senders": "beneficiary_count",
    "beneficiary_frauds": "beneficiary_labelled",
    "beneficiary_risk_ppm": "beneficiary_labelled",
}
"""Each of these measures is of the payments that another one counts; measures that aren't here count their own."""


def the_same_payments_twice(seen: Seen) -> Iterator[str]:
    """A measure over two windows that hold the same payments is one fact."""
    told: dict[tuple[str, int], str] = {}
    for reason in seen.decision.reasons:
        names = _model_features(reason)
        found = _WINDOW.fullmatch(names[0]) if len(names) == 1 else None
        if found is None:
            continue
        count = seen.value(f"{_COUNTED_BY.get(found['measure'], found['measure'])}_{found['span']}")
        first = told.setdefault((found["measure"], count), reason.text)
        if first != reason.text and count >= 0:
            yield f"{reason.text}, beside: {first}"


def against_the_outcome(seen: Seen) -> Iterator[str]:
    """Every reason speaks for the outcome, the first one before all."""
    outcome = seen.decision.outcome
    for place, reason in enumerate(seen.decision.reasons):
        micro = reason.contribution_micro
        if micro is not None and (micro >= 0 if outcome is Outcome.ALLOW else micro <= 0):
            yield f"reason {place + 1} of {outcome} contributes {micro:+,}: {reason.text}"
        rule = None if reason.code.startswith(NEAREST) else _rule_of(reason, seen)
        if rule is not None and place == 0 and _STRICT[Outcome(rule.outcome)] != _STRICT[outcome]:
            yield f"the first reason of {outcome} is {reason.code}, which would {rule.outcome}"
        if reason.code.startswith(NEAREST) and outcome is not Outcome.ALLOW:
            yield f"a rule that did not apply is a reason of {outcome}: {reason.text}"


def first_reason_leads(seen: Seen) -> Iterator[str]:
    """A model's ALLOW says how sure it is, a fallback's names its nearest rule; else a rule or the model's facts."""
    first, decision = seen.decision.reasons[0], seen.decision
    match decision.outcome, decision.route:
        case Outcome.ALLOW, Route.MODEL:
            is_good = first.code == "MODEL_SURE_HONEST"
        case Outcome.ALLOW, _:
            is_good = first.code.startswith(NEAREST) or first.code == NO_RULE
        case Outcome.BLOCK, Route.MODEL:
            is_good = first.contribution_micro is not None
        case _:
            is_good = first.code in decision.rules_triggered
    if not is_good:
        yield f"{decision.outcome} by {decision.route} leads with {first.code}: {first.text}"


_TYPICAL: Final = re.compile(r"(?P<told>[^()]*)\((?:typically (?P<after>[^)]*)|(?P<before>[^)]*) is typical)\)")


def equal_to_the_typical(seen: Seen) -> Iterator[str]:
    """A value that is as it typically is, in numbers or in words, says nothing."""
    for reason in seen.decision.reasons:
        if reason.contribution_micro is not None and reason.observed == reason.limit:
            yield f"{reason.code}: {reason.observed} is typical: {reason.text}"
        for found in _TYPICAL.finditer(reason.text):
            typical = found["after"] or found["before"]
            if re.search(rf"(?<![\d,.]){re.escape(typical)}(?![\d,])", found["told"]):
                yield f"{reason.code}: {reason.text}"


def uncheckable_comparison(seen: Seen) -> Iterator[str]:
    """Value, limit and difference are in one unit and on one basis, and agree, in the text and in the numbers."""
    for text in seen.texts():
        for each in comparisons(text):
            if not is_checkable(each):
                yield f"{_told(each.value)}, {_told(each.gap)} {each.way} {_told(each.limit)}: {text}"
    for reason in seen.decision.reasons:
        observed, limit, excess = reason.observed, reason.limit, reason.excess
        if excess is not None and (limit is None or excess != observed - limit):
            yield f"{reason.code}: {observed} is not {excess:+} from {limit}"


def _told(quantity: Quantity | None) -> str:
    return "nothing" if quantity is None else f"{quantity.number} {quantity.unit}"


def rounded_to_the_limit(seen: Seen) -> Iterator[str]:
    """Rounding never makes a value read as its limit where there is a difference."""
    for text in seen.texts():
        for each in comparisons(text):
            if each.value == each.limit and each.gap.number:
                yield text


def money_of_another_currency(seen: Seen) -> Iterator[str]:
    """The payment's amount is told in its own currency; what it is worth in pounds stands beside it, never alone."""
    payment, own = seen.decision.snapshot.transaction, _own_text(seen.decision)
    if payment.currency == "GBP":
        return
    worth = f"the payment is {pounds_text(seen.value(AMOUNT))}"
    for text in seen.texts():
        if worth in text or re.search(r"the payment is £", text):
            yield f"{own} is told as pounds: {text}"


_MADE: Final = re.compile(r"payments\b[^.;]*?\b(?:come to|are [\d,]+ %|is £)")
_HOW: Final = re.compile(r"\b(?:attempt|complet|turned out|labelled|fraudulent)")


def payments_that_were_not_made(seen: Seen) -> Iterator[str]:
    """A sum of payments says which it adds up: one that was attempted has not been made."""
    for text in seen.texts():
        for clause in _clauses(text):
            if _MADE.search(clause) and not _HOW.search(clause):
                yield clause


_SHARE: Final = re.compile(r"(?:% (?:of|above)|times) (?:the average|its normal month)")


def share_of_a_first_payment(seen: Seen) -> Iterator[str]:
    """Of an account's first payment in 30 days there is no share of a month or of an average, unless a rule asks it."""
    if seen.value("account_count_30d") != 1:
        return
    for reason in seen.decision.reasons:
        if (_rule_of(reason, seen) is None or reason.code.startswith(NEAREST)) and _SHARE.search(reason.text):
            yield f"{reason.code}: {reason.text}"


def hours_that_are_not_named(seen: Seen) -> Iterator[str]:
    """A rule about the time of day says which hours."""
    for reason in seen.decision.reasons:
        rule = _rule_of(reason, seen)
        for condition in () if rule is None else rule.when:
            if condition.feature in MINUTES and _is_told(condition, reason, seen):
                first, last = (_clock(each) for each in (condition.low, min(condition.high, 1439)))
                if first not in reason.text or not (last in reason.text or _clock(condition.high + 1) in reason.text):
                    yield f"{reason.code}: {reason.text}"


def _is_told(condition: Condition, reason: Reason, seen: Seen) -> bool:
    return not reason.code.startswith(NEAREST) or _clock(seen.value(condition.feature)) in reason.text


def _clock(minute: int) -> str:
    return f"{minute // 60 % 24:02d}:{minute % 60:02d}" if minute >= 0 else ""


_NO_TIME: Final = re.compile(r"(?<![\d,.])0 (?:seconds|minutes|hours|days)\b")


def no_time_at_all(seen: Seen) -> Iterator[str]:
    """No payment was attempted 0 seconds before another: a late one is taken for as late as the last."""
    for text in seen.texts():
        if _NO_TIME.search(text):
            yield text


def contributions_that_do_not_sum(seen: Seen) -> Iterator[str]:
    """The intercept and the terms' contributions are the score, and those that are reasons are among them."""
    scores, model = seen.scores, seen.in_force.model
    told = [reason for reason in seen.decision.reasons if reason.contribution_micro is not None]
    if scores is None or model is None:
        if told:
            yield f"{len(told)} contributions of a model that did not answer"
        return
    [by_term] = scores.contribution_micro.tolist()
    total = model.intercept_micro + sum(by_term)
    if total != seen.decision.score_micro:
        yield f"they sum to {total:,}, and the score is {seen.decision.score_micro:,}"
    of_code = {
        "MODEL_" + "_AND_".join(name.upper() for name in term.features): micro
        for term, micro in zip(model.terms, by_term, strict=True)
    }
    for reason in told:
        if of_code.get(reason.code) != reason.contribution_micro:
            yield f"{reason.code} is told as {reason.contribution_micro:+,}, and is {of_code.get(reason.code)}"


_GIVEN_AWAY: Final = re.compile(
    r"fraud|limit|threshold|report|sanction|suspi|score|model|rule|guardrail|device|address|velocity|average|risk"
    r"|launder|terror|beneficiar|payee|recipient|account holder|police|alert|confiden|unusual|pattern",
    re.IGNORECASE,
)
_CONTEST: Final = re.compile(r"contest|challenge|think that this is wrong|appeal", re.IGNORECASE)


def customer_text_that_gives_away(seen: Seen) -> Iterator[str]:
    """The text for a customer says how to contest, and nothing that helps a fraudster or tips anybody off."""
    text = seen.customer
    if text is None:
        yield "there is no text for the customer"
        return
    if re.search(r"\d", text):
        yield f"a number: {text}"
    if found := _GIVEN_AWAY.search(text):
        yield f"'{found[0]}': {text}"
    if seen.decision.outcome is not Outcome.ALLOW and not _CONTEST.search(text):
        yield f"no word of how to contest: {text}"


CHECKS: Final[dict[str, Check]] = {
    check.__name__: check
    for check in (
        absent_or_unknown,
        echo_of_the_amount,
        a_fact_twice,
        the_same_payments_twice,
        against_the_outcome,
        first_reason_leads,
        equal_to_the_typical,
        uncheckable_comparison,
        rounded_to_the_limit,
        money_of_another_currency,
        payments_that_were_not_made,
        share_of_a_first_payment,
        hours_that_are_not_named,
        no_time_at_all,
        contributions_that_do_not_sum,
        customer_text_that_gives_away,
    )
}
