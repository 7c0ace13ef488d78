"""10,000 tamperings of the stored log by a superuser: the offline verifier finds and locates each, and invents none.

The worker decides payments of the generator on the real stack, reviews and reversals join them on the topic, and the
audit service stores and anchors all of it in 64 partitions. Then, again and again, SQL changes, deletes, exchanges,
inserts, moves or cuts off rows, with triggers switched off and in a transaction that is rolled back. It makes hashes,
links and positions fit where a careful forger would (ops/bench/audit/tamperings.py). The partitions that were touched
are read as an export writes them, and verified against the leaf files. A tampering is located if there is a finding at
every row that was touched, and at no other. Every 400 times the whole log is verified untouched. A few runs take the
whole way: a committed tampering, `fraud audit export`, and the verifier's own command. In others the forger also holds
the leaf files, then the signing key too, and the audit service is started on what they made (audit/insider.py).
The same is done to the ledger, reviews, grants and control (audit/tables.py).
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psycopg

from ops.bench.audit.insider import Reach, restarted
from ops.bench.audit.logged import SECONDS_MAX, publish_reviews_and_reversals, stored
from ops.bench.audit.tables import FORGERIES, are_signed, fill_tables, restarted_on_tables, tamper_tables
from ops.bench.audit.tamperings import LOG, TAMPERINGS, Forger, RowKey, Tampered
from ops.bench.rig.commands import completed, with_settings
from ops.bench.rig.database import prepare_database
from ops.bench.rig.deciding import decide
from ops.bench.rig.feeder import known_records
from ops.bench.rig.services import audit_process, witness_process
from ops.bench.rig.supervision import running
from ops.bench.rig.waiting import wait_until
from ops.stack.real import RealStack
from ops.verifier.columns import TABLES, Records
from ops.verifier.findings import Finding
from ops.verifier.leaves import read_leaves
from ops.verifier.rows import Partition, Placed, check_links, check_rows, partition_of
from pipeline.audit.leaf_files import leaf_path, partitions_of
from pipeline.audit.tables.streams import TABLES_LOG
from pipeline.audit.witness import statement_of, witnessed_of
from pipeline.io.avro.schema_files import schema_text

SEED: Final = 20_264
LOG_SEED: Final = 7
PAYMENTS: Final = 1_600
"""Number of payments; there are duplicates, conflicts and garbage among them, which end as dead letters."""
PARTITIONS: Final = 64
TAMPERED: Final = 10_000
WHOLE_WAYS: Final = 10
INSIDERS: Final = 30
UNTOUCHED_EVERY: Final = 400
TOPIC: Final = "decisions.v1"
_OFFLINE_S: Final = 600


class Log:
    """The stored log as the database holds it in the current transaction, and the leaf files outside it."""

    def __init__(self, connection: psycopg.Connection[Any], outside: Path) -> None:
        self._connection = connection
        self._records = Records(schema_text("decision.v1"))
        self.partitions: dict[int, Partition] = {
            number: partition_of(number, read_leaves(leaf_path(outside, TOPIC, number)))
            for number in partitions_of(outside, TOPIC)
        }

    def keys(self) -> dict[int, list[RowKey]]:
        """Return the key of every row by partition, in the order of the topic."""
        found: dict[int, list[RowKey]] = {number: [] for number in self.partitions}
        for table in TABLES:
            query = f"SELECT topic_partition, topic_offset FROM audit.{table}"
            for partition, offset in self._connection.execute(query.encode()).fetchall():
                found[partition].append(RowKey(table, partition, offset))
        return {number: sorted(keys, key=lambda row: row.offset) for number, keys in found.items() if keys}

    def findings(self, numbers: Sequence[int]) -> list[Finding]:
        found = []
        for number in numbers:
            rows = [placed for table in TABLES for placed in self._rows(table, number)]
            links = [placed.row for placed in self._rows("chain_link", number)]
            found += check_rows(self.partitions[number], rows, self._records)
            found += check_links(self.partitions[number], links, len(rows))
        return found

    def _rows(self, table: str, number: int) -> list[Placed]:
        """Return the rows as an export writes them and the verifier reads them."""
        query = f"SELECT row_to_json(logged)::text FROM audit.{table} AS logged WHERE topic_partition = %s"
        lines = self._connection.execute(query.encode(), [number]).fetchall()
        return [Placed(table, json.loads(line, parse_float=str)) for (line,) in lines]


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    share = 20 if is_quick else 1
    with RealStack(folder / "stack", with_postgres=True) as stack:
        prepare_database(stack, folder)
        fill_tables(stack.database_url)
        records = _write_log(say, stack, folder)
        with psycopg.connect(stack.database_url) as connection:
            _become_superuser(connection)
            tampered = _tamper_all(say, Log(connection, folder / "outside"), connection, TAMPERED // share)
        whole = _whole_ways(say, stack, folder, max(WHOLE_WAYS // share, 1))
        insider = _insiders(say, stack, folder, max(INSIDERS // share, len(Reach)))
        tables = tamper_tables(say, stack.database_url, folder / "outside", FORGERIES // share)
        reaches = list(Reach) * (1 if is_quick else INSIDERS // len(Reach))
        on_tables = restarted_on_tables(say, stack, folder, reaches, partial(_findings, stack, folder))
    is_located = tampered["not_located"] == 0 and tampered["untouched_findings"] == 0
    is_sound = all((is_located, whole["ok"], insider["ok"], tables["ok"], on_tables["ok"]))
    told = {**tampered, "whole_ways": whole, "insiders": insider, "tables": tables, "tables_restarted": on_tables}
    return {"ok": is_sound, "records": records, "partitions": PARTITIONS, **told}


def _write_log(say: Callable[[str], None], stack: RealStack, directory: Path) -> int:
    say(f"deciding {PAYMENTS:,} payments, storing and anchoring what comes of them")
    decide(stack, directory, islice(known_records(LOG_SEED), PAYMENTS), partitions=PARTITIONS)
    records = publish_reviews_and_reversals(stack)
    service = audit_process(stack, directory, {"FRAUD_AUDIT_ANCHOR_INTERVAL_S": "2"})
    witness = witness_process(stack, directory)
    with running(service), running(witness):
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            wait_until(lambda: stored(connection) >= records, SECONDS_MAX, f"storing {records} records")
            sizes = connection.execute(
                "SELECT topic_partition, max(tree_size) FROM audit.chain_link GROUP BY 1"
            ).fetchall()
        outside = directory / "outside"
        wait_until(lambda: are_signed(outside, stack.database_url), SECONDS_MAX, "anchoring every row of the tables")
        heads = outside / "heads"
        wanted = {(TOPIC, *each) for each in sizes}
        wait_until(lambda: _signed(heads, TOPIC) == wanted, SECONDS_MAX, "anchoring every record")
        every = (TOPIC, TABLES_LOG)
        wait_until(lambda: _witnessed(directory) == _signed(heads, *every), SECONDS_MAX, "witnessing every head")
    return records


def _signed(heads: Path, *topics: str) -> set[tuple[str, int, int]]:
    """Return topic, partition and size of the latest head of each partition."""
    folders = [(topic, each) for topic in topics for each in heads.glob(f"{topic}-*")]
    sizes = {(topic, each): [int(path.stem) for path in each.glob("[0-9]*.json")] for topic, each in folders}
    return {(topic, int(each.name[-4:]), max(found)) for (topic, each), found in sizes.items() if found}


def _witnessed(directory: Path) -> set[tuple[str, int, int]]:
    """Return topic, partition and size of the heads in the witness's last statement."""
    path = directory / "witness" / "statements.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    if not lines:
        return set()
    return {
        (seen.topic, seen.partition, seen.tree_size) for seen in statement_of(witnessed_of(lines[-1]).statement).heads
    }


def _insiders(say: Callable[[str], None], stack: RealStack, directory: Path, wanted: int) -> dict[str, Any]:
    def guarded(connection: psycopg.Connection[Any]) -> Callable[[], None]:
        _back_up(connection)
        return lambda: _put_back(connection)

    def keys_of(connection: psycopg.Connection[Any]) -> dict[int, list[RowKey]]:
        return Log(connection, directory / "outside").keys()

    return restarted(say, stack, directory, wanted, keys_of, partial(_places_found, stack, directory), guarded)


def _places_found(stack: RealStack, directory: Path, name: str) -> set[tuple[int, int | None]]:
    """Return the places of the verifier's findings that are about a partition."""
    return {(partition, offset) for partition, offset in _verified(stack, directory, name) if partition is not None}


def _become_superuser(connection: psycopg.Connection[Any]) -> None:
    """Bypass every trigger, and add an index for this bench alone, so that one partition is read without the others."""
    connection.execute("SET session_replication_role = replica")
    connection.execute(f"CREATE INDEX tamper_bench ON audit.{LOG} (topic_partition, topic_offset)".encode())
    connection.commit()


def _tamper_all(
    say: Callable[[str], None], log: Log, connection: psycopg.Connection[Any], wanted: int
) -> dict[str, Any]:
    chance = random.Random(SEED)  # noqa: S311 - which rows are tampered with is no secret
    forger = Forger(connection, log.keys(), chance)
    by_kind: Counter[str] = Counter()
    rows, failed, untouched_findings, untouched_checks = 0, [], 0, 0
    for number in range(wanted):
        if number % UNTOUCHED_EVERY == 0:
            untouched_findings += len(log.findings(list(log.partitions)))
            untouched_checks += len(log.partitions)
        act = TAMPERINGS[number % len(TAMPERINGS)]
        tampered = act(forger)
        findings = log.findings(sorted(tampered.partitions))
        connection.rollback()
        by_kind[act.__name__] += 1
        rows += len(tampered.rows)
        if not _is_located(tampered, findings):
            failed.append(f"{act.__name__} of {sorted(tampered.rows)[:3]}: {findings[:3]}")
            say(f"NOT LOCATED: {failed[-1]}")
        if (number + 1) % (wanted // 10) == 0:
            say(f"{number + 1:,} tamperings, {len(failed)} not located")
    return {
        "tamperings": wanted,
        "not_located": len(failed),
        "first_not_located": failed[:3],
        "rows_touched_and_located": rows,
        "by_kind": dict(by_kind),
        "untouched_partitions_verified": untouched_checks,
        "untouched_findings": untouched_findings,
    }


def _is_located(tampered: Tampered, findings: Sequence[Finding]) -> bool:
    """Return whether there is a finding at every row that was touched and at no other.

    Where only links were touched, one finding is enough.
    """
    found = {(finding.partition, finding.offset) for finding in findings if finding.offset is not None}
    return found == tampered.rows and bool(findings)


def _whole_ways(say: Callable[[str], None], stack: RealStack, directory: Path, wanted: int) -> dict[str, Any]:
    """Commit a tampering, export by the command, verify by the verifier alone, and put the rows back."""
    chance = random.Random(SEED + 1)  # noqa: S311 - as above
    is_sound_told = _verified(stack, directory, "untouched") == set()
    located = 0
    for number in range(wanted):
        act = TAMPERINGS[chance.randrange(len(TAMPERINGS))]
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("SET session_replication_role = replica")
            _back_up(connection)
            log = Log(connection, directory / "outside")
            tampered = act(Forger(connection, log.keys(), chance))
            connection.commit()
            found = _verified(stack, directory, f"tampered-{number}")
            located += found == tampered.rows if tampered.rows else None in {offset for _, offset in found}
            _put_back(connection)
        say(f"the whole way with {act.__name__}: {located} of {number + 1} located")
    ends_sound = _verified(stack, directory, "put-back") == set()
    ok = is_sound_told and located == wanted and ends_sound
    return {"ok": ok, "tamperings": wanted, "located": located, "untouched_accused": not (is_sound_told and ends_sound)}


_BACKED_UP: Final = ("audit.ai_decision_log", "audit.reversal_log", "audit.review_log", "audit.chain_link",
                     "control.consumer_position")  # fmt: skip


def _back_up(connection: psycopg.Connection[Any]) -> None:
    for table in _BACKED_UP:
        copy = table.replace(".", "_")
        connection.execute(f"CREATE TEMPORARY TABLE {copy} AS SELECT * FROM {table}".encode())


def _put_back(connection: psycopg.Connection[Any]) -> None:
    for table in _BACKED_UP:
        connection.execute(f"DELETE FROM {table}".encode())
        connection.execute(f"INSERT INTO {table} SELECT * FROM {table.replace('.', '_')}".encode())
    connection.commit()


def _verified(stack: RealStack, directory: Path, name: str) -> set[tuple[int, int | None]]:
    """Return the positions of the verifier's findings."""
    found = {(finding["partition"], finding["offset"]) for finding in _findings(stack, directory, name)}
    return {(partition, offset) for partition, offset in found if offset is not None} or found


def _findings(stack: RealStack, directory: Path, name: str) -> list[dict[str, Any]]:
    """Run the verifier as an auditor would, from a copy of its folder; return its findings."""
    out = directory / name
    environment = {
        "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "FRAUD_DATABASE_URL": stack.database_url,
        "FRAUD_AUDIT_DIRECTORY": str(directory / "outside"),
    }
    export, log_path = [sys.executable, "-m", "ops.cli", "audit", "export", str(out)], directory / "audit-export.log"
    _call(export, log_path, with_settings(environment), {0})
    alone = directory / "alone"
    if not alone.exists():
        shutil.copytree(Path(__file__).parents[2] / "verifier", alone / "verifier")
    command = [sys.executable, "-m", "verifier", "log", str(out), "--keys", str(directory / "key.keys"), "--json"]
    command += ["--max-age", "any", "--witness", str(directory / "witness" / "statements.jsonl")]
    report = json.loads(_call([*command, "--all"], directory / "verifier.log", None, {0, 1}, folder=alone))
    shutil.rmtree(out)
    return list(report["findings"])


def _call(
    command: list[str],
    log_path: Path,
    environment: Mapping[str, str] | None,
    expected: set[int],
    folder: Path | None = None,
) -> str:
    done = completed(command, log_path, timeout_s=_OFFLINE_S, environment=environment, folder=folder)
    assert done.returncode in expected, f"{command} ended with {done.returncode}: {done.stderr}"
    return done.stdout
