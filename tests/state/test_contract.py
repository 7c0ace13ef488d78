"""The contract of every state store, run on the reference and on Redis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.domain.context import Account, RiskSignal, RiskSignalKind
from pipeline.domain.features import COLUMN, EVENT, NONE, RATIO_PERCENT_MAX, STATE, UNKNOWN, feature_matrix
from pipeline.io.clock import now_ms
from pipeline.state.context.facts import LogPlace
from pipeline.state.periods import ACCOUNT_WINDOWS_MS, BLOCK_MS, LABEL_WINDOWS_MS
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import CLAIM_KEPT_MS, Freshness, SnapshotPruned, StateLost
from tests.state.stores import DAY_MS, HOUR_MS, START_MS, Store, column, last, observe_all, payment, share
from tests.state.streams import label_of, outcome_of


def at(offset: int) -> LogPlace:
    """Return the place of a context record at START_MS."""
    return LogPlace(START_MS, offset)


LABEL_DELAY_MS = 7 * DAY_MS
WINDOW_NAMES = ("1h", "24h", "7d", "30d")


def freshness(store: Store, *events: StateEvent) -> list[Freshness]:
    (observation,) = store.observe([share(events)])
    return [Freshness(each) for each in observation.freshness.tolist()]


def test_first_payment_is_known_by_itself_alone(store: Store) -> None:
    row = last(store, [payment(0, amount_gbp_minor=250, is_near_limit=True, ip_address="192.0.2.1")])
    assert row == dict.fromkeys(STATE, 0) | {
        **{f"account_count_{name}": 1 for name in WINDOW_NAMES},
        **{f"account_sum_minor_{name}": 250 for name in WINDOW_NAMES},
        "account_ms_since_last": NONE,
        "account_distinct_beneficiaries_24h": 1,
        "account_near_limit_count_24h": 1,
        "account_normal_month_minor": NONE,
        "is_new_beneficiary": 1,
        "account_volume_minor_24h": 250,
        "account_volume_count_30d": 1,
        "account_volume_minor_30d": 250,
        "is_unpaid_beneficiary": 1,
        "account_count_ever": 1,
        "account_sum_minor_ever": 250,
        "beneficiary_fraud_run_hours_30d": NONE,
        "beneficiary_count_24h": 1,
        "beneficiary_count_7d": 1,
        "beneficiary_senders_24h": 1,
        "beneficiary_senders_7d": 1,
        "device_fraud_reports": NONE,
    }


@pytest.mark.parametrize(("name", "width_ms"), [*zip(WINDOW_NAMES, ACCOUNT_WINDOWS_MS, strict=True)])
@pytest.mark.parametrize(("late_ms", "expected"), [(-1, 2), (0, 1), (1, 1)])
def test_account_window_is_open_at_its_old_end(
    store: Store, name: str, width_ms: int, late_ms: int, expected: int
) -> None:
    row = last(store, [payment(0), payment(1, START_MS + width_ms + late_ms)])
    assert (row[f"account_count_{name}"], row[f"account_sum_minor_{name}"]) == (expected, 100 * expected)


@pytest.mark.parametrize(("name", "days"), [("24h", 1), ("7d", 7)])
@pytest.mark.parametrize(("late_ms", "expected"), [(-1, 2), (0, 1)])
def test_beneficiary_window_is_open_at_its_old_end(
    store: Store, name: str, days: int, late_ms: int, expected: int
) -> None:
    row = last(store, [payment(0, account_id="a"), payment(1, START_MS + days * DAY_MS + late_ms, account_id="b")])
    assert (row[f"beneficiary_count_{name}"], row[f"beneficiary_senders_{name}"]) == (expected, expected)


@pytest.mark.parametrize(("name", "width_ms"), [*zip(("1d", "7d", "30d"), LABEL_WINDOWS_MS, strict=True)])
@pytest.mark.parametrize(("old_ms", "is_inside"), [(-1, False), (0, True)])
def test_payment_enters_label_windows_at_the_delay(
    store: Store, name: str, width_ms: int, old_ms: int, is_inside: bool
) -> None:
    row = last(store, [payment(0), payment(1, START_MS + LABEL_DELAY_MS + old_ms)])
    assert row[f"beneficiary_labelled_{name}"] == int(is_inside)


@pytest.mark.parametrize(("name", "width_ms"), [*zip(("1d", "7d", "30d"), LABEL_WINDOWS_MS, strict=True)])
@pytest.mark.parametrize(("late_ms", "is_inside"), [(-1, True), (0, False)])
def test_payment_leaves_a_label_window_at_its_width(
    store: Store, name: str, width_ms: int, late_ms: int, is_inside: bool
) -> None:
    first = payment(0)
    observe_all(store, [first])
    assert store.label(label_of(first))
    (observation,) = store.observe([share([payment(1, START_MS + LABEL_DELAY_MS + width_ms + late_ms)], start=1)])
    assert column(observation.state, f"beneficiary_frauds_{name}") == [int(is_inside)]


def test_label_counts_before_and_after_its_payment_entered_the_window(store: Store) -> None:
    early, late = payment(0), payment(1, START_MS + 1)
    observe_all(store, [early, late])
    assert store.label(label_of(early))
    assert store.label(label_of(early))
    due_ms = START_MS + LABEL_DELAY_MS + HOUR_MS
    (first,) = store.observe([share([payment(2, due_ms)], start=2)])
    assert store.label(label_of(late))
    assert store.label(label_of(late))
    (second,) = store.observe([share([payment(3, due_ms)], start=3)])
    assert store.label(label_of(early, fraud=False))
    (third,) = store.observe([share([payment(4, due_ms)], start=4)])
    frauds = [column(each.state, "beneficiary_frauds_7d")[0] for each in (first, second, third)]
    assert frauds == [1, 2, 1]


IBAN = "GB82WEST12345698765432"
SPELLINGS = ("gb82west12345698765432", "GB82-WEST-1234-5698-7654-32", "Gb82.west:12345698765432")


def test_an_iban_is_one_payee_in_every_spelling(store: Store) -> None:
    """Its frauds, its senders and who paid it are known of all of them; an id that is no IBAN is compared as it is."""
    paid = [payment(0, beneficiary_account_id=IBAN), payment(1, beneficiary_account_id="acc-A")]
    observe_all(store, paid)
    for fraud, spelt in zip(paid, (SPELLINGS[1], "acc-A"), strict=True):
        assert store.label(label_of(fraud)._replace(beneficiary_account_id=spelt))
    made = outcome_of(paid[0])._replace(beneficiary_account_id=SPELLINGS[0])
    store.apply_outcomes(0, 0, 1, [made])
    for offset, spelt in enumerate((*SPELLINGS, "acc-a"), start=2):
        again = payment(offset, START_MS + 2 * DAY_MS, beneficiary_account_id=spelt)
        (observation,) = store.observe([share([again], start=offset)])
        names = ("beneficiary_confirmed_frauds", "is_unpaid_beneficiary", "is_new_beneficiary")
        told = tuple(column(observation.state, name)[0] for name in names)
        assert told == ((1, 0, 0) if spelt in SPELLINGS else (0, 1, 1)), spelt


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_fraud_is_taken_back_by_no_label_that_was_made_before_it(store: Store, count: int) -> None:
    """The payment is alone, in the log's string, and in its past."""
    payments = [payment(number, START_MS + number) for number in range(count)]
    observe_all(store, payments)
    first, offset = payments[0], count

    def frauds_after(*labels: tuple[bool, int]) -> int:
        nonlocal offset
        for fraud, made_ms in labels:
            assert store.label(label_of(first, fraud=fraud)._replace(labelled_at_ms=START_MS + made_ms))
        (observation,) = store.observe([share([payment(offset, START_MS + offset)], start=offset)])
        offset += 1
        return column(observation.state, "beneficiary_confirmed_frauds")[0]

    assert frauds_after((True, 1_000), (False, 999)) == 1
    assert frauds_after((True, 500), (False, 999)) == 1, "the newest one that says fraud counts"
    assert frauds_after((False, 1_000)) == 0, "of two that were made at once, the later in the log"
    assert frauds_after((True, 200), (False, 199)) == 1
    assert frauds_after((False, 2_000), (True, 1_500)) == 1, "a fraud that comes late is told all the same"


def test_label_of_a_payment_that_no_window_holds_says_so(store: Store) -> None:
    known, blocked = payment(0), payment(1, is_counted=False)
    observe_all(store, [known, blocked])
    assert not store.label(label_of(blocked))
    assert not store.label(label_of(known)._replace(transaction_id="tx-77"))
    assert not store.label(label_of(known)._replace(account_id="other"))
    assert not store.label(label_of(known)._replace(beneficiary_account_id="other"))
    store.observe([share([payment(2, START_MS + LABEL_DELAY_MS + 30 * DAY_MS)], start=2)])
    assert not store.label(label_of(known))


def test_label_finds_a_payment_that_came_late(store: Store) -> None:
    late = payment(1, START_MS - DAY_MS)
    observe_all(store, [payment(0), late])
    assert store.label(label_of(late))


def test_effective_time_never_runs_backwards(store: Store) -> None:
    events = [payment(0), payment(1, START_MS - 5 * HOUR_MS), payment(2, START_MS + 10)]
    rows = observe_all(store, events)
    assert column(rows, "account_ms_since_last") == [NONE, 0, 10]
    assert column(rows, "account_count_1h") == [1, 2, 3]


def test_distinct_beneficiaries_are_those_of_a_day_and_new_ones_those_never_paid(store: Store) -> None:
    hours = (("p", 0), ("q", 1), ("p", 2), ("q", 24), ("r", 25), ("p", 26), ("p", 49))
    events = [
        payment(place, START_MS + hour * HOUR_MS, beneficiary_account_id=payee)
        for place, (payee, hour) in enumerate(hours)
    ]
    rows = observe_all(store, events)
    assert column(rows, "account_distinct_beneficiaries_24h") == [1, 2, 2, 2, 3, 3, 1]
    assert column(rows, "is_new_beneficiary") == [1, 1, 0, 0, 1, 0, 0]


def test_normal_month_is_the_mean_of_the_last_complete_blocks_rounded_half_up(store: Store) -> None:
    block_start_ms = (START_MS // BLOCK_MS + 1) * BLOCK_MS
    amounts = ((0, 100), (1, 7), (1, 4), (3, 1), (4, 2), (9, 5))
    events = [
        payment(place, block_start_ms + block * BLOCK_MS, amount_gbp_minor=amount)
        for place, (block, amount) in enumerate(amounts)
    ]
    months = column(observe_all(store, events), "account_normal_month_minor")
    assert months == [NONE, 100, 100, (100 + 11 + 0 + 1) // 3, 4, 0]


def test_declared_month_goes_before_the_observed_one_and_the_newest_declaration_holds(store: Store) -> None:
    store.upsert_account(Account("payer", 5, 777), at(0))
    store.upsert_account(Account("payer", 4, 111), at(1))
    (first,) = store.observe([share([payment(0)])])
    store.upsert_account(Account("payer", 6, None), at(2))
    (second,) = store.observe([share([payment(1)], start=1)])
    months = [column(each.state, "account_normal_month_minor") for each in (first, second)]
    assert months == [[777], [NONE]]


def test_newest_fraud_reports_hold(store: Store) -> None:
    store.upsert_risk_signal(RiskSignal(RiskSignalKind.IP_ADDRESS, "192.0.2.1", 3, 10), at(0))
    store.upsert_risk_signal(RiskSignal(RiskSignalKind.IP_ADDRESS, "192.0.2.1", 9, 9), at(1))
    store.upsert_risk_signal(RiskSignal(RiskSignalKind.DEVICE, "192.0.2.1", 5, 10), at(2))
    row = last(store, [payment(0, ip_address="192.0.2.1", device_id="d")])
    assert (row["ip_fraud_reports"], row["device_fraud_reports"]) == (3, 0)


def test_a_copy_is_a_duplicate_and_another_payment_a_conflict_in_any_partition(store: Store) -> None:
    first, copy = payment(0), payment(1, transaction_id="tx-0")
    other = payment(2, transaction_id="tx-0", payment_digest=b"others")
    assert freshness(store, first, copy, other) == [Freshness.FRESH, Freshness.DUPLICATE, Freshness.CONFLICT]
    elsewhere = share([payment(0, transaction_id="tx-0"), payment(1, transaction_id="tx-new")], partition=7)
    (observation,) = store.observe([elsewhere])
    assert observation.freshness.tolist() == [Freshness.DUPLICATE, Freshness.FRESH]


def test_only_a_fresh_payment_counts_and_a_copy_has_no_features(store: Store) -> None:
    rows = observe_all(store, [payment(0), payment(1, transaction_id="tx-0"), payment(2)])
    assert column(rows, "account_count_24h") == [1, NONE, 2]
    assert set(rows[1].tolist()) == {NONE}


def test_what_a_guardrail_blocked_is_claimed_but_not_counted(store: Store) -> None:
    events = [payment(0, is_counted=False), payment(1, transaction_id="tx-0"), payment(2)]
    (observation,) = store.observe([share(events)])
    assert observation.freshness.tolist() == [Freshness.FRESH, Freshness.DUPLICATE, Freshness.FRESH]
    assert set(observation.state[0].tolist()) == {NONE}
    assert column(observation.state, "account_count_24h") == [NONE, NONE, 1]


@pytest.mark.parametrize("after_ms", [CLAIM_KEPT_MS, CLAIM_KEPT_MS + 1])
def test_an_id_is_claimed_for_7_days_of_the_logs_time_and_free_afterwards(store: Store, after_ms: int) -> None:
    is_kept, again_ms = after_ms == CLAIM_KEPT_MS, START_MS + after_ms
    events = [
        payment(0),
        payment(1, log_time_ms=again_ms, transaction_id="tx-0"),
        payment(2, log_time_ms=again_ms, transaction_id="tx-0", payment_digest=b"others"),
    ]
    once = [Freshness.FRESH, Freshness.DUPLICATE, Freshness.CONFLICT]
    again = [Freshness.FRESH, Freshness.FRESH, Freshness.CONFLICT]
    assert freshness(store, *events) == (once if is_kept else again)


def test_an_id_that_came_again_as_another_payment_is_claimed_by_that_one(store: Store) -> None:
    later_ms = START_MS + CLAIM_KEPT_MS + 1
    events = [
        payment(0),
        payment(1, log_time_ms=later_ms, transaction_id="tx-0", payment_digest=b"others"),
        payment(2, log_time_ms=later_ms + DAY_MS, transaction_id="tx-0", payment_digest=b"others"),
        payment(3, log_time_ms=later_ms + DAY_MS, transaction_id="tx-0"),
    ]
    expected = [Freshness.FRESH, Freshness.FRESH, Freshness.DUPLICATE, Freshness.CONFLICT]
    assert freshness(store, *events) == expected
    (again,) = store.observe([share(events)])
    assert again.freshness.tolist() == expected


@pytest.mark.parametrize("event_time_ms", [START_MS - 400 * DAY_MS, START_MS, START_MS + 400 * DAY_MS])
def test_an_event_time_neither_makes_a_payment_too_old_nor_forgets_an_id(store: Store, event_time_ms: int) -> None:
    events = [
        payment(0),
        payment(1, event_time_ms=event_time_ms),
        payment(2, event_time_ms=START_MS - 30 * DAY_MS),
        payment(3, transaction_id="tx-0"),
    ]
    assert freshness(store, *events) == [*[Freshness.FRESH] * 3, Freshness.DUPLICATE]


def test_a_log_whose_time_runs_backwards_forgets_no_id_early(store: Store) -> None:
    early_ms = START_MS - 30 * DAY_MS
    events = [payment(0), payment(1, log_time_ms=early_ms), payment(2, log_time_ms=early_ms, transaction_id="tx-1")]
    assert freshness(store, *events) == [Freshness.FRESH, Freshness.FRESH, Freshness.DUPLICATE]


def test_one_record_that_was_stamped_days_ahead_forgets_no_id(store: Store) -> None:
    """A broker's clock was 8 days ahead for one record; a copy a minute later is dated within its own time."""
    real_ms = now_ms()
    ahead_ms = real_ms + CLAIM_KEPT_MS + DAY_MS
    events = [
        payment(0, real_ms),
        *[payment(1 + number, ahead_ms) for number in range(40)],
        payment(41, real_ms + 60_000, transaction_id="tx-0"),
        payment(42, real_ms + 60_000, transaction_id="tx-0", payment_digest=b"others"),
    ]
    once = [*[Freshness.FRESH] * 41, Freshness.DUPLICATE, Freshness.CONFLICT]
    assert freshness(store, *events) == once
    (elsewhere,) = store.observe([share([payment(0, real_ms + 60_000)], partition=1)])
    assert elsewhere.freshness.tolist() == [Freshness.DUPLICATE]


def test_a_copy_that_was_stamped_days_ahead_itself_is_a_payment_of_its_own(store: Store) -> None:
    """It is late by its own log time, so its decision has another id."""
    real_ms = now_ms()
    events = [payment(0, real_ms), payment(1, log_time_ms=real_ms + CLAIM_KEPT_MS + 1, transaction_id="tx-0")]
    assert freshness(store, *events) == [Freshness.FRESH, Freshness.FRESH]


def test_an_id_that_was_claimed_after_such_a_record_is_free_after_7_days_all_the_same(store: Store) -> None:
    real_ms = now_ms() - CLAIM_KEPT_MS - 1
    events = [
        payment(0, now_ms() + 8 * DAY_MS),
        payment(1, real_ms),
        payment(2, now_ms() + 2 * CLAIM_KEPT_MS + 1, transaction_id="tx-1", payment_digest=b"others"),
    ]
    assert freshness(store, *events) == [Freshness.FRESH, Freshness.FRESH, Freshness.FRESH]


def test_an_id_of_a_partition_at_rest_is_free_for_another_payment_of_another_partition(store: Store) -> None:
    assert freshness(store, payment(0)) == [Freshness.FRESH]
    later_ms = START_MS + CLAIM_KEPT_MS + 1
    other = payment(0, log_time_ms=later_ms, payment_digest=b"others")
    (observation,) = store.observe([share([other], partition=1)])
    assert observation.freshness.tolist() == [Freshness.FRESH]


def test_the_time_of_another_partition_forgets_no_id_of_ones_own(store: Store) -> None:
    assert freshness(store, payment(0)) == [Freshness.FRESH]
    store.observe([share([payment(0, START_MS + 100 * DAY_MS, transaction_id="later")], partition=1)])
    (observation,) = store.observe([share([payment(1, transaction_id="tx-0")], start=1)])
    assert observation.freshness.tolist() == [Freshness.DUPLICATE]


def test_ids_of_different_systems_never_meet(store: Store) -> None:
    events = [payment(place, transaction_id="tx", source_system=name) for place, name in enumerate((None, "a", "b"))]
    other = payment(3, transaction_id="tx", source_system="a", payment_digest=b"others")
    copy = payment(4, transaction_id="tx", source_system="b")
    assert freshness(store, *events, other, copy) == [*[Freshness.FRESH] * 3, Freshness.CONFLICT, Freshness.DUPLICATE]


def test_a_digest_is_compared_whole(store: Store) -> None:
    one, other = b"d" * 15 + b"1", b"d" * 15 + b"2"
    events = [payment(0, payment_digest=one), payment(1, payment_digest=other, transaction_id="tx-0")]
    assert freshness(store, *events) == [Freshness.FRESH, Freshness.CONFLICT]


def test_a_redelivered_batch_is_answered_as_before_whatever_its_boundaries(store: Store) -> None:
    events = [payment(offset, START_MS + offset, amount_gbp_minor=offset) for offset in range(300)]
    first = np.concatenate(
        [store.observe([share(events[at : at + 60], start=at)])[0].state for at in (0, 60, 120, 180)]
    )
    (again,) = store.observe([share(events[100:], start=100)])
    assert np.array_equal(first[100:], again.state[:140])
    assert column(again.state, "account_count_1h") == list(range(101, 301))


def test_a_snapshot_below_the_committed_offset_is_gone(store: Store) -> None:
    store.observe([share([payment(0), payment(1)])])
    store.observe([share([payment(2)], start=2, committed=2)])
    with pytest.raises(SnapshotPruned) as caught:
        store.observe([share([payment(1)], start=1)])
    assert (caught.value.partition, caught.value.offset) == (0, 1)
    (rebuilt,) = store.observe([share([payment(1)], start=1, committed=2)], is_rebuild=True)
    assert rebuilt.freshness.tolist() == [Freshness.FRESH]


def test_state_that_ends_before_a_batch_starts_is_lost(store: Store) -> None:
    with pytest.raises(StateLost) as caught:
        store.observe([share([payment(5)], start=5)])
    assert (caught.value.partition, caught.value.resume_from) == (0, None)
    store.observe([share([payment(0)])])
    with pytest.raises(StateLost) as caught:
        store.observe([share([payment(5)], start=5)])
    assert caught.value.resume_from == 1


def test_a_first_start_may_begin_anywhere(store: Store) -> None:
    store.observe([share([], start=5)], initial=True, since_ms=START_MS)
    assert store.positions(0) == 5
    store.observe([share([payment(5)], start=5)])
    assert store.positions(0) == 6


def test_offsets_without_a_payment_move_the_position(store: Store) -> None:
    store.observe([share([payment(3)])])
    (nothing,) = store.observe([share([], start=4)._replace(end_offset=9)])
    assert nothing.state.shape == (0, len(STATE))
    assert store.positions(0) == 9
    assert store.positions(1) is None


def test_an_offset_passed_without_a_payment_counts_when_it_comes_as_one(store: Store) -> None:
    """Late, in the order in which it comes; and the same again where it is read once more."""
    store.observe([share([payment(0)])._replace(end_offset=3)])
    for _ in range(2):
        (observation,) = store.observe([share([payment(1), payment(3)], start=1)])
        assert column(observation.state, "account_count_24h") == [2, 3]
        assert column(observation.state, "beneficiary_count_24h") == [2, 3]


def test_what_a_guardrail_blocked_counts_late_where_it_is_read_again_without_one(store: Store) -> None:
    blocked = [payment(offset, START_MS + offset, is_counted=offset % 2 == 0) for offset in range(5)]
    counted = [replace(event, is_counted=True) for event in blocked]
    store.observe([share(blocked)])
    (observation,) = store.observe([share([*counted, payment(5)])])
    assert column(observation.state, "account_count_24h") == [1, 4, UNKNOWN, 5, UNKNOWN, 6]
    assert column(observation.state, "beneficiary_count_24h") == [1, 4, UNKNOWN, 5, UNKNOWN, 6]


def test_i4_an_answer_that_was_given_without_a_payment_before_it_is_unknown_once_that_payment_counts(
    store: Store,
) -> None:
    """However often it is read again, and in whatever batch; answers before it and after it stay."""
    events = [payment(offset, START_MS + offset, amount_gbp_minor=4_500_000) for offset in range(4)]
    store.upsert_account(Account("payer", 1, 700), LogPlace(START_MS, 0))
    store.observe([share([events[0], replace(events[1], is_counted=False), *events[2:]])])
    expected = [1, 4, UNKNOWN, UNKNOWN, 5]
    for begin in (0, 1, 2):
        (observation,) = store.observe([share([*events[begin:], payment(4)], start=begin)])
        assert column(observation.state, "account_count_24h") == expected[begin:]
    unknown = dict(zip(STATE, observation.state[0].tolist(), strict=True))
    known = {"account_normal_month_minor": 700, "ip_fraud_reports": NONE, "device_fraud_reports": NONE}
    assert unknown == dict.fromkeys(STATE, UNKNOWN) | known
    assert observation.outcomes_position.tolist() == [UNKNOWN, UNKNOWN, NONE]


def test_answers_are_stale_until_they_are_committed_and_no_longer(store: Store) -> None:
    events = [payment(offset) for offset in range(6)]
    store.observe([share([replace(events[0], is_counted=False), events[1]])])
    store.observe([share(events[:2])])
    store.observe([share([replace(events[2], is_counted=False), *events[3:5]], start=2, committed=2)])
    for _ in range(2):
        (observation,) = store.observe([share(events[2:], start=2, committed=2)])
        assert column(observation.state, "account_count_24h") == [5, UNKNOWN, UNKNOWN, 6]


def test_what_counted_stays_counted_where_it_is_read_again_as_blocked(store: Store) -> None:
    store.observe([share([payment(0), payment(1)])])
    blocked = [payment(0), payment(1, is_counted=False), payment(2)]
    (observation,) = store.observe([share(blocked)])
    assert column(observation.state, "account_count_24h") == [1, NONE, 3]


@pytest.mark.parametrize("now_minor", [90, 100, 137])
def test_a_row_that_is_read_again_at_another_rate_is_that_of_the_new_amount(store: Store, now_minor: int) -> None:
    """What the account did before stays as it was counted; the payment is what the policy that judges makes of it."""
    past = [payment(offset, START_MS + offset * HOUR_MS, amount_gbp_minor=1_000 + offset) for offset in range(3)]
    then = payment(3, START_MS + 3 * HOUR_MS, is_near_limit=True)
    now = replace(then, amount_gbp_minor=now_minor, is_near_limit=now_minor < 100)
    (first,) = store.observe([share([*past, then])])
    for _ in range(2):
        (again,) = store.observe([share([now], start=3)])
        row = dict(zip(STATE, again.state[0].tolist(), strict=True))
        difference = now_minor - 100
        expected = dict(zip(STATE, first.state[3].tolist(), strict=True))
        for name in STATE:
            if name.startswith(("account_sum_minor_", "account_volume_minor_")):
                expected[name] += difference
        expected["account_near_limit_count_24h"] = int(now_minor < 100)
        assert row == expected
    (behind,) = store.observe([share([payment(4, START_MS + 3 * HOUR_MS)], start=4)])
    assert column(behind.state, "account_sum_minor_24h") == [sum(each.amount_gbp_minor for each in past) + 200]


def test_a_row_at_another_rate_keeps_what_is_unknown(store: Store) -> None:
    counted, since_ms = [payment(5), payment(6)], START_MS - 10 * DAY_MS
    store.observe([share(counted, start=5)], initial=True, since_ms=since_ms)
    (again,) = store.observe([share([replace(event, amount_gbp_minor=900) for event in counted], start=5)])
    # The second was counted on top of the first, which came to 100 when it was counted.
    assert column(again.state, "account_sum_minor_24h") == [900, 1_000]
    assert column(again.state, "account_sum_minor_30d") == [UNKNOWN, UNKNOWN]
    assert column(again.state, "account_volume_minor_30d") == [UNKNOWN, UNKNOWN]


def test_an_old_owner_does_not_count_late_what_was_committed_as_blocked(store: Store) -> None:
    store.observe([share([payment(0, is_counted=False)])])
    store.observe([share([payment(1)], start=1, committed=1)])
    with pytest.raises(SnapshotPruned):
        store.observe([share([payment(0)])])
    store.observe([share([payment(0)])], is_rebuild=True)
    (observation,) = store.observe([share([payment(2)], start=2, committed=1)])
    assert column(observation.state, "account_count_24h") == [2]


@pytest.mark.parametrize(("silent_days", "month"), [(60, 40), (100, 0), (130, 0), (400, 0)])
def test_a_dormant_accounts_normal_month_is_known_and_0(store: Store, silent_days: int, month: int) -> None:
    """Finding 10: £1.20 in one of three blocks is 40p a month; after three silent blocks it is nothing, and known."""
    begin_ms = (START_MS // BLOCK_MS + 1) * BLOCK_MS
    early = payment(0, begin_ms - 2 * BLOCK_MS, amount_gbp_minor=0)
    events = [early, payment(1, begin_ms + BLOCK_MS - DAY_MS, amount_gbp_minor=120)]
    events.append(payment(2, begin_ms + BLOCK_MS - DAY_MS + silent_days * DAY_MS, amount_gbp_minor=480_000))
    state = observe_all(store, events)
    assert column(state, "account_normal_month_minor")[-1] == month
    features = feature_matrix(np.zeros((1, len(EVENT)), dtype=np.int64), state[-1:])[0]
    percent = features[COLUMN["account_volume_percent_of_normal_month"]]
    assert percent == (RATIO_PERCENT_MAX if month == 0 else min(480_000 * 100 // month, RATIO_PERCENT_MAX))


@pytest.mark.parametrize(("declared", "percent"), [(0, RATIO_PERCENT_MAX), (1, RATIO_PERCENT_MAX), (480_000, 100)])
def test_a_declared_month_of_nothing_is_as_strict_as_one_of_a_penny(store: Store, declared: int, percent: int) -> None:
    store.upsert_account(Account("payer", 1, declared), LogPlace(START_MS, 0))
    state = observe_all(store, [payment(0, amount_gbp_minor=480_000)])
    features = feature_matrix(np.zeros((1, len(EVENT)), dtype=np.int64), state)[0]
    assert features[COLUMN["account_normal_month_minor"]] == declared
    assert features[COLUMN["account_volume_percent_of_normal_month"]] == percent


def test_an_account_in_its_first_block_has_no_normal_month(store: Store) -> None:
    begin_ms = (START_MS // BLOCK_MS + 1) * BLOCK_MS
    state = observe_all(store, [payment(0, begin_ms), payment(1, begin_ms + BLOCK_MS - 1)])
    assert column(state, "account_normal_month_minor") == [NONE, NONE]
    features = feature_matrix(np.zeros((2, len(EVENT)), dtype=np.int64), state)
    assert features[:, COLUMN["account_volume_percent_of_normal_month"]].tolist() == [NONE, NONE]
