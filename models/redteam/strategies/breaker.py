"""Attacks on the breaker: tripped on purpose, so that the fallback decides; or diluted, so that it sees no spree."""

from __future__ import annotations

from models.redteam.plan import Role
from models.redteam.scene import MINUTE_MS, Origin, Scene
from models.redteam.strategies.strategy import Choices, Strategy

_HOUR = 10
"""A busy hour, whose baseline the breaker knows."""


def _trip(scene: Scene, choices: Choices) -> None:
    """Payments that look as bad as can be from made-up accounts, then thefts that the fallback's rules would allow.

    A device that was burnt by thefts of the day before is the surest way to be blocked.
    """
    for number in range(choices["burnt"]):
        victim, mule = scene.victim(5), scene.mule(12)
        scene.payment(victim, mule, 4_000, scene.at(0, _HOUR, number), Origin.FRESH)
    begin_ms, mule = scene.at(1, _HOUR), scene.mule(12)
    span_ms = choices["span_min"] * MINUTE_MS
    noise_from = Origin.FRESH if choices["burnt"] else Origin.OWN
    for number in range(choices["noise"]):
        own, at_ms = (
            scene.own_account(age_days=choices["own_age_days"]),
            begin_ms + number * span_ms // choices["noise"],
        )
        scene.payment(own, mule, choices["noise_minor"], at_ms, noise_from, Role.NOISE)
    aged = [scene.mule(24 * 400) for _ in range(choices["payees"])]
    steal_ms = begin_ms + span_ms + choices["wait_min"] * MINUTE_MS
    for number in range(choices["victims"]):
        victim = scene.victim(choices["wealth"])
        for place, payee in enumerate(aged):
            at_ms = steal_ms + place * 20_000 + number * 1_000
            origin, device = Origin(choices["origin"]), number + 1
            scene.payment(victim, payee, choices["pounds"] * 100 - 1, at_ms, origin, device=device)


TRIP_BREAKER = Strategy(
    "trip-breaker",
    "made-up accounts trip the breaker, and the theft is made under the fallback's rules",
    {
        "burnt": (0, 3, 6),
        "noise": (40, 61, 120, 250),
        "noise_minor": (100, 24_000, 199_900, 499_900),
        "own_age_days": (2, 40, 400),
        "span_min": (3, 5, 10),
        "wait_min": (1, 3, 8),
        "victims": (1, 3, 6, 12),
        "payees": (1, 3, 5, 7),
        "pounds": (49, 199, 250, 2_000),
        "origin": (0, 1, 2),
        "wealth": (3, 6, 9),
    },
    _trip,
)


def _dilute(scene: Scene, choices: Choices) -> None:
    """A spree against many accounts at once, among made-up accounts' harmless payments."""
    begin_ms = scene.at(0, _HOUR)
    span_ms = choices["span_min"] * MINUTE_MS
    for number in range(choices["made_up"]):
        own = scene.own_account(age_days=400)
        at_ms = begin_ms + number * span_ms // choices["made_up"]
        scene.payment(own, scene.shop(), 900 + number % 400, at_ms, role=Role.NOISE)
    mules = [scene.mule(choices["mule_hours"]) for _ in range(4)]
    for number in range(choices["victims"]):
        victim = scene.victim(number % 10)
        for again in range(choices["each"]):
            at_ms = begin_ms + (number * choices["each"] + again) * span_ms // (choices["victims"] * choices["each"])
            mule = mules[(number + again) % len(mules)]
            scene.payment(victim, mule, choices["pounds"] * 100, at_ms, Origin(choices["origin"]), device=number % 8)


DILUTE_BREAKER = Strategy(
    "dilute-breaker",
    "a spree against many accounts, among made-up accounts whose payments are harmless",
    {
        "made_up": (60, 200, 400),
        "victims": (10, 20, 40),
        "each": (1, 2, 4),
        "span_min": (5, 15, 40),
        "pounds": (99, 249, 500, 999, 1_999),
        "origin": (0, 1, 2),
        "mule_hours": (12, 24 * 400),
    },
    _dilute,
)
