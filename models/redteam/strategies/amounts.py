"""Attacks by amounts and values: just under each limit, at every boundary, and unlike the usual payment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.artefact.scoring import Model
from models.redteam.scene import MINUTE_MS, Origin, Scene
from models.redteam.strategies.strategy import (
    AMOUNT,
    HOURS,
    MULE_HOURS,
    ORIGINS,
    WEALTH,
    Choices,
    Strategy,
    limits_minor,
)
from pipeline.decide.policy import Policy
from pipeline.domain.payment import AMOUNT_MINOR_MAX, Channel
from pipeline.state.periods import HOUR_MS

_CUTS_MAX = 64
_CHANNELS = (Channel.FASTER_PAYMENT, Channel.CARD, Channel.SWIFT, Channel.INTERNAL, Channel.OTHER)
_MONEYS = ("GBP", "EUR", "USD", "JPY", "KWD")
_UNITS_A_PENNY_MILLI = {"GBP": 1_000, "EUR": 1_150, "USD": 1_310, "JPY": 2_000, "KWD": 4_000}
"""Minor units of a currency for a penny, in thousandths and roughly: a thief looks a rate up."""
_ZONES = ("Europe/London", "America/New_York", "Asia/Tokyo", "Pacific/Kiritimati")


def _near_limits(scene: Scene, choices: Choices) -> None:
    victim, mule = scene.victim(choices["wealth"]), scene.mule(choices["mule_hours"])
    limit_minor = choices["limit_minor"]
    amount_minor = limit_minor - 1 - limit_minor * choices["below_bp"] // 10_000
    at_ms = scene.at(0, choices["hour"])
    for number in range(choices["count"]):
        gap_ms = number * choices["gap_min"] * MINUTE_MS
        scene.payment(victim, mule, amount_minor, at_ms + gap_ms, Origin(choices["origin"]))


NEAR_LIMITS = Strategy(
    "near-limits",
    "amounts just under each limit, several in a row",
    {
        "limit_minor": (500_000,),
        "below_bp": (0, 50, 200, 500, 1_500),
        "count": (1, 2, 3, 5, 8),
        "gap_min": (1, 10, 61, 240, 1_441),
        "hour": HOURS,
        "origin": ORIGINS,
        "mule_hours": MULE_HOURS,
        "wealth": WEALTH,
    },
    _near_limits,
    lambda _, policy: {"limit_minor": limits_minor(policy)},
)


def _boundary(scene: Scene, choices: Choices) -> None:
    """One payment whose every value lies at an edge."""
    victim = scene.victim(choices["wealth"])
    mule = scene.mule(choices["mule_hours"] if choices["is_opened_told"] else None)
    amount_minor = choices["amount_minor"] + choices["off_minor"]
    at_ms = scene.at(0, 0, choices["minute"])
    fields: dict[str, object] = {} if choices["is_named"] else {"beneficiary_name": "\u2060"}
    scene.payment(
        victim, mule, min(max(amount_minor, 0), AMOUNT_MINOR_MAX), at_ms, Origin(choices["origin"]),
        logged_after_ms=choices["logged_after_min"] * MINUTE_MS + 200,
        is_balance_kept=choices["amount_minor"] < AMOUNT_MINOR_MAX, otherwise=fields,
    )  # fmt: skip


def _cuts(model: Model | None, policy: Policy) -> Mapping[str, tuple[int, ...]]:
    """Amounts at which a rule or the model's own table steps, with the least and the greatest."""
    cuts: set[int] = {0, 1, AMOUNT_MINOR_MAX, *limits_minor(policy)}
    for term in () if model is None else model.terms:
        if term.features == (AMOUNT,):
            edges = term.edges[0]
            cuts.update(edges[np.linspace(0, len(edges) - 1, min(_CUTS_MAX, len(edges))).astype(np.int64)].tolist())
    return {"amount_minor": tuple(sorted(cuts))}


BOUNDARY = Strategy(
    "boundary",
    "each value at the edge of a rule or of a cut of the model's tables: amounts, minutes, ages, what may be missing",
    {
        "amount_minor": (0, 1, AMOUNT_MINOR_MAX),
        "off_minor": (-1, 0, 1),
        "minute": (0, 59, 60, 299, 300, 540, 720, 1_020, 1_439),
        "logged_after_min": (0, 5, 6, 60, 600),
        "mule_hours": (0, 1, 48, 49, 24 * 30, 24 * 400),
        "is_opened_told": (0, 1),
        "is_named": (1, 0),
        "origin": ORIGINS,
        "wealth": WEALTH,
    },
    _boundary,
    _cuts,
)


def _shifted(scene: Scene, choices: Choices) -> None:
    """Payments in a manner that the training never saw: channel, currency, time zone, country."""
    victim, mule = scene.victim(choices["wealth"]), scene.mule(choices["mule_hours"])
    money = _MONEYS[choices["money"]]
    fields: dict[str, object] = {
        "channel": _CHANNELS[choices["channel"]], "currency": money, "account_time_zone": _ZONES[choices["zone"]],
        "beneficiary_country": ("GB", "DE", "US", "AE")[choices["country"]],
    }  # fmt: skip
    budget = min(choices["pounds"] * 100, victim.month_minor)
    for number in range(choices["count"]):
        amount = max(budget * _UNITS_A_PENNY_MILLI[money] // 1_000, 1)
        at_ms = scene.at(0, choices["hour"]) + number * 2 * HOUR_MS
        scene.payment(
            victim, mule, amount, at_ms, Origin(choices["origin"]), is_balance_kept=money == "GBP", otherwise=fields
        )


SHIFTED = Strategy(
    "shifted",
    "channels, currencies, time zones and countries that the training hardly saw",
    {
        "channel": tuple(range(len(_CHANNELS))),
        "money": tuple(range(len(_MONEYS))),
        "zone": tuple(range(len(_ZONES))),
        "country": (0, 1, 2, 3),
        "pounds": (50, 200, 240, 1_000, 1_990, 4_900),
        "count": (1, 2, 3),
        "hour": HOURS,
        "origin": ORIGINS,
        "mule_hours": MULE_HOURS,
        "wealth": WEALTH,
    },
    _shifted,
)
