"""An audit log with its topics on a broker, a witness, and the forger that a superuser with the folder is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from confluent_kafka import Producer

from ops.stack.topics import create_topics
from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.chain import CHAIN_START, Entry, Times, Tree, chain_hash, chained, entry_bytes, leaf_hash
from pipeline.audit.continuing.bounds import AT_ONCE, Bounds
from pipeline.audit.continuing.check_service import Continuation, Continued
from pipeline.audit.continuing.outside_topics import OutsideLog, Topics
from pipeline.audit.continuing.source_topics import SourceTopic
from pipeline.audit.head import SignedHead, next_head, signed_text
from pipeline.audit.leaf_files import (
    head_folder,
    head_paths,
    latest_head,
    leaf_path,
    read_entries,
    read_head,
    write_head,
)
from pipeline.audit.witness import Statement, next_statement, seen_head, statement_text
from pipeline.domain.anchor import Witnessed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.keys.key_files import SigningKey, create_signing_key, replace_key_set
from pipeline.keys.key_sets import KeyUse, with_key
from tests.audit.logs import TOPIC, WIRE, Bench
from tests.records import NOON_MS
from tests.servers import unused_prefix

MINUTE_MS = 60_000


class Continuing:
    """The log of a bench, continued as the service continues it; decisions.v1 is read from the bench's own records."""

    def __init__(self, bench: Bench, servers: str) -> None:
        self.bench, self.prefix = bench, unused_prefix()
        create_topics(servers, prefix=self.prefix)
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 2})
        self.reader = LogReader(servers, f"{self.prefix}check", {})
        self.witness_key = create_signing_key(bench.folder / "witness", KeyUse.WITNESS, with_set=False)
        replace_key_set(bench.key_set_path, with_key(bench.keys(), KeyUse.WITNESS, self.witness_key.public, 0))
        self.statement: Statement | None = None
        self.key: SigningKey = bench.key

    def check(self, bounds: Bounds = AT_ONCE, *, is_still: bool = True, may_be_ahead: bool = False) -> Continued:
        trees = self.bench.log.trees
        return self.continuation().check(
            self.bench.connection, trees, bounds, is_still=is_still, may_be_ahead=may_be_ahead
        )

    def continuation(self, rest: Callable[[], None] = lambda: None) -> Continuation:
        topics = Topics(self.prefix + "anchors.v1", self.prefix + "witness.v1")
        source = SourceTopic(self.reader, self.prefix + TOPIC)
        outside = OutsideLog(self.reader, WIRE, topics)
        return Continuation(TOPIC, self.bench.outside, self.bench.keys, outside, source, rest)

    def send(
        self, topic: str, value: bytes, key: bytes = b"witness", partition: int | None = None, at_ms: int | None = None
    ) -> None:
        """Append a record. at_ms: its broker time, the present one by default."""
        where = {} if partition is None else {"partition": partition}
        where |= {} if at_ms is None else {"timestamp": at_ms}
        self._producer.produce(self.prefix + topic, value, key, **where)
        assert self._producer.flush(120) == 0

    def anchor(self, at_ms: int = NOON_MS) -> None:
        def publish(key: bytes, value: bytes) -> None:
            self.send("anchors.v1", value, key)

        anchors = Anchors(TOPIC, self.bench.outside, self.key, self.bench.keys, WIRE, publish)
        anchors.begin(self.bench.log.trees, self.check().outside.published)
        anchors.anchor(self.bench.log.trees, at_ms)

    def witness(self, at_ms: int = NOON_MS + MINUTE_MS, key: SigningKey | None = None) -> None:
        heads = [latest_head(self.bench.outside, TOPIC, p, tree.size) for p, tree in self.bench.log.trees.items()]
        seen = [seen_head(signed.head) for signed in heads if signed is not None]
        self.statement = next_statement(self.statement, seen, at_ms)
        text = statement_text(self.statement)
        by = key or self.witness_key
        self.send("witness.v1", WIRE.encode(Witnessed(text, by.key_id, by.sign(text.encode()), None)))

    def close(self) -> None:
        self.reader.close()


def forge_leaves(bench: Bench, partition: int) -> None:
    """Make the leaf file anew from the rows as they are now, and the hashes in the rows and links with it."""
    rows = sorted(
        (int(str(offset)), table, int(str(at_us)), bytes(record), Times(*map(int, map(str, times))))  # type: ignore[call-overload]
        for table in ("ai_decision_log", "reversal_log", "review_log")
        for offset, at_us, record, *times in bench.rows(
            f"SELECT topic_offset, (extract(epoch FROM recorded_at) * 1000000)::bigint, record, "
            "(extract(epoch FROM logged_at) * 1000)::bigint, (extract(epoch FROM filed_at) * 1000)::bigint "
            f"FROM audit.{table} "
            f"WHERE topic_partition = {partition}"
        )
    )
    chain, entries = CHAIN_START, []
    for offset, table, at_us, record, times in rows:
        entry = Entry(offset, at_us, leaf_hash(partition, offset, times, record))
        entries.append(entry)
        chain = chain_hash(chain, entry_bytes(entry))
        bench.as_superuser(
            f"UPDATE audit.{table} SET leaf_hash = '\\x{entry.leaf.hex()}', chain_hash = '\\x{chain.hex()}' "
            f"WHERE topic_partition = {partition} AND topic_offset = {offset}"
        )
    bench.as_superuser(f"DELETE FROM audit.chain_link WHERE topic_partition = {partition}")
    bench.as_superuser(
        f"INSERT INTO audit.chain_link VALUES ({partition}, {len(rows)}, {rows[-1][0]}, '\\x{chain.hex()}', now())"
    )
    bench.as_superuser(
        f"UPDATE control.consumer_position SET next_offset = {rows[-1][0] + 1} "
        f"WHERE consumer = 'audit' AND partition = {partition}"
    )
    leaf_path(bench.outside, TOPIC, partition).write_bytes(b"".join(map(entry_bytes, entries)))


def forge_heads(bench: Bench, partition: int, key: SigningKey) -> list[SignedHead]:
    """Sign heads anew over the forged leaf file, at the times and, as far as it goes, the sizes of those that stood."""
    old = [read_head(path) for path in head_paths(bench.outside, TOPIC, partition)]
    shutil.rmtree(head_folder(bench.outside, TOPIC, partition))
    entries = list(read_entries(leaf_path(bench.outside, TOPIC, partition)))
    return sign_heads(bench.outside, partition, entries, [(s.head.tree_size, s.head.anchored_at_ms) for s in old], key)


def sign_heads(
    outside: Path, partition: int, entries: Sequence[Entry], sizes: Sequence[tuple[int, int]], key: SigningKey
) -> list[SignedHead]:
    tree, heads = Tree(), []
    for wanted, at_ms in sizes:
        size = min(wanted, len(entries))
        if size <= tree.size:
            continue
        first = entries[tree.size].offset
        tree = chained(tree, entries[tree.size : size])[1]
        head = next_head(TOPIC, partition, tree, first, heads[-1].head if heads else None, at_ms)
        heads.append(SignedHead(head, tree.frontier, key.key_id, key.sign(signed_text(head))))
        write_head(outside, heads[-1])
    return heads
