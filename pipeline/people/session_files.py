"""Login sessions: a key that lives for hours, with the ID token by which a provider says whose it is.

The file is readable by its owner only. It ends with the token, at most SESSION_S_MAX after the login.
"""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.people.acts import SESSION_S_MAX, Evidence
from pipeline.people.key_files import Identity, IdentityRefused, raw, read_private, write_private

KIND: Final = "fraud-session-v1"


def write_session(path: Path, name: str, private: Ed25519PrivateKey, id_token: str) -> None:
    """Put a session in the place of the one before it. Raises OSError."""
    secret = private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    fields = {"kind": KIND, "name": name, "private": secret.hex(), "id_token": id_token}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    write_private(partial, json.dumps(fields))
    partial.replace(path)


def read_session(path: Path) -> Identity:
    """Raises IdentityRefused. Whether the session still runs, whoever stores or heeds an act finds out."""
    try:
        read = json.loads(read_private(path))
        if not isinstance(read, dict) or read["kind"] != KIND:
            raise IdentityRefused(f"{path} holds no login session")
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(read["private"]))
        name, id_token = str(read["name"]), str(read["id_token"])
    except (ValueError, KeyError, TypeError):
        raise IdentityRefused(f"{path} holds no login session") from None
    if _ends_s(id_token) <= time.time():
        raise IdentityRefused("your login is over")
    return Identity(name, private, Evidence(raw(private.public_key()), id_token))


def _ends_s(id_token: str) -> float:
    """When the token says that it ends. Nothing is believed of it here; whoever proves an act looks at all of it."""
    try:
        payload = id_token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return min(float(claims["exp"]), float(claims["iat"]) + SESSION_S_MAX)
    except (ValueError, KeyError, TypeError, IndexError):
        raise IdentityRefused("the login session holds no ID token") from None
