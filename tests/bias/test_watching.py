"""The watch, minute by minute: gaps that open and end, what is usual, and what one account can't do."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.bias.counting import COLUMNS, Column
from pipeline.bias.settings import BiasSettings
from pipeline.bias.watching import (
    COLD_MINUTES,
    DAY,
    RENEWAL_DAYS,
    RENEWAL_RISE,
    Measure,
    Standing,
    begun,
    resumed,
    standing_json,
    standing_of,
    step,
)

SCOPES = ("channel:CARD", "segment:postcode_area=NE", "segment:postcode_area=SW")
SETTINGS = BiasSettings(reference_days=1)


def counts(payments: int, blocked: float, suspect: float, false_stops: tuple[int, int] = (0, 0)):
    """A tenth is of NE, the rest of SW; all by card. blocked, suspect: shares of SW's and of NE's that are blocked."""
    found = np.zeros((len(SCOPES) + 1, COLUMNS), np.int64)
    own, rest = payments // 10, payments - payments // 10
    found[2, : Column.BLOCKED + 1] = own, round(own * suspect)
    found[3, : Column.BLOCKED + 1] = rest, round(rest * blocked)
    found[2, Column.FALSE_STOPS], found[3, Column.FALSE_STOPS] = false_stops
    found[0] = found[1] = found[2] + found[3]
    return found


def passed(standing: Standing, minutes: int, found, settings: BiasSettings = SETTINGS):
    opened, ended = [], []
    for _ in range(minutes):
        turn = step(standing, standing.minute + 1, found, settings)
        opened += turn.opened
        ended += turn.ended
    return opened, ended


def known(suspect: float = 0.02) -> Standing:
    """A watch after a day, for which NE's share is usual."""
    standing = begun(SCOPES, 0)
    assert ([], []) == passed(standing, DAY, counts(3000, 0.02, suspect))
    return standing


def test_a_segment_that_fares_worse_is_told_once_after_three_minutes_and_called_off_when_it_is_as_usual() -> None:
    standing = known()
    opened, _ = passed(standing, 10, counts(3000, 0.02, 0.4))
    assert [("segment:postcode_area=NE", Measure.BLOCK), ("segment:postcode_area=NE", Measure.STOP)] == [
        (gap.scope, gap.measure) for gap in opened
    ]
    assert {DAY + 3} == {gap.minute for gap in opened}
    assert opened[0].ratio == pytest.approx(20, rel=0.05)
    opened, ended = passed(standing, DAY, counts(3000, 0.02, 0.02))
    assert [] == opened
    assert {Measure.BLOCK, Measure.STOP} == {gap.measure for gap in ended}
    assert {DAY + 3} == {gap.opened_minute for gap in ended}, "the word that it is over names the same gap"


def test_1_a_segment_with_more_fraud_is_no_news_and_one_that_gets_worse_than_that_is() -> None:
    standing = known(suspect=0.08)
    assert ([], []) == passed(standing, DAY, counts(3000, 0.02, 0.08))
    opened, _ = passed(standing, DAY, counts(3000, 0.02, 0.16))
    assert {"segment:postcode_area=NE"} == {gap.scope for gap in opened}


def test_a_level_that_rises_for_everybody_is_no_gap() -> None:
    assert ([], []) == passed(known(), DAY, counts(3000, 0.2, 0.2))


def test_a_segment_that_fares_better_is_no_gap_of_anybodys() -> None:
    opened, _ = passed(known(), DAY, counts(3000, 0.02, 0.0))
    assert [] == [gap for gap in opened if gap.scope.endswith("NE")]


def test_2_what_grows_slowly_is_not_slowly_taken_for_usual() -> None:
    standing, share = known(), 0.02
    for _ in range(25):
        share += 0.001
        if any(gap.scope.endswith("NE") for gap in passed(standing, DAY, counts(3000, 0.02, share))[0]):
            break
    assert share <= 0.033


def test_2_what_is_usual_rises_by_a_tenth_a_quarter_at_most() -> None:
    standing = known()
    row, before = 1, standing.bounds[1, Measure.BLOCK]
    standing.phase, standing.reference[row] = RENEWAL_DAYS * DAY - 1, 0.0
    passed(standing, 1 + DAY, counts(3000, 0.02, 0.024))
    assert before < standing.bounds[row, Measure.BLOCK] <= before * RENEWAL_RISE + 1e-9


def test_3_false_stops_have_no_excuse() -> None:
    standing = known(suspect=0.08)
    opened, _ = passed(standing, 30, counts(3000, 0.02, 0.08, false_stops=(10, 9)))
    assert [("segment:postcode_area=NE", Measure.FALSE_STOP)] == [(gap.scope, gap.measure) for gap in opened]
    assert ([], []) == passed(known(), 60, counts(3000, 0.02, 0.02, false_stops=(1, 9)))


def test_4_no_gap_that_one_account_can_make_is_a_gap() -> None:
    """NE has five payments an hour; one account adds two blocked ones every three hours."""
    standing = begun(SCOPES, 0)
    quiet, with_account = counts(30, 0.0, 0.0), counts(30, 0.0, 0.0)
    quiet[[0, 1, 3], Column.BLOCKED] = 1
    with_account[:, Column.BLOCKED] = 3, 3, 2, 1
    for minute in range(1, 5 * DAY):
        found = with_account if minute % 180 == 0 and minute > DAY else quiet
        turn = step(standing, minute, found if minute % 12 == 0 else np.zeros_like(quiet), SETTINGS)
        assert [] == [gap for gap in turn.opened if gap.scope.endswith("NE")]


def test_at_first_nothing_is_usual_and_a_gross_gap_is_seen_all_the_same() -> None:
    standing = begun(SCOPES, 0)
    assert ([], []) == passed(standing, COLD_MINUTES // 2, counts(3000, 0.02, 0.06))
    assert passed(standing, 10, counts(3000, 0.02, 0.4))[0]


def test_a_watch_goes_on_from_its_json_as_if_it_had_never_stopped() -> None:
    standing = known()
    passed(standing, 2, counts(3000, 0.02, 0.4))
    again = standing_of(standing_json(standing))
    for each in (standing, again):
        assert 2 == len(passed(each, 1, counts(3000, 0.02, 0.4))[0])
    assert standing_json(standing)["opened"] == standing_json(again)["opened"]


@pytest.mark.parametrize("spoilt", [{"sums": [[1.0]]}, {"minute": "7"}, {"scopes": "all"}, {"elapsed": None}])
def test_a_state_of_another_shape_is_refused(spoilt: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        standing_of({**standing_json(known()), **spoilt})


OLD = SCOPES[:1] + SCOPES[2:]
"""All but NE, which the policy declares later."""


def without_ne(found):
    return np.delete(found, 2, axis=0)


def test_a_segment_that_is_declared_later_makes_no_gap_of_what_everybody_meets() -> None:
    """Its false stops of an hour were held against four weeks of everybody else's payments."""
    alike = counts(3000, 0.02, 0.02, (3, 27))
    standing = begun(OLD, 0)
    assert ([], []) == passed(standing, 2 * DAY, without_ne(alike))
    standing = resumed(standing, SCOPES)
    assert ([], []) == passed(standing, DAY, alike)
    worse = counts(3000, 0.02, 0.02, (9, 27))
    assert {("segment:postcode_area=NE", Measure.FALSE_STOP)} == {
        (gap.scope, gap.measure) for gap in passed(standing, DAY, worse)[0]
    }


def test_2_what_is_usual_of_a_segment_that_is_declared_later_is_taken_from_then_on() -> None:
    """It was taken in the next cycle alone, up to three months later, and till then five times as badly was no gap."""
    standing = begun(OLD, 0)
    passed(standing, 2 * DAY, without_ne(counts(3000, 0.02, 0.02)))
    standing = resumed(standing, SCOPES)
    assert ([], []) == passed(standing, DAY, counts(3000, 0.02, 0.04))
    usual = standing.bounds[1].copy()
    assert usual[Measure.BLOCK] == pytest.approx(2, rel=0.1)
    opened, _ = passed(standing, DAY, counts(3000, 0.02, 0.08))
    assert {"segment:postcode_area=NE"} == {gap.scope for gap in opened}
    assert usual.tolist() == standing.bounds[1].tolist(), "it stands, and learns nothing of the gap"


def test_what_a_late_segment_has_learned_outlives_the_cycle_of_the_others() -> None:
    standing = begun(OLD, 0)
    passed(standing, 2 * DAY, without_ne(counts(3000, 0.02, 0.02)))
    standing = resumed(standing, SCOPES)
    standing.phase = RENEWAL_DAYS * DAY - 600
    assert ([], []) == passed(standing, DAY, counts(3000, 0.02, 0.02))
    assert standing.reference[1, 0, 0] >= DAY * 300, "all of its first day was taken into account"


def test_a_gap_is_watched_to_its_end_though_the_policy_does_not_declare_its_segment_any_more() -> None:
    """It stood open for ever, and what was usual of the segment was forgotten where it was declared again."""
    standing = known()
    assert 2 == len(passed(standing, 10, counts(3000, 0.02, 0.4))[0])
    standing = resumed(standing, OLD)
    assert (*OLD, SCOPES[1]) == standing.scopes
    order = [0, 1, 3, 2]
    _, ended = passed(standing, DAY, counts(3000, 0.02, 0.02)[order])
    assert {(SCOPES[1], Measure.BLOCK), (SCOPES[1], Measure.STOP)} == {(gap.scope, gap.measure) for gap in ended}
    assert OLD == resumed(standing, OLD).scopes


def test_a_state_of_before_new_segments_were_told_apart_is_gone_on_from() -> None:
    written = standing_json(known())
    del written["learning"], written["unwatched"]
    again = standing_of(written)
    assert ([], []) == passed(again, 60, counts(3000, 0.02, 0.02))
    assert {"segment:postcode_area=NE"} == {gap.scope for gap in passed(again, 10, counts(3000, 0.02, 0.4))[0]}


def test_segments_that_the_policy_no_longer_declares_are_let_go_and_new_ones_know_nothing() -> None:
    standing = known()
    after = resumed(standing, ("channel:CARD", "segment:postcode_area=NE", "segment:postcode_area=ZE"))
    assert after.bounds[1].tolist() == standing.bounds[1].tolist()
    assert np.isnan(after.bounds[2]).all()
    assert after.minute == standing.minute
