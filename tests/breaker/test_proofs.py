"""Releases of the breaker, attacked: what whoever may write the topic can do without an OPERATOR's key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.breaker.proofs_files import NO_FILE, SwitchProof, release_fault, signed_switch
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.io.postgres import Connection
from pipeline.people.act_store import read_registry, registry_acts
from pipeline.people.people_files import PeopleFileRefused, read_people, write_people
from pipeline.people.registry import SEEN_WITHIN_MS
from pipeline.people.store import revoke_key
from tests.known import appoint, identity, revoke

FORCED_OPEN, RELEASED = SwitchPosition


@pytest.fixture
def people(owner: Connection, tmp_path: Path) -> Path:
    appoint(owner, {"on-call": "OPERATOR", "ann": "REVIEWER"})
    return exported(owner, tmp_path)


def exported(owner: Connection, folder: Path) -> Path:
    write_people(folder / "people.jsonl", registry_acts(owner))
    return folder / "people.jsonl"


def released(people: Path, by: str = "on-call", sequence: int = 7, name: str | None = None) -> BreakerSwitch:
    registry = read_people(people)
    at_ms = 1 + max(registry.keys[identity(by).key_id].registered_at_ms, *(w.at_ms for w in registry.words["on-call"]))
    wanted = BreakerSwitch("all", RELEASED, sequence, at_ms, name or by, "it is mended", False)
    return signed_switch(wanted, identity(by), registry.root)


def fault(people: Path | None, switch: BreakerSwitch, late_ms: int = 0) -> str | None:
    """Of a switch that came as late on its topic."""
    return SwitchProof(people).fault(switch, switch.thrown_at_ms + late_ms)


def test_a_release_by_an_operator_is_proved(people: Path) -> None:
    assert fault(people, released(people)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"scope": "model:m1"},
        {"sequence": 8},
        {"reason": "another"},
        {"accepts_shift": True},
        {"thrown_by": "ann"},
        {"thrown_at_ms": 1},
        {"position": FORCED_OPEN},
        {"signature": bytes(64)},
        {"signature": b""},
        {"act": ""},
        {"act": "{}"},
        {"evidence": "x"},
        {"evidence": "[]"},
    ],
)
def test_a_release_that_says_anything_else_is_not(people: Path, changed: dict[str, object]) -> None:
    """A release of before, put onto the topic again under a higher sequence, among them."""
    expected = changed.keys() == {"evidence"}  # of a registered key nobody asks for it
    assert expected == (fault(people, released(people)._replace(**changed)) is None)


def test_a_release_by_somebody_else_is_not(people: Path) -> None:
    assert fault(people, released(people, by="ann")) == "its author did not hold the role"
    assert fault(people, released(people, by="ann", name="on-call")) is not None


def test_a_release_of_another_deployment_is_not(people: Path) -> None:
    switch = released(people)
    other = signed_switch(switch, identity("on-call"), "0" * 64)
    assert fault(people, other) == "it was signed for another registry"


def test_without_the_people_nothing_is_proved(people: Path, tmp_path: Path) -> None:
    switch = released(people)
    assert fault(None, switch) == NO_FILE
    assert fault(tmp_path / "none", switch) is not None


def test_revocation_ends_what_an_operator_may(people: Path, owner: Connection, tmp_path: Path) -> None:
    before = released(people)
    revoke(owner, "on-call", "OPERATOR")
    after = before._replace(thrown_at_ms=read_registry(owner).words["on-call"][-1].at_ms + 1)
    after = signed_switch(after, identity("on-call"), read_registry(owner).root)
    assert fault(people, after) is None, "a worker whose file is old can't know"
    assert fault(exported(owner, tmp_path), after) == "its author did not hold the role"
    assert revoke_key(owner, identity("on-call").key_id, "lost", identity("ada")) is None
    assert release_fault(read_registry(owner), before, before.thrown_at_ms) is None, "what was thrown before stands"


@pytest.mark.parametrize("late_ms", [-SEEN_WITHIN_MS - 1, SEEN_WITHIN_MS + 1])
def test_a_release_that_came_at_another_time_than_it_says_is_not(people: Path, late_ms: int) -> None:
    assert fault(people, released(people), late_ms) == "it says another time than the one at which it came"


def test_a_release_that_is_signed_as_of_before_the_revocation_is_not(people: Path, owner: Connection) -> None:
    before = released(people)
    assert revoke_key(owner, identity("on-call").key_id, "lost", identity("ada")) is None
    registry = read_registry(owner)
    came_ms = registry.revoked[identity("on-call").key_id]
    assert release_fault(registry, before, came_ms) == "its key was revoked before"
    assert release_fault(registry, before, came_ms - 1) is None


@pytest.mark.parametrize("line", ["", "x", "{}", "null", '{"content": "", "signature": "", "evidence": null}'])
def test_a_file_that_holds_no_people_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "people.jsonl").write_text(line)
    with pytest.raises(PeopleFileRefused):
        read_people(tmp_path / "people.jsonl")


def test_a_file_that_was_edited_is_refused(people: Path) -> None:
    lines = people.read_text().splitlines()
    for edited in (lines[1:], [*lines[:2], *lines[3:]], [*lines, lines[-1]], [*lines[:-1], grown(lines[-1])]):
        people.write_text("\n".join(edited))
        with pytest.raises(PeopleFileRefused):
            read_people(people)


def grown(line: str) -> str:
    """The last act with another role in it."""
    act = json.loads(line)
    return json.dumps({**act, "content": act["content"].replace("REVIEWER", "OPERATOR")})
