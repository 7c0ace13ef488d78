"""Moves of the champion: which there are, what a person signs, and which is possible from where the alias stands.

Invariants
1. A candidate takes the policy's shares in their order; none is skipped.
2. Nobody goes back to a version that never decided everything, nor to one that was retired.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from models.versions.aliases import ALL_PPM, AliasRecord
from pipeline.decide.rollout.limits import Promotion
from pipeline.people.acts import ActKind, Subject
from pipeline.people.registry import Expected
from pipeline.people.roles import Role

MOVERS = (Role.OPERATOR,)
"""Who moves the champion. The three who approve a version say that it may be; an OPERATOR answers for when."""


class MoveEvent(StrEnum):
    PROMOTED = "PROMOTED"  # a version was given its first share
    STEPPED = "STEPPED"  # it was given the next one
    ROLLED_BACK = "ROLLED_BACK"  # a person put a version back that was champion before
    STOPPED = "STOPPED"  # the stop rule did
    FOUND = "FOUND"  # it stood in the registry, and whoever moved it didn't live to write it down


class Move(NamedTuple):
    """A record of the alias, as it is recorded in the database. act: None where nobody signed it."""

    sequence: int
    event: MoveEvent
    version: str
    digest: str
    previous_version: str | None
    share_ppm: int
    moved_by: str
    reason: str
    at_ms: int
    is_signed: bool


def moved(event: MoveEvent, version: str, digest: str, share_ppm: int, sequence: int, reason: str, by: str) -> Expected:
    """Return the act behind a move. Its subject is the same as the database's control.model_move_act."""
    subject: Subject = {
        "event": event.value,
        "version": version,
        "digest": digest,
        "share_ppm": share_ppm,
        "sequence": sequence,
        "reason": reason,
    }
    return Expected(ActKind.MODEL_MOVED, by, subject, MOVERS)


def is_shared(record: AliasRecord) -> bool:
    """Return whether a version is being rolled out."""
    return record.share_ppm < ALL_PPM


def champion_of(record: AliasRecord) -> str:
    """Return the version that decides what no candidate does."""
    return record.previous_version if is_shared(record) and record.previous_version is not None else record.version


def champion_digest_of(record: AliasRecord) -> str:
    """Return the digest of the artefact of `champion_of`."""
    shares = is_shared(record) and record.previous_version is not None
    return record.previous_digest if shares and record.previous_digest is not None else record.digest


def next_share_ppm(share_ppm: int, limits: Promotion) -> int:
    """Return the least share of the policy above the present one; all, where the policy names no more."""
    return next((share for share in limits.shares_ppm if share > share_ppm), ALL_PPM)


def began(records: Sequence[AliasRecord]) -> AliasRecord:
    """Return the record by which the rollout under way began."""
    begin = records[-1]
    for record in reversed(records):
        if record.version != begin.version or record.salt != begin.salt or not is_shared(record):
            break
        begin = record
    return begin


def moved_by(records: Sequence[AliasRecord]) -> AliasRecord:
    """Return the record by which the last one's version came to its share; those after it sign the same anew."""
    return _first_like(records, lambda record: (record.version, record.share_ppm))


def is_accounted_for(records: Sequence[AliasRecord], moved: AliasRecord, event: MoveEvent | None) -> bool:
    """Return whether somebody answers for a move: a person who signed it, or the stop rule, which only goes back.

    event: as the database has it, where no other than the stop rule's is without an act. The first champion is named by
    three people, and nobody promotes it.
    """
    if moved.sequence == 1:
        return True
    if event is MoveEvent.STOPPED:
        return moved.version == records[moved.sequence - 2].previous_version and not is_shared(moved)
    return event is not None and event is not MoveEvent.FOUND


def way_back(
    records: Sequence[AliasRecord], retired: Collection[str], ways_back: Collection[int], wanted: str | None
) -> tuple[str | None, str]:
    """Return the version to go back to, or None and why there is none.

    ways_back: the sequences of the history's records that tell of one. Whoever names no version never goes forward to
    what was gone back from, whichever of the two was champion first.
    """
    latest = records[-1]
    proved = {record.version for record in records if not is_shared(record)}
    target = wanted if wanted is not None else latest.previous_version
    if target is None:
        return None, "there is no version before the champion"
    if wanted is None and _first_like(records, attrgetter("version")).history_sequence in ways_back:
        return None, f"{target} is what was gone back from; name the version to go back to"
    if not is_shared(latest) and target == latest.version:
        return None, f"{target} is the champion already"
    if target not in proved:
        return None, f"{target} was never champion, and only a version that was is gone back to"
    if target in retired:
        return None, f"{target} is retired"
    return target, ""


def _first_like(records: Sequence[AliasRecord], likeness: Callable[[AliasRecord], object]) -> AliasRecord:
    """Return the first of the records that go up to the last one and are like it."""
    first = records[-1]
    for record in reversed(records):
        if likeness(record) != likeness(first):
            break
        first = record
    return first
