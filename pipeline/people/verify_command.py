"""`fraud people verify`: every signed act, and every row that stands for one, proved again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.domain.money import count_text
from pipeline.domain.times import utc_text
from pipeline.io.postgres import Connection, failures_named
from pipeline.io.settings import Settings
from pipeline.people.act_store import (
    CHECKS,
    ClaimedRow,
    RegistryReader,
    RegistryRow,
    read_acts,
    read_claims,
    read_registry_rows,
)
from pipeline.people.acts import Act, ActKind, SignedAct, act_of, key_id_of
from pipeline.people.people_files import PeopleFileRefused, lost_acts
from pipeline.people.registry import Expected, Registry, act_fault
from pipeline.people.roles import REVIEWERS, Role
from pipeline.people.watch_service import ActWatch
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output

ROLES: Final[Mapping[ActKind, tuple[Role, ...]]] = {
    ActKind.CASE_CLAIMED: REVIEWERS,
    ActKind.CASE_RELEASED: REVIEWERS,
    ActKind.CASE_PROPOSED: REVIEWERS,
    ActKind.CASE_DECLINED: (Role.SENIOR_REVIEWER,),
    ActKind.CASE_DECIDED: REVIEWERS,
    ActKind.RECOVERY_CLOSED: (Role.SENIOR_REVIEWER,),
    ActKind.ROLLBACK_PLANNED: (Role.ROLLBACK_REQUESTER,),
    ActKind.ROLLBACK_APPROVED: (Role.ROLLBACK_APPROVER,),
    ActKind.ROLLBACK_APPLIED: (Role.ROLLBACK_APPROVER,),
    ActKind.QUARANTINE_PROPOSED: (Role.ROLLBACK_REQUESTER,),
    ActKind.QUARANTINE_CONFIRMED: (Role.ROLLBACK_APPROVER,),
    ActKind.RULING_PROPOSED: (Role.ROLLBACK_REQUESTER,),
    ActKind.RULING_CONFIRMED: (Role.ROLLBACK_APPROVER,),
    ActKind.LETTERS_REDRIVEN: (Role.OPERATOR,),
    ActKind.ALERT_ACKNOWLEDGED: (Role.OPERATOR,),
    ActKind.ALERT_RESOLVED: (Role.OPERATOR,),
    ActKind.ALERTS_SILENCED: (Role.OPERATOR,),
    ActKind.ALERTS_UNSILENCED: (Role.OPERATOR,),
    ActKind.DISAGREEMENT_REVIEWED: REVIEWERS,
    ActKind.MODEL_MOVED: (Role.OPERATOR,),
    ActKind.LIVE_DRILL_PROPOSED: (Role.OPERATOR,),
    ActKind.LIVE_DRILL_CONFIRMED: (Role.OPERATOR,),
    ActKind.LIVE_DRILL_BEGUN: (Role.OPERATOR,),
    ActKind.INCIDENT_ACKNOWLEDGED: (Role.OPERATOR,),
    ActKind.INCIDENT_NOTED: (Role.OPERATOR,),
    ActKind.INCIDENT_RESOLVED: (Role.OPERATOR,),
}


class Fault(NamedTuple):
    """`place`: a row of a table, or an act by its digest."""

    of_table: str
    place: str
    name: str
    why: str


class Verified(NamedTuple):
    acts: int
    rows: int
    root: str
    faults: list[Fault]


def verified(settings: Settings, root: str | None, file: Path | None) -> Verified:
    """`root`: the registry's, as it was kept outside; None: nothing outside says who the first ADMIN is.

    file: of people, that was kept outside the database, too. Failure where it holds none.
    """
    try:
        with connected(settings) as connection, failures_named():
            return verify(connection, root, file)
    except PeopleFileRefused as refusal:
        raise Failure(
            f"{refusal}.", "Name a file that the review service, or `fraud people export`, wrote."
        ) from refusal


def verify(connection: Connection, root: str | None, file: Path | None = None) -> Verified:
    """Raises PeopleFileRefused."""
    reader, watch = RegistryReader(), ActWatch()
    registry = reader.read(connection)._replace(broken=None)  # the act that broke it is told of below
    faults: list[Fault] = []
    if root is not None and root != registry.root:
        why = f"the registry's root is {registry.root or 'missing'}, not {root}"
        faults.append(Fault("control.signed_act", "FIRST_ADMIN", "?", why))
    is_more = True
    while is_more:
        unproved, is_more = watch.look(connection)
        faults += [Fault("control.signed_act", each.digest, each.name, each.why) for each in unproved]
    faults += _registry_faults(connection, reader)
    if file is not None:
        faults += map(_lost, lost_acts(file, registry.root, [signed.digest for signed in reader.acts]))
    rows = 0
    for chunk in read_claims(connection):
        rows += len(chunk)
        faults += _faults(connection, registry, chunk)
    return Verified(watch.looked_at, rows, registry.root, faults)


def show_faults(output: Output, found: Verified) -> bool:
    """Return whether there is none."""
    for fault in found.faults:
        output.record(fault._asdict(), f"{fault.of_table} {fault.place} by {fault.name}: {fault.why}")
    root = f"the registry's root is {found.root}" if found.root else "nobody has begun the registry"
    output.note(f"{count_text(found.acts, 'signed act')} and {count_text(found.rows, 'row')} looked at; {root}.")
    return not found.faults


def _lost(signed: SignedAct) -> Fault:
    """An act that the database had before it was put back."""
    act = act_of(signed.content)
    about = " ".join(f"{name} {act.subject[name]}" for name in ("name", "role", "key", "login") if name in act.subject)
    why = f"the database has lost it: {act.kind}, {about}, at {utc_text(act.at_ms)}"
    return Fault("control.signed_act", signed.digest, act.name, why)


def _registry_faults(connection: Connection, reader: RegistryReader) -> Iterator[Fault]:
    """The rows that the triggers believe, and that no act which counts has made."""
    rows, counting = read_registry_rows(connection), {signed.digest for signed in reader.acts}
    acts = read_acts(connection, [row.act for row in rows if row.act is not None])
    for row in rows:
        signed = None if row.act not in counting or row.act is None else acts.get(row.act)
        if signed is None or not _has_made(act_of(signed.content), row):
            yield Fault(row.of_table, row.place, row.name, "no act that counts has made it")


def _has_made(act: Act, row: RegistryRow) -> bool:
    said = {**row.said}
    if row.of_table == "control.person_key":
        public = bytes.fromhex(str(act.subject.get("public")))
        return (act.subject.get("name"), key_id_of(public)) == (said["name"], said["key"])
    if row.of_table == "control.key_revocation":
        return act.kind is ActKind.KEY_REVOKED and act.subject.get("key") == said["key"]
    first = {"name": act.name, "role": Role.ADMIN.value, "is_held": True}
    if act.kind is ActKind.FIRST_ADMIN:
        return said == first
    held = act.kind is ActKind.ROLE_GRANTED
    return said == {"name": act.subject.get("name"), "role": act.subject.get("role"), "is_held": held}


def _faults(connection: Connection, registry: Registry, chunk: Sequence[ClaimedRow]) -> Iterator[Fault]:
    acts = read_acts(connection, [row.act for row in chunk if row.act is not None])
    for row in chunk:
        kind = ActKind(row.kind)
        expected = Expected(kind, row.name, row.subject, ROLES[kind])
        signed = None if row.act is None else acts.get(row.act)
        fault = act_fault(registry, signed, expected, CHECKS, is_pending=False)
        if fault is not None:
            yield Fault(row.of_table, row.place, row.name, fault)
