"""The project's modules and the imports between them, from the sources of a checkout."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

PACKAGES: Final = ("pipeline", "models", "ops", "schemas")


def modules_of(root: Path) -> dict[str, Path]:
    """Return dotted name → file for every module below `root` in PACKAGES; a package goes by its own name."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, path: Path, modules: Collection[str]) -> set[str]:
    """Return the project's modules that `module` imports anywhere in its file."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(_targets(node, package, modules))
    return {name for name in found if name in modules and name != module}


def import_graph(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    return {module: imports_of(module, path, modules) for module, path in modules.items()}


def _targets(node: ast.ImportFrom, package: str, modules: Collection[str]) -> Iterator[str]:
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, base] if base else above)
    for alias in node.names:
        dotted = f"{base}.{alias.name}"
        yield dotted if dotted in modules else base
