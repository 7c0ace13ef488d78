"""A registry with keys, people and signed versions, for tests."""

from __future__ import annotations

from pathlib import Path

from models.versions.registry_files import DirectoryRegistry
from pipeline.keys.key_files import SigningKey, create_signing_key
from pipeline.keys.key_sets import KeySet, KeyUse, with_key

SHIPPED = Path("models/registry")
VERSION = "glass-2026-11-02"


def models_key(folder: Path, name: str = "models") -> SigningKey:
    folder.mkdir(parents=True, exist_ok=True)
    return create_signing_key(folder / f"{name}.key", KeyUse.MODELS, with_set=False)


def keys_of(*keys: SigningKey, since_ms: int = 0) -> KeySet:
    held = KeySet({})
    for key in keys:
        held = with_key(held, KeyUse.MODELS, key.public, since_ms)
    return held


def shipped_registry(folder: Path) -> DirectoryRegistry:
    """A directory with a copy of the shipped version, and no champion."""
    registry = DirectoryRegistry(folder)
    for path in (SHIPPED / VERSION).iterdir():
        registry.create(f"{VERSION}/{path.name}", path.read_bytes())
    return registry
