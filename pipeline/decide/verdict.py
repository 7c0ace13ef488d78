"""The decision: a pure function of features, model, policy and breaker mode (I3). Feeds speak through features alone.

Invariants
1. Order: hard guardrails, then the route's answer, then soft guardrails. A hard hit is BLOCK; the model isn't asked.
2. Soft guardrails only make ALLOW into ESCALATE; nothing makes a decision more permissive (I4).
3. Row i of the answer depends on row i of the input alone: batches of any size give the same verdicts. Only what a
   broken model costs the rows behind those that it failed on depends on the batch, and the decision records it.
4. Every verdict has a summary and at least one reason (I9). ALLOW leads with how sure the model is and the guardrail
   that came nearest, the fallback's with its nearest rule; ESCALATE and BLOCK lead with the rules that applied, the
   model's own BLOCK with the facts that raised its score most. A fact is said once, points to the outcome, and is never
   that something is missing, unless a rule says that this counts.
5. The model is not asked about a row with an UNKNOWN value (`reasons.asking`); the fallback answers it, at least as
   strictly as it would with full knowledge (I4). Neither does a row that the model fails on get any answer but the
   fallback's.

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
from pipeline.decide.phrase_books.books import CURRENT, PhraseBook
from pipeline.decide.phrase_books.money import Money
from pipeline.decide.policy import Policy, feeds_under
from pipeline.decide.policy_rules import NO_RULE
from pipeline.decide.reasons.asking import read_by, silencing
from pipeline.decide.reasons.families import FAMILY
from pipeline.decide.reasons.nearest import CONDITIONS_MAX, NOTHING_NEAR
from pipeline.decide.reasons.sureness import Sureness
from pipeline.decide.reasons.terms import TermView, rebased, term_views
from pipeline.decide.rules import Rule, RuleBook, RuleTable, hits_of, rule_book
from pipeline.domain.decision import BreakerState, Outcome, Reason, Route, Silence
from pipeline.domain.features import FEATURES, NONE, UNKNOWN, Matrix

CONFIDENCE_CERTAIN_BP: Final = 10_000
MODEL_REASONS: Final = 3
"""More than three contributions read as noise; `fraud explain` shows all."""
ALLOWING_REASONS: Final = 1
"""Of an ALLOW, which says first how sure the model is, and what came nearest to stopping it."""

KEPT_OUT: Final = frozenset({BreakerState.OPEN, BreakerState.FORCED_OPEN, BreakerState.UNKNOWN})
"""States in which no model decides anything. HALF_OPEN lets it decide some. Which of the others were kept from it, no
decision records, so nothing is said of that."""

_NO_RULES: Final[list[Rule]] = []
LEAST_MICRO: Final = -(2**62)
"""Below every contribution."""
_BYTES: Final = 8
"""Bytes that a number takes where a matrix is read as bytes: to take it out of an array costs 0.1 µs, this nothing."""


class Mode(NamedTuple):
    """The word on one payment: the breaker's governing scope, its state, and whether the model may answer.

    is_candidates: a model that is being rolled out answers it, and not the champion (pipeline/decide/rollout).
    """

    state: BreakerState
    scope: str
    use_model: bool
    is_candidates: bool = False


@dataclass(init=False)
class ModelAnswer:
    """The model's answer about a payment, whatever the route."""

    outcome: Outcome
    fraud_probability_ppm: int
    score_micro: int
    is_doubted: bool  # the model itself would have a person decide, whatever else does; no part of the decision

    def __init__(self, outcome: Outcome, fraud_probability_ppm: int, score_micro: int, is_doubted: bool) -> None:
        self.outcome, self.fraud_probability_ppm, self.score_micro = outcome, fraud_probability_ppm, score_micro
        self.is_doubted = is_doubted


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

    The model is `rebased`: what its terms contribute is counted from the typical payment.
    feeds: None where the tables of a policy of before there were feeds stand for them.
    """

    policy: Policy
    rules: RuleBook
    model: Model | None
    terms: tuple[TermView, ...]
    sureness: Sureness
    book: PhraseBook
    feeds: Feeds | None

    @property
    def currencies(self) -> frozenset[str]:
        """The currencies that an amount can be converted from."""
        if self.feeds is None:
            return self.policy.own_currencies
        rates = self.feeds.exchange_rates
        return frozenset({HOME_CURRENCY}) if rates is None else rates.currencies


def regime(policy: Policy, model: Model | None, feeds: Feeds | None = None, *, book: PhraseBook = CURRENT) -> Regime:
    """`book` words what is decided under it.

    feeds: None for what a policy says itself; where it says nothing, there is no feed, and everything is strict.
    """
    terms = () if model is None else tuple(term_views(model, book))
    told = None if model is None else rebased(model)
    in_force = feeds_under(policy, feeds)
    return Regime(policy, rule_book(policy, book), told, terms, Sureness(policy, book), book, in_force)


def decide(
    features: Matrix,
    modes: Sequence[Mode],
    in_force: Regime,
    *,
    failed: Collection[int] = (),
    own: Sequence[Money | None] = (),
) -> list[Verdict]:
    """One verdict a row. `features` is (n, len(FEATURES)) int64; `modes` has n entries.

    `failed` are rows that the model is recorded to have failed on: it isn't asked again. `own` are the payments'
    amounts where their currency isn't the pound, n of them; without any, all are in pounds.
    """
    return list(verdicts_of(features, modes, in_force, failed=failed, own=own))


def verdicts_of(
    features: Matrix,
    modes: Sequence[Mode],
    in_force: Regime,
    *,
    failed: Collection[int] = (),
    own: Sequence[Money | None] = (),
) -> Iterator[Verdict]:
    """`decide`, a row at a time. What numpy does is done for all rows at the first: rules and scores, a quarter."""
    rules = in_force.rules
    hard = hits_of(rules.hard, features)
    silent = _silent(features, failed if in_force.model is not None else (), in_force)
    asked = [row for row in range(len(modes)) if row not in hard and row not in silent]
    teller = _Teller(in_force, features, own)
    answers = _Answers(features, asked, in_force, teller) if in_force.model is not None else None
    if answers is not None:
        silent.update(answers.failed)
    soft = hits_of(rules.soft, _with_confidence(features, answers))
    fallback = hits_of(rules.fallback, features) if answers is None or silent or _any_fallback(modes) else {}
    for row, mode in enumerate(modes):
        silence = silent.get(row)
        if row in hard:
            yield _guardrail_verdict(teller, row, mode, hard[row])
        elif answers is not None and mode.use_model and silence is None:
            yield answers.verdict(row, mode, soft.get(row, _NO_RULES))
        else:
            softened = soft.get(row, _NO_RULES)
            shadow = answers.shadow(row, softened) if answers is not None and silence is None else None
            yield _fallback_verdict(teller, row, mode, fallback.get(row, _NO_RULES), softened, shadow, silence)


class _Teller:
    """Says what of a batch's rows is said without the model."""

    def __init__(self, in_force: Regime, features: Matrix, own: Sequence[Money | None]) -> None:
        self.book, self.rules, self.features, self._own = in_force.book, in_force.rules, features, own
        self.reads = read_by(in_force.model)
        self.values, self.width = features.astype("<i8").tobytes(), features.shape[1]
        self._near_guardrails: list[int] | None = None  # where nothing is allowed, nobody asks
        self._near_fallback: list[int] | None = None

    def own(self, row: int) -> Money | None:
        return self._own[row] if self._own else None

    def rules_told(self, row: int, asked_of: Matrix, rules: list[Rule], facts: list[str], reasons: list[Reason]) -> int:
        """Adds what the rules say of a row that meets them; the families of facts told."""
        told, own = 0, self.own(row)
        for rule in rules:
            told = rule.tell(asked_of, own, told, facts, reasons)
        return told

    def nearest_guardrail(self, row: int, facts: list[str], reasons: list[Reason]) -> int:
        """Adds what keeps the nearest guardrail from applying; the family of that fact, or 0 where none comes near."""
        if self._near_guardrails is None:
            self._near_guardrails = self.rules.far_from_guardrails.nearest(self.features)
        return self._near(row, self._near_guardrails[row], self.rules.guardrails, facts, reasons)

    def nearest_fallback(self, row: int, facts: list[str], reasons: list[Reason]) -> int:
        if self._near_fallback is None:
            self._near_fallback = self.rules.far_from_fallback.nearest(self.features)
        return self._near(row, self._near_fallback[row], self.rules.fallback, facts, reasons)

    def _near(self, row: int, near: int, table: RuleTable, facts: list[str], reasons: list[Reason]) -> int:
        if near == NOTHING_NEAR:
            return 0
        rule, condition = table.rules[near // CONDITIONS_MAX], near % CONDITIONS_MAX
        column = rule.columns[condition]
        observed = read_i64_le(self.values, (row * self.width + column) * _BYTES)
        statement = rule.clear(condition, observed, self.own(row))
        facts.append(statement.facts[0])
        reasons.append(statement.reason)
        return statement.told


class _Silent(NamedTuple):
    """Why the model gives no answer about a row."""

    why: Silence
    fault: str


def _silent(features: Matrix, failed: Collection[int], in_force: Regime) -> dict[int, _Silent]:
    """The rows that the model isn't asked about: with a value that is UNKNOWN, or recorded as failed."""
    silent = dict.fromkeys(failed, _Silent(Silence.FAILED, ""))
    unknown = np.flatnonzero(silencing(features, read_by(in_force.model)).any(axis=1)).tolist()
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

    def __init__(self, features: Matrix, asked: list[int], in_force: Regime, teller: _Teller) -> None:
        assert in_force.model is not None
        self._features, self._terms, self._teller = features, in_force.terms, teller
        self._sureness, self._book = in_force.sureness, in_force.book
        self._values, self._width = teller.values, teller.width
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
        if outcome is Outcome.ALLOW:
            sure = self._sureness.honest(confidence_bp, self._features, row)
            facts.append(sure.text)
            reasons.append(sure)
            told = self._teller.nearest_guardrail(row, facts, reasons)
            self._model_reasons(row, position, told, facts, reasons, is_lowering=True)
        elif outcome is Outcome.BLOCK:
            self._model_reasons(row, position, 0, facts, reasons, is_lowering=False)
            sure = self._sureness.fraud(confidence_bp)
            facts.append(sure.text)
            reasons.append(sure)
        else:
            asked_of = np.append(self._features[row], confidence_bp)
            told = self._teller.rules_told(row, asked_of, soft, facts, reasons)
            if any([rule.reads_confidence for rule in soft]):  # else the model has no part in it
                self._model_reasons(row, position, told, facts, reasons, is_lowering=False)
        triggered = [rule.code for rule in soft] if outcome is Outcome.ESCALATE else []
        summary = self._book.summary(outcome, facts, is_fallback=False)
        return Verdict(outcome, Route.MODEL, mode, confidence_bp, answer, summary, reasons, triggered)

    def _answer(self, position: int, soft: list[Rule]) -> ModelAnswer:
        """`soft` are the soft rules that the row meets; they make an ALLOW an ESCALATE."""
        allowed = Outcome.ESCALATE if soft else Outcome.ALLOW
        outcome = Outcome.BLOCK if self._is_fraud[position] else allowed
        is_doubted = outcome is Outcome.ESCALATE and any([rule.reads_confidence for rule in soft])
        return ModelAnswer(outcome, self._probability_ppm[position], self._score_micro[position], is_doubted)

    def _model_reasons(
        self, row: int, position: int, told: int, facts: list[str], reasons: list[Reason], *, is_lowering: bool
    ) -> None:
        """Adds the terms that moved the score most in the outcome's direction, of those that may be told."""
        start, terms = row * self._width, self._terms
        left = ALLOWING_REASONS if is_lowering else MODEL_REASONS
        sign = 1 if is_lowering else -1
        last_micro, last = LEAST_MICRO, -1
        while left > 0:
            last = _next(self._contributions, position, len(terms), sign, last_micro, last)
            if last < 0:
                return
            signed_micro = read_i64_le(self._contributions, (position * len(terms) + last) * _BYTES)
            last_micro = sign * signed_micro
            before = len(reasons)
            told = terms[last].tell(self._values, start, signed_micro, told, facts, reasons)
            left -= len(reasons) - before


def _next(contributions: bytes, row: i64, terms: i64, sign: i64, after_micro: i64, after: i64) -> int:
    """The term that moved the row's score most down (`sign` 1) or up (-1), of those behind `after`; -1 where none did.

    Equal contributions are named in the model's order.
    """
    found: i64 = -1
    least: i64 = 0
    start: i64 = row * terms
    term: i64 = 0
    while term < terms:
        micro: i64 = sign * read_i64_le(contributions, (start + term) * _BYTES)
        if micro < least and (micro > after_micro or (micro == after_micro and term > after)):
            found, least = term, micro
        term += 1
    return int(found)


def _confidence_bp(probability_ppm: Column, is_fraud: NDArray[np.bool_]) -> Column:
    """The probability, for each answer, that the payment is what the answer takes it for (see the module's
    docstring)."""
    return np.where(is_fraud, probability_ppm, PROBABILITY_PPM_MAX - probability_ppm) // 100


def _guardrail_verdict(teller: _Teller, row: int, mode: Mode, rules: list[Rule]) -> Verdict:
    facts: list[str] = []
    reasons: list[Reason] = []
    teller.rules_told(row, teller.features[row], rules, facts, reasons)
    summary, codes = teller.book.summary(Outcome.BLOCK, facts, is_fallback=False), [rule.code for rule in rules]
    return Verdict(Outcome.BLOCK, Route.GUARDRAIL, mode, CONFIDENCE_CERTAIN_BP, None, summary, reasons, codes)


def _fallback_verdict(
    teller: _Teller,
    row: int,
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
    facts: list[str] = []
    reasons: list[Reason] = []
    decisive = sorted(applied, key=lambda rule: rule.outcome is not outcome)  # what would have had to be otherwise
    told = teller.rules_told(row, teller.features[row], decisive, facts, reasons)
    if outcome is Outcome.ALLOW and not teller.nearest_fallback(row, facts, reasons):
        facts.append(teller.book.no_rule())
        reasons.append(Reason(NO_RULE, facts[0], NONE, None, None, None))
    codes = [rule.code for rule in applied]
    if silence is None:
        summary = teller.book.summary(outcome, facts, is_fallback=True)
        return Verdict(outcome, Route.FALLBACK, mode, CONFIDENCE_CERTAIN_BP, shadow, summary, reasons, codes)
    why, fault = silence
    if why is Silence.NOT_ASKED:
        said = _not_asked(teller.features[row : row + 1], told, teller)
    else:
        said = Reason(Silence.FAILED, teller.book.failed(), NONE, None, None, None)
    if mode.state in KEPT_OUT:
        said = said._replace(text=teller.book.kept_out(said.text))
    summary = teller.book.summary(outcome, facts, is_fallback=True, silence=said.text)
    return Verdict(
        outcome, Route.FALLBACK, mode, CONFIDENCE_CERTAIN_BP, None, summary, [*reasons, said], codes, why, fault
    )


def _not_asked(row: Matrix, told: int, teller: _Teller) -> Reason:
    """Names the first of the values that kept the model from it and that no rule has told of, and counts the others."""
    unknown = [FEATURES[column] for column in np.flatnonzero(silencing(row, teller.reads)[0]).tolist()]
    untold = [name for name in unknown if not told & FAMILY[name]]
    text = teller.book.not_asked(untold[0] if untold else None, len(untold) - 1)
    return Reason(Silence.NOT_ASKED, text, UNKNOWN, None, None, None)


def _strictest(rules: list[Rule]) -> Outcome:
    outcomes = {rule.outcome for rule in rules}
    for outcome in (Outcome.BLOCK, Outcome.ESCALATE):
        if outcome in outcomes:
            return outcome
    return Outcome.ALLOW
