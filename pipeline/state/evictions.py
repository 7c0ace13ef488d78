"""Whether servers of the state store may evict keys, and whether they have, from what they say about themselves (INFO).

An evicted key is a payment, a payee's frauds or an id forgotten in silence. Nobody can say afterwards which keys they
were, so a state that keys were evicted from is lost as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

NO_EVICTION: Final = "noeviction"
LOST: Final = "lost"
"""Field beside the counts: how many keys had been evicted from the state when that was first found out."""


class StateEvicted(Exception):
    """Redis may evict keys of the state, or has; nothing may be decided on it."""


class Evictions(NamedTuple):
    """policies: those that may evict, by the masters; "untold" for a server that tells none. evicted_keys: how many the
    state lost, as it was first found out; 0 for none."""

    policies: Sequence[str]
    evicted_keys: int
    servers: Sequence[str]  # the names that the masters' processes have for as long as they run

    @property
    def fault(self) -> str | None:
        """Say why nothing may be decided on the state; None where it is sound."""
        if self.evicted_keys:
            return (
                f"Redis has evicted keys ({self.evicted_keys} when it was found out), so the state is lost as a whole"
            )
        return eviction_fault(self.policies)


def eviction_fault(policies: Sequence[str]) -> str | None:
    """Say what is wrong with the policies that `evicting_policies` found; None where there are none."""
    if _UNTOLD in policies:
        return (
            "Redis doesn't tell its maxmemory-policy, and FRAUD_STATE_NEVER_EVICTS doesn't state that it evicts nothing"
        )
    if policies:
        return f"Redis may evict keys ({', '.join(policies)}), and so forget payments in silence"
    return None


def evicting_policies(masters: Iterable[Mapping[str, object]], *, never_evicts: bool) -> list[str]:
    """Return the policies by which masters may evict keys.

    masters: what INFO says of each. never_evicts: somebody states it of a server that tells no policy.
    """
    told = {str(facts.get("maxmemory_policy", NO_EVICTION if never_evicts else _UNTOLD)) for facts in masters}
    return sorted(told - {NO_EVICTION})


def evicted_counts(masters: Iterable[Mapping[str, object]]) -> dict[str, int]:
    """Return how many keys each master has evicted, by the name of its process, whose restart begins at 0."""
    return {str(facts.get("run_id", "")): int(str(facts.get("evicted_keys", 0))) for facts in masters}


def evicted_since(counts: Mapping[str, int], begun: Mapping[str, int]) -> int:
    """Return how many keys were evicted since the counts were `begun`.

    A process that isn't among them has held the state from its start on. A count that is less was reset.
    """
    since = 0
    for server, count in counts.items():
        before = begun.get(server, 0)
        since += count - before if count >= before else count
    return since


_UNTOLD: Final = "untold"
