"""The state store's scripts, each with the code that it shares in front of it.

A script is called by its SHA, and loaded again where a server has forgotten it.
"""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path
from typing import Any, Final, NamedTuple

_LUA: Final = Path(__file__).parent / "lua"


class Script(NamedTuple):
    text: str
    sha: str


Call = tuple[Script, list[str], tuple[Any, ...]]


def _text(*names: str) -> str:
    return "\n".join((_LUA / f"{name}.lua").read_text() for name in names)


def _function(name: str, *names: str) -> str:
    """Return a script as a Lua function of its KEYS and ARGV."""
    return f"local function {name}(KEYS, ARGV)\n{_text(*names, name)}\nend\n"


def _script(text: str) -> Script:
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


CLAIM: Final = _script(_text("calls", "progress", "claim"))
ACCOUNTS: Final = _script(_text("calls", "progress", "packed_log", "coverage", "withdrawn", "observe_accounts"))
SHARED: Final = _script(_text("calls", "progress", "packed_log", "coverage", "beneficiary", "observe_shared"))
OBSERVE: Final = _script(
    _text("calls", "progress")
    + _function("claim")
    + _function("observe_accounts", "packed_log", "coverage", "withdrawn")
    + _function("observe_shared", "packed_log", "coverage", "beneficiary")
    + _text("observe")
)
OUTCOMES: Final = _script(_text("calls", "progress", "withdrawn", "outcomes"))
LABEL: Final = _script(_text("calls", "packed_log", "beneficiary", "label"))
NEWEST: Final = _script(_text("newest"))
RELEASE: Final = _script(_text("calls", "release"))
ALL: Final = (CLAIM, ACCOUNTS, SHARED, OBSERVE, OUTCOMES, LABEL, NEWEST, RELEASE)
