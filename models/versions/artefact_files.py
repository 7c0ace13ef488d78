"""The files of one version in a registry: read once, so that what is verified is what is loaded."""

from __future__ import annotations

from models.artefact.files import FILE_BYTES_MAX, MANIFEST
from models.artefact.strict import VersionMissing, refuse
from models.versions.locations import require_version
from models.versions.records import sha256_of
from models.versions.registry_files import Registry

FILES_MAX = 16
"""Most files of an artefact; it has six."""


def read_artefact(registry: Registry, version: str) -> dict[str, bytes]:
    """Return every file of a version, its signature among them. Raises ModelRefused."""
    names = registry.names(require_version(version))
    if not names:
        raise VersionMissing(f"the registry has no version '{version}'")
    if len(names) > FILES_MAX:
        refuse(f"version '{version}' has more than {FILES_MAX} files")
    found: dict[str, bytes] = {}
    for name in names:
        content = registry.read(f"{version}/{name}", FILE_BYTES_MAX)
        if content is None:
            refuse(f"'{version}/{name}' is no file of the registry")
        found[name] = content
    return found


def digest_of(registry: Registry, version: str) -> str:
    """Return the SHA-256 of a version's manifest, which is the artefact's name. Raises ModelRefused."""
    manifest = registry.read(f"{require_version(version)}/{MANIFEST}", FILE_BYTES_MAX)
    if manifest is None:
        raise VersionMissing(f"the registry has no version '{version}'")
    return sha256_of(manifest)
