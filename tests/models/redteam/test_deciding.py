"""A plan's course is what the serving code decides: the same again, from a file too, and beside the whole world."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random

import numpy as np
import pytest

from models.artefact.strict import canonical
from models.redteam.deciding import BREAKER_FROM, REFUSED, carry_out
from models.redteam.plan import Plan, PlanRefused, Role, plan_json, plan_of
from models.redteam.scene import MINUTE_MS, Origin
from models.redteam.search import carried_out, space_of
from models.redteam.strategies.strategy import Strategy
from models.redteam.strategies.table import BY_NAME, STRATEGIES
from models.redteam.target import target_of
from models.redteam.trials import HEAVY
from models.redteam.world import record_of
from pipeline.decide.policy import rules_of
from pipeline.decide.policy_rules import SoftRules
from pipeline.domain.decision import Outcome
from pipeline.domain.log import Span
from pipeline.io.avro.wire import WireFormat
from pipeline.state.context.facts import LogPlace
from pipeline.state.periods import DAY_MS
from pipeline.state.windows import MemoryState, PartitionEvents
from tests.models.redteam.given import SEED, carried, first_choices, scene, shipped, target
from tests.records import policy


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: each.name)
def test_a_plan_that_is_read_from_its_file_ends_as_it_is_claimed(strategy: Strategy) -> None:
    rng = Random(strategy.name)
    for number in range(1 if strategy.name in HEAVY else 4):
        choices = {name: rng.choice(values) for name, values in strategy.space.items()}
        plan, course = carried_out(strategy, target(), choices, number)
        again = plan_of(json.loads(canonical(plan_json(plan))))
        assert plan == again
        assert course == carry_out(again, target())
        assert len(course.outcomes) == len(plan.acts)
        money = course.through_minor + course.escalated_minor + course.stopped_minor
        assert money == course.sought_minor


def test_a_part_of_the_world_answers_for_its_accounts_as_all_of_it_does() -> None:
    """Invariant 2 of the world, for a victim and a busy shop."""
    world, judge, made = target().world, target().judge, scene()
    victim, shop = made.victim(7), made.shop()
    made.payment(victim, shop, 4_321, made.at(0, 12))
    [act] = made.plan().acts
    end = world.next_offset
    record = record_of(WireFormat(), act.transaction, end, act.logged_at_ms)
    [share] = judge.state_events(judge.read([record]), [Span(0, end, end + 1, end)])
    whole = MemoryState()
    for profile in world.profiles.values():
        whole.upsert_account(profile, LogPlace(profile.updated_at_ms, 0))
    whole.observe([PartitionEvents(0, 0, end, end, [each.event for each in world.seen])])
    whole.apply_outcomes(0, 0, end, [each.outcome for each in world.seen])
    part = world.part([victim.account_id], [shop.account_id])
    expected, found = whole.observe([share])[0].state, part.observe([share])[0].state
    assert np.array_equal(expected, found)
    assert found[0, 2] >= 1, "the shop or the victim has a past"


def test_what_the_pipeline_refuses_is_no_theft() -> None:
    made = scene()
    made.payment(made.victim(5), made.mule(12), 100, made.at(0, 12), otherwise={"currency": "nonsense"})
    course = carry_out(made.plan(), target())
    assert (REFUSED,) == course.outcomes
    assert course.through_minor == 0


def test_reports_and_labels_of_earlier_thefts_are_known_to_later_payments() -> None:
    """A device that stole twice is reported within hours; the same payment by it is then worth less."""
    made = scene(1)
    mule = made.mule(24 * 7)
    for number in range(4):
        made.payment(made.victim(6), mule, 20_000, made.at(0, 12, number), Origin.FRESH)
    for number in range(4):
        made.payment(made.victim(6), mule, 20_000, made.at(6, 12, number), Origin.FRESH)
    outcomes = carry_out(made.plan(), target()).outcomes
    assert outcomes[4:].count(Outcome.ALLOW) == 0, outcomes


def test_money_that_prepares_is_never_counted_as_stolen() -> None:
    made = scene(2)
    victim, mule = made.victim(9), made.mule(24 * 400)
    made.payment(victim, mule, 4_000, made.at(0, 12), role=Role.PREPARE)
    course = carry_out(made.plan(), target())
    assert (Outcome.ALLOW,) == course.outcomes
    assert (course.sought_minor, course.through_minor, course.at_risk_minor) == (0, 0, 4_000)
    assert not course.is_evasion
    assert not course.is_success


def test_no_plan_takes_more_than_an_account_is_assumed_to_hold() -> None:
    made = scene(3)
    victim, mule = made.victim(0), made.mule(12)
    for number in range(5):
        made.payment(victim, mule, victim.month_minor, made.at(0, 12) + number * DAY_MS)
    assert 2 * victim.month_minor == sum(act.transaction.amount_minor for act in made.plan().acts)


def test_a_breaker_that_is_tripped_on_purpose_lets_the_fallback_decide() -> None:
    plan, course = carried(
        "trip-breaker", burnt=6, noise=120, noise_minor=24_000, span_min=5, wait_min=1, victims=3, payees=5, pounds=250
    )
    stolen_by = {
        route
        for act, route in zip(plan.acts, course.routes, strict=True)
        if act.role is Role.STEAL and act.transaction.amount_minor == 24_999
    }
    assert any(state == "OPEN" for _, _, state in course.trips)
    assert "FALLBACK" in stolen_by


def test_honest_traffic_and_harmless_payments_trip_nothing() -> None:
    made = scene(4)
    for number in range(BREAKER_FROM + 20):
        own = made.own_account(400)
        made.payment(own, made.shop(), 1_000, made.at(0, 11) + number * 3_000, role=Role.NOISE)
    course = carry_out(made.plan(), target())
    assert () == course.trips


def test_a_plan_of_days_meets_a_breaker_only_where_it_crowds() -> None:
    made = scene(5)
    victim, mule = made.victim(9), made.mule(24 * 400)
    for number in range(BREAKER_FROM + 20):
        made.payment(victim, mule, 100, made.at(0, 9) + number * 60 * MINUTE_MS)
    assert () == carry_out(made.plan(), target()).trips


@pytest.mark.parametrize(
    "value", [None, [], {}, {"attack": "x", "purchases": {}, "payments": {}}, {"attack": "x", "purchases": {"Y": 1}}]
)
def test_what_is_no_plan_is_refused(value: object) -> None:
    with pytest.raises(PlanRefused):
        plan_of(value)  # type: ignore[arg-type]


def test_a_plan_without_a_field_of_a_payment_is_refused() -> None:
    made = scene(6)
    made.payment(made.victim(5), made.mule(12), 100, made.at(0, 12))
    value = plan_json(made.plan())
    [payment] = value["payments"]  # type: ignore[misc,union-attr]
    del payment["beneficiary_country"]  # type: ignore[index,union-attr]
    with pytest.raises(PlanRefused, match="beneficiary_country"):
        plan_of(value)


@pytest.mark.parametrize(
    ("name", "value"), [("amount_minor", "12"), ("account_id", None), ("segments", {"a": 1}), ("channel", "PIGEON")]
)
def test_a_payment_in_another_form_is_refused(name: str, value: object) -> None:
    made = scene(7)
    made.payment(made.victim(5), made.mule(12), 100, made.at(0, 12))
    written = plan_json(made.plan())
    written["payments"][0][name] = value  # type: ignore[index,call-overload]
    with pytest.raises(PlanRefused):
        plan_of(written)


def test_an_empty_plan_comes_to_nothing() -> None:
    course = carry_out(Plan("nothing", (), {}), target())
    assert (course.sought_minor, course.outcomes) == (0, ())


@pytest.mark.parametrize("small_count", [1, 2, 4])
def test_a_payee_that_was_warmed_up_gets_no_sum_that_is_unlike_all_the_account_ever_paid(small_count: int) -> None:
    """£705 took £49,998: small payments made the mule a known payee, and the rule on new payees held no more."""
    through = [
        carried(
            "warm-up", number, small_minor=2_500, small_count=small_count, wait_h=25, pounds=24_999, large_count=2,
            hour=12, origin=1, mule_hours=mule_hours, wealth=9,
        ).course.through_minor
        for number in range(6)
        for mule_hours in (12, 24 * 7)
    ]  # fmt: skip
    assert [0] * 12 == through


def test_a_sum_that_is_unlike_the_account_does_not_go_out_in_parts_of_a_day_each() -> None:
    """£800 took £34,993 in parts of £4,999 a day to one mule, each below the limit of a large payment."""
    made = scene()
    mule, victim = made.mule(24 * 7), made.victim(9)
    made.payment(victim, mule, 2_500, made.at(0, 12), role=Role.PREPARE)
    for day in range(2, 9):
        made.payment(victim, mule, 199_900, made.at(day, 12))
    outcomes = carry_out(made.plan(), target()).outcomes
    assert len(outcomes) > 2
    assert outcomes[2:].count(Outcome.ALLOW) == 0, outcomes


@pytest.mark.parametrize(
    ("choices", "code"),
    [
        ({"hour": 13, "days": 6, "count": 24, "pounds": 24_999, "is_balance_kept": 0}, "SOFT_DAILY_VOLUME_DATED_BACK"),
        ({"hour": 3, "days": 1, "shift_h": 9, "count": 2, "pounds": 500}, "SOFT_UNUSUAL_HOURS_LOGGED"),
        ({"hour": 13, "days": 8, "count": 2, "pounds": 500}, "SOFT_LATE"),
    ],
)
def test_guardrails_on_what_payments_claim_are_met_by_an_attack(choices: Mapping[str, int], code: str) -> None:
    """No attack handed in a payment later than 10 hours after its time, and these three met none."""
    whole = {**first_choices("split-over-claims"), "wealth": 9, "mule_hours": 24 * 400, **choices}
    _, course = carried_out(BY_NAME["split-over-claims"], target(), whole, 0)
    assert code in {met for each in course.rules for met in each}


def test_what_is_just_under_a_limit_follows_from_the_policy_that_is_attacked() -> None:
    """Two rules came at £1,000 and £200, and no attack knew of either amount."""
    held = {
        condition.at_least
        for rule in rules_of(policy())
        for condition in rule.when
        if condition.feature == "amount_gbp_minor" and condition.at_least is not None
    }
    assert {20_000, 100_000} <= held
    for name, parameter in (("near-limits", "limit_minor"), ("boundary", "amount_minor")):
        assert held <= {*space_of(BY_NAME[name], target())[parameter]}
    with_another = policy().model_copy(update={"soft": _with_amount(policy().soft, 777_700)})
    other = target_of("other", with_another, shipped(), SEED)
    assert 777_700 in space_of(BY_NAME["near-limits"], other)["limit_minor"]


def _with_amount(soft: SoftRules, amount_minor: int) -> SoftRules:
    rule = next(rule for rule in soft.rules if rule.code == "SOFT_UNUSUAL_AMOUNT")
    when = tuple(
        each.model_copy(update={"at_least": amount_minor}) if each.feature == "amount_gbp_minor" else each
        for each in rule.when
    )
    return soft.model_copy(update={"rules": (rule.model_copy(update={"when": when}),)})
