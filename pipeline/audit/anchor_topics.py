"""Anchoring: signed heads of the audit log, into write-once files and onto anchors.v1, where no superuser of the
database can reach them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pipeline.audit.chain import Tree, continued_proof
from pipeline.audit.continuing.bounds import NotContinued
from pipeline.audit.head import SignedHead, next_head, signed_text
from pipeline.audit.leaf_files import head_paths, latest_head, leaf_path, read_entries, read_head, write_head
from pipeline.io.avro.wire import WireFormat
from pipeline.keys.key_files import SigningKey
from pipeline.keys.key_sets import KeySet, KeyUse, untrusted

Publish = Callable[[bytes, bytes], None]
"""Takes a key and a value for anchors.v1; returns once the broker has them."""


class Anchors:
    """Signs heads of the partitions that `begin` names, and publishes them.

    keys: the key set, read anew for each turn, because the key may have been revoked since.
    """

    def __init__(
        self,
        topic: str,
        directory: Path,
        key: SigningKey,
        keys: Callable[[], KeySet],
        wire: WireFormat,
        publish: Publish,
    ) -> None:
        self._topic, self._directory, self._key, self._keys = topic, directory, key, keys
        self._wire, self._publish = wire, publish
        self._unpublished: list[SignedHead] = []
        self._latest: dict[int, SignedHead | None] = {}

    def begin(self, trees: Mapping[int, Tree], published: Mapping[int, int]) -> None:
        """Take partitions over. published: the size of the last head of each on anchors.v1, as far as that was read.

        Heads that a predecessor wrote and could not publish are published next; where nobody knows, the last one is.
        """
        self._latest = {p: latest_head(self._directory, self._topic, p, tree.size) for p, tree in trees.items()}
        self._unpublished = [signed for p in sorted(trees) for signed in self._missing(p, published.get(p))]

    def anchor(self, trees: Mapping[int, Tree], now_ms: int) -> list[SignedHead]:
        """Sign a head of every tree that has grown since its last one. `trees`: what is committed, by partition.

        A head whose publishing failed stands in its file and is published the next time. Raises NotContinued where the
        key set does not trust the signing key now, KeySetRefused, and what `publish` does.
        """
        why = untrusted(self._keys(), KeyUse.AUDIT, self._key.key_id, now_ms, now_ms)
        if why is not None:
            raise NotContinued(f"the audit service may not sign: {why}")
        heads = [head for partition, tree in sorted(trees.items()) for head in self._head(partition, tree, now_ms)]
        self._unpublished += heads
        while self._unpublished:
            signed = self._unpublished[0]
            head = signed.head
            value = self._wire.encode(signed.anchor(self._proof(signed)))
            self._publish(f"{head.topic}:{head.partition}".encode(), value)
            del self._unpublished[0]
        return heads

    def _missing(self, partition: int, published: int | None) -> Iterator[SignedHead]:
        latest = self._latest[partition]
        if latest is None:
            return
        size = latest.head.tree_size - 1 if published is None else published
        for path in head_paths(self._directory, self._topic, partition):
            if size < int(path.stem) <= latest.head.tree_size:
                yield read_head(path)

    def _head(self, partition: int, tree: Tree, now_ms: int) -> list[SignedHead]:
        before = self._latest[partition]
        size_before = 0 if before is None else before.head.tree_size
        if tree.size == size_before:
            return []
        path = leaf_path(self._directory, self._topic, partition)
        first = next(read_entries(path, size_before, size_before + 1))
        head = next_head(self._topic, partition, tree, first.offset, None if before is None else before.head, now_ms)
        signed = SignedHead(head, tree.frontier, self._key.key_id, self._key.sign(signed_text(head)))
        write_head(self._directory, signed)
        self._latest[partition] = signed
        return [signed]

    def _proof(self, signed: SignedHead) -> list[bytes]:
        """That the head's tree only adds to the one of the head before it."""
        head = signed.head
        before = latest_head(self._directory, self._topic, head.partition, head.tree_size - 1)
        if before is None:
            return []
        size = before.head.tree_size
        entries = read_entries(leaf_path(self._directory, self._topic, head.partition), size, head.tree_size)
        return continued_proof(before.frontier, size, [entry.leaf for entry in entries])
