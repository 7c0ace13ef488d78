"""How the lives of a ledger are told apart on executions.v1."""

from __future__ import annotations

from typing import Final

FIRST_LIFE: Final = 1
LIFE_STEPS: Final = 1_000_000
"""Sequences of one life of the ledger on executions.v1. No saga takes as many steps, so what a later life tells always
holds over what an earlier one told."""

LIVES_LOST_MAX: Final = 100
"""Lives that a backup may lack: a ledger was restored so often since it was taken. What is told of a later one is not
believed. The database holds the same (0093_rail_statement.sql)."""


def told_sequence(life: int, sequence: int) -> int:
    """Return the sequence under which a step of a saga is told."""
    assert 0 < sequence < LIFE_STEPS, "a saga takes fewer steps"
    return (life - FIRST_LIFE) * LIFE_STEPS + sequence


def told_step(sequence: int) -> tuple[int, int]:
    """Return the life and the saga's step that a sequence on executions.v1 is of.

    Sequence 0 is of no life: another system paid, before this ledger was laid out.
    """
    if not sequence:
        return 0, 0
    life, step = divmod(sequence, LIFE_STEPS)
    return life + FIRST_LIFE, step
