"""Ed25519 keys in files: each private one is its service's alone; a key set says which public ones to trust when."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipeline.io.secrets import SecretsUnavailable, require_private
from pipeline.keys.key_sets import KeySet, KeySetRefused, KeyUse, key_id_of, key_set_of, key_set_text, with_key


class SigningKeyRefused(Exception):
    """The file holds no Ed25519 key. The message doesn't quote it."""


class SigningKey:
    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public = raw(private.public_key())
        self.key_id = key_id_of(self.public)

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
    def from_text(cls, pem: str, secret: str) -> SigningKey:
        """Do as `from_file` does, with the file's text, which stands in that secret."""
        return cls._from_pem(pem.encode(), f"the secret {secret}")

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


def create_signing_key(
    path: Path, use: KeyUse = KeyUse.AUDIT, *, valid_from_ms: int | None = None, with_set: bool = True
) -> SigningKey:
    """Create a key in `path`, readable by its owner only, and its public half in `path`.pub. Neither is overwritten.

    with_set: a key set that holds it alone goes to `path`.keys. valid_from_ms: None stands for now.
    """
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = SigningKey(private)
    write_new(path, secret, 0o600)
    write_new(path.with_name(path.name + ".pub"), key.public_pem, 0o644)
    if with_set:
        begins_ms = time.time_ns() // 1_000_000 if valid_from_ms is None else valid_from_ms
        keys = with_key(KeySet({}), use, key.public, begins_ms)
        write_new(set_path_beside(path), key_set_text(keys).encode(), 0o644)
    return key


def set_path_beside(path: Path) -> Path:
    """Return where the key set of a key file stands, unless another is named."""
    return path.with_name(path.name + ".keys")


def read_key_set(path: Path) -> KeySet:
    """Raises KeySetRefused."""
    try:
        return key_set_of(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeySetRefused(f"the key set {path} can't be read ({error.strerror})") from error
    except (KeySetRefused, UnicodeDecodeError) as error:
        raise KeySetRefused(f"the key set {path} can't be used: {error}") from error


def replace_key_set(path: Path, keys: KeySet) -> None:
    """Write the set whole beside its file, then put it in its place, so that no reader finds half of one."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    write_new(partial, key_set_text(keys).encode(), 0o644)
    partial.replace(path)


def public_key(path: Path) -> bytes:
    """Return the raw public key of a file in PEM. Raises SigningKeyRefused."""
    try:
        read = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyRefused(f"{path} can't be read as a public key in PEM") from error
    if not isinstance(read, Ed25519PublicKey):
        raise SigningKeyRefused(f"{path} holds another kind of key than Ed25519")
    return raw(read)


def is_signed(public: bytes, text: bytes, signature: bytes) -> bool:
    """`public`: the raw key."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Raises FileExistsError where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
