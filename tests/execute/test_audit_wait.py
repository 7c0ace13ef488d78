"""Nothing is executed before it is audited: batches are cut where the audit log ends, and what waits is told."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.log import LogRecord, Unproved
from pipeline.execute.audit_wait_service import TELL_AFTER_S, TURN_S, AuditWait, audited_part
from pipeline.io.kafka.positioned_log import LogBatch, PositionMove
from pipeline.io.postgres import DatabaseRefused, Positions
from tests.execute.given import Desk, decision


@st.composite
def batches(draw):
    """Records of a few partitions with gaps between their offsets, mixed, and how far the audit log has come."""
    offsets = draw(st.dictionaries(st.integers(0, 3), st.sets(st.integers(0, 30), min_size=1), max_size=4))
    records = [LogRecord(at, offset, 0, b"", b"", None) for at in offsets for offset in sorted(offsets[at])]
    mixed = sorted(records, key=lambda record: (record.offset, record.partition))
    spans = [
        PositionMove(at, min(found) - draw(st.integers(0, 3)), max(found) + 1) for at, found in sorted(offsets.items())
    ]
    return LogBatch(mixed, spans), {at: draw(st.integers(0, 32)) for at in offsets}


@given(batches())
def test_batch_is_cut_where_the_audit_log_ends(drawn):
    batch, audited = drawn
    before, rest = audited_part(batch, audited)
    assert [*before.records, *rest.records] == sorted(
        batch.records, key=lambda record: record.offset >= audited[record.partition]
    )
    assert all(record.offset < audited[record.partition] for record in before.records)
    assert all(record.offset >= audited[record.partition] for record in rest.records)
    moves = {}
    for at, begin, end in [*before.spans, *rest.spans]:
        assert begin == moves.get(at, {span.partition: span.before for span in batch.spans}[at]), (
            "they follow each other"
        )
        moves[at] = end
    assert moves == {span.partition: span.after for span in batch.spans}
    for part in (before, rest):
        ends = {record.partition: record.offset + 1 for record in part.records}
        assert {span.partition: span.after for span in part.spans} == ends


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        self.now_s += TURN_S / 4
        return self.now_s


class Told:
    def __init__(self):
        self.places = []

    def raise_audit_behind(self, partition, offset):
        self.places.append((partition, offset))


@pytest.fixture
def waiting(desk):
    told, clock = Told(), Clock()
    return AuditWait(told, "decisions.v1", clock), told, clock


def accepted(desk: Desk, wait: AuditWait, batch):
    def accept(part):
        desk.execution.accept(desk.connection, part)

    return wait.accept(desk.connection, batch, accept, threading.Event())


def test_what_is_not_audited_waits_and_the_rest_is_executed(desk, waiting):
    desk.open(GB29_0001=10_000)
    first, second = decision(), decision()
    batch = desk.unaudited(first, second)
    desk.audited(LogBatch(batch.records[:1], batch.spans))
    wait, told, _ = waiting
    why = accepted(desk, wait, batch)
    assert why == "the audit log hasn't reached decisions.v1[0] at 1, so payments wait"
    assert (desk.state(first), desk.state(second)) == ("SETTLED", "")
    assert desk.execution.heard.read(desk.connection, [0]) == {0: 1}
    assert told.places == []
    again = LogBatch(batch.records[1:], [PositionMove(0, 1, 2)])
    desk.audited(again)
    assert accepted(desk, wait, again) is None
    assert desk.state(second) == "SETTLED"


def test_what_is_passed_over_waits_for_the_audit_log_too(desk, waiting):
    """Else the executor's position would lie beyond it, which the database refuses."""
    wait, told, clock = waiting
    garbage = LogBatch([], [PositionMove(0, 0, 3)], [Unproved(0, 2, b"-", "SEAL_MISSING", None)])
    while clock.now_s < 2.5 * TELL_AFTER_S:
        assert accepted(desk, wait, garbage) == "the audit log hasn't reached decisions.v1[0] at 2, so payments wait"
    assert told.places == [(0, 2), (0, 2)]
    Positions("audit", "decisions.v1").advance(desk.as_role("fraud_audit"), 0, 0, 3)
    assert accepted(desk, wait, garbage) is None
    assert desk.execution.heard.read(desk.connection, [0]) == {0: 3}


def test_a_person_is_told_where_it_takes_long(desk, waiting):
    batch = desk.unaudited(decision())
    wait, told, clock = waiting
    while clock.now_s < 2.5 * TELL_AFTER_S:
        assert accepted(desk, wait, batch)
    assert told.places == [(0, 0), (0, 0)]
    desk.audited(batch)
    desk.open(GB29_0001=10_000)
    assert accepted(desk, wait, batch) is None


def test_what_is_not_audited_is_refused_even_so(desk):
    """The wait is for the executor's comfort; the database holds the rule."""
    desk.open(GB29_0001=10_000)
    batch = desk.unaudited(decision())
    with pytest.raises(DatabaseRefused, match="RestrictViolation"):
        desk.execution.accept(desk.connection, batch)
    Positions("audit", "decisions.v1").advance(desk.as_role("fraud_audit"), 0, 0, 1)
    with pytest.raises(DatabaseRefused, match="execution, is_as_audited"):
        desk.execution.accept(desk.connection, batch)
    assert desk.states() == {}
