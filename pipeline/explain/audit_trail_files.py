"""The places of a payment's records in the audit log: position, leaf, chain value, and the signed head over each."""

from __future__ import annotations

import os
from bisect import bisect_left
from functools import cache

from pipeline.audit.chain import ENTRY_BYTES, Entry, leaf_hash
from pipeline.audit.head import Head, head_of_anchor
from pipeline.audit.leaf_files import HeadRefused, head_paths, leaf_path, read_entries, read_head
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.refusals import Refusal
from pipeline.explain.life import Audited, AuditRow, Batch, Cover, Position
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure


class AuditFiles:
    """The proofs outside the database: leaf files and heads, or the heads on their topic where no folder is here."""

    def __init__(self, settings: Settings, wire: WireFormat, *, with_topic: bool) -> None:
        self._settings, self._topic = settings, settings.topic("decisions.v1")
        self._anchors = cache(lambda: _anchors(settings, wire) if with_topic else [])

    def audited(self, row: AuditRow, batch: Batch | None, content: DecisionRecord) -> Audited:
        found = self._entry(row.partition, row.offset)
        is_sound = leaf_hash(row.partition, row.offset, row.times, row.record) == row.leaf
        if found is None:
            position = None if batch is None else Position(batch.size_before, batch.size_after - 1)
            return Audited(row, content, is_sound, position, None, self._cover(row))
        index, entry = found
        is_same = entry is not None and (entry.leaf, entry.recorded_at_us) == (row.leaf, row.recorded_at_us)
        return Audited(row, content, is_sound, Position(index, index), is_same, self._cover(row))

    def _entry(self, partition: int, offset: int) -> tuple[int, Entry | None] | None:
        """The place that the offset has, or would have, in the leaf file, and its entry; None: no such file."""
        path = leaf_path(self._settings.audit_directory, self._topic, partition)
        if not path.is_file() or not os.access(path, os.R_OK):
            return None

        def entry(index: int) -> Entry:
            return next(read_entries(path, index, index + 1))

        size = path.stat().st_size // ENTRY_BYTES
        index = bisect_left(range(size), offset, key=lambda each: entry(each).offset)
        if index < size and (found := entry(index)).offset == offset:
            return index, found
        return index, None

    def _cover(self, row: AuditRow) -> Cover | None:
        paths = head_paths(self._settings.audit_directory, self._topic, row.partition)
        if not paths:
            return next((each for each in self._anchors() if _covers(each.head, self._topic, row)), None)
        try:
            place = bisect_left(paths, row.offset, key=lambda path: read_head(path).head.last_offset)
            if place == len(paths):
                return None
            signed = read_head(paths[place])
        except HeadRefused as refusal:
            raise Failure(f"{refusal}.", "The audit log's files were changed.") from refusal
        return Cover(signed.head, signed.key_id)


def _covers(head: Head, topic: str, row: AuditRow) -> bool:
    return (head.topic, head.partition) == (topic, row.partition) and head.last_offset >= row.offset


def _anchors(settings: Settings, wire: WireFormat) -> list[Cover]:
    """The heads of all partitions, smaller trees first; none where the topic can't be had."""
    found = []
    try:
        with LogReader.of(settings) as log:
            for record in log.read_all(settings.topic("anchors.v1")):
                anchor = wire.decode_anchor(record.value)
                if not isinstance(anchor, Refusal):
                    found.append(Cover(head_of_anchor(anchor), anchor.key_id))
    except BrokerFailed:
        return []
    return sorted(found, key=lambda each: each.head.tree_size)
