"""Which dead letters are decided again, and what becomes of each that was asked for."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.refusals import RefusalCode

REDRIVABLE: Final = frozenset(RefusalCode) - {
    RefusalCode.TRANSACTION_ID_CONFLICT,
    RefusalCode.LABEL_UNMATCHED,
    RefusalCode.LABEL_UNPROVED,
}
"""Codes of letters that can be decided again: POISON, and refusals that a fault of ours may have caused, such as a
schema that was not rolled out, a wrong partitioner or old time zones. A conflict is the publisher's to mend."""


class Place(NamedTuple):
    """The place of a record on transactions.v1."""

    partition: int
    offset: int


class About(NamedTuple):
    """The record that a letter is about: its place, and what stood there.

    A topic that was made anew counts its offsets from 0 again, and another deployment has a topic of its own.
    """

    topic: str
    partition: int
    offset: int
    payload_sha256: bytes

    @property
    def place(self) -> Place:
        return Place(self.partition, self.offset)


class Criteria(NamedTuple):
    """What is asked for; a letter must meet all of it. `places`: None for any; times are those of the records."""

    codes: frozenset[RefusalCode]
    places: frozenset[Place] | None
    since_ms: int | None
    until_ms: int | None


class Fate(StrEnum):
    """What becomes of a letter, in order of precedence; only the last is sent."""

    NO_PAYLOAD = "no payload was kept"
    OTHER_KEY = "the payload was sealed with another key"
    DECIDED = "the same payment was decided"
    SENT_BEFORE = "it was redriven before, and nothing is told of it yet"
    SENT_REFUSED = "it was redriven before, and became another dead letter"
    UNAUDITED = "it may have been decided before the audit log begins, or after where it has come"
    STILL_REFUSED = "it would be refused again"
    STILL_FAILS = "reading it fails still"
    REDRIVEN = "it is decided again"


UNSENT: Final = frozenset({Fate.NO_PAYLOAD, Fate.OTHER_KEY, Fate.UNAUDITED, Fate.STILL_REFUSED, Fate.STILL_FAILS})
"""Fates of letters that were to be decided again, and are not."""


def is_selected(letter: DeadLetter, transactions_topic: str, criteria: Criteria) -> bool:
    if letter.source_topic != transactions_topic or letter.code not in criteria.codes:
        return False
    if criteria.places is not None and record_of(letter).place not in criteria.places:
        return False
    at_ms = letter.source_timestamp_ms
    return (criteria.since_ms is None or at_ms >= criteria.since_ms) and (
        criteria.until_ms is None or at_ms < criteria.until_ms
    )


def record_of(letter: DeadLetter) -> About:
    return About(letter.source_topic, letter.source_partition, letter.source_offset, letter.payload_sha256)
