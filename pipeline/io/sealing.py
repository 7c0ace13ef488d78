"""Encryption of dead letters: a payment that couldn't be decided is kept, but never in the clear (I10).

The cipher is AES-256-GCM, with a random 96-bit nonce in front. The associated bytes are the record's position in the
log, so that a payload can't be passed off as another record's.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.domain.log import Source
from pipeline.io.secrets import SecretsUnavailable, require_private

_NONCE_BYTES: Final = 12


class KeyRefused(Exception):
    """The key can't be used, or doesn't open this payload."""


class DeadLetterKey:
    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise KeyRefused("a dead-letter key is 32 bytes, base64")
        self._cipher = AESGCM(secret)
        self.key_id = hashlib.sha256(b"dead-letter-key" + secret).hexdigest()[:16]

    @classmethod
    def from_file(cls, path: Path) -> DeadLetterKey:
        try:
            require_private(path, path.stat())
            return cls(base64.b64decode(path.read_bytes().strip(), validate=True))
        except SecretsUnavailable as error:
            raise KeyRefused(str(error)) from error
        except (OSError, ValueError) as error:
            raise KeyRefused(f"the dead-letter key file {path} can't be read as base64") from error

    @classmethod
    def from_text(cls, secret: str) -> DeadLetterKey:
        """Read a key as `from_file` does, from the file's text."""
        try:
            return cls(base64.b64decode(secret.strip(), validate=True))
        except ValueError:
            raise KeyRefused("the dead-letter key can't be read as base64") from None

    def seal(self, key: bytes | None, value: bytes | None, source: Source) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        named = key or b""
        clear = len(named).to_bytes(4, "big") + named + (value or b"")
        return nonce + self._cipher.encrypt(nonce, clear, _place(source))

    def open(self, sealed: bytes, source: Source) -> tuple[bytes, bytes]:
        """Return the record's key and value. Raises KeyRefused where another key sealed them, or for another record."""
        try:
            clear = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _place(source))
        except InvalidTag as error:
            raise KeyRefused("this key doesn't open this dead letter") from error
        length = int.from_bytes(clear[:4], "big")
        return clear[4 : 4 + length], clear[4 + length :]


def create_key_file(path: Path) -> None:
    """Write a new key, readable by its owner only. An existing file is never overwritten."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(os.urandom(32)) + b"\n")


def _place(source: Source) -> bytes:
    return f"{source.partition}:{source.offset}".encode()
