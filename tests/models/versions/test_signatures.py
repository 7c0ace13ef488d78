"""Signatures of artefacts are OpenSSF's own, which others' tools verify, and each has one form in bytes only."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from models.artefact.files import ModelRefused
from models.versions.artefact_files import read_artefact
from models.versions.signature_files import ORDER, require_signed
from ops.bench.registry.scene import AT_MS, FIRST, HOUR_MS, SECOND, Scene, make_scene
from pipeline.keys.artefact_key_files import ArtefactKey, create_artefact_key, public_pem
from pipeline.keys.key_files import SigningKeyRefused, create_signing_key, read_key_set, set_path_beside
from pipeline.keys.key_sets import KeyUse, with_revocation


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene") / "bank")


def _signed(scene: Scene, signature: bytes) -> None:
    require_signed(FIRST, {**read_artefact(scene.registry, FIRST), "model.sig": signature}, scene.keys, AT_MS, None)


def test_the_package_s_own_command_verifies_a_version(scene: Scene, tmp_path: Path) -> None:
    """Whoever has the public key needs nothing of ours, and is told of a changed byte."""
    version, key = scene.registry.root / SECOND, tmp_path / "artefacts.pub"
    key.write_bytes(public_pem(scene.artefacts.public))
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(version), "--signature"]
    command += [str(version / "model.sig"), "--public_key", str(key)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    card = version / "card.md"
    held = card.read_bytes()
    card.write_bytes(held + b" ")
    try:
        assert subprocess.run(command, capture_output=True, check=False, timeout=300).returncode != 0
    finally:
        card.write_bytes(held)


def test_a_signature_counts_in_its_key_s_time(scene: Scene) -> None:
    contents = read_artefact(scene.registry, FIRST)
    assert scene.artefacts.key_id == require_signed(FIRST, contents, scene.keys, AT_MS, None)
    revoked = with_revocation(scene.keys, scene.artefacts.key_id, AT_MS + HOUR_MS, "it was copied")
    assert scene.artefacts.key_id == require_signed(FIRST, contents, revoked, AT_MS, AT_MS), "seen before"
    for at_ms, seen_at_ms in ((AT_MS, None), (AT_MS + HOUR_MS, AT_MS + HOUR_MS)):
        with pytest.raises(ModelRefused, match="is revoked since"):
            require_signed(FIRST, contents, revoked, at_ms, seen_at_ms)


def test_the_other_form_of_a_good_signature_is_refused(scene: Scene) -> None:
    """With s, the order less s signs the same, and spaces change nothing of JSON: neither is taken."""
    signature = read_artefact(scene.registry, FIRST)["model.sig"]
    _signed(scene, signature)
    bundle = json.loads(signature)
    entry = bundle["dsseEnvelope"]["signatures"][0]
    r, s = decode_dss_signature(base64.b64decode(entry["sig"]))
    entry["sig"] = base64.b64encode(encode_dss_signature(r, ORDER - s)).decode()
    others = {
        "the other number": json.dumps(bundle, separators=(",", ":")).encode(),
        "spaces": json.dumps(json.loads(signature)).encode(),
        "a name beside": signature.replace(b'"tlogEntries":[]', b'"tlogEntries":[],"x":1'),
        "a key's name": signature.replace(b'"keyid":""', b'"keyid":"a"'),
        "nesting": b"[" * 50_000,
        "nothing": b"",
        "too much": signature + b" " * 70_000,
    }
    for name, other in others.items():
        with pytest.raises(ModelRefused, match="is refused"):
            _signed(scene, other)
        assert other != signature, name


def test_a_key_for_artefacts_is_of_its_own_kind(tmp_path: Path) -> None:
    key = create_artefact_key(tmp_path / "artefacts.key")
    held = read_key_set(set_path_beside(tmp_path / "artefacts.key"))
    assert [(key.key_id, KeyUse.ARTEFACTS)] == [(each.key_id, each.use) for each in held.keys.values()]
    assert key.public == ArtefactKey.from_file(tmp_path / "artefacts.key").public
    create_signing_key(tmp_path / "models.key", KeyUse.MODELS)
    with pytest.raises(SigningKeyRefused, match=r"another kind of key than one of P-256"):
        ArtefactKey.from_file(tmp_path / "models.key")
    (tmp_path / "artefacts.key").chmod(0o644)
    with pytest.raises(SigningKeyRefused):
        ArtefactKey.from_file(tmp_path / "artefacts.key")
    with pytest.raises(SigningKeyRefused):
        public_pem(b"\x02" + b"\xff" * 32)


def test_verifying_opens_no_connection(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("verification went to the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    assert scene.artefacts.key_id == require_signed(
        FIRST, read_artefact(scene.registry, FIRST), scene.keys, AT_MS, None
    )
