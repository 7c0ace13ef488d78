"""The shape of a state: everything but the log that its answers depend on.

Two workers of different shapes would count apart under the same keys, and neither would notice. So the state holds the
shape that it was built with, and whoever has another one refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple


class ShapeChanged(Exception):
    """The state was built with another shape than is asked for; nothing was counted."""


class Shape(NamedTuple):
    """Whose offsets the state has, how keys are spread, and the bounds that scripts apply. Times are in ms."""

    topic: str  # transactions.v1 with its prefix
    partitions: int  # of it
    partitioner: str
    shards: int
    label_delay_ms: int
    claim_buckets: int
    claim_kept_ms: int
    exceptions_kept: int
    account_payments_max: int
    account_beneficiaries_max: int
    beneficiary_payments_max: int
    beneficiary_kept_ms: int
    withdrawn_max: int
    withdrawn_kept_ms: int
    payees_searched_max: int

    def text(self) -> str:
        return json.dumps(self._asdict())


def parse_shape(text: str | bytes) -> Mapping[str, int | str]:
    """Read a shape, which another release may have written with other fields."""
    found: Mapping[str, int | str] = json.loads(text)
    return found


def differences(held: Mapping[str, int | str], here: Shape) -> list[str]:
    """Return in words how a state's shape differs from the one here; empty where it doesn't."""
    ours = here._asdict()
    return [
        f"{name}{_SETTINGS.get(name, '')} {held.get(name, 'unset')}, not {ours.get(name, 'unset')}"
        for name in dict.fromkeys((*ours, *held))
        if held.get(name) != ours.get(name) and not (name == _LATER and name not in held)
    ]


def require_same(held: Mapping[str, int | str], here: Shape) -> None:
    """Raise ShapeChanged where they differ."""
    if found := differences(held, here):
        raise ShapeChanged(f"the state was built with {'; '.join(found)}: payments would count apart")


_LATER: Final = "topic"
"""What the shape of a state that was begun before doesn't say; its topic is taken on trust."""
_SETTINGS: Final = {
    "topic": " (FRAUD_TOPIC_PREFIX)",
    "partitioner": " (FRAUD_PARTITIONER)",
    "shards": " (FRAUD_STATE_SHARDS)",
    "label_delay_ms": " (FRAUD_LABEL_DELAY_DAYS)",
}
