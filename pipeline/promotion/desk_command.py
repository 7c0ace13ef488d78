"""What `fraud models promote`, `rollout` and `rollback` do, and how they tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from models.artefact.strict import ModelRefused
from models.versions.alias_files import latest_seen
from models.versions.aliases import AliasRecord
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.breaker.answer_counts import model_scope
from pipeline.decide.rollout.limits import PPM_A_PERCENT
from pipeline.decide.rollout.sharing import Sharing, salt_key
from pipeline.domain.money import count_text
from pipeline.domain.times import utc_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import server_now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity
from pipeline.promotion.alerts import rolled_back_alert
from pipeline.promotion.desk_files import desk_of, reading_desk
from pipeline.promotion.gathering_store import limits_of, standpoint, terms_of
from pipeline.promotion.moves import champion_of, is_shared, next_share_ppm
from pipeline.promotion.moving_store import Outcome, promote, roll_back, step
from pipeline.promotion.progress_store import GROUP, progress_of
from pipeline.promotion.stop_rule import Arm, step_reasons
from pipeline.promotion.store import read_moves
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output, coloured

SEE: Final = "docs/models.md says what a promotion takes; `fraud models rollout status` shows how one goes."
MOVES_SHOWN: Final = 10


def promote_version(
    output: Output, settings: Settings, wire: WireFormat, by: Identity, version: str, reason: str
) -> None:
    with _at_the_desk(), connected(settings) as connection:
        outcome = promote(connection, desk_of(settings, wire), by, version, reason, terms_of(settings))
    _show(output, outcome, f"{version} is not promoted")


def step_on(output: Output, settings: Settings, wire: WireFormat, by: Identity, reason: str) -> None:
    with _at_the_desk(), connected(settings) as connection:
        outcome = step(connection, desk_of(settings, wire), by, reason, terms_of(settings))
    _show(output, outcome, "The share is not raised")


def go_back(output: Output, settings: Settings, wire: WireFormat, by: Identity, to: str | None, reason: str) -> None:
    """Put a version back, and tell of it, so that an incident is opened."""
    with _at_the_desk(), connected(settings) as connection:
        outcome = roll_back(connection, desk_of(settings, wire), by, to, reason)
    _show(output, outcome, "Nothing is rolled back")
    assert outcome.record is not None, "what is refused has ended"
    record = outcome.record
    words = {"version": record.version, "by": by.name, "reason": reason}
    raised = rolled_back_alert(model_scope(record.previous_version or "none"), record.sequence, words, record.at_ms)
    try:
        AlertPublisher(Appender.of(settings, GROUP).append, wire, settings.topic("alerts.v1")).publish([raised])
    except BrokerFailed as error:
        what = f"{record.version} decides again, but nobody could be told, and no incident is opened: {error}."
        raise Failure(what, "Tell on-call yourself.", FAILED_CHECK) from error


def show_status(output: Output, settings: Settings, wire: WireFormat, transaction_id: str | None) -> None:
    """Show how the alias stands, how a rollout goes, and which model the share chooses for a payment."""
    with _at_the_desk(), connected(settings) as connection:
        desk = reading_desk(settings, wire)
        seen = latest_seen(connection)
        standing = standpoint(desk.registry, desk.keys, seen)
        if standing.fault is not None or standing.latest is None:
            what = f"{(standing.fault or 'nothing names a champion')[:1].upper()}{(standing.fault or '')[1:]}."
            raise Failure(what, SEE, FAILED_CHECK)
        latest, limits = standing.latest, limits_of(settings)
        unwritten = latest.sequence - (0 if seen is None else seen.sequence)
        moves = read_moves(connection, MOVES_SHOWN)
        progress = progress_of(connection, standing.records, desk.frauds()) if is_shared(latest) else None
        now_ms = server_now_ms(connection)
    fields: dict[str, object] = {
        "sequence": latest.sequence,
        "version": latest.version,
        "champion": champion_of(latest),
        "share_ppm": latest.share_ppm,
        "since_ms": latest.at_ms,
        "moved_by": latest.by,
        "unrecorded_moves": unwritten,
        "moves": [{**each._asdict(), "event": str(each.event)} for each in moves],
    }
    lines = [_alias_line(latest)]
    if progress is not None:
        reasons = (
            ["The policy in force has no [promotion]."] if limits is None else step_reasons(progress, limits, now_ms)
        )
        fields |= {
            "candidate": progress.candidate._asdict(),
            "beside": progress.champion._asdict(),
            "next_share_ppm": None if limits is None else next_share_ppm(latest.share_ppm, limits),
            "against_the_next_share": reasons,
        }
        lines += [
            f"  {latest.version}: {_arm(progress.candidate)}",
            f"  {champion_of(latest)}: {_arm(progress.champion)}",
        ]
        lines += [f"  not yet: {reason}" for reason in reasons] or ["  ready for `fraud models rollout step`"]
    if unwritten:
        lines.append(f"  {unwritten} moves stand in the registry that nobody has written down; the next move does.")
    if transaction_id is not None:
        chosen = _chosen(latest, transaction_id)
        fields |= {"transaction": {"transaction_id": transaction_id, "version": chosen}}
        lines.append(f"  {transaction_id} is for {chosen}, unless the breaker has taken it out of the loop")
    lines += [f"  {each.sequence} {utc_text(each.at_ms)} {each.event} {each.version} {each.moved_by}" for each in moves]
    output.record(fields, lines[0])
    if not output.as_json:
        for line in lines[1:]:
            output.line(line)


def _chosen(record: AliasRecord, transaction_id: str) -> str:
    if not is_shared(record):
        return record.version
    sharing = Sharing(record.share_ppm, salt_key(record.salt))
    return record.version if sharing.chooses(transaction_id) else champion_of(record)


def _show(output: Output, outcome: Outcome, refused: str) -> None:
    """Show what came of it. Raises Failure for a refusal, after every reason was shown."""
    if outcome.record is not None:
        record = outcome.record
        fields = {name: value for name, value in record._asdict().items() if name not in ("salt", "signatures")}
        output.record(fields, _alias_line(record))
        return
    refusals = [{"reason": str(each.reason), "text": each.text} for each in outcome.refusals]
    output.record({"refusals": refusals}, coloured(f"{refused}:", "red"))
    if not output.as_json:
        for each in outcome.refusals:
            output.line(f"  {each.text}")
    raise Failure(f"{refused}, for {len(refusals)} reasons.", SEE, FAILED_CHECK)


def _alias_line(record: AliasRecord) -> str:
    if not is_shared(record):
        return f"{record.version} decides every payment (record {record.sequence}, by {record.by})"
    share = f"{record.share_ppm / PPM_A_PERCENT:g} %"
    return (
        f"{record.version} decides {share} of the payments, {champion_of(record)} the rest "
        f"(record {record.sequence}, by {record.by})"
    )


def _arm(arm: Arm) -> str:
    return (
        f"{count_text(arm.payments, 'payment')}, {arm.stopped:,} of them stopped; "
        f"{arm.frauds:,} labelled frauds, {arm.frauds_stopped:,} of them stopped"
    )


@contextmanager
def _at_the_desk() -> Iterator[None]:
    try:
        yield
    except ModelRefused as refusal:
        what = f"{str(refusal)[:1].upper()}{str(refusal)[1:]}."
        raise Failure(what, "`fraud models list` shows what the registry holds.") from refusal
