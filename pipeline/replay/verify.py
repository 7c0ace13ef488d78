"""Decide again, from what a stored decision holds, and compare the bytes (I3).

The snapshot, the archived policy, model and feeds, the recorded breaker mode and whether the model failed give the
verdict, with codes, values and limits; the phrase book that the decision names gives the text, which a later one may
word otherwise; the recorded wall clock and agent complete the record. Also recomputed: every feature that follows from
the payment, the policy and the feeds, and every feature that follows from other features, so that those can't be
altered even together with their hash. Window counts came from state that is gone, and so did the model's failure: that
these are as they were written is what the audit log's chain shows, not this.

A decision of an earlier release of decision.v1 is encoded again in that release, so its bytes are compared as they were
written. A feature that its writer did not know took no part in it (pipeline.replay.feature_lists).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.decide.decision_encoder import DecisionEncoder, encode_longs, with_position
from pipeline.decide.event_features import EventRows
from pipeline.decide.feeds.feed import NOT_THERE, FeedName
from pipeline.decide.phrase_books.books import BOOKS, book_of
from pipeline.decide.phrase_books.money import foreign_money
from pipeline.decide.reasons.asking import read_by, silencing
from pipeline.decide.verdict import Mode, Regime, decide, regime
from pipeline.domain.decision import BreakerState, Decision, Route, StoredDecision
from pipeline.domain.features import EVENT, FEATURES, STATE_SLICE, Matrix, feature_matrix
from pipeline.domain.payment import Decoded, payment_digest
from pipeline.domain.refusals import refusal_of
from pipeline.io.avro.wire import WireFormat
from pipeline.io.avro.writers import Release, down_to, header_of, is_read_as_it_is, resolution_of_itself
from pipeline.replay.feature_lists import held_columns, observed_by
from pipeline.replay.regimes import NO_MODEL, FeedsFault, Missing, RegimeKey, RegimeOf, feeds_unasked

ROWS_MAX: Final = 2048
"""Decided at once: beyond some hundreds a batch is no cheaper, and memory stays small."""
_HEADER_BYTES: Final = 10
_ZONE_DEPENDENT: Final = frozenset({"local_minute_of_day", "is_weekend", "logged_minute_of_day"})
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


class _Group(NamedTuple):
    """The key that decisions share if they can be decided again together."""

    regime: RegimeKey
    agent_id: str
    phrase_book_version: str
    release: int  # of decision.v1, in which they were written


def verify(
    decisions: Sequence[StoredDecision], regime_of: RegimeOf, feeds_fault: FeedsFault = feeds_unasked
) -> list[Check]:
    """One check a decision, in order. A decision by a feed that nobody is proved to have published is UNVERIFIABLE,
    although it comes out the same."""
    places: dict[_Group, list[int]] = {}
    checks: dict[int, Check] = {}
    for place, stored in enumerate(decisions):
        decision = stored.decision
        payment = decision.snapshot.transaction
        refusal = refusal_of(payment, payment.account_id.encode(), decision.source)
        if refusal is None:
            group = _Group(regime_key(decision), decision.agent_id, decision.phrase_book_version, stored.release)
            places.setdefault(group, []).append(place)
        else:
            why = f"its payment would be refused as {refusal.code}: {refusal.detail}"
            checks[place] = Check(decision.decision_id, Result.UNVERIFIABLE, why=why)
    for group, theirs in places.items():
        in_force = worded(regime_of(group.regime), group.phrase_book_version)
        for begin in range(0, len(theirs), ROWS_MAX):
            part = theirs[begin : begin + ROWS_MAX]
            stored_part = [decisions[place] for place in part]
            checks.update(zip(part, _checks(stored_part, in_force, group), strict=True))
    return [_by_proved_feeds(checks[place], stored, feeds_fault) for place, stored in enumerate(decisions)]


def _by_proved_feeds(check: Check, stored: StoredDecision, feeds_fault: FeedsFault) -> Check:
    if check.result is not Result.IDENTICAL:
        return check
    why = feeds_fault(regime_key(stored.decision), stored.decision.decided_at_ms)
    return check if why is None else Check(check.decision_id, Result.UNVERIFIABLE, why=why)


def worded(in_force: Regime | Missing, phrase_book_version: str) -> Regime | Missing:
    """The regime, saying what it decides in the words of that phrase book."""
    if isinstance(in_force, Missing) or in_force.book.version == phrase_book_version:
        return in_force
    book = book_of(phrase_book_version)
    if book is None:
        return Missing(_unknown_book(phrase_book_version))
    return regime(in_force.policy, in_force.model, in_force.feeds, book=book)


def _unknown_book(version: str) -> str:
    if not version:
        return "it names no phrase book: it was made before there were versions of one"
    return f"it is worded in phrase book {version!r:.40}, and this release has only {', '.join(BOOKS)}"


def regime_key(decision: Decision) -> RegimeKey:
    return RegimeKey(
        decision.policy_hash,
        decision.model_version,
        decision.model_hash,
        FeedName(decision.exchange_rates_version, decision.exchange_rates_hash),
        FeedName(decision.sanctions_version, decision.sanctions_hash),
    )


def policy_key(decision: Decision) -> RegimeKey:
    """The decision's policy without a model or feeds: enough to say what its rules are."""
    return RegimeKey(decision.policy_hash, NO_MODEL, b"", NOT_THERE, NOT_THERE)


def mode_of(decision: Decision) -> Mode:
    """The breaker's word on this payment. Behind a hard guardrail nobody asked whether the model may answer."""
    return Mode(decision.breaker_state, decision.breaker_scope, decision.route is Route.MODEL)


def _checks(stored: Sequence[StoredDecision], in_force: Regime | Missing, group: _Group) -> Iterator[Check]:
    if isinstance(in_force, Missing):
        for each in stored:
            yield Check(each.decision.decision_id, Result.UNVERIFIABLE, why=in_force.why)
        return
    decisions = [each.decision for each in stored]
    features = observed_by(decisions, [group.release] * len(decisions), in_force)
    held = held_columns(group.release)
    matrix = recomputed(decisions, features, in_force)[:, held]
    again = _decided_again(stored, features, in_force, group.agent_id)
    for each, row, computed, value in zip(stored, features, matrix, again, strict=True):
        body = _as_written(value[_HEADER_BYTES:], each)
        differing = () if body == each.body else _differing(each, body)
        differing += tuple(f"snapshot.features.{name}" for name in _unequal(row[held], computed, held))
        if not _is_route_allowed(each.decision, row, in_force) and "route" not in differing:
            differing += ("route",)
        result = Result.DIFFERS if differing else Result.IDENTICAL
        yield Check(each.decision.decision_id, result, differing)


def _unequal(row: Matrix, again: Matrix, held: NDArray[np.intp]) -> list[str]:
    return [] if np.array_equal(row, again) else [FEATURES[held[place]] for place in np.flatnonzero(row != again)]


def _is_route_allowed(decision: Decision, row: Matrix, in_force: Regime) -> bool:
    """The model answers while the breaker is CLOSED, never while it is OPEN or UNKNOWN, and some of HALF_OPEN (I4).

    It never answers where something that counts is UNKNOWN (`silencing`), or where the decision says that it failed.
    """
    state, route = decision.breaker_state, decision.route
    is_silent = bool(silencing(row[np.newaxis], read_by(in_force.model)).any()) or decision.has_model_failed
    if route is Route.GUARDRAIL or (state is BreakerState.HALF_OPEN and not is_silent):
        return True
    is_model_due = state is BreakerState.CLOSED and in_force.model is not None and not is_silent
    return is_model_due == (route is Route.MODEL)


def recomputed(decisions: Sequence[Decision], features: Matrix, in_force: Regime) -> Matrix:
    """The features again, from payment, policy, feeds and the recorded state."""
    row_of = EventRows(in_force.policy, in_force.feeds).row
    event = np.array(
        [row_of(each.snapshot.transaction, each.source_timestamp_ms) for each in decisions], dtype=np.int64
    )
    for column, name in enumerate(EVENT):
        if name in _ZONE_DEPENDENT:
            event[:, column] = features[:, column]
    return feature_matrix(event, features[:, STATE_SLICE])


def _decided_again(stored: Sequence[StoredDecision], features: Matrix, in_force: Regime, agent_id: str) -> list[bytes]:
    encoder = DecisionEncoder(WireFormat().header("decision.v1"), in_force, agent_id)
    decisions = [each.decision for each in stored]
    failed = [row for row, decision in enumerate(decisions) if decision.has_model_failed]
    own = [foreign_money(decision.snapshot.transaction) for decision in decisions]
    verdicts = decide(features, [mode_of(decision) for decision in decisions], in_force, failed=failed, own=own)
    positions = np.array([decision.snapshot.outcomes_position for decision in decisions], dtype=np.int64)
    recorded = np.array([decision.snapshot.features for decision in decisions], dtype=np.int64)
    observed = with_position(recorded, positions)
    payments = [
        Decoded(
            each.decision.snapshot.transaction,
            each.resolved_snapshot[: len(each.resolved_snapshot) - len(row)],
            payment_digest(each.decision.snapshot.transaction),
        )
        for each, row in zip(stored, encode_longs(observed), strict=True)
    ]
    sources = [decision.source for decision in decisions]
    return encoder.encode(payments, sources, observed, verdicts, [decision.decided_at_ms for decision in decisions])


def _as_written(again: bytes, stored: StoredDecision) -> bytes:
    """A decision that was encoded in the current release, in the one that the stored decision was written in.

    `input_hash` is of the snapshot as it is written there.
    """
    release = Release("decision.v1", stored.release)
    if is_read_as_it_is(release):
        return again
    down = down_to(release)
    body = down.resolved(again)
    same = resolution_of_itself(release)
    begin, end = same.span(body, "snapshot")
    at, behind = same.span(body, "input_hash")
    return body[:at] + hashlib.sha256(body[begin:end]).digest() + body[behind:]


def _differing(stored: StoredDecision, body: bytes) -> tuple[str, ...]:
    """Which fields are otherwise than they were; "encoding" where only the bytes are."""
    again = WireFormat().decode_decision_record(header_of(Release("decision.v1", stored.release)) + body)
    if not isinstance(again, Decision):
        return ("snapshot",)
    fields = zip(Decision._fields, stored.decision, again, strict=True)
    return tuple(name for name, was, now in fields if was != now) or ("encoding",)
