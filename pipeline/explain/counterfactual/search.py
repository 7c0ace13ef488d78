"""The fewest changes of facts that turn a decision, and of these the smallest.

Invariants
1. What is found turns the outcome, by the same tables and rules that decided.
2. No fewer changes turn it: all of one fact are looked at before any of two, all of two before any of three. What is
   left out are facts that no rule and no model reads, and those whose bound says that they can't turn it.
3. The work is bounded: CHANGES_MAX facts and ROWS_MAX rows. Whether the bound cut it short is said.
4. The same decision gives the same answer.

A set of facts of which none moves what another reads is looked at as a product of their values. Where facts do meet, as
a sum and a count do in an average, one is changed first and the values of the next are computed after it, in every
order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import Model
from pipeline.domain.features import COLUMN, STATE_SLICE, UNKNOWN, Matrix
from pipeline.explain.counterfactual.answers import SCORE_MAX, Start
from pipeline.explain.counterfactual.bounds import Bounds, RowBounds
from pipeline.explain.counterfactual.edges import NO_EDGE, Edges
from pipeline.explain.counterfactual.facts import AMOUNT_COLUMN, Attained, Fact, sizes
from pipeline.explain.counterfactual.relations import FEEDING, Relations, touched_by

CHANGES_MAX: Final = 3
"""More facts at once are no explanation that a person can check, and their number grows with each by the factor ten."""
ROWS_MAX: Final = 400_000
"""Rows that are looked at: some seconds, off the hot path."""
SET_ROWS_MAX: Final = 60_000
"""Of them for one set of facts, so that one with a thousand values each leaves some for the others."""
ROWS_AT_ONCE: Final = 16_384
BASES_AT_ONCE: Final = 256
"""Rows whose next values are computed together: each may have a thousand."""


class Found(NamedTuple):
    """The row with the changes and all that follows. is_exhaustive: no smaller change of as many facts exists."""

    facts: tuple[Fact, ...]
    row: Matrix
    size: int
    is_exhaustive: bool


class NoneWithin(NamedTuple):
    """No change of so many facts turns it; where `is_exhaustive` is False, none of those that were looked at."""

    changes: int
    is_exhaustive: bool


class _Alone(NamedTuple):
    """Rows in which one fact is otherwise, and how large each of these changes is."""

    rows: Matrix
    sizes: Matrix


class Search:
    def __init__(
        self,
        start: Start,
        facts: Sequence[Fact],
        edges: Edges,
        relations: Relations,
        model: Model | None,
        attained: Attained | None,
    ) -> None:
        """model: None where none is asked. attained: None where a payment can have any amount of the policy's money."""
        self._start, self._facts, self._edges, self._relations = start, facts, edges, relations
        self._bounds = Bounds(model) if model is not None and start.score_max != SCORE_MAX else None
        self._row_bounds = None if self._bounds is None else RowBounds(self._bounds, start.row)
        self._attained = attained
        self._rows_left, self._floor, self._is_cut = ROWS_MAX, 0, False
        self._touched = {fact: touched_by(fact.column) for fact in facts}
        self._unknown = frozenset(np.flatnonzero(start.row[: STATE_SLICE.stop] == UNKNOWN).tolist())
        self._alone: dict[Fact, _Alone] = {}

    def fewest(self, changes_max: int = CHANGES_MAX) -> Found | NoneWithin:
        for number in range(1, changes_max + 1):
            best: Found | None = None
            for chosen in self._promising(number):
                self._floor = max(self._rows_left - SET_ROWS_MAX, 0)
                best = self._better(chosen, best)
            if best is not None:
                return best._replace(is_exhaustive=not self._is_cut)
            if self._rows_left <= 0:
                return NoneWithin(number, is_exhaustive=False)
        return NoneWithin(changes_max, is_exhaustive=not self._is_cut)

    def _is_spent(self) -> bool:
        """Whether no row is left for the set of facts that is looked at."""
        is_spent = self._rows_left <= self._floor
        self._is_cut |= is_spent
        return is_spent

    def _promising(self, number: int) -> list[tuple[Fact, ...]]:
        """Sets of facts that may turn it, the most promising first; of as promising ones those of the fewest values."""
        ranked: list[tuple[int, int, int, tuple[Fact, ...]]] = []
        for place, chosen in enumerate(combinations(self._facts, number)):
            free = self._free(chosen)
            if self._removes_obstacles(chosen, free) and (least := self._least(free)) <= self._start.score_max:
                ranked.append((least, math.prod(len(self._rows_alone(fact).sizes) for fact in chosen), place, chosen))
        return [chosen for *_, chosen in sorted(ranked)]

    def _free(self, chosen: tuple[Fact, ...]) -> frozenset[int]:
        """The columns that may differ. What is UNKNOWN stays so unless it is among the facts, and so does what follows
        from it."""
        unknown = self._unknown - {fact.column for fact in chosen}
        stay = unknown | {derived for derived, sources in FEEDING.items() if sources & unknown}
        return frozenset().union(*(self._touched[fact] for fact in chosen)) - stay

    def _removes_obstacles(self, chosen: tuple[Fact, ...], free: frozenset[int]) -> bool:
        if self._unknown and self._unknown <= {fact.column for fact in chosen}:
            return True  # then everything is known, and the model may answer
        return all(any(COLUMN.get(bound.feature) in free for bound in rule.bounds) for rule in self._start.obstacles)

    def _least(self, free: frozenset[int]) -> int:
        return -SCORE_MAX if self._row_bounds is None else self._row_bounds.least_score(free)

    def _better(self, chosen: tuple[Fact, ...], best: Found | None) -> Found | None:
        if not self._meet(chosen):
            return self._better_apart(chosen, best)
        for values in self._in_every_order(chosen, best):
            for begin in range(0, len(values), ROWS_AT_ONCE):
                if self._is_spent():
                    return best
                part = values[begin : begin + ROWS_AT_ONCE]
                size = self._sizes(chosen, part)
                if best is not None:
                    part, size = part[size < best.size], size[size < best.size]
                self._rows_left -= len(part)
                if len(part):
                    rows, possible = self._relations.rows_with([fact.column for fact in chosen], part)
                    best = self._best_of(chosen, rows[possible], size[possible], best)
        return best

    def _better_apart(self, chosen: tuple[Fact, ...], best: Found | None) -> Found | None:
        """Of facts that don't meet: each one's rows are known, and put together column by column."""
        known = []
        for fact in chosen:
            alone, may_turn = self._rows_alone(fact), self._free_of(chosen, fact)
            kept = self._may_turn(alone.rows, may_turn)
            known.append(_Alone(alone.rows[kept], alone.sizes[kept]))
        moving = [np.array(sorted(self._touched[fact]), dtype=np.int64) for fact in chosen]
        first, *others = known
        rest = max(math.prod(len(each.sizes) for each in others), 1)
        step = max(ROWS_AT_ONCE // rest, 1)
        for begin in range(0, len(first.sizes), step):
            if self._is_spent():
                break
            spans = [np.arange(begin, min(begin + step, len(first.sizes)))]
            spans += [np.arange(len(each.sizes)) for each in others]
            places = [each.ravel() for each in np.meshgrid(*spans, indexing="ij")]
            size = np.sum([each.sizes[place] for each, place in zip(known, places, strict=True)], axis=0)
            if best is not None:
                places, size = [each[size < best.size] for each in places], size[size < best.size]
            self._rows_left -= len(size)
            rows = first.rows[places[0]]
            for each, place, columns in zip(others, places[1:], moving[1:], strict=True):
                rows[:, columns] = each.rows[np.ix_(place, columns)]
            best = self._best_of(chosen, rows, size, best)
        return best

    def _best_of(self, chosen: tuple[Fact, ...], rows: Matrix, size: Matrix, best: Found | None) -> Found | None:
        """The smallest of the rows that turn it; the rows are possible, and smaller than the best."""
        turned = np.flatnonzero(self._start.is_turned(rows)) if len(rows) else np.array([], dtype=np.intp)
        if not len(turned):
            return best
        place = int(turned[np.argmin(size[turned])])
        return Found(chosen, rows[place], int(size[place]), is_exhaustive=True)

    def _sizes(self, chosen: Sequence[Fact], values: Matrix) -> Matrix:
        row = self._start.row
        parts = [sizes(fact, int(row[fact.column]), values[:, place]) for place, fact in enumerate(chosen)]
        return np.asarray(np.sum(parts, axis=0))

    # Values to be looked at

    def _in_every_order(self, chosen: tuple[Fact, ...], best: Found | None) -> Iterator[Matrix]:
        """Matrices of values, a column a fact."""
        for order in permutations(chosen):
            values = np.empty((1, 0), dtype=np.int64)
            for number, fact in enumerate(order):
                values = self._extended(order[:number], values, fact, order[number + 1 :], best)
            places = [order.index(fact) for fact in chosen]
            yield values[:, places]

    def _meet(self, chosen: tuple[Fact, ...]) -> bool:
        return any(self._touched[one] & self._touched[other] for one, other in combinations(chosen, 2))

    def _free_of(self, chosen: tuple[Fact, ...], fact: Fact) -> frozenset[int]:
        """What the other facts may move."""
        return frozenset().union(*(self._touched[other] for other in chosen if other is not fact))

    def _rows_alone(self, fact: Fact) -> _Alone:
        """The possible rows in which this fact alone is otherwise."""
        if fact not in self._alone:
            values = self._tried(fact, self._start.row[np.newaxis], is_last=True)[1][:, np.newaxis]
            rows, possible = self._relations.rows_with([fact.column], values)
            self._alone[fact] = _Alone(rows[possible], self._sizes((fact,), values[possible]))
        return self._alone[fact]

    def _extended(
        self, before: tuple[Fact, ...], values: Matrix, fact: Fact, after: tuple[Fact, ...], best: Found | None
    ) -> Matrix:
        """The values of some facts with each value of another; those that can't turn it any more are left out."""
        parts = [np.empty((0, len(before) + 1), dtype=np.int64)]
        for begin in range(0, len(values), BASES_AT_ONCE):
            if self._is_spent():
                break
            part = values[begin : begin + BASES_AT_ONCE]
            parts.append(self._extended_part(before, part, fact, after, best))
        return np.concatenate(parts)

    def _extended_part(
        self, before: tuple[Fact, ...], values: Matrix, fact: Fact, after: tuple[Fact, ...], best: Found | None
    ) -> Matrix:
        rows, _ = self._relations.rows_with([each.column for each in before], values)
        places, tried = self._tried(fact, rows, is_last=not after)
        extended = np.column_stack((values[places], tried))
        if best is not None:
            extended = extended[self._sizes((*before, fact), extended) < best.size]
        if not after:
            return extended
        self._rows_left -= len(extended)
        rows, possible = self._relations.rows_with([each.column for each in (*before, fact)], extended)
        free = frozenset().union(*(self._touched[each] for each in after))
        may_turn = self._may_turn(rows, free)
        # What isn't possible yet may become so by the facts after it, but comes last.
        return np.concatenate((extended[may_turn & possible], extended[may_turn & ~possible]))

    def _may_turn(self, rows: Matrix, free: frozenset[int]) -> NDArray[np.bool_]:
        if self._bounds is None:
            return np.ones(len(rows), dtype=np.bool_)
        return np.asarray(self._bounds.least_score(rows, free) <= self._start.score_max)

    def _tried(self, fact: Fact, rows: Matrix, *, is_last: bool) -> tuple[NDArray[np.intp], Matrix]:
        """Row numbers, and values of the fact that are worth a look in these rows.

        Of each cell the value that is nearest to what was observed; both ends where another fact, changed after this
        one, may make the further end the better one.
        """
        edges = self._edges.values(fact, rows)
        at = int(self._start.row[fact.column])
        below = np.where(edges == NO_EDGE, NO_EDGE, edges - 1)
        near = np.where(edges > at, edges, below) if is_last and at >= 0 else np.concatenate((edges, below), axis=1)
        ends = np.array([fact.least, fact.least + 1], dtype=np.int64)
        tried = np.concatenate((near, np.broadcast_to(ends, (len(rows), len(ends)))), axis=1)
        if fact.column == AMOUNT_COLUMN and self._attained is not None:
            tried = self._attainable(tried)
        wanted = (tried >= fact.least) & (tried <= fact.greatest) & (tried != at)
        places, values = np.nonzero(wanted)[0], tried[wanted]
        pairs = np.unique(np.column_stack((places, values)), axis=0)
        return pairs[:, 0], pairs[:, 1]

    def _attainable(self, tried: Matrix) -> Matrix:
        assert self._attained is not None
        distinct, places = np.unique(tried, return_inverse=True)
        both = [self._attained(value) if value >= 0 else (NO_EDGE, NO_EDGE) for value in distinct.tolist()]
        return np.array(both, dtype=np.int64)[places].reshape(len(tried), -1)
