"""Invariants of pipeline/audit/tables/snapshots.py, over transactions that begin and end in any order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audit.tables.snapshots import Snapshot, cut_at, is_visible, landed, snapshot_of, snapshot_text


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Snapshot], set[int]]:
    """Snapshots in their order, and the transactions that have ended by the last."""
    running: list[int] = []
    ended, snapshots, following = set[int](), [Snapshot()], 3
    for act in draw(st.lists(st.integers(0, 4), max_size=60)):
        if act <= 1:
            running.append(following)
            following += 1
        elif act <= 3 and running:
            ended.add(running.pop(draw(st.integers(0, len(running) - 1))))
        else:
            snapshots.append(Snapshot(following, tuple(sorted(running))))
    snapshots.append(Snapshot(following, tuple(sorted(running))))
    return snapshots, ended


@given(histories(), st.data())
def test_invariants_1_and_2_every_row_is_met_once_in_whatever_order_transactions_end(
    history: tuple[list[Snapshot], set[int]], data: st.DataObject
) -> None:
    snapshots, ended = history
    met: list[int] = []
    before = Snapshot()
    for now in snapshots:
        cut = data.draw(st.integers(before.upper, now.upper), label="cut")
        for after in (cut_at(now, cut), now):
            fresh = [xid for xid in range(before.upper, after.upper) if is_visible(after, xid)]
            met += [*fresh, *landed(before, after)]
            before = after
    assert sorted(xid for xid in met if xid >= 3) == sorted(ended)


@given(histories())
def test_text_is_postgresql_s(history: tuple[list[Snapshot], set[int]]) -> None:
    for snapshot in history[0]:
        assert snapshot == snapshot_of(snapshot_text(snapshot))


@pytest.mark.parametrize("text", ["", "1:2", "1:2:3", "1:9:4,3", "1:9:3,3", "1:9:x", "1:9:3,", "-1:2:"])
def test_what_is_no_snapshot_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        snapshot_of(text)
