"""Evidence: what a check found about one version, for the gate that promotes it and for the card that tells of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from models.artefact.strict import Json, refuse
from models.versions.records import Opened, require_fields, text_of, texts_of, time_of

KIND: Final = "evidence"
EVIDENCE_KINDS: Final = ("golden", "red-team", "calibration", "latency", "bias", "shadow", "drift")
ASKED_KINDS: Final = tuple(kind for kind in EVIDENCE_KINDS if kind != "drift")
"""The gate asks for these. Drift is watched beside them, and is no condition."""
SEED_BYTES: Final = 6
"""So many that every reader of JSON holds a seed exactly."""
FINDINGS_MAX: Final = 1_000
FINDING_CHARACTERS_MAX: Final = 1_000


class Evidence(NamedTuple):
    """`digest`: the artefact's, in hexadecimal. `figures`: integers, texts, and lists and objects of these."""

    kind: str
    version: str
    digest: str
    made_at_ms: int
    passed: bool
    findings: tuple[str, ...]
    figures: Mapping[str, Json]


class Filed(NamedTuple):
    """Evidence as a registry holds it. sha256: of the whole file, in hexadecimal."""

    name: str
    sha256: str
    evidence: Evidence


class Recorded(NamedTuple):
    """A file of evidence as the database has it, from when it was filed; `sha256` in hexadecimal."""

    name: str
    sha256: str
    kind: str
    passed: bool
    at_ms: int


def gone(recorded: Iterable[Recorded], names: Collection[str]) -> tuple[Recorded, ...]:
    """Return what was filed for the gate, and whose files the registry doesn't hold. names: of those that it holds."""
    return tuple(each for each in recorded if each.kind in ASKED_KINDS and each.name not in names)


def root_of(filed: Iterable[Filed]) -> str:
    """Return what an approval names: one hash over every run that the gate counts, the failed ones too, in hexadecimal.

    Another run, one more or one fewer is another root.
    """
    asked = sorted(f"{each.name} {each.sha256}\n" for each in filed if each.evidence.kind in ASKED_KINDS)
    return hashlib.sha256(("fraud-models-evidence-root-v1\n" + "".join(asked)).encode()).hexdigest()


def seed_of(digest: str, champion_digest: str, policy_sha256: str, drawn: str) -> int:
    """Return the seed of a check by chance, which follows from what is checked and drawn, so that nobody tries many.

    All are in hexadecimal, SHA-256 but for `drawn`: what the database drew for these three when first asked.
    """
    text = f"fraud-models-seed-v2\n{digest}\n{champion_digest}\n{policy_sha256}\n{drawn}\n"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:SEED_BYTES], "big")


def content_of(evidence: Evidence) -> dict[str, Json]:
    """Raises ModelRefused for what no evidence is."""
    _require(evidence)
    return {
        "kind": evidence.kind,
        "version": evidence.version,
        "digest": evidence.digest,
        "at_ms": evidence.made_at_ms,
        "passed": evidence.passed,
        "findings": list(evidence.findings),
        "figures": dict(evidence.figures),
    }


def evidence_of(opened: Opened, name: str) -> Evidence:
    """Raises ModelRefused."""
    content = opened.content
    require_fields(content, {"kind", "version", "digest", "at_ms", "passed", "findings", "figures"}, name)
    passed, figures = content["passed"], content["figures"]
    if not isinstance(passed, bool) or not isinstance(figures, dict):
        refuse(f"'{name}' doesn't say whether it passed, or gives no figures")
    kind, version, digest = (text_of(content, field, name) for field in ("kind", "version", "digest"))
    evidence = Evidence(
        kind, version, digest, time_of(content, name), passed, texts_of(content, "findings", name), figures
    )
    _require(evidence)
    return evidence


def _require(evidence: Evidence) -> None:
    if evidence.kind not in EVIDENCE_KINDS:
        refuse(f"evidence is of one of the kinds {', '.join(EVIDENCE_KINDS)}")
    if len(evidence.findings) > FINDINGS_MAX or any(len(each) > FINDING_CHARACTERS_MAX for each in evidence.findings):
        refuse(f"evidence has at most {FINDINGS_MAX} findings of {FINDING_CHARACTERS_MAX} characters")
