"""Moving the champion: the registry first, whose chain is the truth, then the database, one person at a time.

Invariants
1. Nobody moves it whom the gate refuses, or who is no OPERATOR; what is refused moves nothing and is recorded.
2. The alias is written before the row that tells of it. Whoever dies between the two leaves a record without a row,
   which the next move finds and writes down before anything else.
3. A registry whose chain ends before what was recorded, or says otherwise there, is moved by nobody.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from models.artefact.files import load_contents
from models.artefact.strict import ModelRefused, refuse
from models.versions.alias_files import latest_seen, move_alias
from models.versions.aliases import ALL_PPM, AliasRecord, signature_seen_at_ms
from models.versions.approval_files import pinned_approvals
from models.versions.artefact_files import digest_of, read_artefact
from models.versions.chain_files import chain_length
from models.versions.history import Event, retired
from models.versions.history_files import append_history, read_history
from models.versions.loading_files import require_named
from models.versions.locations import HISTORY, Alias
from models.versions.records import Signing
from models.versions.registry_files import Registry
from models.versions.signature_files import require_signed
from pipeline.domain.free_text import reason_fault, shown, tidied
from pipeline.io.clock import now_ms
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, failures_named
from pipeline.keys.key_sets import KeySet
from pipeline.people.act_store import read_registry, sign_act
from pipeline.people.key_files import Identity
from pipeline.people.registry import Registry as People
from pipeline.promotion.gate import Reason, Refusal, refusals
from pipeline.promotion.gathering_store import (
    Asked,
    Gathered,
    Sources,
    Standpoint,
    Terms,
    gathered,
    mover_fault,
    standpoint,
)
from pipeline.promotion.moves import MoveEvent, is_shared, moved, next_share_ppm, way_back
from pipeline.promotion.progress_store import progress_of
from pipeline.promotion.stop_rule import step_reasons
from pipeline.promotion.store import Refused, append_move, append_refusal, take_turn

SALT_BYTES: Final = 32
"""As many hexadecimal digits as a record may hold, twice."""
REASONS_KEPT_MAX: Final = 100
REASON_CHARACTERS_MAX: Final = 1_000
"""As the history of a registry has them."""
NAME_CHARACTERS_MAX: Final = 200
"""As the database has them."""
REFUSALS_TOLD_MAX: Final = 1_000
"""Records of a history from which on refusals stand in the database alone.

Whoever asks every minute for what is refused would fill it in a week, and nobody could go back any more.
"""
STOP_RULE: Final = "the stop rule"
FOUND_REASON: Final = "It stood in the registry; whoever moved the alias did not write down why."


class Desk(NamedTuple):
    """Where the champion is moved. signing: the key by which the registry's records are signed."""

    sources: Sources
    keys: KeySet
    signing: Signing
    frauds: Callable[[], Sequence[str]]
    """The ids of payments that turned out to be fraud. Raises BrokerFailed."""

    @property
    def registry(self) -> Registry:
        return self.sources.registry


class Outcome(NamedTuple):
    """What came of it: a record of the alias, or why there is none."""

    record: AliasRecord | None
    refusals: tuple[Refusal, ...] = ()


def promote(connection: Connection, desk: Desk, by: Identity, version: str, reason: str, terms: Terms) -> Outcome:
    """Give a version its first share, where the gate has nothing against it.

    Raises DatabaseRefused, DatabaseUnavailable, ModelRefused where the registry can't be written.
    """
    with failures_named(), connection.transaction():
        turn = _begin(connection, desk)
        asked = Asked(desk.sources, desk.keys, turn.people, version, by, turn.now_ms)
        found = gathered(connection, asked, turn.standing, terms, is_step=False)
        against = [*refusals(found.facts), *_reason_refusals(reason)]
        if against:
            return _refused(connection, desk, "PROMOTE", turn, version, by, against)
        assert terms.limits is not None, "the gate refuses where there are none"
        share_ppm = next_share_ppm(0, terms.limits)
        salt = secrets.token_hex(SALT_BYTES)
        return _move(connection, desk, turn, by, _Wanted(MoveEvent.PROMOTED, version, share_ppm, salt, reason), found)


def step(connection: Connection, desk: Desk, by: Identity, reason: str, terms: Terms) -> Outcome:
    """Give the version that is being rolled out its next share, where gate and stop rule have nothing against it.

    Raises DatabaseRefused, DatabaseUnavailable, BrokerFailed, ModelRefused.
    """
    frauds, limits = desk.frauds(), terms.limits
    with failures_named(), connection.transaction():
        turn = _begin(connection, desk)
        latest = turn.standing.latest
        version = "none" if latest is None else latest.version
        asked = Asked(desk.sources, desk.keys, turn.people, version, by, turn.now_ms)
        found = gathered(connection, asked, turn.standing, terms, is_step=True)
        against = [*refusals(found.facts), *_reason_refusals(reason)]
        if latest is not None and limits is not None and is_shared(latest):
            progress = progress_of(connection, turn.standing.records, frauds)
            against += [Refusal(Reason.ROLLOUT, text) for text in step_reasons(progress, limits, turn.now_ms)]
        if against:
            return _refused(connection, desk, "STEP", turn, version, by, against)
        assert latest is not None, "the gate refuses where there is none"
        assert limits is not None, "the gate refuses where there are none"
        wanted = _Wanted(MoveEvent.STEPPED, version, next_share_ppm(latest.share_ppm, limits), latest.salt, reason)
        return _move(connection, desk, turn, by, wanted, found)


def roll_back(connection: Connection, desk: Desk, by: Identity, to: str | None, reason: str) -> Outcome:
    """Put a version back that was champion. It takes no gate, but a person and a reason.

    Raises DatabaseRefused, DatabaseUnavailable, ModelRefused.
    """
    with failures_named(), connection.transaction():
        turn = _begin(connection, desk)
        target, against = _target(desk, turn, to)
        if (fault := mover_fault(turn.people, by)) is not None:
            against = [Refusal(Reason.PROMOTER, f"Whoever asks may not: {fault}."), *against]
        against += _reason_refusals(reason)
        if against or target is None:
            return _refused(connection, desk, "ROLL_BACK", turn, target or to or "none", by, against)
        wanted = _Wanted(MoveEvent.ROLLED_BACK, target, ALL_PPM, "", reason)
        return _move(connection, desk, turn, by, wanted, None)


def stop(connection: Connection, desk: Desk, expected: AliasRecord, reasons: Sequence[str]) -> AliasRecord | None:
    """Put the champion back in place of a candidate, as the stop rule demands; None where somebody was faster.

    expected: the record that the rule judged. Raises DatabaseRefused, DatabaseUnavailable, ModelRefused.
    """
    with failures_named(), connection.transaction():
        turn = _begin(connection, desk)
        latest = turn.standing.latest
        if turn.standing.fault is not None:
            raise ModelRefused(turn.standing.fault)
        if latest is None or latest.sha256 != expected.sha256 or latest.previous_version is None:
            return None
        _require_as_it_was(desk, turn.standing.records, latest.previous_version)
        why = " ".join(reasons)[:REASON_CHARACTERS_MAX]
        wanted = _Wanted(MoveEvent.STOPPED, latest.previous_version, ALL_PPM, "", why)
        return _move(connection, desk, turn, None, wanted, None).record


class _Turn(NamedTuple):
    standing: Standpoint
    people: People
    now_ms: int


class _Wanted(NamedTuple):
    event: MoveEvent
    version: str
    share_ppm: int
    salt: str
    reason: str


_REGISTRY_EVENT: Final = {
    MoveEvent.PROMOTED: Event.PROMOTED,
    MoveEvent.STEPPED: Event.PROMOTED,
    MoveEvent.ROLLED_BACK: Event.ROLLED_BACK,
    MoveEvent.STOPPED: Event.ROLLED_BACK,
}


def _begin(connection: Connection, desk: Desk) -> _Turn:
    """Take the turn, and write down what others moved and didn't live to tell of."""
    take_turn(connection)
    seen = latest_seen(connection)
    standing = standpoint(desk.registry, desk.keys, seen)
    reached = 0 if seen is None else seen.sequence
    for record in standing.records[reached:]:
        by = shown(record.by)[:NAME_CHARACTERS_MAX] or "nobody"  # whatever it says must not keep a way back closed
        append_move(connection, record, MoveEvent.FOUND, by, FOUND_REASON, None)
    return _Turn(standing, read_registry(connection), server_now_ms(connection))


def _target(desk: Desk, turn: _Turn, to: str | None) -> tuple[str | None, list[Refusal]]:
    if turn.standing.fault is not None:
        return None, [Refusal(Reason.STANDING, f"The champion can't be moved so: {turn.standing.fault}.")]
    history = read_history(desk.registry, desk.keys)
    ways_back = {each.sequence for each in history if each.event is Event.ROLLED_BACK}
    target, why = way_back(turn.standing.records, retired(history).keys(), ways_back, to)
    if target is None:
        return None, [Refusal(Reason.STANDING, f"The champion can't be moved so: {why}.")]
    try:
        _require_as_it_was(desk, turn.standing.records, target)
    except ModelRefused as refusal:
        return None, [Refusal(Reason.ARTEFACT, f"The artefact of {target} can't be used: {refusal}.")]
    return target, []


def _require_as_it_was(desk: Desk, records: Sequence[AliasRecord], version: str) -> None:
    """Raises ModelRefused where the files aren't those that decided: no worker would take them up again."""
    record = next(each for each in reversed(records) if each.version == version)
    contents = read_artefact(desk.registry, version)
    require_named(contents, record)
    load_contents(version, contents)
    seen_at_ms = signature_seen_at_ms(records, record)
    require_signed(version, contents, desk.keys, seen_at_ms, seen_at_ms)


def _reason_refusals(reason: str) -> list[Refusal]:
    fault = reason_fault(tidied(reason), characters_max=REASON_CHARACTERS_MAX)
    return [] if fault is None else [Refusal(Reason.REASON, f"The reason {fault}.")]


def _refused(
    connection: Connection, desk: Desk, asked: str, turn: _Turn, version: str, by: Identity, against: Sequence[Refusal]
) -> Outcome:
    """Record a refusal, in the registry's history where that can be written, and in the database."""
    texts = tuple(each.text[:REASON_CHARACTERS_MAX] for each in against[:REASONS_KEPT_MAX])
    try:
        digest = digest_of(desk.registry, version)
        if chain_length(desk.registry, HISTORY) >= REFUSALS_TOLD_MAX:
            refuse(f"from {REFUSALS_TOLD_MAX} records on the history is kept for moves")
        append_history(
            desk.registry, desk.keys, desk.signing, Event.REFUSED, version, digest,
            by=by.name, at_ms=turn.now_ms, reasons=texts,
        )  # fmt: skip
    except ModelRefused as refusal:  # there is no such version, or no such registry: the database has it
        digest, texts = None, (*texts, f"It does not stand in the registry's history: {refusal}.")
    append_refusal(connection, Refused(asked, version[:32] or "none", digest, by.name, texts))
    return Outcome(None, tuple(against))


def _move(
    connection: Connection, desk: Desk, turn: _Turn, by: Identity | None, wanted: _Wanted, found: Gathered | None
) -> Outcome:
    digest, sequence = digest_of(desk.registry, wanted.version), len(turn.standing.records) + 1
    # A way back waits for no clock to be put right, and of two that differ the later would date every record to come.
    at_ms = turn.now_ms if found is not None else min(turn.now_ms, now_ms())
    name, reason, act = (STOP_RULE if by is None else by.name), tidied(wanted.reason), None
    if by is not None:
        expected = moved(wanted.event, wanted.version, digest, wanted.share_ppm, sequence, reason, name)
        act = sign_act(connection, by, expected.kind, expected.subject, turn.people)
    record = move_alias(
        desk.registry,
        desk.keys,
        desk.signing,
        alias=Alias.CHAMPION,
        version=wanted.version,
        by=name,
        at_ms=max(at_ms, turn.standing.records[-1].at_ms),
        event=_REGISTRY_EVENT[wanted.event],
        share_ppm=wanted.share_ppm,
        salt=wanted.salt,
        approvals=_approvals(desk, turn, wanted, found),
        reasons=(reason[:REASON_CHARACTERS_MAX],),
    )
    append_move(connection, record, wanted.event, name, reason, act)
    return Outcome(record)


def _approvals(desk: Desk, turn: _Turn, wanted: _Wanted, found: Gathered | None) -> dict[str, str]:
    """Return the approvals that the record pins: those that count now, or those that a version was champion by."""
    if found is not None:
        assert found.standing is not None, "the gate refuses where they can't be read"
        return pinned_approvals(desk.registry, found.standing)
    by = next(each for each in reversed(turn.standing.records) if each.version == wanted.version)
    return dict(by.approvals)
