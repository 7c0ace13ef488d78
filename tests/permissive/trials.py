"""Runs worlds with and without a fault, and compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path as File
from random import Random
from typing import Final, NamedTuple

from models.artefact.files import load_champion
from pipeline.decide.verdict import Regime, regime
from pipeline.domain.decision import Outcome, Route
from tests.permissive.faults import FAULTS, Fault
from tests.permissive.path import Decided, Path
from tests.permissive.world import Item, Paid, world_of
from tests.records import feeds, policy, small_model

FAULTS_A_WORLD: Final = 12


class Violation(NamedTuple):
    """A payment that a fault made more permissive; `seed` and `fault` run it again."""

    seed: int
    fault: str
    transaction_id: str
    known: Decided
    found: Decided


@dataclass(slots=True)
class Trials:
    violations: list[Violation] = field(default_factory=list)
    examples: Counter[str] = field(default_factory=Counter)  # payments from the fault on, by seam and fault
    strict: int = 0  # of them, those that full knowledge does not allow
    excused: int = 0

    @property
    def total(self) -> int:
        return self.examples.total()


@lru_cache
def regimes(without: frozenset[str] = frozenset()) -> tuple[Regime, Regime]:
    """without: soft rules that are left out."""
    shipped = policy()
    soft = tuple(rule for rule in shipped.soft.rules if rule.code not in without)
    asked = shipped.model_copy(update={"soft": shipped.soft.model_copy(update={"rules": soft})})
    return regime(asked, small_model(), feeds()), regime(asked, load_champion(File("models/registry")), feeds())


class Known(NamedTuple):
    """A world and what is decided in it with full knowledge."""

    seed: int
    items: Sequence[Item]
    in_force: Regime
    decided: dict[str, Decided]


def known(seed: int, without: frozenset[str] = frozenset()) -> Known:
    items, in_force = world_of(seed), regimes(without)[seed % 2]
    path = Path(in_force)
    path.run(items)
    return Known(seed, items, in_force, path.decided)


def try_out(trials: Trials, world: Known, fault: Fault) -> None:
    """Run the world with the fault, and note what it did to the payments from there on."""
    pick = Random(f"{world.seed} {fault.name}")
    strikes_at = pick.randrange(len(world.items) * 3 // 4)
    path = Path(world.in_force)
    backed_up_at = pick.randint(0, strikes_at)
    path.run(world.items[:backed_up_at])
    path.backup = path.copy_of_state()
    path.run(world.items[backed_up_at:strikes_at])
    fault.strike(path, pick)
    path.run(world.items[strikes_at:])
    decided = without(world, path) if path.uncounted else world.decided
    for item in world.items[strikes_at:]:
        if isinstance(item, Paid):
            _compare(trials, world._replace(decided=decided), fault, item.transaction.transaction_id, path.decided)


def without(world: Known, path: Path) -> dict[str, Decided]:
    """What is decided with full knowledge where the payments that could not be read were never attempted.

    Nobody knows what a payment says that can't be read, and nothing is paid for it.
    """
    never = path.ids_of(path.uncounted)
    other = Path(world.in_force)
    other.run(
        [each for each in world.items if not (isinstance(each, Paid) and each.transaction.transaction_id in never)]
    )
    return world.decided | other.decided


def _compare(trials: Trials, world: Known, fault: Fault, transaction_id: str, decided: dict[str, Decided]) -> None:
    trials.examples[fault.name] += 1
    full = world.decided[transaction_id]
    if fault.seam == "breaker":  # it is open, which the path can't know
        full = full._replace(outcome=full.by_fallback)
    if full.outcome is Outcome.ALLOW:
        return
    trials.strict += 1
    found = decided.get(transaction_id)
    if found is None or found.outcome is not Outcome.ALLOW:
        return
    if found.route is Route.FALLBACK and full.by_fallback is Outcome.ALLOW:
        trials.excused += 1
    else:
        trials.violations.append(Violation(world.seed, fault.name, transaction_id, full, found))


def faults_of(seed: int, faults: Sequence[Fault] = FAULTS) -> Iterator[Fault]:
    """The faults that are tried on the world of this seed: all of them in turn, over the worlds."""
    for place in range(min(FAULTS_A_WORLD, len(faults))):
        yield faults[(seed * FAULTS_A_WORLD + place) % len(faults)]
