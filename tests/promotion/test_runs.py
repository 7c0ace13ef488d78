"""Runs of checks: what an insider tries with the key of the registry, one role, a clock or a policy of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from models.artefact.files import load
from models.artefact.strict import ModelRefused
from models.card.cards import cards
from models.card.current_files import current_facts
from models.card.facts import Occasion
from models.versions.alias_files import move_alias
from models.versions.approval_files import write_approval
from models.versions.approvals import Grounds
from models.versions.artefact_files import digest_of
from models.versions.evidence import root_of
from models.versions.evidence_files import filed_evidence, write_evidence
from models.versions.history import Event
from models.versions.history_files import append_history, read_history
from models.versions.locations import Alias
from models.versions.records import sha256_of
from models.versions.registry_files import AlreadyThere
from models.versions.verify_command import verified
from pipeline.bias.monitor_store import answered_beside
from pipeline.bias.report_command import show_bias
from pipeline.domain.trials.shadow_answer import ShadowStanding
from pipeline.io.postgres import Connection
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import key_set_text
from pipeline.people.act_store import read_registry
from pipeline.people.roles import Role
from pipeline.promotion.store import draw, drawn
from pipeline.shadow.challenger import GlassBox
from pipeline.shadow.comparing import compare
from pipeline.terminal.output import Output
from tests.known import appoint, identity, revoke
from tests.promotion.stage import APPROVERS, CANDIDATE, CHAMPION, POLICY, WRONG, Stage
from tests.records import POLICY_PATH
from tests.servers import url_as


@pytest.fixture
def stage(tmp_path: Path, owner: Connection, database_url: str) -> Iterator[Stage]:
    stage = Stage(tmp_path, owner, database_url)
    yield stage
    stage.close()


def test_a_failed_run_stands_though_the_next_one_passes(stage: Stage) -> None:
    """It takes three people who signed that they saw it, and said why it does not matter."""
    stage.shadow(CANDIDATE)
    stage.review(CANDIDATE)
    stage.prove(CANDIDATE, "bias", passed=False, at_ms=stage.now_ms - 1_000)
    stage.prove(CANDIDATE)
    stage.approve(CANDIDATE)
    assert all("it answers for no run that failed" in text for text in stage.texts(stage.promote()))
    stage.approve(CANDIDATE, answer="the feed was down that day")  # on other grounds, so no day has to pass
    assert stage.promote().record is not None


def test_more_failed_runs_than_the_policy_lets_are_answered_by_nobody(stage: Stage) -> None:
    stage.shadow(CANDIDATE)
    stage.review(CANDIDATE)
    for number in range(4):
        stage.prove(CANDIDATE, "bias", passed=False, at_ms=stage.now_ms - 10 + number)
    stage.prove(CANDIDATE)
    stage.approve(CANDIDATE, answer="we know of them")
    assert stage.texts(stage.promote()) == ["4 runs of bias failed, and 3 may before one passes."]


def test_evidence_after_the_approvals_was_approved_by_nobody(stage: Stage) -> None:
    """Whoever holds the registry's key can't have one thing approved, and go live on another."""
    stage.ready()
    stage.prove(CANDIDATE, "latency", at_ms=stage.now_ms - 5)
    texts = stage.texts(stage.promote())
    assert [text for text in texts if text.startswith("Nobody has approved it as")] == texts[:3]
    assert any("other evidence than there is now" in text for text in texts)


def test_a_failed_run_that_was_taken_away_after_the_approvals_is_missed(stage: Stage) -> None:
    stage.prove(CANDIDATE, "bias", passed=False, at_ms=stage.now_ms - 1_000)
    [failed] = filed_evidence(stage.registry, CANDIDATE, stage.keys)
    stage.ready()
    (stage.registry.root / failed.name).unlink()
    assert any("other evidence than there is now" in text for text in stage.texts(stage.promote()))


def test_a_failed_run_that_was_taken_away_before_the_approvals_is_missed(stage: Stage) -> None:
    """Whoever may write to the registry may delete there; three people then approve a version that never failed."""
    stage.prove(CANDIDATE, "bias", passed=False, at_ms=stage.now_ms - 1_000)
    [failed] = filed_evidence(stage.registry, CANDIDATE, stage.keys)
    held = (stage.registry.root / failed.name).read_bytes()
    (stage.registry.root / failed.name).unlink()
    stage.ready()
    [text] = stage.texts(stage.promote())
    assert text.startswith(f"'{failed.name}', which did not pass and was filed at ")
    assert text.endswith(" is not in the registry any more.")
    (stage.registry.root / failed.name).write_bytes(held)
    assert any(
        "it answers for no run that failed" in text or "other evidence" in text for text in stage.texts(stage.promote())
    )


def test_evidence_that_was_put_into_the_registry_by_its_key_alone_is_nothing(stage: Stage) -> None:
    """The key of the registry alone doesn't make a check: the database has no record of it."""
    stage.ready()
    [held] = [each for each in filed_evidence(stage.registry, CANDIDATE, stage.keys) if each.evidence.kind == "golden"]
    forged = held.evidence._replace(made_at_ms=held.evidence.made_at_ms + 1)
    write_evidence(stage.registry, forged, stage.signing)
    stage.approve(CANDIDATE)
    assert "The database has no record of the evidence of golden; have it checked again." in stage.texts(
        stage.promote()
    )


def reading(stage: Stage, database_url: str | None) -> Settings:
    settings = Settings(model_registry=stage.registry.root, seal_keys=key_set_text(stage.keys))
    return settings if database_url is None else settings.model_copy(update={"database_url": database_url})


def test_evidence_that_was_taken_away_is_missed_by_whoever_verifies_or_reads_the_card(
    stage: Stage, database_url: str
) -> None:
    """A failed check without its file was good to `verify`, and a card that left it out looked better than it was."""
    stage.prove(CANDIDATE, "bias", passed=False, at_ms=stage.now_ms - 1_000)
    stage.prove(CANDIDATE)
    settings = reading(stage, url_as(database_url, "fraud_incident"))
    [told] = [each for each in verified(settings, CANDIDATE) if each.what == f"evidence of {CANDIDATE}"]
    assert (told.fault, told.not_asked) == (None, "")
    assert current_facts(settings, CANDIDATE).occasion is Occasion.REGISTRY
    [failed] = [each for each in filed_evidence(stage.registry, CANDIDATE, stage.keys) if not each.evidence.passed]
    (stage.registry.root / failed.name).unlink()
    [told] = [each for each in verified(settings, CANDIDATE) if each.what == f"evidence of {CANDIDATE}"]
    assert told.fault == f"'{failed.name}' was filed as failed, and is gone from the registry"
    with pytest.raises(ModelRefused, match="is gone from the registry"):
        current_facts(settings, CANDIDATE)
    alone = reading(stage, None)
    assert [each.what for each in verified(alone, CANDIDATE) if each.not_asked] == ["evidence in the database"]
    assert "No database was asked" in cards(current_facts(alone, CANDIDATE)).markdown.decode()


def test_evidence_that_nobody_filed_and_a_database_that_cannot_say_are_no_good(stage: Stage, database_url: str) -> None:
    stage.prove(CANDIDATE)
    [held] = [each for each in filed_evidence(stage.registry, CANDIDATE, stage.keys) if each.evidence.kind == "golden"]
    forged = held.evidence._replace(made_at_ms=held.evidence.made_at_ms + 1)
    write_evidence(stage.registry, forged, stage.signing)
    away = "postgresql://fraud_incident@127.0.0.1:1/fraud?connect_timeout=2"
    for url, said in ((url_as(database_url, "fraud_incident"), "was never filed"), (away, "can't be known")):
        settings = reading(stage, url)
        [told] = [each for each in verified(settings, CANDIDATE) if each.what == f"evidence of {CANDIDATE}"]
        assert said in (told.fault or "")
        with pytest.raises(ModelRefused, match=said):
            current_facts(settings, CANDIDATE)


def test_records_of_evidence_are_never_changed(stage: Stage) -> None:
    stage.prove(CANDIDATE, "bias", passed=False)
    for statement in ("UPDATE control.model_evidence SET passed = true", "DELETE FROM control.model_evidence"):
        for connection in (stage.people, stage.owner):
            with pytest.raises(psycopg.Error), connection.transaction():
                connection.execute(statement)


def test_evidence_against_another_champion_is_nothing(stage: Stage) -> None:
    stage.shadow(CANDIDATE)
    stage.review(CANDIDATE)
    stage.prove(CANDIDATE, beside=WRONG)
    stage.approve(CANDIDATE)
    texts = stage.texts(stage.promote())
    assert len([text for text in texts if "compares with another champion" in text]) == 3
    assert len([text for text in texts if text.startswith("No seed of a red team was drawn")]) == 1


def test_what_a_seed_rests_on_is_drawn_once_by_the_database_and_by_nobody_else(stage: Stage) -> None:
    """Whoever trains may make artefacts that differ in their digest alone, and try the seed of each beforehand."""
    ids = digest_of(stage.registry, CANDIDATE), digest_of(stage.registry, CHAMPION)
    assert drawn(stage.people, *ids, POLICY) is None
    first = draw(stage.people, *ids, POLICY)
    assert (first, first) == (draw(stage.people, *ids, POLICY), drawn(stage.people, *ids, POLICY))
    assert len({first, draw(stage.people, *ids, "e" * 64), draw(stage.people, *reversed(ids), POLICY)}) == 3
    row = "INSERT INTO control.model_draw (digest, champion, policy, drawn) VALUES (%s, %s, %s, %s)"
    with pytest.raises(psycopg.Error, match="permission denied"), stage.people.transaction():
        stage.people.execute(row, [b"1" * 32, b"2" * 32, b"3" * 32, b"4" * 32])
    for statement in ("UPDATE control.model_draw SET drawn = digest", "DELETE FROM control.model_draw"):
        for connection in (stage.people, stage.owner):
            with pytest.raises(psycopg.Error), connection.transaction():
                connection.execute(statement)


def test_what_was_answered_beside_another_champion_is_nothing(stage: Stage) -> None:
    """A hundred thousand payments beside an easy one don't hide how it does beside the one that decides now."""
    stage.prove(CANDIDATE)
    stage.archive._add("small-0", 0)
    stage.shadow(CANDIDATE, beside="small-0", payments=400, differing=0)
    stage.approve(CANDIDATE)
    [text] = stage.texts(stage.promote())
    assert "it answered no payment beside the champion of now" in text


def test_an_operators_own_policy_is_not_the_one_that_was_approved(stage: Stage) -> None:
    stage.prove(CANDIDATE)
    stage.shadow(CANDIDATE)
    stage.review(CANDIDATE)
    stage.approve(CANDIDATE, policy="e" * 64)
    assert any("given under another policy" in text for text in stage.texts(stage.promote()))


def test_bias_is_judged_beside_the_champion_of_now_and_says_so(stage: Stage) -> None:
    stage.answer(CANDIDATE, stage.decided(CHAMPION, 4, 0, stage.now_ms))
    digest = bytes.fromhex(digest_of(stage.registry, CANDIDATE))
    assert answered_beside(stage.owner, digest, CHAMPION).challenger["all"][0] == 4
    assert answered_beside(stage.owner, digest, "small-0").challenger == {}
    settings = Settings(
        model_registry=stage.registry.root, models_key_file=stage.folder / "models.pem",
        seal_keys=key_set_text(stage.keys), database_url=stage.database_url,
    )  # fmt: skip
    assert not show_bias(settings, CANDIDATE, 1, Output(as_json=True), is_evidence=True)  # four payments are too few
    [filed] = filed_evidence(stage.registry, CANDIDATE, stage.keys)
    assert filed.evidence.figures["champion"] == {"version": CHAMPION, "digest": digest_of(stage.registry, CHAMPION)}
    assert filed.evidence.figures["policy_sha256"] == sha256_of(POLICY_PATH.read_bytes())


def test_a_segment_that_a_version_can_not_answer_is_one_that_it_escalates(stage: Stage) -> None:
    """One payment in 50 is let pass by agreement, and may be all of one postcode's: live the fallback decides them."""
    challenger = GlassBox(load(stage.archive.registry / CANDIDATE))
    answers = compare(stage.decided(CHAMPION, 40, 0, stage.now_ms), challenger, stage.archive.regime_of)
    failed = {"standing": ShadowStanding.FAILED, "challenger_outcome": None, "challenger_probability_ppm": -1}
    stage.claim(challenger, [each._replace(**failed) if each.decision_offset < 10 else each for each in answers])
    found = answered_beside(stage.owner, challenger.digest, CHAMPION)
    assert found.champion["all"][:3] == (40, 20, 0)
    assert found.challenger["all"][:3] == (40, 15, 10)


def test_approvals_on_no_evidence_promote_nothing(stage: Stage) -> None:
    stage.prove(CANDIDATE)
    stage.shadow(CANDIDATE)
    stage.review(CANDIDATE)
    root = read_registry(stage.owner).root
    for role, name in APPROVERS.items():
        write_approval(stage.registry, CANDIDATE, role, identity(name), stage.now_ms, root)
    assert any("given on no evidence" in text for text in stage.texts(stage.promote()))


def test_a_role_that_is_granted_after_the_signature_lends_it_nothing(stage: Stage) -> None:
    stage.prove(CANDIDATE)
    stage.shadow(CANDIDATE)
    stage.review(CANDIDATE)
    stage.approve(CANDIDATE, Role.RISK, Role.COMPLIANCE)
    grounds = Grounds(root_of(filed_evidence(stage.registry, CANDIDATE, stage.keys)), POLICY)
    root = read_registry(stage.owner).root
    write_approval(stage.registry, CANDIDATE, Role.ENGINEERING, identity("bob"), stage.now_ms, root, grounds)
    appoint(stage.owner, {"bob": "ENGINEERING"})
    assert any("did not hold the role" in text for text in stage.texts(stage.promote()))


def test_somebody_whose_role_was_taken_away_approves_nothing_any_more(stage: Stage) -> None:
    stage.ready()
    revoke(stage.owner, "rita", "RISK")
    assert any("does not hold the role any more" in text for text in stage.texts(stage.promote()))


def test_two_machines_do_not_retire_a_version_and_promote_it_in_one_moment(stage: Stage) -> None:
    """Whoever decided on the history before the other's record is refused, whichever came first."""
    digest, before = digest_of(stage.registry, WRONG), read_history(stage.registry, stage.keys)
    stage.ready()
    assert stage.promote().record is not None
    with pytest.raises(AlreadyThere):
        append_history(
            stage.registry, stage.keys, stage.signing, Event.RETIRED, WRONG, digest,
            by="ann", at_ms=stage.now_ms, before=before,
        )  # fmt: skip


def test_a_version_that_is_retired_meanwhile_is_not_moved_to(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other machine retires it after this one has looked, and before it writes."""
    from models.versions import alias_files

    def retired_meanwhile(*given: object) -> str:
        append_history(
            stage.registry, stage.keys, stage.signing, Event.RETIRED, WRONG, digest_of(stage.registry, WRONG),
            by="bob", at_ms=stage.now_ms, reasons=("it blocks everything",),
        )  # fmt: skip
        return digest_of(stage.registry, WRONG)

    monkeypatch.setattr(alias_files, "digest_of", retired_meanwhile)
    with pytest.raises(AlreadyThere):
        move_alias(
            stage.registry, stage.keys, stage.signing, alias=Alias.CHAMPION, version=WRONG, by="ann",
            at_ms=stage.now_ms,
        )  # fmt: skip
    monkeypatch.undo()
    with pytest.raises(ModelRefused, match="was retired"):
        move_alias(
            stage.registry, stage.keys, stage.signing, alias=Alias.CHAMPION, version=WRONG, by="ann",
            at_ms=stage.now_ms,
        )  # fmt: skip
