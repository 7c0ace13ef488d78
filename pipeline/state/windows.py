"""State features by exact sliding windows: their records, and the reference that the state store is held to.

Invariants
1. Effective time, per account and per beneficiary, is max(event time, the latest seen), so it never runs backwards.
2. A window (t - w, t] is exact to the millisecond and holds the current payment. It holds at most the latest
   ACCOUNT_PAYMENTS_MAX (BENEFICIARY_PAYMENTS_MAX) payments; while it holds as many, what it counts is UNKNOWN (I4). A
   confirmed fraud that is pushed out before its time still counts.
3. The answer for an event depends only on the log before it, neither on batch boundaries nor on redelivery.
4. A payment is FRESH at one offset of the log only, until CLAIM_KEPT_MS of log time have passed; its copy is late then
   (pipeline.domain.identities), which its decision says. It is the log time of the two that counts, and of no third.

`Windows` is the plain reference and takes one event at a time; training computes its features with it. `MemoryState`
adds what the store does around the windows: ids, positions, snapshots. Redis (pipeline/state/store.py) gives exactly
the same answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.features import NONE, STATE, UNKNOWN
from pipeline.domain.identities import LATE_AFTER_MS
from pipeline.domain.outcome import PaymentOutcome
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS, is_log_time
from pipeline.state.account_windows import AccountWindows
from pipeline.state.beneficiary_windows import BeneficiaryWindows
from pipeline.state.context.facts import Facts, LogPlace
from pipeline.state.coverage import DECLARED_MONTH, Coverage, enter_stale, enter_unknown
from pipeline.state.outcomes import AccountOutcomes
from pipeline.state.periods import DAY_MS
from pipeline.state.recounting import counted_as, restate
from pipeline.state.state_event import StateEvent, claim_name, payee_of
from pipeline.state.unusual.fraud_run import kind_of

LAYOUT: Final = 6
"""The version of what a state store holds, and part of its keys' names: a release with another finds nothing, and
builds the state anew. Raise it with every change of the STATE features, of these windows or of how they are stored."""
CLAIM_KEPT_MS: Final = LATE_AFTER_MS + FUTURE_TOLERANCE_MS
"""An id is remembered for this much log time. A payment may be dated FUTURE_TOLERANCE_MS ahead of the log; so a copy
that comes when its id is forgotten is late, whatever its date."""

ANEW: Final = 3
"""Beside the values of Freshness: FRESH, of a record that held no id when its offset was read before."""
BROKERS_APART_MS: Final = 3_600_000
"""Most by which clocks of brokers differ; an id that is older than that beside its time may have been deleted."""

IP_ADDRESS: Final = "IP_ADDRESS"
DEVICE: Final = "DEVICE"
_NO_ROW: Final = (NONE,) * len(STATE)


class Freshness(IntEnum):
    """The freshness of a transaction id; see invariant 4."""

    FRESH = 0
    DUPLICATE = 1  # the same payment was seen before
    CONFLICT = 2  # another payment was seen before under its id


class PartitionEvents(NamedTuple):
    """A partition's share of a batch."""

    partition: int
    start_offset: int  # the end offset of the previous batch, which this one follows
    end_offset: int  # exclusive
    committed_offset: int  # everything below is committed, so snapshots below may be dropped
    events: Sequence[StateEvent]  # by ascending offset; some offsets may be missing
    outcomes_due: int = 0  # with outcomes below it still to be taken in, what outcomes could tell is UNKNOWN


class PartitionObservation(NamedTuple):
    freshness: NDArray[np.int8]  # (n,), values of Freshness
    state: NDArray[np.int64]  # (n, len(STATE)); NONE rows where not FRESH or not counted
    outcomes_position: NDArray[np.int64]  # (n,): next offset of the outcomes that the row had taken in; -1 for none


class StateLost(Exception):
    """The state does not reach the start of a batch.

    The log must be observed again from `resume_from`; None stands for the oldest record.
    """

    def __init__(self, partition: int, resume_from: int | None) -> None:
        super().__init__(f"the state of partition {partition} reaches {resume_from}")
        self.partition, self.resume_from = partition, resume_from


class ContextUnsure(Exception):
    """A server may have lost context that was taken in: it must be compared with the log before anything is counted."""

    def __init__(self) -> None:
        super().__init__("the connections to the state store are new, and context was not compared with the log since")


class SnapshotPruned(Exception):
    """A snapshot was asked for that was committed and dropped long ago: the asker no longer owns the partition, or the
    log, and what was decided of it, were put back from an older copy and have grown since."""

    def __init__(self, partition: int, offset: int) -> None:
        super().__init__(
            f"the payment of partition {partition} of transactions.v1 at {offset} was decided and committed, and is"
            " read again: the group's offset or the log was put back"
        )
        self.partition, self.offset = partition, offset


class LogReplaced(Exception):
    """Another record stood at an offset when its payment was counted: the log lost records, as by an unclean election
    of a leader, and gave their offsets out anew. The state is of a log that is gone; nothing may be decided on it."""

    def __init__(self, partition: int, offset: int) -> None:
        super().__init__(
            f"the record of partition {partition} of transactions.v1 at {offset} isn't the one that was counted: the"
            " log lost records, and gave their offsets out anew"
        )
        self.partition, self.offset = partition, offset


def since_of(oldest_ms: int | None, now_ms: int) -> int:
    """Return since when a state is whole that begins with the oldest record of a log, by that record's timestamp.

    None stands for a log without any. A timestamp that is no time of the log's (0, a time in microseconds) says nothing
    of what came before, so whatever came before now may be missing.
    """
    return oldest_ms if oldest_ms is not None and is_log_time(oldest_ms) else now_ms


def start_of(since_ms: int | None) -> int:
    """Return the log time since which a state is whole that starts after its log's beginning.

    Raises ValueError where it isn't told: such a state must not pass for whole.
    """
    if since_ms is None:
        raise ValueError("a state that starts after its log's beginning must be told since when it is whole")
    return since_ms


class Windows:
    """The STATE features of payments, computed in log order."""

    def __init__(self, *, label_delay_days: int = 7) -> None:
        self._label_delay_ms = label_delay_days * DAY_MS
        self._accounts: dict[str, AccountWindows] = {}
        self._outcomes: dict[str, AccountOutcomes] = {}
        self._beneficiaries: dict[str, BeneficiaryWindows] = {}
        self._normal_months = Facts(absent=NONE)  # by account, GBP minor
        self._reports = Facts(absent=0)  # by kind and entity

    def observe(self, event: StateEvent, *, with_outcomes: bool = True) -> tuple[int, ...]:
        """Count `event` and return its STATE features, which are all NONE where it does not count."""
        if not event.is_counted:
            return _NO_ROW
        account_id, beneficiary_id = event.account_id, event.beneficiary_account_id
        account = self._accounts.get(account_id)
        if account is None:
            account = self._accounts[account_id] = AccountWindows()
        beneficiary = self._beneficiaries.get(beneficiary_id)
        if beneficiary is None:
            beneficiary = self._beneficiaries[beneficiary_id] = BeneficiaryWindows(self._label_delay_ms)
        outcomes = self._outcomes.get(account_id) if with_outcomes else None
        of_account = account.observe(event, self._normal_months[account_id], outcomes)
        return (
            *of_account,
            *beneficiary.observe(event, kind_of(account.lifetime.percent, event.amount_gbp_minor)),
            self._reports_of(IP_ADDRESS, event.ip_address),
            self._reports_of(DEVICE, event.device_id),
            beneficiary.confirmed_frauds,
            *beneficiary.run_told,
        )

    def month_blocks(self, account_id: str) -> int:
        """Return how many blocks the account's normal month is the mean of, or DECLARED_MONTH."""
        if self._normal_months[account_id] != NONE:
            return DECLARED_MONTH
        return self._accounts[account_id].month_blocks

    def apply(self, outcome: PaymentOutcome, *, whole_since_ms: int = NONE) -> None:
        """Take in what became of a payment, as AccountOutcomes.apply does."""
        outcomes = self._outcomes.get(outcome.account_id)
        if outcomes is None:
            outcomes = self._outcomes[outcome.account_id] = AccountOutcomes()
        outcomes.apply(outcome, whole_since_ms=whole_since_ms)

    def label(self, label: Label) -> bool:
        """Mark the payment; return False where no window holds it. Idempotent."""
        beneficiary = self._beneficiaries.get(payee_of(label.beneficiary_account_id))
        return beneficiary is not None and beneficiary.label(label)

    def upsert_account(self, account: Account, place: LogPlace) -> None:
        """Take in what an account declares, as `facts` says; None takes a declaration back."""
        month = account.normal_month_gbp_minor
        self._normal_months.state(account.account_id, NONE if month is None else month, account.updated_at_ms, place)

    def upsert_risk_signal(self, signal: RiskSignal, place: LogPlace) -> None:
        """Take in the fraud reports of an entity, as `facts` says; an address is in its canonical spelling."""
        self._reports.state((signal.kind, signal.entity), signal.fraud_reports, signal.observed_at_ms, place)

    def withdraw_account(self, account_id: str, place: LogPlace) -> None:
        """Take back what an account declared before `place`: none is declared then."""
        self._normal_months.withdraw(account_id, place)

    def withdraw_risk_signal(self, kind: RiskSignalKind, entity: str, place: LogPlace) -> None:
        """Take back the reports of an entity that were made before `place`: there are 0 then."""
        self._reports.withdraw((kind, entity), place)

    def _reports_of(self, kind: str, entity: str | None) -> int:
        return NONE if entity is None else self._reports[kind, entity]


class MemoryState:
    """The state store in memory: the plainest form of the contract that RedisState keeps."""

    def __init__(
        self, *, label_delay_days: int = 7, shards: int = 1, clock_ms: Callable[[], int] | None = None
    ) -> None:
        """Begin with nothing. clock_ms: the server's clock, which no log is ahead of; None where a log is believed."""
        self._clock_ms = clock_ms
        self.windows = Windows(label_delay_days=label_delay_days)
        self._label_delay_ms = label_delay_days * DAY_MS
        self._shards = shards
        self._claims: dict[str, _Claim] = {}  # by claim_name
        self._watermarks: Counter[tuple[int, int]] = Counter()  # shard and partition → latest log time
        self._progress: dict[int, _Progress] = {}
        self._outcomes: dict[int, int] = {}  # partition → position
        self._outcomes_since: dict[int, int] = {}
        self._outcomes_due: dict[int, int] = {}  # partition → position from which on what is held is whole again

    def observe(
        self,
        batch: Sequence[PartitionEvents],
        *,
        initial: bool = False,
        since_ms: int | None = None,
        is_rebuild: bool = False,
    ) -> list[PartitionObservation]:
        """Observe a batch as RedisState.observe does."""
        observations: list[PartitionObservation] = []
        failures: list[StateLost | SnapshotPruned | LogReplaced] = []
        for share in batch:
            try:
                progress = self._progress_at(share.partition, share.start_offset, initial, since_ms)
                observations.append(self._observe(share, progress, initial or is_rebuild))
            except (StateLost, SnapshotPruned, LogReplaced) as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
        return observations

    def apply_outcomes(
        self,
        partition: int,
        first: int,
        last: int,
        outcomes: Sequence[PaymentOutcome],
        *,
        offsets: Sequence[int] | None = None,
        initial: bool = False,
        since_ms: int | None = None,
    ) -> int:
        """Take in outcomes as RedisState.apply_outcomes does."""
        position = self._outcomes.get(partition)
        if (position is None and first == 0) or (initial and (position is None or position < first)):
            if first > 0:
                self._outcomes_since[partition] = max(self._outcomes_since.get(partition, 0), start_of(since_ms))
            position = first
        if position is None:
            return NONE
        if position == first:
            whole_since_ms = self._outcomes_since.get(partition, NONE)
            places = range(first, last) if offsets is None else offsets
            for offset, outcome in zip(places, outcomes, strict=offsets is not None):
                ordered = outcome if outcome.order != NONE else outcome._replace(order=offset)
                self.windows.apply(ordered, whole_since_ms=whole_since_ms)
            position = last
        self._outcomes[partition] = position
        return position

    def await_outcomes(self, partition: int, due: int) -> None:
        """Make what outcomes could tell UNKNOWN, as RedisState.await_outcomes does."""
        self._outcomes_due[partition] = due

    def outcomes_position(self, partition: int) -> int | None:
        return self._outcomes.get(partition)

    def label(self, label: Label) -> bool:
        return self.windows.label(label)

    def upsert_account(self, account: Account, place: LogPlace) -> None:
        self.windows.upsert_account(account, place)

    def upsert_risk_signal(self, signal: RiskSignal, place: LogPlace) -> None:
        self.windows.upsert_risk_signal(signal, place)

    def withdraw_account(self, account_id: str, place: LogPlace) -> None:
        self.windows.withdraw_account(account_id, place)

    def withdraw_risk_signal(self, kind: RiskSignalKind, entity: str, place: LogPlace) -> None:
        self.windows.withdraw_risk_signal(kind, entity, place)

    def positions(self, partition: int) -> int | None:
        progress = self._progress.get(partition)
        return None if progress is None else progress.reached

    def _observe(self, share: PartitionEvents, progress: _Progress, is_passing: bool) -> PartitionObservation:
        if progress.replaced is not None:
            raise LogReplaced(share.partition, progress.replaced)
        told = [self._freshness(share.partition, progress, event) for event in share.events]
        freshness = [each % ANEW for each in told]
        snapshots = [_NOT_COUNTED] * len(freshness)
        for place, event in enumerate(share.events):
            if freshness[place] != Freshness.FRESH or not event.is_counted:
                continue
            if event.offset >= progress.reached:
                snapshots[place] = self._count(share, progress, event)
            elif event.offset in progress.snapshots and told[place] == ANEW:
                progress.replaced = event.offset
                raise LogReplaced(share.partition, event.offset)
            elif event.offset in progress.snapshots:
                snapshots[place] = progress.snapshots[event.offset]
                if progress.late_after < event.offset < progress.late_until:
                    snapshots[place] = snapshots[place]._replace(is_stale=True, outcomes_position=UNKNOWN)
            elif is_passing:
                pass
            elif event.offset < progress.pruned_below:
                raise SnapshotPruned(share.partition, event.offset)
            else:  # it didn't count when it was first observed
                snapshots[place] = self._count(share, progress, event)
                progress.count_late(event.offset, share.committed_offset)
        progress.move_on(share)
        state = np.array([snapshot.row for snapshot in snapshots], dtype=np.int64).reshape(-1, len(STATE))
        month_blocks = np.array([snapshot.month_blocks for snapshot in snapshots], dtype=np.int64)
        positions = np.array([snapshot.outcomes_position for snapshot in snapshots], dtype=np.int64)
        restate(state, share.events, np.array([snapshot.counted for snapshot in snapshots], dtype=np.int64))
        coverage = self._coverage(share.partition)
        enter_unknown(state, share.events, month_blocks, positions, coverage, self._label_delay_ms)
        enter_stale(state, np.array([snapshot.is_stale for snapshot in snapshots], dtype=np.bool_), month_blocks)
        return PartitionObservation(np.array(freshness, dtype=np.int8), state, positions)

    def _count(self, share: PartitionEvents, progress: _Progress, event: StateEvent) -> _Snapshot:
        position = self._outcomes.get(share.partition, NONE)
        is_whole = max(position, 0) >= max(self._outcomes_due.get(share.partition, 0), share.outcomes_due)
        row = self.windows.observe(event, with_outcomes=is_whole)
        blocks = self.windows.month_blocks(event.account_id)
        snapshot = _Snapshot(row, blocks, position if is_whole else UNKNOWN, counted_as(event))
        progress.snapshots[event.offset] = snapshot
        return snapshot

    def _coverage(self, partition: int) -> Coverage:
        received_ms = max(progress.since_ms for progress in self._progress.values())
        outcomes_ms = self._outcomes_since.get(partition, NONE)
        return Coverage(self._progress[partition].since_ms, outcomes_ms, received_ms)

    def _progress_at(self, partition: int, start_offset: int, initial: bool, since_ms: int | None) -> _Progress:
        progress = self._progress.get(partition)
        if progress is not None and progress.reached >= start_offset:
            return progress
        if start_offset > 0 and not initial:
            raise StateLost(partition, None if progress is None else progress.reached)
        if progress is None:
            progress = self._progress[partition] = _Progress()
        if start_offset > 0:
            progress.since_ms = max(progress.since_ms, start_of(since_ms))
        progress.reached = start_offset
        return progress

    def _freshness(self, partition: int, progress: _Progress, event: StateEvent) -> int:
        """Return the freshness of an event; ANEW for one that claims a free id at an offset that was read before.

        Whoever was FRESH holds its id, as of its own time or later. One that holds none is told for the first time: it
        couldn't be read then, or it is another record.
        """
        claim, name = _Claim(event.payment_digest, event.log_time_ms, partition), claim_name(event)
        held = self._claims.get(name)
        if event.offset < progress.reached:
            if event.offset in progress.exceptions:
                return progress.exceptions[event.offset]
            if held is None:
                self._claims[name] = claim
                return Freshness.FRESH if self._is_past(claim, name) else ANEW
            is_past_it = held.log_time_ms - CLAIM_KEPT_MS > claim.log_time_ms
            if held.log_time_ms >= claim.log_time_ms and (held.partition == partition or is_past_it):
                if not is_past_it and not self._is_past(claim, name):
                    self._claims[name] = claim  # a copy that is read after it is its duplicate
                return Freshness.FRESH
        shard = crc32(name.encode()) % self._shards
        latest_ms = self._watermarks[shard, partition] = max(self._watermarks[shard, partition], event.log_time_ms)
        freshness = _first_freshness(claim, held)
        if freshness == Freshness.FRESH:
            since_ms = max(event.log_time_ms, latest_ms if self._clock_ms is None else min(latest_ms, self._clock_ms()))
            self._claims[name] = claim._replace(log_time_ms=since_ms)
        elif event.offset >= progress.reached:
            progress.exceptions[event.offset] = freshness
        return freshness

    def _is_past(self, claim: _Claim, name: str) -> bool:
        """Return whether the claim may have been deleted, because nobody can ask for it any more."""
        latest_ms = self._watermarks[crc32(name.encode()) % self._shards, claim.partition]
        latest_ms = latest_ms if self._clock_ms is None else min(latest_ms, self._clock_ms())
        return claim.log_time_ms < latest_ms - CLAIM_KEPT_MS - BROKERS_APART_MS


def _first_freshness(claim: _Claim, held: _Claim | None) -> Freshness:
    """Only the two records' own log times tell: one record may be stamped by a clock that is days ahead."""
    if held is None or held.log_time_ms < claim.log_time_ms - CLAIM_KEPT_MS:
        return Freshness.FRESH
    return Freshness.DUPLICATE if held.digest == claim.digest else Freshness.CONFLICT


class _Snapshot(NamedTuple):
    """What was answered about a payment."""

    row: tuple[int, ...]
    month_blocks: int
    outcomes_position: int
    counted: int  # as `counted_as` says it
    is_stale: bool = False  # a payment before it in the log has counted later


_NOT_COUNTED: Final = _Snapshot(_NO_ROW, 0, NONE, NONE)


class _Claim(NamedTuple):
    """The payment that holds a transaction id. Its log time is the latest of its partition at that place of the log."""

    digest: bytes
    log_time_ms: int
    partition: int


class _Progress:
    """The progress of a partition's observation, and the answers that were given."""

    __slots__ = (
        "exceptions", "late_after", "late_until", "pruned_below", "reached", "replaced", "since_ms", "snapshots",
    )  # fmt: skip

    def __init__(self) -> None:
        self.reached, self.pruned_below, self.since_ms = 0, 0, NONE
        self.replaced: int | None = None  # an offset at which another record was counted
        self.late_after = self.late_until = 0  # answers given to payments between these offsets tell too little
        self.snapshots: dict[int, _Snapshot] = {}
        self.exceptions: dict[int, Freshness] = {}  # offset → freshness, where not FRESH

    def count_late(self, offset: int, committed: int) -> None:
        """Record that a payment counts now that others behind it in the log were answered without."""
        self.late_after = offset if self.late_until <= committed else min(self.late_after, offset)
        self.late_until = max(self.late_until, self.reached)

    def move_on(self, share: PartitionEvents) -> None:
        self.reached = max(self.reached, share.end_offset)
        self.pruned_below = max(self.pruned_below, share.committed_offset)
        for offset in [offset for offset in self.snapshots if offset < share.committed_offset]:
            del self.snapshots[offset]
