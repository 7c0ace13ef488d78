"""The monitor of bias and drift: reads decisions and labels, judges every minute, and tells of gaps.

Invariants
1. What was counted, how the evidence stands, and the positions behind it are stored in one transaction. After a restart
   the monitor goes on from there: it reads again what came since, and stores none of it twice.
2. Nothing that it does touches a decision: it may write alerts and its own tables, and no more.
3. A gap is told before the state that holds it is stored. Told again after a kill, it has the same id where the same
   records give it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from pipeline.alerts.catalogue import over
from pipeline.bias import metrics
from pipeline.bias.alerts import drift_alert, gap_alert, gap_words
from pipeline.bias.drift.counting import inputs_of
from pipeline.bias.drift.reference import Reference
from pipeline.bias.drift.reference_files import References
from pipeline.bias.drift.settings import DriftSettings
from pipeline.bias.drift_watch import DriftWatch
from pipeline.bias.evidence import alert_nats
from pipeline.bias.gathering import MINUTE_MS, Gatherer, Known
from pipeline.bias.label_reader_service import LabelReader
from pipeline.bias.monitor_store import (
    Told,
    append_gap,
    append_known,
    append_spans,
    append_state,
    known_of,
    newest_state,
    spans_since,
)
from pipeline.bias.settings import BiasSettings
from pipeline.bias.watching import (
    MEASURES,
    Measure,
    Standing,
    Turn,
    begun,
    open_now,
    resumed,
    standing_json,
    standing_of,
    step,
)
from pipeline.domain.alert import Alert
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.kafka.positioned_log import LogBatch, PositionedLog, PositionMove
from pipeline.io.postgres import Connection, Held, Positions, failures_named

CONSUMER: Final = "bias"
GROUP: Final = "fraud-bias"
BATCH_RECORDS_MAX: Final = 2_000
READ_WAIT_S: Final = 0.5
SNAPSHOT_S: Final = 300.0
"""Between stored states; at 50 payments a second a restart reads 15,000 decisions again, within seconds."""
SETTLED_MS: Final = 5_000
"""Time that a record of a minute may still be on its way when the minute is over."""
WAITING_MS: Final = 60_000
"""Time that a label or a review waits for the audit log to hold its decision."""
WAITING_MAX: Final = 20_000
LOOK_UP_MAX: Final = 1_000
"""Payments looked up in one statement."""
KNOWN_MAX: Final = 50_000
"""Payments that became known and aren't stored yet; more are stored at once."""
MODELS_MAX: Final = 100
"""Versions whose manifests' hashes are stored with a state; more than are live in a year."""
WARM_MINUTES: Final = 60 * 24 * 30
"""A deployment that has no state yet counts what stands on the topic from so long before."""

log = structlog.get_logger("bias")


class InForce(NamedTuple):
    """What the policy says of the monitor. digest: of its bytes."""

    bias: BiasSettings
    drift: DriftSettings
    scopes: tuple[str, ...]
    digest: bytes


class BiasService:
    """For one thread. Raises what the adapters raise."""

    def __init__(
        self,
        source: PositionedLog[DecisionRecord],
        labels: LabelReader,
        topic: str,
        held: Held,
        tell: Callable[[Sequence[Alert]], None],
        firsts: Callable[[Sequence[int]], Mapping[int, int]],
        in_force: Callable[[], InForce],
        references: References,
        salt: bytes,
        clock_ms: Callable[[Connection], int],
        snapshot_s: float = SNAPSHOT_S,
    ) -> None:
        """topic: decisions.v1 with its prefix. firsts: the oldest offset that each partition keeps.

        in_force: what the policy says now. salt: by which accounts share places; nobody may know it. clock_ms: the
        database's, since a clock of this machine that is ahead would judge minutes that are still to come, and no
        minute is judged twice.
        """
        self._source, self._labels, self._held, self._tell, self._firsts = source, labels, held, tell, firsts
        self._in_force_of, self._references, self._salt, self._clock_ms = in_force, references, salt, clock_ms
        self._at_ms = 0
        self._positions, self._snapshot_s = Positions(CONSUMER, topic), snapshot_s
        self._in_force = in_force()
        self._standing: Standing | None = None
        self._stored_at: dict[int, int] = {}
        self._forget()

    def positions(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Return where to go on. What was counted since the last stored state is counted again.

        What the topic no longer keeps is past: a monitor that begins late, or was away for long, goes on without it.
        """
        self._standing = None
        with failures_named():
            self._stored_at = self._positions.read(self._held.connection(), partitions)
        firsts = self._firsts(partitions)
        for partition, stored in self._stored_at.items():
            if 0 < stored < firsts[partition]:
                log.error("decisions_expired", partition=partition, first=stored, kept_from=firsts[partition])
        return {partition: max(stored, firsts[partition]) for partition, stored in self._stored_at.items()}

    def step(self, stopping: threading.Event) -> str | None:
        del stopping  # the read waits
        batch = self._source.read(BATCH_RECORDS_MAX, READ_WAIT_S)
        connection = self._held.connection()
        self._at_ms = self._clock_ms(connection)  # a database that is away is told now, not when a state is stored
        if self._standing is None:
            self._begin(connection)
        self._take(batch)
        is_behind = len(self._waiting) > WAITING_MAX // 2
        if not is_behind:
            told, is_behind = self._labels.read(connection)
            self._waiting.extend((each, self._at_ms) for each in told)
        self._look_up(connection)
        is_caught_up = len(batch.records) < BATCH_RECORDS_MAX
        self._judge(connection, is_caught_up)
        if (ahead := self._minutes_ahead()) > 0:
            return f"it judges nothing for {ahead} minutes: its state is as far ahead of the database's clock"
        if is_behind or not is_caught_up:
            return "it is behind: decisions or labels of before are read first"
        return None if self._source.positions else "no partition of decisions.v1 is its own"

    def begin_again(self) -> None:
        self._held.drop()
        self._standing = None
        self._source.rewind()

    def close(self) -> None:
        self._source.close()
        self._labels.close()
        self._held.drop()

    def _minutes_ahead(self) -> int:
        """Return how far what was judged lies ahead of now; 0 and less where it doesn't."""
        return 0 if self._standing is None else self._standing.minute - self._at_ms // MINUTE_MS

    def _begin(self, connection: Connection) -> None:
        """Go on from the newest state. What was in memory is read again."""
        self._in_force = self._in_force_of()
        stored = newest_state(connection)
        self._sequence = 0 if stored is None else stored.sequence
        state: Mapping[str, object] = {} if stored is None else stored.state
        watch = state.get("watch")
        if isinstance(watch, dict):
            self._standing = resumed(standing_of(watch), self._in_force.scopes)
        else:
            self._standing = begun(self._in_force.scopes, self._at_ms // MINUTE_MS - WARM_MINUTES)
        self._drift = DriftWatch.of(state.get("drift"))
        self._forget()
        self._hashes = _hashes_of(state.get("models"))
        self._gatherer = Gatherer(self._standing.scopes, self._salt, self._standing.minute)
        self._labels.forget()
        self._snapshot_due_s = time.monotonic() + self._snapshot_s

    def _forget(self) -> None:
        self._moves: dict[int, PositionMove] = {}
        self._waiting: deque[tuple[Told, int]] = deque()
        self._known: list[Known] = []
        self._hashes = _hashes_of(None)

    def _take(self, batch: LogBatch[DecisionRecord]) -> None:
        for move in batch.spans:
            before = self._moves.get(move.partition, move).before
            self._moves[move.partition] = PositionMove(move.partition, before, move.after)
        decided: list[tuple[Decision, int]] = []
        for record in batch.records:
            match record.content:
                case Decision() as decision:
                    decided.append((decision, _claimed_ms(record, self._at_ms)))
                    self._hashes[decision.model_version] = decision.model_hash
                case ReviewOutcome() as review:
                    is_fraud = review.outcome is not Outcome.ALLOW
                    told = Told(review.transaction_id, review.account_id, is_fraud, is_by_review=True)
                    self._waiting.append((told, self._at_ms))
        counted = self._gatherer.decided(decided)
        metrics.COUNTED.inc(counted)
        metrics.UNCOUNTED.inc(len(decided) - counted)

    def _look_up(self, connection: Connection) -> None:
        """Find the decisions that labels and reviews are about; the audit log may take a moment to hold them."""
        if not self._waiting:
            return
        some = [self._waiting.popleft() for _ in range(min(len(self._waiting), LOOK_UP_MAX))]
        found, unmatched = known_of(connection, [told for told, _ in some])
        self._known.extend(found)
        since = {told: at_ms for told, at_ms in some}
        for told in unmatched:
            if self._at_ms - since[told] < WAITING_MS:
                self._waiting.append((told, since[told]))
            else:
                metrics.UNMATCHED.inc()

    def _judge(self, connection: Connection, is_caught_up: bool) -> None:
        standing = self._standing
        assert standing is not None, "it has begun"
        until = self._gatherer.newest - 2
        if is_caught_up:
            until = (self._at_ms - SETTLED_MS) // MINUTE_MS - 1
        is_due = time.monotonic() >= self._snapshot_due_s or len(self._known) >= KNOWN_MAX
        if until <= standing.minute or not (self._gatherer.has(until) or (is_due and self._known)):
            return
        if is_due:
            with failures_named(), connection.transaction():
                fresh = append_known(connection, self._sequence + 1, self._known)
                self._gatherer.known(fresh, until * MINUTE_MS)
                self._save(connection, self._step(standing, until))
            for each in fresh:
                metrics.KNOWN.labels("REVIEW" if each.is_by_review else "LABEL").inc()
            self._known = []
            self._stored()
            return
        turns = self._step(standing, until)
        if any(turn.opened or turn.ended for turn in turns):
            with failures_named(), connection.transaction():
                self._save(connection, turns)
            self._stored()

    def _step(self, standing: Standing, until: int) -> list[Turn]:
        turns = [step(standing, minute, counts, self._in_force.bias) for minute, counts in self._gatherer.take(until)]
        needed = alert_nats(self._in_force.bias.year_risk_percent, len(standing.scopes), MEASURES)
        for measure in Measure:
            metrics.GAPS.labels(measure.name).set(int((standing.opened[:, measure] >= 0).sum()))
            metrics.EVIDENCE.labels(measure.name).set(float(standing.sums[:, measure].max(initial=0.0)) / needed)
        return turns

    def _save(self, connection: Connection, turns: Sequence[Turn]) -> None:
        """Tell of gaps, and store how the evidence stands with what was counted and how far was read."""
        standing = self._standing
        assert standing is not None, "it has begun"
        told = [gap_alert(gap) for turn in turns for gap in turn.opened]
        told += [over(gap_alert(gap), gap.minute * MINUTE_MS) for turn in turns for gap in turn.ended]
        sequence, until_ms = self._sequence + 1, (standing.minute + 1) * MINUTE_MS
        models = dict(list(self._hashes.items())[-MODELS_MAX:])
        state = {
            "watch": standing_json(standing),
            "drift": self._drift.json(),
            "models": {version: digest.hex() for version, digest in models.items()},
        }
        counts, asked = self._gatherer.take_versions()
        inputs = {
            version: inputs_of(asked.get(version, []), self._reference_of(version) if version in asked else None)
            for version in counts
        }
        if self._drift.is_due(standing.minute):
            told += self._look_at_drift(connection, until_ms)
            # Whoever writes alerts.v1 can say that a gap is over, so what is open is told again each day.
            told += [gap_alert(gap)._replace(raised_at_ms=until_ms) for gap in open_now(standing, self._in_force.bias)]
            state["drift"] = self._drift.json()
        if told:
            self._tell(told)
        append_state(connection, sequence, standing.minute, state)
        append_spans(connection, sequence, until_ms, standing.scopes, counts, inputs)
        for turn in turns:
            for kind, gaps in (("OPENED", turn.opened), ("ENDED", turn.ended)):
                for gap in gaps:
                    append_gap(connection, sequence, gap, kind)
                    log.error("bias_gap", kind=kind, scope=gap.scope, measure=gap.measure.name, what=gap_words(gap))
        for move in self._moves.values():
            self._positions.advance(connection, move.partition, self._stored_at[move.partition], move.after)
            self._stored_at[move.partition] = move.after
        self._labels.advance(connection)
        self._sequence, self._moves = sequence, {}

    def _look_at_drift(self, connection: Connection, until_ms: int) -> list[Alert]:
        """Judge the day that is over, of every version that decided in it."""
        first_ms, end_ms = self._drift.span_ms(until_ms)
        spans = spans_since(connection, None, first_ms, end_ms)
        told_of = {span.version for span in spans} & self._hashes.keys()
        references = {version: self._reference_of(version) for version in told_of}
        found, ended = self._drift.look(spans, references, self._in_force.drift)
        metrics.DRIFTED.set(sum(len(drifted) for drifted in found.values()))
        raised = [drift_alert(version, drifted, until_ms) for version, drifted in found.items()]
        return raised + [over(drift_alert(version, [], until_ms), until_ms) for version in ended]

    def _reference_of(self, version: str) -> Reference | None:
        return self._references.of(version, self._hashes[version])

    def _stored(self) -> None:
        self._snapshot_due_s = time.monotonic() + self._snapshot_s
        metrics.STATE_AT.set(self._at_ms / 1000)
        if self._in_force_of().digest != self._in_force.digest:
            self._standing = None  # the policy has changed: begin again from what is stored now
            self._source.rewind()


def _hashes_of(stored: object) -> dict[str, bytes]:
    """Return what a state says of the versions that decided; nothing where it is of before it said so.

    Without them, the day before a restart would be judged of those versions alone that have decided since.
    """
    if stored is None:
        return {}
    if not isinstance(stored, dict):
        raise ValueError("models is no object")
    return {str(version): bytes.fromhex(str(digest)) for version, digest in stored.items()}


def _claimed_ms(record: LogRecord[DecisionRecord], now_ms: int) -> int:
    """The record's time, but never after now: a clock that is ahead would keep its minutes from being judged."""
    return min(max(record.timestamp_ms, 0), now_ms)
