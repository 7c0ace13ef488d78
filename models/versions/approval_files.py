"""Approvals in a registry: each a person's signed act, in a file of its own that is written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from models.artefact.strict import Json, ModelRefused, canonical, mapping, parsed, refuse
from models.versions.approvals import (
    APPROVALS_MAX,
    APPROVING_ROLES,
    RENEWED_AFTER_MS,
    Approval,
    Grounds,
    Standing,
    approval_fault,
    file_names,
    grounds_of,
    missing_roles,
    subject_of,
)
from models.versions.artefact_files import digest_of
from models.versions.locations import APPROVALS
from models.versions.records import sha256_of, text_of
from models.versions.registry_files import Registry
from pipeline.people.act_store import CHECKS, evidence_fields, evidence_of
from pipeline.people.acts import CONTENT_BYTES_MAX, ActKind, ActMalformed, SignedAct, act_of
from pipeline.people.key_files import Identity
from pipeline.people.registry import Registry as People
from pipeline.people.roles import Role

APPROVAL_BYTES_MAX: Final = 4 * CONTENT_BYTES_MAX


def write_approval(
    registry: Registry,
    version: str,
    role: Role,
    by: Identity,
    at_ms: int,
    root: str,
    grounds: Grounds | None = None,
) -> str:
    """Sign a version's digest as one role, and return the name of the file. Raises ModelRefused.

    root: of the registry of people. AlreadyThere is raised where this key has approved the version as that role, on the
    same grounds, within the last day.
    """
    if role not in APPROVING_ROLES:
        refuse(f"a version is approved as {', '.join(each.value for each in APPROVING_ROLES)}")
    digest = digest_of(registry, version)
    signed = by.sign(ActKind.MODEL_APPROVED, subject_of(version, digest, role, grounds), at_ms, root)
    if len(registry.names(f"{APPROVALS}/{version}")) >= APPROVALS_MAX:
        refuse(f"version '{version}' has {APPROVALS_MAX} approvals already")
    name = _free_name(registry, file_names(version, role, by.key_id), at_ms, grounds)
    registry.create(name, _file(signed))
    return name


def _free_name(registry: Registry, names: Sequence[str], at_ms: int, grounds: Grounds | None) -> str:
    """Return the first name that is free, or one that isn't where the latest approval is too young to be renewed."""
    for name in names:
        file = registry.read(name, APPROVAL_BYTES_MAX)
        if file is None:
            return name
        # One of a time far ahead was given by a wrong clock, and what is no approval is in nobody's way.
        said = _said(file, name)
        if said is not None and said[1] == grounds and abs(at_ms - said[0]) < RENEWED_AFTER_MS:
            return name
    return names[-1]


def _said(file: bytes, name: str) -> tuple[int, Grounds | None] | None:
    """Return when an approval says that it was given, and on what; None where it is none."""
    try:
        act = act_of(_signed_act(file, name).content)
    except (ModelRefused, ActMalformed):
        return None
    return act.at_ms, grounds_of(act.subject)


def standing_approvals(
    registry: Registry, version: str, people: People, at_ms: int, grounds: Grounds | None = None
) -> Standing:
    """Return the approvals that count now, for the gate and for people. Raises RegistryUnavailable, ModelRefused.

    grounds: the evidence and the policy that they must have been given on; None where none are asked for.
    """
    digest, folder = digest_of(registry, version), f"{APPROVALS}/{version}"
    names = registry.names(folder)
    if len(names) > APPROVALS_MAX:
        refuse(f"version '{version}' has more than {APPROVALS_MAX} approvals")
    found: dict[str, Approval] = {}
    faults: list[str] = []
    for name in (f"{folder}/{each}" for each in names):
        try:
            approval, fault = _judged(_read(registry, name), name, version, digest, people, at_ms, is_pending=True)
        except ModelRefused as refusal:
            faults.append(str(refusal))
            continue
        if fault is None:
            fault = _grounds_fault(approval, grounds)
        if fault is None:
            found[name] = approval
        else:
            faults.append(f"'{name}' counts as nothing: {fault}")
    return Standing(found, tuple(faults), missing_roles(list(found.values())))


def _grounds_fault(approval: Approval, asked: Grounds | None) -> str | None:
    if asked is None:
        return None
    if approval.grounds is None:
        return "it was given on no evidence; `fraud models approve` gives it anew"
    if approval.grounds.evidence != asked.evidence:
        return "it was given on other evidence than there is now"
    if approval.grounds.policy != asked.policy:
        return "it was given under another policy"
    return None


def pinned_approvals(registry: Registry, standing: Standing) -> dict[str, str]:
    """Return the hashes of the approvals that stand, by file, for the record that moves an alias by them."""
    return {name: sha256_of(_read(registry, name)) for name in standing.approvals}


def require_approved(
    registry: Registry, version: str, digest: str, pinned: Mapping[str, str], people: People, as_of_ms: int
) -> None:
    """Raises ModelRefused where the approvals that an alias moved by are not what they were, or don't count.

    as_of_ms: when the alias moved. What a person lost since then takes nothing back.
    """
    found: list[Approval] = []
    for name, sha256 in pinned.items():
        file = _read(registry, name)
        if sha256_of(file) != sha256:
            refuse(f"'{name}' is not the approval that the alias moved by")
        approval, fault = _judged(file, name, version, digest, people, as_of_ms, is_pending=False)
        if fault is not None:
            refuse(f"'{name}' counts as nothing: {fault}")
        found.append(approval)
    if (missing := missing_roles(found)) is not None:
        refuse(f"version '{version}' is not approved: {missing}")


def _judged(
    file: bytes, name: str, version: str, digest: str, people: People, as_of_ms: int, *, is_pending: bool
) -> tuple[Approval, str | None]:
    """Return an approval, and why it counts as nothing or None. Raises ModelRefused where its file is none."""
    signed = _signed_act(file, name)
    try:
        act = act_of(signed.content)
    except ActMalformed as malformed:
        raise ModelRefused(f"'{name}' holds no act: {malformed}") from malformed
    said = act.subject.get("role")
    if said not in {role.value for role in APPROVING_ROLES}:
        refuse(f"'{name}' approves as no role that there is")
    role = Role(str(said))
    if name not in file_names(version, role, act.key_id):
        refuse(f"'{name}' is named otherwise than what it holds")
    fault = approval_fault(
        people, signed, role, version, digest, CHECKS, as_of_ms=as_of_ms, is_pending=is_pending
    )  # fmt: skip
    return Approval(role, act.name, act.key_id, act.at_ms, grounds_of(act.subject)), fault


def _file(signed: SignedAct) -> bytes:
    evidence: Json = None if signed.evidence is None else dict(evidence_fields(signed.evidence) or {})
    return canonical({"act": signed.content, "signature": signed.signature.hex(), "evidence": evidence})


def _read(registry: Registry, name: str) -> bytes:
    file = registry.read(name, APPROVAL_BYTES_MAX)
    if file is None:
        refuse(f"the approval '{name}' is missing")
    return file


def _signed_act(file: bytes, name: str) -> SignedAct:
    if len(file) > APPROVAL_BYTES_MAX:
        refuse(f"'{name}' is larger than {APPROVAL_BYTES_MAX} bytes")
    held = mapping(parsed(file, name), name, {"act", "signature", "evidence"})
    written = text_of(held, "signature", name)
    try:
        signature, evidence = bytes.fromhex(written), evidence_of(held["evidence"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelRefused(f"'{name}' holds no signed act") from error
    signed = SignedAct(text_of(held, "act", name), signature, evidence)
    if _file(signed) != file:
        refuse(f"'{name}' is not in the one form that an approval has")
    return signed
