"""A counterfactual in sentences that a reader can check: each fact as it was, as it would have had to be, and by how much.

Every number stands in a unit that gives it exactly, so that the difference is the difference of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.decide.phrases import PHRASES, fact_of
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.features import NONE, UNKNOWN
from pipeline.domain.money import amount_text, money_text, pounds_text
from pipeline.explain.counterfactual.counterfactual import Counterfactual, Otherwise, Shortfall
from pipeline.explain.counterfactual.facts import MINUTES_OF_DAY, Change
from pipeline.explain.counterfactual.search import ROWS_MAX, NoneWithin
from pipeline.replay.regimes import Missing

TITLE: Final = "What would have had to be otherwise"
_NUMBERS: Final = {1: "one fact", 2: "two facts", 3: "three facts"}
_AMOUNT: Final = "amount_gbp_minor"


def otherwise_lines(decision: Decision, told: Otherwise | Missing) -> Iterator[str]:
    """Whole sentences, and after the first of a change a line for each fact, which begins with a dash."""
    if isinstance(told, Missing):
        yield f"Not shown: {told.why}."
        return
    for shortfall in told.shortfalls:
        yield shortfall_sentence(shortfall)
    if isinstance(told.found, NoneWithin):
        yield _none_sentence(decision, told.found)
        return
    yield from _found_lines(decision, told.found)


def otherwise_json(decision: Decision, told: Otherwise | Missing) -> dict[str, object]:
    if isinstance(told, Missing):
        return {"missing": told.why}
    shortfalls = [{**each._asdict(), "text": shortfall_sentence(each)} for each in told.shortfalls]
    if isinstance(told.found, NoneWithin):
        return {
            "none_within_changes": told.found.changes,
            "is_exhaustive": told.found.is_exhaustive,
            "text": _none_sentence(decision, told.found),
            "rules": shortfalls,
        }
    found = told.found
    return {
        "outcome": found.outcome,
        "changes": [{**each._asdict(), "text": change_text(decision, found, each)} for each in found.changes],
        "follows": [{**each._asdict(), "text": _moved_text(each)} for each in found.follows],
        "own_amount_minor": found.own_amount_minor,
        "is_smallest": found.is_smallest,
        "summary": found.summary,
        "rules": shortfalls,
    }


def _found_lines(decision: Decision, found: Counterfactual) -> Iterator[str]:
    number = _NUMBERS[len(found.changes)]
    if found.outcome is None:
        yield f"The block would not have applied with {number} otherwise:"
    else:
        to = (
            "a person would have decided (ESCALATE)"
            if found.outcome is Outcome.ESCALATE
            else "it would have been ALLOW"
        )
        yield f"With {number} otherwise {to}, and not {decision.outcome}; decided again, it is so:"
    for change in found.changes:
        yield f"- {change_text(decision, found, change)}"
    for change in found.follows:
        yield f"  and with it {_moved_text(change)}"
    if found.outcome is None:
        yield "What would have been decided then isn't known: the payment was blocked before anything was looked up."
    if not found.is_smallest:
        yield f"The search ended after {ROWS_MAX:,} trials: a smaller change of as many facts may exist."


def _none_sentence(decision: Decision, none: NoneWithin) -> str:
    if none.is_exhaustive:
        return f"No change of up to {none.changes} facts would have made it anything but {decision.outcome}."
    return (
        f"None was found that would have made it anything but {decision.outcome}, among {ROWS_MAX:,} changes of up to "
        f"{none.changes} facts; there are more."
    )


def change_text(decision: Decision, found: Counterfactual, change: Change) -> str:
    """The fact as it would have had to be, then as it was."""
    own, currency = found.own_amount_minor, decision.snapshot.transaction.currency
    if change.feature == _AMOUNT and own is not None and currency != "GBP":
        payment = decision.snapshot.transaction
        after = f"{money_text(own, currency)} ({pounds_text(change.after)})"
        gap = money_text(abs(payment.amount_minor - own), currency)
        word = "less" if own < payment.amount_minor else "more"
        return f"the payment is {after}, and not {amount_text(payment)} ({pounds_text(change.before)}): {gap} {word}"
    return _moved_text(change)


def _moved_text(change: Change) -> str:
    feature, before, after = change
    if before < 0 or exact_text(feature, before) is None:
        return f"{_exact_fact(feature, after)}, where {fact_of(feature, before)}"
    if after < 0:
        return f"{fact_of(feature, after)}, where {_exact_fact(feature, before)}"
    word = "" if feature in MINUTES_OF_DAY else " less" if after < before else " more"
    gap = f"{_gap(feature, before, after)}{word or ' apart'}"
    return f"{_exact_fact(feature, after)}, and not {exact_text(feature, before)}: {gap}"


def shortfall_sentence(shortfall: Shortfall) -> str:
    """What of a rule's condition was met, and at which value it would not have been."""
    code, feature, observed, needed, difference = shortfall
    fact = fact_of(feature, observed) if observed < 0 else _exact_fact(feature, observed)
    if needed is None:
        return f"{code} applied because {fact}."
    if difference is None or exact_text(feature, needed) is None:
        return f"{code} applied because {fact}; it would not if {_exact_fact(feature, needed)}."
    return (
        f"{code} applied because {fact}; it would not at {exact_text(feature, needed)}, which is "
        f"{_gap(feature, observed, needed)} {'less' if needed < observed else 'more'}."
    )


def _exact_fact(feature: str, value: int) -> str:
    """The fact, with its exact value behind it where the words round it."""
    fact, exact = fact_of(feature, value), exact_text(feature, value)
    return fact if exact is None or exact in fact else f"{fact} ({exact})"


def exact_text(feature: str, value: int) -> str | None:
    """The value in a unit that gives it exactly; None for a yes or no, and where there is none."""
    if value in (NONE, UNKNOWN):
        return None
    if feature in MINUTES_OF_DAY:
        return f"{value // 60:02d}:{value % 60:02d}"
    if feature.endswith("_hours"):
        return f"{value:,} hour{'' if value == 1 else 's'}"
    if feature == "account_ms_since_last":
        return _seconds(value)
    if "_ppm_" in feature:
        return f"{value // 10_000}.{value % 10_000:04d} %"
    amount = PHRASES[feature].amount
    return None if amount is None else amount(value)


def _gap(feature: str, one: int, other: int) -> str:
    if feature in MINUTES_OF_DAY:
        apart = min(abs(one - other), 1440 - abs(one - other))
        return f"{apart // 60} h {apart % 60:02d} min"
    return exact_text(feature, abs(one - other)) or ""


def _seconds(ms: int) -> str:
    part = f".{ms % 1000:03d}" if ms % 1000 else ""
    return f"{ms // 1000:,}{part} seconds"
