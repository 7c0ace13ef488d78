"""The reference against the definition: every feature counted anew over all payments before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.features import NONE, RATIO_PERCENT_MAX, STATE, UNKNOWN
from pipeline.domain.outcome import OutcomeKind
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS
from pipeline.state.outcomes import PAYEE_PAYMENTS_MAX, WITHDRAWN_KEPT_MS
from pipeline.state.periods import ACCOUNT_WINDOWS_MS, BENEFICIARY_WINDOWS_MS, BLOCK_MS, LABEL_WINDOWS_MS
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import Windows
from tests.state.stores import DAY_MS, HOUR_MS
from tests.state.streams import Log, label_of, logs, outcome_of

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


MONTH = STATE.index("account_normal_month_minor")


class Outcomes:
    """What became of payments: at most one outcome each, by transaction id."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.withdrawn: set[str] = set()
        self.withdrawn_ms: dict[str, list[int]] = {}  # by account
        self.made_at_ms: dict[str, int] = {}
        self.payments_made: Counter[tuple[str, str]] = Counter()

    def withdraw(self, event: StateEvent) -> None:
        self.withdrawn.add(event.transaction_id)
        self.withdrawn_ms.setdefault(event.account_id, []).append(event.event_time_ms)

    def make(self, event: StateEvent, made_at_ms: int) -> None:
        """Remember that the payment was made, unless two to the same payee are remembered.

        Neither is it where one as old or younger was withdrawn and is forgotten, as it may have been withdrawn itself.
        """
        times_ms = self.withdrawn_ms.get(event.account_id, [])
        if any(event.event_time_ms <= each <= max(times_ms) - WITHDRAWN_KEPT_MS for each in times_ms):
            return
        pair = (event.account_id, event.beneficiary_account_id)
        self.payments_made[pair] += 1
        if self.payments_made[pair] <= PAYEE_PAYMENTS_MAX:
            self.made_at_ms[event.transaction_id] = made_at_ms

    def volume(self, window: list[StateEvent], after_ms: int, own: int) -> tuple[int, int]:
        """Return the count and sum of a window without withdrawn payments, each of which leaves at its own time.

        A late payment counts from when it came, and stays for longer than what is withdrawn of it.
        """
        gone = [each for each in window if each.transaction_id in self.withdrawn and each.event_time_ms > after_ms]
        total = sum(each.amount_gbp_minor for each in window) - sum(each.amount_gbp_minor for each in gone)
        return max(len(window) - len(gone), 1), max(total, own)

    def is_unpaid(self, payments: Timed, now_ms: int, payee: str) -> bool:
        made = [
            self.made_at_ms.get(each.transaction_id) for _, each in payments if each.beneficiary_account_id == payee
        ]
        return not any(at_ms is not None and at_ms <= now_ms - DAY_MS for at_ms in made)


def own_block(event: StateEvent) -> range:
    return range(event.event_time_ms // BLOCK_MS, event.event_time_ms // BLOCK_MS + 1)


def blocks_of(event: StateEvent) -> range:
    """The blocks that a payment may have counted in: from its own time to the log's, and the tolerance of its clock."""
    latest_ms = max(event.event_time_ms, event.log_time_ms + FUTURE_TOLERANCE_MS)
    return range(event.event_time_ms // BLOCK_MS, latest_ms // BLOCK_MS + 1)


def normal_month(payments: Timed, now_ms: int, outcomes: Outcomes, blocks: Callable[[StateEvent], range]) -> int:
    """blocks: those that a withdrawn payment leaves."""
    block, first = now_ms // BLOCK_MS, payments[0][0] // BLOCK_MS
    complete = range(max(first, block - 3), block)
    total = 0
    for each in complete:
        attempted = sum(event.amount_gbp_minor for time_ms, event in payments if time_ms // BLOCK_MS == each)
        withdrawn = sum(
            event.amount_gbp_minor
            for _, event in payments
            if event.transaction_id in outcomes.withdrawn and each in blocks(event)
        )
        total += max(attempted - withdrawn, 0)
    return (2 * total + len(complete)) // (2 * len(complete)) if complete else NONE


def account_features(payments: Timed, outcomes: Outcomes) -> list[int]:
    now_ms, event = payments[-1]
    windows = [within(payments, now_ms, width_ms) for width_ms in ACCOUNT_WINDOWS_MS]
    row = [number for window in windows for number in (len(window), sum(each.amount_gbp_minor for each in window))]
    own, payee = event.amount_gbp_minor, event.beneficiary_account_id
    return [
        *row,
        now_ms - payments[-2][0] if len(payments) > 1 else NONE,
        len({each.beneficiary_account_id for each in windows[1]}),
        sum(each.is_near_limit for each in windows[1]),
        normal_month(payments, now_ms, outcomes, own_block),
        int(all(each.beneficiary_account_id != payee for _, each in payments[:-1])),
        outcomes.volume(windows[1], now_ms - DAY_MS, own)[1],
        *outcomes.volume(windows[3], now_ms - 30 * DAY_MS, own),
        int(outcomes.is_unpaid(payments, now_ms, payee)),
        len(payments),
        usual_sum_minor(payments[:-1]) + own,
        greatest_percent(payments),
    ]


def usual_sum_minor(payments: Timed) -> int:
    """What payments come to, each after the first at most twice the average of those before it, or £100."""
    total = 0
    for before, (_, event) in enumerate(payments):
        most = max(2 * ((2 * total + before) // (2 * before)), 10_000) if before else event.amount_gbp_minor
        total += min(event.amount_gbp_minor, most)
    return total


def percent_of_earlier(payments: Timed) -> int:
    """How many percent the last payment is of the average of all before it, with both rounded half up."""
    *earlier, (_, last) = payments
    total = usual_sum_minor(earlier)
    if not earlier or not (total or last.amount_gbp_minor):
        return NONE
    average = (2 * total + len(earlier)) // (2 * len(earlier))
    if not average:
        return RATIO_PERCENT_MAX if last.amount_gbp_minor else NONE
    return min((200 * last.amount_gbp_minor + average) // (2 * average), RATIO_PERCENT_MAX)


def greatest_percent(payments: Timed) -> int:
    now_ms, _ = payments[-1]
    places = [place for place, (time_ms, _) in enumerate(payments[:-1], 1) if time_ms > now_ms - 7 * DAY_MS]
    return max([percent_of_earlier(payments[:place]) for place in places] + [0])


class Kinds(NamedTuple):
    """Ids of payments that tell nothing of their payee. unusual: more than twice the average of the payer's earlier
    ones. slight: below £10, or below half of that average."""

    unusual: set[str]
    slight: set[str]


def kinds_of(seen: list[StateEvent]) -> Kinds:
    found = Kinds(set(), set())
    for place, event in enumerate(seen, 1):
        percent = percent_of_earlier(timed([each for each in seen[:place] if each.account_id == event.account_id]))
        if percent > 200:
            found.unusual.add(event.transaction_id)
        elif event.amount_gbp_minor < 1_000 or NONE < percent < 50:
            found.slight.add(event.transaction_id)
    return found


def fraud_run(payments: Timed, frauds: set[str], kinds: Kinds) -> tuple[int, int]:
    """The run of frauds of a beneficiary's payments that aren't unusual, and the hours since its first payment or one
    beside it; slight ones that are no fraud are beside it, too."""
    now_ms, _ = payments[-1]
    run, began_ms = 0, NONE
    for time_ms, event in reversed(payments):
        if not now_ms - DELAY_MS - LABEL_WINDOWS_MS[-1] < time_ms <= now_ms - DELAY_MS:
            continue
        name = event.transaction_id
        if name not in frauds and name not in kinds.unusual and name not in kinds.slight:
            break
        run, began_ms = run + (name in frauds and name not in kinds.unusual), time_ms
    return (run, (now_ms - began_ms) // HOUR_MS) if run else (0, NONE)


def beneficiary_features(payments: Timed, frauds: set[str]) -> list[int]:
    now_ms, _ = payments[-1]
    windows = [within(payments, now_ms, width_ms) for width_ms in BENEFICIARY_WINDOWS_MS]
    labelled = [within(payments, now_ms - DELAY_MS, width_ms) for width_ms in LABEL_WINDOWS_MS]
    return [
        *map(len, windows),
        *(len({each.account_id for each in window}) for window in windows),
        *(n for window in labelled for n in (len(window), sum(each.transaction_id in frauds for each in window))),
    ]


@given(log=logs(), seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_invariants_1_and_2_the_reference_counts_what_the_definition_says(log: Log, seed: int) -> None:
    unique = {event.transaction_id: event for _, event in log.records if event.is_counted}
    windows, seen, frauds, outcomes, random = Windows(), [], set[str](), Outcomes(), Random(seed)
    for event in unique.values():
        seen.append(event)
        row = dict(zip(STATE, windows.observe(event), strict=True))
        paid = timed([each for each in seen if each.account_id == event.account_id])
        received = timed([each for each in seen if each.beneficiary_account_id == event.beneficiary_account_id])
        expected = account_features(paid, outcomes) + beneficiary_features(received, frauds)
        # A withdrawn payment leaves the block of its own time, and of the others those that it may have counted in.
        # Five blocks are remembered; where the log's time is ahead of the account's by more, the oldest is forgotten.
        now_ms = paid[-1][0]
        ahead = max(
            [blocks_of(each)[-1] - now_ms // BLOCK_MS for _, each in paid if each.transaction_id in outcomes.withdrawn],
            default=0,
        )
        least = normal_month(paid, now_ms, outcomes, blocks_of)
        most = normal_month(paid, now_ms, Outcomes(), own_block) if ahead > 0 else expected[MONTH]
        if row["account_normal_month_minor"] == UNKNOWN:
            assert ahead > 1
        else:
            assert least <= row["account_normal_month_minor"] <= most
        expected[MONTH] = row["account_normal_month_minor"]
        assert expected == list(row.values())[: len(expected)]
        held = within(received, received[-1][0], DELAY_MS + LABEL_WINDOWS_MS[-1])
        assert row["beneficiary_confirmed_frauds"] == sum(each.transaction_id in frauds for each in held)
        run = row["beneficiary_fraud_run_30d"], row["beneficiary_fraud_run_hours_30d"]
        assert run == fraud_run(received, frauds, kinds_of(seen))
        while random.random() < 0.4:
            labelled = random.choice([each for _, each in received[-20:]])
            fraud = random.random() < 0.8
            if windows.label(label_of(labelled, fraud=fraud)):
                (frauds.add if fraud else frauds.discard)(labelled.transaction_id)
        become(windows, outcomes, random.choice(seen), random)


def become(windows: Windows, outcomes: Outcomes, event: StateEvent, random: Random) -> None:
    """Let something become of a payment of which nothing has become yet."""
    name = event.transaction_id
    if name in outcomes.known:
        return
    outcomes.known.add(name)
    if random.random() < 0.5:
        outcomes.withdraw(event)
        windows.apply(outcome_of(event, OutcomeKind.WITHDRAWN))
    else:
        made_at_ms = event.event_time_ms + random.choice((0, DAY_MS, 9 * DAY_MS))
        if event.amount_gbp_minor:
            outcomes.make(event, made_at_ms)
        windows.apply(outcome_of(event, made_at_ms=made_at_ms))
