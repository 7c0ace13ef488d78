"""A payment of the worker's own, decided apart from all others, to tell a payment's fault from one that all meet.

A record that fails alone is poison only while a payment that is known to be sound can be decided. Where that fails too,
the fault is the server's or ours (a command that Redis forbids, a script that is broken), and no payment is to blame.
The probe goes through the same code and the same scripts, under keys of its own (`PREFIX:probe`), so nothing that it
does is seen by a payment; it is never published. It keeps two payments: one is new, and one is asked for again. As in a
log, the record at an offset is always the same, its time included: what another one had claimed would be a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pipeline.decide.batch import Judge, Judged
from pipeline.decide.verdict import Mode
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.payment import Channel, Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.state.store import RedisState

PREFIX: Final = "probe"
ACCOUNT: Final = "probe-account"
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
FIRST_MS: Final = 1_577_836_800_000
"""When the payment at offset 0 was made, 2020-01-01; each of the others is an hour later than the one before."""
ACCOUNT_AGE_DAYS: Final = 1_000
_CLOSED: Final = Mode(BreakerState.CLOSED, "all", True)


class ProbeFailed(Exception):
    """A sound payment came to something else than a decision."""


class Probe:
    """Decides the probe's payments; its state outlives the worker, so that some are always asked for again."""

    def __init__(
        self, state: RedisState, wire: WireFormat, partition_of: Callable[[bytes], int], clock_ms: Callable[[], int]
    ) -> None:
        """state: under a prefix of its own. partition_of: of transactions.v1."""
        self._state, self._wire, self._clock_ms = state, wire, clock_ms
        self._key = ACCOUNT.encode()
        self._partition = partition_of(self._key)

    async def decide(self, judge: Judge) -> None:
        """Return where the probe's payments are decided; raise whatever keeps them from it."""
        reached = await self._state.positions(self._partition) or 0
        first = max(reached - 1, 0)
        records = [self._record(offset) for offset in range(first, reached + 1)]
        reading = judge.read(records)
        events = judge.state_events(reading, [Span(self._partition, first, reached + 1, first)])
        observations = await self._state.observe(events)
        judged = Judged.whole(judge.judge(reading, observations, lambda _payment: _CLOSED, self._clock_ms()))
        _require_decided(records, judged)

    async def close(self) -> None:
        await self._state.close()

    def _record(self, offset: int) -> Record:
        payment = _payment(offset)
        source = Source(self._partition, offset, payment.event_time_ms)
        return Record(self._key, self._wire.encode_transaction(payment), source)


def _payment(offset: int) -> Transaction:
    made_at_ms = FIRST_MS + offset * HOUR_MS
    return Transaction(
        transaction_id=f"{ACCOUNT}-{offset}",
        account_id=ACCOUNT,
        amount_minor=1,
        currency="GBP",
        event_time_ms=made_at_ms,
        beneficiary_account_id="probe-beneficiary",
        beneficiary_name="probe",
        beneficiary_country="GB",
        beneficiary_opened_at_ms=made_at_ms - ACCOUNT_AGE_DAYS * DAY_MS,
        reference="probe",
        channel=Channel.FASTER_PAYMENT,
        ip_address="192.0.2.1",
        device_id="probe-device",
        account_opened_epoch_day=made_at_ms // DAY_MS - ACCOUNT_AGE_DAYS,
        account_time_zone="UTC",
        segments={},
    )


def _require_decided(records: Sequence[Record], judged: Judged) -> None:
    if judged.outcomes.total() != len(records):
        raise ProbeFailed(f"{judged.outcomes.total()} of {len(records)} sound payments were decided")
