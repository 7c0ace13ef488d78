"""Routing: which breaker state governs a payment, and whether the model may answer it.

Invariants
1. The worst state among the payment's scopes governs, in the order UNKNOWN, FORCED_OPEN, OPEN, HALF_OPEN, CLOSED.
   Of several on probation the least share governs. Among equals `all` comes first, then the model's version, then
   channels and segments by name.
2. The model answers everything in CLOSED. In HALF_OPEN it answers the accounts of a share that the record of the
   governing scope and the present draw choose, so whoever names payments can't choose, and whoever tries again with
   another id draws nothing anew.
3. A scope that isn't recorded is CLOSED only where `all` is recorded; otherwise everything is UNKNOWN (I4).
4. A drill never changes which state governs, nor whom it answers by: only how decisions name the scope.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import (
    ALL,
    SEGMENT_OTHER,
    DeclaresOf,
    channel_scope,
    is_part,
    model_scope,
    segment_scope,
)
from pipeline.breaker.settings import BreakerSettings
from pipeline.breaker.states import BreakerRecord, unwritten
from pipeline.domain.decision import DRILL_PREFIX, BreakerState


class Governing(NamedTuple):
    """The state and scope that govern a payment, and its route; the first fields of `pipeline.decide.verdict.Mode`."""

    state: BreakerState
    scope: str
    use_model: bool


def _declares_none(_name: str, _value: str) -> bool:
    return False


class Routing:
    """The routes of one batch's payments. `uniform` answers for all of them; it is None where payments differ."""

    def __init__(
        self,
        records: Mapping[str, BreakerRecord],
        model_version: str | None,
        declares: DeclaresOf = _declares_none,
        draw: int = 0,
    ) -> None:
        """Take the states of the scopes. declares: the segments that are counted on their own. draw: `draw_of` now."""
        self._declares, self._draw = declares, draw
        everywhere = [ALL] if model_version is None else [ALL, model_scope(model_version)]
        self._worst = _worst(records, everywhere)
        self._parts = {
            scope: record
            for scope, record in records.items()
            if is_part(scope) and _severity(record) < _severity(self._worst)
        }
        is_uniform = not self._parts and self._worst.state is not BreakerState.HALF_OPEN
        self.uniform: Governing | None = _governing(self._worst, "", draw) if is_uniform else None

    @property
    def is_plain(self) -> bool:
        """True where every scope is CLOSED, so that `uniform` lets the model answer everything."""
        return self.uniform is not None and self.uniform.use_model

    def route_of(self, account_id: str, segments: Mapping[str, str], channel: str | None = None) -> Governing:
        if self.uniform is not None:
            return self.uniform
        governing = self._worst
        for scope in sorted(self._scopes_of(segments, channel)):
            found = self._parts.get(scope)
            if found is not None and _severity(found) < _severity(governing):
                governing = found
        return _governing(governing, account_id, self._draw)

    def _scopes_of(self, segments: Mapping[str, str], channel: str | None) -> set[str]:
        """Return the scopes of a payment's channel and segments, and that of the others where one is counted there.

        A person may have opened a segment that isn't counted on its own.
        """
        scopes = {segment_scope(name, value) for name, value in segments.items()}
        if any(not self._declares(name, value) for name, value in segments.items()):
            scopes.add(SEGMENT_OTHER)
        return scopes if channel is None else scopes | {channel_scope(channel)}


def draw_of(now_ms: int, settings: BreakerSettings) -> int:
    """Return the number of the present draw. What an account draws on probation holds for an open period.

    With one draw for ever, a scope of few accounts may have none in its sample, and nothing would ever judge it.
    """
    return now_ms // (settings.open_period_s * 1000)


def _governing(record: BreakerRecord, account_id: str, draw: int) -> Governing:
    use_model = record.state is BreakerState.CLOSED
    if record.state is BreakerState.HALF_OPEN:
        use_model = half_open_bucket(record, account_id, draw) < record.share_percent * 100
    return Governing(record.state, marked_scope(record), use_model)


def marked_scope(record: BreakerRecord) -> str:
    """Return the scope as decisions name it: `drill:ID:SCOPE` where a drill took the model out of the loop."""
    return f"{DRILL_PREFIX}{record.drill}:{record.scope}" if record.is_drill else record.scope


def half_open_bucket(record: BreakerRecord, account_id: str, draw: int) -> int:
    """Return a number from 0 to 9,999, evenly spread and the same for an account in one draw of one probation.

    The hash is keyed with a salt that is drawn for the probation, so nobody can tell which accounts pass; moments and
    versions alone could be tried one by one. A payment's id takes no part: who sends a payment that was stopped again,
    under another id, would draw again until the model that is on probation answers. A growing share keeps the accounts
    that it has in a draw, and adds more.
    """
    key = hashlib.sha256(f"{record.scope}\n{record.salt}\n{draw}".encode()).digest()
    return int.from_bytes(hashlib.blake2b(account_id.encode(), key=key, digest_size=8).digest()) % 10_000


_RANK: Final = {
    BreakerState.UNKNOWN: 0,
    BreakerState.FORCED_OPEN: 1,
    BreakerState.OPEN: 2,
    BreakerState.HALF_OPEN: 3,
    BreakerState.CLOSED: 4,
}


def _severity(record: BreakerRecord) -> tuple[int, int, bool]:
    """Order records from the strictest on; what really tripped goes before a drill that is as strict."""
    return _RANK[record.state], record.share_percent, record.is_drill


def _worst(records: Mapping[str, BreakerRecord], scopes: list[str]) -> BreakerRecord:
    if ALL not in records:
        return unwritten(ALL, is_store_empty=True)
    return min([records[scope] for scope in scopes if scope in records], key=_severity)
