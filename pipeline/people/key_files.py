"""Personal keys in files, sealed with a passphrase; signing with them, and checking what they signed.

A file is JSON: the person's name, the public key, and the private one sealed with AES-256-GCM under a key that scrypt
makes of the passphrase. Name and public key are bound to the seal, so neither can be exchanged.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from pipeline.io.secrets import SECRET_BYTES_MAX, SecretsUnavailable, require_private
from pipeline.people.acts import (
    NONCE_BYTES,
    Act,
    ActKind,
    Evidence,
    SignedAct,
    Subject,
    content_of,
    key_id_of,
    signed_bytes,
)
from pipeline.people.registry import possession_bytes
from pipeline.people.roles import is_name

KIND: Final = "fraud-identity-v1"
PASSPHRASE_CHARACTERS_MIN: Final = 12
SCRYPT_COST: Final = 2**17
"""With blocks of 8, 128 MiB and a third of a second for each guess at a passphrase."""
SCRYPT_COSTS: Final = range(2**14, 2**20 + 1)
"""Costs that a file may ask for; more would take gigabytes."""
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class IdentityRefused(Exception):
    """A file or a passphrase gives no identity; one sentence, without a full stop, that quotes neither."""


class Identity:
    """Somebody who can sign: by their own key, or by that of a session, whose evidence says whose it is."""

    def __init__(self, name: str, private: Ed25519PrivateKey, evidence: Evidence | None = None) -> None:
        self.name, self._private, self.evidence = name, private, evidence
        self.public = raw(private.public_key())
        self.key_id = key_id_of(self.public)

    def claim(self) -> Claimed:
        """The key, as it is handed on to be registered."""
        return claim_of(self.name, self._private)

    def sign(self, kind: ActKind, subject: Subject, at_ms: int, root: str) -> SignedAct:
        nonce = os.urandom(NONCE_BYTES).hex()
        content = content_of(Act(kind, subject, self.name, self.key_id, at_ms, root, nonce))
        return SignedAct(content, self._private.sign(signed_bytes(content)), self.evidence)


class Claimed(NamedTuple):
    """A public key, and the key's own signature that it is to be `name`'s."""

    public: bytes
    possession: bytes

    @property
    def text(self) -> str:
        """As people hand it on: one word."""
        return base64.urlsafe_b64encode(self.public + self.possession).decode().rstrip("=")

    @classmethod
    def of(cls, text: str) -> Claimed:
        """Raises IdentityRefused."""
        try:
            read = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            read = b""
        if len(read) != PUBLIC_BYTES + SIGNATURE_BYTES:
            raise IdentityRefused("that is no public key as `fraud people create-key` prints it")
        return cls(read[:PUBLIC_BYTES], read[PUBLIC_BYTES:])


def create_identity(path: Path, name: str, passphrase: str, cost: int = SCRYPT_COST) -> Identity:
    """Create a key in `path`, readable by its owner only; never overwrites one. Raises IdentityRefused, OSError."""
    if not is_name(name):
        raise IdentityRefused("a name is 2 to 64 of A-Z a-z 0-9 . _ @ - and starts with a letter")
    if len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
        raise IdentityRefused(f"a passphrase has at least {PASSPHRASE_CHARACTERS_MIN} characters")
    private = Ed25519PrivateKey.generate()
    write_private(path, sealed_text(private, name, passphrase, cost))
    return Identity(name, private)


def claim_of(name: str, private: Ed25519PrivateKey) -> Claimed:
    public = raw(private.public_key())
    return Claimed(public, private.sign(possession_bytes(name, public)))


def read_identity(path: Path, passphrase: Callable[[], str]) -> Identity:
    """`passphrase` is asked for once the file can be read. Raises IdentityRefused."""
    try:
        read = json.loads(read_private(path))
        if not isinstance(read, dict) or read["kind"] != KIND:
            raise IdentityRefused(f"{path} holds no personal key")
        name, public = str(read["name"]), bytes.fromhex(read["public"])
        salt, nonce, sealed = (bytes.fromhex(read[field]) for field in ("salt", "nonce", "sealed"))
        cost = read["scrypt_cost"]
        if type(cost) is not int or cost not in SCRYPT_COSTS or cost & (cost - 1):
            raise IdentityRefused(f"{path} asks for a cost that no key has")
    except (ValueError, KeyError, TypeError):
        raise IdentityRefused(f"{path} holds no personal key") from None
    try:
        opened = AESGCM(_key(passphrase(), salt, cost)).decrypt(nonce, sealed, _bound(name, public, cost))
        private = Ed25519PrivateKey.from_private_bytes(opened)
    except (InvalidTag, ValueError):
        raise IdentityRefused(f"the passphrase does not open {path}, or somebody has changed that file") from None
    if raw(private.public_key()) != public:
        raise IdentityRefused(f"{path} holds another key than it says")
    return Identity(name, private)


def is_signed(public: bytes, text: bytes, signature: bytes) -> bool:
    """`public`: the raw key."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def read_private(path: Path) -> str:
    """The text of a file that only its owner can read. Raises IdentityRefused."""
    try:
        with path.open("rb") as file:
            require_private(path, os.fstat(file.fileno()))
            return file.read(SECRET_BYTES_MAX).decode()
    except SecretsUnavailable as error:
        raise IdentityRefused(str(error)) from error
    except OSError as error:
        raise IdentityRefused(f"{path} can't be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise IdentityRefused(f"{path} is no text") from None


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def sealed_text(private: Ed25519PrivateKey, name: str, passphrase: str, cost: int) -> str:
    """The file of a key."""
    salt, nonce, public = os.urandom(16), os.urandom(12), raw(private.public_key())
    secret = private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    sealed = AESGCM(_key(passphrase, salt, cost)).encrypt(nonce, secret, _bound(name, public, cost))
    fields = {
        "kind": KIND,
        "name": name,
        "public": public.hex(),
        "scrypt_cost": cost,
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "sealed": sealed.hex(),
    }
    return json.dumps(fields, indent=2) + "\n"


def _key(passphrase: str, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost, r=8, p=1).derive(passphrase.encode())


def _bound(name: str, public: bytes, cost: int) -> bytes:
    return json.dumps([KIND, name, public.hex(), cost]).encode()
