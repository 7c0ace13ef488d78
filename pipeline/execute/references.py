"""References of fundings: which are one, and what one stands for.

Invariants
1. References that read alike are one: they differ in letter case, in the number or kind of blanks, or in how Unicode
   writes the same letters. What no reader sees is in none.
2. A reference stands for one account, currency and amount, for ever. The same again is nothing new; another is refused.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

from pipeline.domain.free_text import is_name, tidied
from pipeline.domain.identities import funding_id
from pipeline.domain.money import money_text

REFERENCE_CHARACTERS_MAX: Final = 140
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that Python takes for printable, and that fonts show as nothing."""


class Funding(NamedTuple):
    """Money from outside. kind: OPENING, whose reference is the account and its currency, or FUNDING."""

    kind: str
    reference: str
    account_id: str
    currency: str
    amount_minor: int

    @property
    def funding_id(self) -> str:
        return funding_id(f"{self.kind.lower()} {self.reference}")

    @property
    def covered(self) -> str:
        return f"{money_text(self.amount_minor, self.currency)} to {self.account_id}"


class Opening(NamedTuple):
    account_id: str
    currency: str
    overdraft_limit_minor: int
    opening_balance_minor: int

    @property
    def funding(self) -> Funding:
        name = f"{self.account_id} {self.currency}"
        return Funding("OPENING", name, self.account_id, self.currency, self.opening_balance_minor)

    @property
    def terms(self) -> str:
        overdraft, balance = (money_text(minor, self.currency) for minor in self[2:])
        return f"{balance} to begin with and an overdraft of {overdraft}"


class LedgerConflict(Exception):
    """The ledger has what was asked for already, for something else. Each sentence names both."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


def canonical_reference(text: str) -> str | None:
    """The spelling by which a reference is compared; None where it is empty, too long, or holds what nobody sees."""
    kept = tidied(unicodedata.normalize("NFKC", text))
    if not is_name(kept, REFERENCE_CHARACTERS_MAX) or _UNSEEN.search(kept):
        return None
    folded = unicodedata.normalize("NFKC", kept.casefold())
    return folded if len(folded) <= REFERENCE_CHARACTERS_MAX else None


def funding_conflict(asked: Funding, stored: Funding) -> str | None:
    """Why the reference can't stand for what is asked for; None where it stands for just that."""
    if asked == stored._replace(kind=asked.kind, reference=asked.reference):
        return None
    return (
        f"The reference {asked.reference!r} stands for {stored.covered}, and can't stand for {asked.covered} as well."
    )


def opening_conflict(asked: Opening, stored: Opening) -> str | None:
    """Why an account that is open isn't the one that is asked for; None where it is."""
    if asked == stored:
        return None
    return f"{asked.account_id} was opened in {asked.currency} with {stored.terms}, and not with {asked.terms}."
