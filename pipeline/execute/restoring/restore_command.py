"""`fraud executor restore`: a ledger that was put back from a backup, brought up to date with the rail."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from functools import partial
from typing import Final

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.free_text import reason_fault, tidied
from pipeline.domain.log import RecordUndecodable
from pipeline.domain.money import count_text
from pipeline.execute.audit_wait_service import AuditBehind, AuditWait
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.rail_client import RailSilent
from pipeline.execute.restoring.restore_service import Desk, RailDiffers, Restore, Restored
from pipeline.execute.restoring.stretch_topics import PassingOver, PositionAhead, Stretch
from pipeline.execute.restoring.told_topics import Told
from pipeline.execute.service_command import notices_of, rail_of
from pipeline.io import logs
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import service_connection
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, PositionMoved
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySetRefused
from pipeline.quarantine.put_aside_store import is_put_aside
from pipeline.seals.passed_over_store import PassedOver
from pipeline.seals.seal_files import EXECUTIONS, execution_proves, seal_check
from pipeline.terminal.failures import Failure, database_away
from pipeline.terminal.output import Output, coloured

GROUP: Final = "fraud-executor-restore"
REASON_CHARACTERS_MIN: Final = 10
SHOWN_MAX: Final = 20


def restore(settings: Settings, wire: WireFormat, reason: str, since: datetime | None, output: Output) -> bool:
    """Bring the ledger up to date. False where the rail has done what no record leads to."""
    if (fault := reason_fault(reason, characters_min=REASON_CHARACTERS_MIN)) is not None:
        raise Failure(f"The reason {fault}.", "Say why the database was put back.")
    logs.configure(settings.log_level)
    try:
        with closing(service_connection(settings.database_url, "fraud-executor")) as connection:
            found = _restored(settings, wire, connection, tidied(reason), since, output)
    except DatabaseUnavailable as error:
        raise database_away(settings.database_url) from error
    except PositionMoved as error:
        raise Failure("An executor executes meanwhile.", "Stop all executors, and run this again.") from error
    except _EXPECTED as error:
        raise Failure(f"The ledger was not brought up to date: {error}.", _REMEDIES[type(error)]) from error
    show(output, found)
    return not found.leftovers


_REMEDIES: Final[dict[type[Exception], str]] = {
    DatabaseRefused: "Was `fraud database migrate` run, and are you fraud_executor?",
    RailSilent: "See whether the rail answers, and run this again: it goes on where it stopped.",
    RailDiffers: "Nothing was paid. Ask the rail what it has there, and take its statement in.",
    AuditBehind: "Start the audit service, and run this again once it has come to the end of decisions.v1.",
    PositionAhead: "Put the database back to a time before the copy of the topics was taken.",
    RecordUndecodable: "Put the record aside (`fraud quarantine`), and run this again.",
    KeySetRefused: "Give this command the key set that the executors have, and run it again.",
}
_EXPECTED: Final = tuple(_REMEDIES)


def show(output: Output, found: Restored) -> None:
    for each in found.leftovers[:SHOWN_MAX]:
        name, step, number = each.attempt
        fields = {"execution_id": name, "step": step, "attempt": number, "amount_minor": each.amount_minor}
        line = f"{coloured('LEFT OVER', 'red', is_bold=True)} {name}: the rail carried out {step} {number}"
        output.record({"left_over": fields}, line)
    counts = found.counts
    line = (
        f"The ledger has caught up and is in life {found.life}: {count_text(counts['records'], 'record')} heard,"
        f" {count_text(counts['transfers_paid'], 'payment')} and {count_text(counts['recalls_known'], 'recall')}"
        f" as the rail has them,"
        f" {counts['left_over']:,} left over. Start the executors."
    )
    output.record({"life": found.life, **counts}, line)


def _restored(
    settings: Settings, wire: WireFormat, connection: Connection, reason: str, since: datetime | None, output: Output
) -> Restored:
    topic = settings.topic("decisions.v1")
    ledger, appender = Ledger(), Appender.of(settings, GROUP)
    ledger.prepare(connection)
    notices = notices_of(settings, appender, wire)
    audit = AuditWait(notices, topic)
    alerts = AlertPublisher(appender.append, wire, settings.topic("alerts.v1"))
    passing_over = PassingOver(
        seal_check(settings).unproved,
        partial(PassedOver("executor", topic, alerts.publish).note, connection),
        partial(audit.put_aside, connection),
        partial(is_put_aside, connection, topic),
    )
    with (
        closing(rail_of(settings)) as rail,
        LogReader(
            settings.bootstrap_servers, GROUP, settings.kafka_options, proves=execution_proves(settings)
        ) as reader,
    ):
        told = Told(reader, wire, settings.topic(EXECUTIONS))
        desk = Desk(ledger, rail, notices, topic, settings.rail_keeps_keys_hours * 3600, told.latest, audit)
        stretch = Stretch(reader, wire, topic, passing_over)
        return Restore(connection, desk, stretch, since).run(reason, output.note)
