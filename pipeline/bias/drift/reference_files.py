"""The references of model versions, from their manifests in the registry."""

from __future__ import annotations

import hashlib
from typing import Final

import structlog

from models.artefact.files import FILE_BYTES_MAX, MANIFEST
from models.artefact.strict import ModelRefused, parsed
from models.versions.locations import require_version
from models.versions.registry_files import Registry
from pipeline.bias.drift.reference import Reference, reference_in

VERSIONS_MAX: Final = 100
"""Versions whose references are kept; more than are live in a year."""
log = structlog.stdlib.get_logger("drift")


class ReferenceUnreadable(Exception):
    """A version's manifest can't be read, or isn't the one that decided; the message says why."""


def read_reference(registry: Registry, version: str, sha256: bytes | None) -> Reference | None:
    """Return the reference of a version, or None where it was trained before there were any.

    sha256: the manifest's hash as decisions name it; None where nothing is to be compared. Raises ReferenceUnreadable.
    """
    try:
        content = registry.read(f"{require_version(version)}/{MANIFEST}", FILE_BYTES_MAX)
        if content is None:
            raise ReferenceUnreadable(f"the registry has no version {version}")
        if sha256 is not None and hashlib.sha256(content).digest() != sha256:
            raise ReferenceUnreadable(f"the manifest of {version} is not the one that decided")
        manifest = parsed(content, MANIFEST)
        return reference_in(manifest.get("training")) if isinstance(manifest, dict) else None
    except (ModelRefused, ValueError) as refusal:
        raise ReferenceUnreadable(f"the manifest of {version[:64]!r} can't be read: {refusal}") from refusal


class References:
    """The references of the versions that decide, each read once. For one thread."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[tuple[str, bytes], Reference | None] = {}

    def of(self, version: str, sha256: bytes) -> Reference | None:
        """Return None where there is none, or none that can be read, which is logged once."""
        key = version, sha256
        if key not in self._known:
            if len(self._known) >= VERSIONS_MAX:
                self._known.clear()
            try:
                self._known[key] = read_reference(self._registry, version, sha256)
            except ReferenceUnreadable as error:
                log.error("reference_unreadable", version=version[:64], why=str(error))
                self._known[key] = None
        return self._known[key]
