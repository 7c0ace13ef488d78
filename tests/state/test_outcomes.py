"""What became of payments: attempted, standing and made are three things, whatever the order in which they are told."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.features import NONE, STATE, UNKNOWN
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.io.clock import now_ms
from pipeline.state import outcomes as reference
from pipeline.state.state_event import StateEvent
from pipeline.state.store import StateUnavailable
from pipeline.state.windows import MemoryState
from tests.redis_servers import REDIS_MEMORY_MAX_BYTES
from tests.state.stores import DAY_MS, HOUR_MS, START_MS, Store, SyncRedisState, column, payment, same, share
from tests.state.streams import Log, logs, outcome_of

MakeState = Callable[..., SyncRedisState]
on_redis = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MADE, WITHDRAWN, UNMADE = OutcomeKind


def apply(store: Store, *outcomes: PaymentOutcome) -> None:
    """Take in the next outcomes of partition 0, one to an offset."""
    first = store.outcomes_position(0) or 0
    assert store.apply_outcomes(0, first, first + len(outcomes), outcomes) == first + len(outcomes)


def observe(store: Store, event: StateEvent) -> dict[str, int]:
    """Return the features of one more payment of partition 0."""
    (observation,) = store.observe([share([event], start=store.positions(0) or 0)])
    return dict(zip(STATE, observation.state[-1].tolist(), strict=True))


def a_day_later(store: Store, offset: int = 9, days: int = 1, **fields: object) -> dict[str, int]:
    return observe(store, payment(offset, START_MS + days * DAY_MS, **fields))


@pytest.mark.parametrize("time_ms", [-1, -(2**63), START_MS * 1000, 2**62])
def test_a_time_that_is_none_moves_no_block(store: Store, time_ms: int) -> None:
    """The payment counted at its place in the log at the latest; a time in microseconds says nothing against that."""
    observe(store, payment(0))
    untimed = PaymentOutcome("payer", "payee", WITHDRAWN, time_ms, NONE, 100, b"name", START_MS)
    apply(store, untimed)
    assert a_day_later(store, 1, days=31)["account_normal_month_minor"] == UNKNOWN
    assert a_day_later(store, 2, days=181)["account_normal_month_minor"] != UNKNOWN


@pytest.mark.parametrize(("late_ms", "is_unpaid"), [(-1, 1), (0, 0)])
def test_a_payee_is_known_a_day_after_a_payment_was_made(store: Store, late_ms: int, is_unpaid: int) -> None:
    first = payment(0)
    assert observe(store, first)["is_unpaid_beneficiary"] == 1
    apply(store, outcome_of(first, made_at_ms=START_MS + HOUR_MS))
    row = observe(store, payment(1, START_MS + HOUR_MS + DAY_MS + late_ms))
    assert (row["is_unpaid_beneficiary"], row["is_new_beneficiary"]) == (is_unpaid, 0)
    other = observe(store, payment(2, START_MS + 3 * DAY_MS, beneficiary_account_id="other"))
    assert other["is_unpaid_beneficiary"] == 1


@pytest.mark.parametrize("days_back", [2, 31, 200])
def test_what_was_blocked_raises_no_normal_month_however_far_it_was_dated_back(store: Store, days_back: int) -> None:
    """I4: it counts at the account's latest time, in a later block than that of its own time."""
    block_ms = 30 * DAY_MS
    begin_ms = (START_MS // block_ms + 1) * block_ms
    observe(store, payment(0, begin_ms + DAY_MS))
    dated_back = payment(
        1, begin_ms + DAY_MS - days_back * DAY_MS, log_time_ms=begin_ms + DAY_MS, amount_gbp_minor=9_000_000
    )
    observe(store, dated_back)
    apply(store, outcome_of(dated_back, WITHDRAWN))
    row = observe(store, payment(2, begin_ms + block_ms + DAY_MS))
    assert row["account_normal_month_minor"] <= 100
    assert row["account_volume_minor_30d"] >= 100


@pytest.mark.parametrize("kind", [None, WITHDRAWN, UNMADE])
def test_a_payment_that_was_not_made_makes_no_payee_known(store: Store, kind: OutcomeKind | None) -> None:
    first = payment(0, amount_gbp_minor=900_000)
    observe(store, first)
    if kind is not None:
        apply(store, outcome_of(first, kind))
    assert a_day_later(store)["is_unpaid_beneficiary"] == 1


@pytest.mark.parametrize(
    "change", [{"amount_gbp_minor": 0}, {"amount_gbp_minor": -1}, {"made_at_ms": -1}, {"made_at_ms": 2**62}]
)
def test_a_payment_of_nothing_or_of_unknown_amount_or_time_makes_no_payee_known(
    store: Store, change: dict[str, int]
) -> None:
    observe(store, payment(0))
    apply(store, outcome_of(payment(0))._replace(**change))
    assert a_day_later(store)["is_unpaid_beneficiary"] == 1


@pytest.mark.parametrize(("reversed_ones", "is_unpaid"), [((0,), 0), ((1,), 0), ((0, 1), 1)])
@pytest.mark.parametrize("kind", [UNMADE, WITHDRAWN])
def test_a_reversed_payment_takes_the_payee_back_where_it_alone_made_it_known(
    store: Store, reversed_ones: tuple[int, ...], is_unpaid: int, kind: OutcomeKind
) -> None:
    events = [payment(0), payment(1)]
    store.observe([share(events)])
    apply(store, *map(outcome_of, events), *[outcome_of(events[place], kind) for place in reversed_ones])
    assert a_day_later(store)["is_unpaid_beneficiary"] == is_unpaid


def test_volume_is_what_was_attempted_and_not_withdrawn(store: Store) -> None:
    events = [payment(offset, START_MS + offset * HOUR_MS, amount_gbp_minor=10**offset) for offset in range(4)]
    store.observe([share(events)])
    apply(store, outcome_of(events[2], WITHDRAWN), outcome_of(events[1]))
    row = observe(store, payment(4, START_MS + 4 * HOUR_MS, amount_gbp_minor=5))
    attempted = (row["account_sum_minor_24h"], row["account_count_30d"], row["account_sum_minor_30d"])
    volume = (row["account_volume_minor_24h"], row["account_volume_count_30d"], row["account_volume_minor_30d"])
    assert (attempted, volume) == ((1116, 5, 1116), (1016, 4, 1016))


@pytest.mark.parametrize(("name", "days"), [("account_volume_minor_24h", 1), ("account_volume_minor_30d", 30)])
@pytest.mark.parametrize(("late_ms", "expected"), [(-1, 7), (0, 7), (1, 7)])
def test_what_was_withdrawn_leaves_a_window_with_its_payment(
    store: Store, name: str, days: int, late_ms: int, expected: int
) -> None:
    blocked = payment(0, amount_gbp_minor=10**6)
    observe(store, blocked)
    apply(store, outcome_of(blocked, WITHDRAWN))
    assert observe(store, payment(1, START_MS + days * DAY_MS + late_ms, amount_gbp_minor=7))[name] == expected


@pytest.mark.parametrize("amount", [0, 10**9])
def test_i4_a_volume_of_which_more_was_withdrawn_than_counted_is_unknown(store: Store, amount: int) -> None:
    """An executor that takes back what nobody paid takes nothing off what was paid, for as long as that is counted."""
    events = [payment(offset, amount_gbp_minor=10**6) for offset in range(2)]
    for event in events:
        observe(store, event)
    apply(store, outcome_of(events[0], WITHDRAWN))
    assert observe(store, payment(2, START_MS + 1))["account_volume_minor_24h"] == 10**6 + 100
    never = [payment(90 + number, START_MS, amount_gbp_minor=amount) for number in range(9)]
    apply(store, *[outcome_of(event, WITHDRAWN) for event in never])
    row = observe(store, payment(3, START_MS + 2, amount_gbp_minor=7))
    volume = (row["account_volume_minor_24h"], row["account_volume_count_30d"], row["account_volume_minor_30d"])
    assert volume == (UNKNOWN, UNKNOWN, UNKNOWN)
    row = observe(store, payment(4, START_MS + DAY_MS, amount_gbp_minor=7))
    assert row["account_volume_minor_24h"] == 114
    assert row["account_volume_minor_30d"] == UNKNOWN


def test_blocked_payments_do_not_feed_a_block(store: Store) -> None:
    """Finding 22: 49 attempts of £5,000 that were blocked are no volume of £245,000."""
    events = [payment(offset, START_MS + offset, amount_gbp_minor=500_000) for offset in range(49)]
    for event in events:
        observe(store, event)
        apply(store, outcome_of(event, WITHDRAWN))
    row = observe(store, payment(49, START_MS + 50, amount_gbp_minor=1_000))
    assert (row["account_volume_minor_24h"], row["account_sum_minor_24h"]) == (1_000, 49 * 500_000 + 1_000)


def test_an_outcome_that_is_told_again_changes_nothing(store: Store) -> None:
    events = [payment(0), payment(1, amount_gbp_minor=40)]
    store.observe([share(events)])
    told = [outcome_of(events[0]), outcome_of(events[1], WITHDRAWN)]
    apply(store, *told, *told, *told)
    row = a_day_later(store, days=1)
    assert (row["account_volume_minor_30d"], row["account_volume_count_30d"]) == (200, 2)
    apply(store, outcome_of(events[0], UNMADE))
    assert a_day_later(store, 10, days=2)["is_unpaid_beneficiary"] == 1


@pytest.mark.parametrize(
    "kinds", [(MADE, UNMADE), (MADE, WITHDRAWN), (WITHDRAWN, MADE), (MADE, UNMADE, MADE, WITHDRAWN)]
)
@pytest.mark.parametrize("is_known", [True, False])
def test_i4_an_outcome_that_is_told_again_behind_a_later_one_changes_nothing(
    store: Store, kinds: tuple[OutcomeKind, ...], is_known: bool
) -> None:
    """Whether or not the later one says when and for how much the payment counted."""
    events = [payment(offset, amount_gbp_minor=1_000, account_id=f"payer-{offset}") for offset in range(2)]
    store.observe([share(events)])
    told = [[outcome_of(event, kind)._replace(order=order) for order, kind in enumerate(kinds)] for event in events]
    if not is_known:
        unknown = {"payment_time_ms": -1, "amount_gbp_minor": -1}
        told = [[first, *[each._replace(**unknown) for each in rest]] for first, *rest in told]
    apply(store, *told[0], *told[1], *told[1][:-1], *told[1])
    rows = [
        a_day_later(store, 10 + number, days=days, account_id=event.account_id)
        for days in (1, 31)
        for number, event in enumerate(events, start=2 * days)
    ]
    assert rows[0] == {**rows[1], **{name: rows[0][name] for name in rows[0] if name.startswith("beneficiary_")}}
    assert rows[2] == {**rows[3], **{name: rows[2][name] for name in rows[2] if name.startswith("beneficiary_")}}
    assert rows[1]["is_unpaid_beneficiary"] == (kinds[-1] is not MADE or not is_known)


@pytest.mark.parametrize("later_days", [30, 31])
def test_i4_an_outcome_that_is_told_again_when_the_later_one_is_forgotten_makes_nobody_known(
    store: Store, later_days: int
) -> None:
    first, later = payment(0), payment(1, START_MS + later_days * DAY_MS, beneficiary_account_id="other")
    store.observe([share([first, later])])
    made = outcome_of(first)._replace(order=1)
    apply(store, made, outcome_of(first, UNMADE)._replace(order=2), outcome_of(later, WITHDRAWN), made)
    assert a_day_later(store, days=later_days + 1)["is_unpaid_beneficiary"] == 1
    fresh = payment(10, START_MS + (later_days + 1) * DAY_MS)
    apply(store, outcome_of(fresh))
    assert a_day_later(store, 11, days=later_days + 2)["is_unpaid_beneficiary"] == 0


def test_i4_what_settled_before_the_oldest_outcome_that_there_is_makes_nobody_known(store: Store) -> None:
    """It may be told again, and what took it back may be gone from the log."""
    observe(store, payment(0))
    told = [outcome_of(payment(number), made_at_ms=START_MS + number) for number in (0, 1)]
    told[1] = told[1]._replace(beneficiary_account_id="other")
    assert store.apply_outcomes(0, 5, 7, told, initial=True, since_ms=START_MS + 1) == 7
    rows = [
        a_day_later(store, 2 + number, days=2, beneficiary_account_id=f"{payee}")
        for number, payee in enumerate(("payee", "other"))
    ]
    assert [row["is_unpaid_beneficiary"] for row in rows] == [UNKNOWN, 0]


def test_what_is_taken_in_by_several_calls_moves_the_position_on_with_each(redis_state: MakeState) -> None:
    """So a follower that dies in between, or an account with much to do, leaves nobody else UNKNOWN."""
    store, reference = redis_state(), MemoryState(clock_ms=now_ms)
    blocked = [payment(number, account_id="attacker") for number in range(600)]
    told = [outcome_of(event, WITHDRAWN) for event in blocked]
    offsets = [3 * number for number in range(600)]
    store.state.commands_left = 1
    with pytest.raises(StateUnavailable):
        store.apply_outcomes(0, 0, 1_800, told, offsets=offsets)
    reached = store.outcomes_position(0)
    assert reached is not None
    count = bisect_left(offsets, reached)
    assert 0 < count < len(offsets)
    reference.apply_outcomes(0, 0, reached, told[:count], offsets=offsets[:count])
    other = [payment(0, account_id="another")]
    assert same(reference.observe([share(other)]), store.observe([share(other)]))
    assert store.apply_outcomes(0, reached, 1_800, told, offsets=offsets) == 1_800


def test_a_payment_that_is_made_after_all_counts_again(store: Store) -> None:
    events = [payment(offset, START_MS + offset, amount_gbp_minor=10**offset) for offset in range(4)]
    store.observe([share(events)])
    apply(store, *[outcome_of(event, WITHDRAWN) for event in events], outcome_of(events[2]))
    row = observe(store, payment(4, START_MS + 9, amount_gbp_minor=7))
    assert (row["account_volume_minor_30d"], row["account_volume_count_30d"]) == (107, 2)


def test_a_payment_that_never_counted_is_withdrawn_from_nothing(store: Store) -> None:
    observe(store, payment(0))
    unknown = [outcome_of(payment(1), WITHDRAWN)._replace(amount_gbp_minor=-1)]
    apply(store, *unknown, outcome_of(payment(2), WITHDRAWN)._replace(payment_time_ms=-1))
    assert observe(store, payment(3, START_MS + 1))["account_volume_minor_30d"] == 200


def test_a_normal_month_is_of_what_was_not_withdrawn(store: Store) -> None:
    block_ms = 30 * DAY_MS
    begin_ms = (START_MS // block_ms + 1) * block_ms
    amounts = ((0, 100), (0, 1_000), (1, 50), (1, 9_000), (2, 30), (3, 7))
    events = [
        payment(place, begin_ms + block * block_ms + place, amount_gbp_minor=amount)
        for place, (block, amount) in enumerate(amounts)
    ]
    store.observe([share(events)])
    apply(store, outcome_of(events[1], WITHDRAWN), outcome_of(events[3], WITHDRAWN))
    row = observe(store, payment(6, begin_ms + 3 * block_ms + 10))
    assert row["account_normal_month_minor"] == 60
    row = observe(store, payment(7, begin_ms + 4 * block_ms + 10))
    assert row["account_normal_month_minor"] == (50 + 30 + 107 + 1) // 3


def test_a_row_says_which_outcomes_it_had_and_says_the_same_again(store: Store) -> None:
    first, second = payment(0), payment(1, START_MS + 2 * DAY_MS)
    (observation,) = store.observe([share([first])])
    assert observation.outcomes_position.tolist() == [NONE]
    apply(store, outcome_of(first))
    (one,) = store.observe([share([second], start=1)])
    apply(store, outcome_of(first, UNMADE), outcome_of(second, WITHDRAWN))
    for begin in (0, 1):
        again = store.observe([share([first, second][begin:], start=begin)])[0]
        assert again.outcomes_position.tolist() == [NONE, 1][begin:]
        assert np.array_equal(again.state[-1:], one.state)
    assert column(one.state, "is_unpaid_beneficiary") == [0]


def test_outcomes_are_taken_in_where_the_position_is_and_nowhere_else(store: Store) -> None:
    made = [outcome_of(payment(offset, beneficiary_account_id=f"payee-{offset}")) for offset in range(3)]
    assert store.outcomes_position(0) is None
    assert store.apply_outcomes(0, 5, 6, made[:1]) == NONE
    assert store.apply_outcomes(0, 0, 2, made[:1]) == 2
    assert store.apply_outcomes(0, 0, 3, made[1:2]) == 2
    assert store.apply_outcomes(0, 3, 4, made[1:2]) == 2
    assert store.apply_outcomes(0, 2, 2, []) == 2
    assert store.apply_outcomes(0, 2, 7, []) == 7
    assert store.apply_outcomes(0, 7, 8, made[2:]) == store.outcomes_position(0) == 8
    assert store.outcomes_position(1) is None
    known = [
        observe(store, payment(offset, START_MS + DAY_MS, beneficiary_account_id=f"payee-{offset}"))
        for offset in range(3)
    ]
    assert [row["is_unpaid_beneficiary"] for row in known] == [0, 1, 0]


def test_outcomes_of_which_older_ones_are_missing_leave_payees_and_months_unknown(store: Store) -> None:
    known, unknown = payment(0), payment(1, START_MS + 1, beneficiary_account_id="other")
    store.observe([share([known, unknown])])
    assert store.apply_outcomes(0, 5, 6, [outcome_of(known)], initial=True, since_ms=START_MS) == 6
    assert a_day_later(store, 2, days=2)["is_unpaid_beneficiary"] == 0
    row = a_day_later(store, 3, days=2, beneficiary_account_id="other")
    assert [row[f"account_volume_{name}"] for name in ("minor_24h", "minor_30d", "count_30d")] == [
        200,
        UNKNOWN,
        UNKNOWN,
    ]
    assert (row["is_unpaid_beneficiary"], row["account_normal_month_minor"]) == (UNKNOWN, UNKNOWN)
    assert (row["account_sum_minor_30d"], row["is_new_beneficiary"]) == (400, 0)
    other = payment(4, START_MS + 2 * DAY_MS, account_id="another")
    assert observe(store, other)["is_unpaid_beneficiary"] == UNKNOWN


def test_a_later_start_must_be_told_since_when_it_is_whole(store: Store) -> None:
    with pytest.raises(ValueError, match="since when"):
        store.apply_outcomes(0, 5, 6, [], initial=True)
    with pytest.raises(ValueError, match="since when"):
        store.observe([share([], start=5)], initial=True)


Step = tuple[StateEvent | None, list[PaymentOutcome]]
"""A payment that is observed or outcomes that are taken in."""


def outcomes_of(log: Log, random: Random) -> list[PaymentOutcome]:
    """Return random outcomes of a partition's payments, some told again, some contradicting each other."""
    events = [event for _, event in log.records if event.is_counted]
    told: list[PaymentOutcome] = []
    for event in events:
        for _ in range(random.choice((0, 1, 1, 2))):
            made_at_ms = event.event_time_ms + random.choice((0, DAY_MS, 40 * DAY_MS))
            kind = random.choice((MADE, MADE, WITHDRAWN, WITHDRAWN, UNMADE, UNMADE))
            outcome = outcome_of(event, kind, made_at_ms=made_at_ms)
            if random.random() < 0.1:
                outcome = outcome._replace(beneficiary_account_id="", payment_time_ms=-1, amount_gbp_minor=-1)
                outcome = outcome._replace(counted_until_ms=random.choice((-1, -1, event.log_time_ms)))
            told.append(outcome)
    if random.random() < 0.5:  # of an executor that numbers them, and tells some again
        told = [outcome._replace(order=random.randrange(4)) for outcome in told]
    told += random.sample(told, len(told) // 4)
    places = sorted(range(len(told)), key=lambda place: place + random.randrange(8))
    return [told[place] for place in places]


@pytest.fixture
def fresh(redis_at: str, redis_state: MakeState) -> Callable[..., SyncRedisState]:
    """Empty Redis for each example; the connection stays."""
    stores: dict[int, SyncRedisState] = {}

    def make(shards: int = 1) -> SyncRedisState:
        with redis.Redis.from_url(redis_at) as client:
            client.flushall()
        if shards not in stores:
            stores[shards] = redis_state(shards=shards, claim_buckets=3)
        return stores[shards]

    return make


@given(log=logs(), shards=st.sampled_from((1, 3)), seed=st.integers(0, 2**32))
@on_redis
def test_redis_answers_as_the_reference(fresh: MakeState, log: Log, shards: int, seed: int) -> None:
    random, log = Random(seed), log.of_one_partition()
    outcomes, place = outcomes_of(log, random), 0
    actual, expected = fresh(shards=shards), MemoryState(shards=shards, clock_ms=now_ms)
    for batch, *_ in log.batches():
        assert same(expected.observe([batch]), actual.observe([batch]))
        past = min(place + random.randrange(40), len(outcomes))
        for store in (actual, expected):
            assert store.apply_outcomes(0, place, past, outcomes[place:past]) == past
        place = past
        assert same(expected.observe([batch]), actual.observe([batch]))


def end_state(store: Store, log: Log, outcomes: list[PaymentOutcome], random: Random) -> list[list[int]]:
    """Return what probes of each account and payee see after a random interleaving of the log and the outcomes."""
    batches, place = [batch for batch, *_ in log.batches()], 0
    while batches or place < len(outcomes):
        if batches and (place == len(outcomes) or random.random() < 0.5):
            store.observe([batches.pop(0)])
        else:
            past = min(place + random.randint(1, 30), len(outcomes))
            store.apply_outcomes(0, place, past, outcomes[place:past])
            place = past
    end = store.positions(0) or 0
    latest_ms = max(event.event_time_ms for _, event in log.records)
    probes = [
        payment(
            end + number,
            latest_ms + number,
            transaction_id=f"probe-{number}",
            account_id=account,
            beneficiary_account_id=payee,
        )
        for number, (account, payee) in enumerate(
            sorted({(event.account_id, event.beneficiary_account_id) for _, event in log.records})
        )
    ]
    (observation,) = store.observe([share(probes, start=end)])
    return [*observation.state.tolist(), observation.outcomes_position.tolist()]


@given(log=logs(records_max=60), seed=st.integers(0, 2**32))
@on_redis
def test_the_state_does_not_depend_on_how_payments_and_outcomes_were_interleaved(
    fresh: MakeState, log: Log, seed: int
) -> None:
    log = log.of_one_partition()
    outcomes = outcomes_of(log, Random(seed))
    ends = [end_state(MemoryState(clock_ms=now_ms), log, outcomes, Random(seed + number)) for number in range(3)]
    ends += [end_state(fresh(), log, outcomes, Random(seed + number)) for number in range(2)]
    assert all(end == ends[0] for end in ends)


@given(log=logs(records_max=60), seed=st.integers(0, 2**32))
@on_redis
def test_outcomes_that_were_torn_off_are_taken_in_once(fresh: MakeState, log: Log, seed: int) -> None:
    """A follower dies among the calls about a range; its successor reads another range from the same position."""
    log, random = log.of_one_partition(), Random(seed)
    outcomes = outcomes_of(log, random)
    actual, expected = fresh(), MemoryState(clock_ms=now_ms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.state.requests.OUTCOMES_MAX", 3)
        place = 0
        while place < len(outcomes):
            past = min(place + random.randint(1, 20), len(outcomes))
            actual.state.commands_left = random.randint(0, 5)
            try:
                place = actual.apply_outcomes(0, place, past, outcomes[place:past])
            except StateUnavailable:
                continue
            finally:
                actual.state.commands_left = None
    expected.apply_outcomes(0, 0, len(outcomes), outcomes)
    assert end_state(actual, log, [], random)[:-1] == end_state(expected, log, [], Random(1))[:-1]


@pytest.fixture
def small_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the same code to bounds that a test can reach."""
    for name, modules, bound in (
        ("ACCOUNT_BENEFICIARIES_MAX", ("outcomes", "account_windows", "store", "outcome_store"), 3),
        ("ACCOUNT_PAYMENTS_MAX", ("account_windows", "store"), 12),
        ("WITHDRAWN_MAX", ("outcomes", "outcome_store"), 8),
    ):
        for module in modules:
            monkeypatch.setattr(f"pipeline.state.{module}.{name}", bound)


@pytest.mark.usefixtures("small_caps")
@given(log=logs(), seed=st.integers(0, 2**32))
@on_redis
def test_every_bound_is_kept_as_the_reference_keeps_it(
    redis_at: str, redis_state: MakeState, log: Log, seed: int
) -> None:
    with redis.Redis.from_url(redis_at) as client:
        client.flushall()
    random, log = Random(seed), log.of_one_partition()
    stores: list[Store] = [MemoryState(clock_ms=now_ms), redis_state()]
    outcomes, place = outcomes_of(log, random), 0
    for batch, *_ in log.batches():
        expected, actual = (store.observe([batch]) for store in stores)
        assert same(expected, actual)
        past = min(place + 50, len(outcomes))
        for store in stores:
            store.apply_outcomes(0, place, past, outcomes[place:past])
        place = past


def test_an_account_with_more_withdrawn_payments_than_are_kept_counts_the_older_ones(redis_state: MakeState) -> None:
    """The calls also stop before they take long, and are gone on with."""
    count = 2 * reference.WITHDRAWN_MAX
    events = [payment(offset, START_MS + offset * 60_000, amount_gbp_minor=offset) for offset in range(count)]
    outcomes = [outcome_of(event, WITHDRAWN) for event in events]
    Random(1).shuffle(outcomes)
    outcomes += [outcome_of(event) for event in events[::5]]
    stores: list[Store] = [MemoryState(), redis_state()]
    rows = []
    for store in stores:
        store.observe([share(events)])
        assert store.apply_outcomes(0, 0, len(outcomes), outcomes) == len(outcomes)
        rows.append(observe(store, payment(count, START_MS + 2 * DAY_MS)))
    assert rows[0] == rows[1]
    assert rows[0]["account_volume_count_30d"] > reference.WITHDRAWN_MAX


def test_a_full_redis_takes_no_outcome_in_and_goes_on_when_it_has_room(redis_at: str, redis_state: MakeState) -> None:
    store = redis_state()
    observe(store, payment(0))
    with redis.Redis.from_url(redis_at) as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StateUnavailable):
                apply(store, outcome_of(payment(0)))
        finally:
            client.config_set("maxmemory", REDIS_MEMORY_MAX_BYTES)
    assert store.outcomes_position(0) is None
    apply(store, outcome_of(payment(0)))
    assert a_day_later(store)["is_unpaid_beneficiary"] == 0
