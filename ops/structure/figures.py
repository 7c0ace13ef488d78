"""The layout of the code in numbers: sizes, flat folders, imports inside packages, upward imports and cycles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from ops.structure.modules import import_graph, modules_of

CONTRACTS: Final = Path(__file__).parents[2] / ".importlinter"
"""File with the order of the layers; this checkout's order is the measure of any other."""
SHARED: Final = frozenset({"pipeline.traces", "pipeline.web", "pipeline.terminal", "pipeline.io", "pipeline.domain"})
"""Packages of `pipeline` that are no concern of their own but serve all concerns."""


class Figures(NamedTuple):
    modules: int  # without the empty ones, which only make a package
    lines: int
    lines_median: float  # of each module
    largest_folder: str
    largest_folder_modules: int
    concern_imports: int  # between modules that belong to a concern of `pipeline`
    concern_imports_inside_percent: float
    largest_package: str
    largest_package_percent: float  # of all lines
    upward_imports: tuple[str, ...]
    cycles: tuple[str, ...]  # groups of packages that import each other, each named once


def figures_of(root: Path) -> Figures:
    modules = modules_of(root)
    graph = import_graph(modules)
    lines = {module: _lines(path) for module, path in modules.items()}
    lines = {module: count for module, count in lines.items() if count}
    folders = Counter(str(modules[module].parent.relative_to(root)) for module in lines)
    folder, in_folder = folders.most_common(1)[0]
    packages: Counter[str] = Counter()
    for module, count in lines.items():
        packages[package_of(module)] += count
    package, in_package = packages.most_common(1)[0]
    concern = list(_concern_imports(graph))
    inside = sum(package_of(importer) == package_of(imported) for importer, imported in concern)
    total = sum(lines.values())
    return Figures(
        len(lines),
        total,
        median(lines.values()),
        folder,
        in_folder,
        len(concern),
        round(100 * inside / max(len(concern), 1), 1),
        package,
        round(100 * in_package / total, 1),
        tuple(
            sorted(f"{importer} → {imported}" for importer, imported in _edges(graph) if _is_upward(importer, imported))
        ),
        tuple(_cycles(graph)),
    )


def package_of(module: str) -> str:
    """Return the concern that a module belongs to: `pipeline.audit`, `models.train`, a bench's family."""
    parts = module.split(".")
    depth = 3 if parts[:2] == ["ops", "bench"] else 2
    return ".".join(parts[:depth])


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _edges(graph: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    for importer, imported in graph.items():
        for module in imported:
            yield importer, module


def _concern_imports(graph: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    for importer, imported in _edges(graph):
        ends = (package_of(importer), package_of(imported))
        if all(end.startswith("pipeline.") and end not in SHARED for end in ends):
            yield importer, imported


@cache
def layers() -> tuple[str, ...]:
    """Return the layers from the top down; a layer imports only those below it."""
    contracts = ConfigParser()
    contracts.read_string(CONTRACTS.read_text(encoding="utf-8"))
    return tuple(contracts["importlinter:contract:project"]["layers"].split())


def _layer(module: str) -> int | None:
    for number, layer in enumerate(layers()):
        if module == layer or module.startswith(f"{layer}."):
            return number
    return None


def _is_upward(importer: str, imported: str) -> bool:
    above, below = _layer(importer), _layer(imported)
    return above is not None and below is not None and below < above


def _cycles(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield the groups of packages that reach each other by imports, each once, by name."""
    reach: dict[str, set[str]] = {}
    for importer, imported in _edges(graph):
        if (start := package_of(importer)) != (end := package_of(imported)):
            reach.setdefault(start, set()).add(end)
    for middle in list(reach):
        for start in reach:
            if middle in reach[start]:
                reach[start] |= reach[middle]
    groups = {
        tuple(sorted({start, *(end for end in ends if start in reach.get(end, ()))}))
        for start, ends in reach.items()
        if start in ends
    }
    yield from sorted(" ↔ ".join(group) for group in groups)
