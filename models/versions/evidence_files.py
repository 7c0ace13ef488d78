"""Evidence in a registry: written once by whoever checked, and read only where its signature is good.

A key of use `models` signs it. Evidence names version and digest, so that what was found about one artefact is nothing
about another, also where its file is copied. The database records each file as well, where nobody can take it away.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

from models.artefact.strict import ModelRefused, refuse
from models.versions.artefact_files import digest_of
from models.versions.evidence import KIND, Evidence, Filed, Recorded, content_of, evidence_of, gone, root_of
from models.versions.locations import EVIDENCE, RECORD_BYTES_MAX, require_version
from models.versions.records import Signing, opened, sha256_of, signed_record, vouched
from models.versions.registry_files import AlreadyThere, Registry, RegistryUnavailable
from pipeline.io.postgres import (
    Connection,
    DatabaseRefused,
    DatabaseUnavailable,
    connect,
    failures_named,
    statements,
)
from pipeline.io.settings import Settings
from pipeline.keys.key_files import is_signed
from pipeline.keys.key_sets import KeySet

EVIDENCE_FILES_MAX = 1_000
"""Most evidence of one version: seven kinds, each anew every few days for a year."""
HASH_DIGITS = 16

_SQL: Final = statements("models.versions", "evidence")


def file_evidence(connection: Connection, registry: Registry, evidence: Evidence, signing_key: Signing) -> str:
    """Record evidence in the database, write it as `write_evidence` does, and return the name of its file.

    Whoever is stopped between the two leaves a file without a record, which passes for nothing, and no record without
    its file, which would stand against the version for ever. Raises ModelRefused, DatabaseRefused, DatabaseUnavailable.
    """
    file = _file(evidence, signing_key)
    row = {
        "name": _name(evidence.version, evidence.kind, file),
        "sha256": sha256_of(file),
        "kind": evidence.kind,
        "version": evidence.version,
        "digest": evidence.digest,
        "passed": evidence.passed,
    }
    with failures_named(), connection.transaction():
        connection.execute(_SQL["record"], row)
        return write_evidence(registry, evidence, signing_key)


def recorded_evidence(connection: Connection, version: str) -> list[Recorded]:
    """Return what was ever filed of a version, as the database has it. Raises DatabaseRefused, DatabaseUnavailable."""
    with failures_named():
        rows = connection.execute(_SQL["recorded"], {"version": version}).fetchall()
    return [Recorded(*row) for row in rows]


def require_recorded(settings: Settings, registry: Registry, version: str, keys: KeySet) -> bool:
    """Hold a version's evidence against what the database recorded of it, and return whether there is one to ask.

    What was taken away would otherwise be missed by nobody, and what was never filed is whoever's who has the key.
    Raises ModelRefused, also where the database can't say.
    """
    if not settings.has_database:
        return False
    filed = filed_evidence(registry, version, keys)
    try:
        with closing(connect(settings.database_url, "fraud-command")) as connection:
            recorded = recorded_evidence(connection, version)
    except (DatabaseUnavailable, DatabaseRefused) as error:
        raise ModelRefused(f"what evidence of version '{version}' was filed can't be known: {error}") from error
    if missing := gone(recorded, evidence_names(registry, version)):
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        result = "passed" if missing[0].passed else "failed"
        refuse(f"'{missing[0].name}' was filed as {result}, and is gone from the registry{more}")
    known = {(each.name, each.sha256) for each in recorded}
    if strangers := [each.name for each in filed if (each.name, each.sha256) not in known]:
        refuse(f"'{strangers[0]}' was never filed in the database, so it is nobody's")
    return True


def write_evidence(registry: Registry, evidence: Evidence, signing_key: Signing) -> str:
    """Return the name of the new file; writing the same again changes nothing. Raises ModelRefused."""
    require_version(evidence.version)
    if (held := digest_of(registry, evidence.version)) != evidence.digest:
        refuse(f"the evidence is about {evidence.digest[:16]}, and version '{evidence.version}' is {held[:16]}")
    file = _file(evidence, signing_key)
    name = _name(evidence.version, evidence.kind, file)
    try:
        registry.create(name, file)
    except AlreadyThere:
        if registry.read(name, RECORD_BYTES_MAX) != file:
            raise
    return name


def read_evidence(registry: Registry, version: str, keys: KeySet) -> list[Evidence]:
    """Return the evidence of a version, oldest first; of one moment, what failed comes last, and so counts.

    Raises ModelRefused where any of its files can't be relied upon.
    One bad file refuses them all: whoever can spoil a failed check's file must not make it go away unseen.
    """
    return [each.evidence for each in filed_evidence(registry, version, keys)]


def filed_evidence(registry: Registry, version: str, keys: KeySet) -> list[Filed]:
    """Return the same with the files' names and hashes. Raises ModelRefused."""
    digest = digest_of(registry, require_version(version))
    files = (_read(registry, version, digest, name, keys) for name in evidence_names(registry, version))
    found = [each for each in files if each is not None]
    return sorted(found, key=lambda each: (each.evidence.made_at_ms, each.evidence.kind, not each.evidence.passed))


def evidence_names(registry: Registry, version: str) -> list[str]:
    """Return the names of all files of a version's evidence, unread. Raises ModelRefused."""
    names = registry.names(f"{EVIDENCE}/{require_version(version)}")
    if len(names) > EVIDENCE_FILES_MAX:
        refuse(f"version '{version}' has more than {EVIDENCE_FILES_MAX} files of evidence")
    return [f"{EVIDENCE}/{version}/{name}" for name in names]


def evidence_root(registry: Registry, version: str, keys: KeySet) -> str | None:
    """Return the root of a version's evidence, which approvals name; None where it can't be relied upon."""
    try:
        return root_of(filed_evidence(registry, version, keys))
    except ModelRefused:
        return None


def _file(evidence: Evidence, signing_key: Signing) -> bytes:
    file = signed_record(KIND, content_of(evidence), signing_key)
    if len(file) > RECORD_BYTES_MAX:
        refuse(f"evidence takes at most {RECORD_BYTES_MAX} bytes")
    return file


def _read(registry: Registry, version: str, digest: str, name: str, keys: KeySet) -> Filed | None:
    """Return a file's evidence; None where it passed by the word of a key that is revoked since, which is nobody's.

    What failed by that word still stands against the version until something later passes.
    """
    file = registry.read(name, RECORD_BYTES_MAX)
    if file is None:
        raise RegistryUnavailable(f"'{name}' of the registry is gone")
    evidence = evidence_of(opened(KIND, name, file, vouched(keys), is_signed), name)
    if (evidence.version, evidence.digest) != (version, digest):
        refuse(f"'{name}' is evidence about another version, '{evidence.version}'")
    if name != _name(version, evidence.kind, file):
        refuse(f"'{name}' is named otherwise than what it holds")
    return Filed(name, sha256_of(file), evidence) if not evidence.passed or _counts(name, file, keys) else None


def _counts(name: str, file: bytes, keys: KeySet) -> bool:
    try:
        opened(KIND, name, file, keys, is_signed)
    except ModelRefused:
        return False
    return True


def _name(version: str, kind: str, file: bytes) -> str:
    return f"{EVIDENCE}/{version}/{kind}-{sha256_of(file)[:HASH_DIGITS]}.json"
