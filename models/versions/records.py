"""Signed records of a registry: canonical JSON, with signatures by keys of use `models` over kind and content.

Invariants
1. A record has one form in bytes only. One that differs in a byte, names a key twice or is signed for another kind is
   refused.
2. Every signature that a record holds must be good: what nobody can check is not passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from models.artefact.strict import Json, ModelRefused, array, canonical, mapping, parsed, refuse
from models.versions.locations import RECORD_BYTES_MAX
from pipeline.keys.key_sets import KeySet, KeyUse, untrusted

DOMAIN: Final = "fraud-models-{kind}-v1\n"
"""Begins what is signed, so that a signature of one kind of record, or of another protocol, is none of another kind."""
SIGNATURES_MAX: Final = 8
SIGNATURE_BYTES: Final = 64
TIME_MS_MAX: Final = 2**53

IsSigned = Callable[[bytes, bytes, bytes], bool]
"""Of the raw public key, the text and the signature."""


class Signing(Protocol):
    """A key that signs. Its real implementations: a file's key, and the test's that sign with what is no key."""

    @property
    def key_id(self) -> str: ...

    def sign(self, text: bytes) -> bytes: ...


class Signature(NamedTuple):
    key_id: str
    signature: bytes


class Opened(NamedTuple):
    """The content of a record whose signatures are good."""

    content: dict[str, Json]
    signatures: tuple[Signature, ...]
    sha256: str


def signed_record(kind: str, content: Mapping[str, Json], *keys: Signing) -> bytes:
    """Return the record as its file holds it."""
    assert keys, "a record is signed by somebody"
    text = _signed_text(kind, dict(content))
    signatures: list[Json] = [{"key_id": key.key_id, "signature": key.sign(text).hex()} for key in keys]
    return canonical({"record": dict(content), "signatures": signatures})


def opened(
    kind: str, name: str, file: bytes, keys: KeySet, is_signed: IsSigned, *, seen_at_ms: int | None = None
) -> Opened:
    """Return a record whose signatures are all good. Raises ModelRefused with a sentence that names the file.

    seen_at_ms: a time at which it is known to have stood, which saves what a key signed before it was revoked.
    """
    if len(file) > RECORD_BYTES_MAX:
        refuse(f"'{name}' is larger than {RECORD_BYTES_MAX} bytes")
    whole = mapping(parsed(file, name), name, {"record", "signatures"})
    content = whole["record"]
    if not isinstance(content, dict):
        refuse(f"'{name}' holds no record")
    signatures = tuple(_signature(each, name) for each in array(whole["signatures"], name))
    if not 1 <= len(signatures) <= SIGNATURES_MAX or len({each.key_id for each in signatures}) < len(signatures):
        refuse(f"'{name}' is signed by nobody, by too many, or by one key twice")
    text, at_ms = _signed_text(kind, content), time_of(content, name)
    for key_id, signature in signatures:
        if (why := untrusted(keys, KeyUse.MODELS, key_id, at_ms, seen_at_ms)) is not None:
            refuse(f"the signature of '{name}' does not count: {why}")
        if not is_signed(keys.keys[key_id].public, text, signature):
            refuse(f"the signature of '{name}' is not one of the key {key_id} over what it says")
    return Opened(content, signatures, sha256_of(file))


def opened_chain(
    kind: str, files: Sequence[tuple[str, bytes]], keys: KeySet, is_signed: IsSigned
) -> list[tuple[str, Opened]]:
    """Return the records of a chain; whoever reads them checks that each names the one before.

    The last must be signed by a key that counts now. Whoever signed it vouched for those before it, so that a key may
    be revoked without every record that it ever signed becoming nothing. Raises ModelRefused.
    """
    last = len(files) - 1
    found: list[tuple[str, Opened]] = []
    for at, (name, file) in enumerate(files):
        trusted = keys if at == last else vouched(keys)
        found.append((name, opened(kind, name, file, trusted, is_signed)))
    return found


def vouched(keys: KeySet) -> KeySet:
    """Return the keys as if none were revoked, for records that a later one, or a person, vouches for."""
    return KeySet({name: key._replace(revoked_at_ms=None, reason=None) for name, key in keys.keys.items()})


def sha256_of(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()


def time_of(content: Mapping[str, Json], name: str) -> int:
    at_ms = content.get("at_ms")
    if type(at_ms) is not int or not 0 <= at_ms <= TIME_MS_MAX:
        refuse(f"'{name}' says no time")
    return at_ms


def text_of(content: Mapping[str, Json], field: str, name: str) -> str:
    value = content.get(field)
    if not isinstance(value, str):
        refuse(f"'{field}' of '{name}' is no text")
    return value


def optional_text_of(content: Mapping[str, Json], field: str, name: str) -> str | None:
    return None if content.get(field) is None else text_of(content, field, name)


def texts_of(content: Mapping[str, Json], field: str, name: str) -> tuple[str, ...]:
    return tuple(text_of({field: each}, field, name) for each in array(content.get(field), f"{field} of {name}"))


def number_of(content: Mapping[str, Json], field: str, name: str, largest: int) -> int:
    value = content.get(field)
    if type(value) is not int or not 0 <= value <= largest:
        refuse(f"'{field}' of '{name}' is no integer between 0 and {largest}")
    return value


def require_fields(content: Mapping[str, Json], expected: set[str], name: str) -> None:
    mapping(dict(content), name, expected)


def _signed_text(kind: str, content: dict[str, Json]) -> bytes:
    return DOMAIN.format(kind=kind).encode() + canonical(content)


def _signature(value: Json, name: str) -> Signature:
    fields = mapping(value, name, {"key_id", "signature"})
    key_id, written = text_of(fields, "key_id", name), text_of(fields, "signature", name)
    try:
        signature = bytes.fromhex(written)
    except ValueError as error:
        raise ModelRefused(f"a signature of '{name}' is not hexadecimal") from error
    if len(signature) != SIGNATURE_BYTES or signature.hex() != written:
        refuse(f"a signature of '{name}' is not {SIGNATURE_BYTES} bytes in small hexadecimal digits")
    return Signature(key_id, signature)
