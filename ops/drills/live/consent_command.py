"""`fraud drills propose`, `confirm`, `consents`: two people consent to a drill on the live breaker."""

from __future__ import annotations

import secrets
from typing import Final

from pipeline.alerts.catalogue import AlertCode
from pipeline.domain.alert import Severity
from pipeline.domain.times import utc_text
from pipeline.drills.consent_store import (
    ConsentRefused,
    ProposedDrill,
    append_consent,
    append_proposal,
    read_live_drills,
)
from pipeline.drills.consents import LiveDrill, live_fault
from pipeline.io.clock import now_ms
from pipeline.io.settings import Settings
from pipeline.oncall.groups import GroupKey
from pipeline.oncall.routes_files import RoutesRefused, routes_of
from pipeline.people.key_files import Identity
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output

ID_BYTES: Final = 4
MINUTE_MS: Final = 60_000
SEE: Final = "`fraud drills consents` shows them."


def propose(
    settings: Settings,
    by: Identity,
    drill: str,
    scope: str,
    *,
    open_s: int,
    from_ms: int,
    hours: int,
    reason: str,
    pages: str | None,
) -> ProposedDrill:
    """Propose a live drill that may begin within so many hours from then on. Raises Failure."""
    starts_ms = max(from_ms, now_ms())
    until_ms = starts_ms + hours * 60 * MINUTE_MS
    told = pages_now(settings, scope) if pages is None else pages
    live = LiveDrill(secrets.token_hex(ID_BYTES), drill, scope, open_s, starts_ms, until_ms, told, reason)
    if (fault := live_fault(live)) is not None:
        raise Failure(f"Refused: {fault}.", "docs/drills.md says which drills can be carried out live.", FAILED_CHECK)
    with connected(settings) as connection:
        try:
            append_proposal(connection, live, by)
        except ConsentRefused as refusal:
            raise refused(refusal) from refusal
        return read_live_drills(connection, 1, live.drill_id)[0]


def confirm(settings: Settings, by: Identity, drill_id: str) -> ProposedDrill:
    """Confirm a live drill as it was proposed. Raises Failure."""
    with connected(settings) as connection:
        found = read_live_drills(connection, 1, drill_id)
        if not found:
            raise Failure(f"There is no live drill {drill_id[:60]!r}.", SEE)
        try:
            append_consent(connection, found[0].live, by)
        except ConsentRefused as refusal:
            raise refused(refusal) from refusal
        return read_live_drills(connection, 1, drill_id)[0]


def pages_now(settings: Settings, scope: str) -> str:
    """Name the sinks that the alert of a drill goes to, by the routes in force. Raises Failure."""
    key = GroupKey(AlertCode.BREAKER_DRILL, scope, Severity.CRITICAL)
    try:
        routes = routes_of(settings)
    except RoutesRefused as refusal:
        fix = "Name the sinks that its alert goes to with --pages."
        raise Failure(f"The routes of alerts can't be used here: {refusal}.", fix) from refusal
    return ", ".join(routes.told(key, routes.route_of(key).sinks)) or "nobody"


def show_live_drills(settings: Settings, limit: int, output: Output) -> None:
    with connected(settings) as connection:
        for found in read_live_drills(connection, limit):
            show_live_drill(output, found)


def show_live_drill(output: Output, found: ProposedDrill) -> None:
    live = found.live
    fields = {**live._asdict(), **{name: value for name, value in found._asdict().items() if name != "live"}}
    line = (
        f"{live.drill_id} {live.drill} on {live.scope}: out of the loop for {live.open_s} s, begun between "
        f"{utc_text(live.from_ms)} and {utc_text(live.until_ms)}, pages {live.pages}; {_stands(found)}; "
        f"proposed by {found.proposed_by}: {live.reason!r}"
    )
    output.record(fields, line)


def refused(refusal: ConsentRefused) -> Failure:
    return Failure(f"Refused: {refusal}.", "`fraud people list` shows who holds what.", FAILED_CHECK)


def _stands(found: ProposedDrill) -> str:
    if found.begun_by is not None:
        came_to = "without a report" if found.verdict is None else found.verdict
        return f"begun by {found.begun_by} at {utc_text(found.begun_at_ms or 0)}, {came_to}"
    late = ", and its time is over" if found.is_late else ""
    if found.confirmed_by is None:
        return f"not confirmed{late}"
    return f"confirmed by {found.confirmed_by}{late}"
