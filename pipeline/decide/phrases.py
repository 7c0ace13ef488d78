"""A share as people read it: words beside decisions that belong to no phrase book."""

from __future__ import annotations


def percent_of_bp(basis_points: int) -> str:
    return f"{basis_points // 100}.{basis_points % 100:02d} %"


def percent_of_ppm(ppm: int) -> str:
    """A probability with two decimals, which is never told as impossible or as certain."""
    if ppm < 100:
        return "less than 0.01 %"
    return percent_of_bp(ppm // 100) if ppm < 1_000_000 else "more than 99.99 %"
