"""The watch over a rollout: it takes a candidate back by itself, for good, once the stop rule says so.

Workers have taken a tripped candidate's share away by then (pipeline/decide/rollout/modes.py). This makes it last, and
judges what the breaker doesn't: how the two models' rates differ, and the fraud that they find. What keeps it from
judging is told: a rollout that nothing ends by itself is one that a person must watch. So is a move of the champion for
which nobody answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from models.artefact.strict import ModelRefused
from models.versions.alias_files import alias_records
from models.versions.aliases import ALL_PPM, AliasRecord, folder_of
from models.versions.chain_files import chain_length
from models.versions.history_files import read_history
from models.versions.locations import RECORD_BYTES_MAX, Alias, record_name
from pipeline.alerts.catalogue import over
from pipeline.breaker.answer_counts import model_scope
from pipeline.decide.rollout.limits import Promotion
from pipeline.domain.alert import Alert
from pipeline.domain.free_text import shown
from pipeline.io.filing import server_now_ms
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.postgres import Connection
from pipeline.promotion import metrics
from pipeline.promotion.alerts import rolled_back_alert, unsigned_move_alert, unwatched_rollout_alert
from pipeline.promotion.desk_files import NO_KEY, NO_KEY_ID
from pipeline.promotion.gathering_store import times_fault
from pipeline.promotion.moves import is_accounted_for, is_shared, moved_by
from pipeline.promotion.moving_store import REASON_CHARACTERS_MAX, STOP_RULE, Desk, stop
from pipeline.promotion.progress_store import progress_of, trips_of
from pipeline.promotion.stop_rule import Progress, stop_reasons
from pipeline.promotion.store import event_of, read_moves

LOOK_S: Final = 2.0
"""From one look to the next: about how long a tripped candidate's record stands."""
RATES_S: Final = 60.0
"""How old what is known of rates may be: each count reads all that was decided at the present share."""
FRAUDS_S: Final = 60.0
"""How old what is known of labels may be: they come after days, and reading them all takes seconds."""
BY_CHARACTERS_MAX: Final = 60
"""As much of a name as an alert quotes, that a record claims."""
TELL_AGAIN_S: Final = 3_600.0
"""Between alerts that a rollout is unwatched: whoever may write alerts.v1 can call one off, and not the next."""
UNSIGNED_S: Final = 60.0
"""How long a record of the alias may stand before the database tells who signed the move; it takes milliseconds."""
BEGIN_S: Final = 60.0
"""How long after the service was refused the keys of the registry it asks again: people bring them while it runs."""

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
        self._unwatched_told_s = 0.0
        self._read: tuple[tuple[str, bytes | None], list[AliasRecord]] | None = None
        self._told: str | None = None  # the record of a way back that was told last
        self._accounted: str | None = None  # the last move for which somebody answers, or of which it was told
        self._unsigned: tuple[str, float] | None = None  # a move for which nobody does, and since when it is known
        self._rated: tuple[str, Progress] | None = None  # of which record
        self._rated_s = 0.0

    def look(self, connection: Connection) -> AliasRecord | None:
        """Return the record by which a candidate was taken back; None where none was.

        Raises DatabaseRefused, DatabaseUnavailable, BrokerFailed.
        """
        if self._clock_s() - self._looked_s < LOOK_S:
            return None
        self._looked_s = self._clock_s()
        try:
            records = self._records()
            metrics.tell(records)
            self._tell_unsigned(connection, records)
            if not records or not is_shared(records[-1]):
                self._is_watched()
                self._tell_stopped(records)
                return None
        except ModelRefused as refusal:
            log.error("rollout_unread", why=str(refusal))
            self._is_unread(connection, str(refusal))
            return None
        return self._judge(connection, records)

    def _records(self) -> list[AliasRecord]:
        """Return the alias's records; the whole chain is read and proved again only once its end is another.

        Raises ModelRefused.
        """
        registry, folder = self._desk.registry, folder_of(Alias.CHAMPION)
        last = record_name(folder, chain_length(registry, folder))
        end = last, registry.read(last, RECORD_BYTES_MAX)
        if self._read is None or self._read[0] != end:
            self._read = end, alias_records(registry, self._desk.keys, Alias.CHAMPION)
        return self._read[1]

    def _tell_unsigned(self, connection: Connection, records: Sequence[AliasRecord]) -> None:
        """Tell of a move that the registry's key alone has made: whoever has it needs no gate and no person."""
        if not records or (moved := moved_by(records)).sha256 == self._accounted:
            return
        event = event_of(connection, moved)
        if not is_accounted_for(records, moved, event):
            if self._unsigned is None or self._unsigned[0] != moved.sha256:
                self._unsigned = moved.sha256, self._clock_s()
            if event is None and self._clock_s() - self._unsigned[1] < UNSIGNED_S:
                return
            by = shown(moved.by)[:BY_CHARACTERS_MAX] or "nobody"
            log.error("moved_unsigned", version=moved.version, sequence=moved.sequence)
            raised = unsigned_move_alert(model_scope(moved.version), moved.sequence, by, self._now_ms())
            self._publish([raised])
        self._accounted = moved.sha256

    def _is_unread(self, connection: Connection, why: str) -> None:
        """Tell of a rollout that can't be read, by what is recorded of it: workers go on by what they have loaded."""
        moves = read_moves(connection, 1)
        if moves and moves[0].share_ppm < ALL_PPM:
            self._is_unwatched(moves[0].version, moves[0].sequence, why)

    def _tell_stopped(self, records: Sequence[AliasRecord]) -> None:
        """Tell of a way back that the stop rule took, where whoever took it may not have lived to tell.

        The same is told once a process, and is the same alert every time.
        """
        if not records or records[-1].by != STOP_RULE or records[-1].sha256 == self._told:
            return
        history = read_history(self._desk.registry, self._desk.keys)
        told = next((each for each in history if each.sequence == records[-1].history_sequence), None)
        self._tell(records[-1], "it is not known why" if told is None else " ".join(told.reasons))

    def _tell(self, stopped: AliasRecord, why: str) -> None:
        words = {"version": stopped.version, "by": STOP_RULE, "reason": why}
        scope = model_scope(stopped.previous_version or "none")
        self._publish([rolled_back_alert(scope, stopped.sequence, words, stopped.at_ms)])
        self._told = stopped.sha256

    def _judge(self, connection: Connection, records: Sequence[AliasRecord]) -> AliasRecord | None:
        latest = records[-1]
        try:
            if self._desk.signing.key_id == NO_KEY_ID:
                raise ModelRefused(NO_KEY)
            limits, at_ms = self._limits(), min(self._now_ms(), server_now_ms(connection))
            if (fault := times_fault(latest, at_ms)) is not None:
                reasons = [f"Nothing that is decided can be counted: {fault}."]
            elif limits is None:
                reasons = ["The policy in force has no [promotion], so nothing says how far it may differ."]
            else:
                reasons = stop_reasons(self._progress_of(connection, records), limits)
            stopped = stop(connection, self._desk, latest, reasons) if reasons else None
        except ModelRefused as refusal:
            self._is_unwatched(latest.version, latest.sequence, str(refusal))
            return None
        if stopped is None and self._frauds_fault is not None:
            self._is_unwatched(latest.version, latest.sequence, self._frauds_fault)
        else:
            self._is_watched()
        if stopped is not None:
            why = " ".join(reasons)[:REASON_CHARACTERS_MAX]
            log.error("rolled_back", version=latest.version, decides=stopped.version, why=why)
            metrics.STOPPED.inc()
            self._tell(stopped, why)
        return stopped

    def _progress_of(self, connection: Connection, records: Sequence[AliasRecord]) -> Progress:
        """Return how the rollout goes: trips as of now, and rates that are RATES_S old at most."""
        of = records[-1].sha256
        if self._rated is None or self._rated[0] != of or self._clock_s() - self._rated_s >= RATES_S:
            self._rated = of, progress_of(connection, records, self._known_frauds())
            self._rated_s = self._clock_s()
            return self._rated[1]
        return self._rated[1]._replace(trips=trips_of(connection, records))

    def _known_frauds(self) -> Sequence[str]:
        """Return those that are known; labels that can't be read keep nothing else from being judged."""
        if self._frauds_fault is not None or self._clock_s() - self._frauds_s >= FRAUDS_S:
            try:
                self._frauds, self._frauds_s, self._frauds_fault = self._desk.frauds(), self._clock_s(), None
            except BrokerFailed as error:
                self._frauds_fault = f"the labels can't be read: {error}"
        return self._frauds

    def _is_unwatched(self, version: str, sequence: int, why: str) -> None:
        log.error("rollout_unwatched", version=version, why=why)
        raised = unwatched_rollout_alert(model_scope(version), sequence, self._now_ms())
        is_told = self._unwatched is not None and self._unwatched.alert_id == raised.alert_id
        if not is_told or self._clock_s() - self._unwatched_told_s >= TELL_AGAIN_S:
            self._publish([raised])
            self._unwatched, self._unwatched_told_s = raised, self._clock_s()

    def _is_watched(self) -> None:
        if self._unwatched is not None:
            self._publish([over(self._unwatched, self._now_ms())])
            self._unwatched = None


class LateWatch:
    """The watch over rollouts, which begins once there are keys for one: incidents are opened all the same.

    For one thread.
    """

    def __init__(self, begin: Callable[[], RolloutWatch | None], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._begin, self._clock_s, self._tried_s = begin, clock_s, -BEGIN_S
        self._watch: RolloutWatch | None = None

    def look(self, connection: Connection) -> AliasRecord | None:
        """Look as a RolloutWatch does."""
        if self._watch is None and self._clock_s() - self._tried_s >= BEGIN_S:
            self._tried_s = self._clock_s()
            self._watch = self._begin()
        return None if self._watch is None else self._watch.look(connection)
