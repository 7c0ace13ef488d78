"""Random logs: few parties, ties, late events, copies, conflicts, gaps between offsets, long silences, and a log's time
that runs backwards, as that of history does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from hypothesis import strategies as st

from pipeline.domain.context import Label
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import CLAIM_KEPT_MS, PartitionEvents
from tests.state.stores import DAY_MS, HOUR_MS, MINUTE_MS, START_MS

PARTITIONS: Final = (0, 3)
STEPS_MS: Final = (0, 0, 1, MINUTE_MS, HOUR_MS - 1, HOUR_MS, 7 * HOUR_MS, DAY_MS, DAY_MS - 1, 3 * DAY_MS, 7 * DAY_MS)
LONG_STEPS_MS: Final = (30 * DAY_MS, 37 * DAY_MS - 1, 90 * DAY_MS)
CLAIM_STEPS_MS: Final = (CLAIM_KEPT_MS, CLAIM_KEPT_MS + 1)
LATE_MS: Final = (0, 0, 0, 0, 1, HOUR_MS, 6 * DAY_MS, 8 * DAY_MS, 31 * DAY_MS)


@dataclass(frozen=True, slots=True)
class Log:
    """Records in the order in which they were published, and where batches end."""

    records: list[tuple[int, StateEvent]]  # partition and event
    ends: list[int]  # ascending, the last len(records)

    def of_one_partition(self) -> Log:
        """Return the same records, all in the first partition."""
        events = [replace(event, offset=place) for place, (_, event) in enumerate(self.records)]
        return Log([(PARTITIONS[0], event) for event in events], self.ends)

    def batches(self) -> list[list[PartitionEvents]]:
        """Yield the batches; each holds a share of every partition, and some shares are empty."""
        begin, starts, result = 0, dict.fromkeys(PARTITIONS, 0), []
        for end in self.ends:
            shares = []
            for partition in PARTITIONS:
                events = [event for place, event in self.records[begin:end] if place == partition]
                past = events[-1].offset + 1 if events else starts[partition]
                shares.append(PartitionEvents(partition, starts[partition], past, starts[partition], events))
                starts[partition] = past
            result.append(shares)
            begin = end
        return result


@st.composite
def logs(draw: st.DrawFn, *, records_max: int = 120) -> Log:
    count = draw(st.integers(1, records_max))
    random = Random(draw(st.integers(0, 2**32)))  # one draw: a draw for each choice takes hypothesis seconds a log
    steps_ms = STEPS_MS + LONG_STEPS_MS * draw(st.booleans()) + CLAIM_STEPS_MS
    accounts, payees = draw(st.sampled_from(((3, 4), (1, 1), (1, 4), (3, 1))))  # few have many payments in a batch
    behind_ms = draw(st.sampled_from(((0,), (0, 0, 1, DAY_MS, 9 * DAY_MS))))  # of the log's time
    systems = draw(st.sampled_from(((None,), (None, "a", "b"))))
    now_ms, offsets, records = START_MS, dict.fromkeys(PARTITIONS, -1), []
    places: dict[str, set[int]] = {}  # partitions of each id that has copies
    ends = set()
    for number in range(count):
        now_ms += random.choice(steps_ms)
        partition = random.choice(PARTITIONS)
        offsets[partition] += random.choice((1, 1, 1, 3))
        if records and random.random() < 0.1:
            source, event = random.choice(records)
            partition = source if random.random() < 0.8 else partition
            offset = offsets[partition] = offsets[partition] + 1
            digest = event.payment_digest if random.random() < 0.7 else b"others"
            account_id = f"account-{partition}-{event.account_id[-1]}"  # an account stands in one partition
            copy = replace(event, offset=offset, payment_digest=digest, account_id=account_id)
            log_time_ms = now_ms - random.choice(behind_ms)
            known = places.setdefault(event.transaction_id, {source})
            known.add(partition)
            if len(known) > 1:
                # An id is forgotten by the time of the partition that claimed it. One that is read more than a week
                # ahead of the copy's has forgotten it, or not yet: the reference, which never deletes, can't tell.
                log_time_ms = now_ms
                ends.add(number + 1)
            copy = replace(copy, log_time_ms=log_time_ms, source_system=random.choice(systems))
            records.append((partition, copy))
            continue
        event = StateEvent(
            offset=offsets[partition],
            transaction_id=f"tx-{number}",
            payment_digest=b"digest",
            account_id=f"account-{partition}-{random.randrange(accounts)}",
            beneficiary_account_id=f"payee-{random.randrange(payees)}",
            event_time_ms=now_ms - random.choice(LATE_MS),
            log_time_ms=now_ms - random.choice(behind_ms),
            amount_gbp_minor=random.choice((0, 1, 99, 999, 1_000, 2_500, 10_001, 10**11)),
            is_near_limit=random.random() < 0.3,
            ip_address=random.choice((None, "192.0.2.1", "2001:db8::1")),
            device_id=random.choice((None, "d")),
            is_counted=random.random() < 0.9,
            source_system=random.choice(systems),
        )
        records.append((partition, event))
    ends |= {random.randint(1, count) for _ in range(random.randint(0, 12))} | {count}
    return Log(records, sorted(ends))


def outcome_of(
    event: StateEvent, kind: OutcomeKind = OutcomeKind.MADE, *, made_at_ms: int | None = None
) -> PaymentOutcome:
    """Return an outcome of a payment, which settles when it was made unless it is told when."""
    e = event
    return PaymentOutcome(
        e.account_id,
        e.beneficiary_account_id,
        kind,
        e.event_time_ms,
        e.event_time_ms if made_at_ms is None else made_at_ms,
        e.amount_gbp_minor,
        e.transaction_id.encode(),
        e.log_time_ms,
    )


def label_of(event: StateEvent, *, fraud: bool = True) -> Label:
    e = event
    return Label(
        e.transaction_id, e.account_id, e.beneficiary_account_id, e.event_time_ms, fraud, e.event_time_ms, "test"
    )


def labels_of(log: Log) -> list[Label]:
    """Return a label of every third record, alternately fraud and not; then every fifth is fraud, and turned back.

    Then every second is fraud, and every fourth has a label that it isn't, which was made before.
    """
    labels = [label_of(event, fraud=place % 2 == 0) for place, (_, event) in enumerate(log.records[::3])]
    for _, event in log.records[::5]:
        labels += [label_of(event), label_of(event, fraud=False)]
    labels += [label_of(event) for _, event in log.records[::2]]
    overtaken = [label_of(event, fraud=False) for _, event in log.records[::4]]
    return labels + [each._replace(labelled_at_ms=each.labelled_at_ms - 1) for each in overtaken]
