"""Anchoring: signed heads of the audit log, into write-once files and onto anchors.v1, where no superuser of the
database can reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.audit.chain import Tree
from pipeline.audit.head import SignedHead, next_head, signed_text
from pipeline.audit.key_files import SigningKey
from pipeline.audit.leaf_files import latest_head, leaf_path, read_entries, write_head
from pipeline.io.avro.wire import WireFormat

Publish = Callable[[bytes, bytes], None]
"""Takes a key and a value for anchors.v1; returns once the broker has them."""


class Anchors:
    def __init__(self, topic: str, directory: Path, key: SigningKey, wire: WireFormat, publish: Publish) -> None:
        self._topic, self._directory, self._key, self._wire, self._publish = topic, directory, key, wire, publish
        self._unpublished: list[SignedHead] = []
        self._met: set[int] = set()

    def anchor(self, trees: Mapping[int, Tree], now_ms: int) -> list[SignedHead]:
        """A head of every tree that has grown since its last one. `trees`: what is committed, by partition.

        A head whose publishing failed stands in its file and is published the next time. A process that starts
        publishes the last head again, for it can't know that its predecessor did. Raises what `publish` does.
        """
        heads = [head for partition, tree in sorted(trees.items()) for head in self._head(partition, tree, now_ms)]
        self._unpublished += heads
        while self._unpublished:
            head = self._unpublished[0].head
            self._publish(f"{head.topic}:{head.partition}".encode(), self._wire.encode(self._unpublished[0].anchor))
            del self._unpublished[0]
        return heads

    def _head(self, partition: int, tree: Tree, now_ms: int) -> list[SignedHead]:
        before = latest_head(self._directory, self._topic, partition, tree.size)
        size_before = 0 if before is None else before.head.tree_size
        is_met = partition in self._met
        self._met.add(partition)
        if tree.size == size_before:
            return [] if is_met or before is None else [before]
        path = leaf_path(self._directory, self._topic, partition)
        first = next(read_entries(path, size_before, size_before + 1))
        head = next_head(self._topic, partition, tree, first.offset, None if before is None else before.head, now_ms)
        signed = SignedHead(head, tree.frontier, self._key.key_id, self._key.sign(signed_text(head)))
        write_head(self._directory, signed)
        return [signed]
