"""Settings and counts that the tests of the breaker start from."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

from pydantic import TypeAdapter

from pipeline.breaker import BreakerRecord, BreakerSettings, Cause
from pipeline.breaker.answer_counts import Counts
from pipeline.breaker.detecting.baselines import Baseline, Usual
from pipeline.domain.decision import BreakerState

PAGE = Path(__file__).parents[2] / "docs" / "breaker.md"
DEFAULTS: BreakerSettings = TypeAdapter(BreakerSettings).validate_python(
    tomllib.loads("[breaker]\n" + re.search(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL).group(1))[
        "breaker"
    ]
)
START_MS = 1_800_000_000_000 - 1_800_000_000_000 % 86_400_000


def settings(**changed: object) -> BreakerSettings:
    return dataclasses.replace(DEFAULTS, **changed)


def record(state: BreakerState = BreakerState.CLOSED, scope: str = "model:m1", **changed: object) -> BreakerRecord:
    return BreakerRecord(scope, state, 7, START_MS, 0, Cause("because", "monitor"))._replace(**changed)


def answers(total: int, block: int = 0, escalate: int = 0, **changed: object) -> Counts:
    """Return counts whose scores have a mean of 2 % and a standard deviation of 10 %."""
    counts = Counts(total - block - escalate, block, escalate, 0, 20_000 * total, 10_400 * total, 0, total)
    return counts._replace(**changed)


def baseline(answered: int, allow: int, block: int, **changed: object) -> Baseline:
    doubts = Usual(answered // 100, answered, 0.0, is_seasonal=bool(changed.get("is_seasonal", True)))
    return Baseline(answered, allow, block, 0.0, 20_000.0, 500.0, True, doubts=doubts)._replace(**changed)
