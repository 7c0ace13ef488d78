"""The blast radius of an incident as values, and what of the audit log it is looked for in.

Invariants
1. What can't be counted is named, and never counted as nothing.
2. A scope that isn't understood counts every decision of its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.breaker import SEGMENT_OTHER
from pipeline.breaker.answer_counts import ALL
from pipeline.incident.incidents import Exposure, ToldAlert

PLACES_MAX: Final = 1_000
"""Stretches of decisions.v1 that alerts name and that are looked at; more are said to be left out."""


class Share(NamedTuple):
    """Decisions of one route, outcome and currency."""

    route: str
    outcome: str
    currency: str
    decisions: int
    amount_minor: int


class Group(NamedTuple):
    """Decisions of one route and outcome, and the customers who made the payments."""

    route: str
    outcome: str
    decisions: int
    customers: int


class Affected(NamedTuple):
    """One decision, by which a radius says where it begins and ends."""

    decision_id: str
    transaction_id: str
    at_ms: int
    partition: int
    offset: int


class Usual(NamedTuple):
    """The 30 days before the incident, or as many as the audit log has: from `since_ms` to `until_ms`."""

    since_ms: int
    until_ms: int
    decisions: int
    customers: int
    amount_gbp_minor: int


class Radius(NamedTuple):
    """What an incident has affected so far.

    worth_gbp_minor: of the amounts whose worth in pounds the policy knew; worth_unknown: decisions of the others.
    countries: of beneficiaries, with how many decisions. audited_until: by partition, the offset up to which the audit
    log had been written. usual: None where the audit log has less than a day of it. left_out: sentences.
    """

    shares: Sequence[Share]
    groups: Sequence[Group]
    decisions: int
    customers: int
    worth_gbp_minor: int
    worth_unknown: int
    countries: Mapping[str, int]
    first: Affected | None
    last: Affected | None
    audited_until: Mapping[int, int]
    usual: Usual | None
    left_out: Sequence[str]


class Stretch(NamedTuple):
    """Offsets [first, last] of a partition of decisions.v1, which an alert names."""

    partition: int
    first: int
    last: int


class Sought(NamedTuple):
    """One scope's part of the search; None lets everything pass."""

    model: str | None
    segment_name: str | None
    segment_value: str | None
    channel: str | None
    since_ms: int
    until_ms: int


def sought(exposures: Iterable[Exposure]) -> list[Sought]:
    """Return what to look for in the scopes of the breaker."""
    found = []
    for scope, since_ms, until_ms in exposures:
        kind, _, rest = scope.partition(":")
        name, _, value = rest.partition("=")
        match kind:
            case "model" if rest:
                found.append(Sought(rest, None, None, None, since_ms, until_ms))
            case "segment" if name and value:
                found.append(Sought(None, name, value, None, since_ms, until_ms))
            case "channel" if rest:
                found.append(Sought(None, None, None, rest, since_ms, until_ms))
            case _:
                found.append(Sought(None, None, None, None, since_ms, until_ms))
    return found


def not_understood(exposures: Iterable[Exposure]) -> list[str]:
    """Say which scopes count every decision of their time although they are narrower."""
    said = []
    for scope, _, _ in exposures:
        kind, _, rest = scope.partition(":")
        is_segment = kind == "segment" and all(part for part in rest.partition("="))
        if scope == ALL or (kind in ("model", "channel") and rest) or is_segment:
            continue
        why = "doesn't say which segments it was" if scope == SEGMENT_OTHER else "is none that is known here"
        said.append(f"The scope {scope} {why}, so every decision of its time is counted.")
    return said


def stretches(alerts: Iterable[ToldAlert], topic: str) -> list[Stretch]:
    """Return the places on decisions.v1 that alerts name in their evidence. topic: its name, with its prefix."""
    found = []
    for told in alerts:
        said = told.evidence
        if said.get("topic") != topic:
            continue
        numbers = [said.get(name, "") for name in ("partition", "first_offset", "last_offset")]
        if all(number.isascii() and number.isdigit() and len(number) < 19 for number in numbers):
            partition, first, last = map(int, numbers)
            if partition < 2**31:
                found.append(Stretch(partition, first, max(first, last)))
    return list(dict.fromkeys(found))
