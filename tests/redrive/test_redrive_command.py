"""What `fraud dead-letters redrive` is asked for is understood whole, or nothing is done."""

from __future__ import annotations

import pytest

from tests.commands import Fraud


@pytest.mark.parametrize(
    "place", ["", ":", "1", "1:", ":1", "-1:5", "1:-5", "1 : 5", "1:5:9", "١:5", "0:" + "9" * 5000]
)
def test_what_is_no_place_is_refused_in_a_sentence(fraud: Fraud, place: str) -> None:
    refused = fraud("dead-letters", "redrive", "--dry-run", f"--place={place}")
    assert (refused.code, "is no place" in refused.err, len(refused.err) < 200) == (2, True, True)


@pytest.mark.parametrize("until", ["2026-11-24T09:00:00Z", "2026-11-23T09:00:00Z"])
def test_times_between_which_nothing_lies_are_a_mistake(fraud: Fraud, until: str) -> None:
    refused = fraud("dead-letters", "redrive", "--dry-run", "--since", "2026-11-24T09:00:00Z", "--until", until)
    assert (refused.code, "No record lies between" in refused.err) == (2, True)
