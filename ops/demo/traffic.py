"""The demonstration's payments: a past, then seeded traffic at a steady rate.

Now and then a record is republished or broken.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import chain
from typing import Final

from models.simulator import LabelledTransaction, TrafficEvent, TrafficSettings, traffic_events
from models.simulator.generate_command import publish_event
from ops.demo.past import SHARE, PastOutcomes, past_days
from pipeline.decide.policy import Policy
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.bulk_publisher import BulkPublisher, Pace
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure, failure_of

DAYS: Final = 5
"""Days of event time, however long the run takes. A payment that is given back to be decided anew must not be 6 days
old."""
PAYMENTS_A_DAY: Final = 2.0
"""Payments of each account a day; a higher rate takes more accounts."""
ACCOUNTS_MIN: Final = 400
EARLY_RATE: Final = 50
"""Most payments a second until everything has started. The broker keeps 5 MB a partition for readers that come late."""
FRAUD_SHARE: Final = 0.03
GUARDRAIL_SHARE: Final = 0.01
FIRST_PAYMENTS: Final = 20
"""Payments published while the worker still starts. The others come once these are decided, so that none waits."""
RUN: Final = "demo"
"""Begins the payments' ids."""
HOUR_MS: Final = 3_600_000
REPUBLISHED_EVERY: Final = 400
BROKEN_EVERY: Final = 700
EARLY_S: Final = 30
"""Time that this may take. Where a busy machine takes longer, its payments end a little later in event time."""
_BROKEN: Final = b"\xc3\x01not a payment at all"


class Traffic:
    """Traffic in which days of event time pass in seconds, and end at about now.

    `publish_past` returns when the accounts, their past and what became of it are on the log. A thread publishes
    everything else until `stop`: FIRST_PAYMENTS after `start`, and the rest after `go`, slowly until `go_on`.
    """

    def __init__(
        self,
        settings: Settings,
        wire: WireFormat,
        policy: Policy,
        *,
        seed: int,
        rate: int,
        seconds_max: int,
        changed: Callable[[TrafficEvent], TrafficEvent] = lambda event: event,
        is_around_the_clock: bool = False,
    ) -> None:
        """changed: what each event becomes before it is published. is_around_the_clock: no hour of the day differs."""
        self._settings, self._wire, self._outcomes = settings, wire, PastOutcomes(policy)
        self._early_pace, self._pace = Pace(min(EARLY_RATE, rate)), Pace(rate)
        self.rate = rate
        payments = rate * seconds_max + EARLY_RATE * EARLY_S
        accounts = max(int(payments / (DAYS * PAYMENTS_A_DAY)), ACCOUNTS_MIN)
        days_before = past_days(accounts, PAYMENTS_A_DAY)
        start_ms = (int(time.time()) * 1000 - (days_before + DAYS) * 24 * HOUR_MS) // HOUR_MS * HOUR_MS
        self.plan = TrafficSettings(
            seed,
            accounts,
            start_ms,
            days_before + DAYS,
            payments_per_account_day=PAYMENTS_A_DAY,
            fraud_share=FRAUD_SHARE,
            guardrail_share=GUARDRAIL_SHARE,
            profile_share=1.0,
            quiet_days=days_before,
            quiet_share=SHARE,
            is_around_the_clock=is_around_the_clock,
        )
        self._events = map(changed, traffic_events(self.plan))
        self._next: TrafficEvent | None = None  # the first event that doesn't belong to the past
        self._stopping, self._going, self._is_all_there = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)
        self.published = 0
        """Number of records on transactions.v1 after the past, of whatever kind."""
        self.failure: Failure | None = None

    def publish_past(self) -> None:
        publisher = BulkPublisher(self._settings)
        for event in self._events:
            if isinstance(event, LabelledTransaction) and event.transaction.event_time_ms >= self.plan.busy_from_ms:
                self._next = event
                break
            publish_event(self._settings, publisher, self._wire, event, RUN, is_now=False)
            if isinstance(event, LabelledTransaction):
                self._publish_outcome(publisher, event)
        publisher.flush()

    def _publish_outcome(self, publisher: BulkPublisher, event: LabelledTransaction) -> None:
        told = self._outcomes.of(event, f"{RUN}-{event.transaction.transaction_id}")
        if told is not None:
            topic = self._settings.topic("executions.v1")
            publisher.publish(topic, told.account_id.encode(), self._wire.encode(told), 0)

    def start(self) -> None:
        self._thread.start()

    def go(self) -> None:
        self._going.set()

    def go_on(self) -> None:
        """Go on at the full rate, because everything has started."""
        self._is_all_there.set()

    def stop(self) -> None:
        """Stop, and wait until every record is acknowledged."""
        self._stopping.set()
        self._going.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._publish(BulkPublisher(self._settings))
        except BrokerFailed as error:
            self.failure = failure_of(error)

    def _publish(self, publisher: BulkPublisher) -> None:
        assert self._next is not None, "the past is published first"
        for event in chain([self._next], self._events):
            if self._stopping.is_set():
                break
            is_payment = isinstance(event, LabelledTransaction)
            if is_payment and self.published == FIRST_PAYMENTS:
                publisher.flush()
                self._going.wait()
            if is_payment and self._going.is_set():
                (self._pace if self._is_all_there.is_set() else self._early_pace).wait()
            publish_event(self._settings, publisher, self._wire, event, RUN, is_now=True)
            if is_payment:
                self.published += 1
                if self.published % REPUBLISHED_EVERY == 0:
                    publish_event(self._settings, publisher, self._wire, event, RUN, is_now=True)
                    self.published += 1
                elif self.published % BROKEN_EVERY == 0:
                    publisher.publish(self._settings.topic("transactions.v1"), b"broken", _BROKEN, 0)
                    self.published += 1
        publisher.flush()
