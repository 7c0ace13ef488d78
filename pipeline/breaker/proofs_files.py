"""Who threw a switch: what they sign, and the proof that a release needs.

A switch that forces a scope open is heeded whoever threw it, because that is the safe side and must work while
everything else is away. A release counts only where the registry's file proves that an OPERATOR signed exactly it; else
it stands for another FORCED_OPEN (pipeline/breaker/switches.py). A drill counts as one only where the file proves that
two OPERATORs consented to it, that one of them began it, and that it is still the time for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pipeline.domain.context import BreakerSwitch
from pipeline.drills.consents import begin_fault, confirmation, consent_of, live_fault, proposal
from pipeline.people.act_store import CHECKS, evidence_fields, evidence_of
from pipeline.people.acts import ActKind, SignedAct, Subject, act_of
from pipeline.people.key_files import Identity
from pipeline.people.people_files import PeopleFileRefused, read_people
from pipeline.people.registry import Expected, Registry, act_fault
from pipeline.people.roles import Role, is_same

NO_FILE: Final = "FRAUD_PEOPLE_FILE names no file that says who may release"


class SwitchProof:
    """Proves releases and drills by the registry's file, which is read again for each: people throw few."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def fault(self, switch: BreakerSwitch, logged_at_ms: int) -> str | None:
        """Return why nobody is proved to have thrown the switch, or None where an OPERATOR is.

        logged_at_ms: the broker's time of its record, which shows that it isn't signed as of before a revocation.
        """
        if self._path is None:
            return NO_FILE
        try:
            registry = read_people(self._path)
            return (drill_fault if switch.drill else release_fault)(registry, switch, logged_at_ms)
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
    return _thrown_fault(registry, switch, logged_at_ms)


def drill_fault(registry: Registry, switch: BreakerSwitch, logged_at_ms: int) -> str | None:
    """As `SwitchProof.fault`, of a drill: two people have consented to it, and it begins and ends when they said.

    Whoever has lost role or key since they signed consents to nothing any more.
    """
    consent = consent_of(switch.consent)
    if consent is None:
        return "its consent can't be read"
    live, people = consent.live, (consent.proposed_by, consent.confirmed_by)
    if (live.drill_id, live.scope, live.reason) != (switch.drill, switch.scope, switch.reason):
        return "another drill was consented to"
    if (fault := live_fault(live) or begin_fault(live, logged_at_ms)) is not None:
        return fault
    if switch.ends_at_ms != switch.thrown_at_ms + live.open_s * 1000:
        return "it ends at another time than was consented to"
    if is_same(*people):
        return "one person has consented twice"
    if switch.thrown_by not in people:
        return "whoever began it is none of the two who consented"
    signed = (consent.proposed, proposal(live, people[0])), (consent.confirmed, confirmation(live, people[1]))
    for act, expected in signed:
        fault = act_fault(registry, act, expected, CHECKS, is_pending=False) or _left_fault(registry, act, logged_at_ms)
        if fault is not None:
            return f"{expected.name}: {fault}"
    return _thrown_fault(registry, switch, logged_at_ms)


def _left_fault(registry: Registry, signed: SignedAct, at_ms: int) -> str | None:
    """Return why what somebody signed before counts no more at that time, or None where it does. It was proved."""
    act = act_of(signed.content)
    revoked_at_ms = registry.revoked.get(act.key_id)
    if revoked_at_ms is not None and at_ms >= revoked_at_ms:
        return "the key has been revoked since"
    if not registry.person(act.name, at_ms).holds(Role.OPERATOR):
        return "no OPERATOR any more"
    return None


def _thrown_fault(registry: Registry, switch: BreakerSwitch, logged_at_ms: int) -> str | None:
    expected = Expected(ActKind.BREAKER_SWITCHED, switch.thrown_by, _subject(switch), (Role.OPERATOR,))
    try:
        evidence = evidence_of(json.loads(switch.evidence)) if switch.evidence else None
    except ValueError:
        evidence = None
    signed = SignedAct(switch.act, switch.signature, evidence) if switch.act else None
    return act_fault(registry, signed, expected, CHECKS, is_pending=False, seen_at_ms=logged_at_ms)


def _subject(switch: BreakerSwitch) -> Subject:
    """The sequence is part of it: a release of before is none of now."""
    drill: Subject = {"drill": switch.drill, "ends_at_ms": switch.ends_at_ms} if switch.drill else {}
    return {
        **drill,
        "scope": switch.scope,
        "position": switch.position.value,
        "sequence": switch.sequence,
        "thrown_at_ms": switch.thrown_at_ms,
        "reason": switch.reason,
        "accepts_shift": switch.accepts_shift,
    }
