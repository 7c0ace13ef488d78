"""Evidence counts where its signature is good, and for the artefact that it names only."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.artefact.files import ModelRefused
from models.versions.artefact_files import digest_of
from models.versions.evidence import Evidence
from models.versions.evidence_files import read_evidence, write_evidence
from pipeline.keys.key_sets import with_revocation
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


def test_of_a_key_that_was_revoked_only_what_failed_counts(tmp_path: Path) -> None:
    """Its files stay for ever, and the version must not be lost for what its next key signs."""
    registry, key, later = shipped_registry(tmp_path / "r"), models_key(tmp_path), models_key(tmp_path, "later")
    digest = digest_of(registry, VERSION)
    passed = Evidence("bias", VERSION, digest, 5, passed=True, findings=(), figures={})
    failed = Evidence("latency", VERSION, digest, 5, passed=False, findings=("slow",), figures={})
    for evidence in (passed, failed):
        write_evidence(registry, evidence, key)
    keys = with_revocation(keys_of(key, later), key.key_id, 4, "it was copied")
    assert read_evidence(registry, VERSION, keys) == [failed]
    anew = passed._replace(made_at_ms=6)
    write_evidence(registry, anew, later)
    assert read_evidence(registry, VERSION, keys) == [failed, anew]
