"""A target to attack, made once a run: its world takes seconds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from models.artefact.files import load_champion
from models.artefact.scoring import Model
from models.redteam.scene import Scene
from models.redteam.search import Carried, carried_out
from models.redteam.strategies.table import BY_NAME
from models.redteam.target import Target, target_of
from tests.records import policy

SEED = 5


@cache
def shipped() -> Model:
    return load_champion(Path("models/registry"))


@cache
def target(shift_micro: int = 0) -> Target:
    """The champion, with every score moved."""
    model = shipped()
    moved = replace(model, intercept_micro=model.intercept_micro + shift_micro)
    return target_of(f"shifted by {shift_micro}", policy(), moved, SEED)


def first_choices(name: str) -> dict[str, int]:
    return {parameter: values[0] for parameter, values in BY_NAME[name].space.items()}


def carried(name: str, number: int = 0, on: Target | None = None, **choices: int) -> Carried:
    return carried_out(BY_NAME[name], on or target(), first_choices(name) | choices, number)


def scene(number: int = 0) -> Scene:
    return Scene(target().world, "by-hand", number)
