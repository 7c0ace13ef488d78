"""What phrase book 1 says to a customer.

Invariants
1. It says what happened to the payment, and how to have it looked at again; no threshold, number, rule, score, fraud
   report, nor anything about whom is paid: nothing that would help somebody try again, or tell somebody that they are
   watched.
2. A cause is named where it is something that the payer left out or can change (MENDABLE), whatever else stopped the
   payment, and no other cause ever: were it named only where it stands alone, its absence would tell of the other one.
"""

from __future__ import annotations

from typing import Final

from pipeline.domain.decision import Outcome

MENDABLE: Final = {
    "is_reference_missing": "A field that we need is empty: please fill in every field and try again.",
    "is_beneficiary_name_missing": "A field that we need is empty: please fill in every field and try again.",
    "amount_gbp_minor": "We don't make payments in its currency.",
}
"""By feature. Of the amount only that its currency has no rate, which every customer may know."""
CONTACT: Final = "Please reach us in the way that you usually do."
_SAID: Final = {
    Outcome.ALLOW: "Our checks gave us no reason to hold your payment back.",
    Outcome.BLOCK: "We have not made your payment: our checks did not let it through.",
    Outcome.ESCALATE: "One of our staff is looking at your payment before it is made. You need do nothing.",
}
_PAID: Final = "Your payment was made, or may have been, before our checks held it back."
_NOT_MADE: Final = "Your payment has not been made, and its money is with you."
_GIVEN_BACK: Final = "Your payment was made, or was being made, and has been taken back: its money is with you."
_CONTEST: Final = {
    Outcome.ALLOW: "If you did not ask for this payment, tell us at once.",
    Outcome.BLOCK: "If you think that this is wrong, you can ask a person to look at it again, and say why.",
    Outcome.ESCALATE: "If you think that this is wrong, or want to tell us something about it, you can do so now.",
}


def customer_text(outcome: Outcome, mendable: tuple[str, ...], contact: str | None) -> str:
    """mendable: the features of MENDABLE that stopped it, alone or beside others."""
    causes = list(dict.fromkeys([MENDABLE[name] for name in mendable])) if outcome is Outcome.BLOCK else []
    return " ".join([_SAID[outcome], *causes, _CONTEST[outcome], contact or CONTACT])


def paid_text(outcome: Outcome, contact: str | None) -> str:
    """outcome: the one that stands, which is not ALLOW, about a payment that the beneficiary has or may have."""
    return f"{_PAID} {_CONTEST[outcome]} {contact or CONTACT}"


def not_made_text(contact: str | None) -> str:
    """About a payment that was not to be stopped, and that could not be made: nobody looks at it any more."""
    return f"{_NOT_MADE} {_CONTEST[Outcome.BLOCK]} {contact or CONTACT}"


def given_back_text(contact: str | None) -> str:
    """About a payment whose money was out and is back: the customer's statement shows both."""
    return f"{_GIVEN_BACK} {_CONTEST[Outcome.BLOCK]} {contact or CONTACT}"
