"""Acts of people on call: each signs exactly what it is about."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.oncall.groups import EventKind
from pipeline.people.acts import ActKind
from pipeline.people.registry import Expected
from pipeline.people.roles import Role

_ROLES = (Role.OPERATOR,)


class SilenceWish(NamedTuple):
    silence_id: str
    code: str
    scope: str
    severity: str
    ends_at_ms: int
    reason: str


def group_act(kind: EventKind, group_id: str, note: str, name: str) -> Expected:
    """kind: ACKNOWLEDGED or RESOLVED."""
    return Expected(ActKind(f"ALERT_{kind}"), name, {"group_id": group_id, "note": note}, _ROLES)


def silence_act(wish: SilenceWish, name: str) -> Expected:
    return Expected(ActKind.ALERTS_SILENCED, name, wish._asdict(), _ROLES)


def unsilence_act(silence_id: str, name: str) -> Expected:
    return Expected(ActKind.ALERTS_UNSILENCED, name, {"silence_id": silence_id}, _ROLES)
