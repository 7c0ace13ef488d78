"""Avro's values from bytes, strictly: the shortest form of every number, the branches that exist, valid UTF-8.

Each function gives the value at a position and the position after it; they raise Malformed, IndexError where the bytes
end too early, or UnicodeDecodeError. fastavro is not as strict: it takes a union branch or an enum symbol of -1 for
Python's last, and varints beyond 64 bits.
"""

from __future__ import annotations

from typing import Final, TypeVar

SymbolT = TypeVar("SymbolT")

_SHIFT_MAX: Final = 7 * 10  # a varint of 64 bits takes ten bytes
_NO_BRANCH: Final = "a union has no such branch"


class Malformed(ValueError):
    """The bytes are not of the schema. The message quotes none of them."""


def read_text(body: bytes, at: int) -> tuple[str, int]:
    length = body[at]
    if length & 0x81:  # negative, or of more than one byte
        length, start = read_long(body, at)
        if length < 0:
            raise Malformed("a length is negative")
    else:
        length, start = length >> 1, at + 1
    end = start + length
    if end > len(body):
        raise Malformed("it is truncated")
    return body[start:end].decode(), end


def read_fixed(body: bytes, at: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(body):
        raise Malformed("it is truncated")
    return body[at:end], end


def read_long(body: bytes, at: int) -> tuple[int, int]:
    byte = body[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    rest, shift = byte & 0x7F, 7
    while byte >= 0x80:
        at += 1
        byte = body[at]
        rest |= (byte & 0x7F) << shift
        shift += 7
        if shift > _SHIFT_MAX:
            raise Malformed("a number is beyond 64 bits")
    if byte == 0 or rest >= 1 << 64:
        raise Malformed("a number is not in its shortest form, or beyond 64 bits")
    return (rest >> 1) ^ -(rest & 1), at + 1


def read_int(body: bytes, at: int) -> tuple[int, int]:
    number, at = read_long(body, at)
    if not -(2**31) <= number < 2**31:
        raise Malformed("an int is beyond 32 bits")
    return number, at


def read_boolean(body: bytes, at: int) -> tuple[bool, int]:
    byte = body[at]
    if byte > 1:
        raise Malformed("a boolean is neither true nor false")
    return byte == 1, at + 1


def read_bytes(body: bytes, at: int) -> tuple[bytes, int]:
    length, at = read_long(body, at)
    if length < 0:
        raise Malformed("a length is negative")
    return read_fixed(body, at, length)


def read_symbol(body: bytes, at: int, symbols: tuple[SymbolT, ...]) -> tuple[SymbolT, int]:
    """`symbols`: the enum's, in the schema's order; there are at most 64."""
    number = body[at]
    if number & 1 or number >= 2 * len(symbols):
        raise Malformed("an enum has no such symbol")
    return symbols[number >> 1], at + 1


def read_optional_text(body: bytes, at: int) -> tuple[str | None, int]:
    branch = body[at]
    if branch == 0:
        return None, at + 1
    if branch != 2:
        raise Malformed(_NO_BRANCH)
    return read_text(body, at + 1)


def read_optional_long(body: bytes, at: int) -> tuple[int | None, int]:
    branch = body[at]
    if branch == 0:
        return None, at + 1
    if branch != 2:
        raise Malformed(_NO_BRANCH)
    return read_long(body, at + 1)


def open_block(body: bytes, at: int) -> tuple[int, int | None, int]:
    """Open a block of an array or a map: how many entries follow, 0 at its end; where they must end, None if unsaid."""
    count, at = read_long(body, at)
    if count >= 0:
        return count, None, at
    size, at = read_long(body, at)
    return -count, at + size, at


def close_block(end: int | None, at: int) -> None:
    if end is not None and end != at:
        raise Malformed("a block is not as long as it says")


def read_text_map(body: bytes, at: int) -> tuple[dict[str, str], int]:
    texts: dict[str, str] = {}
    while True:
        count, end, at = open_block(body, at)
        if count == 0:
            return texts, at
        for _ in range(count):  # a count that lies ends with the bytes: an entry takes two at least
            name, at = read_text(body, at)
            if name in texts:
                raise Malformed("a map names a key twice")
            texts[name], at = read_text(body, at)
        close_block(end, at)
