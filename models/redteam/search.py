"""The search for a strategy's best choices within a budget: at random first, then from neighbour to neighbour.

Invariants
1. Equal seeds, budgets and targets give equal finds; a larger budget begins with the same random choices.
2. What a find is worth is a plan's course by the serving code, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final, NamedTuple

from models.redteam.deciding import Course, carry_out
from models.redteam.plan import Plan
from models.redteam.scene import Scene
from models.redteam.strategies.strategy import Choices, Strategy
from models.redteam.target import Target

SEARCHED: Final = 2
"""Scenes that each choice is tried in; those of the trials are others."""
RANDOM_SHARE: Final = 2
"""One in so many tries is at random, and the first of them: the rest step away from the best so far."""
FINDS_KEPT: Final = 2


class Find(NamedTuple):
    choices: Choices
    worth_minor: int  # pence, over the scenes that were searched: stolen and not spent


class Carried(NamedTuple):
    plan: Plan
    course: Course


class Searched(NamedTuple):
    finds: tuple[Find, ...]  # best first, all different
    tried: int  # choices
    cheapest: Carried | None  # of the plans that succeeded, the one that cost least
    richest: Carried | None  # the one that brought in most


def search(strategy: Strategy, target: Target, budget: int) -> Searched:
    """budget: how many choices are tried."""
    space = space_of(strategy, target)
    rng = Random(f"search {target.world.seed} {strategy.name}")  # noqa: S311 - a search, seeded on purpose
    known: dict[tuple[int, ...], Find] = {}
    cheapest: Carried | None = None
    richest: Carried | None = None
    for number in range(budget):
        best = max(known.values(), key=_worth) if known else None
        is_random = best is None or number < budget // RANDOM_SHARE
        choices = _at_random(space, rng) if is_random or best is None else _stepped(space, best.choices, rng)
        key = tuple(choices.values())
        if key in known:
            continue
        carried = [carried_out(strategy, target, choices, scene) for scene in range(SEARCHED)]
        known[key] = Find(choices, sum(each.course.net_minor for each in carried))
        for each in carried:
            if each.course.is_success:
                cheapest = each if cheapest is None else min(cheapest, each, key=_cost)
                richest = each if richest is None else max(richest, each, key=_gain)
    finds = sorted(known.values(), key=_worth, reverse=True)[:FINDS_KEPT]
    return Searched(tuple(finds), len(known), cheapest, richest)


def carried_out(strategy: Strategy, target: Target, choices: Choices, scene_number: int) -> Carried:
    scene = Scene(target.world, strategy.name, scene_number)
    strategy.play(scene, choices)
    plan = scene.plan()
    return Carried(plan, carry_out(plan, target))


def space_of(strategy: Strategy, target: Target) -> Mapping[str, tuple[int, ...]]:
    if strategy.knows is None:
        return strategy.space
    return {**strategy.space, **strategy.knows(target.in_force.model, target.in_force.policy)}


def _worth(find: Find) -> tuple[int, tuple[int, ...]]:
    return find.worth_minor, tuple(-value for value in find.choices.values())


def _cost(carried: Carried) -> tuple[int, int]:
    return carried.course.cost_minor, -carried.course.through_minor


def _gain(carried: Carried) -> tuple[int, int]:
    return carried.course.net_minor, -carried.course.cost_minor


def _at_random(space: Mapping[str, tuple[int, ...]], rng: Random) -> dict[str, int]:
    return {name: rng.choice(values) for name, values in space.items()}


def _stepped(space: Mapping[str, tuple[int, ...]], choices: Choices, rng: Random) -> dict[str, int]:
    """Move one or two parameters: to a neighbouring value mostly, to any at times."""
    stepped = dict(choices)
    for name in rng.sample(sorted(space), 1 + (rng.random() < 0.4)):
        values = space[name]
        place = values.index(stepped[name])
        near = [each for each in (place - 1, place + 1) if 0 <= each < len(values)]
        is_near = near and rng.random() < 0.7
        stepped[name] = values[rng.choice(near)] if is_near else rng.choice(values)
    return stepped
