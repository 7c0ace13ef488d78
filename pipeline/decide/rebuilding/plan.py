"""What a rebuild has to do, from what the state holds and how far each partition was decided.

Invariants
1. A partition that reaches its target under every tag is not read again.
2. A shared tag is whole only when it is marked ready and every partition reaches its target there, because any payment
   of any partition may touch it. So nothing decides while a shared tag is not whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from pipeline.state.survey import Survey


class Plan(NamedTuple):
    partitions: Sequence[int]  # to read again, or to mark ready; those that the asker waits for come first
    is_shared_lost: bool  # nothing may decide until all are done, and the context is to be replayed


def plan(survey: Survey, targets: Mapping[int, int], awaited: Collection[int]) -> Plan:
    """Plan a rebuild.

    targets: for each partition of the topic how far it was decided; 0 where nothing was. awaited: partitions whose
    batches wait for this, or which the asker decides.
    """
    is_shared_lost = not survey.is_shared_ready or any(
        _is_behind(survey.shared.get(partition), target) for partition, target in targets.items()
    )
    lacking = [
        partition
        for partition, target in targets.items()
        if partition not in survey.ready or _is_behind(survey.reached(partition), target)
    ]
    return Plan(sorted(lacking, key=lambda partition: (partition not in awaited, partition)), is_shared_lost)


def _is_behind(reached: int | None, target: int) -> bool:
    return reached is None or reached < target
