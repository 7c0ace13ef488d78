"""A challenger: a model on trial, and what it answers about a payment that the champion was asked about.

Invariants
1. It is asked only where the champion's answer counted and no value is UNKNOWN: a challenger that a guardrail or the
   fallback would have spoken for has said nothing.
2. Its outcome is that of the decision's own policy and feeds: the same guardrails, the same probability that blocks.
3. It fails on a payment without any effect on the others, and what it fails on is no agreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import PROBABILITY_PPM_MAX, Model
from pipeline.breaker.answer_counts import ALL
from pipeline.decide.phrase_books.money import Money
from pipeline.decide.rules import hits_of
from pipeline.decide.verdict import Mode, Regime, decide, regime
from pipeline.domain.decision import BreakerState, Outcome, Route
from pipeline.domain.features import COLUMN, NONE, Matrix

REGIMES_KEPT: Final = 64
SAYS_CHARACTERS_MAX: Final = 2000
"""Longest summary that is kept; the longest that a phrase book makes is some 600."""
RUNS_MAX: Final = 64
"""Most runs over a batch. To find the one payment of 1,000 on which a model fails takes 21, to find three some 50."""
_ASKED: Final = Mode(BreakerState.CLOSED, ALL, True)


class Answered(NamedTuple):
    """A challenger's answer about one payment."""

    outcome: Outcome
    fraud_probability_ppm: int
    says: str


class Challenger(Protocol):
    """What the shadow needs of a challenger, whatever it is made of."""

    @property
    def version(self) -> str: ...

    @property
    def digest(self) -> bytes:
        """SHA-256 of its manifest."""

    @property
    def features(self) -> frozenset[str]: ...

    @property
    def kind(self) -> str: ...

    def answers(self, rows: Matrix, own: Sequence[Money | None], under: Regime) -> list[Answered | None]:
        """One a row, None where it fails. `rows` hold no UNKNOWN; `under`: policy and feeds, without a model."""


class GlassBox:
    """A challenger of the registry: integer tables, answered for as the champion is, reasons included."""

    kind: Final = "GLASS_BOX"

    def __init__(self, model: Model) -> None:
        self._model = model
        self._regimes: dict[tuple[int, int], tuple[Regime, Regime]] = {}

    @property
    def version(self) -> str:
        return self._model.version

    @property
    def digest(self) -> bytes:
        return self._model.hash

    @property
    def features(self) -> frozenset[str]:
        return frozenset(self._model.typical)

    def answers(self, rows: Matrix, own: Sequence[Money | None], under: Regime) -> list[Answered | None]:
        verdicts = decide(rows, [_ASKED] * len(rows), self._regime(under), own=own)
        found: list[Answered | None] = []
        for each in verdicts:
            answer = each.model_answer
            if each.route is not Route.MODEL or answer is None:
                found.append(None)
                continue
            found.append(Answered(each.outcome, answer.fraud_probability_ppm, each.summary[:SAYS_CHARACTERS_MAX]))
        return found

    def _regime(self, under: Regime) -> Regime:
        """Made once for each policy and feeds: to word a model's terms costs a millisecond."""
        key = id(under.policy), id(under.feeds)
        known = self._regimes.get(key)
        if known is not None and known[0] is under:
            return known[1]
        if len(self._regimes) >= REGIMES_KEPT:
            del self._regimes[next(iter(self._regimes))]
        made = regime(under.policy, self._model, under.feeds, book=under.book)
        self._regimes[key] = under, made
        return made


class TookTooLong(Exception):
    """A model was ended, because it took longer over a batch than any may."""


class Probabilities(Protocol):
    """What gives a probability of fraud for each row of chosen features, from 0 to 1, or raises.

    TookTooLong where it was ended, whatever else where it fails.
    """

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]: ...


class Statistical:
    """A challenger that gives a probability and no reasons. Its floats may differ by machine: they decide nothing."""

    kind: Final = "ONNX"

    def __init__(self, version: str, digest: bytes, features: Sequence[str], probabilities: Probabilities) -> None:
        self.version, self.digest, self.features = version, digest, frozenset(features)
        self._columns = [COLUMN[name] for name in features]
        self._probabilities = probabilities

    def answers(self, rows: Matrix, own: Sequence[Money | None], under: Regime) -> list[Answered | None]:  # noqa: ARG002
        """Hard guardrails have not hit; soft ones escalate what it would allow, as they do with a glass box."""
        limit = under.policy.model.block_probability_ppm
        ppm = self._ppm(rows)
        is_sound = ppm >= 0
        is_fraud = ppm >= limit
        sure_bp = np.where(is_fraud | ~is_sound, NONE, (PROBABILITY_PPM_MAX - ppm) // 100)
        soft = hits_of(under.rules.soft, np.column_stack((rows, sure_bp)))
        found: list[Answered | None] = []
        for row, each in enumerate(ppm.tolist()):
            if each < 0:
                found.append(None)
                continue
            allowed = Outcome.ESCALATE if row in soft else Outcome.ALLOW
            outcome = Outcome.BLOCK if each >= limit else allowed
            found.append(Answered(outcome, each, _said(outcome, each, limit)))
        return found

    def _ppm(self, rows: Matrix) -> NDArray[np.int64]:
        """-1 where it raises, or says what is no probability.

        A part of which it fails is halved and asked again, so that what it fails on is found, and the rest answered.
        """
        found = np.full(len(rows), NONE, dtype=np.int64)
        parts, runs = [(0, len(rows))], 0
        while parts and runs < RUNS_MAX:
            (first, end), runs = parts.pop(), runs + 1
            try:
                given = self._given(rows[first:end])
            except TookTooLong:
                break  # every further part may take as long
            if given is not None:
                found[first:end] = given
            elif end - first > 1:
                middle = (first + end) // 2
                parts += [(middle, end), (first, middle)]
        return found

    def _given(self, rows: Matrix) -> NDArray[np.int64] | None:
        """Return the answers, each -1 where it is no probability; None where there is not one for each row.

        Raises TookTooLong.
        """
        try:
            given = self._probabilities(rows[:, self._columns].astype(np.float32))
        except TookTooLong:
            raise
        except Exception:  # whatever a model makes its runtime raise is the model's fault, and counted as that
            return None
        if given.shape != (len(rows),):
            return None
        is_sound = np.isfinite(given) & (given >= 0) & (given <= 1)
        ppm = np.rint(np.where(is_sound, given, 0).astype(np.float64) * PROBABILITY_PPM_MAX).astype(np.int64)
        return np.where(is_sound, ppm, NONE)


def _said(outcome: Outcome, ppm: int, limit: int) -> str:
    percent, from_percent = f"{ppm / 10_000:.1f}", f"{limit / 10_000:.1f}"
    if outcome is Outcome.ESCALATE:
        return f"The challenger puts fraud at {percent} %, below {from_percent} %, and a soft guardrail escalates."
    side = "at or above" if outcome is Outcome.BLOCK else "below"
    return f"The challenger puts fraud at {percent} %, {side} the {from_percent} % from which the policy blocks."
