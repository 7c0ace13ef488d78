"""Hundreds of records that must not be allowed, each with the answers that are right for it.

A case's `expected` holds reason codes of a dead letter, or codes of hard guardrails that block. Most cases have exactly
one. Where a spoilt byte shifts all later ones, any code of a record that can't be read or makes no sense is right.
"""

from __future__ import annotations

from ops.bench.bad_input.bad_bytes import bad_bytes
from ops.bench.bad_input.bad_case import Case
from ops.bench.bad_input.bad_payments import bad_payments


def cases() -> list[Case]:
    """Return all cases, in an order that never changes; their names are unique."""
    found = [*bad_bytes(), *bad_payments()]
    names = [case.name for case in found]
    assert len(set(names)) == len(names), "every case has a name of its own"
    return found
