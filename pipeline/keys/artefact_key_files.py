"""Keys that sign the files of models, in files: ECDSA on P-256, as OpenSSF Model Signing takes them.

They are made, rotated and revoked as every other key is; a key set holds them as compressed points.
"""

from __future__ import annotations

import time
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.io.secrets import SecretsUnavailable, require_private
from pipeline.keys.key_files import SigningKeyRefused, set_path_beside, write_new
from pipeline.keys.key_sets import KeySet, KeyUse, key_id_of, key_set_text, with_key


class ArtefactKey:
    """The key in a file. Signing with it is the package's, which reads the file itself."""

    def __init__(self, path: Path, private: ec.EllipticCurvePrivateKey) -> None:
        self.path = path
        self.public = compressed(private.public_key())
        self.key_id = key_id_of(self.public)

    @classmethod
    def from_file(cls, path: Path) -> ArtefactKey:
        """Raises SigningKeyRefused."""
        try:
            require_private(path, path.stat())
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except SecretsUnavailable as error:
            raise SigningKeyRefused(str(error)) from error
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
            raise SigningKeyRefused(f"the key file {path} can't be read as a private key in PEM") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise SigningKeyRefused(f"the key file {path} holds another kind of key than one of P-256")
        return cls(path, private)


def create_artefact_key(path: Path, *, valid_from_ms: int | None = None, with_set: bool = True) -> ArtefactKey:
    """Create a key in `path`, as `create_signing_key` does, with its public half in `path`.pub."""
    private = ec.generate_private_key(ec.SECP256R1())
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = ArtefactKey(path, private)
    write_new(path, secret, 0o600)
    write_new(path.with_name(path.name + ".pub"), public_pem(key.public), 0o644)
    if with_set:
        begins_ms = time.time_ns() // 1_000_000 if valid_from_ms is None else valid_from_ms
        keys = with_key(KeySet({}), KeyUse.ARTEFACTS, key.public, begins_ms)
        write_new(set_path_beside(path), key_set_text(keys).encode(), 0o644)
    return key


def compressed(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


def public_pem(public: bytes) -> bytes:
    """Return a key of a key set as the PEM that others' tools take. Raises SigningKeyRefused."""
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    except ValueError:
        raise SigningKeyRefused("the key set holds a key for artefacts that is no point of P-256") from None
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
