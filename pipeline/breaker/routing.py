"""Routing: which breaker state governs a payment, and whether the model may answer it.

Invariants
1. The worst state among the payment's scopes governs, in the order UNKNOWN, FORCED_OPEN, OPEN, HALF_OPEN, CLOSED.
   Among equals `all` comes first, then the model's version, then segments by name.
2. The model answers everything in CLOSED. In HALF_OPEN it answers a share that the transaction id and the record of
   the governing scope choose, so every worker chooses the same, and whoever names payments can't choose.
3. A scope that isn't recorded is CLOSED only where `all` is recorded; otherwise everything is UNKNOWN (I4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import ALL, model_scope, segment_scope
from pipeline.breaker.states import BreakerRecord
from pipeline.domain.decision import BreakerState

SEGMENT_OTHER: Final = "segment:other"
"""The scope of all segments beyond those that are counted on their own."""
SEGMENTS_MAX: Final = 256
"""Most segments that are counted on their own. Each takes about 1 KB of Redis in every stored reading, of which 160
are kept."""


class Governing(NamedTuple):
    """The state and scope that govern a payment, and its route; the same fields as `pipeline.decide.verdict.Mode`."""

    state: BreakerState
    scope: str
    use_model: bool


class Routing:
    """The routes of one batch's payments. `uniform` answers for all of them; it is None where payments differ."""

    def __init__(
        self,
        records: Mapping[str, BreakerRecord],
        model_version: str | None,
        half_open_share_percent: int,
        tracked_segments: Set[str] = frozenset(),
    ) -> None:
        """Take the states of the scopes; `tracked_segments` are needed only where SEGMENT_OTHER isn't closed."""
        self._share_percent, self._tracked = half_open_share_percent, tracked_segments
        everywhere = [ALL] if model_version is None else [ALL, model_scope(model_version)]
        self._worst = _worst(records, everywhere)
        self._segments = {
            scope: record.state
            for scope, record in records.items()
            if scope.startswith("segment:") and _RANK[record.state] < _RANK[self._worst[0]]
        }
        self._probations = {
            scope: _probation(record) for scope, record in records.items() if record.state is BreakerState.HALF_OPEN
        }
        state, scope = self._worst
        is_uniform = not self._segments and state is not BreakerState.HALF_OPEN
        self.uniform: Governing | None = Governing(state, scope, state is BreakerState.CLOSED) if is_uniform else None

    @property
    def is_plain(self) -> bool:
        """True where every scope is CLOSED, so that `uniform` lets the model answer everything."""
        return self.uniform is not None and self.uniform.use_model

    def route_of(self, transaction_id: str, segments: Mapping[str, str]) -> Governing:
        if self.uniform is not None:
            return self.uniform
        state, scope = self._worst
        for candidate in sorted({scope for name, value in segments.items() for scope in self._scopes_of(name, value)}):
            found = self._segments.get(candidate)
            if found is not None and _RANK[found] < _RANK[state]:
                state, scope = found, candidate
        return Governing(state, scope, self._may_answer(state, scope, transaction_id))

    def _scopes_of(self, name: str, value: str) -> tuple[str, ...]:
        """Return a segment's own scope, and that of the others where it is counted there.

        A person may have opened a segment that isn't counted on its own.
        """
        scope = segment_scope(name, value)
        return (scope,) if scope in self._tracked else (scope, SEGMENT_OTHER)

    def _may_answer(self, state: BreakerState, scope: str, transaction_id: str) -> bool:
        if state is BreakerState.HALF_OPEN:
            return half_open_bucket(self._probations[scope], transaction_id) < self._share_percent * 100
        return state is BreakerState.CLOSED


def half_open_bucket(probation: str, transaction_id: str) -> int:
    """Return a number from 0 to 9,999, evenly spread and for ever the same for an id in one probation.

    The publisher names the id, and a hash of that alone would let it choose ids that pass. The hash is keyed with the
    probation, which no publisher is told: its beginning, to the millisecond of Redis' clock, and the store's revision.
    """
    key = hashlib.sha256(probation.encode()).digest()
    return int.from_bytes(hashlib.blake2b(transaction_id.encode(), key=key, digest_size=8).digest()) % 10_000


def _probation(record: BreakerRecord) -> str:
    return f"{record.scope}\n{record.version}\n{record.since_ms}"


_RANK: Final = {
    BreakerState.UNKNOWN: 0,
    BreakerState.FORCED_OPEN: 1,
    BreakerState.OPEN: 2,
    BreakerState.HALF_OPEN: 3,
    BreakerState.CLOSED: 4,
}


def _worst(records: Mapping[str, BreakerRecord], scopes: list[str]) -> tuple[BreakerState, str]:
    if ALL not in records:
        return BreakerState.UNKNOWN, ALL
    states = [(records[scope].state, scope) for scope in scopes if scope in records]
    return min(states, key=lambda found: _RANK[found[0]])
