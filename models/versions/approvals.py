"""Approvals: three people of three roles, each with a signed act over a version's digest.

Invariants
1. An approval says role, version and digest in what is signed. It is nothing for another artefact, role or registry
   of people, and one that is replayed says again what it said.
2. Each of the three roles has another person. Who holds two of them stands for one.
3. An approval counts where its person had role and key when they signed, and still had them when the alias moved.
4. One that was given for a promotion says the evidence and the policy that it was given on, and is nothing on others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

from models.versions.locations import APPROVALS
from pipeline.people.acts import ActKind, SignedAct, Subject, act_of
from pipeline.people.registry import Checks, Expected, Registry, act_fault
from pipeline.people.roles import Role, folded

APPROVING_ROLES: Final = (Role.RISK, Role.COMPLIANCE, Role.ENGINEERING)
APPROVALS_MAX: Final = 32
"""Most approvals of a version that are looked at."""
APPROVALS_A_KEY_MAX: Final = 8
"""Most approvals by one key in one role: they lose their force with time, and a version may be long on trial."""
RENEWED_AFTER_MS: Final = 86_400_000
"""How old an approval is before the same key may give it anew."""


ANSWER_CHARACTERS_MAX: Final = 1_000
_HASH: Final = re.compile("[0-9a-f]{64}", re.ASCII)


class Grounds(NamedTuple):
    """The grounds on which an approval was given.

    evidence: the root of every run that the gate counts. policy: the file's SHA-256.
    answer: what its author says of the runs that failed; empty where none had.
    """

    evidence: str
    policy: str
    answer: str = ""


class Approval(NamedTuple):
    """grounds: None where it was given on no evidence, as for the first champion of a registry."""

    role: Role
    name: str
    key_id: str
    at_ms: int
    grounds: Grounds | None = None


class Standing(NamedTuple):
    """The approvals of a version that count, by file name, and why the others don't, in sentences.

    `missing`: why the roles aren't filled; None where three people fill them.
    """

    approvals: Mapping[str, Approval]
    faults: tuple[str, ...]
    missing: str | None


def subject_of(version: str, digest: str, role: Role, grounds: Grounds | None = None) -> Subject:
    said = {"version": version, "digest": digest, "role": role.value}
    return said if grounds is None else {**said, **grounds._asdict()}


def grounds_of(subject: Subject) -> Grounds | None:
    """Return what a signed subject says that it was given on; None where it says nothing, or what nobody can mean."""
    evidence, policy, answer = (subject.get(name) for name in Grounds._fields)
    if not (isinstance(evidence, str) and isinstance(policy, str) and isinstance(answer, str)):
        return None
    if _HASH.fullmatch(evidence) is None or _HASH.fullmatch(policy) is None or len(answer) > ANSWER_CHARACTERS_MAX:
        return None
    return Grounds(evidence, policy, answer)


def grounds_words(grounds: Grounds | None, evidence: str | None) -> str:
    """Say what an approval was given on, beside the root of the evidence of now; None where that isn't known."""
    if grounds is None:
        return "on no evidence"
    if evidence is None:
        which = "evidence that can't be compared with that of now"
    else:
        which = "the evidence of now" if grounds.evidence == evidence else "other evidence than there is now"
    answer = f", answering: {grounds.answer}" if grounds.answer else ""
    return f"on {which} ({grounds.evidence[:16]}), under the policy {grounds.policy[:16]}{answer}"


def file_names(version: str, role: Role, key_id: str) -> list[str]:
    """Return the names of the first approval by a key, and of those by which it is given anew."""
    first = f"{APPROVALS}/{version}/{role.value}-{key_id}"
    return [f"{first}.json", *(f"{first}-{number}.json" for number in range(2, APPROVALS_A_KEY_MAX + 1))]


def approval_fault(
    people: Registry,
    signed: SignedAct,
    role: Role,
    version: str,
    digest: str,
    checks: Checks,
    *,
    as_of_ms: int,
    is_pending: bool,
) -> str | None:
    """Return why an approval counts as nothing; None where it counts.

    as_of_ms: now, or when the alias moved by it. is_pending: nothing has come of it yet.
    """
    act = act_of(signed.content)
    subject = subject_of(version, digest, role, grounds_of(act.subject))
    expected = Expected(ActKind.MODEL_APPROVED, act.name, subject, (role,))
    if (fault := act_fault(people, signed, expected, checks, is_pending=is_pending)) is not None:
        return fault
    if act.at_ms > as_of_ms:
        return "it says a later time than the one at which it was used"
    if people.revoked.get(act.key_id, as_of_ms + 1) <= as_of_ms:
        return "its key was revoked before it was used"
    if not people.person(act.name, as_of_ms).holds(role):
        return "its author did not hold the role any more when it was used"
    return None


def missing_roles(approvals: Sequence[Approval]) -> str | None:
    """Return why three different people don't fill the three roles; None where they do."""
    by_role = {role: [each for each in approvals if each.role is role] for role in APPROVING_ROLES}
    if lacking := [role.value for role, given in by_role.items() if not given]:
        return f"nobody has approved it as {', '.join(lacking)}"
    for chosen in product(*by_role.values()):
        if len({folded(each.name) for each in chosen}) == len(APPROVING_ROLES):
            return None
    return "one person stands under two of the roles, and each needs another"
