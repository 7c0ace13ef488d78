"""Phrase book 1: every sentence that a decision says to staff, as a function of what it states.

Invariants
1. Words are a pure function of the arguments: codes, values, limits, currency and own amount. Nothing outside this
   folder takes part, and a released book is never changed: a changed wording is a new version.
2. A value, its limit and their difference stand in one unit, exactly.
3. Money that the payer named is told in the payer's currency, with what it is worth in pounds in brackets where that is
   another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.decide.phrase_books.money import Money
from pipeline.decide.phrase_books.v1.customer import MENDABLE, customer_text, given_back_text, not_made_text, paid_text
from pipeline.decide.phrase_books.v1.features import AMOUNT, CONFIDENCE, PHRASES, Phrase
from pipeline.decide.phrase_books.v1.numbers import CLOCK, POINTS, SPAN, TIMES, bp_percent, clock, money, pounds
from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE, UNKNOWN

_VERB: Final = {Outcome.ALLOW: "Allowed", Outcome.BLOCK: "Blocked", Outcome.ESCALATE: "Escalated"}
_BOUND_MAX: Final = 2**62
"""A bound as high as this is none."""


class PhraseBook:
    """Version 1. A later version inherits, overrides what it words otherwise, and adds the features that are new."""

    tells_windows_once: bool = False
    """Whether a measure that was told of one window is left out of another one that holds the same payments."""

    def __init__(self, version: str = "1", phrases: dict[str, Phrase] = PHRASES) -> None:
        self.version, self._phrases = version, phrases

    @property
    def features(self) -> tuple[str, ...]:
        """Those that it has words for, and the model's confidence."""
        return tuple(self._phrases)

    def fact(self, feature: str, observed: int, own: Money | None = None) -> str:
        """The value of a feature. `own` is the payment's amount where its currency isn't the pound."""
        phrase = self._phrases[feature]
        if observed < 0:
            return phrase.unknown if observed == UNKNOWN else phrase.none
        if phrase.unit is None or (observed == 0 and phrase.zero is not None):
            return phrase.sentence if observed else phrase.zero or phrase.sentence
        return phrase.sentence.format(self._amount(observed, own) if feature == AMOUNT else phrase.unit.one(observed))

    def rounding(self, feature: str) -> Callable[[int], int] | None:
        """`rounded` of known values; None where each has words of its own."""
        unit = self._phrases[feature].unit
        return None if unit is None else unit.rounded

    def rounded(self, feature: str, observed: int) -> int:
        """The least value of which `fact` says the same."""
        unit = self._phrases[feature].unit
        return observed if unit is None or unit.rounded is None or observed < 0 else unit.rounded(observed)

    def brief(self, feature: str, observed: int, low: int, high: int, own: Money | None = None) -> str:
        """A condition that is met, for the summary: the fact without a limit, but with hours."""
        if feature == CONFIDENCE and observed <= high:
            return _only(self.fact(feature, observed))
        if self._phrases[feature].unit is CLOCK:
            return self.met(feature, observed, low, high)
        return self.fact(feature, observed, own)

    def beside(self, feature: str, observed: int, limit: int, own: Money | None = None) -> str:
        """The fact, in the unit that gives it and the limit exactly."""
        phrase = self._phrases[feature]
        if observed < 0 or phrase.unit is None:
            return self.fact(feature, observed, own)
        return self._in_unit(phrase, feature, observed, phrase.unit.exact(observed, limit)(observed), own)

    def number(self, feature: str, number: int, beside: int) -> str | None:
        """A value or limit in the unit that gives it and `beside` exactly; None for a yes or no."""
        unit = self._phrases[feature].unit
        return None if unit is None else unit.exact(number, beside)(number)

    def is_number(self, feature: str, observed: int) -> bool:
        """Whether a value is told beside another with their difference; by this book, every one that has a unit."""
        return observed >= 0 and self._phrases[feature].unit is not None

    def left_aside(self) -> str:
        """The words on what a search for changes leaves as it is, said behind how many facts it changed."""
        return ""

    def distance(self, feature: str, observed: int, limit: int) -> str | None:
        """Their difference, in the unit of `number`; None for a yes or no."""
        unit = self._phrases[feature].unit
        return None if unit is None else unit.difference(observed, limit)(abs(observed - limit))

    def met(self, feature: str, observed: int, low: int, high: int, own: Money | None = None) -> str:
        """A condition of a rule that is met beside others: the fact, and for which values it is met."""
        phrase = self._phrases[feature]
        unit = phrase.unit
        if observed == UNKNOWN:
            return f"{phrase.unknown}, and counts as the worst"
        if observed < 0 or unit is None or low > high:
            return self.fact(feature, observed, own)
        if unit is CLOCK:
            return f"{self.fact(feature, observed)}, {_hours(low, high)}"
        limit = low if low > 0 else high
        exact = unit.exact(observed, limit)
        fact = self._in_unit(phrase, feature, observed, exact(observed), own)
        if 0 < low <= high < _BOUND_MAX:
            return f"{fact} (from {exact(low)} to {exact(high)})"
        return f"{fact} ({f'from {exact(low)} on' if low > 0 else f'up to {exact(high)}'})"

    def over(self, feature: str, observed: int, low: int, high: int, own: Money | None = None) -> str:
        """A condition that is met: the fact, and by how much it is over the last value below it, or short of the first
        above it."""
        phrase = self._phrases[feature]
        unit = phrase.unit
        if observed < 0 or unit is None or unit is CLOCK or low > high:
            return self.met(feature, observed, low, high, own)
        limit = low - 1 if low > 0 else high + 1
        if observed == 0 and unit in TIMES:
            return f"{self.fact(feature, observed)}, against the required {unit.exact(0, limit)(limit)}"
        exact, difference = unit.exact(observed, limit), unit.difference(observed, limit)
        fact = self._in_unit(phrase, feature, observed, exact(observed), own)
        if feature == CONFIDENCE and observed < limit:
            fact = _only(fact)
        if observed > limit:
            return f"{fact}, {difference(observed - limit)} over the limit of {exact(limit)}"
        return f"{fact}, {difference(limit - observed)} short of the required {exact(limit)}"

    def clear(self, feature: str, observed: int, low: int, high: int, own: Money | None = None) -> str:
        """A condition that is not met: the fact, and how far it is from being met."""
        phrase = self._phrases[feature]
        unit = phrase.unit
        if observed < 0 or unit is None or low > high:
            return self.fact(feature, observed, own)
        if unit is CLOCK:
            return f"{self.fact(feature, observed)}, not {_hours(low, high)}"
        if observed == 0 and unit is SPAN:  # how long it was is not known
            return self.fact(feature, observed)
        if low > 0 and observed > high:
            exact = unit.exact(observed, high)
            fact = self._in_unit(phrase, feature, observed, exact(observed), own)
            return f"{fact}, {unit.difference(observed, high)(observed - high)} above {exact(high)}"
        limit = low - 1 if low > 0 else high + 1
        exact, difference = unit.exact(observed, limit), unit.difference(observed, limit)
        fact = self._in_unit(phrase, feature, observed, exact(observed), own)
        if low > 0 and observed == 0 and unit in TIMES:
            return f"{self.fact(feature, observed)}, against the limit of {exact(limit)}"
        if low > 0:
            gap = "exactly" if observed == limit else f"{difference(limit - observed)} below"
            return f"{fact}, {gap} the limit of {exact(limit)}"
        gap = "exactly" if observed == limit else f"{difference(observed - limit)} above"
        return f"{fact}, {gap} the required {exact(limit)}"

    def typical(self, feature: str, observed: int, typical: int) -> str | None:
        """A known fact beside what is typical; None where both read the same, or the value is missing."""
        if observed < 0:
            return None
        unit = self._phrases[feature].unit
        if typical < 0:
            return None if feature == AMOUNT else self.fact(feature, observed)
        if self.rounded(feature, observed) == self.rounded(feature, typical):
            return None
        if feature == AMOUNT:
            return f"the payment's amount is {'above' if observed > typical else 'below'} the typical {pounds(typical)}"
        fact = self.fact(feature, observed)
        if unit is None or (typical == 0 and unit is SPAN):
            return fact
        return f"{fact} (typically {unit.one(typical)})"

    def sure_honest(self, confidence_bp: int, required_bp: int) -> str:
        fact = f"the model is {bp_percent(confidence_bp)} sure that the payment is honest"
        return f"{fact}, {_above(confidence_bp, required_bp, 'the required')}"

    def sure_fraud(self, confidence_bp: int, from_bp: int) -> str:
        fact = f"the model is {bp_percent(confidence_bp)} sure that the payment is fraud"
        return f"{fact}, {_above(confidence_bp, from_bp, 'the limit of')}"

    def nearest(self, clear: str, *, is_fallback: bool) -> str:
        """`clear` is what keeps the nearest rule from applying."""
        return f"the nearest {'fallback rule' if is_fallback else 'guardrail'} does not apply: {clear}"

    def no_rule(self) -> str:
        return "none of the fallback rules applies"

    def not_asked(self, feature: str | None, others: int) -> str:
        """`feature` is the first that is UNKNOWN and that no rule has told of, `others` how many more are."""
        if feature is None:
            return "the model was not asked, because it answers only where everything is known"
        more = "" if not others else ", nor is one thing more" if others == 1 else f", nor are {others} things more"
        return f"the model was not asked, because {self.fact(feature, UNKNOWN)}{more}"

    def failed(self) -> str:
        return "the model was asked, but gave no answer that can be used"

    def kept_out(self, silence: str) -> str:
        """Why no model answered, `silence`, of a payment about which the breaker let none decide either; by this book
        that alone."""
        return silence

    def join(self, facts: list[str]) -> str:
        """a; a and b; a, b, and c. With semicolons where a fact is a list itself."""
        if len(facts) == 1:
            return facts[0]
        mark = ","
        for fact in facts:
            if ", " in fact or " and " in fact:
                mark = ";"
                break
        if len(facts) == 2 and mark == ",":
            return f"{facts[0]} and {facts[1]}"
        return f"{f'{mark} '.join(facts[:-1])}{mark} and {facts[-1]}"

    def summary(self, outcome: Outcome, facts: list[str], *, is_fallback: bool, silence: str | None = None) -> str:
        """`silence`: why no model answered, where that is to be said."""
        by = " by the fallback rules" if is_fallback else ""
        said = f"{_VERB[outcome]}{by} because {self.join(facts)}."
        return said if silence is None else f"{said} {silence[0].upper()}{silence[1:]}."

    def customer(self, outcome: Outcome, mendable: tuple[str, ...], contact: str | None) -> str:
        """The text that a customer may be sent. `mendable`: what the payer left out or can change and that stopped
        the payment, alone or beside others. `contact`: the policy's sentence on how to reach us."""
        return customer_text(outcome, mendable, contact)

    def customer_paid(self, outcome: Outcome, contact: str | None) -> str:
        """The text where BLOCK or ESCALATE came to stand, and the payment is made or may be. `contact`: as above."""
        return paid_text(outcome, contact)

    def customer_not_made(self, contact: str | None) -> str:
        """The text where nobody stopped the payment, and it was not made all the same. `contact`: as above."""
        return not_made_text(contact)

    def customer_given_back(self, contact: str | None) -> str:
        """The text where the payment's money was out and is back with the payer. `contact`: as above."""
        return given_back_text(contact)

    def is_mendable(self, feature: str, observed: int) -> bool:
        """Whether a rule that was met by this value may be named to the payer, who can change it."""
        return feature in MENDABLE and (observed == NONE if feature == AMOUNT else observed == 1)

    def _in_unit(self, phrase: Phrase, feature: str, observed: int, value: str, own: Money | None) -> str:
        if observed == 0 and (phrase.zero is not None or phrase.unit in TIMES):
            return self.fact(feature, observed)
        return phrase.sentence.format(self._amount(observed, own) if feature == AMOUNT else value)

    def _amount(self, gbp_minor: int, own: Money | None) -> str:
        if own is None or own.currency == "GBP":
            return pounds(gbp_minor)
        return f"{self._money(own)} ({pounds(gbp_minor)})"

    def _money(self, own: Money) -> str:
        return money(own.amount_minor, own.currency)


def _only(fact: str) -> str:
    return fact.replace("the model is ", "the model is only ")


def _hours(low: int, high: int) -> str:
    return f"between {clock(low)} and {clock(min(high, 1439))}"


def _above(value_bp: int, limit_bp: int, name: str) -> str:
    """As the percentages read: "19.93 percentage points above the required 80.00 %"."""
    gap = value_bp - limit_bp
    size, side = f"{abs(gap) // 100}.{abs(gap) % 100:02d} {POINTS}", "above" if gap > 0 else "below"
    side = f"{size} {side}" if gap else "exactly"
    return f"{side} {name} {bp_percent(limit_bp)}"
