"""The Avro schemas, as files that ship with the project."""

from __future__ import annotations

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
)


def released_text(name: str, version: int) -> str:
    return resources.files("schemas").joinpath("released", name, f"{version}.avsc").read_text(encoding="utf-8")


def schema_text(name: str) -> str:
    return resources.files("schemas").joinpath(f"{name}.avsc").read_text(encoding="utf-8")
