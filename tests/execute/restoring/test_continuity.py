"""An executor notices by itself that its ledger was put back, and pays nothing from it."""

from __future__ import annotations

import pytest

from pipeline.execute.restoring.behind import heeded, latest_told, moved, outrun
from pipeline.execute.restoring.continuity_service import Continuity
from pipeline.execute.restoring.life_store import Home, begin_life, begin_restore, present_life
from pipeline.execute.restoring.lives import LIFE_STEPS, LIVES_LOST_MAX, told_sequence, told_step
from pipeline.io.postgres import DatabaseRefused, failures_named
from tests.execute.given import decision, execution_of
from tests.execute.restoring.past import told

HERE = Home(7, 1)


@pytest.mark.parametrize(
    ("life", "began_in", "stands_in", "restored_to", "is_passed"),
    [
        (1, HERE, HERE, 0, True),
        (0, HERE, HERE, 0, False),
        (1, HERE, Home(8, 1), 0, False),
        (1, HERE, Home(7, 2), 0, False),
        (1, HERE, HERE, 2, False),
    ],
)
def test_a_ledger_is_passed_only_where_its_life_began(life, began_in, stands_in, restored_to, is_passed):
    assert (moved(life, began_in, stands_in, restored_to) is None) is is_passed


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
    owner.execute("SET session_replication_role = replica")
    owner.execute("INSERT INTO ledger.life (number, system_identifier, timeline, reason) VALUES (2, 1, 1, 'elsewhere')")
    assert continuity.refusal(desk.connection) is not None
    begin_restore(desk.connection, 3)
    begin_life(desk.connection, 3, "it has caught up", {})
    continuity = Continuity(lambda: [], desk.execution._notices)
    assert continuity.refusal(desk.connection) is None
    assert desk.execution._notices.life == 3


def test_a_life_that_another_executor_begins_meanwhile_stops_nobody(desk):
    blocked = decision("BLOCK")
    desk.hear(blocked)

    def tell():
        begin_restore(desk.connection, 2)
        begin_life(desk.connection, 2, "it has caught up", {})
        return [told(execution_of(blocked), told_sequence(2, 1))]

    continuity = Continuity(tell, desk.execution._notices)
    assert continuity.refusal(desk.connection) is None
    assert desk.execution._notices.life == 2


def test_a_migrated_database_is_in_its_first_life(desk):
    life = present_life(desk.connection)
    assert life.number == 1
    assert life.began_in == life.stands_in


STRANGER = "00000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("x", 5),
        ("A" + STRANGER[1:], 5),
        (f"{{{STRANGER}}}", 5),
        (STRANGER, 2**63 - 1),
        (STRANGER, told_sequence(2 + LIVES_LOST_MAX, 1)),
        (STRANGER, -(2**63)),
    ],
)
def test_what_no_executor_can_have_told_is_named_and_stops_nothing(desk, name, sequence):
    blocked = decision("BLOCK")
    desk.hear(blocked)
    forged, honest = told(name, sequence), told(execution_of(blocked), 1)
    assert heeded(1, [forged, honest]).told == [honest]
    assert len(heeded(1, [forged]).implausible) == 1
    continuity = Continuity(lambda: [forged, honest], desk.execution._notices)
    assert continuity.refusal(desk.connection) is None


def test_what_is_told_of_lives_that_were_lost_is_heeded():
    told_of = told(STRANGER, told_sequence(1 + LIVES_LOST_MAX, 1))
    assert heeded(1, [told_of]) == ([told_of], [])


def test_nothing_is_paid_while_a_restore_is_under_way(desk):
    continuity = Continuity(lambda: [], desk.execution._notices)
    assert continuity.refusal(desk.connection) is None
    begin_restore(desk.connection, 2)
    assert continuity.refusal(desk.connection) is not None
    begin_life(desk.connection, 2, "it has caught up", {})
    assert Continuity(lambda: [], desk.execution._notices).refusal(desk.connection) is None


@pytest.mark.parametrize(("begun", "number"), [(None, 2), (None, 2**31 - 1), (2, 3), (2, 2**31 - 1), (2, 1)])
def test_nobody_uses_up_the_lives(desk, begun, number):
    if begun is not None:
        begin_restore(desk.connection, begun)
    insert = (
        "INSERT INTO ledger.life (number, system_identifier, timeline, reason)"
        " SELECT %s, home.system_identifier, home.timeline, 'x' FROM ledger.present_home() AS home"
    )
    with pytest.raises(DatabaseRefused), failures_named():
        desk.connection.execute(insert, [number])
    begin_restore(desk.connection, 2)
    begin_life(desk.connection, 2, "it has caught up", {})


def test_no_restore_leads_to_a_life_far_ahead(desk):
    with pytest.raises(DatabaseRefused), failures_named():
        begin_restore(desk.connection, 3 + LIVES_LOST_MAX)
    begin_restore(desk.connection, 2 + LIVES_LOST_MAX)
    begin_life(desk.connection, 2 + LIVES_LOST_MAX, "it has caught up", {})
    assert present_life(desk.connection).number == 2 + LIVES_LOST_MAX
