"""The list of every metric that a process of the pipeline exposes, read from the code that declares it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "operations.md"
BEGIN: Final = "<!-- metrics: written by python -m ops.monitoring -->\n"
END: Final = "<!-- end of metrics -->\n"
KINDS: Final = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram", "BatchHistogram": "histogram"}
PROCESSES: Final = {
    "decide": "worker",
    "audit": "audit",
    "execute": "executor",
    "review": "review",
    "reconcile": "reconcile",
    "witness": "witness",
    "incident": "incident",
    "bias": "bias",
    "oncall": "alerts",
    "shadow": "shadow",
}
"""The process of a package; what others declare is exposed by several."""


class Metric(NamedTuple):
    name: str
    kind: str
    process: str
    labels: tuple[str, ...]
    says: str


def metrics_of(root: Path = ROOT) -> list[Metric]:
    """Return every metric that the pipeline declares, by name."""
    found = [each for path in sorted((root / "pipeline").rglob("*.py")) for each in _declared(path, root)]
    return sorted(found)


def table(metrics: list[Metric]) -> str:
    """Return the list as a table in Markdown."""
    rows = [
        f"| `{each.name}{{{','.join(each.labels)}}}` | {each.kind} | {each.process} | {each.says} |"
        if each.labels
        else f"| `{each.name}` | {each.kind} | {each.process} | {each.says} |"
        for each in metrics
    ]
    return "\n".join(["| metric | kind | process | |", "|---|---|---|---|", *rows]) + "\n"


def page_with_list(page: str) -> str:
    """Return the page with the list as the code has it now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(metrics_of()) + END + after


def _declared(path: Path, root: Path) -> Iterator[Metric]:
    package = path.relative_to(root / "pipeline").parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS):
            continue
        values = [each for argument in node.args if (each := _literal(argument)) is not None]
        match values:
            case [str(name), str(says), *rest] if name.startswith("fraud_"):
                labels = tuple(rest[0]) if rest and node.func.id != "BatchHistogram" else ()
                yield Metric(name, KINDS[node.func.id], PROCESSES.get(package, "several"), labels, says)
            case _:
                continue


def _literal(node: ast.expr) -> str | list[str] | None:
    """Return a literal's value, or None for what is no literal of text."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    is_text = isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))
    return value if is_text else None
