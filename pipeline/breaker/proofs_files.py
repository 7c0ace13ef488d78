"""Who threw a switch: what they sign, and the proof that a release needs.

A switch that forces a scope open is heeded whoever threw it, because that is the safe side and must work while
everything else is away. A release counts only where the registry's file proves that an OPERATOR signed exactly it; else
it stands for another FORCED_OPEN (pipeline/breaker/switches.py). The file must be from after the release: one of before
may lack the revocation of whoever threw it. Until there is one, the release is awaited. A drill counts as one
only where the file proves that two OPERATORs consented to it, that one of them began it, and that it is still the time
for it; it waits for no later file, because it only makes decisions stricter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.breaker.switches import Fault
from pipeline.domain.context import BreakerSwitch
from pipeline.domain.times import utc_text
from pipeline.drills.consents import begin_fault, confirmation, consent_of, live_fault, proposal
from pipeline.io.clock import now_ms
from pipeline.io.settings import Settings
from pipeline.keys.key_files import is_signed
from pipeline.keys.key_sets import KeySet, KeySetRefused, KeyUse, untrusted
from pipeline.people.act_store import CHECKS, evidence_fields, evidence_of
from pipeline.people.acts import ActKind, SignedAct, Subject, act_of
from pipeline.people.key_files import Identity
from pipeline.people.people_files import PeopleFile, PeopleFileRefused, read_people
from pipeline.people.registry import Expected, Registry, act_fault
from pipeline.people.roles import Role, is_same
from pipeline.seals.seal_files import seal_keys
from pipeline.terminal.failures import Failure

NO_FILE: Final = "FRAUD_PEOPLE_FILE names no file that says who may release"
CLOCKS_APART_MS: Final = 10_000
"""By which the database's clock may be ahead of the broker's, and a revocation that its command has not finished may be
older than it is visible: so much later than a release must the file be."""


class _Known(NamedTuple):
    """A file as it was read. as_of_ms: None where nobody who is trusted says as of when it is, and then why."""

    file: PeopleFile
    as_of_ms: int | None
    why: str


class SwitchProof:
    """Proves releases and drills by the registry's file, which is read again when it has changed."""

    def __init__(self, path: Path | None, keys: Callable[[], KeySet]) -> None:
        """keys: the key set of whoever seals and stamps. Raises KeySetRefused where there is none."""
        self._path, self._keys = path, keys
        self._read: tuple[tuple[int, int, int], PeopleFile] | None = None

    @classmethod
    def of(cls, settings: Settings) -> SwitchProof:
        def keys() -> KeySet:
            try:
                return seal_keys(settings)
            except Failure as failure:
                raise KeySetRefused(failure.what) from failure

        return cls(settings.people_file, keys)

    def fault(self, switch: BreakerSwitch, logged_at_ms: int) -> Fault | None:
        """Return why nobody is proved to have thrown the switch, or None where an OPERATOR is.

        logged_at_ms: the broker's time of its record, which shows that it isn't signed as of before a revocation.
        """
        if self._path is None:
            return Fault(NO_FILE)
        try:
            if switch.drill:
                why = drill_fault(self._file(self._path).registry, switch, logged_at_ms)
                return None if why is None else Fault(why)
            known = self._known(self._path)
        except PeopleFileRefused as refusal:
            return Fault(str(refusal))
        if known.as_of_ms is None:
            return Fault(f"{self._path} may be older than it: {known.why}", is_awaited=True)
        if known.as_of_ms < logged_at_ms + CLOCKS_APART_MS:
            return Fault(f"{self._path} is older than it, of {utc_text(known.as_of_ms)}", is_awaited=True)
        why = release_fault(known.file.registry, switch, logged_at_ms)
        return None if why is None else Fault(why)

    def _known(self, path: Path) -> _Known:
        """Raises PeopleFileRefused."""
        file = self._file(path)
        if (stamp := file.stamp) is None:
            return _Known(file, None, "it has no stamp that says as of when it is")
        try:
            keys = self._keys()
        except KeySetRefused as refusal:
            return _Known(file, None, f"nobody can tell who stamped it, since {refusal}")
        why = untrusted(keys, KeyUse.REVIEWS, stamp.key_id, stamp.as_of_ms, None)
        if why is None and not file.is_stamped_by(keys.keys[stamp.key_id].public, is_signed):
            why = "its stamp is false"
        if why is None and stamp.as_of_ms > now_ms() + CLOCKS_APART_MS:
            why = "its stamp is of a time to come"
        return _Known(file, stamp.as_of_ms if why is None else None, why or "")

    def _file(self, path: Path) -> PeopleFile:
        try:
            found = os.stat(path)
        except OSError as error:
            raise PeopleFileRefused(f"{path} can't be read ({error.strerror})") from error
        mark = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._read is None or self._read[0] != mark:
            self._read = mark, read_people(path)
        return self._read[1]


def signed_switch(switch: BreakerSwitch, by: Identity, root: str) -> BreakerSwitch:
    """Return the switch with its person's act. `root`: the registry's; empty where that is out of reach."""
    signed = by.sign(ActKind.BREAKER_SWITCHED, _subject(switch), switch.thrown_at_ms, root)
    fields = evidence_fields(signed.evidence)
    evidence = "" if fields is None else json.dumps(fields, sort_keys=True)
    return switch._replace(act=signed.content, signature=signed.signature, evidence=evidence)


def release_fault(registry: Registry, switch: BreakerSwitch, logged_at_ms: int) -> str | None:
    """Return why nobody is proved to have thrown the switch by this registry, or None where an OPERATOR is."""
    return _thrown_fault(registry, switch, logged_at_ms)


def drill_fault(registry: Registry, switch: BreakerSwitch, logged_at_ms: int) -> str | None:
    """Return why a drill is none, or None where two people have consented to it, and it begins and ends when they said.

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
