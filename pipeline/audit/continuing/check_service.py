"""The check before the audit log is continued: old heads, leaves, rows, and what stands about them on topics.

Done at once within bounds, before anything is signed; in whole in the background (recheck_service) and by
`fraud audit check`. Bounds say what is read, newest first; what is not read at once is read in the background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.audit.chain import Times, Tree, aside_leaf_hash, leaf_hash
from pipeline.audit.continuing.bounds import Bounds, Looked, NotContinued
from pipeline.audit.continuing.head_files import Place, Vetted, proved_entries, require_leaves, vetted_heads
from pipeline.audit.continuing.outside_topics import Outside, OutsideLog, Trees
from pipeline.audit.continuing.row_store import require_rows
from pipeline.audit.continuing.source_topics import SourceTopic
from pipeline.audit.leaf_files import leaf_path, read_entries
from pipeline.audit.witness import Statement
from pipeline.domain.log import Record
from pipeline.domain.times import claim_ms
from pipeline.io.filing import UNFILED_MS
from pipeline.io.postgres import Connection
from pipeline.keys.key_sets import KeySet
from pipeline.quarantine.put_aside_store import statement_of

OFFSET_MAX: Final = 2**63 - 1


class Continued(NamedTuple):
    """The result of a check that found nothing: what was read, and what the topics hold."""

    looked: Looked
    outside: Outside


class Continuation:
    """For one thread. keys: read anew for each check, because a key may have been revoked since."""

    def __init__(
        self,
        topic: str,
        directory: Path,
        keys: Callable[[], KeySet],
        outside: OutsideLog,
        source: SourceTopic,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._topic, self._directory, self._keys = topic, directory, keys
        self._outside, self._source, self._rest = outside, source, rest

    def check(
        self,
        connection: Connection,
        trees: Mapping[int, Tree],
        bounds: Bounds,
        *,
        is_still: bool,
        may_be_ahead: bool = False,
    ) -> Continued:
        """Raise NotContinued at the first thing that doesn't fit.

        trees: of the partitions, as committed. is_still: nobody stores meanwhile, so a row beyond a tree is one too
        many. may_be_ahead: the database was restored from a backup. Raises also KeySetRefused, BrokerFailed and the
        like, DatabaseUnavailable, DatabaseRefused.
        """
        sizes = {partition: tree.size for partition, tree in trees.items()}
        keys = self._keys()
        outside = self._outside.held_against(
            Trees(self._topic, self._directory, sizes, may_be_ahead or not is_still), keys, bounds
        )
        looked, share = Looked(anchors=outside.anchors, statements=outside.statements), bounds.share(len(trees))
        for partition, tree in sorted(trees.items()):
            place = Place(self._directory, self._topic, partition)
            vetted = vetted_heads(place, keys, outside.seen_ms.get(partition, {}), share.heads)
            leaves = require_leaves(place, vetted.heads, tree, share.leaves)
            self._require_source(connection, place, vetted)
            rows = self._rows(connection, place, vetted, tree, share.rows, is_still=is_still)
            looked = looked.plus(Looked(len(vetted.heads), leaves, rows))
        return Continued(looked, outside)

    def witnessed(self, trees: Mapping[int, Tree]) -> Statement | None:
        """The witness's last statement; None where it has made none. Raises NotContinued where the files disagree."""
        sizes = {partition: tree.size for partition, tree in trees.items()}
        return self._outside.last_statement(Trees(self._topic, self._directory, sizes, may_be_ahead=True), self._keys())

    def _rows(
        self, connection: Connection, place: Place, vetted: Vetted, tree: Tree, rows_max: int, *, is_still: bool
    ) -> int:
        begin = max(tree.size - rows_max, 0)
        first = _offset_before(place, begin) + 1
        last = OFFSET_MAX if is_still else tree.last_offset
        if begin == tree.size and not is_still:
            return 0
        proved = proved_entries(place, vetted.heads, begin, tree.size)
        return require_rows(connection, place, proved, (first, last), self._rest)

    def _leaves(self, connection: Connection, record: Record) -> Iterator[bytes]:
        """The leaves that a record of the topic may have: under its month, outside every month, or as put aside."""
        (partition, offset, broker_ms), value = record.source, record.value or b""
        logged_at_ms = claim_ms(broker_ms)
        for filed_at_ms in (logged_at_ms, UNFILED_MS):
            yield leaf_hash(partition, offset, Times(logged_at_ms, filed_at_ms), value)
        statement = statement_of(connection, self._topic, partition, offset, value)
        if statement is not None:
            yield aside_leaf_hash(partition, offset, Times(logged_at_ms, UNFILED_MS), statement.encode(), value)

    def _require_source(self, connection: Connection, place: Place, vetted: Vetted) -> None:
        """Read back from the topic what only a revoked key vouches for: the thief may have signed another history."""
        size = vetted.heads[-1].head.tree_size if vetted.heads else 0
        if vetted.vouched == size:
            return
        entries = list(read_entries(leaf_path(*place), vetted.vouched, size))
        values = self._source.values(place.partition, entries[0].offset, entries[-1].offset)
        if values.keys() != {entry.offset for entry in entries}:
            raise NotContinued(f"a revoked key signed other records of {place} than the topic has")
        for entry in entries:
            if entry.leaf not in self._leaves(connection, values[entry.offset]):
                raise NotContinued(
                    f"a revoked key signed another record at offset {entry.offset} of {place} than the topic has"
                )


def _offset_before(place: Place, index: int) -> int:
    """The offset of the entry before; a row between it and the next must not be there either."""
    if index == 0:
        return -1
    return next(read_entries(leaf_path(*place), index - 1, index)).offset
