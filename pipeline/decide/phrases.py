"""Words beside decisions, in the current phrase book: what is shown of a decision and does not stand in it."""

from __future__ import annotations

from pipeline.decide.phrase_books.books import CURRENT
from pipeline.decide.phrase_books.money import Money


def percent_of_bp(basis_points: int) -> str:
    return f"{basis_points // 100}.{basis_points % 100:02d} %"


def join(facts: list[str]) -> str:
    return CURRENT.join(facts)


def fact_of(feature: str, observed: int, own: Money | None = None) -> str:
    """`own`: the payment's amount where its currency isn't the pound."""
    return CURRENT.fact(feature, observed, own)
