"""Forgeries by somebody who holds more than the database: the folder of leaf files, and the key that signs heads.

Each makes all that it can reach agree with the forged row, and the audit service is started on it. It must refuse, and
again at the next start; the offline verifier must name the partition by what stands outside. Then everything is put
back, and the service must go on.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg

from ops.bench.audit.tamperings import Forger, chain_anew, flip_record, rows_of
from ops.bench.rig.services import audit_process
from ops.bench.rig.supervision import running
from ops.bench.rig.waiting import wait_until
from ops.stack.real import RealStack
from pipeline.audit.chain import Entry, Tree, entry_bytes, grown, leaf_hash
from pipeline.audit.head import SignedHead, next_head, signed_text
from pipeline.audit.leaf_files import head_folder, head_paths, leaf_path, read_head, write_head
from pipeline.keys.key_files import SigningKey

TOPIC: Final = "decisions.v1"
REFUSAL_S: Final = 180.0


class Reach(StrEnum):
    """What the forger holds beside the database, each with what the one before has."""

    DATABASE = "database"
    LEAVES = "database and leaf files"
    SIGNING_KEY = "database, leaf files, heads and the signing key"


def forge(forger: Forger, outside: Path, key: SigningKey, reach: Reach) -> int:
    """Change one record that is under a head, and make what is within reach agree; return its partition."""
    (partition,) = flip_record(forger).partitions
    chain_anew(forger, partition)
    forger.connection.commit()
    if reach is not Reach.DATABASE:
        entries = [
            Entry(o, at_us, leaf_hash(partition, o, times, r)) for o, _, at_us, r, times in rows_of(forger, partition)
        ]
        leaf_path(outside, TOPIC, partition).write_bytes(b"".join(map(entry_bytes, entries)))
        if reach is Reach.SIGNING_KEY:
            _sign_anew(outside, partition, entries, key)
    return partition


def refused_at_starts(stack: RealStack, directory: Path, starts: int) -> list[str]:
    """Start the audit service so many times; return why it refused each time."""
    log_path, why = directory / "audit.log", []
    for _ in range(starts):
        before = len(_logged(log_path, "audit_refuses"))
        with running(audit_process(stack, directory, {"FRAUD_AUDIT_ANCHOR_INTERVAL_S": "2"})):
            wait_until(partial(_has_more, log_path, "audit_refuses", before), REFUSAL_S, "the audit service's refusal")
        why.append(str(_logged(log_path, "audit_refuses")[-1]["why"]))
    return why


def goes_on(stack: RealStack, directory: Path, event: str = "audit_continued") -> bool:
    """Start the audit service; return whether it continues the log that was put back. event: says that it did."""
    log_path = directory / "audit.log"
    before = len(_logged(log_path, event))
    refused = len(_logged(log_path, "audit_refuses"))
    with running(audit_process(stack, directory, {"FRAUD_AUDIT_ANCHOR_INTERVAL_S": "2"})):
        wait_until(lambda: len(_logged(log_path, event)) > before, REFUSAL_S, "going on")
    return len(_logged(log_path, "audit_refuses")) == refused


def restarted(
    say: Callable[[str], None],
    stack: RealStack,
    directory: Path,
    rounds: int,
    keys_of: Callable[[psycopg.Connection[Any]], Mapping[int, Any]],
    verified: Callable[[str], set[tuple[int, int | None]]],
    guarded: Callable[[psycopg.Connection[Any]], Callable[[], None]],
) -> dict[str, Any]:
    """Forge with every reach in turn. keys_of: the rows by partition. verified: the verifier's findings, by an export
    of that name. guarded: backs the tables up and returns what puts them back."""
    chance, outside = random.Random(rounds), directory / "outside"  # noqa: S311 - which row is no secret
    key, kept = SigningKey.from_file(directory / "key"), directory / "outside-kept"
    shutil.copytree(outside, kept)
    by_reach: dict[str, int] = dict.fromkeys(Reach, 0)
    failed: list[str] = []
    for number in range(rounds):
        reach = list(Reach)[number % len(Reach)]
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("SET session_replication_role = replica")
            put_back = guarded(connection)
            partition = forge(Forger(connection, keys_of(connection), chance), outside, key, reach)
            why = refused_at_starts(stack, directory, 2)
            found = {place for place, _ in verified(f"insider-{number}")}
            put_back()
        shutil.rmtree(outside)
        shutil.copytree(kept, outside)
        is_found = len(why) == 2 and why[0] == why[1] and found == {partition}
        by_reach[reach] += is_found
        if not (is_found and goes_on(stack, directory)):
            failed.append(f"{reach}, partition {partition}: {why}, {sorted(found)}")
        say(f"the service restarted on a forgery with {reach}: {why[0]}")
    return {"ok": not failed, "forgeries": rounds, "refused_and_located": by_reach, "failed": failed[:3]}


def _sign_anew(outside: Path, partition: int, entries: list[Entry], key: SigningKey) -> None:
    old = [read_head(path).head for path in head_paths(outside, TOPIC, partition)]
    shutil.rmtree(head_folder(outside, TOPIC, partition))
    tree, before = Tree(), None
    for head in old:
        first = entries[tree.size].offset
        tree = grown(tree, entries[tree.size : head.tree_size])
        before = next_head(TOPIC, partition, tree, first, before, head.anchored_at_ms)
        write_head(outside, SignedHead(before, tree.frontier, key.key_id, key.sign(signed_text(before))))


def _has_more(path: Path, event: str, before: int) -> bool:
    return len(_logged(path, event)) > before


def _logged(path: Path, event: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]
