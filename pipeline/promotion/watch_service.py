"""The watch over a rollout: it takes a candidate back by itself, for good, once the stop rule says so.

Workers have taken a tripped candidate's share away by then (pipeline/decide/rollout/modes.py). This makes it last, and
judges what the breaker doesn't: how the two models' rates differ, and the fraud that they find. What keeps it from
judging is told: a rollout that nothing ends by itself is one that a person must watch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from models.artefact.strict import ModelRefused
from models.versions.alias_files import alias_records
from models.versions.aliases import AliasRecord
from models.versions.locations import Alias
from pipeline.alerts.catalogue import over, rolled_back_alert, unwatched_rollout_alert
from pipeline.breaker.answer_counts import model_scope
from pipeline.decide.rollout.limits import Promotion
from pipeline.domain.alert import Alert
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.postgres import Connection
from pipeline.promotion import metrics
from pipeline.promotion.desk_files import NO_KEY, NO_KEY_ID
from pipeline.promotion.moves import is_shared
from pipeline.promotion.moving_store import STOP_RULE, Desk, stop
from pipeline.promotion.progress_store import progress_of
from pipeline.promotion.stop_rule import stop_reasons

LOOK_S: Final = 2.0
"""From one look to the next: about how long a tripped candidate's record stands."""
FRAUDS_S: Final = 60.0
"""How old what is known of labels may be: they come after days, and reading them all takes seconds."""

log = structlog.get_logger("promotion")


class RolloutWatch:
    """For one thread."""

    def __init__(
        self,
        desk: Desk,
        limits: Callable[[], Promotion | None],
        publish: Callable[[Sequence[Alert]], None],
        now_ms: Callable[[], int],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """limits: asked at each look, because the policy may change."""
        self._desk, self._limits, self._publish, self._now_ms, self._clock_s = desk, limits, publish, now_ms, clock_s
        self._looked_s, self._frauds_s = -LOOK_S, -FRAUDS_S
        self._frauds: Sequence[str] = ()
        self._frauds_fault: str | None = None
        self._unwatched: Alert | None = None

    def look(self, connection: Connection) -> AliasRecord | None:
        """Return the record by which a candidate was taken back; None where none was.

        Raises DatabaseRefused, DatabaseUnavailable, BrokerFailed.
        """
        if self._clock_s() - self._looked_s < LOOK_S:
            return None
        self._looked_s = self._clock_s()
        try:
            records = alias_records(self._desk.registry, self._desk.keys, Alias.CHAMPION)
            metrics.tell(records)
            if not records or not is_shared(records[-1]):
                self._is_watched()
                return None
        except ModelRefused as refusal:
            log.error("rollout_unread", why=str(refusal))
            return None
        return self._judge(connection, records)

    def _judge(self, connection: Connection, records: Sequence[AliasRecord]) -> AliasRecord | None:
        latest = records[-1]
        try:
            if self._desk.signing.key_id == NO_KEY_ID:
                raise ModelRefused(NO_KEY)
            limits = self._limits()
            if limits is None:
                reasons = ["The policy in force has no [promotion], so nothing says how far it may differ."]
            else:
                reasons = stop_reasons(progress_of(connection, records, self._known_frauds()), limits)
            stopped = stop(connection, self._desk, latest, reasons) if reasons else None
        except ModelRefused as refusal:
            self._is_unwatched(latest, str(refusal))
            return None
        if stopped is None and self._frauds_fault is not None:
            self._is_unwatched(latest, self._frauds_fault)
        else:
            self._is_watched()
        if stopped is not None:
            log.error("rolled_back", version=latest.version, decides=stopped.version, why=" ".join(reasons))
            metrics.STOPPED.inc()
            words = {"version": stopped.version, "by": STOP_RULE, "reason": " ".join(reasons)}
            self._publish([rolled_back_alert(model_scope(latest.version), stopped.sequence, words, stopped.at_ms)])
        return stopped

    def _known_frauds(self) -> Sequence[str]:
        """Return those that are known; labels that can't be read keep nothing else from being judged."""
        if self._frauds_fault is not None or self._clock_s() - self._frauds_s >= FRAUDS_S:
            try:
                self._frauds, self._frauds_s, self._frauds_fault = self._desk.frauds(), self._clock_s(), None
            except BrokerFailed as error:
                self._frauds_fault = f"the labels can't be read: {error}"
        return self._frauds

    def _is_unwatched(self, latest: AliasRecord, why: str) -> None:
        log.error("rollout_unwatched", version=latest.version, why=why)
        raised = unwatched_rollout_alert(model_scope(latest.version), latest.sequence, self._now_ms())
        if self._unwatched is None or self._unwatched.alert_id != raised.alert_id:
            self._publish([raised])
            self._unwatched = raised

    def _is_watched(self) -> None:
        if self._unwatched is not None:
            self._publish([over(self._unwatched, self._now_ms())])
            self._unwatched = None
