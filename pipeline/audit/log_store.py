"""decisions.v1 into the audit tables: rows, chain and position in one transaction, leaves outside the database first.

Invariants
1. Every record is stored once, in the order of its offset: the position moves by compare-and-set in the transaction
   that stores the rows.
2. A row's leaf is on disk, outside the database, before the row is committed. So after a crash the leaf file may be
   ahead, never behind; records are read again and must then give the leaves that are there, and keep their times.
3. What the database says of a partition's log (size, last offset, chain) must be what the files give, or nothing more
   is stored. A leaf file that is further ahead than one batch, or signed, was not left so by a crash: only a log that
   is told to refill the database, after that was restored from a backup, reads those records again.
4. Nothing is passed over: a record that can't be stored stops the log, named, after all before it were stored. If two
   people have put it aside, it is stored as that: its leaf and its row say so, and what is behind it goes on. So is a
   record of which it isn't proved who wrote it, by rule: it stays in evidence, and nobody takes it for a decision.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.audit.chain import Entry, Times, Tree, aside_leaf_hash, chained, grown, leaf_hash
from pipeline.audit.leaf_files import LeafFile, head_paths, latest_head
from pipeline.audit.rows import COPY_END, COPY_START, TABLES, Kind, Proof, kind_of, row_of
from pipeline.domain.decision import Decision
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord, Unproved
from pipeline.domain.refusals import Refusal
from pipeline.domain.times import claim_ms
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import UNFILED_MS, Filing
from pipeline.io.postgres import Connection, DatabaseRefused, Positions, failures_named, statements
from pipeline.io.quarantine import FIX, PASSED_OVER
from pipeline.quarantine.put_aside_store import places_put_aside, statement_of

CONSUMER: Final = "audit"
RECORDS_MAX: Final = 4_000
"""A batch: about 6 MB of records; beyond some hundreds a transaction's cost no longer shows."""
ROWS_A_WRITE: Final = 64
"""About 200 KB: the server works on what it has while the next records are decoded."""
ENTRIES_A_READ: Final = 65_536
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AuditBroken(Exception):
    """The database and the files outside it contradict each other: somebody or something has changed one of them."""


class RecordRefused(Exception):
    """A record that the audit tables will not hold; the log stands before it. Named by its place only (I10)."""


class _AsideAhead(Exception):
    """The leaf file has the next record of a partition as one that was put aside."""

    def __init__(self, record: LogRecord[None]) -> None:
        super().__init__(record.partition, record.offset)
        self.record = record


class Link(NamedTuple):
    """The end of a partition's log after a batch, and when its last record was recorded."""

    tree: Tree
    recorded_at_us: int


class Stored(NamedTuple):
    records: int
    by_kind: Mapping[str, int]


class AuditLog:
    """For one thread. `clock_us`: microseconds since 1970, for `recorded_at`."""

    def __init__(
        self, topic: str, directory: Path, wire: WireFormat, clock_us: Callable[[], int], *, is_refill: bool = False
    ) -> None:
        self._is_refill = is_refill
        self._topic, self._directory, self._wire, self._clock_us = topic, directory, wire, clock_us
        self._positions = Positions(CONSUMER, topic)
        self._statements = statements("pipeline.audit", "audit")
        self._trees: dict[int, Tree] = {}  # as committed
        self._files: dict[int, LeafFile] = {}
        self._aside: set[tuple[int, int]] = set()  # partition and offset, as of `open`
        self._filings = {table: Filing(table) for table in TABLES}

    @property
    def trees(self) -> Mapping[int, Tree]:
        """The committed tree of each partition that this process holds."""
        return dict(self._trees)

    def open(self, connection: Connection, partitions: Iterable[int]) -> dict[int, int]:
        """Takes over `partitions` and leaves all others; returns where to read on.

        Raises AuditBroken, LeafFileBusy, HeadRefused, DatabaseUnavailable.
        """
        self.close()
        wanted = sorted(partitions)
        with failures_named(), connection.transaction():
            positions = self._positions.read(connection, wanted)
            links = last_links(connection, wanted)
        self._aside = places_put_aside(connection, self._topic)
        for partition in wanted:
            self._files[partition] = LeafFile(self._directory, self._topic, partition)
            link = links.get(partition, Tree())
            self._trees[partition] = self._tree_at(partition, link, positions[partition])
        return positions

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files, self._trees = {}, {}

    def store_proved(
        self, connection: Connection, records: Sequence[LogRecord[None]], unproved: Sequence[Unproved]
    ) -> Stored:
        """Do as `store` does, and store those records as put aside that `unproved` names."""
        statements_by_place = {(each.partition, each.offset): _statement(self._topic, each) for each in unproved}
        total = Stored(0, {})
        for is_proved, run in groupby(records, lambda each: (each.partition, each.offset) not in statements_by_place):
            part = list(run)
            if is_proved:
                stored = self.store(connection, part)
            else:
                stated = [(each, statements_by_place[each.partition, each.offset]) for each in part]
                self._keep_aside(connection, stated)
                stored = Stored(len(part), {"Unproved": len(part)})
            total = Stored(total.records + stored.records, _added(total.by_kind, stored.by_kind))
        return total

    def store(self, connection: Connection, records: Sequence[LogRecord[None]]) -> Stored:
        """All of them in one transaction, RECORDS_MAX at most.

        Where the database refuses one, all before it, then raises RecordRefused. Raises also AuditBroken,
        PositionMoved, DatabaseUnavailable; then `open` before storing on.
        """
        assert len(records) <= RECORDS_MAX, "a crash leaves the leaf file no further ahead than this"
        try:
            return self._store(connection, records)
        except _AsideAhead as ahead:
            return self._store_around(connection, records, ahead.record)
        except (DatabaseRefused, ValueError, struct.error) as error:
            if len(records) == 1:
                if (put_aside := self._put_aside(connection, records[0])) is not None:
                    return put_aside
                place = f"{self._topic}[{records[0].partition}] at {records[0].offset}"
                raise RecordRefused(f"{place} can't be stored: {_reason(error)}; {FIX}") from None
        middle = len(records) // 2  # halving finds the one in as many steps as the size has bits
        first = self.store(connection, records[:middle])
        second = self.store(connection, records[middle:])
        return Stored(first.records + second.records, _added(first.by_kind, second.by_kind))

    def _store_around(
        self, connection: Connection, records: Sequence[LogRecord[None]], aside: LogRecord[None]
    ) -> Stored:
        at = next(place for place, record in enumerate(records) if record is aside)
        before = self.store(connection, records[:at]) if at else Stored(0, {})
        put_aside = self._put_aside(connection, aside)
        if put_aside is None:
            raise AuditBroken(f"{self._files[aside.partition].path} has a record as put aside that nobody put aside")
        behind = self.store(connection, records[at + 1 :]) if records[at + 1 :] else Stored(0, {})
        counts = _added(_added(before.by_kind, put_aside.by_kind), behind.by_kind)
        return Stored(before.records + 1 + behind.records, counts)

    def _put_aside(self, connection: Connection, record: LogRecord[None]) -> Stored | None:
        """Store a record as put aside; None where nobody has put it aside."""
        said = statement_of(connection, self._topic, record.partition, record.offset, record.value)
        if said is None:
            return None
        self._keep_aside(connection, [(record, said)])
        PASSED_OVER.labels(self._topic).inc()
        return Stored(1, {"Quarantined": 1})

    def _keep_aside(self, connection: Connection, stated: Sequence[tuple[LogRecord[None], str]]) -> None:
        """Store records as put aside, each with the statement that says why, in one transaction."""
        by_partition: dict[int, list[tuple[LogRecord[None], str]]] = {}
        for record, statement in stated:
            by_partition.setdefault(record.partition, []).append((record, statement))
        links: dict[int, Link] = {}
        rows: list[tuple[object, ...]] = []
        for partition, theirs in by_partition.items():
            entries = self._aside_entries(partition, theirs)
            chain_values, tree = chained(self._trees[partition], entries)
            links[partition] = Link(tree, entries[-1].recorded_at_us)
            rows += map(self._aside_row, theirs, entries, chain_values)
        with failures_named(), connection.transaction(), connection.cursor() as cursor:
            self._link(connection, links)
            cursor.executemany(self._statements["insert_quarantined"], rows)
        self._trees |= {partition: link.tree for partition, link in links.items()}

    def _aside_row(self, stated: tuple[LogRecord[None], str], entry: Entry, chain: bytes) -> tuple[object, ...]:
        record, statement = stated
        decoded = self._wire.decode_decision_record(record.value)
        source = decoded.source if isinstance(decoded, Decision) else None
        return (
            record.partition, record.offset, time_of(claim_ms(record.timestamp_ms) * 1000), statement,
            source and source.partition, source and source.offset, record.value, entry.leaf, chain,
            time_of(entry.recorded_at_us),
        )  # fmt: skip

    def _aside_entries(self, partition: int, stated: Sequence[tuple[LogRecord[None], str]]) -> list[Entry]:
        """Entries of records that are put aside, on disk; in place of those that were to be their rows'."""
        tree, file = self._trees[partition], self._files[partition]
        leaves = [_aside_leaf(record, statement) for record, statement in stated]
        ahead = file.read(tree.size, tree.size + len(stated))
        same = 0
        for entry, (record, _), leaf in zip(ahead, stated, leaves, strict=False):
            if (entry.offset, entry.leaf) != (record.offset, leaf):
                break
            same += 1
        if same < len(ahead):
            if _latest_signed(self._directory, self._topic, partition) > tree.size + same:
                offset = stated[same][0].offset
                raise AuditBroken(f"{file.path} has another record than the topic at offset {offset}, and is signed")
            file.cut(tree.size + same)
        recorded_at_us = self._clock_us()
        fresh = [
            Entry(record.offset, recorded_at_us, leaf)
            for (record, _), leaf in zip(stated[same:], leaves[same:], strict=True)
        ]
        file.append(fresh)
        return ahead[:same] + fresh

    def _store(self, connection: Connection, records: Sequence[LogRecord[None]]) -> Stored:
        kinds = [kind_of(record.value) for record in records]
        proofs, links = self._prove(records, self._filed(connection, kinds, records))
        by_kind: dict[Kind, list[tuple[LogRecord[None], Proof]]] = {}
        for kind, record, proof in zip(kinds, records, proofs, strict=True):
            by_kind.setdefault(kind, []).append((record, proof))
        self._write(connection, by_kind, links)
        self._trees |= {partition: link.tree for partition, link in links.items()}
        return Stored(len(records), {kind.name: len(proved) for kind, proved in by_kind.items()})

    def _write(
        self,
        connection: Connection,
        by_kind: Mapping[Kind, Sequence[tuple[LogRecord[None], Proof]]],
        links: Mapping[int, Link],
    ) -> None:
        with failures_named(), connection.transaction():
            self._link(connection, links)  # first: who has lost the partition learns it before it writes a row
            for kind, proved in by_kind.items():
                self._copy(connection, kind, proved)

    def _filed(self, connection: Connection, kinds: Sequence[Kind], records: Sequence[LogRecord[None]]) -> list[Times]:
        """The broker's time of each record, and the one under which its table takes it."""
        by_table: dict[str, set[int]] = {}
        for kind, record in zip(kinds, records, strict=True):
            by_table.setdefault(kind.table, set()).add(record.timestamp_ms)
        filed = {table: self._filings[table].file(connection, times) for table, times in by_table.items()}
        return [
            Times(claim_ms(record.timestamp_ms), filed[kind.table][record.timestamp_ms])
            for kind, record in zip(kinds, records, strict=True)
        ]

    def _prove(self, records: Sequence[LogRecord[None]], times: Sequence[Times]) -> tuple[list[Proof], dict[int, Link]]:
        """Each record's proof in order, and the links to them; their entries are on disk afterwards."""
        by_partition: dict[int, list[tuple[LogRecord[None], Times]]] = {}
        for record, filed in zip(records, times, strict=True):
            by_partition.setdefault(record.partition, []).append((record, filed))
        proofs: dict[tuple[int, int], Proof] = {}
        links: dict[int, Link] = {}
        for partition, theirs in by_partition.items():
            entries = self._entries(partition, theirs)
            chain_values, tree = chained(self._trees[partition], [entry for entry, _ in entries])
            links[partition] = Link(tree, entries[-1][0].recorded_at_us)
            for (entry, filed), chain in zip(entries, chain_values, strict=True):
                proofs[partition, entry.offset] = Proof(entry, filed, chain)
        return [proofs[record.partition, record.offset] for record in records], links

    def _entries(self, partition: int, records: Sequence[tuple[LogRecord[None], Times]]) -> list[tuple[Entry, Times]]:
        """The entries that the leaf file has from before a crash, which must be of these records, then new ones."""
        tree, file, recorded_at_us = self._trees[partition], self._files[partition], self._clock_us()
        ahead = file.read(tree.size, tree.size + len(records))
        there = [(entry, self._bound(file, entry, *each)) for entry, each in zip(ahead, records, strict=False)]
        fresh = [
            (Entry(record.offset, recorded_at_us, leaf_hash(partition, record.offset, times, record.value)), times)
            for record, times in records[len(ahead) :]
        ]
        file.append([entry for entry, _ in fresh])
        return there + fresh

    def _bound(self, file: LeafFile, entry: Entry, record: LogRecord[None], times: Times) -> Times:
        """The times that an entry binds: its month's partition may have been made since it was written."""
        for filed_at_ms in (times.filed_at_ms, UNFILED_MS, times.logged_at_ms):
            bound = times._replace(filed_at_ms=filed_at_ms)
            if (entry.offset, entry.leaf) == (
                record.offset,
                leaf_hash(record.partition, record.offset, bound, record.value),
            ):
                return bound
        if (record.partition, record.offset) in self._aside and entry.offset == record.offset:
            raise _AsideAhead(record)
        raise AuditBroken(f"{file.path} has another record than the topic at offset {record.offset}")

    def _copy(self, connection: Connection, kind: Kind, proved: Sequence[tuple[LogRecord[None], Proof]]) -> None:
        with connection.cursor().copy(self._statements[kind.statement]) as copy:
            copy.write(COPY_START)
            for begin in range(0, len(proved), ROWS_A_WRITE):
                part = proved[begin : begin + ROWS_A_WRITE]
                copy.write(b"".join([self._row(record, proof) for record, proof in part]))
            copy.write(COPY_END)

    def _row(self, record: LogRecord[None], proof: Proof) -> bytes:
        return row_of(record, self._decoded(record), proof, self._wire.as_written(record.value))

    def _decoded(self, record: LogRecord[None]) -> DecisionRecord:
        content = self._wire.decode_decision_record(record.value)
        if isinstance(content, Refusal):
            raise ValueError(content.detail)
        return content

    def _link(self, connection: Connection, links: Mapping[int, Link]) -> None:
        for partition, (tree, recorded_at_us) in sorted(links.items()):
            row = [partition, tree.size, tree.last_offset, tree.chain, time_of(recorded_at_us)]
            connection.execute(self._statements["insert_link"], row)
            before = self._trees[partition].last_offset + 1
            self._positions.advance(connection, partition, before, tree.last_offset + 1)

    def _tree_at(self, partition: int, link: Tree, position: int) -> Tree:
        """The tree of the files at the database's size, once it is what the database says."""
        file = self._files[partition]
        where = f"partition {partition} of {self._topic}"
        if file.size < link.size:
            raise AuditBroken(f"{file.path} holds {file.size} entries, the database {link.size} of {where}")
        self._require_no_more_than_a_crash(partition, link)
        signed = latest_head(self._directory, self._topic, partition, link.size)
        tree = Tree() if signed is None else signed.tree
        for begin in range(tree.size, link.size, ENTRIES_A_READ):
            tree = grown(tree, file.read(begin, min(begin + ENTRIES_A_READ, link.size)))
        if (tree.last_offset, tree.chain) != (link.last_offset, link.chain):
            raise AuditBroken(f"the database's chain of {where} at size {link.size} is not that of {file.path}")
        if position != link.last_offset + 1:
            raise AuditBroken(f"the position {position} of {where} does not follow its last row, {link.last_offset}")
        return tree

    def _require_no_more_than_a_crash(self, partition: int, link: Tree) -> None:
        file, signed = self._files[partition], _latest_signed(self._directory, self._topic, partition)
        if self._is_refill or (file.size - link.size <= RECORDS_MAX and signed <= link.size):
            return
        where = f"partition {partition} of {self._topic}"
        raise AuditBroken(
            f"the database holds {link.size} records of {where}, {file.path} {file.size}, the last head {signed}: "
            "rows are gone; if it was restored from a backup, run with --refill"
        )


def last_links(connection: Connection, partitions: Iterable[int]) -> dict[int, Tree]:
    """How far the database says each partition's log has come, where it has begun; without frontiers."""
    with failures_named():
        found = connection.execute(statements("pipeline.audit", "audit")["last_links"], [list(partitions)]).fetchall()
    return {partition: Tree(size, last_offset, bytes(chain)) for partition, size, last_offset, chain in found}


def _latest_signed(directory: Path, topic: str, partition: int) -> int:
    """The size of the largest tree that was signed; 0: none."""
    return max((int(path.stem) for path in head_paths(directory, topic, partition)), default=0)


def time_of(at_us: int) -> datetime:
    """Raises ValueError where it is outside the years 1 to 9999."""
    try:
        return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
    except (OverflowError, OSError) as error:
        raise ValueError("the time is out of range") from error


def _aside_leaf(record: LogRecord[None], statement: str) -> bytes:
    times = Times(claim_ms(record.timestamp_ms), UNFILED_MS)
    return aside_leaf_hash(record.partition, record.offset, times, statement.encode(), record.value)


def _statement(topic: str, unproved: Unproved) -> str:
    """Why a record was put aside by rule, as JSON; the same for the same record and reason."""
    return json.dumps(
        {
            "key_id": unproved.key_id,
            "offset": unproved.offset,
            "partition": unproved.partition,
            "topic": topic,
            "unproved": str(unproved.why),
        }
    )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DatabaseRefused) else "a field has no place in its column"


def _added(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}
