"""What it costs to check an audit log of a million rows before it goes on: at once, and everything.

The worker decides payments of the generator on the real stack; the same decisions, at one offset after the other, are
stored over and over by the audit log's own code, with a head in every partition every 20,000 records, published on
anchors.v1. Then the check is made as the service makes it when it starts, and as `fraud audit check` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from ops.bench.rig.database import prepare_database
from ops.bench.rig.deciding import decide
from ops.bench.rig.payments import payments
from ops.bench.rig.services import url_of
from ops.bench.rig.stored import Tail
from ops.stack.real import RealStack
from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.continuing.bounds import AT_ONCE, EVERYTHING, Bounds
from pipeline.audit.continuing.check_service import Continuation
from pipeline.audit.log_store import RECORDS_MAX, AuditLog
from pipeline.audit.service_command import continuation
from pipeline.domain.log import LogRecord, Outgoing
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.postgres import Connection, connect
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey, read_key_set

ROWS: Final = 1_000_000
DECIDED: Final = 2_000
PARTITIONS: Final = 4
ROWS_A_HEAD: Final = 20_000
TOPIC: Final = "decisions.v1"


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    count = ROWS // 50 if is_quick else ROWS
    with RealStack(folder / "stack", with_postgres=True) as stack:
        prepare_database(stack, folder)
        say(f"deciding {DECIDED:,} payments")
        decide(stack, folder, payments(WireFormat(), DECIDED), partitions=PARTITIONS)
        values = [found.value for found in Tail(stack.bootstrap_servers, TOPIC).news()]
        settings = Settings(
            bootstrap_servers=stack.bootstrap_servers,
            database_url=url_of(stack.database_url, "fraud_audit"),
            audit_directory=folder / "outside",
            audit_key_file=folder / "key",
        )
        wire = WireFormat()
        with connect(settings.database_url, "bench") as connection:
            log = AuditLog(TOPIC, settings.audit_directory, wire, lambda: time.time_ns() // 1000)
            log.open(connection, range(PARTITIONS))
            _write(say, connection, log, settings, wire, values, count)
            check = continuation(settings, wire)
            at_once = _checked(check, connection, log, AT_ONCE)
            everything = _checked(check, connection, log, EVERYTHING)
            log.close()
    return {"rows": count, "partitions": PARTITIONS, "at_once": at_once, "everything": everything}


def _write(
    say: Callable[[str], None],
    connection: Connection,
    log: AuditLog,
    settings: Settings,
    wire: WireFormat,
    values: list[bytes],
    count: int,
) -> None:
    appender = Appender.of(settings, "bench")
    key_set_path = Path(f"{settings.audit_key_file}.keys")
    assert settings.audit_key_file is not None, "the bench made one"
    anchors = Anchors(
        TOPIC,
        settings.audit_directory,
        SigningKey.from_file(settings.audit_key_file),
        partial(read_key_set, key_set_path),
        wire,
        lambda key, value: appender.append([Outgoing("anchors.v1", key, value)]),
    )
    anchors.begin(log.trees, {})
    stored = 0
    for records in _batches(values, count):
        log.store(connection, records)
        stored += len(records)
        if stored % ROWS_A_HEAD == 0:
            anchors.anchor(log.trees, now_ms())
        if stored % (count // 5) == 0:
            say(f"{stored:,} rows stored")


def _batches(values: list[bytes], count: int) -> Iterator[list[LogRecord[None]]]:
    for begin in range(0, count, RECORDS_MAX):
        yield [
            LogRecord(number % PARTITIONS, number // PARTITIONS, 0, b"", values[number % len(values)], None)
            for number in range(begin, min(begin + RECORDS_MAX, count))
        ]


def _checked(check: Continuation, connection: Connection, log: AuditLog, bounds: Bounds) -> dict[str, object]:
    process = psutil.Process()
    began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
    found = check.check(connection, log.trees, bounds, is_still=True)
    seconds, cpu_s = time.monotonic() - began, sum(process.cpu_times()[:2]) - cpu
    return {"seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2), **found.looked._asdict()}
