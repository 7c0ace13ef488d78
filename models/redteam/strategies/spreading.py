"""Attacks that spread a sum: over time, over payees, over accounts, over many cards' small payments, into one mule."""

from __future__ import annotations

from models.redteam.plan import Role
from models.redteam.scene import MINUTE_MS, Origin, Scene
from models.redteam.strategies.strategy import HOURS, MULE_HOURS, ORIGINS, WEALTH, Choices, Strategy
from pipeline.state.periods import DAY_MS, HOUR_MS

_POUNDS = (20, 49, 99, 150, 249, 500, 1_000, 1_999, 4_999)


def _split_time(scene: Scene, choices: Choices) -> None:
    victim, mule = scene.victim(choices["wealth"]), scene.mule(choices["mule_hours"])
    for number in range(choices["count"]):
        at_ms = scene.at(0, choices["hour"]) + number * choices["gap_h"] * HOUR_MS
        scene.payment(victim, mule, choices["pounds"] * 100 - number, at_ms, Origin(choices["origin"]))


SPLIT_TIME = Strategy(
    "split-over-time",
    "one sum in many payments to one payee, hours or days apart",
    {
        "pounds": _POUNDS,
        "count": (2, 4, 6, 10, 16),
        "gap_h": (1, 4, 12, 24, 48),
        "hour": HOURS,
        "origin": ORIGINS,
        "mule_hours": MULE_HOURS,
        "wealth": WEALTH,
    },
    _split_time,
)


def _split_claims(scene: Scene, choices: Choices) -> None:
    """All is handed in within minutes; what is asked of a day, an hour or a week meets the times that it claims."""
    victim, days = scene.victim(choices["wealth"]), choices["days"]
    mules = [scene.mule(choices["mule_hours"]) for _ in range(choices["mules"])]
    begin_ms = scene.at(days, choices["hour"])
    for number in range(choices["count"]):
        logged_ms = begin_ms + number * MINUTE_MS
        claimed_ms = begin_ms - (days - number * days // choices["count"]) * DAY_MS + choices["shift_h"] * HOUR_MS
        scene.payment(
            victim, mules[number % len(mules)], choices["pounds"] * 100 - number, min(claimed_ms, logged_ms),
            Origin(choices["origin"]), logged_after_ms=logged_ms - min(claimed_ms, logged_ms),
            is_balance_kept=bool(choices["is_balance_kept"]),
        )  # fmt: skip


SPLIT_CLAIMS = Strategy(
    "split-over-claims",
    "one sum in many payments that are handed in at once, and claim the days before; of a company, too, whose balance "
    "nobody bounds",
    {
        "pounds": (*_POUNDS, 9_999, 24_999, 49_999),
        "count": (1, 2, 6, 12, 24),
        "days": (1, 3, 6, 8),
        "shift_h": (0, 9, 16),
        "mules": (1, 4),
        "hour": HOURS,
        "origin": ORIGINS,
        "mule_hours": MULE_HOURS,
        "wealth": WEALTH,
        "is_balance_kept": (1, 0),
    },
    _split_claims,
)


def _split_payees(scene: Scene, choices: Choices) -> None:
    victim = scene.victim(choices["wealth"])
    for number in range(choices["payees"]):
        at_ms = scene.at(0, choices["hour"]) + number * choices["gap_min"] * MINUTE_MS
        mule = scene.mule(choices["mule_hours"])
        scene.payment(victim, mule, choices["pounds"] * 100 - number, at_ms, Origin(choices["origin"]))


SPLIT_PAYEES = Strategy(
    "split-over-payees",
    "one account empties itself into many payees",
    {
        "pounds": _POUNDS,
        "payees": (2, 3, 5, 7, 8, 12),
        "gap_min": (1, 8, 15, 61, 200),
        "hour": HOURS,
        "origin": ORIGINS,
        "mule_hours": MULE_HOURS,
        "wealth": WEALTH,
    },
    _split_payees,
)


def _split_accounts(scene: Scene, choices: Choices) -> None:
    mules = [scene.mule(choices["mule_hours"]) for _ in range(choices["mules"])]
    for number in range(choices["accounts"]):
        victim = scene.victim(choices["wealth"])
        at_ms = scene.at(0, choices["hour"]) + number * choices["gap_min"] * MINUTE_MS
        mule, device = mules[number % len(mules)], number // choices["accounts_a_device"]
        scene.payment(victim, mule, choices["pounds"] * 100, at_ms, Origin(choices["origin"]), device=device)


SPLIT_ACCOUNTS = Strategy(
    "split-over-accounts",
    "one payment each from several accounts, to a few mules, from shared devices",
    {
        "pounds": _POUNDS,
        "accounts": (2, 4, 8),
        "mules": (1, 2, 4),
        "accounts_a_device": (1, 2, 8),
        "gap_min": (1, 15, 61, 360),
        "hour": HOURS,
        "origin": ORIGINS,
        "mule_hours": MULE_HOURS,
        "wealth": WEALTH,
    },
    _split_accounts,
)


def _card_testing(scene: Scene, choices: Choices) -> None:
    """Small payments at shops show that a card works; goods for the larger one are sold on."""
    victim, origin = scene.victim(choices["wealth"]), Origin(choices["origin"])
    at_ms = scene.at(0, choices["hour"])
    for number in range(choices["tests"]):
        small_ms = at_ms + number * choices["gap_s"] * 1_000
        scene.payment(victim, scene.shop(), choices["small_minor"], small_ms, origin, Role.PREPARE)
    large_ms = at_ms + choices["tests"] * choices["gap_s"] * 1_000 + choices["wait_min"] * MINUTE_MS
    for number in range(choices["large"]):
        last_ms = large_ms + number * 5 * MINUTE_MS
        scene.payment(victim, scene.shop(), choices["pounds"] * 100, last_ms, origin)


CARD_TESTING = Strategy(
    "card-testing",
    "many small payments at many shops, then larger ones for goods",
    {
        "tests": (1, 3, 7, 15, 30),
        "small_minor": (1, 50, 99, 250, 999),
        "gap_s": (5, 30, 120, 900),
        "wait_min": (1, 30, 240, 1_500),
        "large": (1, 2, 4),
        "pounds": (100, 249, 500, 999, 1_999),
        "hour": HOURS,
        "origin": (1, 2, 3),
        "wealth": WEALTH,
    },
    _card_testing,
)


def _fan_in(scene: Scene, choices: Choices) -> None:
    """Many accounts to one payee, for longer than labels take: the mule is burnt while it is still in use."""
    mule = scene.mule(choices["mule_hours"])
    for number in range(choices["accounts"]):
        victim = scene.victim(choices["wealth"])
        day, hour = number * choices["days"] // choices["accounts"], choices["hour"]
        at_ms = scene.at(0, hour, number % 50) + day * DAY_MS
        scene.payment(victim, mule, choices["pounds"] * 100, at_ms, Origin(choices["origin"]), device=number)


FAN_IN = Strategy(
    "mule-fan-in",
    "many accounts pay one mule over days, labels of the first arriving meanwhile",
    {
        "accounts": (4, 8, 12),
        "days": (1, 4, 12, 20),
        "pounds": _POUNDS,
        "hour": HOURS,
        "origin": ORIGINS,
        "mule_hours": MULE_HOURS,
        "wealth": WEALTH,
    },
    _fan_in,
)
