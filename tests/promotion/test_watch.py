"""The watch over a rollout: it takes a candidate back by itself, and says when it can't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from models.versions.alias_files import alias_records, move_alias
from models.versions.aliases import AliasRecord
from models.versions.locations import Alias
from pipeline.alerts.catalogue import AlertCode
from pipeline.alerts.incident_kinds import kind_of
from pipeline.decide.rollout.limits import Promotion
from pipeline.domain.alert import Alert, IncidentKind
from pipeline.io.kafka.client import BrokerAway
from pipeline.io.postgres import Connection
from pipeline.promotion.desk_files import NoKey
from pipeline.promotion.watch_service import (
    BEGIN_S,
    FRAUDS_S,
    LOOK_S,
    RATES_S,
    TELL_AGAIN_S,
    UNSIGNED_S,
    LateWatch,
    RolloutWatch,
)
from tests.promotion.stage import CANDIDATE, CHAMPION, LIMITS, WRONG, Stage


class Watched:
    """A stage whose candidate has 1 %, and a watch whose clock each look moves on."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.told, self.clock_s = stage, list[Alert](), 0.0
        self.limits: Promotion | None = LIMITS
        stage.ready()
        assert stage.promote().record is not None
        self.watch = self._watch()

    def _watch(self) -> RolloutWatch:
        stage = self.stage
        return RolloutWatch(stage.desk, lambda: self.limits, self._publish, lambda: stage.now_ms, lambda: self.clock_s)

    def without_key(self) -> None:
        self.stage.desk = self.stage.desk._replace(signing=NoKey())
        self.watch = self._watch()

    def look(self) -> str | None:
        self.clock_s += LOOK_S
        moved = self.watch.look(self.stage.people)
        return None if moved is None else moved.version

    def champion(self) -> tuple[str, int]:
        latest = alias_records(self.stage.registry, self.stage.keys, Alias.CHAMPION)[-1]
        return latest.version, latest.share_ppm

    def codes(self) -> list[tuple[str, bool]]:
        return [(each.code, each.is_over) for each in self.told]

    def _publish(self, raised: Sequence[Alert]) -> None:
        self.told += raised


@pytest.fixture
def watched(tmp_path: Path, owner: Connection, database_url: str) -> Iterator[Watched]:
    stage = Stage(tmp_path, owner, database_url)
    yield Watched(stage)
    stage.close()


def test_a_candidate_that_does_well_stays_and_one_that_trips_goes_back_once(watched: Watched) -> None:
    assert watched.look() is None
    watched.stage.trip(f"model:{CANDIDATE}")
    assert watched.look() == CHAMPION
    assert watched.champion() == (CHAMPION, 1_000_000)
    [told] = watched.told
    assert (told.code, told.scope) == (AlertCode.MODEL_ROLLED_BACK, f"model:{CANDIDATE}")
    assert kind_of(told.code, told.severity) is IncidentKind.MODEL
    assert "took model:small-2 out of the loop" in told.summary
    assert watched.look() is None
    assert len(watched.told) == 1


def test_a_policy_without_limits_takes_a_candidate_back(watched: Watched) -> None:
    watched.limits = None
    assert watched.look() == CHAMPION


def test_a_watch_that_signs_nothing_says_so_once_and_that_it_is_over(watched: Watched) -> None:
    watched.without_key()
    watched.stage.trip("all")
    assert watched.look() is None
    assert watched.look() is None
    assert watched.codes() == [(AlertCode.ROLLOUT_UNWATCHED, False)]
    assert watched.champion() == (CANDIDATE, 10_000)


def test_a_rollout_that_stays_unwatched_is_told_again_each_hour(watched: Watched) -> None:
    """A forged word on alerts.v1 calls the first telling off."""
    watched.without_key()
    watched.look()
    watched.clock_s += TELL_AGAIN_S - 2 * LOOK_S
    watched.look()
    assert watched.codes() == [(AlertCode.ROLLOUT_UNWATCHED, False)]
    watched.clock_s += 2 * LOOK_S
    watched.look()
    assert watched.codes() == [(AlertCode.ROLLOUT_UNWATCHED, False)] * 2
    assert len({each.alert_id for each in watched.told}) == 1


def test_labels_that_cannot_be_read_are_told_and_keep_nothing_else_from_being_judged(watched: Watched) -> None:
    def away() -> list[str]:
        raise BrokerAway("it is away")

    watched.stage.desk = watched.stage.desk._replace(frauds=away)
    watched.watch = watched._watch()
    assert watched.look() is None
    assert watched.codes() == [(AlertCode.ROLLOUT_UNWATCHED, False)]
    watched.watch._desk = watched.stage.desk._replace(frauds=list)
    watched.clock_s += RATES_S
    assert watched.look() is None
    assert watched.codes() == [(AlertCode.ROLLOUT_UNWATCHED, False), (AlertCode.ROLLOUT_UNWATCHED, True)]
    watched.watch._desk = watched.stage.desk._replace(frauds=away)
    watched.clock_s += FRAUDS_S
    watched.stage.trip("all")
    assert watched.look() == CHAMPION  # whatever the labels would say


def test_rates_are_counted_once_a_minute_and_trips_at_each_look(watched: Watched) -> None:
    assert watched.look() is None
    rated = watched.watch._rated
    assert watched.look() is None
    assert watched.watch._rated is rated
    watched.stage.trip(f"model:{CANDIDATE}")
    assert watched.look() == CHAMPION


def test_it_looks_no_more_often_than_it_must(watched: Watched) -> None:
    watched.look()
    watched.stage.trip("all")
    assert watched.watch.look(watched.stage.people) is None
    assert watched.look() == CHAMPION


def test_a_watch_that_had_no_keys_at_first_begins_once_they_are_there(watched: Watched) -> None:
    """People bring the registry's keys while the service runs; nobody starts it anew for that."""
    begun: list[RolloutWatch] = []
    late = LateWatch(lambda: begun[0] if begun else None, lambda: watched.clock_s)
    watched.stage.trip("all")
    assert late.look(watched.stage.people) is None
    begun.append(watched.watch)
    watched.clock_s += BEGIN_S / 2
    assert late.look(watched.stage.people) is None, "it asks each minute, and no more often"
    watched.clock_s += BEGIN_S / 2
    taken_back = late.look(watched.stage.people)
    assert taken_back is not None
    assert taken_back.version == CHAMPION


def moved_past_the_gate(stage: Stage, version: str, share_ppm: int = 1_000_000) -> AliasRecord:
    return move_alias(
        stage.registry, stage.keys, stage.signing, alias=Alias.CHAMPION, version=version, by="ann",
        at_ms=stage.now_ms, share_ppm=share_ppm,
    )  # fmt: skip


def test_a_move_that_the_registrys_key_alone_has_made_is_told_once(watched: Watched) -> None:
    """Three approvals of any age, and the key, are all that workers ask for."""
    watched.look()
    assert watched.told == []
    moved_past_the_gate(watched.stage, WRONG)
    moved_past_the_gate(watched.stage, WRONG)  # signed anew, as `confirm` does
    watched.look()
    assert watched.told == [], "whoever moves it writes the registry first"
    watched.clock_s += UNSIGNED_S
    for _ in range(3):
        watched.look()
    [told] = watched.told
    assert (told.code, told.scope) == (AlertCode.MODEL_MOVED_UNSIGNED, f"model:{WRONG}")
    assert kind_of(told.code, told.severity) is IncidentKind.MODEL
    assert told.summary == (
        f"{WRONG} was put in force past the gate: record 3 of the alias names ann, who signed no move."
    )


def test_what_a_person_or_the_stop_rule_moved_is_no_move_past_the_gate(watched: Watched) -> None:
    watched.stage.trip(f"model:{CANDIDATE}")
    assert watched.look() == CHAMPION
    watched.clock_s += UNSIGNED_S
    watched.look()
    assert watched.codes() == [(AlertCode.MODEL_ROLLED_BACK, False)]


def test_a_move_that_was_found_when_the_next_was_made_is_told_at_once(watched: Watched) -> None:
    moved_past_the_gate(watched.stage, WRONG)
    assert watched.stage.promote(CANDIDATE).record is None  # it writes down what it finds
    watched.look()
    assert watched.codes() == [(AlertCode.MODEL_MOVED_UNSIGNED, False)]
