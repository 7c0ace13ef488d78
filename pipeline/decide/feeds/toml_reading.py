"""TOML that people and publishers write, read strictly: a policy, a feed.

Invariant
1. Whatever the bytes are, they are tables or a sentence that says why not (`Unreadable`).
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

from pydantic import ValidationError

LINE_CHARACTERS_MAX: Final = 1_000
"""The parser's time grows with the square of a key's dots: 9 s for a line of 40,000 characters, 1 s for a whole file of
lines as long as this."""
_MARK: Final = b"\xef\xbb\xbf"
_ENUM_MEMBER: Final = re.compile(r"<\w+\.\w+: ('[^']*')>")


class Unreadable(ValueError):
    """The bytes hold no tables; the message is one sentence, without a full stop."""


def tables_of(content: bytes, what: str, bytes_max: int, format_read: int) -> dict[str, object]:
    """Return the tables of a file whose `format` is the one that is read. Raises Unreadable.

    what: names the file in the sentence, such as "the policy".
    """
    if len(content) > bytes_max:
        raise Unreadable(f"{what} is larger than {bytes_max} bytes")
    if content.startswith(_MARK):
        raise Unreadable(f"{what} begins with a byte order mark; save it as UTF-8 without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{what} is not UTF-8 at byte {error.start}") from error
    if any(len(line) > LINE_CHARACTERS_MAX for line in text.split("\n")):
        raise Unreadable(f"{what} has a line of more than {LINE_CHARACTERS_MAX} characters")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"{what} is not valid TOML: {error}") from error
    if "sha256" in tables:
        raise Unreadable("sha256: unknown key; the hash is computed from the file")
    _refuse_unknown_format(tables.get("format"), format_read)
    return tables


def _refuse_unknown_format(named: object, format_read: int) -> None:
    """Before anything else: of a file in another format every other complaint would mislead."""
    if named is None:
        raise Unreadable(f"format: is missing; this release reads format {format_read}")
    if named != format_read or isinstance(named, bool):
        raise Unreadable(f"format: this release reads format {format_read}, not {named!r:.40}")


def sentence_of(error: ValidationError) -> str:
    """Return the first complaint, behind the key that it is about, and how many more there are.

    A list of which every item is wrong is then also too short, which nobody has to mend.
    """
    found = error.errors(include_url=False)
    above = {each["loc"][:length] for each in found for length in range(len(each["loc"]))}
    first, others = found[0], [each for each in found[1:] if each["type"] != "too_short" or each["loc"] not in above]
    message = _ENUM_MEMBER.sub(r"\1", first["msg"].removeprefix("Value error, "))
    reason = {"extra_forbidden": "unknown key", "missing": "is missing"}.get(first["type"], message)
    more = f" (and {len(others)} more)" if others else ""
    # A contradiction between tables has no place; it names its keys itself.
    return ": ".join([*filter(None, [".".join(str(part) for part in first["loc"])]), f"{reason}{more}"])
