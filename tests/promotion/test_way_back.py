"""What must not keep a rollout from being ended, by a person or by itself, and what must be told where it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.artefact.strict import ModelRefused
from models.versions.alias_files import alias_records, move_alias
from models.versions.history import Event
from models.versions.history_files import read_history
from models.versions.locations import Alias
from models.versions.registry_files import DirectoryRegistry
from pipeline.alerts.catalogue import AlertCode
from pipeline.io.postgres import Connection, DatabaseUnavailable
from pipeline.promotion import moving_store
from pipeline.promotion.gate import Reason
from tests.promotion.stage import CANDIDATE, CHAMPION, LIMITS, Stage
from tests.promotion.test_watch import Watched

YEAR_MS = 366 * 86_400_000


@pytest.fixture
def stage(tmp_path: Path, owner: Connection, database_url: str) -> Iterator[Stage]:
    stage = Stage(tmp_path, owner, database_url)
    yield stage
    stage.close()


@pytest.fixture
def watched(stage: Stage) -> Watched:
    return Watched(stage)


def test_refusals_leave_the_history_room_for_moves(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that asks for the next share every minute writes ten thousand in a week."""
    monkeypatch.setattr(moving_store, "REFUSALS_TOLD_MAX", 5)
    stage.ready()
    assert stage.promote().record is not None
    for _ in range(6):
        assert stage.step().record is None
    told = read_history(stage.registry, stage.keys)
    assert len(told) == 5
    rows = stage.owner.execute("SELECT reasons FROM control.model_refusal ORDER BY refusal_id").fetchall()
    assert len(rows) == 6
    assert "the history is kept for moves" in rows[-1][0][-1]
    assert stage.roll_back().record is not None
    assert read_history(stage.registry, stage.keys)[-1].event is Event.ROLLED_BACK


def test_nobody_goes_back_to_files_that_are_others_than_those_of_the_champion(stage: Stage) -> None:
    """No worker would take them up, and the command would say that they decide."""
    stage.ready()
    assert stage.promote(limits=LIMITS.model_copy(update={"shares_percent": (100,)})).record is not None
    signature = stage.registry.root / CHAMPION / "model.sig"
    signature.write_bytes((stage.registry.root / CANDIDATE / "model.sig").read_bytes())
    outcome = stage.roll_back()
    assert [each.reason for each in outcome.refusals] == [Reason.ARTEFACT]
    assert alias_records(stage.registry, stage.keys, Alias.CHAMPION)[-1].version == CANDIDATE


def test_a_champion_whose_files_were_exchanged_is_told_and_not_claimed_to_decide(watched: Watched) -> None:
    signature = watched.stage.registry.root / CHAMPION / "model.sig"
    signature.write_bytes(b"another")
    watched.stage.trip("all")
    assert watched.look() is None
    assert watched.champion() == (CANDIDATE, 10_000)
    assert watched.codes() == [(AlertCode.ROLLOUT_UNWATCHED, False)]


def test_a_record_of_a_time_that_has_not_come_is_taken_back_and_blinds_nothing(stage: Stage) -> None:
    """Nothing that is decided would count as decided since, and no trip either."""
    stage.ready()
    record = stage.promote().record
    assert record is not None
    move_alias(
        stage.registry, stage.keys, stage.signing, alias=Alias.CHAMPION, version=CANDIDATE, by="ann",
        at_ms=stage.now_ms + YEAR_MS, share_ppm=record.share_ppm, salt=record.salt, approvals=record.approvals,
    )  # fmt: skip
    watched = Watched.__new__(Watched)
    watched.stage, watched.told, watched.clock_s, watched.limits = stage, [], 0.0, LIMITS
    watched.watch = watched._watch()
    assert watched.look() == CHAMPION
    assert "a time that has not come" in watched.told[0].summary


def test_no_version_is_promoted_on_a_record_of_a_time_that_has_not_come(stage: Stage) -> None:
    """The clocks differ, so nobody knows how old evidence is; and the stop rule would see nothing for as long."""
    stage.ready()
    first = alias_records(stage.registry, stage.keys, Alias.CHAMPION)[0]
    move_alias(
        stage.registry, stage.keys, stage.signing, alias=Alias.CHAMPION, version=CHAMPION, by="ann",
        at_ms=stage.now_ms + YEAR_MS, event=Event.CONFIRMED, approvals=first.approvals,
    )  # fmt: skip
    [text] = stage.texts(stage.promote())
    assert "a time that has not come" in text


def test_where_two_clocks_differ_nothing_is_promoted_and_a_way_back_is_dated_by_the_earlier(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.ready()
    assert stage.promote().record is not None
    before_ms = stage.now_ms
    monkeypatch.setattr(moving_store, "server_now_ms", lambda _: before_ms + YEAR_MS)
    assert any("the clock of the database says" in text for text in stage.texts(stage.step()))
    back = stage.roll_back().record
    assert back is not None
    assert before_ms <= back.at_ms < before_ms + 600_000


def test_a_reason_that_is_longer_than_what_is_kept_moves_nothing(stage: Stage) -> None:
    """The registry moved, and then the database refused the row, so that no incident was opened."""
    stage.ready()
    assert stage.promote().record is not None
    outcome = stage.roll_back(reason="it stops too many " * 150)
    assert [each.reason for each in outcome.refusals] == [Reason.REASON]
    assert alias_records(stage.registry, stage.keys, Alias.CHAMPION)[-1].version == CANDIDATE


@pytest.mark.parametrize("by", ["", "\0", "x" * 201])
def test_a_record_by_a_name_that_nobody_has_closes_no_way_back(stage: Stage, by: str) -> None:
    stage.ready()
    record = stage.promote().record
    assert record is not None
    move_alias(
        stage.registry, stage.keys, stage.signing, alias=Alias.CHAMPION, version=CANDIDATE, by=by,
        at_ms=stage.now_ms, share_ppm=100_000, salt=record.salt, approvals=record.approvals,
    )  # fmt: skip
    assert stage.roll_back().record is not None


def test_reasons_that_are_many_are_told_and_recorded(watched: Watched) -> None:
    """The breaker tripped all night while nobody watched."""
    for _ in range(20):
        watched.stage.owner.execute(
            "INSERT INTO control.breaker_transition (alert_id, scope, event, before_state, after_state, version,"
            " author, cause, counts, evidence, at, topic_partition, topic_offset) VALUES (gen_random_uuid(), 'all',"
            " 'STILL_BAD', 'OPEN', 'OPEN', 1, 'monitor', %s, '{}', '{}', clock_timestamp(), 0, 0)",
            ["it blocks 90 % of all payments " * 6],
        )
    assert watched.look() == CHAMPION
    assert watched.codes() == [(AlertCode.MODEL_ROLLED_BACK, False)]
    assert watched.stage.rows()[-1][1] == "STOPPED"


def test_a_way_back_that_nobody_lived_to_tell_of_is_told(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise DatabaseUnavailable("the database is away")

    monkeypatch.setattr(moving_store, "append_move", away)
    watched.stage.trip("all")
    with pytest.raises(DatabaseUnavailable):
        watched.look()
    monkeypatch.undo()
    assert watched.champion() == (CHAMPION, 1_000_000)
    watched.watch = watched._watch()  # another process, which has seen nothing
    watched.look()
    watched.look()
    [told] = watched.told
    assert (told.code, told.scope) == (AlertCode.MODEL_ROLLED_BACK, f"model:{CANDIDATE}")


def test_a_registry_that_can_not_be_read_during_a_rollout_is_told(watched: Watched) -> None:
    """Workers go on by what they have loaded, so a candidate that trips is taken back by nobody."""
    spoilt = watched.stage.registry.root / "aliases" / "champion" / "stranger"
    spoilt.touch()
    watched.stage.trip("all")
    assert watched.look() is None
    assert watched.look() is None
    assert watched.codes() == [(AlertCode.ROLLOUT_UNWATCHED, False)]
    spoilt.unlink()
    assert watched.look() == CHAMPION
    assert watched.codes()[1:] == [(AlertCode.ROLLOUT_UNWATCHED, True), (AlertCode.MODEL_ROLLED_BACK, False)]


def test_a_registry_that_can_not_be_read_while_nothing_is_rolled_out_is_no_rollout_unwatched(stage: Stage) -> None:
    watched = Watched(stage)
    assert stage.roll_back().record is not None
    (stage.registry.root / "aliases" / "champion" / "stranger").touch()
    assert watched.look() is None
    assert watched.told == []
    with pytest.raises(ModelRefused):
        alias_records(stage.registry, stage.keys, Alias.CHAMPION)


def test_a_long_chain_is_proved_once_and_not_at_each_look(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand records take two seconds, which is how often the watch looks."""
    read: list[str] = []
    reads = DirectoryRegistry.read

    def counted(self: DirectoryRegistry, name: str, bytes_max: int) -> bytes | None:
        read.append(name)
        return reads(self, name, bytes_max)

    monkeypatch.setattr(DirectoryRegistry, "read", counted)
    watched.look()
    read.clear()
    watched.look()
    assert read == ["aliases/champion/000002.json"]
    watched.stage.roll_back()
    watched.look()
    assert watched.watch._read is not None
    assert len(watched.watch._read[1]) == 3


def test_of_evidence_of_one_moment_that_which_failed_counts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.ready()
    at_ms = stage.now_ms
    monkeypatch.setattr(Stage, "now_ms", property(lambda _: at_ms))
    for kind in ("bias", "red-team", "golden", "latency"):
        stage.prove(CANDIDATE, kind, passed=False)
        stage.prove(CANDIDATE, kind)
    monkeypatch.undo()
    assert len([each for each in stage.promote().refusals if each.reason is Reason.EVIDENCE]) == 4
