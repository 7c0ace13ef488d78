"""A partition whose leader has just changed: it may be away, or know less of the log than was committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.features import NONE
from pipeline.domain.log import Record, Source
from pipeline.io.kafka.client import BrokerAway, BrokerFailed
from pipeline.io.kafka.log_reader import Extent, RangeRead
from pipeline.resume import decided_topics
from pipeline.resume.decided_topics import DecidedLog, DecidedTopics
from tests.decisions import DECISION, WIRE, written
from tests.records import NOON_MS

TOPICS = DecidedTopics("transactions.v1", "decisions.v1", "transactions.dead.v1")
DAY_MS = 86_400_000
PARTITION, END = DECISION.source_partition, DECISION.source_offset + 1


class Leaders:
    """A reader whose leader of transactions.v1 answers these ends one after another, None for no answer.

    decided, set_aside: the offsets of the payments that decisions.v1 and the dead letters tell of, one after another.
    markers: offsets at which no record stands.
    """

    def __init__(
        self,
        ends: Iterable[int | None],
        decided: Sequence[int],
        set_aside: Sequence[int] = (),
        markers: Iterable[int] = (),
    ) -> None:
        self._ends, self._decided, self._set_aside, self._markers = iter(ends), decided, set_aside, set(markers)
        self._end = 0
        self.logged_ms: int | None = DECISION.source_timestamp_ms  # of the record that is there; None for none
        self.value = b"another"

    def __enter__(self) -> Leaders:
        return self

    def __exit__(self, *_: object) -> None: ...

    def extents(self, topic: str, partitions: Iterable[int] | None = None) -> dict[int, Extent]:
        if topic != TOPICS.transactions:
            return {PARTITION: Extent(0, self._count(topic))}
        if partitions is not None and not list(partitions):
            return {}
        end = next(self._ends, self._end)
        if end is None:
            raise BrokerAway("Not leader for partition")
        self._end = end
        return {PARTITION: Extent(0, end)}

    def uncommitted_ends(self, topic: str, partitions: Iterable[int] | None = None) -> dict[int, int]:
        return {PARTITION: self._count(topic)}

    def read_settled(self, topic: str, _partition: int, first: int, end: int) -> Iterator[Record]:
        if topic == TOPICS.dead_letters:
            for place, offset in enumerate(self._set_aside[first:end], first):
                about = DeadLetter("RECORD_EMPTY", "", TOPICS.transactions, PARTITION, offset, 0, bytes(32), 0, "", b"")
                yield Record(b"", WIRE.encode(about), Source(PARTITION, place, NOON_MS + place))
            return
        for place, offset in enumerate(self._decided[first:end], first):
            snapshot = DECISION.snapshot._replace(outcomes_position=outcomes_position(offset))
            decision = written(DECISION._replace(source_offset=offset, snapshot=snapshot))
            yield Record(b"", decision, Source(PARTITION, place, NOON_MS + place))

    def read_range(
        self, _topic: str, _partition: int, first: int, end: int, _most: int, take: Callable[[Record], bool]
    ) -> RangeRead[bool]:
        if self.logged_ms is None or self._markers.issuperset(range(first, end)):
            return RangeRead([], first + 1, True)
        return RangeRead([take(Record(b"", self.value, Source(PARTITION, first, self.logged_ms)))], first + 1, True)

    def _count(self, topic: str) -> int:
        return len(self._decided if topic == TOPICS.decisions else self._set_aside)


def outcomes_position(offset: int) -> int:
    """How far outcomes were taken in when the payment at an offset was decided."""
    return offset // 2


def log_behind(*ends: int | None, decided: Sequence[int] = (END - 1,)) -> tuple[DecidedLog, list[float]]:
    leaders, pauses = Leaders(ends, decided), list[float]()
    return DecidedLog(lambda: leaders, WIRE, TOPICS, pause=pauses.append), pauses


def test_a_leader_that_is_away_or_behind_is_waited_for() -> None:
    log, pauses = log_behind(None, END - 1, END - 1, END)
    (start,) = log.starts({PARTITION: END})
    assert (start.offset, start.is_moved) == (END, False)
    assert len(pauses) == 2


def test_a_partition_that_another_worker_goes_on_deciding_in_is_no_log_that_is_shorter_than_what_was_decided() -> None:
    """A rebuild asks of partitions that others have. Under steady traffic one was always decided further than its end
    had been a moment ago, and after LEADER_S the worker ended."""
    log, pauses = log_behind(END - 1, END)
    (start,) = log.starts({PARTITION: END - 1})
    assert (start.offset, start.is_moved) == (END, True)
    assert not pauses


def test_a_log_that_stays_shorter_than_what_was_decided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided_topics, "LEADER_S", -1.0)
    log, _ = log_behind(END - 1, END - 1)
    with pytest.raises(BrokerAway, match="it is another log"):
        log.starts({PARTITION: END})


def test_an_empty_log_of_which_nothing_was_decided_begins_anew_wherever_the_group_stands() -> None:
    """Read from there it would be out of range, and keep the worker from its other partitions."""
    log, _ = log_behind(0, decided=[])
    (start,) = log.starts({PARTITION: 5})
    assert (start.offset, start.is_moved) == (0, True)


def test_an_empty_log_that_was_decided_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided_topics, "LEADER_S", -1.0)
    log, _ = log_behind(0, 0, decided=[END - 1])
    with pytest.raises(BrokerAway, match="it is another log"):
        log.starts({PARTITION: END})


@pytest.mark.parametrize("copies", [1, 63, 64, 200, 4_000])
@pytest.mark.parametrize("committed", [500, None])
def test_i2_copies_of_earlier_decisions_do_not_hide_the_latest(copies: int, committed: int | None) -> None:
    log, _ = log_behind(500, decided=[*range(500), *[7] * copies])
    (start,) = log.starts({PARTITION: committed})
    assert start.offset == 500


@pytest.mark.parametrize("logged_ms", [DECISION.source_timestamp_ms + 1, None])
def test_i1_a_log_whose_offsets_were_given_out_anew_is_not_passed_over_as_decided(logged_ms: int | None) -> None:
    """It lost the record by an unclean election of a leader, or was made anew, and has grown again since."""
    leaders = Leaders([END + 5], [END - 1])
    leaders.logged_ms = logged_ms
    log = DecidedLog(lambda: leaders, WIRE, TOPICS)
    with pytest.raises(BrokerFailed, match="isn't the one that was decided"):
        log.starts({PARTITION: END})


def test_a_log_that_was_put_back_with_other_times_is_the_same_log() -> None:
    leaders = Leaders([END], [END - 1])
    leaders.logged_ms = DECISION.source_timestamp_ms + DAY_MS
    leaders.value = WIRE.encode_transaction(DECISION.snapshot.transaction)
    [start] = DecidedLog(lambda: leaders, WIRE, TOPICS).starts({PARTITION: END})
    assert start.offset == END


def test_a_start_says_how_far_outcomes_were_taken_in_for_the_latest_decision() -> None:
    log, _ = log_behind(END, decided=[*range(END - 3, END), 7])
    (start,) = log.starts({PARTITION: END})
    assert start.outcomes_position == outcomes_position(END - 1)


def test_a_start_behind_nothing_decided_says_that_none_were() -> None:
    log, _ = log_behind(0, decided=[])
    (start,) = log.starts({PARTITION: None})
    assert start.outcomes_position == NONE


@pytest.mark.parametrize("committed", [None, 3, END, END + 3])
@pytest.mark.parametrize("markers", [(), (END + 1,), (END, END + 1)])
def test_i2_what_was_set_aside_behind_the_latest_decision_is_not_read_again(
    committed: int | None, markers: Sequence[int]
) -> None:
    """Where the group's offset is gone, or was moved back, the letters say how far a worker had come."""
    set_aside = [*range(END - 5, END - 1), *[each for each in range(END, END + 5) if each not in markers]]
    leaders = Leaders([END + 9], [END - 1], set_aside, markers)
    [start] = DecidedLog(lambda: leaders, WIRE, TOPICS).starts({PARTITION: committed})
    assert start.offset == END + 5


@pytest.mark.parametrize("about", [END + 1, END + 8, END + 9, END + 1_000, 2**62])
@pytest.mark.parametrize("committed", [None, END])
def test_i1_a_letter_about_a_record_to_come_passes_over_none_and_stops_none(about: int, committed: int | None) -> None:
    """No seal proves letters: whoever had a worker's credential wrote one, and at the next start payments were passed
    over up to there, or, where it named an offset that is none yet, each worker ended, again and again."""
    leaders = Leaders([END + 9], [END - 1], [about])
    [start] = DecidedLog(lambda: leaders, WIRE, TOPICS).starts({PARTITION: committed})
    assert (start.offset, start.is_moved) == (END, committed is None)
    leaders = Leaders([END + 9], [END - 1], [about, END])
    [start] = DecidedLog(lambda: leaders, WIRE, TOPICS).starts({PARTITION: committed})
    assert start.offset == (END + 2 if about == END + 1 else END + 1)


@pytest.mark.parametrize("committed", [None, END])
def test_a_letter_about_the_very_next_record_stops_nobody_while_there_is_none(committed: int | None) -> None:
    leaders = Leaders([END], [END - 1], [END])
    [start] = DecidedLog(lambda: leaders, WIRE, TOPICS).starts({PARTITION: committed})
    assert start.offset == END


def test_a_log_of_which_everything_was_set_aside_goes_on_behind_it() -> None:
    leaders = Leaders([40], [], range(40))
    [start] = DecidedLog(lambda: leaders, WIRE, TOPICS).starts({PARTITION: None})
    assert start.offset == 40


@pytest.mark.parametrize("committed", [None, 30, 100])
def test_many_letters_about_one_record_hide_no_other(committed: int | None) -> None:
    leaders = Leaders([100], [9], [*range(10, 40), *[5] * 5_000])
    [start] = DecidedLog(lambda: leaders, WIRE, TOPICS).starts({PARTITION: committed})
    assert start.offset == 40
