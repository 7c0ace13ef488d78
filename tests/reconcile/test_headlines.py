"""Whoever is woken by a gap is told what is wrong before they are told where."""

from __future__ import annotations

import pytest

from pipeline.alerts.catalogue import AlertCode
from pipeline.reconcile.finding_store import gap_alert
from pipeline.reconcile.gaps import MEANING_OF, UNFOUNDED_DECISIONS, Gap, GapKind

CHARACTERS_MAX = 80
"""So that a telephone shows all of it behind the code."""


@pytest.mark.parametrize("kind", GapKind)
def test_a_gap_s_headline_says_what_is_wrong_then_where(kind: GapKind) -> None:
    told = gap_alert(Gap(kind, "decisions.v1", 3, 1_077, 1_078, 2), 0)
    assert told.summary.startswith(f"{MEANING_OF[kind]}: 2 records of decisions.v1[3] at 1077 to 1078 ({kind}).")
    assert len(MEANING_OF[kind]) <= CHARACTERS_MAX
    assert str(kind) not in MEANING_OF[kind]
    assert MEANING_OF[kind][0].isupper()


def test_a_decision_that_nobody_should_have_made_says_that_a_key_may_be_stolen() -> None:
    for kind in GapKind:
        told = gap_alert(Gap(kind, "decisions.v1", 3, 77, 77, 1), 0)
        assert ("signing key may be stolen" in told.summary) == (kind in UNFOUNDED_DECISIONS)
        assert (told.code == AlertCode.DECISION_UNFOUNDED) == (kind in UNFOUNDED_DECISIONS)


def test_no_two_kinds_are_told_in_the_same_words() -> None:
    assert len(set(MEANING_OF.values())) == len(GapKind) == len(MEANING_OF)
