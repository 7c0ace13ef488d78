"""The Avro schemas, as files that ship with the project."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Final

SCHEMAS: Final = (
    "transaction.v1",
    "decision.v1",
    "dead_letter.v1",
    "account.v1",
    "risk_signal.v1",
    "label.v1",
    "alert.v1",
    "execution.v1",
    "anchor.v1",
    "breaker_switch.v1",
    "breaker_hour.v1",
    "witness.v1",
    "shadow.v1",
)


@lru_cache
def releases(name: str) -> tuple[int, ...]:
    """The numbers of a schema's releases, in order; the last is the current one."""
    folder = resources.files("schemas").joinpath("released", name)
    return tuple(sorted(int(path.name.removesuffix(".avsc")) for path in folder.iterdir()))


def released_text(name: str, version: int) -> str:
    return resources.files("schemas").joinpath("released", name, f"{version}.avsc").read_text(encoding="utf-8")


def schema_text(name: str) -> str:
    return resources.files("schemas").joinpath(f"{name}.avsc").read_text(encoding="utf-8")
