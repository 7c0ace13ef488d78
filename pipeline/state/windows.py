"""State features by exact sliding windows: their records, and the reference that the state store is held to.

Invariants
1. Effective time, per account and per beneficiary, is max(event time, the latest seen), so it never runs backwards.
2. A window (t - w, t] is exact to the millisecond and holds the current payment. It holds at most the latest
   ACCOUNT_PAYMENTS_MAX (BENEFICIARY_PAYMENTS_MAX) payments; while it holds as many, what it counts is UNKNOWN (I4). A
   confirmed fraud that is pushed out before its time still counts.
3. The answer for an event depends only on the log before it, neither on batch boundaries nor on redelivery.
4. A payment is FRESH at one offset of the log only, until CLAIM_KEPT_MS of log time have passed; its copy is late then
   (pipeline.domain.identities), which its decision says.

`Windows` is the plain reference and takes one event at a time; training computes its features with it. `MemoryState`
adds what the store does around the windows: ids, positions, snapshots. Redis (pipeline/state/store.py) gives exactly
the same answers.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.features import BENEFICIARY_PAYMENTS_MAX, NONE, STATE, UNKNOWN
from pipeline.domain.identities import LATE_AFTER_MS
from pipeline.domain.outcome import PaymentOutcome
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS
from pipeline.state.account_windows import AccountWindows, count_down
from pipeline.state.coverage import DECLARED_MONTH, Coverage, enter_stale, enter_unknown
from pipeline.state.facts import Facts, LogPlace
from pipeline.state.outcomes import AccountOutcomes
from pipeline.state.periods import BENEFICIARY_WINDOWS_MS, DAY_MS, LABEL_WINDOWS_MS
from pipeline.state.state_event import StateEvent, claim_name

LAYOUT: Final = 5
"""The version of what a state store holds, and part of its keys' names: a release with another finds nothing, and
builds the state anew. Raise it with every change of the STATE features, of these windows or of how they are stored."""
CLAIM_KEPT_MS: Final = LATE_AFTER_MS + FUTURE_TOLERANCE_MS
"""An id is remembered for this much log time. A payment may be dated FUTURE_TOLERANCE_MS ahead of the log; so a copy
that comes when its id is forgotten is late, whatever its date."""

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


class SnapshotPruned(Exception):
    """A snapshot was asked for that was committed and dropped long ago, so the asker no longer owns the partition."""

    def __init__(self, partition: int, offset: int) -> None:
        super().__init__(f"the snapshot of partition {partition} at {offset} is gone: it was committed")
        self.partition, self.offset = partition, offset


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
        self._beneficiaries: dict[str, _Beneficiary] = {}
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
            beneficiary = self._beneficiaries[beneficiary_id] = _Beneficiary(self._label_delay_ms)
        outcomes = self._outcomes.get(account_id) if with_outcomes else None
        return (
            *account.observe(event, self._normal_months[account_id], outcomes),
            *beneficiary.observe(event),
            self._reports_of(IP_ADDRESS, event.ip_address),
            self._reports_of(DEVICE, event.device_id),
            beneficiary.confirmed_frauds,
        )

    def month_blocks(self, account_id: str) -> int:
        """Return how many blocks the account's normal month is the mean of, or DECLARED_MONTH."""
        if self._normal_months[account_id] != NONE:
            return DECLARED_MONTH
        return self._accounts[account_id].month_blocks

    def apply(self, outcome: PaymentOutcome) -> None:
        """Take in what became of a payment."""
        outcomes = self._outcomes.get(outcome.account_id)
        if outcomes is None:
            outcomes = self._outcomes[outcome.account_id] = AccountOutcomes()
        outcomes.apply(outcome)

    def label(self, label: Label) -> bool:
        """Mark the payment; return False where no window holds it. Idempotent."""
        beneficiary = self._beneficiaries.get(label.beneficiary_account_id)
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

    def __init__(self, *, label_delay_days: int = 7, shards: int = 1) -> None:
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
        failures: list[StateLost | SnapshotPruned] = []
        for share in batch:
            try:
                progress = self._progress_at(share.partition, share.start_offset, initial, since_ms)
                observations.append(self._observe(share, progress, initial or is_rebuild))
            except (StateLost, SnapshotPruned) as failure:
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
            for outcome in outcomes:
                self.windows.apply(outcome)
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
        freshness = [self._freshness(share.partition, progress, event) for event in share.events]
        snapshots = [_NOT_COUNTED] * len(freshness)
        for place, event in enumerate(share.events):
            if freshness[place] != Freshness.FRESH or not event.is_counted:
                continue
            if event.offset >= progress.reached:
                snapshots[place] = self._count(share, progress, event)
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
        coverage = self._coverage(share.partition)
        enter_unknown(state, share.events, month_blocks, positions, coverage, self._label_delay_ms)
        enter_stale(state, np.array([snapshot.is_stale for snapshot in snapshots], dtype=np.bool_), month_blocks)
        return PartitionObservation(np.array(freshness, dtype=np.int8), state, positions)

    def _count(self, share: PartitionEvents, progress: _Progress, event: StateEvent) -> _Snapshot:
        position = self._outcomes.get(share.partition, NONE)
        is_whole = max(position, 0) >= max(self._outcomes_due.get(share.partition, 0), share.outcomes_due)
        row = self.windows.observe(event, with_outcomes=is_whole)
        blocks = self.windows.month_blocks(event.account_id)
        snapshot = _Snapshot(row, blocks, position if is_whole else UNKNOWN)
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

    def _freshness(self, partition: int, progress: _Progress, event: StateEvent) -> Freshness:
        claim, name = _Claim(event.payment_digest, event.log_time_ms, partition), claim_name(event)
        if event.offset < progress.reached:
            freshness = progress.exceptions.get(event.offset, Freshness.FRESH)
            if freshness == Freshness.FRESH:
                self._claims.setdefault(name, claim)
            return freshness
        shard = crc32(name.encode()) % self._shards
        now_ms = self._watermarks[shard, partition] = max(self._watermarks[shard, partition], event.log_time_ms)
        freshness = self._first_freshness(shard, claim, self._claims.get(name), now_ms)
        if freshness == Freshness.FRESH:
            self._claims[name] = claim._replace(log_time_ms=now_ms)
        else:
            progress.exceptions[event.offset] = freshness
        return freshness

    def _first_freshness(self, shard: int, claim: _Claim, held: _Claim | None, now_ms: int) -> Freshness:
        if held is None:
            return Freshness.FRESH
        # The partition of the first may have come to rest before that of the second went on.
        latest_ms = max(now_ms, self._watermarks[shard, held.partition])
        if held.log_time_ms < latest_ms - CLAIM_KEPT_MS:
            return Freshness.FRESH
        return Freshness.DUPLICATE if held.digest == claim.digest else Freshness.CONFLICT


class _Snapshot(NamedTuple):
    """What was answered about a payment."""

    row: tuple[int, ...]
    month_blocks: int
    outcomes_position: int
    is_stale: bool = False  # a payment before it in the log has counted later


_NOT_COUNTED: Final = _Snapshot(_NO_ROW, 0, NONE)


class _Claim(NamedTuple):
    """The payment that holds a transaction id. Its log time is the latest of its partition at that place of the log."""

    digest: bytes
    log_time_ms: int
    partition: int


class _Progress:
    """The progress of a partition's observation, and the answers that were given."""

    __slots__ = ("exceptions", "late_after", "late_until", "pruned_below", "reached", "since_ms", "snapshots")

    def __init__(self) -> None:
        self.reached, self.pruned_below, self.since_ms = 0, 0, NONE
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


class _Received:
    """One payment in the windows of a beneficiary. A `later` one has the same key; a label is about the first."""

    __slots__ = ("fraud", "key", "later", "time_ms")

    def __init__(self, time_ms: int, key: tuple[str, str, int]) -> None:
        self.time_ms, self.key, self.fraud = time_ms, key, False
        self.later: _Received | None = None


class _Beneficiary:
    __slots__ = (
        "by_key", "delay_ms", "frauds", "frauds_held", "frauds_pinned", "labelled", "latest_ms", "payments",
        "pinned_ms", "senders", "waiting", "windows",
    )  # fmt: skip

    def __init__(self, label_delay_ms: int) -> None:
        self.delay_ms, self.latest_ms = label_delay_ms, 0
        self.payments: deque[_Received] = deque()  # all that any window holds
        self.by_key: dict[tuple[str, str, int], _Received] = {}
        self.windows = [(width, deque[_Received](), dict[str, int]()) for width in BENEFICIARY_WINDOWS_MS]
        self.waiting: deque[_Received] = deque()  # younger than the label delay
        self.labelled = [(place, width, deque[_Received]()) for place, width in enumerate(LABEL_WINDOWS_MS)]
        self.frauds = [0] * len(LABEL_WINDOWS_MS)
        self.frauds_held = 0  # among `payments`, however young they are
        self.frauds_pinned = self.pinned_ms = 0  # those that were pushed out, and the time of the latest

    @property
    def confirmed_frauds(self) -> int:
        return min(self.frauds_held + self.frauds_pinned, BENEFICIARY_PAYMENTS_MAX)

    def observe(self, event: StateEvent) -> list[int]:
        """Count `event`.

        Return the payments of 24 h and 7 d, the senders of both, then labelled and frauds for each label window. They
        are UNKNOWN where the window, or one that holds all younger payments too, is full.
        """
        sender = event.account_id
        now_ms = self.latest_ms = max(event.event_time_ms, self.latest_ms)
        payment = _Received(now_ms, (sender, event.transaction_id, event.event_time_ms))
        self._keep(payment)
        counts: list[int] = []
        distinct: list[int] = []
        for width_ms, queue, senders in self.windows:
            queue.append(payment)
            senders[sender] = senders.get(sender, 0) + 1
            while queue[0].time_ms <= now_ms - width_ms:
                count_down(senders, queue.popleft().key[0])
            is_whole = len(queue) < BENEFICIARY_PAYMENTS_MAX
            counts.append(len(queue) if is_whole else UNKNOWN)
            distinct.append(len(senders) if is_whole else UNKNOWN)
        counts += distinct
        self.waiting.append(payment)
        self._move_labels(now_ms - self.delay_ms)
        for place, _, queue in self.labelled:
            is_whole = len(self.waiting) + len(queue) < BENEFICIARY_PAYMENTS_MAX
            counts += (len(queue), self.frauds[place]) if is_whole else (UNKNOWN, UNKNOWN)
        return counts

    def label(self, label: Label) -> bool:
        payment, fraud = self.by_key.get((label.account_id, label.transaction_id, label.event_time_ms)), label.fraud
        if payment is None:
            return fraud and self._pin_unseen(label.event_time_ms)
        if payment.fraud != fraud:
            payment.fraud = fraud
            self.frauds_held += 1 if fraud else -1
            until_ms = self.latest_ms - self.delay_ms
            for place, width_ms, _ in self.labelled:
                is_inside = until_ms - width_ms < payment.time_ms <= until_ms
                self.frauds[place] += (1 if fraud else -1) * is_inside
        return True

    def _keep(self, payment: _Received) -> None:
        """Make `payment` known to labels, and forget the payments that no window can hold any more."""
        payments = self.payments
        kept_after_ms = payment.time_ms - self.delay_ms - LABEL_WINDOWS_MS[-1]
        if self.pinned_ms <= kept_after_ms:
            self.frauds_pinned = 0
        while payments and payments[0].time_ms <= kept_after_ms:
            self._forget(payments.popleft())
        if len(payments) == BENEFICIARY_PAYMENTS_MAX:
            self._push_out(payments.popleft())
        payments.append(payment)
        held = self.by_key.setdefault(payment.key, payment)
        if held is not payment:
            while held.later is not None:
                held = held.later
            held.later = payment

    def _pin_unseen(self, event_time_ms: int) -> bool:
        """Count a fraud among those that were pushed out; return whether it may be one of them.

        It counts again where it is told again, and is never turned back, since it isn't known which ones were.
        """
        is_full = len(self.payments) == BENEFICIARY_PAYMENTS_MAX
        after_ms = self.latest_ms - self.delay_ms - LABEL_WINDOWS_MS[-1]
        if not is_full or not after_ms < event_time_ms <= self.payments[0].time_ms:
            return False
        self._pin(self.payments[0].time_ms)  # its effective time is no later
        return True

    def _pin(self, time_ms: int) -> None:
        self.frauds_pinned = min(self.frauds_pinned + 1, BENEFICIARY_PAYMENTS_MAX)
        self.pinned_ms = time_ms

    def _forget(self, payment: _Received) -> None:
        self.frauds_held -= payment.fraud
        if payment.later is None:
            del self.by_key[payment.key]
        else:
            self.by_key[payment.key] = payment.later

    def _push_out(self, oldest: _Received) -> None:
        """Drop the oldest payment, which stands first in every window that holds it."""
        self._forget(oldest)
        if oldest.fraud:
            self._pin(oldest.time_ms)
        for _, queue, senders in self.windows:
            if queue and queue[0] is oldest:
                count_down(senders, queue.popleft().key[0])
        if self.waiting and self.waiting[0] is oldest:
            self.waiting.popleft()
        for place, _, queue in self.labelled:
            if queue and queue[0] is oldest:
                self.frauds[place] -= queue.popleft().fraud

    def _move_labels(self, until_ms: int) -> None:
        """Let payments that are old enough enter the label windows, and those that are too old leave them."""
        waiting, frauds = self.waiting, self.frauds
        while waiting and waiting[0].time_ms <= until_ms:
            entering = waiting.popleft()
            for place, _, queue in self.labelled:
                queue.append(entering)
                frauds[place] += entering.fraud
        for place, width_ms, queue in self.labelled:
            while queue and queue[0].time_ms <= until_ms - width_ms:
                frauds[place] -= queue.popleft().fraud
