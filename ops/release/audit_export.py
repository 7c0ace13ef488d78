"""An audit log of records, signed, and its export: as the audit service and `fraud audit export` make them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops.migrations.migrate import migrate
from ops.processes.servers import free_port
from ops.release.decided import PARTITIONS, Written
from ops.stack.postgres import bundled_folder, postgres_server, postgres_url
from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.export_files import Logs, Published, export
from pipeline.audit.head import Head, file_text
from pipeline.audit.leaf_files import head_paths, read_head
from pipeline.audit.log_store import AuditLog
from pipeline.audit.outside_command import schemas_of
from pipeline.audit.witness import next_statement, seen_head, statement_line, statement_text
from pipeline.domain.anchor import Witnessed
from pipeline.domain.log import LogRecord
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import connect
from pipeline.keys.key_files import SigningKey
from pipeline.keys.key_sets import KeySet, KeyUse, key_set_text, with_key

TOPIC: Final = "decisions.v1"
KEYS: Final = "audit.keys"
_SECRETS: Final = {use: hashlib.sha256(f"a key of nobody's, for {use}".encode()).digest() for use in KeyUse}
_RECORDED_AFTER_US: Final = 500_000


def write_export(records: Sequence[Written], out: Path, work: Path) -> None:
    """Into the new folder `out`, whose key set is KEYS; a PostgreSQL server of its own is started in `work`.

    The key is no secret: a promise shows what is read, and proves nothing about who wrote it.
    """
    keys = KeySet({})
    for use in (KeyUse.AUDIT, KeyUse.WITNESS):
        keys = with_key(keys, use, _key(use).public, 0)
    port = free_port()
    server = postgres_server(bundled_folder(), work / "postgres", port, settings={"fsync": "off"})
    server.start()
    try:
        url = postgres_url(port)
        migrate(url)
        _write(records, out, work / "outside", url, keys)
    finally:
        server.stop()
    (out / KEYS).write_text(key_set_text(keys), encoding="utf-8")


def _write(records: Sequence[Written], out: Path, outside: Path, url: str, keys: KeySet) -> None:
    wire, last_ms = WireFormat(), max(record.timestamp_ms for record in records)
    clock_us = _clock(last_ms * 1000 + _RECORDED_AFTER_US)
    log = AuditLog(TOPIC, outside, wire, clock_us)
    anchors = Anchors(TOPIC, outside, _key(KeyUse.AUDIT), lambda: keys, wire, lambda _key, _value: None)
    with connect(url, "promise") as connection:
        log.open(connection, range(PARTITIONS))
        anchors.begin(log.trees, {})
        middle = len(records) // 2
        for part in (records[:middle], records[middle:]):
            log.store(connection, [_log_record(each) for each in part])
            anchors.anchor(log.trees, clock_us() // 1000)
        log.close()
        by_partition = [[read_head(p) for p in head_paths(outside, TOPIC, each)] for each in range(PARTITIONS)]
        seen = _statement([signed[-1].head for signed in by_partition], clock_us() // 1000)
        published = Published([file_text(each) for signed in by_partition for each in signed], [seen])
        export(connection, outside, Logs(TOPIC, None), schemas_of(wire), published, out)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    manifest["exported_at_ms"] = clock_us() // 1000  # nobody signs it, and a promise is the same whenever it is made
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _key(use: KeyUse) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(_SECRETS[use]))


def _statement(heads: Sequence[Head], at_ms: int) -> str:
    """A witness's word that it has seen these heads."""
    text = statement_text(next_statement(None, map(seen_head, heads), at_ms))
    key = _key(KeyUse.WITNESS)
    return statement_line(Witnessed(text, key.key_id, key.sign(text.encode()), None))


def _clock(start_us: int) -> Callable[[], int]:
    told = [start_us]

    def clock_us() -> int:
        told[0] += 1_000
        return told[0]

    return clock_us


def _log_record(record: Written) -> LogRecord[None]:
    return LogRecord(record.partition, record.offset, record.timestamp_ms, record.key, record.value, None)
