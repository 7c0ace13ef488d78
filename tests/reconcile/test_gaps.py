"""Invariants 1 to 4 of pipeline.reconcile.gaps: a planted gap of every kind is found and named, a clean stretch
is never accused, rows may come in any order."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.decision import Outcome
from pipeline.domain.log import TopicPartition
from pipeline.execute.saga import AWAITS_RAIL, State
from pipeline.reconcile.gaps import (
    RESTING,
    Execution,
    Gap,
    GapKind,
    accounting_gaps,
    audit_gaps,
    execution_gaps,
    expired_gaps,
    fault_gaps,
)

INTAKE, DECISIONS = TopicPartition("transactions.v1", 3), TopicPartition("decisions.v1", 2)

offsets = st.lists(st.integers(0, 200), unique=True, min_size=1, max_size=60).map(sorted)
shuffled = st.randoms(use_true_random=False)


@st.composite
def stretch_and_run(draw):
    """Offsets of records, and a run of neighbours among them."""
    records = draw(offsets)
    first = draw(st.integers(0, len(records) - 1))
    length = draw(st.integers(1, len(records) - first))
    return records, records[first : first + length]


def _in_any_order(random, rows):
    rows = list(rows)
    random.shuffle(rows)
    return rows


def _digest(offset):
    return offset.to_bytes(32, "big")


def _named(kind, place, run):
    return Gap(kind, *place, run[0], run[-1], len(run))


@given(offsets, shuffled)
def test_clean_stretch_is_not_accused(records, random):
    rows = _in_any_order(random, records)
    assert [] == accounting_gaps(INTAKE, records, rows)
    digests = {offset: _digest(offset) for offset in records}
    assert [] == audit_gaps(DECISIONS, digests, _in_any_order(random, digests.items()))


@given(stretch_and_run(), shuffled)
def test_records_without_an_outcome_are_one_named_gap(planted, random):
    records, run = planted
    rows = _in_any_order(random, set(records) - set(run))
    assert [_named(GapKind.UNACCOUNTED, INTAKE, run)] == accounting_gaps(INTAKE, records, rows)


@given(stretch_and_run(), st.integers(1, 3), shuffled)
def test_records_with_two_outcomes_are_one_named_gap(planted, extra, random):
    records, run = planted
    rows = _in_any_order(random, records + run * extra)
    assert [_named(GapKind.ACCOUNTED_TWICE, INTAKE, run)] == accounting_gaps(INTAKE, records, rows)


@given(offsets, st.integers(201, 2**62), st.integers(1, 20), shuffled)
def test_outcomes_of_no_record_are_one_named_gap(records, first, length, random):
    strays = list(range(first, first + length))
    rows = _in_any_order(random, records + strays)
    assert [_named(GapKind.UNFOUNDED, INTAKE, strays)] == accounting_gaps(INTAKE, records, rows)


@given(stretch_and_run(), shuffled)
def test_records_that_are_not_audited_are_one_named_gap(planted, random):
    records, run = planted
    digests = {offset: _digest(offset) for offset in records}
    rows = _in_any_order(random, [(offset, _digest(offset)) for offset in records if offset not in run])
    assert [_named(GapKind.NOT_AUDITED, DECISIONS, run)] == audit_gaps(DECISIONS, digests, rows)


@given(stretch_and_run(), shuffled)
def test_records_audited_with_other_bytes_are_one_named_gap(planted, random):
    records, run = planted
    digests = {offset: _digest(offset) for offset in records}
    rows = [(offset, b"\xff" * 32 if offset in run else _digest(offset)) for offset in records]
    expected = [_named(GapKind.AUDITED_OTHERWISE, DECISIONS, run)]
    assert expected == audit_gaps(DECISIONS, digests, _in_any_order(random, rows))


@given(stretch_and_run(), shuffled)
def test_records_audited_twice_are_one_named_gap(planted, random):
    records, run = planted
    digests = {offset: _digest(offset) for offset in records}
    rows = _in_any_order(random, [(offset, _digest(offset)) for offset in records + run])
    assert [_named(GapKind.AUDITED_TWICE, DECISIONS, run)] == audit_gaps(DECISIONS, digests, rows)


@given(offsets, st.integers(201, 2**62), st.integers(1, 20), shuffled)
def test_audit_rows_without_a_record_are_one_named_gap(records, first, length, random):
    strays = list(range(first, first + length))
    digests = {offset: _digest(offset) for offset in records}
    rows = _in_any_order(random, [(offset, _digest(offset)) for offset in records + strays])
    assert [_named(GapKind.AUDIT_UNFOUNDED, DECISIONS, strays)] == audit_gaps(DECISIONS, digests, rows)


def _settled(offset):
    return Execution(offset, Outcome.ALLOW, True, State.SETTLED, False)


@given(st.lists(st.tuples(st.sampled_from(Outcome), st.sampled_from(sorted(RESTING))), max_size=60), shuffled)
def test_executions_that_rest_are_not_accused(rows, random):
    executions = [
        Execution(offset, outcome, True, state, state is State.SETTLED and outcome is not Outcome.ALLOW)
        for offset, (outcome, state) in enumerate(rows)
    ]
    assert [] == execution_gaps(DECISIONS, _in_any_order(random, executions))


@given(stretch_and_run(), shuffled)
def test_decisions_that_were_not_heard_are_one_named_gap(planted, random):
    records, run = planted
    rows = [Execution(at, Outcome.ALLOW, False, None, False) if at in run else _settled(at) for at in records]
    expected = [_named(GapKind.NOT_EXECUTED, DECISIONS, run)]
    assert expected == execution_gaps(DECISIONS, _in_any_order(random, rows))


UNFINISHED = [None, *(state for state in State if state not in RESTING | AWAITS_RAIL)]


@given(stretch_and_run(), st.sampled_from(UNFINISHED), shuffled)
def test_executions_that_do_not_rest_are_one_named_gap(planted, state, random):
    records, run = planted
    rows = [Execution(at, Outcome.ALLOW, True, state, False) if at in run else _settled(at) for at in records]
    assert [_named(GapKind.UNFINISHED, DECISIONS, run)] == execution_gaps(DECISIONS, _in_any_order(random, rows))


@given(stretch_and_run(), st.sampled_from([Outcome.BLOCK, Outcome.ESCALATE]), shuffled)
def test_money_that_nobody_allowed_is_one_named_gap(planted, outcome, random):
    records, run = planted
    rows = [_settled(at)._replace(outcome=outcome) if at in run else _settled(at) for at in records]
    expected = [_named(GapKind.EXECUTED_OTHERWISE, DECISIONS, run)]
    assert expected == execution_gaps(DECISIONS, _in_any_order(random, rows))


@given(stretch_and_run(), st.sampled_from(sorted(AWAITS_RAIL)), shuffled)
def test_payments_on_which_the_rail_is_silent_are_one_named_gap(planted, state, random):
    records, run = planted
    rows = [Execution(at, Outcome.ALLOW, True, state, False) if at in run else _settled(at) for at in records]
    assert [_named(GapKind.RAIL_SILENT, DECISIONS, run)] == execution_gaps(DECISIONS, _in_any_order(random, rows))


@given(st.lists(st.tuples(st.integers(0, 2**62), st.sampled_from(GapKind)), unique=True, max_size=20), shuffled)
def test_every_fault_is_named_by_itself_and_once(faults, random):
    expected = [Gap(kind, *DECISIONS, at, at, 1) for at, kind in sorted(faults)]
    assert expected == fault_gaps(DECISIONS, _in_any_order(random, faults + faults))


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_records_that_expired_unread_are_named(position, oldest):
    lost = list(range(position, oldest))
    assert ([_named(GapKind.EXPIRED, INTAKE, lost)] if lost else []) == expired_gaps(INTAKE, position, oldest)


def test_strays_far_apart_are_named_one_by_one():
    expected = [Gap(GapKind.UNFOUNDED, *INTAKE, at, at, 1) for at in (7, 2**62)]
    assert expected == accounting_gaps(INTAKE, [], [2**62, 7])


@given(stretch_and_run(), stretch_and_run(), shuffled)
def test_every_record_lies_in_one_gap_or_is_accounted_for(planted, other, random):
    records, run = planted
    twice = [offset for offset in other[1] if offset in records and offset not in run]
    gaps = accounting_gaps(INTAKE, records, _in_any_order(random, [at for at in records if at not in run] + twice))
    covered = [at for gap in gaps for at in records if gap.first_offset <= at <= gap.last_offset]
    assert sorted({*run, *twice}) == sorted(covered)
    assert len(covered) == sum(gap.records for gap in gaps)
