"""ID tokens of OpenID providers: whether one proves, at a time, that a session's key is a person's."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.people.acts import Evidence
from pipeline.people.registry import ProviderKey


def token_fault(evidence: Evidence, name: str, at_ms: int, providers: Iterable[ProviderKey]) -> str | None:
    """Return why the evidence does not prove that its key is `name`'s at that time; None where it does."""
    raise NotImplementedError
