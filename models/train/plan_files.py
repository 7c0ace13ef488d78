"""The plan of a training, as a file that a person writes and reviews: features, directions, what to try, label delay.

    label_delay_days = 7
    folds = 3                       # walk-forward validation periods
    features = ["amount_gbp_minor", "ip_fraud_reports", "beneficiary_fraud_run_30d"]

    [optional]                      # groups of these that are read only where they earn their place
    runs = ["beneficiary_fraud_run_30d"]

    [monotone]                      # replaces the declared list; a feature that isn't named may go either way
    ip_fraud_reports = "rising"

    [grid]                          # every combination is tried; an empty grid tries none
    bins = [256, 1024]
    pairs = [0, 10]

Every key may be left out; then what `models/train/learn.py` and `models/train/choosing.py` declare holds. But where a
plan names features and no optional ones, it is these that are read.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from models.artefact.files import FORBIDDEN_FEATURES
from models.artefact.plain_files import read_plain
from models.train.choosing import CANDIDATES_MAX, DEFAULT_GRID, FOLDS, FOLDS_MAX, SETTINGS, Plan, candidates
from models.train.feature_sets import GROUPS_MAX, Groups
from models.train.history import LABEL_DELAY_DAYS
from models.train.learn import FALLING, OPTIONAL_FEATURES, RISING, Learner, reading
from pipeline.domain.features import COLUMN

PLAN_BYTES_MAX: Final = 64 * 1024
LABEL_DELAY_DAYS_MAX: Final = 365
DIRECTIONS: Final = MappingProxyType({"rising": RISING, "falling": FALLING})
_KEYS: Final = frozenset({"label_delay_days", "folds", "features", "optional", "monotone", "grid"})
_GROUP: Final = re.compile(r"[a-z0-9_]{1,40}", re.ASCII)
_LEAST: Final = MappingProxyType(
    {"bins": 4, "pair_bins": 4, "pairs": 0, "outer_bags": 1, "learning_rate": 0.0001, "samples_in_leaf_min": 1}
)
_GREATEST: Final = MappingProxyType(
    {"bins": 8192, "pair_bins": 256, "pairs": 100, "outer_bags": 64, "learning_rate": 0.5, "samples_in_leaf_min": 10**6}
)


class PlanRefused(ValueError):
    """The plan can't be followed; the message is one sentence without its full stop."""


def default_plan(
    seed: int, grid: Mapping[str, Sequence[float]] = DEFAULT_GRID, groups: Groups = OPTIONAL_FEATURES
) -> Plan:
    learner = Learner(seed)
    return Plan(learner, tuple(candidates(learner, grid)) if grid else (), FOLDS, LABEL_DELAY_DAYS, groups)


def given_plan(seed: int) -> Plan:
    """Return a plan by which nothing is chosen: all declared features, by the declared settings."""
    return default_plan(seed, {}, {})


def read_plan(path: Path | None, seed: int) -> Plan:
    """Read a plan; the default where there is no file. Raises PlanRefused."""
    if path is None:
        return default_plan(seed)
    try:
        content = read_plain(path, PLAN_BYTES_MAX)
    except OSError as error:
        raise PlanRefused(f"it can't be read ({error.strerror})") from error
    if len(content) > PLAN_BYTES_MAX:
        raise PlanRefused(f"it is larger than {PLAN_BYTES_MAX} bytes")
    try:
        found = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanRefused("it is not TOML") from error
    return _plan(found, seed)


def _plan(found: Mapping[str, object], seed: int) -> Plan:
    if unknown := sorted(found.keys() - _KEYS):
        raise PlanRefused(f"it has the unknown key '{unknown[0][:40]}'")
    plan = given_plan(seed)
    learner, groups = plan.learner, {} if "features" in found else OPTIONAL_FEATURES
    if "features" in found:
        learner = reading(learner, _features(found["features"]))
    if "optional" in found:
        groups = _groups(found["optional"], learner.features)
    if "monotone" in found:
        learner = replace(learner, monotone=MappingProxyType(_monotone(found["monotone"], learner.features)))
    grid = DEFAULT_GRID if "grid" not in found else _grid(found["grid"])
    tried = tuple(candidates(learner, grid)) if grid else ()
    if len(tried) > CANDIDATES_MAX:
        raise PlanRefused(f"its grid has {len(tried)} combinations, not at most {CANDIDATES_MAX}")
    folds = _whole(found.get("folds", plan.folds), "folds", 1, FOLDS_MAX)
    # The label windows' own delay is the least: payments that young were given no labels when they were served.
    delay = _whole(
        found.get("label_delay_days", plan.label_delay_days), "label_delay_days", LABEL_DELAY_DAYS, LABEL_DELAY_DAYS_MAX
    )
    return Plan(learner, tried, folds, delay, MappingProxyType(groups))


def _names(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(not isinstance(name, str) for name in value):
        raise PlanRefused(f"'{key}' is not a list of names")
    if len(set(value)) < len(value):
        raise PlanRefused(f"'{key}' names a feature twice")
    return tuple(value)


def _features(value: Any) -> tuple[str, ...]:
    names = _names(value, "features")
    for name in names:
        if name not in COLUMN:
            raise PlanRefused(f"there is no feature '{name[:60]}'")
        if name in FORBIDDEN_FEATURES:
            raise PlanRefused(f"only guardrails may use '{name}'")
    return names


def _groups(value: Any, features: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise PlanRefused("'optional' is not a table of groups and their features")
    if len(value) > GROUPS_MAX:
        raise PlanRefused(f"'optional' has {len(value)} groups, not at most {GROUPS_MAX}")
    groups = {}
    for group, names in value.items():
        if not _GROUP.fullmatch(group):
            raise PlanRefused("a group of 'optional' is not named by 1 to 40 small letters, digits and underscores")
        groups[group] = _names(names, f"optional.{group}")
    held = [name for names in groups.values() for name in names]
    if strangers := [name for name in held if name not in features]:
        raise PlanRefused(f"'optional' names '{strangers[0][:60]}', which the model doesn't see")
    if len(set(held)) < len(held):
        raise PlanRefused("'optional' names a feature in two groups")
    if len(held) == len(features):
        raise PlanRefused("'optional' leaves no feature that the model sees in any case")
    return groups


def _monotone(value: Any, features: Sequence[str]) -> dict[str, int]:
    if not isinstance(value, dict):
        raise PlanRefused("'monotone' is not a table of features and directions")
    for name, direction in value.items():
        if name not in features:
            raise PlanRefused(f"'monotone' names '{name[:60]}', which the model doesn't see")
        if direction not in DIRECTIONS:
            raise PlanRefused(f"the direction of '{name}' is not 'rising' or 'falling'")
    return {name: DIRECTIONS[direction] for name, direction in value.items()}


def _grid(value: Any) -> dict[str, list[float]]:
    if not isinstance(value, dict):
        raise PlanRefused("'grid' is not a table of settings and lists")
    for name, values in value.items():
        if name not in SETTINGS:
            raise PlanRefused(f"'grid' names '{name[:60]}'; it may vary {', '.join(SETTINGS)}")
        if not isinstance(values, list) or not values:
            raise PlanRefused(f"'grid.{name}' is not a list of numbers")
        for each in values:
            _in_range(each, name)
    return dict(value)


def _in_range(value: Any, name: str) -> None:
    is_number = isinstance(value, int | float if name == "learning_rate" else int) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not _LEAST[name] <= value <= _GREATEST[name]:
        raise PlanRefused(f"a value of 'grid.{name}' is not a number from {_LEAST[name]} to {_GREATEST[name]}")


def _whole(value: Any, name: str, least: int, greatest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= greatest:
        raise PlanRefused(f"'{name}' is not a whole number from {least} to {greatest}")
    return value
