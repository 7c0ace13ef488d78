"""Statement and ledger by key: a difference of every kind is planted and found, and what is the same is none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.identities import posting_id
from pipeline.reconcile.statement.comparing import (
    Booking,
    Comparison,
    Difference,
    Ending,
    Execution,
    Found,
    bookings,
    healed,
)
from pipeline.reconcile.statement.entries import Entry, Kind

PARTIES = "GB29-0001", "GB29-0002"
PAID = ("RESERVE", "DEBIT", "SUBMIT", "CREDIT", "COMPLETE")


def execution(name: str, *steps: str, amount_minor: int = 700, parts=()) -> Execution:
    times = [100.0 + number for number in range(len(steps))]
    return Execution(name, *PARTIES, amount_minor, steps, times, parts)


def entry(number: int, booking: Booking) -> Entry:
    return Entry(number, booking.kind, booking.key, booking.amount_minor, *PARTIES)


def compared(entries, executions, *, since_s=0.0, until_s=1_000.0, on_earlier=()) -> list[Found]:
    comparison = Comparison(since_s, until_s)
    for each in entries:
        comparison.take(each, f"here:{each.number}")
    for each in executions:
        for booking in bookings(each):
            comparison.look_at(booking)
    return comparison.end(on_earlier)


def test_what_the_rail_was_asked_follows_from_the_steps():
    again = execution("x", *PAID, "RECALL", "RECALLED", "SUBMIT", "REJECT")
    found = [(each.key, each.kind, each.amount_minor, each.ending) for each in bookings(again)]
    assert found == [
        (posting_id("x", "SUBMIT", 1), Kind.TRANSFER, -700, Ending.DONE),
        (posting_id("x", "RECALL", 1), Kind.RETURN, 700, Ending.DONE),
        (posting_id("x", "SUBMIT", 2), Kind.TRANSFER, -700, Ending.REFUSED),
        (posting_id("x", "SUBMIT", 3), Kind.TRANSFER, -700, Ending.NEVER),
    ]


def test_parts_and_doubts_are_booked_as_what_they_are():
    parts = execution("x", *PAID, "RECALL_PART", "PART_RECALLED", "RECALL_PART", "DOUBT", parts=(300, 100))
    found = [(each.amount_minor, each.ending) for each in bookings(parts)]
    assert found == [(-700, Ending.DONE), (300, Ending.DONE), (100, Ending.OPEN), (-700, Ending.NEVER)]


def test_a_payment_of_nothing_is_booked_nowhere():
    assert list(bookings(execution("x", *PAID, amount_minor=0))) == []


@settings(deadline=None)
@given(st.lists(st.sampled_from([PAID, (*PAID, "RECALL", "RECALLED"), ("REFUSE",)]), max_size=8), st.randoms())
def test_2_what_both_sides_have_is_no_difference_in_any_order(lives, random):
    executions = [execution(f"x{number}", *steps) for number, steps in enumerate(lives)]
    booked = [booking for each in executions for booking in bookings(each) if booking.ending is Ending.DONE]
    entries = [entry(number, booking) for number, booking in enumerate(booked, 1)]
    random.shuffle(executions)
    random.shuffle(entries)
    assert compared(entries, executions) == []


SETTLED = execution("x", *PAID)
BOOKING = next(bookings(SETTLED))
ENTRY = entry(1, BOOKING)
IN_PART = execution("x", *PAID, "RECALL_PART", "PART_RECALLED", parts=(300,))
RETURN = entry(2, list(bookings(IN_PART))[1])

PLANTED = {
    Difference.UNEXPLAINED: ([ENTRY, Entry(2, Kind.OTHER, None, -15, None, None)], [SETTLED]),
    Difference.TWICE: ([ENTRY, ENTRY._replace(number=2)], [SETTLED]),
    Difference.NOT_IN_LEDGER: ([ENTRY], []),
    Difference.DONE_OTHERWISE: ([ENTRY], [execution("x", "RESERVE", "DEBIT", "SUBMIT", "REJECT", "UNDEBIT")]),
    Difference.AMOUNT_DIFFERS: ([ENTRY._replace(amount_minor=-701)], [SETTLED]),
    Difference.PARTIES_DIFFER: ([ENTRY._replace(creditor_account_id="GB29-0003")], [SETTLED]),
    Difference.KIND_DIFFERS: ([ENTRY._replace(kind=Kind.RETURN, amount_minor=700)], [SETTLED]),
    Difference.NOT_AT_RAIL: ([], [SETTLED]),
}


def test_every_kind_of_difference_is_planted():
    of_no_entry = {Difference.TIME_MISSING, Difference.NO_STATEMENT, Difference.UNVOUCHED}
    assert set(PLANTED) == set(Difference) - of_no_entry


@pytest.mark.parametrize("kind", PLANTED)
def test_1_a_planted_difference_is_found_and_nothing_else(kind):
    assert [each.kind for each in compared(*PLANTED[kind])] == [kind]


@pytest.mark.parametrize(
    ("entries", "kinds"),
    [
        ([ENTRY, RETURN], []),
        ([ENTRY, RETURN._replace(amount_minor=299)], [Difference.AMOUNT_DIFFERS]),
        ([ENTRY], [Difference.NOT_AT_RAIL]),
        ([RETURN], [Difference.NOT_AT_RAIL]),
        ([ENTRY._replace(debtor_account_id=None), RETURN], [Difference.PARTIES_DIFFER]),
        ([ENTRY._replace(amount_minor=700), RETURN], [Difference.AMOUNT_DIFFERS]),  # the other direction
        ([ENTRY, RETURN, ENTRY._replace(kind=Kind.OTHER, amount_minor=700)], [Difference.TWICE]),  # booked back
    ],
)
def test_a_part_that_was_taken_back_is_compared_by_its_own_key(entries, kinds):
    assert [each.kind for each in compared(entries, [IN_PART])] == kinds


def test_a_payment_in_doubt_that_the_rail_has_made_is_a_difference():
    doubtful = execution("x", "RESERVE", "DEBIT", "SUBMIT", "DOUBT")
    assert [each.kind for each in compared([ENTRY], [doubtful])] == [Difference.DONE_OTHERWISE]
    assert compared([], [doubtful]) == []


def test_what_was_recorded_outside_a_statements_time_is_missed_by_another():
    assert compared([], [SETTLED], since_s=500) == []
    assert compared([], [SETTLED], until_s=103) == []
    assert compared([], [SETTLED], on_earlier=[BOOKING.key]) == []


def test_only_what_may_be_late_heals():
    open_before = [Found(kind, kind.value, None, 1, None, "") for kind in Difference]
    closed = healed(open_before, [], [Difference.NOT_AT_RAIL])
    assert {each.kind for each in closed} == {
        Difference.NOT_IN_LEDGER, Difference.DONE_OTHERWISE, Difference.NOT_AT_RAIL, Difference.NO_STATEMENT,
    }  # fmt: skip
    again = [Found(Difference.NOT_IN_LEDGER, "NOT_IN_LEDGER", None, 1, None, "")]
    assert again[0] not in healed(open_before, again, [])


def test_of_two_differences_about_one_key_each_heals_by_itself():
    both = [Found(kind, "key", None, -7, None, "") for kind in (Difference.DONE_OTHERWISE, Difference.TWICE)]
    for order in (both, both[::-1]):
        assert healed(order, [], ["key"]) == [both[0]]
    assert healed(both, [Found(Difference.AMOUNT_DIFFERS, "key", None, -7, -8, "")], ["key"]) == [both[0]]
