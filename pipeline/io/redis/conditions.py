"""Errors that a server answers a command with: conditions of the server's, which pass, and faults of the command's."""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import AskError, ClusterDownError, ReadOnlyError, ResponseError, TryAgainError

_CONDITIONS: Final = (
    "OOM", "READONLY", "LOADING", "BUSY", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "TRYAGAIN", "NOAUTH",
    "NOPERM", "WRONGPASS", "MOVED", "ASK", "UNBLOCKED", "UNKILLABLE", "NOTBUSY", "FAILOVER",
)  # fmt: skip
_ELSEWHERE: Final = frozenset({"READONLY", "MASTERDOWN", "UNBLOCKED", "FAILOVER", "TRYAGAIN", "CLUSTERDOWN"})
_CODE: Final = re.compile(rf"-?({'|'.join(_CONDITIONS)})\b")
_IN_SCRIPT: Final = re.compile(rf"@?user_script:\s*\d+: (?:@user_script: \d+: )?-?({'|'.join(_CONDITIONS)})\b")
"""Redis 6.2 reports an error of a command in a script as an error of the script, with the code in its midst."""
_OF_A_CLUSTER: Final = {
    "TRYAGAIN": re.compile(r"attempted to access a non local key in a cluster node", re.IGNORECASE),
    "CLUSTERDOWN": re.compile(r"attempted to execute a (?:write )?command while the cluster is down", re.IGNORECASE),
}
"""A command in a script on a key that the script wasn't given, and that is on its way to another server or was never
made while its slot is; or while nobody serves some slot. Redis 6.2, Redis 7 and Valkey have a sentence each for it."""
_FULL_OF_MEMORY: Final = "command not allowed when used memory > 'maxmemory'"


def condition_of(error: ResponseError) -> str | None:
    """Return the code of the server's condition that the error tells of; None for a fault of the command itself."""
    text = f"{error.status_code} {error}" if error.status_code else str(error)
    if _FULL_OF_MEMORY in text:
        return "OOM"
    if found := _CODE.match(text) or _IN_SCRIPT.search(text):
        return found[1]
    return next((code for code, said in _OF_A_CLUSTER.items() if said.search(text)), None)


def is_elsewhere(error: object) -> bool:
    """Return whether a command may succeed on another server or a little later, having done nothing here."""
    if isinstance(error, (AskError, TryAgainError, ClusterDownError, ReadOnlyError)):  # MovedError is an AskError
        return True
    return isinstance(error, ResponseError) and condition_of(error) in _ELSEWHERE
