"""Following the tables within the audit service: taken and checked, followed every second, anchored with the log.

Of several audit services one follows, the one that holds the streams' files; another takes them when it ends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.chain import Tree
from pipeline.audit.continuing.bounds import AT_ONCE, NotContinued
from pipeline.audit.continuing.refusal_files import require_unmarked
from pipeline.audit.head import SignedHead
from pipeline.audit.leaf_files import LeafFileBusy
from pipeline.audit.tables import metrics
from pipeline.audit.tables.check_service import TableContinuation
from pipeline.audit.tables.log_store import TableLog
from pipeline.io.postgres import Connection

FOLLOW_S: Final = 1.0
"""From one turn to the next. What is changed before its turn is chained as changed, so this is the window."""
TAKE_S: Final = 5.0
"""Between attempts to take streams that another process holds."""
_logger = structlog.stdlib.get_logger(__name__)


class TableFollower:
    """For one thread. is_refill: a person said that the database was restored from a backup."""

    def __init__(
        self,
        log: TableLog,
        anchors: Anchors,
        continuation: TableContinuation,
        directory: Path,
        *,
        is_refill: bool = False,
    ) -> None:
        self._log, self._anchors, self._continuation, self._is_refill = log, anchors, continuation, is_refill
        self._directory = directory
        self._is_open = False
        self._due = 0.0
        self._whole_at = time.monotonic()
        self.has_chained_all = False  # since this process took the streams

    @property
    def trees(self) -> Mapping[int, Tree]:
        """For the check in the background; empty where another process follows."""
        return self._log.trees if self._is_open else {}

    def step(self, connection: Connection) -> None:
        """Take a turn, if one is due. Raises NotContinued, HeadRefused and what the outside world may raise."""
        if time.monotonic() < self._due:
            return
        if not self._is_open and not self._take(connection):
            self._due = time.monotonic() + TAKE_S
            return
        followed = self._log.follow(connection)
        metrics.ROWS.inc(followed.rows)
        metrics.FOLLOWED_AT.set_to_current_time()
        metrics.BEHIND.set(followed.is_behind)
        if followed.is_behind:
            self._due = 0.0
        else:
            self._whole_at = time.monotonic()
            self._due = self._whole_at + FOLLOW_S
            self.has_chained_all = True

    def behind_s(self) -> float:
        """How long rows have waited since all were chained last; 0 where another process follows."""
        return time.monotonic() - self._whole_at if self._is_open else 0.0

    def anchor(self, now_ms: int) -> list[SignedHead]:
        """Sign what was chained. Raises NotContinued, KeySetRefused, BrokerFailed, OSError."""
        if not self._is_open:
            return []
        self._log.mark()
        return self._anchors.anchor(self._log.trees, now_ms)

    def close(self) -> None:
        self._log.close()
        self._is_open = self.has_chained_all = False
        self._due = 0.0

    def _take(self, connection: Connection) -> bool:
        """Take the streams, once what they hold was checked; False while another process has them."""
        require_unmarked(self._directory)
        try:
            self._log.open()
        except LeafFileBusy:
            self._whole_at = time.monotonic()
            return False
        try:
            self._require_continued(connection)
        except BaseException:
            self._log.close()
            raise
        self._is_open = True
        return True

    def _require_continued(self, connection: Connection) -> None:
        began = time.monotonic()
        if self._is_refill:
            self._continuation.check(connection, self._log.trees, AT_ONCE, is_still=True, with_rows=False)
            self._begin_anew(connection)
        found = self._continuation.check(connection, self._log.trees, AT_ONCE, is_still=True)
        self._anchors.begin(self._log.trees, found.outside.published)
        seconds = round(time.monotonic() - began, 3)
        _logger.info("audit_tables_continued", seconds=seconds, **found.looked._asdict())

    def _begin_anew(self, connection: Connection) -> None:
        """Begin the next generation of every stream whose rows are no longer those of the database."""
        for partition, tree in self._log.trees.items():
            try:
                self._continuation.require_rows(connection, partition, tree.size - AT_ONCE.rows, tree.size)
            except NotContinued as lost:
                _logger.warning("audit_tables_begun_anew", partition=partition, why=str(lost))
                self._log.begin_anew(partition, str(lost))
