"""An executor notices by itself that its ledger was put back, and pays nothing from it."""

from __future__ import annotations

import pytest

from pipeline.execute.restoring.behind import latest_told, moved, outrun
from pipeline.execute.restoring.continuity_service import Continuity
from pipeline.execute.restoring.life_store import Home, begin_life, present_life
from pipeline.execute.restoring.lives import LIFE_STEPS, told_sequence, told_step
from tests.execute.given import decision, execution_of
from tests.execute.restoring.past import told

HERE = Home(7, 1)


@pytest.mark.parametrize(
    ("life", "began_in", "stands_in", "is_passed"),
    [
        (1, HERE, HERE, True),
        (0, HERE, HERE, False),
        (1, HERE, Home(8, 1), False),
        (1, HERE, Home(7, 2), False),
    ],
)
def test_a_ledger_is_passed_only_where_its_life_began(life, began_in, stands_in, is_passed):
    assert (moved(life, began_in, stands_in) is None) is is_passed


@pytest.mark.parametrize(
    ("sequences", "taken", "is_passed"),
    [
        ([5], {"x": 5}, True),
        ([5], {"x": 4}, True),  # told, and a crash came before it was stored
        ([5], {"x": 9}, True),
        ([5], {"x": 3}, False),
        ([5], {}, False),
        ([2, 9, 3], {"x": 4}, False),
        ([told_sequence(2, 5)], {"x": 5}, False),  # of a later life than the ledger's first
    ],
)
def test_a_ledger_is_passed_only_where_it_has_what_was_told(sequences, taken, is_passed):
    latest = latest_told(told("x", sequence) for sequence in sequences)
    assert (outrun(1, latest, taken) is None) is is_passed


def test_what_an_earlier_life_told_does_not_count():
    assert outrun(2, latest_told([told("x", 5)]), {}) is None


def test_a_later_life_always_tells_higher_sequences():
    assert told_sequence(1, LIFE_STEPS - 1) < told_sequence(2, 1)
    assert [told_step(told_sequence(*each)) for each in ((1, 5), (2, 1), (9, 77))] == [(1, 5), (2, 1), (9, 77)]


def test_a_ledger_goes_on_after_a_start_and_after_every_batch(desk):
    continuity = Continuity(lambda: [], desk.execution._notices)
    assert continuity.refusal(desk.connection) is None
    desk.hear(decision("BLOCK"))
    assert continuity.refusal(desk.connection) is None


def test_what_was_told_and_is_not_in_the_ledger_stops_it(desk):
    blocked = decision("BLOCK")
    desk.hear(blocked)
    name = execution_of(blocked)
    assert Continuity(lambda: [told(name, 1)], desk.execution._notices).refusal(desk.connection) is None
    why = Continuity(lambda: [told(name, 3)], desk.execution._notices).refusal(desk.connection)
    assert why is not None
    assert "executor restore" in why


def test_a_database_that_was_restored_elsewhere_stops_it_until_the_next_life(desk, owner):
    continuity = Continuity(lambda: [], desk.execution._notices)
    assert continuity.refusal(desk.connection) is None
    owner.execute("INSERT INTO ledger.life (number, system_identifier, timeline, reason) VALUES (2, 1, 1, 'elsewhere')")
    assert continuity.refusal(desk.connection) is not None
    begin_life(desk.connection, 3, "it has caught up", {})
    continuity = Continuity(lambda: [], desk.execution._notices)
    assert continuity.refusal(desk.connection) is None
    assert desk.execution._notices.life == 3


def test_a_life_that_another_executor_begins_meanwhile_stops_nobody(desk):
    blocked = decision("BLOCK")
    desk.hear(blocked)

    def tell():
        begin_life(desk.connection, 2, "it has caught up", {})
        return [told(execution_of(blocked), told_sequence(2, 1))]

    continuity = Continuity(tell, desk.execution._notices)
    assert continuity.refusal(desk.connection) is None
    assert desk.execution._notices.life == 2


def test_a_migrated_database_is_in_its_first_life(desk):
    life = present_life(desk.connection)
    assert life.number == 1
    assert life.began_in == life.stands_in
