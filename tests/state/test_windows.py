"""The reference against the definition: every feature counted anew over all payments before it."""

from __future__ import annotations

from hypothesis import given, settings

from pipeline.domain.features import NONE, STATE
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import ACCOUNT_WINDOWS_MS, BENEFICIARY_WINDOWS_MS, BLOCK_MS, LABEL_WINDOWS_MS, Windows
from tests.state.stores import DAY_MS
from tests.state.streams import Log, label_of, logs

DELAY_MS = 7 * DAY_MS
Timed = list[tuple[int, StateEvent]]  # effective time, oldest first


def timed(events: list[StateEvent]) -> Timed:
    latest, result = 0, []
    for event in events:
        latest = max(latest, event.event_time_ms)
        result.append((latest, event))
    return result


def within(payments: Timed, now_ms: int, width_ms: int) -> list[StateEvent]:
    return [event for time_ms, event in payments if now_ms - width_ms < time_ms <= now_ms]


def normal_month(payments: Timed, now_ms: int) -> int:
    block, first = now_ms // BLOCK_MS, payments[0][0] // BLOCK_MS
    complete = range(max(first, block - 3), block)
    total = sum(event.amount_gbp_minor for time_ms, event in payments if time_ms // BLOCK_MS in complete)
    return (2 * total + len(complete)) // (2 * len(complete)) if complete else NONE


def account_features(payments: Timed) -> list[int]:
    now_ms, event = payments[-1]
    windows = [within(payments, now_ms, width_ms) for width_ms in ACCOUNT_WINDOWS_MS]
    row = [number for window in windows for number in (len(window), sum(each.amount_gbp_minor for each in window))]
    return [
        *row,
        now_ms - payments[-2][0] if len(payments) > 1 else NONE,
        len({each.beneficiary_account_id for each in windows[1]}),
        sum(each.is_near_limit for each in windows[1]),
        normal_month(payments, now_ms),
        int(all(each.beneficiary_account_id != event.beneficiary_account_id for _, each in payments[:-1])),
    ]


def beneficiary_features(payments: Timed, frauds: set[str]) -> list[int]:
    now_ms, _ = payments[-1]
    windows = [within(payments, now_ms, width_ms) for width_ms in BENEFICIARY_WINDOWS_MS]
    labelled = [within(payments, now_ms - DELAY_MS, width_ms) for width_ms in LABEL_WINDOWS_MS]
    return [
        *map(len, windows),
        *(len({each.account_id for each in window}) for window in windows),
        *(n for window in labelled for n in (len(window), sum(each.transaction_id in frauds for each in window))),
    ]


@given(logs())
@settings(max_examples=150, deadline=None)
def test_invariants_1_and_2_the_reference_counts_what_the_definition_says(log: Log) -> None:
    unique = {event.transaction_id: event for _, event in log.records if event.is_counted}
    windows, seen, frauds = Windows(), [], set[str]()
    for event in unique.values():
        seen.append(event)
        row = dict(zip(STATE, windows.observe(event), strict=True))
        paid = timed([each for each in seen if each.account_id == event.account_id])
        received = timed([each for each in seen if each.beneficiary_account_id == event.beneficiary_account_id])
        expected = account_features(paid) + beneficiary_features(received, frauds)
        assert expected == list(row.values())[: len(expected)]
        held = within(received, received[-1][0], DELAY_MS + LABEL_WINDOWS_MS[-1])
        assert row["beneficiary_confirmed_frauds"] == sum(each.transaction_id in frauds for each in held)
        if len(seen) % 3 == 0:
            assert windows.label(label_of(event))
            frauds.add(event.transaction_id)
