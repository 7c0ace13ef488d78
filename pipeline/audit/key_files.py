"""Ed25519 keys of the audit log, each in a file: the private one is the audit service's alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipeline.io.secrets import SecretsUnavailable, require_private

KEY_ID_DIGITS: Final = 16


class SigningKeyRefused(Exception):
    """The file holds no Ed25519 key. The message doesn't quote it."""


class SigningKey:
    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = key_id(private.public_key())

    @classmethod
    def from_file(cls, path: Path) -> SigningKey:
        try:
            require_private(path, path.stat())
            return cls._from_pem(path.read_bytes(), f"the signing key file {path}")
        except SecretsUnavailable as error:
            raise SigningKeyRefused(str(error)) from error
        except OSError as error:
            raise SigningKeyRefused(f"the signing key file {path} can't be read as a private key in PEM") from error

    @classmethod
    def from_text(cls, pem: str) -> SigningKey:
        """Do as `from_file` does, with the file's text."""
        return cls._from_pem(pem.encode(), "the secret audit_key")

    @classmethod
    def _from_pem(cls, pem: bytes, where: str) -> SigningKey:
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SigningKeyRefused(f"{where} can't be read as a private key in PEM") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise SigningKeyRefused(f"{where} holds another kind of key than Ed25519")
        return cls(private)

    def sign(self, text: bytes) -> bytes:
        return self._private.sign(text)


def create_signing_key(path: Path) -> SigningKey:
    """A new key in `path`, readable by its owner only, and its public half in `path`.pub. Neither is overwritten."""
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = SigningKey(private)
    _write_new(path, secret, 0o600)
    _write_new(path.with_name(path.name + ".pub"), key.public_pem, 0o644)
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """Raises SigningKeyRefused."""
    try:
        read = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyRefused(f"{path} can't be read as a public key in PEM") from error
    if not isinstance(read, Ed25519PublicKey):
        raise SigningKeyRefused(f"{path} holds another kind of key than Ed25519")
    return read


def is_signed(key: Ed25519PublicKey, text: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:KEY_ID_DIGITS]


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
