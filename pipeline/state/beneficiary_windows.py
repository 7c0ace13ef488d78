"""The windows of one beneficiary, and what labels say of the payments in them: the plain reference."""

from __future__ import annotations

from collections import deque

from pipeline.domain.context import Label
from pipeline.domain.features import BENEFICIARY_PAYMENTS_MAX, NONE, UNKNOWN
from pipeline.state.account_windows import count_down
from pipeline.state.periods import BENEFICIARY_WINDOWS_MS, LABEL_WINDOWS_MS
from pipeline.state.state_event import StateEvent
from pipeline.state.unusual.fraud_run import FraudRun, Kind


class _Received:
    """One payment in the windows of a beneficiary. A `later` one has the same key; a label is about the first."""

    __slots__ = ("fraud", "key", "kind", "later", "number", "stated_ms", "time_ms")

    def __init__(self, number: int, time_ms: int, key: tuple[str, str, int], kind: Kind) -> None:
        self.number, self.time_ms, self.key, self.kind, self.fraud = number, time_ms, key, kind, False
        self.later: _Received | None = None
        self.stated_ms = NONE  # when the newest label was made by which it is fraud


class BeneficiaryWindows:
    __slots__ = (
        "by_key", "delay_ms", "frauds", "frauds_held", "frauds_pinned", "labelled", "latest_ms", "number", "payments",
        "pinned_ms", "run", "run_told", "waiting", "windows",
    )  # fmt: skip

    def __init__(self, label_delay_ms: int) -> None:
        self.delay_ms, self.latest_ms, self.number = label_delay_ms, 0, 0
        self.payments: deque[_Received] = deque()  # all that any window holds
        self.by_key: dict[tuple[str, str, int], _Received] = {}
        self.windows = [(width, deque[_Received](), dict[str, int]()) for width in BENEFICIARY_WINDOWS_MS]
        self.waiting: deque[_Received] = deque()  # younger than the label delay
        self.labelled = [(place, width, deque[_Received]()) for place, width in enumerate(LABEL_WINDOWS_MS)]
        self.frauds = [0] * len(LABEL_WINDOWS_MS)
        self.run = FraudRun[_Received](self.labelled[-1][2])
        self.run_told = (0, NONE)
        self.frauds_held = 0  # among `payments`, however young they are
        self.frauds_pinned = self.pinned_ms = 0  # those that were pushed out, and the time of the latest

    @property
    def confirmed_frauds(self) -> int:
        return min(self.frauds_held + self.frauds_pinned, BENEFICIARY_PAYMENTS_MAX)

    def observe(self, event: StateEvent, kind: Kind) -> list[int]:
        """Count `event`.

        Return the payments of 24 h and 7 d, the senders of both, then labelled and frauds for each label window. The
        first four are UNKNOWN where their window is full. A label window that is full tells of the payments that it
        still holds, and of the frauds of all: a payee of 3,000 payments a day is no stranger, and no fewer of its
        payments were fraud. Where it holds none any more, it is UNKNOWN.
        """
        sender, previous_ms = event.account_id, self.latest_ms
        now_ms = self.latest_ms = max(event.event_time_ms, previous_ms)
        self.number += 1
        payment = _Received(self.number, now_ms, (sender, event.transaction_id, event.event_time_ms), kind)
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
        until_ms = now_ms - self.delay_ms
        self._move_labels(until_ms, is_at_once=bool(self.waiting) and previous_ms <= until_ms)
        is_full = len(self.payments) == BENEFICIARY_PAYMENTS_MAX
        self.run_told = self.run.told(now_ms, is_whole=not is_full)
        self.waiting.append(payment)
        if not self.delay_ms:
            self._move_labels(until_ms, is_at_once=False)
        for place, _, queue in self.labelled:
            is_whole = len(self.waiting) + len(queue) < BENEFICIARY_PAYMENTS_MAX
            counts += (len(queue), self.frauds[place]) if is_whole else self._held(len(queue), self.frauds[place])
        return counts

    def _held(self, labelled: int, frauds: int) -> tuple[int, int]:
        """Return both counts of a label window that is full."""
        return (labelled, min(frauds + self.frauds_pinned, labelled)) if labelled else (UNKNOWN, UNKNOWN)

    def label(self, label: Label) -> bool:
        """Mark the payment; return False where no window holds it.

        The later in the log holds, but for one that takes a fraud back and was made before the one that it takes back:
        a queue that stood still must not undo what people have found out since.
        """
        payment, fraud = self.by_key.get((label.account_id, label.transaction_id, label.event_time_ms)), label.fraud
        if payment is None:
            return fraud and self._pin_unseen(label.event_time_ms)
        if not fraud and label.labelled_at_ms < payment.stated_ms:
            return True  # it is overtaken: somebody has found out since that it is fraud
        payment.stated_ms = max(payment.stated_ms, label.labelled_at_ms) if fraud else NONE
        if payment.fraud != fraud:
            payment.fraud = fraud
            self.frauds_held += 1 if fraud else -1
            until_ms = self.latest_ms - self.delay_ms
            for place, width_ms, _ in self.labelled:
                is_inside = until_ms - width_ms < payment.time_ms <= until_ms
                self.frauds[place] += (1 if fraud else -1) * is_inside
            if is_inside:  # the longest window
                self.run.relabel(payment)
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
                if queue is self.labelled[-1][2]:
                    self.run.leave(oldest)

    def _move_labels(self, until_ms: int, *, is_at_once: bool) -> None:
        """Let payments that are old enough enter the label windows, and those that are too old leave them.

        is_at_once: all that wait enter, and the run of frauds is looked up anew.
        """
        waiting, frauds, run, longest = self.waiting, self.frauds, self.run, self.labelled[-1][2]
        while waiting and waiting[0].time_ms <= until_ms:
            entering = waiting.popleft()
            for place, _, queue in self.labelled:
                queue.append(entering)
                frauds[place] += entering.fraud
            if not is_at_once:
                run.enter(entering)
        if is_at_once:
            run.look_back()
        for place, width_ms, queue in self.labelled:
            while queue and queue[0].time_ms <= until_ms - width_ms:
                frauds[place] -= (leaving := queue.popleft()).fraud
                if queue is longest:
                    run.leave(leaving)
