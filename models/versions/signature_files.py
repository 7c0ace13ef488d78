"""Signatures over the files of a version, as OpenSSF Model Signing writes and verifies them.

Invariants
1. The package makes and verifies every signature, by keys that it is given and never over the network, so that others'
   tools verify model.sig with the public key alone.
2. Beyond the package, a signature has one form in bytes only, its statement names this version, and lists all of its
   files and nothing else. So no byte of it can be changed, and it is none for a version of another name.
3. A signature holds no time. Its key counts by the time at which a signed record saw it, and where none did, as of now.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from models.artefact.files import SIGNATURE
from models.artefact.strict import Json, ModelRefused, refuse
from models.versions.records import sha256_of
from pipeline.keys.artefact_key_files import ArtefactKey, public_pem
from pipeline.keys.key_files import SigningKeyRefused
from pipeline.keys.key_sets import KeySet, KeyUse, TrustedKey, untrusted

SIGNATURE_BYTES_MAX: Final = 64 * 1024
"""Largest signature; one over five files takes 2 KB."""
MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of P-256 (SEC 2, section 2.4.2). With s, ORDER - s signs the same, so only the smaller one is taken."""
TRIES_MAX: Final = 64
"""Signatures that are made until one has the smaller s, which every second one has."""


def signed_artefact(version: str, contents: Mapping[str, bytes], key: ArtefactKey) -> bytes:
    """Return model.sig for the files of a version. Raises ModelRefused where none can be made."""
    from model_signing.hashing import Config as Hashing
    from model_signing.signing import Config as Signing

    with tempfile.TemporaryDirectory(prefix="fraud-model-") as folder:
        directory = _laid_out(Path(folder), version, contents)
        signer = Signing().use_elliptic_key_signer(private_key=key.path)
        hashing = Hashing().set_ignored_paths(paths=[directory / SIGNATURE])
        for _ in range(TRIES_MAX):
            signer.set_hashing_config(hashing).sign(directory, directory / SIGNATURE)
            made = (directory / SIGNATURE).read_bytes()
            if _form_fault(made, version, contents) is None:
                return made
    raise ModelRefused("the package made no signature in the form that is taken")


def require_signed(
    version: str, contents: Mapping[str, bytes], keys: KeySet, at_ms: int, seen_at_ms: int | None
) -> str:
    """Return the id of the key that signed a version. Raises ModelRefused.

    at_ms: now, or when a signed record saw the signature. seen_at_ms: the latter, or None.
    """
    signature = contents.get(SIGNATURE)
    if signature is None:
        refuse(f"version '{version}' is not signed (`fraud models sign`)")
    if (fault := _form_fault(signature, version, contents)) is not None:
        refuse(f"the signature of version '{version}' is refused: {fault}")
    key = _key_of(signature, keys)
    if key is None:
        refuse(f"version '{version}' is signed by a key that the key set does not hold for artefacts")
    if (why := untrusted(keys, KeyUse.ARTEFACTS, key.key_id, at_ms, seen_at_ms)) is not None:
        refuse(f"the signature of version '{version}' does not count: {why}")
    _verify(version, contents, key)
    return key.key_id


def _verify(version: str, contents: Mapping[str, bytes], key: TrustedKey) -> None:
    """Have the package verify it. Raises ModelRefused."""
    from model_signing.hashing import Config as Hashing  # 0.5 s of CPU and 58 MiB, and only needed where this is due
    from model_signing.verifying import Config as Verifying

    try:
        with tempfile.TemporaryDirectory(prefix="fraud-model-") as folder:
            directory = _laid_out(Path(folder), version, contents)
            public = Path(folder) / "key.pub"
            public.write_bytes(public_pem(key.public))
            verifier = Verifying().use_elliptic_key_verifier(public_key=public)
            hashing = Hashing().set_ignored_paths(paths=[directory / SIGNATURE])
            verifier.set_hashing_config(hashing).verify(directory, directory / SIGNATURE)
    except SigningKeyRefused as refusal:
        raise ModelRefused(str(refusal)) from refusal
    except Exception as error:  # the package raises whatever the libraries below it do
        raise ModelRefused(
            f"the signature of version '{version}' is not one of the key {key.key_id} over its files"
        ) from error


def _laid_out(folder: Path, version: str, contents: Mapping[str, bytes]) -> Path:
    """Write the bytes that were read, and will be loaded: nobody can exchange them in between."""
    directory = folder / version
    directory.mkdir()
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return directory


def _key_of(signature: bytes, keys: KeySet) -> TrustedKey | None:
    hint = json.loads(signature)["verificationMaterial"]["publicKey"]["hint"]
    for key in keys.of_use(KeyUse.ARTEFACTS):
        try:
            if hashlib.sha256(public_pem(key.public)).hexdigest() == hint:
                return key
        except SigningKeyRefused:
            continue
    return None


def _form_fault(signature: bytes, version: str, contents: Mapping[str, bytes]) -> str | None:
    """Return what is wrong with a bundle, whoever signed it; None where it has the one form that is taken."""
    if len(signature) > SIGNATURE_BYTES_MAX:
        return f"it is larger than {SIGNATURE_BYTES_MAX} bytes"
    try:
        bundle = json.loads(signature)
        envelope = bundle["dsseEnvelope"]
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signed = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        if _bundle(hint, payload, signed) != signature:
            return "it is not in the form in which the package writes one"
        r, s = decode_dss_signature(signed)
        if encode_dss_signature(r, s) != signed or 2 * s > ORDER:
            return "its number is not in the one form that is taken"
        return _statement_fault(json.loads(payload), version, contents)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, binascii.Error):
        return "it can't be read as a signature of a model"


def _bundle(hint: object, payload: bytes, signed: bytes) -> bytes:
    if not isinstance(hint, str):
        raise TypeError("a hint is a text")
    whole = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signed).decode(), "keyid": ""}],
        },
    }
    return json.dumps(whole, separators=(",", ":")).encode()


def _statement_fault(statement: dict[str, Json], version: str, contents: Mapping[str, bytes]) -> str | None:
    subjects, predicate = statement["subject"], statement["predicate"]
    if not isinstance(subjects, list) or not isinstance(predicate, dict) or len(subjects) != 1:
        return "it is no statement about one model"
    subject, resources = subjects[0], predicate["resources"]
    if not isinstance(subject, dict) or not isinstance(resources, list):
        return "it is no statement about one model"
    if statement["predicateType"] != PREDICATE_TYPE:
        return "it is a statement of another kind"
    if subject["name"] != version:
        return f"it is about '{str(subject['name'])[:32]}'"
    listed = {_name(each): each for each in resources}
    expected = {
        name: {"name": name, "algorithm": "sha256", "digest": sha256_of(content)}
        for name, content in contents.items()
        if name != SIGNATURE
    }
    if len(listed) != len(resources) or listed != expected:
        return "it is over other files than the version has"
    return None


def _name(resource: Json) -> str:
    if not isinstance(resource, dict) or not isinstance(resource.get("name"), str):
        raise TypeError("a resource has a name")
    return str(resource["name"])
