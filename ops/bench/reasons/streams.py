"""Two streams of payments to decide on: the project's own traffic, and the Fraud Detection Handbook's.

The first is decided by the shipped model. For the second a model is learned from its first payments, by the same
functions as `fraud models train`; the payments behind these are decided, with the state that the first ones left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from models.artefact.files import load, load_champion
from models.artefact.scoring import Model
from models.simulator import LabelledTransaction, TrafficEvent, TrafficSettings, traffic_events
from models.train.history import events_of, examples_of
from models.train.learn import Learner
from models.train.train import train_examples
from ops.bench.speed.handbook_rate import PATH
from pipeline.decide.policy import Policy, parse_new_policy

REGISTRY: Final = Path("models/registry")
POLICY: Final = Path("pipeline/decide/policies/default.toml")
DATA: Final = "FRAUD_HANDBOOK"
"""The environment variable that names the Handbook's parquet file where it is not where the bench `handbook` has it."""
START_MS: Final = 1_782_864_000_000
ACCOUNTS: Final = 3_000
DAYS_MAX: Final = 400


class Sizes(NamedTuple):
    decisions: int  # of each stream
    warm: int  # payments of the generator that are counted before
    learned: int  # payments of the Handbook that a model learns from, and that are counted before
    counterfactuals: int  # at most, of each stream
    counterfactual_s: float  # CPU seconds for them, of each stream
    bags: int


FULL: Final = Sizes(200_000, 60_000, 400_000, 10_000, 1_800.0, 3)
QUICK: Final = Sizes(8_000, 8_000, 60_000, 120, 30.0, 1)


class Stream(NamedTuple):
    name: str
    model: Model
    warm: Iterable[TrafficEvent]
    decided: Iterable[TrafficEvent]


def policy() -> Policy:
    return parse_new_policy(POLICY.read_bytes())


def generated(sizes: Sizes) -> Stream:
    settings = TrafficSettings(
        seed=14, accounts=ACCOUNTS, start_ms=START_MS, days=DAYS_MAX, guardrail_share=0.01, profile_share=0.7
    )
    warm, decided = _split(traffic_events(settings), sizes)
    return Stream("generator", load_champion(REGISTRY), warm, decided)


def handbook(sizes: Sizes, folder: Path, say: Callable[[str], None]) -> Stream:
    """Learns a model into `folder`. Raises FileNotFoundError where the data are not."""
    path = Path(os.environ.get(DATA, PATH))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; {DATA} names the Handbook's parquet file")
    events = events_of(path)
    learned = list(_first(events, sizes.learned))
    say(f"handbook: learning from {sizes.learned:,} payments")
    directory = folder / "handbook-model"
    learner = Learner(14, outer_bags=sizes.bags)
    limits = "It is for the bench `reasons` alone.\n"
    train_examples(examples_of(learned), directory, learner, "The Fraud Detection Handbook's payments", limits, 2)
    return Stream("handbook", load(directory), learned, _first(events, sizes.decisions))


def _split(events: Iterator[TrafficEvent], sizes: Sizes) -> tuple[Iterable[TrafficEvent], Iterable[TrafficEvent]]:
    return _first(events, sizes.warm), _first(events, sizes.decisions)


def _first(events: Iterator[TrafficEvent], payments: int) -> Iterator[TrafficEvent]:
    """As many payments, and what is told between them; what comes behind is left."""
    left = payments
    for event in events:
        yield event
        left -= isinstance(event, LabelledTransaction)
        if left == 0:
            return
