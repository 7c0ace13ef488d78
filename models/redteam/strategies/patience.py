"""Attacks that take time: payees warmed up, sleepers woken, an account's normal raised, a mule made to look honest."""

from __future__ import annotations

from models.redteam.plan import Role
from models.redteam.scene import MINUTE_MS, Origin, Scene
from models.redteam.strategies.strategy import HOURS, MULE_HOURS, ORIGINS, WEALTH, Choices, Strategy
from pipeline.state.periods import DAY_MS, HOUR_MS

_POUNDS = (249, 999, 1_999, 4_999, 9_999, 24_999, 49_999)


def _warm_up(scene: Scene, choices: Choices) -> None:
    """Small payments make the mule a known payee a day later; then comes the large one."""
    victim, mule, origin = scene.victim(choices["wealth"]), scene.mule(choices["mule_hours"]), Origin(choices["origin"])
    at_ms = scene.at(0, choices["hour"])
    for number in range(choices["small_count"]):
        scene.payment(victim, mule, choices["small_minor"], at_ms + number * DAY_MS, origin, Role.PREPARE)
    large_ms = at_ms + (choices["small_count"] - 1) * DAY_MS + choices["wait_h"] * HOUR_MS
    for number in range(choices["large_count"]):
        scene.payment(victim, mule, choices["pounds"] * 100, large_ms + number * 30 * MINUTE_MS, origin)


WARM_UP = Strategy(
    "warm-up",
    "small payments make a mule a known payee, a large one follows after a day",
    {
        "small_minor": (1, 100, 999, 2_500, 4_999),
        "small_count": (1, 2, 4),
        "wait_h": (1, 23, 25, 49, 170),
        "pounds": _POUNDS,
        "large_count": (1, 2, 4),
        "hour": HOURS,
        "origin": (0, 1, 2),
        "mule_hours": MULE_HOURS,
        "wealth": WEALTH,
    },
    _warm_up,
)


def _dormant(scene: Scene, choices: Choices) -> None:
    victim, mule = scene.sleeper(choices["rank"]), scene.mule(choices["mule_hours"])
    at_ms = scene.at(choices["day"], choices["hour"])
    for number in range(choices["count"]):
        pounds_ms = at_ms + number * choices["gap_min"] * MINUTE_MS
        scene.payment(victim, mule, choices["pounds"] * 100 - number, pounds_ms, Origin(choices["origin"]))


DORMANT = Strategy(
    "dormant",
    "an account that has not paid for weeks is woken and emptied",
    {
        "rank": (0, 5, 20, 60),
        "day": (0, 7, 14, 31, 45),
        "pounds": (49, 150, 249, 500, 999, 1_999, 4_999),
        "count": (1, 2, 4),
        "gap_min": (1, 15, 61, 1_441),
        "hour": HOURS,
        "origin": ORIGINS,
        "mule_hours": MULE_HOURS,
    },
    _dormant,
)


def _poisoning(scene: Scene, choices: Choices) -> None:
    """Payments that grow for weeks raise what is usual of the account, until a large one is."""
    victim, mule, origin = scene.victim(choices["wealth"]), scene.mule(24 * 400), Origin(choices["origin"])
    amount_minor, every_ms = choices["first_pounds"] * 100, choices["every_days"] * DAY_MS
    at_ms = scene.at(0, choices["hour"])
    for number in range(choices["steps"]):
        scene.payment(
            victim, mule, amount_minor, at_ms + number * every_ms, origin, Role.PREPARE, is_balance_kept=False
        )
        amount_minor = amount_minor * (100 + choices["growth_percent"]) // 100
    last_ms = at_ms + choices["steps"] * every_ms
    scene.payment(victim, mule, min(amount_minor * choices["last_times"], 4_999_900), last_ms, origin)


POISONING = Strategy(
    "slow-poisoning",
    "payments in a circle that grow for weeks raise what is usual of the account, until a large one is",
    {
        "first_pounds": (10, 40, 120, 249),
        "growth_percent": (0, 20, 50, 100),
        "steps": (3, 6, 10, 14),
        "every_days": (1, 2, 4),
        "last_times": (1, 2, 5, 20),
        "hour": HOURS,
        "origin": (0, 1),
        "wealth": WEALTH,
    },
    _poisoning,
)


def _honest_labels(scene: Scene, choices: Choices) -> None:
    """The thief's own accounts pay a mule for weeks and call it honest; so its share of fraud is small at the theft."""
    mule = scene.mule(choices["mule_hours"])
    for number in range(choices["own"]):
        own = scene.own_account(age_days=90)
        for week in range(choices["weeks"]):
            at_ms = scene.at(7 * week, 10 + number % 8, number)
            scene.payment(own, mule, choices["small_minor"], at_ms, role=Role.PREPARE, is_said_honest=True)
    day = 7 * choices["weeks"] + 8
    for number in range(choices["victims"]):
        victim = scene.victim(choices["wealth"])
        at_ms = scene.at(day + number * choices["days_apart"], choices["hour"])
        scene.payment(victim, mule, choices["pounds"] * 100, at_ms, Origin(choices["origin"]), device=number)


HONEST_LABELS = Strategy(
    "honest-labels",
    "a mule is paid and called honest for weeks before it is used",
    {
        "own": (1, 3, 6),
        "weeks": (1, 2, 4),
        "small_minor": (200, 2_000, 4_999),
        "victims": (1, 3, 6),
        "days_apart": (1, 4, 8),
        "pounds": (49, 249, 999, 1_999, 4_999),
        "hour": HOURS,
        "origin": ORIGINS,
        "mule_hours": MULE_HOURS,
        "wealth": WEALTH,
    },
    _honest_labels,
)
