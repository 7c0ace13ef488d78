"""Decide again, from what a stored decision holds, and compare the bytes (I3).

The snapshot, the archived policy and model, and the recorded breaker mode give the verdict; the recorded wall clock and
agent complete the record. Also recomputed: every feature that follows from the payment and the policy, and every
feature that follows from other features, so that those can't be altered even together with their hash. Window counts
came from state that is gone: that these are as they were written is what the audit log's chain shows, not this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from pipeline.decide.decision_encoder import DecisionEncoder, encode_longs
from pipeline.decide.event_features import EventRows
from pipeline.decide.verdict import Mode, Regime, decide
from pipeline.domain.decision import BreakerState, Route
from pipeline.domain.features import EVENT, FEATURES, STATE_SLICE, Matrix, feature_matrix
from pipeline.domain.log import Source
from pipeline.domain.payment import Decoded
from pipeline.domain.refusals import Refusal, refusal_of
from pipeline.io.avro.wire import Datum, StoredDecision, WireFormat
from pipeline.replay.archive_files import Missing, RegimeArchive

ROWS_MAX: Final = 2048
"""Decided at once: beyond some hundreds a batch is no cheaper, and memory stays small."""
_HEADER_BYTES: Final = 10
_ZONE_DEPENDENT: Final = frozenset({"local_minute_of_day", "is_weekend"})
"""Recorded, not recomputed: a later change of a country's time zone rules must change no verdict on an old decision."""


class Result(StrEnum):
    IDENTICAL = "IDENTICAL"
    DIFFERS = "DIFFERS"
    UNVERIFIABLE = "UNVERIFIABLE"


class Check(NamedTuple):
    decision_id: str
    result: Result
    differing: tuple[str, ...] = ()  # names of fields, in the schema's order
    why: str = ""  # for UNVERIFIABLE: what is missing


class _RegimeKey(NamedTuple):
    policy_hash: bytes
    model_version: str
    model_hash: bytes
    agent_id: str


def verify(decisions: Sequence[StoredDecision], archive: RegimeArchive) -> list[Check]:
    """One check a decision, in order."""
    places: dict[_RegimeKey, list[int]] = {}
    checks: dict[int, Check] = {}
    for place, decision in enumerate(decisions):
        refusal = refusal_of(decision.transaction, decision.transaction.account_id.encode(), _source(decision.fields))
        if refusal is None:
            places.setdefault(_regime_key(decision.fields), []).append(place)
        else:
            why = f"its payment would be refused as {refusal.code}: {refusal.detail}"
            checks[place] = Check(decision.fields["decision_id"], Result.UNVERIFIABLE, why=why)
    for key, group in places.items():
        in_force = archive.regime_of(key.policy_hash, key.model_version, key.model_hash)
        for begin in range(0, len(group), ROWS_MAX):
            part = group[begin : begin + ROWS_MAX]
            stored = [decisions[place] for place in part]
            checks.update(zip(part, _checks(stored, in_force, key.agent_id), strict=True))
    return [checks[place] for place in range(len(decisions))]


def mode_of(fields: Datum) -> Mode:
    """The breaker's word on this payment. Behind a hard guardrail nobody asked whether the model may answer."""
    return Mode(BreakerState(fields["breaker_state"]), fields["breaker_scope"], fields["route"] == Route.MODEL)


def _regime_key(fields: Datum) -> _RegimeKey:
    return _RegimeKey(fields["policy_hash"], fields["model_version"], fields["model_hash"], fields["agent_id"])


def _source(fields: Datum) -> Source:
    return Source(fields["source_partition"], fields["source_offset"], fields["source_timestamp_ms"])


def _checks(stored: Sequence[StoredDecision], in_force: Regime | Missing, agent_id: str) -> Iterator[Check]:
    if isinstance(in_force, Missing):
        for decision in stored:
            yield Check(decision.fields["decision_id"], Result.UNVERIFIABLE, why=in_force.why)
        return
    features = np.array([decision.features for decision in stored], dtype=np.int64)
    matrix = recomputed(stored, features, in_force)
    for decision, row, again, value in zip(
        stored, features, matrix, _decided_again(stored, features, in_force, agent_id), strict=True
    ):
        differing = () if value[_HEADER_BYTES:] == decision.body else _differing(decision, value)
        differing += tuple(f"snapshot.features.{name}" for name in _unequal(row, again))
        if not _is_route_allowed(decision.fields, in_force) and "route" not in differing:
            differing += ("route",)
        result = Result.DIFFERS if differing else Result.IDENTICAL
        yield Check(decision.fields["decision_id"], result, differing)


def _unequal(row: Matrix, again: Matrix) -> list[str]:
    return [] if np.array_equal(row, again) else [FEATURES[column] for column in np.flatnonzero(row != again)]


def _is_route_allowed(fields: Datum, in_force: Regime) -> bool:
    """The model answers while the breaker is CLOSED, never while it is OPEN or UNKNOWN, and some of HALF_OPEN (I4)."""
    state, route = BreakerState(fields["breaker_state"]), Route(fields["route"])
    if route is Route.GUARDRAIL or state is BreakerState.HALF_OPEN:
        return True
    is_model_due = state is BreakerState.CLOSED and in_force.model is not None
    return is_model_due == (route is Route.MODEL)


def recomputed(stored: Sequence[StoredDecision], features: Matrix, in_force: Regime) -> Matrix:
    """The features again, from payment, policy and the recorded state."""
    row_of = EventRows(in_force.policy).row
    event = np.array([row_of(decision.transaction) for decision in stored], dtype=np.int64)
    for column, name in enumerate(EVENT):
        if name in _ZONE_DEPENDENT:
            event[:, column] = features[:, column]
    return feature_matrix(event, features[:, STATE_SLICE])


def _decided_again(stored: Sequence[StoredDecision], features: Matrix, in_force: Regime, agent_id: str) -> list[bytes]:
    encoder = DecisionEncoder(WireFormat().header("decision.v1"), in_force, agent_id)
    verdicts = decide(features, [mode_of(decision.fields) for decision in stored], in_force)
    payments = [
        Decoded(decision.transaction, decision.snapshot[: len(decision.snapshot) - len(row)])
        for decision, row in zip(stored, encode_longs(features), strict=True)
    ]
    sources = [_source(decision.fields) for decision in stored]
    return encoder.encode(
        payments, sources, features, verdicts, [decision.fields["decided_at_ms"] for decision in stored]
    )


def _differing(decision: StoredDecision, value: bytes) -> tuple[str, ...]:
    """Which fields are otherwise than they were; "encoding" where only the bytes are."""
    again = WireFormat().decode("decision.v1", value)
    if isinstance(again, Refusal):
        return ("snapshot",)
    named = tuple(name for name, was in decision.fields.items() if again[name] != was)
    return named or ("encoding",)
