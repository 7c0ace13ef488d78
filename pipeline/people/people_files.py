"""The registry as a file, for processes without a database: its signed acts, one a line, proved when they are read.

A worker goes by it when it asks who let the model back in. Nobody can change the file without an ADMIN's key. What may
be missing at its end is what came after the time of its stamp, which a service that reads the database has signed; the
age of a file without one is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.people.act_store import CHECKS, evidence_fields, evidence_of
from pipeline.people.acts import SignedAct
from pipeline.people.registry import Registry, advanced

STAMP: Final = b"fraud-people-stamp-v1\n"
"""Begins what a stamp's signature is over."""


class PeopleFileRefused(Exception):
    """The file holds no registry; one sentence, without a full stop."""


class Stamp(NamedTuple):
    """Somebody's signed word that the registry ended with `head` at a time."""

    as_of_ms: int
    head: str
    key_id: str
    signature: bytes


class PeopleFile(NamedTuple):
    """stamp: None where nothing says as of when the file is. acts: the registry's, in order."""

    registry: Registry
    stamp: Stamp | None
    acts: tuple[SignedAct, ...]

    def is_stamped_by(self, public: bytes, is_signed: Callable[[bytes, bytes, bytes], bool]) -> bool:
        """Return whether a raw public key has signed the stamp, and over these people."""
        stamp = self.stamp
        if stamp is None or stamp.head != self.registry.head:
            return False
        return is_signed(public, stamp_bytes(self.registry.root, stamp.head, stamp.as_of_ms), stamp.signature)


def stamp_bytes(root: str, head: str, as_of_ms: int) -> bytes:
    """The bytes that a stamp's signature is over."""
    return STAMP + f"{root}\n{head}\n{as_of_ms}".encode()


def write_people(path: Path, acts: Iterable[SignedAct], stamp: Stamp | None = None) -> None:
    """Put the file whole in the place of the one before it. Raises OSError."""
    partial = path.with_name(f".{path.name}.new")
    lines = [_line(signed) for signed in acts]
    if stamp is not None:
        lines.append(_stamp_line(stamp))
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(path)


def read_people(path: Path) -> PeopleFile:
    """Raises PeopleFileRefused."""
    registry, stamp, acts = Registry(), None, []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            read = json.loads(line)
            if stamp is not None:
                raise PeopleFileRefused(f"{path} goes on after its stamp")
            if "as_of_ms" in read:
                stamp = _stamp(read)
                continue
            evidence = evidence_of(read["evidence"])
            signed = SignedAct(str(read["content"]), bytes.fromhex(read["signature"]), evidence)
            registry, fault = advanced(registry, signed, CHECKS)
            if fault is not None:
                raise PeopleFileRefused(f"an act of {path} counts as nothing: {fault}")
            acts.append(signed)
    except OSError as error:
        raise PeopleFileRefused(f"{path} can't be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError):
        raise PeopleFileRefused(f"{path} holds no people, as `fraud people export` writes them") from None
    if not registry.root:
        raise PeopleFileRefused(f"{path} holds nobody")
    return PeopleFile(registry, stamp, tuple(acts))


def lost_acts(path: Path, root: str, known: Iterable[str]) -> tuple[SignedAct, ...]:
    """Return the acts of a registry that a file has, and that are not among the known ones, by their digests.

    There are none where the file is another registry's. Raises PeopleFileRefused.
    """
    kept, there = read_people(path), set(known)
    if kept.registry.root != root:
        return ()
    return tuple(signed for signed in kept.acts if signed.digest not in there)


def _line(signed: SignedAct) -> str:
    fields = {
        "content": signed.content,
        "signature": signed.signature.hex(),
        "evidence": evidence_fields(signed.evidence),
    }
    return json.dumps(fields, sort_keys=True) + "\n"


def _stamp_line(stamp: Stamp) -> str:
    return json.dumps({**stamp._asdict(), "signature": stamp.signature.hex()}, sort_keys=True) + "\n"


def _stamp(read: Mapping[str, object]) -> Stamp:
    """Raises ValueError, KeyError, TypeError."""
    as_of_ms = read["as_of_ms"]
    if type(as_of_ms) is not int:
        raise TypeError("a time is a number")
    return Stamp(as_of_ms, str(read["head"]), str(read["key_id"]), bytes.fromhex(str(read["signature"])))
