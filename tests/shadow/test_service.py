"""The shadow on a broker and a real PostgreSQL: what it stores, what it passes over, and what it can't do."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial

import psycopg
import pytest

from models.artefact.files import load
from pipeline.domain.log import Presented
from pipeline.domain.refusals import Refusal
from pipeline.domain.trials.shadow_answer import ShadowStanding
from pipeline.io.postgres import connect
from pipeline.io.settings import Settings
from pipeline.seals.seal_files import seal_check
from pipeline.shadow.challenger import GlassBox, Statistical
from pipeline.shadow.challenger_files import NoChallenger
from pipeline.shadow.onnx_files import OnnxMissing
from pipeline.shadow.service_command import Shadowing
from pipeline.shadow.summary_store import digests_of, summary
from tests.archive import CLOSED, Archive, payment
from tests.sealing import seal_headers
from tests.servers import url_as
from tests.shadow.given import DEAR_MINOR, constant, strict
from tests.shadow.scene import WIRE, Topics, running, shadow, wait_for


@pytest.fixture
def topics(stack) -> Topics:
    return Topics(stack.bootstrap_servers)


def decided(archive: Archive, numbers, amount_minor=1_000) -> list[bytes]:
    payments = [payment(number, amount_minor=amount_minor) for number in numbers]
    return archive.values(payments, [CLOSED] * len(payments))


def rows(owner, *columns: str):
    query = f"SELECT {', '.join(columns)} FROM shadow.answer ORDER BY topic_partition, topic_offset"
    return owner.execute(query.encode()).fetchall()


def begun(owner) -> bool:
    return owner.execute("SELECT count(*) FROM shadow.beginning").fetchone() == (4,)


def test_each_decision_after_the_beginning_is_answered_once_on_the_topic_and_in_the_database(
    archive: Archive, topics: Topics, owner, database_url: str
) -> None:
    topics.publish(decided(archive, range(20)))  # before the challenger came: no shadow
    with running(shadow(topics, database_url, strict(), archive.regime_of)):
        wait_for(lambda: begun(owner), "the beginning")
        topics.publish(decided(archive, range(20, 40)) + decided(archive, range(40, 50), DEAR_MINOR))
        wait_for(lambda: len(rows(owner, "decision_id")) == 30, "the answers")
    assert {("COMPARED",)} == set(rows(owner, "standing"))
    told = topics.answers()
    assert sorted(str(row[0]) for row in rows(owner, "decision_id")) == sorted(each.decision_id for each in told)
    assert sum(each.is_disagreement for each in told) == 10
    [(digest, kind)] = digests_of(owner, "strict-1")
    assert (strict().digest, "GLASS_BOX") == (digest, kind)
    found = summary(owner, "strict-1", digest.hex())
    assert (30, 20, 10, 0) == (found.sample, found.overall.agreed, found.disagreements, found.reviewed)
    assert (10, 0, True, 0) == (found.above, found.above_reviewed, found.is_whole, found.days_covered)


def test_a_shadow_that_was_away_goes_on_where_it_stood_and_a_new_one_begins_at_the_end(
    archive: Archive, topics: Topics, owner, database_url: str
) -> None:
    first, second = strict(), constant(0.1)
    with running(shadow(topics, database_url, first, archive.regime_of)):
        wait_for(lambda: begun(owner), "the beginning")
    topics.publish(decided(archive, range(10)))
    with running(shadow(topics, database_url, first, archive.regime_of)):
        wait_for(lambda: len(rows(owner, "decision_id")) == 10, "what came meanwhile")
    with running(shadow(topics, database_url, second, archive.regime_of)):
        wait_for(lambda: owner.execute("SELECT count(*) FROM shadow.beginning").fetchone() == (8,), "its beginning")
        topics.publish(decided(archive, range(10, 15)))
        wait_for(lambda: len(rows(owner, "decision_id")) == 15, "the other's")
    counts = dict(owner.execute("SELECT digest, count(*) FROM shadow.answer GROUP BY 1").fetchall())
    assert {first.digest: 10, second.digest: 5} == counts


def test_what_is_answered_again_after_a_crash_is_the_same_record_and_one_row(
    archive: Archive, topics: Topics, owner, database_url: str
) -> None:
    with running(shadow(topics, database_url, strict(), archive.regime_of)):
        wait_for(lambda: begun(owner), "the beginning")
    values = decided(archive, range(10))
    topics.publish(values)
    service = shadow(topics, database_url, strict(), archive.regime_of)
    with closing(service):
        service._store.append = lambda *_: (_ for _ in ()).throw(ConnectionError)  # type: ignore[method-assign]
        with pytest.raises(ConnectionError):
            _step_for_ever(service)
    wait_for(lambda: topics.answers() != [], "what was told before the crash")
    with running(shadow(topics, database_url, strict(), archive.regime_of)):
        wait_for(lambda: len(rows(owner, "decision_id")) == 10, "the rows")
    wait_for(lambda: len({each.decision_id for each in topics.answers()}) == 10, "the records")
    by_id: dict[str, set[object]] = {}
    for each in topics.answers():
        by_id.setdefault(each.decision_id, set()).add(each)
    assert {1} == {len(different) for different in by_id.values()}
    topics.publish(values)  # a decision that stands on the topic twice is one row as well
    with running(shadow(topics, database_url, strict(), archive.regime_of)):
        wait_for(
            lambda: owner.execute("SELECT sum(next_offset) FROM control.consumer_position").fetchone() == (20,), "both"
        )
    assert len(rows(owner, "decision_id")) == 10


def test_what_nobody_is_proved_to_have_written_is_passed_over_and_noted(
    archive: Archive, topics: Topics, owner, database_url: str
) -> None:
    with running(shadow(topics, database_url, strict(), archive.regime_of)):
        wait_for(lambda: begun(owner), "the beginning")
        topics.publish(decided(archive, range(5)), is_sealed=False)
        topics.publish(decided(archive, range(5, 10)))
        wait_for(lambda: len(rows(owner, "decision_id")) == 5, "the sealed ones")
    noted = owner.execute("SELECT consumer, why, count(*) FROM control.unproved_record GROUP BY 1, 2").fetchall()
    assert [("shadow", "SEAL_MISSING", 5)] == noted


def test_a_challenger_that_raises_holds_nobody_up(archive: Archive, topics: Topics, owner, database_url: str) -> None:
    def raises(_rows):
        raise RuntimeError

    broken = Statistical("broken-1", b"\5" * 32, ("amount_gbp_minor",), raises)
    with running(shadow(topics, database_url, broken, archive.regime_of)):
        wait_for(lambda: begun(owner), "the beginning")
        topics.publish(decided(archive, range(6)))
        wait_for(lambda: len(rows(owner, "decision_id")) == 6, "the failures")
    assert {("FAILED", None)} == set(rows(owner, "standing", "challenger_outcome"))
    [(digest, _)] = digests_of(owner, "broken-1")
    found = summary(owner, "broken-1", digest.hex())
    assert (0, 0, 6) == (found.sample, found.days_covered, found.standings[ShadowStanding.FAILED])


def test_role_of_the_shadow_writes_its_answers_and_nothing_else(
    archive: Archive, topics: Topics, owner, database_url: str
) -> None:
    with running(shadow(topics, database_url, strict(), archive.regime_of)):
        wait_for(lambda: begun(owner), "the beginning")
        topics.publish(decided(archive, [1]))
        wait_for(lambda: len(rows(owner, "decision_id")) == 1, "the answer")
    with closing(connect(url_as(database_url, "fraud_shadow"), "thief")) as thief:
        for statement in (
            "UPDATE shadow.answer SET challenger_outcome = champion_outcome",
            "DELETE FROM shadow.answer",
            "INSERT INTO shadow.answer (answered_at) VALUES (now() - interval '20 days')",
            "INSERT INTO control.disagreement_review (digest) VALUES ('')",
            "INSERT INTO audit.ai_decision_log SELECT",
            "UPDATE control.consumer_position SET next_offset = 9 WHERE consumer = 'executor'",
        ):
            try:
                assert thief.execute(statement.encode()).rowcount == 0, statement
            except psycopg.errors.InsufficientPrivilege:
                continue
    for statement in ("UPDATE shadow.answer SET standing = 'FAILED'", "DELETE FROM shadow.answer"):
        with pytest.raises(psycopg.errors.RestrictViolation):
            owner.execute(statement.encode())


def test_nothing_that_stands_on_shadow_v1_is_ever_a_decision(archive: Archive) -> None:
    """Neither an answer, nor a decision that was copied there with its seal: a seal is over its topic, too."""
    [value] = decided(archive, [1])
    topic, key = "decisions.v1", b"GB29-0001"
    [(_, seal)] = seal_headers(topic, key, value, 0)
    assert isinstance(seal, bytes)
    there = Presented(topic, 0, 0, 1, False, key, value, seal)
    check = seal_check(Settings())
    assert check.unproved(there) is None
    copied = check.unproved(there._replace(topic="shadow.v1"))
    assert copied is not None
    assert copied.why == "SEAL_FALSE"
    assert isinstance(WIRE.decode_shadow_answer(value), Refusal)


def test_an_answer_is_no_record_of_decisions_v1(archive: Archive, topics: Topics, owner, database_url: str) -> None:
    with running(shadow(topics, database_url, strict(), archive.regime_of)):
        wait_for(lambda: begun(owner), "the beginning")
        topics.publish(decided(archive, [1]))
        wait_for(lambda: topics.answers() != [], "the answer")
    assert isinstance(WIRE.decode_decision_record(topics.values[0]), Refusal)
    assert isinstance(WIRE.decode_stored_decision(topics.values[0]), Refusal)


def _step_for_ever(service) -> None:
    for _ in range(200):
        service.step(threading.Event())


class _Stub:
    """A shadow of a challenger that counts what it is told."""

    def __init__(self, challenger) -> None:
        self.challenger, self.steps, self.is_closed = challenger, 0, False

    def step(self, _stopping) -> None:
        self.steps += 1

    def close(self) -> None:
        self.is_closed = True


def test_another_challenger_or_other_bytes_take_the_place_of_the_one_before(archive: Archive) -> None:
    named = [strict(), strict(), constant(0.2, "strict-1"), GlassBox(load(archive.registry / "small-1"))]
    made: list[_Stub] = []

    def make(challenger):
        made.append(_Stub(challenger))
        return made[-1]

    shadowing = Shadowing(partial(named.pop, 0), make)  # type: ignore[arg-type]
    for _ in range(4):
        shadowing._due_s = 0.0
        assert shadowing.step(threading.Event()) is None
    assert ["strict-1", "strict-1", "small-1"] == [each.challenger.version for each in made]
    assert [True, True, False] == [each.is_closed for each in made]
    assert [2, 1, 1] == [each.steps for each in made]


@pytest.mark.parametrize(
    ("failure", "is_ready"), [(NoChallenger("no challenger is named"), True), (OnnxMissing("onnx is missing"), False)]
)
def test_without_a_challenger_it_rests_and_with_one_that_can_t_be_loaded_it_is_not_ready(failure, is_ready) -> None:
    def load_it():
        raise failure

    stopping = threading.Event()
    stopping.set()
    why = Shadowing(load_it, lambda _: pytest.fail("nothing answers")).step(stopping)
    assert (why is None) == is_ready
