"""The decision: a pure function of features, model, policy and breaker mode (I3).

Invariants
1. Order: hard guardrails, then the route's answer, then soft guardrails. A hard hit is BLOCK; the model isn't asked.
2. Soft guardrails only make ALLOW into ESCALATE; nothing makes a decision more permissive (I4).
3. Row i of the answer depends on row i of the input alone: batches of any size give the same verdicts.
4. Every verdict has a summary and at least one reason (I9).

Confidence is defined here and nowhere else: the calibrated probability that the answer behind the outcome is right.
The model answers BLOCK (the payment is fraud) from the policy's `block_probability_ppm` on, and ALLOW (it is not)
below. So confidence is P(fraud) when the model answered BLOCK and 1 - P(fraud) when it answered ALLOW, also where a
soft guardrail then escalated. A guardrail or a fallback rule states a fact about the payment, not a probability:
its confidence is 1. In ten-thousandths, rounded down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np
from librt.strings import read_i64_le
from mypy_extensions import i64
from numpy.typing import NDArray

from models.artefact.scoring import PROBABILITY_PPM_MAX, Column, Model, score
from pipeline.decide.phrases import PHRASES, WORDS_REMEMBERED, fact_of, join, percent_of_bp, with_typical
from pipeline.decide.policy import Policy
from pipeline.decide.rules import CONFIDENCE_CODE, Rule, RuleBook, Told, hits_of, rule_book
from pipeline.domain.decision import BreakerState, Outcome, Reason, Route
from pipeline.domain.features import COLUMN, UNKNOWN, Matrix
from pipeline.domain.identities import DecisionId, uuid5_text

CONFIDENCE_CERTAIN_BP: Final = 10_000
MODEL_REASONS: Final = 3
"""More than three contributions read as noise; `fraud explain` shows all."""

_BYTES: Final = 8
"""Of a number, where a matrix is read as bytes: an integer taken out of an array costs 0.1 µs, this next to nothing."""
_NAMESPACE: Final = UUID("8f0c9a3e-1f1b-5c52-9d7e-6c1a5f0e2b47").bytes
_VERB: Final = {Outcome.ALLOW: "Allowed", Outcome.BLOCK: "Blocked", Outcome.ESCALATE: "Escalated"}


class Mode(NamedTuple):
    """What the breaker says of one payment: the governing scope, its state, and whether the model may answer."""

    state: BreakerState
    scope: str
    use_model: bool


@dataclass(init=False)
class Verdict:
    outcome: Outcome
    route: Route
    mode: Mode
    confidence_bp: int
    fraud_probability_ppm: int  # -1 where the model was not asked
    score_micro: int  # 0 where the model was not asked
    summary: str
    reasons: list[Reason]
    rules_triggered: list[str]
    model_outcome: Outcome | None  # what the model would have answered, whatever the route; None where not asked

    def __init__(
        self,
        outcome: Outcome,
        route: Route,
        mode: Mode,
        confidence_bp: int,
        fraud_probability_ppm: int,
        score_micro: int,
        summary: str,
        reasons: list[Reason],
        rules_triggered: list[str],
        model_outcome: Outcome | None,
    ) -> None:
        self.outcome, self.route, self.mode, self.confidence_bp = outcome, route, mode, confidence_bp
        self.fraud_probability_ppm, self.score_micro, self.summary = fraud_probability_ppm, score_micro, summary
        self.reasons, self.rules_triggered, self.model_outcome = reasons, rules_triggered, model_outcome


@dataclass(frozen=True, slots=True)
class Regime:
    """The policy and the model in force; `model` is None when none could be loaded, and the fallback decides."""

    policy: Policy
    rules: RuleBook
    model: Model | None
    terms: tuple[_TermView, ...]


def regime(policy: Policy, model: Model | None) -> Regime:
    return Regime(policy, rule_book(policy), model, () if model is None else tuple(_term_views(model)))


class _Words:
    """What is said of one feature's values: the fact, and the fact beside what is typical."""

    def __init__(self, feature: str, typical: int) -> None:
        self._feature, self._typical = feature, typical
        self._rounded = PHRASES[feature].rounded
        fact = fact_of(feature, typical)
        self._of_typical = fact, fact
        self._known: dict[int, tuple[str, str]] = {}

    def of(self, observed: int) -> tuple[str, str]:
        if observed == self._typical:
            return self._of_typical
        key = observed if self._rounded is None or observed == UNKNOWN else self._rounded(observed)
        words = self._known.get(key)
        if words is None:
            fact = fact_of(self._feature, observed)
            words = fact, with_typical(self._feature, fact, observed, self._typical)
            if len(self._known) < WORDS_REMEMBERED:
                self._known[key] = words
        return words


class _TermView:
    """What is said of a model's term."""

    def __init__(self, code: str, columns: list[int], words: list[_Words], typical: int) -> None:
        """`columns`, `words`: of the term's features, one or two. `typical`: of the first."""
        self._code, self._typical = code, typical if typical >= 0 else None
        self._first_column, self._first = columns[0], words[0]
        self._second_column, self._second = columns[-1], words[1] if len(words) == 2 else None
        self._known: dict[int, Told] = {}  # of a term of one feature, whose value decides what it contributes

    def tell(self, values: bytes, start: int, contribution_micro: int, facts: list[str], reasons: list[Reason]) -> None:
        """Adds the term's facts, where they are new, and its reason; the row is `values` from number `start` on."""
        observed = read_i64_le(values, (start + self._first_column) * _BYTES)
        if self._second is None:
            told = self._known.get(observed)
            if told is None:
                fact, text = self._first.of(observed)
                told = Told(fact, self._reason(text, observed, contribution_micro))
                if len(self._known) < WORDS_REMEMBERED:
                    self._known[observed] = told
            _add(facts, told.fact)
            reasons.append(told.reason)
        else:
            fact, text = self._first.of(observed)
            second = read_i64_le(values, (start + self._second_column) * _BYTES)
            second_fact, second_text = self._second.of(second)
            _add(facts, fact)
            _add(facts, second_fact)
            reasons.append(self._reason(f"{text} and {second_text}", observed, contribution_micro))

    def _reason(self, text: str, observed: int, contribution_micro: int) -> Reason:
        excess = None if self._typical is None else observed - self._typical
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


def decision_id(transaction_id: str) -> DecisionId:
    """uuid5 of the transaction id (I2)."""
    return DecisionId(uuid5_text(_NAMESPACE, transaction_id))


def decide(features: Matrix, modes: Sequence[Mode], in_force: Regime) -> list[Verdict]:
    """One verdict a row. `features` is (n, len(FEATURES)) int64; `modes` has n entries."""
    return list(verdicts_of(features, modes, in_force))


def verdicts_of(features: Matrix, modes: Sequence[Mode], in_force: Regime) -> Iterator[Verdict]:
    """`decide`, a row at a time. What numpy does is done for all rows at the first: rules and scores, a quarter."""
    rules = in_force.rules
    hard = hits_of(rules.hard, features)
    asked = [row for row in range(len(modes)) if row not in hard]
    soft = hits_of(rules.soft, features)
    answers = _Answers(features, asked, soft, in_force) if in_force.model is not None else None
    fallback = hits_of(rules.fallback, features) if answers is None or _any_fallback(modes) else {}
    for row, mode in enumerate(modes):
        if row in hard:
            yield _guardrail_verdict(features[row], mode, hard[row])
        elif answers is not None and mode.use_model:
            yield answers.verdict(row, mode)
        else:
            shadow = answers.shadow(row) if answers is not None else _NO_SHADOW
            yield _fallback_verdict(features[row], mode, fallback.get(row, []), soft.get(row, []), shadow)


def _any_fallback(modes: Sequence[Mode]) -> bool:
    return not all(mode.use_model for mode in modes)


class _Shadow(NamedTuple):
    fraud_probability_ppm: int
    score_micro: int
    outcome: Outcome | None


_NO_SHADOW: Final = _Shadow(-1, 0, None)


class _Answers:
    """The model's answers for the rows that no hard guardrail decided."""

    def __init__(self, features: Matrix, asked: list[int], soft: dict[int, list[Rule]], in_force: Regime) -> None:
        assert in_force.model is not None
        self._features, self._soft, self._policy, self._terms = features, soft, in_force.policy, in_force.terms
        self._values, self._width = features.astype("<i8").tobytes(), len(COLUMN)
        self._position = {row: position for position, row in enumerate(asked)}
        scores = score(in_force.model, features if len(asked) == len(features) else features[asked])
        is_fraud = scores.fraud_probability_ppm >= in_force.policy.model.block_probability_ppm
        confidence_bp = _confidence_bp(scores.fraud_probability_ppm, is_fraud)
        is_unsure = confidence_bp < in_force.policy.soft.confidence_minimum_bp
        self._is_fraud: list[bool] = is_fraud.tolist()
        self._is_unsure: list[bool] = is_unsure.tolist()
        self._confidence_bp: list[int] = confidence_bp.tolist()
        self._probability_ppm: list[int] = scores.fraud_probability_ppm.tolist()
        self._score_micro: list[int] = scores.score_micro.tolist()
        self._contributions = scores.contribution_micro.astype("<i8").tobytes()  # a row each

    def shadow(self, row: int) -> _Shadow:
        position = self._position[row]
        ppm = self._probability_ppm[position]
        return _Shadow(ppm, self._score_micro[position], self._outcome(row, position))

    def verdict(self, row: int, mode: Mode) -> Verdict:
        position = self._position[row]
        outcome, confidence_bp = self._outcome(row, position), self._confidence_bp[position]
        facts: list[str] = []
        reasons: list[Reason] = []
        triggered: list[str] = []
        if outcome is Outcome.ESCALATE:
            self._escalation(row, confidence_bp, facts, reasons, triggered)
        self._model_reasons(row, position, facts, reasons, is_lowering=outcome is Outcome.ALLOW)
        return Verdict(
            outcome,
            Route.MODEL,
            mode,
            confidence_bp,
            self._probability_ppm[position],
            self._score_micro[position],
            f"{_VERB[outcome]} because {join(facts)}.",
            reasons,
            triggered,
            outcome,
        )

    def _escalation(
        self, row: int, confidence_bp: int, facts: list[str], reasons: list[Reason], triggered: list[str]
    ) -> None:
        """Adds why the model's ALLOW became ESCALATE."""
        for rule in self._soft.get(row, []):
            told = rule.told(self._features[row])
            facts.append(told.fact)
            reasons.append(told.reason)
            triggered.append(rule.code)
        minimum_bp = self._policy.soft.confidence_minimum_bp
        if confidence_bp < minimum_bp:
            told = _unsure(confidence_bp, minimum_bp)
            facts.append(told.fact)
            reasons.append(told.reason)
            triggered.append(CONFIDENCE_CODE)

    def _outcome(self, row: int, position: int) -> Outcome:
        if self._is_fraud[position]:
            return Outcome.BLOCK
        return Outcome.ESCALATE if self._is_unsure[position] or row in self._soft else Outcome.ALLOW

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
    """Of each answer, see above: what it takes the payment for, it is so with this probability."""
    return np.where(is_fraud, probability_ppm, PROBABILITY_PPM_MAX - probability_ppm) // 100


@lru_cache(maxsize=16384)
def _unsure(confidence_bp: int, minimum_bp: int) -> Told:
    fact = f"the model is only {percent_of_bp(confidence_bp)} sure that the payment is honest"
    text = f"{fact}, {percent_of_bp(minimum_bp - confidence_bp)} short of the required {percent_of_bp(minimum_bp)}"
    return Told(fact, Reason(CONFIDENCE_CODE, text, confidence_bp, minimum_bp, confidence_bp - minimum_bp, None))


def _guardrail_verdict(row: Matrix, mode: Mode, rules: list[Rule]) -> Verdict:
    told = [rule.told(row) for rule in rules]
    summary = f"Blocked because {join([each.fact for each in told])}."
    reasons, codes = [each.reason for each in told], [rule.code for rule in rules]
    return Verdict(Outcome.BLOCK, Route.GUARDRAIL, mode, CONFIDENCE_CERTAIN_BP, -1, 0, summary, reasons, codes, None)


def _fallback_verdict(row: Matrix, mode: Mode, rules: list[Rule], soft: list[Rule], shadow: _Shadow) -> Verdict:
    outcome = _strictest(rules)
    if outcome is Outcome.ALLOW and soft:
        outcome = Outcome.ESCALATE
    applied = [*soft, *rules]
    told = [rule.told(row) for rule in applied] or [_calm(int(row[0]))]
    summary = f"{_VERB[outcome]} by the fallback rules because {join([each.fact for each in told])}."
    return Verdict(
        outcome,
        Route.FALLBACK,
        mode,
        CONFIDENCE_CERTAIN_BP,
        shadow.fraud_probability_ppm,
        shadow.score_micro,
        summary,
        [each.reason for each in told],
        [rule.code for rule in applied],
        shadow.outcome,
    )


def _calm(amount_gbp_minor: int) -> Told:
    """Of a payment that no fallback rule speaks of."""
    calm, amount = "none of the fallback rules applies", fact_of("amount_gbp_minor", amount_gbp_minor)
    reason = Reason("FALLBACK_NO_RULE", f"{calm}; {amount}", amount_gbp_minor, None, None, None)
    return Told(f"{calm} ({amount})", reason)


def _strictest(rules: list[Rule]) -> Outcome:
    outcomes = {rule.outcome for rule in rules}
    for outcome in (Outcome.BLOCK, Outcome.ESCALATE):
        if outcome in outcomes:
            return outcome
    return Outcome.ALLOW
