"""Everything that a phrase book says: the lines that are kept of each version, and the many that its digest is of."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

from pipeline.decide.phrase_books.books import PhraseBook
from pipeline.decide.phrase_books.money import Money
from pipeline.decide.reasons.families import is_measured
from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE, UNKNOWN

NO_BOUND: Final = 2**62
CONFIDENCE: Final = "confidence_bp"
EURO, YEN = Money("EUR", 1_000_000), Money("JPY", 1_234_567)
FEW: Final = (UNKNOWN, NONE, 0, 1, 47, 4_999_999)
MANY: Final = (*FEW, 2, 23, 24, 48, 59, 60, 99, 100, 301, 999, 1_000, 1_439, 12_345, 59_999, 60_000, 86_400_000, 10**12)
BOUNDS: Final = ((1, NO_BOUND), (60, 299), (0, 48), (500_000, NO_BOUND), (0, 7_999), (1, 0), (0, 59_999), (100, 100))
TYPICAL: Final = (NONE, 0, 1, 43, 4_500, 23_824_360)
MENDABLE: Final = ("is_reference_missing", "is_beneficiary_name_missing", "amount_gbp_minor")


def lines(book: PhraseBook, numbers: tuple[int, ...]) -> Iterator[str]:
    """The wording of every feature for these numbers, and of every sentence."""
    for feature in book.features:
        for number in numbers:
            yield from _of_feature(book, feature, min(number, _most(feature)))
    yield from _of_model(book, numbers)
    yield from _sentences(book)
    yield from customer_lines(book)


def customer_lines(book: PhraseBook) -> Iterator[str]:
    """Every text that a customer can be sent, without a policy's sentence on how to reach us."""
    subsets = [
        tuple(name for name, has in zip(MENDABLE, chosen, strict=True) if has) for chosen in product((0, 1), repeat=3)
    ]
    for outcome in Outcome:
        for mendable in subsets:
            yield book.customer(outcome, mendable, None)
    yield from (book.customer_paid(outcome, None) for outcome in (Outcome.BLOCK, Outcome.ESCALATE))
    if book.version != "1":  # book 1 was released before it had words for these, and said nothing true of them
        yield from (book.customer_not_made(None), book.customer_given_back(None))


def _most(feature: str) -> int:
    if feature.startswith("is_"):
        return 1
    return 1_439 if not is_measured(feature) else 10_000 if feature == CONFIDENCE else 10**12


def _of_feature(book: PhraseBook, feature: str, number: int) -> Iterator[str]:
    for own in (None, EURO, YEN) if feature == "amount_gbp_minor" else (None,):
        yield book.fact(feature, number, own)
        for low, high in BOUNDS:
            is_met = number < 0 or low <= number <= high
            for told in (book.over, book.met, book.brief) if is_met else (book.clear,):
                yield told(feature, number, low, high, own)
            yield book.beside(feature, number, max(low, 1), own)
            yield f"{book.number(feature, max(number, 0), low)} {book.distance(feature, max(number, 0), low)}"
    for typical in TYPICAL:
        yield str(book.typical(feature, number, min(typical, _most(feature))))
    yield str(book.rounded(feature, number))
    yield f"{book.is_mendable(feature, number)} {book.not_asked(feature, 0)}"


def _of_model(book: PhraseBook, numbers: tuple[int, ...]) -> Iterator[str]:
    for number, limit in product((*numbers, 8_000, 9_999, 10_000), (0, 2_000, 8_000, 10_000)):
        if limit <= number <= 10_000:
            yield book.sure_honest(number, limit)
            yield book.sure_fraud(number, limit)


def _sentences(book: PhraseBook) -> Iterator[str]:
    yield from (book.no_rule(), book.failed(), *(book.not_asked("account_count_1h", others) for others in range(3)))
    yield book.not_asked(None, 0)
    yield from (book.nearest("it is", is_fallback=is_fallback) for is_fallback in (True, False))
    lists = (["a"], ["a", "b"], ["a", "b", "c"], ["a, b", "c"], ["a and b", "c"], ["a, b", "c", "d"])
    for outcome, facts, is_fallback, silence in product(Outcome, lists, (False, True), (None, "it was not")):
        yield book.summary(outcome, list(facts), is_fallback=is_fallback, silence=silence)
