"""What a red team found, as figures and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from models.artefact.strict import Json
from models.redteam.comparison import Compared, Pair
from models.redteam.costs import PRICE_MINOR
from models.redteam.deciding import Course
from models.redteam.plan import Plan, Role, plan_json
from models.redteam.search import Carried
from models.redteam.target import Target
from models.redteam.trials import Attacked
from pipeline.state.periods import DAY_MS, HOUR_MS


def attack_json(attacked: Attacked) -> dict[str, Json]:
    """Figures of one attack; money in pence over all trials."""
    courses, share = attacked.worst.courses, attacked.share
    return {
        "attack": attacked.strategy.name,
        "about": attacked.strategy.about,
        "choices_tried": attacked.searched.tried,
        "trials": len(courses),
        "payments": sum(len(course.outcomes) for course in courses),
        "evaded": attacked.evaded,
        "evaded_ppm": share.ppm,
        "evaded_low_ppm": share.low_ppm,
        "evaded_high_ppm": share.high_ppm,
        **_money(courses),
        "choices": dict(attacked.worst.choices),
        "cheapest": _plan_figures(attacked.cheapest),
        "richest": _plan_figures(attacked.richest),
    }


def pair_json(pair: Pair) -> dict[str, Json]:
    """Figures of one attack against both versions, for evidence: no plans."""
    figures: dict[str, Json] = {}
    for name, attacked in (("before", pair.before), ("after", pair.after)):
        share = attacked.share
        figures[name] = {
            "evaded": attacked.evaded, "evaded_ppm": share.ppm, "evaded_low_ppm": share.low_ppm,
            "evaded_high_ppm": share.high_ppm, **_money(attacked.worst.courses),
            "cheapest": _plan_figures(attacked.cheapest), "choices": dict(attacked.worst.choices),
        }  # fmt: skip
    return {
        **figures,
        "trials": len(pair.after.worst.courses),
        "chance_ppm": pair.chance_ppm,
        "evasion_chance_ppm": pair.evasion_chance_ppm,
    }


def compared_json(compared: Compared) -> dict[str, Json]:
    return {pair.name: pair_json(pair) for pair in compared.pairs}


def honest_json(target: Target) -> dict[str, Json]:
    """What the version does to honest people: one that stops everybody is evaded by nobody."""
    return {
        "payments": target.honest_payments,
        "blocked": target.honest_stopped,
        "escalated": target.honest_escalated,
    }


def prices_json() -> dict[str, Json]:
    return {purchase.name: price for purchase, price in PRICE_MINOR.items()}


def plan_file(carried: Carried, seed: int) -> dict[str, Json]:
    """A plan with what became of each payment, to be read, and to be carried out again."""
    course = carried.course
    return {
        "seed": seed,
        **plan_json(carried.plan),
        "outcomes": list(course.outcomes),
        "routes": list(course.routes),
        "through_minor": course.through_minor,
        "escalated_minor": course.escalated_minor,
        "stopped_minor": course.stopped_minor,
        "at_risk_minor": course.at_risk_minor,
        "breaker": [{"at_ms": at_ms, "scope": scope, "state": state} for at_ms, scope, state in course.trips],
    }


HEADER = f"{'attack':<20}{'evaded':>8}  {'95 % interval':<14}{'through':>11}{'escalated':>11}{'stopped':>11}  cheapest"


def attack_line(attacked: Attacked) -> str:
    courses, share = attacked.worst.courses, attacked.share
    interval = f"{share.low_ppm / 10_000:.0f}–{share.high_ppm / 10_000:.0f} %"
    evaded = f"{attacked.evaded}/{len(courses)}"
    money = [sum(amounts) for amounts in zip(*(_amounts(course) for course in courses), strict=True)]
    pounds = "".join(f"{_pounds(amount):>11}" for amount in money)
    return f"{attacked.strategy.name:<20}{evaded:>8}  {interval:<14}{pounds}  {cheapest_words(attacked.cheapest)}"


def cheapest_words(cheapest: Carried | None) -> str:
    if cheapest is None:
        return "none succeeded"
    course = cheapest.course
    return f"{_pounds(course.cost_minor)} for {_pounds(course.through_minor)}"


def plan_lines(carried: Carried) -> Iterator[str]:
    """A plan in words: what is bought, then each payment; runs of noise are told as one."""
    plan, course = carried.plan, carried.course
    bought = ", ".join(f"{count} × {purchase.value}" for purchase, count in plan.purchases.items() if count)
    yield f"Bought for {_pounds(plan.cost_minor)}: {bought}."
    noise = 0
    for act, outcome in zip(plan.acts, course.outcomes, strict=True):
        if act.role is Role.NOISE:
            noise += 1
            continue
        if noise:
            yield f"  … {noise} payments of noise"
            noise = 0
        t = act.transaction
        day, rest = divmod(act.logged_at_ms - _begin_ms(plan), DAY_MS)
        hour, minute = rest // HOUR_MS, rest % HOUR_MS // 60_000
        money = _pounds(t.amount_minor) if t.currency == "GBP" else f"{t.amount_minor} minor units of {t.currency}"
        yield (
            f"  day {day} +{hour:02}:{minute:02}  {act.role:<7} {money:>10}  "
            f"{t.account_id} → {t.beneficiary_account_id}  {outcome}"
        )


def _begin_ms(plan: Plan) -> int:
    return min(act.logged_at_ms for act in plan.acts)


def _money(courses: list[Course]) -> dict[str, Json]:
    names = ("through_minor", "escalated_minor", "stopped_minor")
    money: dict[str, Json] = dict(zip(names, map(sum, zip(*map(_amounts, courses), strict=True)), strict=True))
    return money | {"spent_minor": sum(course.cost_minor for course in courses)}


def _amounts(course: Course) -> tuple[int, int, int]:
    return course.through_minor, course.escalated_minor, course.stopped_minor


def _plan_figures(carried: Carried | None) -> Json:
    if carried is None:
        return None
    course = carried.course
    purchases: Mapping[str, Json] = {purchase.name: n for purchase, n in carried.plan.purchases.items() if n}
    return {
        "cost_minor": course.cost_minor,
        "through_minor": course.through_minor,
        "at_risk_minor": course.at_risk_minor,
        "payments": len(course.outcomes),
        "purchases": dict(purchases),
    }


def _pounds(minor: int) -> str:
    return f"£{minor // 100:,}"
