"""What would have had to be otherwise: the fewest changes of facts under which a BLOCK or an ESCALATE turns.

Invariants
1. Each change that is shown was decided again, by the archived policy and model in the recorded breaker mode, and
   turned the outcome: ESCALATE into ALLOW, BLOCK into ESCALATE or ALLOW. One that doesn't is not shown.
2. What it is found from is the stored snapshot alone, so whoever has that finds the same.
3. A decision that, decided again, isn't what it records has no counterfactual.

A payment that a rule blocked by itself, before anything was looked up, could have had the block lifted; what would have
been decided then isn't known, and isn't guessed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from pipeline.decide.event_features import EventRows
from pipeline.decide.phrase_books.money import Money, foreign_money
from pipeline.decide.verdict import Mode, Regime, Verdict, decide
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.features import COLUMN, STATE_SLICE, UNKNOWN, Matrix
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.explain.counterfactual.answers import (
    LEVEL,
    Answers,
    Level,
    Shortfall,
    Start,
    shortfalls_of,
    start_of,
    start_of_unseen,
)
from pipeline.explain.counterfactual.edges import Edges
from pipeline.explain.counterfactual.facts import AMOUNT_COLUMN, Attained, Change, changes_of, facts_of
from pipeline.explain.counterfactual.relations import Relations
from pipeline.explain.counterfactual.search import CHANGES_MAX, Found, NoneWithin, Search
from pipeline.io.avro.writers import CURRENT
from pipeline.replay.feature_lists import observed_by
from pipeline.replay.redecide import Basis, mode_of
from pipeline.replay.regimes import Missing, RegimeOf
from pipeline.replay.verify import regime_key, worded

NEWEST: Final = CURRENT["decision.v1"].number
ATTAINED_REMEMBERED: Final = 65_536
NOT_SOUGHT: Final = "the payment was allowed"


class Counterfactual(NamedTuple):
    """`outcome`: None where the block would be lifted, and the rest is not known because nothing was looked up.

    follows: what the changes move with them, of what a rule or the model reads. own_amount_minor: the payment's changed
    amount in its own currency, None where it isn't changed. is_smallest: False where the search ended at its bound, and
    a change of fewer facts, or a smaller one, may exist. summary: the verdict's, of what would have been decided.
    """

    outcome: Outcome | None
    changes: tuple[Change, ...]
    follows: tuple[Change, ...]
    own_amount_minor: int | None
    is_smallest: bool
    summary: str


class Otherwise(NamedTuple):
    """All that is said of what would have had to be otherwise. The shortfalls are of the rules that decided."""

    found: Counterfactual | NoneWithin
    shortfalls: tuple[Shortfall, ...]


class _Case(NamedTuple):
    """A decision and all that decides it again."""

    row: Matrix
    mode: Mode
    in_force: Regime
    has_model_failed: bool
    own: Money | None  # the payment's amount where its currency isn't the pound

    def decided(self, row: Matrix, own_amount_minor: int | None = None) -> Verdict:
        """own_amount_minor: where the amount is another one."""
        failed = [0] if self.has_model_failed else []
        own = self.own
        if own is not None and own_amount_minor is not None:
            own = own._replace(amount_minor=own_amount_minor)
        [verdict] = decide(row[np.newaxis], [self.mode], self.in_force, failed=failed, own=[own])
        return verdict


def otherwise_of(decision: Decision, regime_of: RegimeOf, release: int = NEWEST) -> Otherwise | Missing:
    """What would have had to be otherwise, or why not. release: of decision.v1, in which it was written."""
    if decision.outcome is Outcome.ALLOW:
        return Missing(NOT_SOUGHT)
    in_force = regime_of(regime_key(decision))
    if isinstance(in_force, Missing):
        return in_force
    said = worded(in_force, decision.phrase_book_version)
    in_force = in_force if isinstance(said, Missing) else said
    [row] = observed_by([decision], [release], in_force)
    own = foreign_money(decision.snapshot.transaction)
    case = _Case(row, mode_of(decision, Basis.RECORDED), in_force, decision.has_model_failed, own)
    again = case.decided(row)
    if again.outcome is not decision.outcome:
        return Missing(f"decided again, it is {again.outcome} and not {decision.outcome}")
    shortfalls = shortfalls_of(in_force, again.rules_triggered, [*row.tolist(), again.confidence_bp])
    return Otherwise(_found(decision, case), tuple(shortfalls))


def _found(decision: Decision, case: _Case) -> Counterfactual | NoneWithin:
    in_force, row = case.in_force, case.row
    answers = Answers(in_force, use_model=case.mode.use_model and not case.has_model_failed)
    is_unseen = bool(answers.static_hard(row[np.newaxis]).any())
    start = start_of_unseen(row, answers) if is_unseen else start_of(row, _level(decision), answers)
    near_limit = in_force.policy.near_limit_gbp_minor()
    unknown = frozenset(np.flatnonzero(row == UNKNOWN).tolist())
    is_ever_asked = len([column for column in unknown if column < STATE_SLICE.stop]) <= CHANGES_MAX
    edges = Edges(answers.bounds(), answers.model if is_ever_asked else None, near_limit)
    worth = _worth_of(decision, case)
    attained = None if worth is None else _attained(worth)
    facts = facts_of(row.tolist(), edges.facts_read() | unknown, is_unseen=is_unseen)
    search = Search(start, facts, edges, Relations(row, near_limit), answers.model, attained)
    found = search.fewest()
    if isinstance(found, NoneWithin):
        return found
    return _verified(found, case, answers, edges, start, is_unseen=is_unseen, worth=worth)


def _verified(
    found: Found,
    case: _Case,
    answers: Answers,
    edges: Edges,
    start: Start,
    *,
    is_unseen: bool,
    worth: Callable[[int], int] | None,
) -> Counterfactual | NoneWithin:
    """The change, decided again by the verdict itself; none where that contradicts the search."""
    changed = [fact.column for fact in found.facts]
    changes = changes_of(case.row.tolist(), found.row.tolist(), changed)
    own_amount_minor = _own_amount(changes, worth)
    again = case.decided(found.row, own_amount_minor)
    is_lifted = is_unseen and not answers.static_hard(found.row[np.newaxis]).any()
    if not is_lifted and LEVEL[again.outcome] >= start.level:
        return NoneWithin(len(found.facts), is_exhaustive=False)
    read = sorted(edges.read - set(changed))
    return Counterfactual(
        None if is_lifted else again.outcome,
        changes,
        () if is_lifted else changes_of(case.row.tolist(), found.row.tolist(), read),
        own_amount_minor,
        found.is_exhaustive,
        "" if is_lifted else again.summary,
    )


def _level(decision: Decision) -> Level:
    return LEVEL[decision.outcome]


def _worth_of(decision: Decision, case: _Case) -> Callable[[int], int] | None:
    """What an amount of the payment's own currency is worth to the policy; None where it is the policy's own, or where
    the recorded amount isn't what the policy makes of it."""
    payment, time_ms = decision.snapshot.transaction, decision.source_timestamp_ms
    event_rows = EventRows(case.in_force.policy, case.in_force.feeds)

    def worth(amount_minor: int) -> int:
        return event_rows.row(payment._replace(amount_minor=amount_minor), time_ms)[AMOUNT_COLUMN]

    if payment.currency == "GBP" or worth(payment.amount_minor) != case.row[AMOUNT_COLUMN]:
        return None
    return worth


def _attained(worth: Callable[[int], int]) -> Attained:
    @lru_cache(maxsize=ATTAINED_REMEMBERED)
    def nearest(gbp_minor: int) -> tuple[int, int]:
        above = _least_worth(worth, gbp_minor)
        least = worth(above)
        return (least if least <= gbp_minor else worth(max(above - 1, 0))), least

    return nearest


def _least_worth(worth: Callable[[int], int], gbp_minor: int) -> int:
    """The least amount that is worth as much."""
    return min(bisect_left(range(AMOUNT_MINOR_MAX + 1), gbp_minor, key=worth), AMOUNT_MINOR_MAX)


def _own_amount(changes: tuple[Change, ...], worth: Callable[[int], int] | None) -> int | None:
    """The changed amount in the payment's own currency."""
    after = next((each.after for each in changes if COLUMN[each.feature] == AMOUNT_COLUMN), None)
    if after is None or worth is None:
        return after
    return _least_worth(worth, after)
