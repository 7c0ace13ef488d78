"""Pure and impure modules, told apart by their names, and the things that a pure one must not do.

A module of `pipeline`, or of what serving takes from `models`, is pure unless its name says otherwise. A pure module maps
values to values, so what it decides can be decided again (I3). It imports pure modules only, so that it can't lose its
purity by way of another.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOTS: Final = ("pipeline", "models.artefact", "models.versions", "models.anytime")
"""Packages in which the rule holds; code that learns, operates or tests may do as it needs."""
IMPURE_WORDS: Final = frozenset(
    {"agent", "app", "client", "command", "files", "metrics", "page", "service", "store", "topics"}
)
"""Words in the names of impure modules; such a module does what the word says."""
IMPURE_PACKAGES: Final = ("pipeline.io", "pipeline.terminal")
CODECS: Final = "pipeline.io.avro"
"""Package of codecs, which map bytes to values. They read their schemas once, from files that ship with the code."""
SCHEMA_LIBRARY: Final = frozenset({"fastavro", "importlib", "io"})

CLIENTS: Final = frozenset(
    {"aiohttp", "confluent_kafka", "cryptography", "faust", "httpx", "mode", "prometheus_client", "psycopg"}
    | {"pydantic_settings", "redis", "requests", "rich", "structlog", "typer", "urllib3"}
)
MODULES: Final[Mapping[str, frozenset[str]]] = {
    "clock": frozenset({"sched", "time"}),
    "randomness": frozenset({"random", "secrets"}),
    "logging": frozenset({"logging", "warnings"}),
    "input or output": frozenset(
        {"asyncio", "concurrent", "ctypes", "fastavro", "http", "importlib", "io", "mmap", "multiprocessing", "os"}
        | {"pathlib", "pickle", "select", "selectors", "shelve", "shutil", "signal", "socket", "sqlite3", "ssl"}
        | {"subprocess", "sys", "tempfile", "threading", "urllib"}
    ),
    "client library": CLIENTS,
}
CALLS: Final[Mapping[str, frozenset[str]]] = {
    "clock": frozenset({"now", "today", "utcnow"}),
    "randomness": frozenset({"hash", "uuid1", "uuid4"}),
    "input or output": frozenset({"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}),
}
"""Forbidden calls by the last name of what is called. `hash` of a text differs from one process to the next."""


class Violation(NamedTuple):
    """`kind` is a key of MODULES or CALLS, "await", or "impure module"; `what` is the offending name."""

    module: str
    line: int
    kind: str
    what: str


def is_impure(module: str) -> bool:
    """Return whether the module's own name, or its package, says that it acts on the world."""
    if _is_in(module, CODECS):
        return False
    if any(_is_in(module, package) for package in IMPURE_PACKAGES):
        return True
    return not IMPURE_WORDS.isdisjoint(module.rpartition(".")[2].split("_"))


def violations(modules: Mapping[str, Path]) -> Iterator[Violation]:
    """Yield the violations of the pure modules among `modules` (dotted name → file), in order of name and line."""
    for module in sorted(modules):
        if any(_is_in(module, root) for root in ROOTS) and not is_impure(module):
            yield from violations_of(module, modules[module].read_text(encoding="utf-8"), modules)


def violations_of(module: str, source: str, modules: Collection[str]) -> Iterator[Violation]:
    """Yield the violations of one pure module's source; `modules` are all of the project's, by dotted name."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                found = [_import_fault(module, alias.name) for alias in node.names]
            case ast.ImportFrom():
                assert node.module is not None, "imports are absolute"
                found = [_import_fault(module, name) for name in _imported(node, modules)]
            case ast.Await() | ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith():
                found = [("await", type(node).__name__)]
            case ast.Call():
                found = [_call_fault(node.func)]
            case _:
                continue
        for fault in found:
            if fault is not None:
                yield Violation(module, node.lineno, *fault)


def _imported(node: ast.ImportFrom, modules: Collection[str]) -> Iterator[str]:
    """Yield the modules that `from package import name` imports; a name that is no module stands for the package's."""
    for alias in node.names:
        dotted = f"{node.module}.{alias.name}"
        yield dotted if dotted in modules else str(node.module)


def _import_fault(module: str, imported: str) -> tuple[str, str] | None:
    root = imported.partition(".")[0]
    if any(_is_in(imported, package) for package in ROOTS):
        return ("impure module", imported) if is_impure(imported) else None
    if root in ("models", "ops"):
        return "impure module", imported
    if _is_in(module, CODECS) and root in SCHEMA_LIBRARY:
        return None
    for kind, names in MODULES.items():
        if root in names:
            return kind, imported
    return None


def _call_fault(function: ast.expr) -> tuple[str, str] | None:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    for kind, names in CALLS.items():
        if name in names:
            return kind, name
    return None


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
