"""A strategy: a name, a sentence, the choices that a search makes, and how they become a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from models.artefact.scoring import Model
from models.redteam.scene import Scene
from pipeline.decide.policy import Policy, rules_of

Choices = Mapping[str, int]
"""One value of each parameter."""


class Strategy(NamedTuple):
    """`space` lists each parameter's values in their order: a search steps from one to its neighbours."""

    name: str
    about: str
    space: Mapping[str, tuple[int, ...]]
    play: Callable[[Scene, Choices], None]
    knows: Callable[[Model | None, Policy], Mapping[str, tuple[int, ...]]] | None = None
    """Parameters whose values come from what is attacked: a thief who holds the model's tables and the policy."""


HOURS = (0, 3, 5, 9, 11, 13, 15, 17, 19, 21, 23)
"""Local hours at which a payment may be made; 1 to 4 are the unusual ones."""
ORIGINS = (0, 1, 2, 3)
MULE_HOURS = (12, 49, 24 * 7, 24 * 400)
WEALTH = (0, 3, 6, 8, 9)
AMOUNT: Final = "amount_gbp_minor"


def limits_minor(policy: Policy) -> tuple[int, ...]:
    """Return the amounts in pence at which a rule of the policy begins or ends, or what is near its limit does.

    They are read from the policy that is attacked, so that a rule which is added later has its amount tried, too.
    """
    found = set[int]()
    for rule in rules_of(policy):
        for condition in rule.when:
            if condition.feature == AMOUNT:
                found.update(bound for bound in (condition.at_least, _above(condition.at_most)) if bound is not None)
    if (near := policy.near_limit_gbp_minor()) is not None:
        found.add(near[0])
    return tuple(sorted(found))


def _above(bound: int | None) -> int | None:
    return None if bound is None else bound + 1
