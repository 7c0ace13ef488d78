"""What people did about alerts and silenced, read as it comes, and proved before it counts.

Each row is read in the order in which it was signed, some at a time; so rows that nobody signed, however many, cost a
look or two each. What can fall later, a silence with its author's role or key, is looked at again without that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import structlog

from pipeline.io.postgres import Connection, statements
from pipeline.oncall.acts import SilenceWish, group_act, silence_act, unsilence_act
from pipeline.oncall.groups import EventKind, Group, State
from pipeline.oncall.silences import Silence
from pipeline.people.act_store import CHECKS, proved, read_acts
from pipeline.people.acts import SignedAct
from pipeline.people.registry import Expected, Registry, act_fault

ROWS_A_LOOK: Final = 500
"""Proving one takes about a tenth of a millisecond, so a look takes a twentieth of a second at most."""
SILENCES_MAX: Final = 500
"""Silences in force that are kept, the oldest. Those beyond it silence nothing."""
LOOKS_AT_ONCE: Final = 4
STEP_BACK_S: Final = 120.0
"""After so long what came since is read once more: a transaction may commit after another that began later, and lasts
no longer than a minute."""
_SQL: Final = statements("pipeline.oncall", "oncall")
_log = structlog.stdlib.get_logger("alerts")


class GroupAct(NamedTuple):
    """What a proven person did about a group. at_ms: when, by the database's clock."""

    act: str
    group_id: str
    kind: EventKind
    by: str
    note: str
    at_ms: int


class _Kept(NamedTuple):
    silence: Silence
    signed: SignedAct


class Answers:
    """For one thread, and one life of the service: it remembers how far it has read."""

    def __init__(self) -> None:
        self._acts_reached = self._silences_reached = 0
        self._before, self._stepped_s = (0, 0), time.monotonic()
        self._kept: dict[str, _Kept] = {}

    def acts(self, connection: Connection, registry: Registry) -> list[GroupAct]:
        """What people did since and nobody has carried out, as far as it is proved."""
        self._step_back()
        wanted = {"after": self._acts_reached, "limit": ROWS_A_LOOK}
        rows = connection.execute(_SQL["acts_to_do"], wanted).fetchall()
        found = [GroupAct(act, group_id, EventKind(kind), *said) for _, act, group_id, kind, *said in rows]
        claims: dict[str | None, Expected] = {
            each.act: group_act(each.kind, each.group_id, each.note, each.by) for each in found
        }
        counting = _pending(connection, registry, claims)
        for each in found:
            if each.act not in counting:
                _log.error("alert_act_unproved", group_id=each.group_id, kind=each.kind, by=each.by)
        self._acts_reached = rows[-1][0] if rows else self._acts_reached
        return [each for each in found if each.act in counting]

    def lapsed(self, connection: Connection, registry: Registry, groups: Iterable[Group]) -> list[str]:
        """Of the groups that are acknowledged, those whose acknowledgement counts no more: its author has left, or the
        key is revoked, so nobody may be looking after them."""
        said = {each.group_id: each.acknowledgement for each in groups if each.state is State.ACKNOWLEDGED}
        claims: dict[str | None, Expected] = {
            event.act: group_act(event.kind, group_id, event.note or "", event.actor)
            for group_id, event in said.items()
            if event is not None
        }
        if not claims:
            return []
        counting = _pending(connection, registry, claims)
        return [group_id for group_id, event in said.items() if event is not None and event.act not in counting]

    def silences(self, connection: Connection, registry: Registry, now_ms: int) -> list[Silence]:
        """Those that have not run out, while their author has role and key. An end that nobody proved ends nothing."""
        for _ in range(LOOKS_AT_ONCE):
            if self._read_silences(connection, registry) < ROWS_A_LOOK:
                break
        self._kept = {key: each for key, each in self._kept.items() if now_ms < each.silence.ends_at_ms}
        self._read_ends(connection, registry)
        return [
            each.silence
            for each in self._kept.values()
            if act_fault(registry, each.signed, _expected(each.silence), CHECKS, is_pending=True) is None
        ]

    def _step_back(self) -> None:
        if time.monotonic() - self._stepped_s < STEP_BACK_S:
            return
        reached, self._stepped_s = (self._acts_reached, self._silences_reached), time.monotonic()
        (self._acts_reached, self._silences_reached), self._before = self._before, reached

    def _read_silences(self, connection: Connection, registry: Registry) -> int:
        """Read on, and return how many were read."""
        wanted = {"after": self._silences_reached, "limit": ROWS_A_LOOK}
        rows = connection.execute(_SQL["silences"], wanted).fetchall()
        found = {str(act): Silence(*fields) for _, act, *fields in rows}
        signed = _pending(connection, registry, {act: _expected(silence) for act, silence in found.items()})
        for act, silence in found.items():
            if act not in signed:
                _log.error("silence_unproved", silence_id=silence.silence_id, by=silence.silenced_by)
            elif silence.silence_id in self._kept:
                continue
            elif len(self._kept) < SILENCES_MAX:
                self._kept[silence.silence_id] = _Kept(silence, signed[act])
            else:
                _log.error("silence_passed_over", silence_id=silence.silence_id, by=silence.silenced_by)
        self._silences_reached = rows[-1][0] if rows else self._silences_reached
        return len(rows)

    def _read_ends(self, connection: Connection, registry: Registry) -> None:
        wanted = [key for key, each in self._kept.items() if each.silence.ended_by is None]
        if not wanted:
            return
        rows = connection.execute(_SQL["silence_ends"], {"silences": wanted}).fetchall()
        claims: dict[str | None, Expected] = {str(act): unsilence_act(key, by) for key, by, act in rows}
        counting = proved(connection, registry, claims)
        for key, by, act in rows:
            if act in counting:
                kept = self._kept[key]
                self._kept[key] = kept._replace(silence=kept.silence._replace(ended_by=by))


def _pending(connection: Connection, registry: Registry, claims: Mapping[str | None, Expected]) -> dict[str, SignedAct]:
    """Those of these acts that count while nothing has come of them yet."""
    acts = read_acts(connection, [digest for digest in claims if digest is not None])
    return {
        digest: signed
        for digest, signed in acts.items()
        if signed.digest == digest and act_fault(registry, signed, claims[digest], CHECKS, is_pending=True) is None
    }


def _expected(silence: Silence) -> Expected:
    place = silence.silence_id, silence.code, silence.scope, silence.severity
    return silence_act(SilenceWish(*place, silence.ends_at_ms, silence.reason), silence.silenced_by)
