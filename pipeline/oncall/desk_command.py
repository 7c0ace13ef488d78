"""`fraud alerts` for people: what is open, what became of it, and their answers."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from pipeline.domain.free_text import reason_fault, tidied
from pipeline.domain.money import count_text
from pipeline.domain.times import utc_text
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, failures_named
from pipeline.io.settings import Settings
from pipeline.oncall.acts import SilenceWish
from pipeline.oncall.answers_store import Answers
from pipeline.oncall.desk_store import DeskRefused, append_group_act, append_silence, append_silence_end
from pipeline.oncall.groups import NEVER_SILENCED, EventKind, Group, State, matches
from pipeline.oncall.outbox import Delivery
from pipeline.oncall.silences import Silence
from pipeline.oncall.store import (
    find_groups,
    read_deliveries_about,
    read_latest_groups,
    read_open_groups,
)
from pipeline.people.act_store import read_registry
from pipeline.people.key_files import Identity
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output, coloured

NOTE_CHARACTERS_MAX: Final = 2_000
REASON_CHARACTERS_MIN: Final = 10
_COLOUR: Final = {"CRITICAL": "red", "WARNING": "yellow", "INFO": None}
_FIX: Final = "`fraud alerts list --all` shows them."


def groups(settings: Settings, limit: int, *, with_resolved: bool) -> list[Group]:
    """The newest first."""
    with connected(settings) as connection, failures_named():
        found = read_latest_groups(connection, limit) if with_resolved else read_open_groups(connection)[::-1]
    return found[:limit]


def show_group(output: Output, group: Group) -> None:
    key = group.key
    by = f" by {group.acknowledged_by}" if group.acknowledged_by and group.state is State.ACKNOWLEDGED else ""
    silent = "" if group.told_records else ", nobody told yet"
    line = (
        f"{group.group_id[:8]} {coloured(key.severity, _COLOUR[key.severity])} {key.code} ({key.scope}), "
        f"{count_text(group.records, 'alert')} since {utc_text(group.opened_at_ms)}, {group.state}{by}{silent}: "
        f"{group.summary}"
    )
    output.record(_fields(group), line)


def show_whole_group(output: Output, settings: Settings, beginning: str) -> None:
    with connected(settings) as connection, failures_named():
        group = _the_group(connection, beginning)
        deliveries = read_deliveries_about(connection, group.group_id)
    show_group(output, group)
    for delivery in deliveries:
        _show_delivery(output, delivery)


def act_on(output: Output, settings: Settings, beginning: str, kind: EventKind, note: str, by: Identity) -> None:
    """Acknowledge or resolve a group. Failure says why not."""
    if (fault := reason_fault(note, characters_max=NOTE_CHARACTERS_MAX)) is not None:
        raise Failure(f"The note {fault}.", "Write it in words.")
    with connected(settings) as connection, failures_named():
        group = _the_group(connection, beginning)
        if group.state is State.RESOLVED:
            raise Failure(f"The group {group.group_id} is over already.", _FIX, FAILED_CHECK)
        try:
            append_group_act(connection, kind, group.group_id, tidied(note), by)
        except DeskRefused as refusal:
            raise _refused(refusal) from refusal
    done = {EventKind.ACKNOWLEDGED: "acknowledged", EventKind.RESOLVED: "resolved"}[kind]
    fields = {"group_id": group.group_id, "kind": kind.value, "by": by.name}
    output.record(fields, f"{group.group_id} {group.key.code} is {done} by {by.name}; the service tells the others.")


def silence_until(
    output: Output, settings: Settings, matching: tuple[str, str, str], until: datetime, reason: str, by: Identity
) -> None:
    """Silence code, scope and severity. Failure says why not."""
    fault = reason_fault(reason, characters_min=REASON_CHARACTERS_MIN, characters_max=NOTE_CHARACTERS_MAX)
    if fault is not None:
        raise Failure(f"The reason {fault}.", "Say why nobody needs to be told.")
    if (named := matching[0]) in NEVER_SILENCED:
        raise Failure(f"{named} is never silenced: it says that alerts or acts can't be relied upon.", "Answer it.")
    wish = SilenceWish(str(uuid4()), *matching, int(until.timestamp() * 1000), tidied(reason))
    with connected(settings) as connection:
        try:
            append_silence(connection, wish, by)
        except DeskRefused as refusal:
            raise _refused(refusal) from refusal
    left = sorted(code for code in NEVER_SILENCED if matches(code, wish.code))
    line = f"{wish.silence_id} silences {wish.code} ({wish.scope}) until {utc_text(wish.ends_at_ms)}, by {by.name}."
    if left:
        line += f" It doesn't silence {', '.join(left)}: nothing does."
    output.record({**wish._asdict(), "silenced_by": by.name}, line)


def silences(settings: Settings) -> list[Silence]:
    """Those in force that somebody is proved to have made."""
    with connected(settings) as connection, failures_named():
        found = Answers().silences(connection, read_registry(connection), server_now_ms(connection))
    return [silence for silence in found if silence.ended_by is None]


def show_silence(output: Output, silence: Silence) -> None:
    severity = "" if silence.severity == "*" else f"{silence.severity} "
    line = (
        f"{silence.silence_id} {severity}{silence.code} ({silence.scope}) until {utc_text(silence.ends_at_ms)}, "
        f"by {silence.silenced_by}: {silence.reason!r}"
    )
    output.record(silence._asdict(), line)


def end_silence(output: Output, settings: Settings, silence_id: str, by: Identity) -> None:
    try:
        wanted = str(UUID(silence_id))
    except ValueError as error:
        raise Failure(f"There is no silence {silence_id}.", "`fraud alerts silences` shows them.") from error
    with connected(settings) as connection:
        with failures_named():
            now_ms = server_now_ms(connection)
            known = Answers().silences(connection, read_registry(connection), now_ms)
        found = [each for each in known if each.ended_by is None]
        if wanted not in {silence.silence_id for silence in found}:
            raise Failure(f"No silence {silence_id} is in force.", "`fraud alerts silences` shows them.", FAILED_CHECK)
        try:
            append_silence_end(connection, wanted, by)
        except DeskRefused as refusal:
            raise _refused(refusal) from refusal
    output.record({"silence_id": wanted, "ended_by": by.name}, f"{wanted} is ended by {by.name}.")


def _the_group(connection: Connection, beginning: str) -> Group:
    if not all(each in "0123456789abcdef-" for each in beginning) or not beginning:
        raise Failure(f"{beginning} is no id of a group.", _FIX)
    found = find_groups(connection, beginning)
    if len(found) != 1:
        what = f"No group begins with {beginning}." if not found else f"More than one group begins with {beginning}."
        raise Failure(what, _FIX)
    return found[0]


def _fields(group: Group) -> dict[str, object]:
    key = group.key
    return {
        "group_id": group.group_id,
        "code": key.code,
        "scope": key.scope,
        "severity": key.severity.value,
        "state": group.state.value,
        "summary": group.summary,
        "evidence": group.evidence,
        "alerts": group.records,
        "told_of": group.told_records,
        "opened_at_ms": group.opened_at_ms,
        "told_at_ms": group.told_at_ms,
        "escalated_level": group.escalated_level,
        "acknowledged_by": group.acknowledged_by,
        "resolved_at_ms": group.resolved_at_ms,
    }


def _show_delivery(output: Output, delivery: Delivery) -> None:
    message = delivery.message
    stands = delivery.end.value if delivery.end is not None else f"tried {count_text(delivery.sends, 'time')}, goes on"
    if delivery.end is None and delivery.waiting:
        stands += f" for {len(delivery.waiting)} recipients; the others have it"
    fields = {
        "delivery_id": message.delivery_id,
        "sink": message.sink,
        "kind": message.kind.value,
        "planned_at_ms": delivery.planned_at_ms,
        "sends": delivery.sends,
        "doubts": delivery.doubts,
        "end": None if delivery.end is None else delivery.end.value,
        "waiting": len(delivery.waiting) if delivery.end is None else 0,
    }
    output.record(fields, f"  {utc_text(delivery.planned_at_ms)} {message.kind} to {message.sink}: {stands}")


def _refused(refusal: DeskRefused) -> Failure:
    return Failure(f"Refused: {refusal}.", "`fraud people list` shows who holds what.", FAILED_CHECK)
