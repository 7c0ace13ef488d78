"""What a strategy is: a name, a sentence, the choices that a search makes, and how they become a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from models.artefact.scoring import Model
from models.redteam.scene import Scene

Choices = Mapping[str, int]
"""One value of each parameter."""


class Strategy(NamedTuple):
    """`space` lists each parameter's values in their order: a search steps from one to its neighbours."""

    name: str
    about: str
    space: Mapping[str, tuple[int, ...]]
    play: Callable[[Scene, Choices], None]
    knows: Callable[[Model | None], Mapping[str, tuple[int, ...]]] | None = None
    """Parameters whose values come from the attacked model itself: a thief who holds its tables."""


HOURS = (0, 3, 5, 9, 11, 13, 15, 17, 19, 21, 23)
"""Local hours at which a payment may be made; 1 to 4 are the unusual ones."""
ORIGINS = (0, 1, 2, 3)
MULE_HOURS = (12, 49, 24 * 7, 24 * 400)
WEALTH = (0, 3, 6, 8, 9)
LIMITS_MINOR = (5_000, 10_000, 25_000, 200_000, 500_000, 5_000_000)
"""The amounts at which the shipped policy's rules begin: a thief reads them in its documentation."""
