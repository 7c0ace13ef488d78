"""Drills on the live breaker: what two people sign before one, and which of the ten drills there are (ADR 0040).

Invariants
1. Both sign the same: the drill, its scope, how long the model stays out, between which times it may begin, whom it
   pages, and why. So a consent says nothing about another drill, another scope or another hour.
2. The two are different people, however their names are written, and each is an OPERATOR, who alone may throw the kill
   switch.
3. A live drill only ever opens a scope: it takes no server away, and no wrong model decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.drills.drills import DrillName
from pipeline.people.acts import ActKind, Evidence, SignedAct, Subject
from pipeline.people.registry import Expected
from pipeline.people.roles import Role

OPEN_S_MIN: Final = 30
"""Shortest open period: a worker that decides seldom is seen in it, too."""
OPEN_S_MAX: Final = 15 * 60
"""Longest open period. Payments have the fallback's rules for as long, and more of them wait for reviewers."""
BEGINS_WITHIN_MS_MAX: Final = 24 * 3_600_000
"""Longest time within which a consented drill may begin: who is on call then is known."""
REASON_CHARACTERS: Final = (10, 500)
PAGES_CHARACTERS_MAX: Final = 500
CONSENT_BYTES_MAX: Final = 64 * 1024
_DRILL_ID: Final = re.compile(r"[0-9a-f]{8}")
_SHARED_SERVER: Final = "it takes a server away that payments need; carry it out in a lane"


class LiveDrill(NamedTuple):
    """A drill that is consented to, as it is signed. pages: the sinks that its alert goes to, by name.

    It may begin from `from_ms` on and before `until_ms`; then the scope is out of the loop for `open_s` seconds.
    """

    drill_id: str
    drill: str
    scope: str
    open_s: int
    from_ms: int
    until_ms: int
    pages: str
    reason: str


class Consent(NamedTuple):
    """Two people's signatures over one live drill."""

    live: LiveDrill
    proposed_by: str
    proposed: SignedAct
    confirmed_by: str
    confirmed: SignedAct


SCOPES: Final[Mapping[DrillName, str]] = MappingProxyType(
    {
        DrillName.MODEL_BLOCKS: "model:",
        DrillName.MODEL_ALLOWS: "model:",
        DrillName.ONE_POSTCODE: "segment:",
        DrillName.SLOW_MODEL: "all",
        DrillName.FAILING_MODEL: "all",
        DrillName.DRIFT: "model:",
    }
)
"""The drills that can be carried out live, and how the scope begins that such a fault trips."""
REFUSED_LIVE: Final[Mapping[DrillName, str]] = MappingProxyType(
    {drill: _SHARED_SERVER for drill in DrillName if drill not in SCOPES}
)
"""The drills that can't, each with the reason."""


def live_fault(live: LiveDrill) -> str | None:
    """Return why nobody can consent to a drill, in a sentence without its full stop; None where two people can."""
    if live.drill not in set(DrillName):
        return f"there is no drill {live.drill[:60]!r}"
    drill = DrillName(live.drill)
    if drill in REFUSED_LIVE:
        return f"{drill} is never carried out on the live breaker: {REFUSED_LIVE[drill]}"
    begins = SCOPES[drill]
    if live.scope != begins if begins == "all" else not live.scope.startswith(begins):
        named = begins if begins == "all" else f"a scope that begins with {begins}"
        return f"{drill} trips {named}, and not '{live.scope[:100]}'"
    if _DRILL_ID.fullmatch(live.drill_id) is None:
        return "its id is none"
    if not OPEN_S_MIN <= live.open_s <= OPEN_S_MAX:
        return f"the model stays out for {OPEN_S_MIN} to {OPEN_S_MAX} seconds"
    if not 0 < live.until_ms - live.from_ms <= BEGINS_WITHIN_MS_MAX:
        return "it begins within 24 hours"
    if not 1 <= len(live.pages) <= PAGES_CHARACTERS_MAX:
        return "nobody is named whom it pages"
    shortest, longest = REASON_CHARACTERS
    if not shortest <= len(live.reason.strip()) <= longest:
        return f"a reason has {shortest} to {longest} characters"
    return None


def begin_fault(live: LiveDrill, at_ms: int) -> str | None:
    """Return why a drill can't begin then, or None where it can."""
    if at_ms < live.from_ms:
        return "its time has not come"
    return "its time is over" if at_ms >= live.until_ms else None


def proposal(live: LiveDrill, name: str) -> Expected:
    return Expected(ActKind.LIVE_DRILL_PROPOSED, name, signed_subject(live), (Role.OPERATOR,))


def confirmation(live: LiveDrill, name: str) -> Expected:
    return Expected(ActKind.LIVE_DRILL_CONFIRMED, name, signed_subject(live), (Role.OPERATOR,))


def begin(live: LiveDrill, name: str) -> Expected:
    return Expected(ActKind.LIVE_DRILL_BEGUN, name, signed_subject(live), (Role.OPERATOR,))


def signed_subject(live: LiveDrill) -> Subject:
    """The same as the database's control.live_drill_act."""
    return live._asdict()


def consent_text(consent: Consent) -> str:
    """Return a consent as the record of a drill carries it to the workers, which can't ask the database."""
    return json.dumps(
        {
            "live": consent.live._asdict(),
            "proposed_by": consent.proposed_by,
            "proposed": _act_fields(consent.proposed),
            "confirmed_by": consent.confirmed_by,
            "confirmed": _act_fields(consent.confirmed),
        },
        sort_keys=True,
    )


def consent_of(text: str) -> Consent | None:
    """Read a consent back; None where the text is none. It may still be proved by nobody."""
    if len(text) > CONSENT_BYTES_MAX:
        return None
    try:
        read = json.loads(text)
        live = LiveDrill(**read["live"])
        names = _texts(read["proposed_by"], read["confirmed_by"])
        acts = _act(read["proposed"]), _act(read["confirmed"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    kinds = [type(each) for each in live]
    return Consent(live, names[0], acts[0], names[1], acts[1]) if kinds == _KINDS else None


_KINDS: Final = [str, str, str, int, int, int, str, str]


def _act_fields(signed: SignedAct) -> Mapping[str, str]:
    evidence = signed.evidence
    said = {} if evidence is None else {"public": evidence.public.hex(), "id_token": evidence.id_token}
    return {"act": signed.content, "signature": signed.signature.hex(), **said}


def _act(read: Mapping[str, object]) -> SignedAct:
    """Raises ValueError, TypeError, KeyError."""
    content, signature = _texts(read["act"], read["signature"])
    if read.keys() == {"act", "signature"}:
        return SignedAct(content, bytes.fromhex(signature))
    public, id_token = _texts(read["public"], read["id_token"])
    return SignedAct(content, bytes.fromhex(signature), Evidence(bytes.fromhex(public), id_token))


def _texts(*read: object) -> tuple[str, ...]:
    texts = tuple(each for each in read if isinstance(each, str))
    if len(texts) != len(read):
        raise TypeError("a text is none")
    return texts
