"""One account counts so much in any window, whatever it does, and nobody else pays for it."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.breaker.answer_counts import Answer
from pipeline.breaker.detecting.account_weights import AccountWeights
from pipeline.domain.decision import Outcome

WINDOW_MS = 330_000


def answer(account_id: str, outcome: Outcome | None = Outcome.BLOCK, **how: object) -> Answer:
    return Answer(outcome, 1, {}, None, account_id, **how)


@given(st.lists(st.integers(0, 100_000), max_size=60), st.integers(1, 5))
def test_1_no_window_holds_more_of_an_account_than_its_weight(pauses_ms, most):
    weights, now_ms, counted_ms = AccountWeights(b"salt", 64), 0, []
    for pause_ms in pauses_ms:
        now_ms += pause_ms
        counted_ms += [now_ms] * len(weights.counted([answer("one")] * 3, most, WINDOW_MS, now_ms))
    for begin_ms in counted_ms:
        assert sum(begin_ms <= at_ms < begin_ms + WINDOW_MS for at_ms in counted_ms) <= most


def test_an_account_that_floods_takes_nothing_from_others():
    weights = AccountWeights(b"salt")
    batch = [answer("flood")] * 500 + [answer(f"a{number}", Outcome.ALLOW) for number in range(500)]
    counted = weights.counted(batch, 2, WINDOW_MS, 0)
    assert sum(each.account_id == "flood" for each in counted) == 2
    assert len(counted) >= 2 + 495  # a few meet another's place


def test_an_account_counts_again_a_window_later():
    weights = AccountWeights(b"salt")
    times_ms = [0, 0, 0, WINDOW_MS - 1, WINDOW_MS]
    assert [len(weights.counted([answer("one")], 2, WINDOW_MS, at_ms)) for at_ms in times_ms] == [1, 1, 0, 0, 1]


def test_payments_of_nothing_count_only_where_the_model_failed():
    batch = [answer("a", Outcome.ALLOW, is_of_nothing=True), answer("b", None, is_of_nothing=True), answer("c")]
    counted = AccountWeights(b"salt").counted(batch, 2, WINDOW_MS, 0)
    assert [each.account_id for each in counted] == ["b", "c"]


def test_payments_without_an_account_count_together_as_one():
    assert len(AccountWeights(b"salt").counted([answer("")] * 10, 2, WINDOW_MS, 0)) == 2


def test_2_memory_is_fixed_and_a_crowd_still_says_enough():
    weights = AccountWeights(b"salt", places=1_000)
    crowd = [answer(f"a{number}") for number in range(50_000)]
    assert 1_990 <= len(weights.counted(crowd, 2, WINDOW_MS, 0)) <= 2_000


def test_policy_that_changes_the_weight_is_heeded_at_once():
    weights = AccountWeights(b"salt")
    assert [len(weights.counted([answer("one")] * 9, most, WINDOW_MS, 0)) for most in (2, 4)] == [2, 4]


def blocked_share(new_each_s: int, known_each_s: int) -> float:
    """Return the blocked share that is seen in a window where 40 % of the known accounts' payments are blocked."""
    weights, seen = AccountWeights(b"salt"), []
    for second in range(660):
        made_up = [answer(f"x{second}-{number}", Outcome.ALLOW) for number in range(new_each_s)]
        known = [
            answer(
                f"c{(second * known_each_s + number) * 7919 % 100_000}",
                Outcome.BLOCK if number % 5 < 2 else Outcome.ALLOW,
                is_of_known_account=True,
            )
            for number in range(known_each_s)
        ]
        counted = weights.counted([*made_up, *known], 2, WINDOW_MS, second * 1000)
        seen += counted if second >= 330 else []
    return sum(each.outcome is Outcome.BLOCK for each in seen) / len(seen)


def test_3_made_up_accounts_drown_nothing_however_many_there_are():
    assert 0.29 <= blocked_share(200, 50)
    assert abs(blocked_share(200, 50) - blocked_share(600, 50)) < 0.01
    assert 0.2 <= blocked_share(200, 5)


def test_3_a_deployment_whose_accounts_are_all_new_counts_them():
    weights = AccountWeights(b"salt")
    found = 0
    for second in range(300):
        crowd = [answer(f"a{second}-{number}") for number in range(20)]
        found += len(weights.counted(crowd, 2, WINDOW_MS, second * 1000))
    assert found >= 5_800
    assert weights.uncounted == 0


def test_3_new_accounts_that_do_not_count_are_told():
    weights = AccountWeights(b"salt")
    known = [answer(f"k{number}", is_of_known_account=True) for number in range(1_000)]
    weights.counted([*[answer(f"n{number}") for number in range(2_000)], *known], 2, WINDOW_MS, 0)
    assert 1_000 < weights.uncounted <= 2_000 - 625
    weights.counted([answer(f"m{number}") for number in range(500)], 2, WINDOW_MS, 2 * WINDOW_MS)
    assert weights.uncounted <= 2_000 - 625, "once nobody known pays, new ones are all there is"


def test_4_on_a_probation_an_account_counts_once_a_draw_and_elsewhere_as_ever():
    weights, draw_ms, probed = AccountWeights(b"salt"), 600_000, []
    for minute in range(21):
        batch = [answer("one", probed="model:m1"), answer("two", probed="model:m1"), answer("three")]
        counted = weights.counted(batch, 100, WINDOW_MS, minute * 60_000, draw_ms)
        probed += [(minute, each.account_id) for each in counted if each.probed is not None]
        assert [each.account_id for each in counted] == ["one", "two", "three"]
    assert probed == [(minute, name) for minute in (0, 10, 20) for name in ("one", "two")]


def test_what_no_longer_counts_on_a_probation_stays_as_the_worker_made_it():
    weights, made = AccountWeights(b"salt"), [answer("one", probed="all"), answer("one", probed="all")]
    first, second = weights.counted(made, 2, WINDOW_MS, 0, 600_000)
    assert (first.probed, second.probed, made[1].probed) == ("all", None, "all")
    assert (second.outcome, second.account_id) == (made[1].outcome, "one")
