"""A challenger's answers in PostgreSQL, and how far it came, by its own digest.

Invariants
1. The rows of a batch and the positions after it are stored in one transaction. Other bytes under the same version are
   another challenger, with positions of its own.
2. A challenger that was never there begins at the end of each partition: what was decided before it came is no shadow.
   From there on it passes nothing over, since a position moves from where it stood, and the log is kept for ever.
3. Answered again, a decision is the same row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pipeline.domain.times import claim_ms
from pipeline.domain.trials.shadow_answer import ShadowAnswer
from pipeline.io.filing import Filing
from pipeline.io.kafka.positioned_log import PositionMove
from pipeline.io.postgres import Connection, Positions, failures_named, statements
from pipeline.shadow.challenger import Challenger

CONSUMER: Final = "shadow"
ID_CHARACTERS_MAX: Final = 200
"""A payment's id is far shorter; the broker takes what its publisher wrote."""
SEGMENTS_CHARACTERS_MAX: Final = 900
"""Eight lines of up to 100 characters."""
VERSION_CHARACTERS_MAX: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SQL: Final = statements("pipeline.shadow", "shadow")


def positions_of(challenger: Challenger, topic: str) -> Positions:
    """The challenger's own: 16 digits of its digest tell it from every other."""
    return Positions(f"{CONSUMER}-{challenger.digest.hex()[:16]}", topic)


class AnswerStore:
    """For one thread, one challenger and one topic."""

    def __init__(self, challenger: Challenger, topic: str) -> None:
        self._challenger, self._topic = challenger, topic
        self._positions = positions_of(challenger, topic)
        self._filing = Filing("shadow.answer")

    def next_offsets(
        self, connection: Connection, partitions: Iterable[int], ends: Mapping[int, int]
    ) -> dict[int, int]:
        """Return where to go on in each partition; `ends` say where one begins that was never read.

        Raises DatabaseUnavailable, DatabaseRefused, PositionMoved.
        """
        wanted = list(partitions)
        with failures_named(), connection.transaction():
            begun = self._beginnings(connection)
            for partition in wanted:
                if partition not in begun:
                    self._begin(connection, partition, ends[partition])
            return self._positions.read(connection, wanted)

    def is_begun(self, connection: Connection, partitions: Iterable[int]) -> bool:
        with failures_named():
            return set(partitions) <= self._beginnings(connection).keys()

    def append(self, connection: Connection, answers: Sequence[ShadowAnswer], spans: Sequence[PositionMove]) -> None:
        """Store a batch. Raises DatabaseUnavailable, DatabaseRefused, PositionMoved."""
        filed = self._filing.file(connection, [each.decided_at_ms for each in answers])
        with failures_named(), connection.transaction():
            if answers:
                connection.execute(_SQL["append_answers"], self._columns(answers, filed))
            for span in spans:
                self._positions.advance(connection, *span)

    def _beginnings(self, connection: Connection) -> dict[int, int]:
        wanted = {"digest": self._challenger.digest, "topic": self._topic}
        return dict(connection.execute(_SQL["beginnings"], wanted).fetchall())

    def _begin(self, connection: Connection, partition: int, end: int) -> None:
        row = {
            "digest": self._challenger.digest,
            "version": self._challenger.version,
            "kind": self._challenger.kind,
            "topic": self._topic,
            "partition": partition,
            "first": end,
        }
        connection.execute(_SQL["begin"], row)
        if end > 0:
            self._positions.advance(connection, partition, 0, end)

    def _columns(self, answers: Sequence[ShadowAnswer], filed: Mapping[int, int]) -> dict[str, object]:
        return {
            "digest": self._challenger.digest,
            "decision_id": [each.decision_id for each in answers],
            "filed_at": [_time(filed[each.decided_at_ms]) for each in answers],
            "decided_at": [_time(claim_ms(each.decided_at_ms)) for each in answers],
            "transaction_id": [stored_text(each.transaction_id, ID_CHARACTERS_MAX) for each in answers],
            "segments": [stored_text(each.segments, SEGMENTS_CHARACTERS_MAX) for each in answers],
            "amount_gbp_minor": [each.amount_gbp_minor for each in answers],
            "standing": [str(each.standing) for each in answers],
            "champion_version": [stored_text(each.champion_version, VERSION_CHARACTERS_MAX) for each in answers],
            "champion_outcome": [str(each.champion_outcome) for each in answers],
            "challenger_outcome": [_text(each.challenger_outcome) for each in answers],
            "champion_ppm": [each.champion_probability_ppm for each in answers],
            "challenger_ppm": [each.challenger_probability_ppm for each in answers],
            "champion_says": [_text(each.champion_says) for each in answers],
            "challenger_says": [_text(each.challenger_says) for each in answers],
            "topic_partition": [each.decision_partition for each in answers],
            "topic_offset": [each.decision_offset for each in answers],
        }


def _time(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def _text(value: str | None) -> str | None:
    return None if value is None else stored_text(str(value), 2000)


def stored_text(text: str, characters_max: int) -> str:
    """As PostgreSQL can hold it: it has no character of the number 0."""
    return text.replace("\0", "�")[:characters_max]
