"""A counterfactual in sentences that a reader can check: each fact as it would have had to be, as it was, and how far.

Every number stands in a unit that gives it exactly, so that the difference is the difference of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.decide.phrase_books.books import PhraseBook, book_or_current
from pipeline.decide.phrase_books.money import Money, foreign_money
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.money import amount_text, money_text, pounds_text
from pipeline.explain.counterfactual.answers import Shortfall
from pipeline.explain.counterfactual.counterfactual import Counterfactual, Otherwise
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
        yield shortfall_sentence(decision, shortfall)
    if isinstance(told.found, NoneWithin):
        yield _none_sentence(decision, told.found)
        return
    yield from _found_lines(decision, told.found)


def otherwise_json(decision: Decision, told: Otherwise | Missing) -> dict[str, object]:
    if isinstance(told, Missing):
        return {"missing": told.why}
    shortfalls = [{**each._asdict(), "text": shortfall_sentence(decision, each)} for each in told.shortfalls]
    if isinstance(told.found, NoneWithin):
        return {
            "none_within_changes": told.found.changes,
            "is_exhaustive": told.found.is_exhaustive,
            "text": _none_sentence(decision, told.found),
            "rules": shortfalls,
        }
    found, book = told.found, book_or_current(decision.phrase_book_version)
    return {
        "outcome": found.outcome,
        "changes": [{**each._asdict(), "text": change_text(decision, found, each)} for each in found.changes],
        "follows": [{**each._asdict(), "text": moved_text(book, each)} for each in found.follows],
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
        yield f"  and with it {moved_text(book_or_current(decision.phrase_book_version), change)}"
    if found.outcome is None:
        yield "What would have been decided then isn't known: the payment was blocked before anything was looked up."
    if not found.is_smallest:
        yield f"The search ended after {ROWS_MAX:,} trials: one of fewer facts, or a smaller one, may exist."


def _none_sentence(decision: Decision, none: NoneWithin) -> str:
    if none.is_exhaustive:
        facts = f"{none.changes} facts{book_or_current(decision.phrase_book_version).left_aside()}"
        return f"No change of up to {facts} would have made it anything but {decision.outcome}."
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
    return moved_text(book_or_current(decision.phrase_book_version), change)


def moved_text(book: PhraseBook, change: Change) -> str:
    """The fact as it would have had to be, then as it was, and how far it is where both are numbers."""
    feature, before, after = change
    if before < 0:
        return f"{book.beside(feature, after, after)}, where {book.fact(feature, before)}"
    if after < 0:
        return f"{book.fact(feature, after)}, where {book.beside(feature, before, before)}"
    fact, was = book.beside(feature, after, before), book.number(feature, before, after)
    if was is None or not (book.is_number(feature, before) and book.is_number(feature, after)):
        return f"{fact}, where {book.beside(feature, before, after)}"
    return f"{fact}, and not {was}: {_gap(book, feature, before, after)}"


def shortfall_sentence(decision: Decision, shortfall: Shortfall) -> str:
    """What of a rule's condition was met, and at which value it would not have been."""
    own = foreign_money(decision.snapshot.transaction)
    return shortfall_text(book_or_current(decision.phrase_book_version), own, shortfall)


def shortfall_text(book: PhraseBook, own: Money | None, shortfall: Shortfall) -> str:
    """`own` is the payment's amount where its currency isn't the pound."""
    code, feature, observed, needed, difference = shortfall
    if needed is None:
        return f"{code} applied because {book.fact(feature, observed, own)}."
    fact = book.beside(feature, observed, needed, own)
    limit = book.number(feature, needed, max(observed, 0))
    if difference is None or limit is None or not book.is_number(feature, needed):
        return f"{code} applied because {fact}; it would not if {book.beside(feature, needed, needed)}."
    if not book.is_number(feature, observed):
        return f"{code} applied because {fact}; it would not at {limit}."
    return f"{code} applied because {fact}; it would not at {limit}, which is {_gap(book, feature, observed, needed)}."


def _gap(book: PhraseBook, feature: str, before: int, after: int) -> str:
    """How far the second value is from the first, and to which side."""
    less, more = ("earlier", "later") if feature in MINUTES_OF_DAY else ("less", "more")
    return f"{book.distance(feature, before, after)} {less if after < before else more}"
