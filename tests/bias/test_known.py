"""Labels and reviews held against decisions of the audit log: the first word on each counts, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from pipeline.bias.counting import Column, SegmentCounts
from pipeline.bias.gathering import KNOWN_ENOUGH, MINUTE_MS, Gatherer, Known
from pipeline.bias.monitor_store import Told, append_known, append_state, known_of, newest_state
from pipeline.domain.decision import Outcome
from pipeline.io.postgres import Connection, connect
from tests.audit.conftest import bench
from tests.audit.logs import Bench, record
from tests.bias.given import SUSPECT, decision
from tests.records import NOON_MS
from tests.servers import url_as

__all__ = ["bench"]


@pytest.fixture
def connection(bench: Bench, database_url: str) -> Iterator[Connection]:
    bench.open()
    outcomes = (Outcome.BLOCK, Outcome.ESCALATE, Outcome.ALLOW)
    bench.store([record(number, decision(number, "NE", outcome)) for number, outcome in enumerate(outcomes)])
    with closing(connect(url_as(database_url, "fraud_bias"), "test")) as opened:
        yield opened


def told(number: int, *, is_fraud: bool, is_by_review: bool = False) -> Told:
    return Told(f"T-{number}", f"A-{number}", is_fraud, is_by_review)


def test_a_word_finds_its_decision_with_segments_channel_and_outcome(connection: Connection) -> None:
    stranger = Told("T-0", "A-1", is_fraud=False, is_by_review=False)
    asked = [told(0, is_fraud=False), told(2, is_fraud=True), told(9, is_fraud=False), stranger]
    found, unmatched = known_of(connection, asked)
    assert [({"postcode_area": "NE"}, True, False), ({"postcode_area": "NE"}, False, True)] == [
        (each.segments, each.is_stopped, each.is_fraud) for each in found
    ]
    assert asked[2:] == unmatched
    assert {str(decision(0, "NE", Outcome.BLOCK).snapshot.transaction.channel)} == {each.channel for each in found}


def test_the_first_word_on_a_decision_counts_and_a_replay_of_it_changes_nothing(connection: Connection) -> None:
    review, label = told(1, is_fraud=False, is_by_review=True), told(1, is_fraud=True)
    found, _ = known_of(connection, [review, label, review])
    with connection.transaction():
        assert [found[0]] == append_known(connection, 1, found)
        append_state(connection, 1, 5, {})
    with connection.transaction():
        assert [] == append_known(connection, 2, found)
        append_state(connection, 2, 6, {"watch": None})
    stored = newest_state(connection)
    assert stored is not None
    assert (2, {"watch": None}) == stored


def known(number: int, account: str, *, is_fraud: bool = False, is_stopped: bool = True) -> Known:
    return Known(f"D-{number}", account, "m1", {"postcode_area": "NE"}, "CARD", is_stopped, is_fraud, False)


def gatherer() -> Gatherer:
    return Gatherer((SUSPECT,), b"salt", NOON_MS // MINUTE_MS - 1)


def taken(found: Gatherer):
    return sum(counts for _, counts in found.take(NOON_MS // MINUTE_MS + 10))


def test_1_one_account_with_a_million_words_or_payments_counts_twice() -> None:
    found = gatherer()
    found.known([known(number, "ONE") for number in range(1_000)], NOON_MS)
    found.decided([(decision(number, "NE", Outcome.BLOCK, "ONE"), NOON_MS) for number in range(1_000)])
    [row] = taken(found)[1:].tolist()
    assert [2, 2, 0, 2, 2, 0] == row


def test_fraud_that_was_stopped_is_no_false_stop_and_what_was_allowed_neither() -> None:
    counts = SegmentCounts((SUSPECT,))
    counts.known({"postcode_area": "NE"}, "CARD", is_fraud=True, is_stopped=True)
    counts.known({"postcode_area": "NE"}, "CARD", is_fraud=False, is_stopped=False)
    counts.known({"postcode_area": "XX", "shoe_size": "9"}, "CARD", is_fraud=False, is_stopped=True)
    assert [[0, 0, 0, 1, 2, 1], [0, 0, 0, 0, 1, 1]] == counts.counts.tolist()


def test_2_made_up_accounts_are_judged_only_where_hardly_any_known_one_pays() -> None:
    made_up = [decision(number, "SW", Outcome.BLOCK) for number in range(100, 200)]
    strangers = [
        each._replace(snapshot=each.snapshot._replace(features=(0,) * len(each.snapshot.features))) for each in made_up
    ]
    for known_ones, expected in ((KNOWN_ENOUGH, KNOWN_ENOUGH), (KNOWN_ENOUGH - 1, KNOWN_ENOUGH - 1 + 100)):
        found = gatherer()
        found.decided([(decision(number, "NE", Outcome.ALLOW), NOON_MS) for number in range(known_ones)])
        found.decided([(each, NOON_MS) for each in strangers])
        assert expected == taken(found)[0, Column.PAYMENTS]


def test_3_what_comes_late_counts_in_the_next_minute_and_nothing_is_lost() -> None:
    found = gatherer()
    minute = NOON_MS // MINUTE_MS
    found.decided([(decision(1, "NE", Outcome.ALLOW), NOON_MS)])
    assert [minute] == [each for each, _ in found.take(minute)]
    found.decided([(decision(2, "NE", Outcome.ALLOW), NOON_MS - 5 * MINUTE_MS)])
    [(later, counts)] = found.take(minute + 1)
    assert (minute + 1, 1) == (later, counts[0, Column.PAYMENTS])
