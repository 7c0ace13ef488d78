"""State features by exact sliding windows: their records, and the reference that the state store is held to.

Invariants
1. Effective time, per account and per beneficiary, is max(event time, the latest seen), so it never runs backwards.
2. A window (t - w, t] is exact to the millisecond and holds the current payment; it holds at most the latest
   ACCOUNT_PAYMENTS_MAX (BENEFICIARY_PAYMENTS_MAX) payments.
3. The answer for an event depends only on the log before it, neither on batch boundaries nor on redelivery.
4. A transaction id is FRESH at one offset of the log only, however late its copies come.

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

from pipeline.domain.context import Label
from pipeline.domain.features import ACCOUNT_PAYMENTS_MAX, BENEFICIARY_PAYMENTS_MAX, NONE, STATE
from pipeline.state.state_event import StateEvent

LAYOUT: Final = 3
"""The version of what a state store holds, and part of its keys' names: a release with another finds nothing, and
builds the state anew. Raise it with every change of the STATE features, of these windows or of how they are stored."""
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
ACCOUNT_WINDOWS_MS: Final = (HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
BENEFICIARY_WINDOWS_MS: Final = (DAY_MS, 7 * DAY_MS)
LABEL_WINDOWS_MS: Final = (DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
BLOCK_MS: Final = 30 * DAY_MS
"""A normal month is the mean of complete blocks of 30 days, counted from 1970-01-01."""
NORMAL_MONTH_BLOCKS: Final = 3
CLAIM_KEPT_MS: Final = 7 * DAY_MS
"""An id is remembered until its event time is this far behind the latest event time of its partition."""
ACCOUNT_BENEFICIARIES_MAX: Final = 65_536
"""Most beneficiaries that an account remembers, for ever. Beyond that, each payment to an unknown one counts as new and
as one more distinct beneficiary."""
BLOCK_SUM_MINOR_MAX: Final = 2**51
"""Largest sum of a block. Three still sum below 2^53, the largest integer that Lua holds exactly."""

IP_ADDRESS: Final = "IP_ADDRESS"
DEVICE: Final = "DEVICE"
_Paid = tuple[int, int, str, bool]  # effective time, amount, beneficiary, is near limit
_DAY: Final = ACCOUNT_WINDOWS_MS.index(DAY_MS)
_UNKNOWN_ROW: Final = (NONE,) * len(STATE)


class Freshness(IntEnum):
    """The freshness of a transaction id; see invariant 4."""

    FRESH = 0
    DUPLICATE = 1  # seen before with the same body
    CONFLICT = 2  # seen before with another body
    TOO_OLD = 3  # so far behind its partition's latest event time that its id may have been forgotten


class PartitionEvents(NamedTuple):
    """A partition's share of a batch."""

    partition: int
    start_offset: int  # the end offset of the previous batch, which this one follows
    end_offset: int  # exclusive
    committed_offset: int  # everything below is committed, so snapshots below may be dropped
    events: Sequence[StateEvent]  # by ascending offset; some offsets may be missing


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


class Windows:
    """The STATE features of payments, computed in log order."""

    def __init__(self, *, label_delay_days: int = 7) -> None:
        self._label_delay_ms = label_delay_days * DAY_MS
        self._accounts: dict[str, _Account] = {}
        self._beneficiaries: dict[str, _Beneficiary] = {}
        self._normal_months: dict[str, tuple[int, int]] = {}  # account → updated at, GBP minor
        self._reports: dict[tuple[str, str], tuple[int, int]] = {}  # kind and entity → observed at, reports

    def observe(self, event: StateEvent) -> tuple[int, ...]:
        """Count `event` and return its STATE features, which are all NONE where it does not count."""
        if not event.is_counted:
            return _UNKNOWN_ROW
        account_id, beneficiary_id = event.account_id, event.beneficiary_account_id
        account = self._accounts.get(account_id)
        if account is None:
            account = self._accounts[account_id] = _Account()
        beneficiary = self._beneficiaries.get(beneficiary_id)
        if beneficiary is None:
            beneficiary = self._beneficiaries[beneficiary_id] = _Beneficiary(self._label_delay_ms)
        declared = self._normal_months.get(account_id, (0, NONE))[1]
        return (
            *account.observe(event, declared),
            *beneficiary.observe(event),
            self._reports_of(IP_ADDRESS, event.ip_address),
            self._reports_of(DEVICE, event.device_id),
            beneficiary.confirmed_frauds,
        )

    def label(self, label: Label) -> bool:
        """Mark the payment; return False where no window holds it. Idempotent."""
        beneficiary = self._beneficiaries.get(label.beneficiary_account_id)
        return beneficiary is not None and beneficiary.label(label)

    def upsert_account(self, account_id: str, updated_at_ms: int, normal_month_gbp_minor: int | None) -> None:
        """Store what an account declares; the newest wins, and None takes a declaration back."""
        held = self._normal_months.get(account_id)
        if held is None or held[0] <= updated_at_ms:
            declared = NONE if normal_month_gbp_minor is None else normal_month_gbp_minor
            self._normal_months[account_id] = (updated_at_ms, declared)

    def upsert_risk_signal(self, kind: str, entity: str, fraud_reports: int, observed_at_ms: int) -> None:
        """Store the fraud reports of an entity; the newest wins. `kind` is IP_ADDRESS or DEVICE."""
        held = self._reports.get((kind, entity))
        if held is None or held[0] <= observed_at_ms:
            self._reports[kind, entity] = (observed_at_ms, fraud_reports)

    def _reports_of(self, kind: str, entity: str | None) -> int:
        return NONE if entity is None else self._reports.get((kind, entity), (0, 0))[1]


class MemoryState:
    """The state store in memory: the plainest form of the contract that RedisState keeps."""

    def __init__(self, *, label_delay_days: int = 7, shards: int = 1) -> None:
        self.windows = Windows(label_delay_days=label_delay_days)
        self._shards = shards
        self._claims: dict[str, _Claim] = {}  # by transaction id
        self._watermarks: Counter[tuple[int, int]] = Counter()  # shard and partition → latest event time
        self._progress: dict[int, _Progress] = {}

    def observe(
        self, batch: Sequence[PartitionEvents], *, initial: bool = False, is_rebuild: bool = False
    ) -> list[PartitionObservation]:
        """Observe a batch as RedisState.observe does."""
        observations: list[PartitionObservation] = []
        failures: list[StateLost | SnapshotPruned] = []
        for share in batch:
            try:
                observations.append(self._observe(share, initial, initial or is_rebuild))
            except (StateLost, SnapshotPruned) as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
        return observations

    def label(self, label: Label) -> bool:
        return self.windows.label(label)

    def upsert_account(self, account_id: str, updated_at_ms: int, normal_month_gbp_minor: int | None) -> None:
        self.windows.upsert_account(account_id, updated_at_ms, normal_month_gbp_minor)

    def upsert_risk_signal(self, kind: str, entity: str, fraud_reports: int, observed_at_ms: int) -> None:
        self.windows.upsert_risk_signal(kind, entity, fraud_reports, observed_at_ms)

    def positions(self, partition: int) -> int | None:
        progress = self._progress.get(partition)
        return None if progress is None else progress.reached

    def _observe(self, share: PartitionEvents, initial: bool, is_pruned_allowed: bool) -> PartitionObservation:
        progress = self._progress_at(share.partition, share.start_offset, initial)
        freshness = [self._freshness(share.partition, progress, event) for event in share.events]
        rows = [_UNKNOWN_ROW] * len(freshness)
        for place, event in enumerate(share.events):
            if freshness[place] != Freshness.FRESH or not event.is_counted:
                continue
            if event.offset >= progress.reached:
                progress.snapshots[event.offset] = rows[place] = self.windows.observe(event)
            elif event.offset in progress.snapshots:
                rows[place] = progress.snapshots[event.offset]
            elif event.offset < progress.pruned_below and not is_pruned_allowed:
                raise SnapshotPruned(share.partition, event.offset)
        progress.move_on(share)
        state = np.array(rows, dtype=np.int64).reshape(-1, len(STATE))
        return PartitionObservation(np.array(freshness, dtype=np.int8), state, np.full(len(state), NONE, np.int64))

    def _progress_at(self, partition: int, start_offset: int, initial: bool) -> _Progress:
        progress = self._progress.get(partition)
        if progress is None:
            if start_offset > 0 and not initial:
                raise StateLost(partition, None)
            progress = self._progress[partition] = _Progress(start_offset)
        elif progress.reached < start_offset:
            if not initial:
                raise StateLost(partition, progress.reached)
            progress.reached = start_offset
        return progress

    def _freshness(self, partition: int, progress: _Progress, event: StateEvent) -> Freshness:
        claim = _Claim(event.body_digest, event.event_time_ms, partition)
        if event.offset < progress.reached:
            freshness = progress.exceptions.get(event.offset, Freshness.FRESH)
            if freshness == Freshness.FRESH:
                self._claims.setdefault(event.transaction_id, claim)
            return freshness
        shard = crc32(event.transaction_id.encode()) % self._shards
        freshness = self._first_freshness(shard, claim, self._claims.get(event.transaction_id))
        if freshness == Freshness.FRESH:
            self._claims[event.transaction_id] = claim
        else:
            progress.exceptions[event.offset] = freshness
        self._watermarks[shard, partition] = max(self._watermarks[shard, partition], event.event_time_ms)
        return freshness

    def _first_freshness(self, shard: int, claim: _Claim, held: _Claim | None) -> Freshness:
        if held is not None and held.event_time_ms >= self._watermarks[shard, held.partition] - CLAIM_KEPT_MS:
            return Freshness.DUPLICATE if held.body_digest == claim.body_digest else Freshness.CONFLICT
        is_late = claim.event_time_ms < self._watermarks[shard, claim.partition] - CLAIM_KEPT_MS
        return Freshness.TOO_OLD if is_late else Freshness.FRESH


class _Claim(NamedTuple):
    """The payment that holds a transaction id."""

    body_digest: bytes
    event_time_ms: int
    partition: int


class _Progress:
    """The progress of a partition's observation, and the answers that were given."""

    __slots__ = ("exceptions", "pruned_below", "reached", "snapshots")

    def __init__(self, reached: int) -> None:
        self.reached, self.pruned_below = reached, 0
        self.snapshots: dict[int, tuple[int, ...]] = {}
        self.exceptions: dict[int, Freshness] = {}  # offset → freshness, where not FRESH

    def move_on(self, share: PartitionEvents) -> None:
        self.reached = max(self.reached, share.end_offset)
        for offset in [offset for offset in self.snapshots if offset < share.committed_offset]:
            del self.snapshots[offset]
            self.pruned_below = max(self.pruned_below, offset + 1)


class _Account:
    __slots__ = (
        "beneficiaries", "block", "block_sums", "count", "first_block", "latest_ms", "near_limit", "recent", "sums",
        "windows",
    )  # fmt: skip

    def __init__(self) -> None:
        self.latest_ms, self.count = NONE, 0
        # (time, amount, beneficiary, is near limit), oldest first, one queue a window
        self.windows = [(place, width, deque[_Paid]()) for place, width in enumerate(ACCOUNT_WINDOWS_MS)]
        self.sums = [0, 0, 0, 0]
        self.near_limit = 0
        self.recent: dict[str, int] = {}  # beneficiary → payments in 24 h
        self.beneficiaries: set[str] = set()
        self.first_block = self.block = 0
        self.block_sums = [0] * (NORMAL_MONTH_BLOCKS + 1)  # the current block first

    def observe(self, event: StateEvent, declared_month_minor: int) -> list[int]:
        amount, beneficiary, previous_ms = event.amount_gbp_minor, event.beneficiary_account_id, self.latest_ms
        now_ms = self.latest_ms = max(event.event_time_ms, previous_ms)
        self.count += 1
        is_new = beneficiary not in self.beneficiaries
        if is_new and len(self.beneficiaries) < ACCOUNT_BENEFICIARIES_MAX:
            self.beneficiaries.add(beneficiary)
        elif is_new:
            beneficiary = f"\0{self.count}"  # no id: it counts as one more distinct each time
        self.recent[beneficiary] = self.recent.get(beneficiary, 0) + 1
        self.near_limit += event.is_near_limit
        row = self._enter((now_ms, amount, beneficiary, event.is_near_limit))
        since_last_ms = NONE if previous_ms == NONE else now_ms - previous_ms
        month_minor = self._normal_month(now_ms // BLOCK_MS, amount)
        month_minor = month_minor if declared_month_minor == NONE else declared_month_minor
        row += (since_last_ms, len(self.recent), self.near_limit, month_minor, int(is_new))
        row += (row[3], row[6], row[7], 1)  # no outcome is known, so all volume stands and no payee is paid
        return row

    def _enter(self, payment: _Paid) -> list[int]:
        """Enter the payment into each window; return the count and sum of each."""
        now_ms, amount, _, _ = payment
        row: list[int] = []
        sums = self.sums
        for place, width_ms, queue in self.windows:
            queue.append(payment)
            count, total, until_ms = len(queue), sums[place] + amount, now_ms - width_ms
            while queue[0][0] <= until_ms or count > ACCOUNT_PAYMENTS_MAX:
                leaving = queue.popleft()
                count -= 1
                total -= leaving[1]
                if place == _DAY:
                    self._leave_day(leaving)
            sums[place] = total
            row += (count, total)
        return row

    def _leave_day(self, payment: _Paid) -> None:
        _, _, beneficiary, is_near_limit = payment
        self.near_limit -= is_near_limit
        _count_down(self.recent, beneficiary)

    def _normal_month(self, block: int, amount: int) -> int:
        """Add `amount` to its block; return the mean of the complete blocks before it, rounded half up."""
        if not self.first_block:
            self.first_block = self.block = block
        elif block > self.block:
            passed = min(block - self.block, len(self.block_sums))
            self.block_sums = ([0] * passed + self.block_sums)[: len(self.block_sums)]
            self.block = block
        sums = self.block_sums
        sums[0] = min(sums[0] + amount, BLOCK_SUM_MINOR_MAX)
        complete = min(NORMAL_MONTH_BLOCKS, block - self.first_block)
        if not complete:
            return NONE
        return (2 * sum(sums[1 : complete + 1]) + complete) // (2 * complete)


class _Received:
    """One payment in the windows of a beneficiary."""

    __slots__ = ("fraud", "key", "time_ms")

    def __init__(self, time_ms: int, key: tuple[str, str, int]) -> None:
        self.time_ms, self.key, self.fraud = time_ms, key, False


class _Beneficiary:
    __slots__ = (
        "by_key", "confirmed_frauds", "delay_ms", "frauds", "labelled", "latest_ms", "payments", "senders", "waiting",
        "windows",
    )  # fmt: skip

    def __init__(self, label_delay_ms: int) -> None:
        self.delay_ms, self.latest_ms = label_delay_ms, 0
        self.payments: deque[_Received] = deque()  # all that any window holds
        self.by_key: dict[tuple[str, str, int], _Received] = {}
        self.windows = [(width, deque[_Received](), dict[str, int]()) for width in BENEFICIARY_WINDOWS_MS]
        self.waiting: deque[_Received] = deque()  # younger than the label delay
        self.labelled = [(place, width, deque[_Received]()) for place, width in enumerate(LABEL_WINDOWS_MS)]
        self.frauds = [0] * len(LABEL_WINDOWS_MS)
        self.confirmed_frauds = 0  # among `payments`, however young they are

    def observe(self, event: StateEvent) -> list[int]:
        """Count `event`.

        Return the payments of 24 h and 7 d, the senders of both, then labelled and frauds for each label window.
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
                _count_down(senders, queue.popleft().key[0])
            counts.append(len(queue))
            distinct.append(len(senders))
        counts += distinct
        self.waiting.append(payment)
        self._move_labels(now_ms - self.delay_ms)
        for place, _, queue in self.labelled:
            counts += (len(queue), self.frauds[place])
        return counts

    def label(self, label: Label) -> bool:
        payment, fraud = self.by_key.get((label.account_id, label.transaction_id, label.event_time_ms)), label.fraud
        if payment is None:
            return False
        if payment.fraud != fraud:
            payment.fraud = fraud
            self.confirmed_frauds += 1 if fraud else -1
            until_ms = self.latest_ms - self.delay_ms
            for place, width_ms, _ in self.labelled:
                is_inside = until_ms - width_ms < payment.time_ms <= until_ms
                self.frauds[place] += (1 if fraud else -1) * is_inside
        return True

    def _keep(self, payment: _Received) -> None:
        """Make `payment` known to labels, and forget the payments that no window can hold any more."""
        payments = self.payments
        kept_after_ms = payment.time_ms - self.delay_ms - LABEL_WINDOWS_MS[-1]
        while payments and payments[0].time_ms <= kept_after_ms:
            self._forget(payments.popleft())
        if len(payments) == BENEFICIARY_PAYMENTS_MAX:
            self._push_out(payments.popleft())
        payments.append(payment)
        self.by_key[payment.key] = payment

    def _forget(self, payment: _Received) -> None:
        self.confirmed_frauds -= payment.fraud
        if self.by_key.get(payment.key) is payment:
            del self.by_key[payment.key]

    def _push_out(self, oldest: _Received) -> None:
        """Drop the oldest payment, which stands first in every window that holds it."""
        self._forget(oldest)
        for _, queue, senders in self.windows:
            if queue and queue[0] is oldest:
                _count_down(senders, queue.popleft().key[0])
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


def _count_down(counts: dict[str, int], name: str) -> None:
    """Count a name down, and drop it at 0, so that the length of `counts` is the number of distinct names."""
    if counts[name] == 1:
        del counts[name]
    else:
        counts[name] -= 1
