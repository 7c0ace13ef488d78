"""Evidence counts where its signature is good, and for the artefact that it names only."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.artefact.files import ModelRefused
from models.versions.artefact_files import digest_of
from models.versions.evidence import Evidence
from models.versions.evidence_files import read_evidence, write_evidence
from tests.models.versions.given import VERSION, keys_of, models_key, shipped_registry


def test_evidence_is_read_as_it_was_written(tmp_path: Path) -> None:
    registry, key = shipped_registry(tmp_path / "registry"), models_key(tmp_path / "keys")
    evidence = Evidence("bias", VERSION, digest_of(registry, VERSION), 5, True, ("no gap",), {"a": [1, {"b": "c"}]})
    name = write_evidence(registry, evidence, key)
    assert name == write_evidence(registry, evidence, key)
    assert [evidence] == read_evidence(registry, VERSION, keys_of(key))


def test_evidence_of_another_key_version_or_name_is_refused(tmp_path: Path) -> None:
    registry, key, other = shipped_registry(tmp_path / "r"), models_key(tmp_path), models_key(tmp_path, "other")
    evidence = Evidence("bias", VERSION, digest_of(registry, VERSION), 5, passed=True, findings=(), figures={})
    name = write_evidence(registry, evidence, key)
    with pytest.raises(ModelRefused, match="is not in the key set"):
        read_evidence(registry, VERSION, keys_of(other))
    content = (registry.root / name).read_bytes()
    (registry.root / name).unlink()
    registry.create(f"evidence/{VERSION}/red-team-{name[-21:]}", content)
    with pytest.raises(ModelRefused, match="named otherwise"):
        read_evidence(registry, VERSION, keys_of(key))
    with pytest.raises(ModelRefused, match="the evidence is about"):
        write_evidence(registry, evidence._replace(digest="0" * 64), key)
