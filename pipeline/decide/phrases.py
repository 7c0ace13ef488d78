"""A share as people read it: words beside decisions that belong to no phrase book."""

from __future__ import annotations


def percent_of_bp(basis_points: int) -> str:
    return f"{basis_points // 100}.{basis_points % 100:02d} %"
