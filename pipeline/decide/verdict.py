"""The decision: a pure function of features, model, policy and breaker mode (I3). Feeds speak through features alone.

Invariants
1. Order: hard guardrails, then the route's answer, then soft guardrails. A hard hit is BLOCK; the model isn't asked.
2. Soft guardrails only make ALLOW into ESCALATE; nothing makes a decision more permissive (I4).
3. Row i of the answer depends on row i of the input alone: batches of any size give the same verdicts. Only what a
   broken model costs the rows behind those that it failed on depends on the batch, and the decision records it.
4. Every verdict has a summary and at least one reason (I9).
5. The model is not asked about a row with an UNKNOWN value; the fallback answers it, at least as strictly as it would
   with full knowledge (I4). Neither does a row that the model fails on get any answer but the fallback's.

Confidence is defined here and nowhere else: the calibrated probability that the answer behind the outcome is right.
The model answers BLOCK (the payment is fraud) from the policy's `block_probability_ppm` on, and ALLOW (it is not)
below. So confidence is P(fraud) when the model answered BLOCK and 1 - P(fraud) when it answered ALLOW, also where a
soft guardrail then escalated. A guardrail or a fallback rule states a fact about the payment, not a probability:
its confidence is 1. In ten-thousandths, rounded down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from librt.strings import read_i64_le
from mypy_extensions import i64
from numpy.typing import NDArray

from models.artefact.asking import ask
from models.artefact.scoring import PROBABILITY_PPM_MAX, Column, Model
from pipeline.decide.feeds.feed import HOME_CURRENCY, Feeds
from pipeline.decide.phrases import PHRASES, WORDS_REMEMBERED, fact_of, join, with_typical
from pipeline.decide.policy import Policy, feeds_under
from pipeline.decide.policy_rules import AMOUNT, NO_RULE
from pipeline.decide.rules import Rule, RuleBook, Statement, hits_of, rule_book
from pipeline.domain.decision import BreakerState, Outcome, Reason, Route, Silence
from pipeline.domain.features import COLUMN, FEATURES, NONE, UNKNOWN, Matrix

CONFIDENCE_CERTAIN_BP: Final = 10_000
MODEL_REASONS: Final = 3
"""More than three contributions read as noise; `fraud explain` shows all."""

_AMOUNT: Final = COLUMN[AMOUNT]
_NO_RULES: Final[list[Rule]] = []
_BYTES: Final = 8
"""Bytes that a number takes where a matrix is read as bytes: to take it out of an array costs 0.1 µs, this nothing."""
_VERB: Final = {Outcome.ALLOW: "Allowed", Outcome.BLOCK: "Blocked", Outcome.ESCALATE: "Escalated"}


class Mode(NamedTuple):
    """The breaker's word on one payment: the governing scope, its state, and whether the model may answer."""

    state: BreakerState
    scope: str
    use_model: bool


@dataclass(init=False)
class ModelAnswer:
    """The model's answer about a payment, whatever the route."""

    outcome: Outcome
    fraud_probability_ppm: int
    score_micro: int

    def __init__(self, outcome: Outcome, fraud_probability_ppm: int, score_micro: int) -> None:
        self.outcome, self.fraud_probability_ppm, self.score_micro = outcome, fraud_probability_ppm, score_micro


@dataclass(init=False)
class Verdict:
    outcome: Outcome
    route: Route
    mode: Mode
    confidence_bp: int
    model_answer: ModelAnswer | None  # None where the model was not asked, or failed
    summary: str
    reasons: list[Reason]
    rules_triggered: list[str]
    silence: Silence | None  # why there is no answer of a model that was in force, or would have been asked
    fault: str  # the class of the model's error where it failed just now; no part of the decision

    def __init__(
        self,
        outcome: Outcome,
        route: Route,
        mode: Mode,
        confidence_bp: int,
        model_answer: ModelAnswer | None,
        summary: str,
        reasons: list[Reason],
        rules_triggered: list[str],
        silence: Silence | None = None,
        fault: str = "",
    ) -> None:
        self.outcome, self.route, self.mode, self.confidence_bp = outcome, route, mode, confidence_bp
        self.model_answer, self.summary = model_answer, summary
        self.reasons, self.rules_triggered = reasons, rules_triggered
        self.silence, self.fault = silence, fault


@dataclass(frozen=True, slots=True)
class Regime:
    """The policy, the model and the feeds in force. Without a model that could be loaded the fallback decides.

    feeds: None where the tables of a policy of before there were feeds stand for them.
    """

    policy: Policy
    rules: RuleBook
    model: Model | None
    terms: tuple[_TermView, ...]
    feeds: Feeds | None

    @property
    def currencies(self) -> frozenset[str]:
        """The currencies that an amount can be converted from."""
        if self.feeds is None:
            return self.policy.own_currencies
        rates = self.feeds.exchange_rates
        return frozenset({HOME_CURRENCY}) if rates is None else rates.currencies


def regime(policy: Policy, model: Model | None, feeds: Feeds | None = None) -> Regime:
    """feeds: None for what a policy says itself; where it says nothing, there is no feed, and everything is strict."""
    terms = () if model is None else tuple(_term_views(model))
    return Regime(policy, rule_book(policy), model, terms, feeds_under(policy, feeds))


class _Words:
    """The words about one feature's values: the fact, and the fact beside what is typical."""

    def __init__(self, feature: str, typical: int) -> None:
        self._feature, self._typical = feature, typical
        self._rounded = PHRASES[feature].rounded
        fact = fact_of(feature, typical)
        self._of_typical = fact, fact
        self._known: dict[int, tuple[str, str]] = {}

    def of(self, observed: int) -> tuple[str, str]:
        if observed == self._typical:
            return self._of_typical
        key = observed if self._rounded is None or observed < 0 else self._rounded(observed)
        words = self._known.get(key)
        if words is None:
            fact = fact_of(self._feature, observed)
            words = fact, with_typical(self._feature, fact, observed, self._typical)
            if len(self._known) < WORDS_REMEMBERED:
                self._known[key] = words
        return words


class _TermView:
    """The words about a model's term."""

    def __init__(self, code: str, columns: list[int], words: list[_Words], typical: int) -> None:
        """`columns`, `words`: of the term's features, one or two. `typical`: of the first."""
        self._code, self._typical = code, typical if typical >= 0 else None
        self._first_column, self._first = columns[0], words[0]
        self._second_column, self._second = columns[-1], words[1] if len(words) == 2 else None
        self._known: dict[int, Statement] = {}  # of a term of one feature, whose value decides what it contributes

    def tell(self, values: bytes, start: int, contribution_micro: int, facts: list[str], reasons: list[Reason]) -> None:
        """Adds the term's facts, where they are new, and its reason; the row is `values` from number `start` on."""
        observed = read_i64_le(values, (start + self._first_column) * _BYTES)
        if self._second is None:
            statement = self._known.get(observed)
            if statement is None:
                fact, text = self._first.of(observed)
                statement = Statement((fact,), self._reason(text, observed, contribution_micro))
                if len(self._known) < WORDS_REMEMBERED:
                    self._known[observed] = statement
            _add(facts, statement.facts[0])
            reasons.append(statement.reason)
        else:
            fact, text = self._first.of(observed)
            second = read_i64_le(values, (start + self._second_column) * _BYTES)
            second_fact, second_text = self._second.of(second)
            _add(facts, fact)
            _add(facts, second_fact)
            reasons.append(self._reason(f"{text} and {second_text}", observed, contribution_micro))

    def _reason(self, text: str, observed: int, contribution_micro: int) -> Reason:
        excess = None if self._typical is None or observed < 0 else observed - self._typical
        return Reason(self._code, text, observed, self._typical, excess, contribution_micro)


def _add(facts: list[str], fact: str) -> None:
    if fact not in facts:
        facts.append(fact)


def _term_views(model: Model) -> Iterator[_TermView]:
    words = {name: _Words(name, typical) for name, typical in model.typical.items()}
    for term in model.terms:
        code = "MODEL_" + "_AND_".join(name.upper() for name in term.features)
        columns = [COLUMN[name] for name in term.features]
        yield _TermView(code, columns, [words[name] for name in term.features], model.typical[term.features[0]])


def decide(features: Matrix, modes: Sequence[Mode], in_force: Regime, *, failed: Collection[int] = ()) -> list[Verdict]:
    """One verdict a row. `features` is (n, len(FEATURES)) int64; `modes` has n entries.

    `failed` are rows that the model is recorded to have failed on: it isn't asked again.
    """
    return list(verdicts_of(features, modes, in_force, failed=failed))


def verdicts_of(
    features: Matrix, modes: Sequence[Mode], in_force: Regime, *, failed: Collection[int] = ()
) -> Iterator[Verdict]:
    """`decide`, a row at a time. What numpy does is done for all rows at the first: rules and scores, a quarter."""
    rules = in_force.rules
    hard = hits_of(rules.hard, features)
    silent = _silent(features, failed if in_force.model is not None else ())
    asked = [row for row in range(len(modes)) if row not in hard and row not in silent]
    answers = _Answers(features, asked, in_force) if in_force.model is not None else None
    if answers is not None:
        silent.update(answers.failed)
    soft = hits_of(rules.soft, _with_confidence(features, answers))
    fallback = hits_of(rules.fallback, features) if answers is None or silent or _any_fallback(modes) else {}
    for row, mode in enumerate(modes):
        silence = silent.get(row)
        if row in hard:
            yield _guardrail_verdict(features[row], mode, hard[row])
        elif answers is not None and mode.use_model and silence is None:
            yield answers.verdict(row, mode, soft.get(row, _NO_RULES))
        else:
            softened = soft.get(row, _NO_RULES)
            shadow = answers.shadow(row, softened) if answers is not None and silence is None else None
            yield _fallback_verdict(features[row], mode, fallback.get(row, _NO_RULES), softened, shadow, silence)


class _Silent(NamedTuple):
    """Why the model gives no answer about a row."""

    why: Silence
    fault: str


def _silent(features: Matrix, failed: Collection[int]) -> dict[int, _Silent]:
    """The rows that the model isn't asked about: with a value that is UNKNOWN, or recorded as failed."""
    silent = dict.fromkeys(failed, _Silent(Silence.FAILED, ""))
    unknown = np.flatnonzero((features == UNKNOWN).any(axis=1)).tolist()
    silent.update(dict.fromkeys(unknown, _Silent(Silence.NOT_ASKED, "")))
    return silent


def _any_fallback(modes: Sequence[Mode]) -> bool:
    return not all(mode.use_model for mode in modes)


def _with_confidence(features: Matrix, answers: _Answers | None) -> Matrix:
    """Rows as soft rules read them: the features, and how sure a model that would allow is; NONE where none would.

    A missing confidence meets no condition.
    """
    confidence_bp = np.full(len(features), NONE, dtype=np.int64)
    if answers is not None:
        confidence_bp[answers.rows] = answers.allowing_bp
    return np.column_stack((features, confidence_bp))


class _Answers:
    """The model's answers for the rows that it was asked about and did not fail on."""

    def __init__(self, features: Matrix, asked: list[int], in_force: Regime) -> None:
        assert in_force.model is not None
        self._features, self._terms = features, in_force.terms
        self._values, self._width = features.astype("<i8").tobytes(), len(COLUMN)
        answered, scores, failed = ask(in_force.model, features if len(asked) == len(features) else features[asked])
        self.rows = [asked[place] for place in answered.tolist()]
        self.failed = {asked[place]: _Silent(Silence.FAILED, fault) for place, fault in failed.items()}
        self._position = {row: position for position, row in enumerate(self.rows)}
        is_fraud = scores.fraud_probability_ppm >= in_force.policy.model.block_probability_ppm
        confidence_bp = _confidence_bp(scores.fraud_probability_ppm, is_fraud)
        self.allowing_bp = np.where(is_fraud, NONE, confidence_bp)
        self._is_fraud: list[bool] = is_fraud.tolist()
        self._confidence_bp: list[int] = confidence_bp.tolist()
        self._probability_ppm: list[int] = scores.fraud_probability_ppm.tolist()
        self._score_micro: list[int] = scores.score_micro.tolist()
        self._contributions = scores.contribution_micro.astype("<i8").tobytes()  # a row each

    def shadow(self, row: int, soft: list[Rule]) -> ModelAnswer:
        """The answer that the model would have given about a row that the fallback decides."""
        return self._answer(self._position[row], soft)

    def verdict(self, row: int, mode: Mode, soft: list[Rule]) -> Verdict:
        position = self._position[row]
        answer = self._answer(position, soft)
        outcome, confidence_bp = answer.outcome, self._confidence_bp[position]
        facts: list[str] = []
        reasons: list[Reason] = []
        triggered: list[str] = []
        if outcome is Outcome.ESCALATE:
            asked_of = np.append(self._features[row], confidence_bp)
            for rule in soft:
                statement = rule.statement(asked_of)
                for fact in statement.facts:
                    _add(facts, fact)
                reasons.append(statement.reason)
                triggered.append(rule.code)
        self._model_reasons(row, position, facts, reasons, is_lowering=outcome is Outcome.ALLOW)
        summary = f"{_VERB[outcome]} because {join(facts)}."
        return Verdict(outcome, Route.MODEL, mode, confidence_bp, answer, summary, reasons, triggered)

    def _answer(self, position: int, soft: list[Rule]) -> ModelAnswer:
        """`soft` are the soft rules that the row meets; they make an ALLOW an ESCALATE."""
        allowed = Outcome.ESCALATE if soft else Outcome.ALLOW
        outcome = Outcome.BLOCK if self._is_fraud[position] else allowed
        return ModelAnswer(outcome, self._probability_ppm[position], self._score_micro[position])

    def _model_reasons(
        self, row: int, position: int, facts: list[str], reasons: list[Reason], *, is_lowering: bool
    ) -> None:
        """Adds up to MODEL_REASONS of the terms that moved the score most in the outcome's direction; at least one."""
        start, terms = row * self._width, self._terms
        strongest = _strongest(self._contributions, position, len(terms), is_lowering)
        for rank, term in enumerate(strongest):
            signed_micro = read_i64_le(self._contributions, (position * len(terms) + term) * _BYTES)
            if rank > 0 and (signed_micro >= 0 if is_lowering else signed_micro <= 0):
                return
            terms[term].tell(self._values, start, signed_micro, facts, reasons)


def _strongest(contributions: bytes, row: i64, terms: i64, is_lowering: bool) -> list[int]:
    """The MODEL_REASONS terms that moved the row's score most, up or down, strongest first.

    Equal contributions are named in the model's order.
    """
    kept: list[int] = []
    start: i64 = row * terms
    sign: i64 = 1 if is_lowering else -1
    weakest: i64 = 0
    for term in range(terms):
        micro: i64 = sign * read_i64_le(contributions, (start + term) * _BYTES)
        if len(kept) == MODEL_REASONS and micro >= weakest:
            continue
        place = len(kept)
        while place > 0 and sign * read_i64_le(contributions, (start + kept[place - 1]) * _BYTES) > micro:
            place -= 1
        kept.insert(place, term)
        del kept[MODEL_REASONS:]
        weakest = sign * read_i64_le(contributions, (start + kept[-1]) * _BYTES)
    return kept


def _confidence_bp(probability_ppm: Column, is_fraud: NDArray[np.bool_]) -> Column:
    """The probability, for each answer, that the payment is what the answer takes it for (see the module's
    docstring)."""
    return np.where(is_fraud, probability_ppm, PROBABILITY_PPM_MAX - probability_ppm) // 100


def _guardrail_verdict(row: Matrix, mode: Mode, rules: list[Rule]) -> Verdict:
    statements = [rule.statement(row) for rule in rules]
    summary = f"Blocked because {_facts(statements)}."
    reasons, codes = [each.reason for each in statements], [rule.code for rule in rules]
    return Verdict(Outcome.BLOCK, Route.GUARDRAIL, mode, CONFIDENCE_CERTAIN_BP, None, summary, reasons, codes)


def _fallback_verdict(
    row: Matrix,
    mode: Mode,
    rules: list[Rule],
    soft: list[Rule],
    shadow: ModelAnswer | None,
    silence: _Silent | None,
) -> Verdict:
    """The soft rules without those that read the model's confidence: its doubts in shadow are no reason of the
    fallback's."""
    applied = [*(rule for rule in soft if not rule.reads_confidence), *rules]
    outcome = _strictest(applied)
    statements = [rule.statement(row) for rule in applied] or [_calm(int(row[_AMOUNT]))]
    summary = f"{_VERB[outcome]} by the fallback rules because {_facts(statements)}."
    reasons, codes = [each.reason for each in statements], [rule.code for rule in applied]
    if silence is None:
        return Verdict(outcome, Route.FALLBACK, mode, CONFIDENCE_CERTAIN_BP, shadow, summary, reasons, codes)
    why, fault = silence
    said = _not_asked(row) if why is Silence.NOT_ASKED else _FAILED
    summary = f"{summary} {said.text[0].upper()}{said.text[1:]}."
    return Verdict(
        outcome, Route.FALLBACK, mode, CONFIDENCE_CERTAIN_BP, None, summary, [*reasons, said], codes, why, fault
    )


def _facts(statements: list[Statement]) -> str:
    """Joins their facts; what two rules say of one value is said once."""
    return join(list(dict.fromkeys([fact for each in statements for fact in each.facts])))


_FAILED: Final = Reason(
    Silence.FAILED, "the model was asked, but gave no answer that can be used", NONE, None, None, None
)


def _not_asked(row: Matrix) -> Reason:
    """Names the first of the values that are UNKNOWN, and counts the others."""
    first, *others = np.flatnonzero(row == UNKNOWN).tolist()
    rest = (
        "" if not others else ", nor is one thing more" if len(others) == 1 else f", nor are {len(others)} things more"
    )
    text = f"the model was not asked, because {fact_of(FEATURES[first], UNKNOWN)}{rest}"
    return Reason(Silence.NOT_ASKED, text, UNKNOWN, None, None, None)


def _calm(amount_gbp_minor: int) -> Statement:
    """The statement about a payment that no fallback rule speaks of."""
    calm, amount = "none of the fallback rules applies", fact_of(AMOUNT, amount_gbp_minor)
    reason = Reason(NO_RULE, f"{calm}; {amount}", amount_gbp_minor, None, None, None)
    return Statement((f"{calm} ({amount})",), reason)


def _strictest(rules: list[Rule]) -> Outcome:
    outcomes = {rule.outcome for rule in rules}
    for outcome in (Outcome.BLOCK, Outcome.ESCALATE):
        if outcome in outcomes:
            return outcome
    return Outcome.ALLOW
