"""Errors that a server answers a command with: conditions of the server's, which pass, and faults of the request's.

What a request can cause is listed: a script's own error while it runs, and what a command says of the values that it is
given or finds. Every other error is the server's, whether it is known here or not: no payment is to blame for it.
"""

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
_SCRIPTS_OWN: Final = re.compile(
    r"^(?:ERR )?(?:Error running script \(call to \w+\): @user_script:\s*\d+: )?user_script:\d+: "
)
"""An error of Lua's while a script runs names its line first. A command's error in a script does not: Redis 7 and
Valkey name the line behind it, and Redis 6.2 before it, as `@user_script`."""
_OF_VALUES: Final = re.compile(
    r"WRONGTYPE\b|is not an integer|out of range|not a valid float|string exceeds maximum allowed size"
    r"|wrong number of arg|arguments must be strings or integers|increment or decrement would overflow|syntax error",
    re.IGNORECASE,
)
_FULL_OF_MEMORY: Final = "command not allowed when used memory > 'maxmemory'"


def condition_of(error: ResponseError) -> str | None:
    """Return the code of the server's condition that the error tells of; None for a fault of the command itself."""
    text = f"{error.status_code} {error}" if error.status_code else str(error)
    if _FULL_OF_MEMORY in text:
        return "OOM"
    if found := _CODE.match(text) or _IN_SCRIPT.search(text):
        return found[1]
    return next((code for code, said in _OF_A_CLUSTER.items() if said.search(text)), None)


def is_of_the_request(error: ResponseError) -> bool:
    """Return whether the error may be due to what a script was given, or to what it found under its keys."""
    text = f"{error.status_code} {error}" if error.status_code else str(error)
    return condition_of(error) is None and (_SCRIPTS_OWN.match(text) or _OF_VALUES.search(text)) is not None


def is_elsewhere(error: object) -> bool:
    """Return whether a command may succeed on another server or a little later, having done nothing here."""
    if isinstance(error, (AskError, TryAgainError, ClusterDownError, ReadOnlyError)):  # MovedError is an AskError
        return True
    return isinstance(error, ResponseError) and condition_of(error) in _ELSEWHERE
