"""Rights in Redis' file of users that reach beyond the worker's own keys and a health check's PING."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

WORKER_RIGHTS: Final = "~fraud:* resetchannels +@all -@admin -@dangerous +info -@pubsub"
"""The worker's own keys, every command that needs no administrator, and INFO, by which it sees who it speaks to."""
HEALTH_RIGHTS: Final = "resetkeys resetchannels +ping"
DEFAULT_RIGHTS: Final = "off resetkeys resetchannels -@all"
_OURS: Final = {"worker": f"on {WORKER_RIGHTS}", "health": f"on {HEALTH_RIGHTS}", "default": DEFAULT_RIGHTS}


def acl_faults(text: str) -> Iterator[str]:
    """Yield a sentence for each user of a file of users that isn't ours, or whose rights aren't those that we give.

    So every key (~*), every channel (&*), every command (+@all), no password (nopass) and a selector are found.
    """
    seen = set()
    for line in filter(None, (each.strip() for each in text.splitlines())):
        word, _, rest = line.partition(" ")
        name, _, rules = rest.partition(" ")
        if word != "user" or name not in _OURS:
            yield f"Redis' file of users has a line that nobody of ours needs, about {name or word}"
            continue
        seen.add(name)
        rights = [rule for rule in rules.split() if not rule.startswith("#")]
        if rights != _OURS[name].split() or (name != "default" and rules.count("#") != 1):
            yield f"Redis' user {name} has other rights or passwords than it needs"
    for name in sorted(_OURS.keys() - seen):
        yield f"Redis' user {name} is missing from the file of users"
