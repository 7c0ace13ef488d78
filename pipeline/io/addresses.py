"""The addresses of servers, as they may be shown: hosts, ports and names, and never what may be a secret.

Only what is known to be harmless is shown. A password may stand in an address before the host, among its options or as
a word of its own, written plainly or percent-encoded, and a mistyped address may have it anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

UNSHOWN: Final = "an address that can't be shown, as it may hold a password"
_SCHEMES: Final = ("postgresql", "postgres", "redis", "rediss", "unix", "http", "https", "vault")
_PLACE: Final = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
_AUTHORITY: Final = re.compile(rf"(?:{_PLACE}(?:,{_PLACE})*)?", re.ASCII)
"""Hosts; none of a socket."""
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._{}-]*){0,8}", re.ASCII)


def shown_address(url: str) -> str:
    """Return SCHEME://HOST:PORT/NAME of an address, without user, password and options.

    What isn't written so, PostgreSQL's words apart (`host=… password=…`), is not shown at all.
    """
    scheme, found, rest = url.strip().partition("://")
    if not found or scheme.partition("+")[0] not in _SCHEMES:
        return _shown_words(url)
    before_options, _, options = rest.partition("?")
    before_options, _, fragment = before_options.partition("#")
    user, _, place = before_options.rpartition("@")
    authority, slash, path = place.partition("/")
    # A "/", "?" or "#" in a password ends the host early, so an "@" behind it may end a password.
    is_plain = not any(mark in user for mark in "/?#") and "@" not in options + fragment
    if not (is_plain and _AUTHORITY.fullmatch(authority) and _PATH.fullmatch(slash + path)):
        return UNSHOWN
    return f"{scheme}://{authority}{slash}{path}"


def database_options(url: str) -> Mapping[str, str] | None:
    """Return an address of PostgreSQL, a URL or words, as libpq reads it; None where it can't be read."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error:  # its message quotes the address
        return None


def _shown_words(url: str) -> str:
    options = database_options(url) if "=" in url else None
    if options is None:
        return UNSHOWN
    host, port, name = (options.get(option, "") for option in ("host", "port", "dbname"))
    return shown_address(f"postgresql://{host or 'localhost'}{':' if port else ''}{port}/{name}")
