"""Where a way back leads, whatever was champion before and came again."""

from __future__ import annotations

import pytest

from models.versions.aliases import ALL_PPM, AliasRecord
from pipeline.promotion.moves import MoveEvent, is_accounted_for, moved_by, way_back

SHARE_PPM = 10_000
FROM = "{} is what was gone back from; name the version to go back to"


def records_of(*moves: tuple[str, str | None, int]) -> list[AliasRecord]:
    """Each a version, the one before it and its share; each as told by the history's record of the same number."""
    return [
        AliasRecord(
            "champion", number, version, "a" * 64, before, before and "b" * 64, share_ppm, "", number, "ann", None,
            None, {}, number, "c" * 64,
        )
        for number, (version, before, share_ppm) in enumerate(moves, start=1)
    ]  # fmt: skip


A_THEN_B = (("a", None, ALL_PPM), ("b", "a", SHARE_PPM), ("b", "a", ALL_PPM))


@pytest.mark.parametrize(
    ("after", "ways_back", "target", "why"),
    [
        ([], (), "a", ""),
        ([("a", "b", ALL_PPM)], (4,), None, FROM.format("b")),
        ([("a", "b", ALL_PPM), ("a", "b", ALL_PPM)], (4,), None, FROM.format("b")),  # confirmed since
        ([("a", "b", SHARE_PPM)], (), "b", ""),  # what was champion first is on trial again
        ([("a", "b", SHARE_PPM), ("a", "b", ALL_PPM)], (), "b", ""),
        ([("a", "b", ALL_PPM)], (), "b", ""),  # by a policy whose only share is all
        ([("a", "b", SHARE_PPM), ("b", "a", ALL_PPM)], (5,), None, FROM.format("a")),
        ([("a", "b", ALL_PPM), ("b", "a", SHARE_PPM)], (4,), "a", ""),
    ],
)
def test_a_way_back_leads_to_what_decided_before_and_never_to_what_was_gone_back_from(
    after: list[tuple[str, str | None, int]], ways_back: tuple[int, ...], target: str | None, why: str
) -> None:
    assert way_back(records_of(*A_THEN_B, *after), (), ways_back, None) == (target, why)


@pytest.mark.parametrize(
    ("event", "is_accounted"),
    [
        (MoveEvent.PROMOTED, True), (MoveEvent.STEPPED, True), (MoveEvent.ROLLED_BACK, True),
        (MoveEvent.STOPPED, False), (MoveEvent.FOUND, False), (None, False),
    ],
)  # fmt: skip
def test_a_move_to_what_was_not_champion_is_a_persons_or_nobodys(event: MoveEvent | None, is_accounted: bool) -> None:
    records = records_of(*A_THEN_B, ("c", "b", ALL_PPM), ("c", "b", ALL_PPM))
    assert moved_by(records) == records[3]
    assert is_accounted_for(records, records[3], event) is is_accounted


def test_the_stop_rule_answers_for_a_way_back_and_three_people_for_the_first() -> None:
    records = records_of(("a", None, ALL_PPM), ("b", "a", SHARE_PPM), ("a", "b", ALL_PPM))
    assert is_accounted_for(records, records[2], MoveEvent.STOPPED)
    assert is_accounted_for(records, records[0], None)
