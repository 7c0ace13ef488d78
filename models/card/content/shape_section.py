"""The section that shows what each feature does, by drawings and by tables of the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from models.card.content.blocks import Block, Code, Figure, Inline, Paragraph, Subheading, Table
from models.card.content.texts import named
from models.card.drawings import shape_plots
from models.card.facts import CardFacts, Shape
from models.card.standing import strength, strongest_pairs
from models.card.words import UNKNOWN, feature_value, log_odds, size

RANGES_MAX: Final = 8
"""Rows of a feature's table: neighbouring bins stand together, with the least and the greatest of their entries."""


def shapes(facts: CardFacts) -> Iterator[Block]:
    singles = {shape.features[0]: shape for shape in facts.shapes if len(shape.features) == 1}
    yield Paragraph(["Every table, by its mean absolute contribution over the measured payments, in log-odds."])
    ordered = sorted(facts.shapes, key=strength, reverse=True)
    rows: list[list[Sequence[Inline]]] = [
        [[*named(shape.features, " and ")], [size(shape.mean_micro)], *_ends(shape)] for shape in ordered
    ]
    yield Table(("table", "mean", "lowest entry", "highest entry"), rows, (1, 2, 3))
    yield Subheading("Features")
    for name in facts.features:
        shape = singles.get(name)
        svg = shape_plots.steps(shape) if shape else shape_plots.flat(name)
        yield Figure(f"shape of {name}", f"What {name} adds to the score", svg, is_small=True)
    for name in facts.features:
        shape = singles.get(name)
        yield from _ranges(shape) if shape else _without_table(name)
    pairs = strongest_pairs(facts)
    yield Subheading("The strongest pairs" if pairs else "It has no pairs")
    for pair in pairs:
        title = f"What {pair.features[0]} and {pair.features[1]} add together"
        yield Figure(f"shape of {pair.features[0]} and {pair.features[1]}", title, shape_plots.heat_map(pair), True)
    if pairs:
        pair_rows: list[list[Sequence[Inline]]] = [
            [[*named(pair.features, " and ")], *_corners(pair)] for pair in pairs
        ]
        yield Table(("pair", "where it lowers most", "where it raises most"), pair_rows)


def _ends(shape: Shape) -> list[Sequence[Inline]]:
    return [[log_odds(min(shape.contribution_micro))], [log_odds(max(shape.contribution_micro))]]


def _without_table(name: str) -> Iterator[Block]:
    yield Paragraph([Code(name), ": it has no table of its own, and adds nothing by itself."])


def _ranges(shape: Shape) -> Iterator[Block]:
    """A feature's table, in which neighbouring bins stand together."""
    name, edges, table = shape.features[0], shape.edges[0], shape.contribution_micro
    rows: list[list[Sequence[Inline]]] = []
    if edges and edges[0] == 0:
        rows.append([["not known"], *_span_of(shape, 0, 1)])
    first = len(rows)
    known = len(table) - first
    group = -(-known // RANGES_MAX)
    for begin in range(first, len(table), group):
        end = min(begin + group, len(table))
        low = feature_value(name, edges[begin - 1]) if begin else None
        high = feature_value(name, edges[end - 1]) if end <= len(edges) else None
        if low and (name.startswith("is_") or (high and edges[end - 1] == edges[begin - 1] + 1)):
            rows.append([[low], *_span_of(shape, begin, end)])
            continue
        words = (
            f"{low} to below {high}" if low and high else f"below {high}" if high else f"from {low}" if low else "all"
        )
        rows.append([[words], *_span_of(shape, begin, end)])
    yield Table((name, "payments", "lowest entry", "highest entry"), rows, (1, 2, 3), is_small=True)


def _span_of(shape: Shape, begin: int, end: int) -> list[Sequence[Inline]]:
    entries = shape.contribution_micro[begin:end]
    payments = f"{sum(shape.payments[begin:end]):,}" if shape.payments else UNKNOWN
    return [[payments], [log_odds(min(entries))], [log_odds(max(entries))]]


def _corners(pair: Shape) -> list[Sequence[Inline]]:
    """Say in which cell a pair's table is lowest, and in which highest."""
    columns = len(pair.edges[1]) + 1
    cells: list[Sequence[Inline]] = []
    for choose in (min, max):
        entry = choose(pair.contribution_micro)
        row, column = divmod(pair.contribution_micro.index(entry), columns)
        where = [_bin_words(pair.features[axis], pair.edges[axis], bin_) for axis, bin_ in ((0, row), (1, column))]
        cells.append([f"{log_odds(entry)}: {where[0]}; {where[1]}"])
    return cells


def _bin_words(name: str, edges: Sequence[int], bin_: int) -> str:
    """Return what a bin holds: known values from one edge to the next, or the values that aren't known."""
    low = feature_value(name, edges[bin_ - 1]) if bin_ else None
    high = feature_value(name, edges[bin_]) if bin_ < len(edges) else None
    if low is None:
        return "not known" if edges and edges[0] == 0 else f"below {high}" if high else "any value"
    if name.startswith("is_") or (high and edges[bin_] == edges[bin_ - 1] + 1):
        return low
    return f"{low} to below {high}" if high else f"{low} and more"
