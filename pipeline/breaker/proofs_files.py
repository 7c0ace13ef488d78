"""Who threw a switch: what they sign, and the proof that a release needs.

A switch that forces a scope open is heeded whoever threw it, because that is the safe side and must work while
everything else is away. A release counts only where the registry's file proves that an OPERATOR signed exactly it; else
it stands for another FORCED_OPEN (pipeline/breaker/switches.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pipeline.domain.context import BreakerSwitch
from pipeline.people.act_store import CHECKS, evidence_fields, evidence_of
from pipeline.people.acts import ActKind, SignedAct, Subject
from pipeline.people.key_files import Identity
from pipeline.people.people_files import PeopleFileRefused, read_people
from pipeline.people.registry import Expected, Registry, act_fault
from pipeline.people.roles import Role

NO_FILE: Final = "FRAUD_PEOPLE_FILE names no file that says who may release"


class SwitchProof:
    """Proves releases by the registry's file, which is read again for each: people throw few."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def fault(self, switch: BreakerSwitch, logged_at_ms: int) -> str | None:
        """Return why nobody is proved to have thrown the switch, or None where an OPERATOR is.

        logged_at_ms: the broker's time of its record, which shows that it isn't signed as of before a revocation.
        """
        if self._path is None:
            return NO_FILE
        try:
            return release_fault(read_people(self._path), switch, logged_at_ms)
        except PeopleFileRefused as refusal:
            return str(refusal)


def signed_switch(switch: BreakerSwitch, by: Identity, root: str) -> BreakerSwitch:
    """Return the switch with its person's act. `root`: the registry's; empty where that is out of reach."""
    signed = by.sign(ActKind.BREAKER_SWITCHED, _subject(switch), switch.thrown_at_ms, root)
    fields = evidence_fields(signed.evidence)
    evidence = "" if fields is None else json.dumps(fields, sort_keys=True)
    return switch._replace(act=signed.content, signature=signed.signature, evidence=evidence)


def release_fault(registry: Registry, switch: BreakerSwitch, logged_at_ms: int) -> str | None:
    """As `SwitchProof.fault`, by a registry."""
    expected = Expected(ActKind.BREAKER_SWITCHED, switch.thrown_by, _subject(switch), (Role.OPERATOR,))
    try:
        evidence = evidence_of(json.loads(switch.evidence)) if switch.evidence else None
    except ValueError:
        evidence = None
    signed = SignedAct(switch.act, switch.signature, evidence) if switch.act else None
    return act_fault(registry, signed, expected, CHECKS, is_pending=False, seen_at_ms=logged_at_ms)


def _subject(switch: BreakerSwitch) -> Subject:
    """The sequence is part of it: a release of before is none of now."""
    return {
        "scope": switch.scope,
        "position": switch.position.value,
        "sequence": switch.sequence,
        "thrown_at_ms": switch.thrown_at_ms,
        "reason": switch.reason,
        "accepts_shift": switch.accepts_shift,
    }
