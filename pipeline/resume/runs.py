"""Offsets as runs without a gap, of which a million take as much room as one where they follow one another."""

from __future__ import annotations

from collections.abc import Iterable

Run = tuple[int, int]
"""The first offset, and the one behind the last."""


def runs_of(offsets: Iterable[int]) -> list[Run]:
    """Return the runs of offsets, which may come in any order and more than once, in theirs."""
    runs: list[Run] = []
    for offset in sorted(offsets):
        if runs and offset <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(runs[-1][1], offset + 1)
        else:
            runs.append((offset, offset + 1))
    return runs


def joined(runs: Iterable[Run]) -> list[Run]:
    """Return the runs in order, those that touch or overlap as one."""
    found: list[Run] = []
    for first, end in sorted(runs):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((first, end))
    return found
