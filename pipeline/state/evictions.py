"""Whether servers of the state store may forget keys, and whether they have, from what they say about themselves: INFO.

An evicted key is a payment, a payee's frauds or an id forgotten in silence. Nobody can say afterwards which keys they
were, so a state that keys were evicted from is lost as a whole. A payee's keys have a time to live, by the server's
clock: one that runs days ahead forgets payees while they are still of a window, and looks as before when it is mended.
So the state remembers the latest time that its servers told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

NO_EVICTION: Final = "noeviction"
LOST: Final = "lost"
"""Field beside the counts: how many keys had been evicted from the state when that was first found out."""


CLOCK: Final = "clock"
"""Field beside the counts: the latest time that a server of the state has told, in ms."""
EARLY: Final = "early"
"""Field beside the counts: by how many ms a server's clock was ahead when that was first found out."""
CLOCKS_APART_MS_MAX: Final = 3_600_000
"""Most by which the clocks of a server and of a worker differ that are both in order."""
EARLY_MS_MAX: Final = 86_400_000
"""Most by which keys may expire too early: a payee's are kept for a day longer than they can matter (docs/state.md)."""


class StateEvicted(Exception):
    """Redis may forget keys of the state, or has; nothing may be decided on it."""


class Evictions(NamedTuple):
    """policies: those that may evict, by the masters; "untold" for a server that tells none. evicted_keys: how many the
    state lost, as it was first found out; 0 for none."""

    policies: Sequence[str]
    evicted_keys: int
    servers: Sequence[str]  # the names that the masters' processes have for as long as they run
    early_ms: int = 0  # by how much a clock was ahead, as it was first found out; 0 for none
    apart_ms: int = 0  # by how much a server's clock is ahead of the asker's now; below 0 where it is behind

    @property
    def fault(self) -> str | None:
        """Say why nothing may be decided on the state; None where it is sound."""
        if self.evicted_keys:
            return (
                f"Redis has evicted keys ({self.evicted_keys} when it was found out), so the state is lost as a whole"
            )
        if self.early_ms:
            hours = self.early_ms // 3_600_000
            return (
                f"Redis' clock was {hours} hours ahead and payees were forgotten early, so the state is lost as a whole"
            )
        return eviction_fault(self.policies) or clock_fault(self.apart_ms)


def clock_fault(apart_ms: int) -> str | None:
    """Say what is wrong with clocks that are so far apart; None where nothing is."""
    if abs(apart_ms) <= CLOCKS_APART_MS_MAX:
        return None
    minutes, is_ahead = abs(apart_ms) // 60_000, apart_ms > 0
    return (
        f"Redis' clock is {minutes} minutes {'ahead of' if is_ahead else 'behind'} this worker's, and payees are"
        " forgotten by it: set the one that is wrong"
    )


def apart_ms(masters: Iterable[Mapping[str, object]], now_ms: int) -> int:
    """Return by how much the clock of a master is ahead of `now_ms`, of the one that is furthest from it."""
    return max((time_ms - now_ms for time_ms in _times_ms(masters)), key=abs, default=0)


def latest_ms(masters: Iterable[Mapping[str, object]]) -> int:
    """Return the latest time that a master tells; 0 where none does."""
    return max(_times_ms(masters), default=0)


def early_ms(held_ms: int, apart_now_ms: int, now_ms: int) -> int:
    """Return by how much a clock must have been ahead, by the latest time that it told before; 0 where it was in order.

    Two clocks that agree now are believed against what one of them told before; while they differ, nobody can say which
    of them is wrong.
    """
    ahead_ms = held_ms - now_ms
    return ahead_ms if ahead_ms > EARLY_MS_MAX and clock_fault(apart_now_ms) is None else 0


def _times_ms(masters: Iterable[Mapping[str, object]]) -> list[int]:
    told = (facts.get("server_time_usec") for facts in masters)
    return [int(str(each)) // 1000 for each in told if each is not None]


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
