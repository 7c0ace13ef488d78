"""The shadow: a challenger that answers beside the champion, in a process of its own, and decides nothing.

Invariants
1. It reads decisions.v1 and writes shadow.v1; it holds no right to write anything else on the broker, and no key that
   could seal a decision. Nothing of the champion's waits for it: it may lag, and catches up.
2. What isn't proved to be a writer's own is passed over and noted, as by every reader of decisions.v1.
3. An answer stands on the topic before the database says that it was given: it may be told twice, the same each time,
   and the database has it once.
4. Whatever a challenger does with one payment, the next is asked about.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from pipeline.domain.decision import StoredDecision
from pipeline.domain.log import Outgoing
from pipeline.domain.trials.shadow_answer import ShadowAnswer
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.positioned_log import LogBatch, PositionedLog
from pipeline.io.postgres import Held
from pipeline.replay.regimes import RegimeOf
from pipeline.seals.passed_over_store import PassedOver
from pipeline.shadow.answer_store import AnswerStore
from pipeline.shadow.challenger import Challenger
from pipeline.shadow.comparing import Placed, compare
from pipeline.shadow.metrics import SHADOW_LAST, count

BATCH_RECORDS_MAX: Final = 1000
"""Records at once: some 5 MB of decisions, and under a second of work."""
READ_WAIT_S: Final = 0.2

Append = Callable[[list[Outgoing]], None]

log = structlog.get_logger("shadow")


class ShadowService:
    """For one thread. It is ready once it has read to what was there, or found nothing."""

    def __init__(
        self,
        source: PositionedLog[StoredDecision | None],
        held: Held,
        store: AnswerStore,
        challenger: Challenger,
        regime_of: RegimeOf,
        append: Append,
        wire: WireFormat,
        topic: str,
        passed_over: PassedOver,
    ) -> None:
        """topic: that of the answers. append: returns once the broker has them."""
        self._source, self._held, self._store = source, held, store
        self._challenger, self._regime_of, self._append = challenger, regime_of, append
        self._wire, self._topic, self._passed_over = wire, topic, passed_over

    def step(self, _stopping: threading.Event) -> str | None:
        batch = self._source.read(BATCH_RECORDS_MAX, READ_WAIT_S)
        connection = self._held.connection()
        self._passed_over.note(connection, batch.unproved)
        if not batch.spans:
            if self._source.positions:
                SHADOW_LAST.set(time.time())  # nothing waits: it has taken in all that there is
            else:
                self._held.look()
            return None
        answers = self._answers(batch)
        self._append([self._outgoing(each) for each in answers])
        self._store.append(connection, answers, batch.spans)
        count(answers)
        return None

    def begin_again(self) -> None:
        """Read again what was read but not stored."""
        self._held.drop()
        self._source.rewind()

    def close(self) -> None:
        self._source.close()
        self._held.drop()

    def _answers(self, batch: LogBatch[StoredDecision | None]) -> list[ShadowAnswer]:
        placed = [
            Placed(record.content, record.partition, record.offset, record.timestamp_ms)
            for record in batch.records
            if record.content is not None
        ]
        return compare(placed, self._challenger, self._regime_of)

    def _outgoing(self, answer: ShadowAnswer) -> Outgoing:
        return Outgoing(self._topic, answer.account_id.encode(), self._wire.encode(answer))
