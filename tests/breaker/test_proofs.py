"""Releases of the breaker, attacked: what whoever may write the topic can do without an OPERATOR's key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.breaker.proofs_files import CLOCKS_APART_MS, NO_FILE, SwitchProof, release_fault, signed_switch
from pipeline.breaker.switches import Fault
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.io.clock import now_ms
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection
from pipeline.keys.key_files import SigningKey, is_signed
from pipeline.keys.key_sets import KeySet, KeyUse, with_key, with_revocation
from pipeline.people.act_store import read_registry, registry_acts
from pipeline.people.people_files import PeopleFileRefused, read_people, write_people
from pipeline.people.registry import SEEN_WITHIN_MS
from pipeline.people.roles import folded
from pipeline.people.stamp_service import PeopleStamper
from pipeline.people.store import revoke_key
from tests.known import appoint, identity, revoke
from tests.stamped import write_stamped

FORCED_OPEN, RELEASED = SwitchPosition


KEY = SigningKey(Ed25519PrivateKey.generate())
KEYS = with_key(KeySet({}), KeyUse.REVIEWS, KEY.public, 0)


@pytest.fixture
def people(owner: Connection, tmp_path: Path) -> Path:
    appoint(owner, {"on-call": "OPERATOR", "ann": "REVIEWER"})
    return exported(owner, tmp_path)


def exported(owner: Connection, folder: Path, as_of_ms: int | None = None, key: SigningKey = KEY) -> Path:
    write_stamped(owner, folder / "people.jsonl", key, as_of_ms)
    return folder / "people.jsonl"


def released(people: Path, by: str = "on-call", sequence: int = 7, name: str | None = None) -> BreakerSwitch:
    registry = read_people(people).registry
    at_ms = 1 + max(
        registry.keys[identity(by).key_id].registered_at_ms, *(w.at_ms for w in registry.words[folded("on-call")])
    )
    wanted = BreakerSwitch("all", RELEASED, sequence, at_ms, name or by, "it is mended", False)
    return signed_switch(wanted, identity(by), registry.root)


def found_fault(people: Path | None, switch: BreakerSwitch, late_ms: int = 0, keys: KeySet = KEYS) -> Fault | None:
    """Return why a switch counts as nothing whose record came that much later than it says."""
    return SwitchProof(people, lambda: keys).fault(switch, switch.thrown_at_ms + late_ms)


def fault(people: Path | None, switch: BreakerSwitch, late_ms: int = 0) -> str | None:
    found = found_fault(people, switch, late_ms)
    assert found is None or not found.is_awaited
    return None if found is None else found.why


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
    after = before._replace(thrown_at_ms=read_registry(owner).words[folded("on-call")][-1].at_ms + 1)
    after = signed_switch(after, identity("on-call"), read_registry(owner).root)
    assert fault(exported(owner, tmp_path), after) == "its author did not hold the role"
    assert revoke_key(owner, identity("on-call").key_id, "lost", identity("ada")) is None
    assert release_fault(read_registry(owner), before, before.thrown_at_ms) is None, "what was thrown before stands"


def test_no_copy_from_before_a_revocation_proves_a_release(owner: Connection, people: Path, tmp_path: Path) -> None:
    """Whoever keeps an old file away from the new one, or puts one in its place, is not proved by it."""
    copy = exported(owner, tmp_path, as_of_ms=now_ms()).read_bytes()
    revoke(owner, "on-call", "OPERATOR")
    after = signed_switch(released(people)._replace(thrown_at_ms=now_ms() + 1), identity("on-call"), read_root(people))
    people.write_bytes(copy)
    waits = found_fault(people, after)
    assert waits is not None
    assert waits.is_awaited, "it is known once the file is of after it"
    refused = found_fault(exported(owner, tmp_path), after)
    assert refused == Fault("its author did not hold the role")


def test_release_by_somebody_new_waits_for_the_file_that_knows_them(owner: Connection, tmp_path: Path) -> None:
    appoint(owner, {"on-call": "OPERATOR"})
    old = exported(owner, tmp_path, as_of_ms=now_ms() - 60_000)
    switch = released(exported(owner, tmp_path))
    exported(owner, tmp_path, as_of_ms=switch.thrown_at_ms + CLOCKS_APART_MS - 1)
    waits = found_fault(old, switch)
    assert waits is not None
    assert waits.is_awaited
    assert found_fault(exported(owner, tmp_path), switch) is None


def unstamped(owner: Connection, path: Path) -> KeySet:
    write_people(path, registry_acts(owner))
    return KEYS


def of_another_key(owner: Connection, path: Path) -> KeySet:
    write_stamped(owner, path, SigningKey(Ed25519PrivateKey.generate()))
    return KEYS


def of_a_key_for_others(owner: Connection, path: Path) -> KeySet:
    write_stamped(owner, path, KEY)
    return with_key(KeySet({}), KeyUse.DECISIONS, KEY.public, 0)


def of_a_revoked_key(owner: Connection, path: Path) -> KeySet:
    write_stamped(owner, path, KEY)
    return with_revocation(KEYS, KEY.key_id, 1, "lost")


def of_a_time_to_come(owner: Connection, path: Path) -> KeySet:
    write_stamped(owner, path, KEY, now_ms() + 86_400_000)
    return KEYS


def of_a_later_time_than_was_signed(owner: Connection, path: Path) -> KeySet:
    write_stamped(owner, path, KEY, now_ms() - 1)
    lines = path.read_text().splitlines()
    stamp = json.loads(lines[-1])
    path.write_text("\n".join([*lines[:-1], json.dumps({**stamp, "as_of_ms": now_ms() + CLOCKS_APART_MS})]))
    return KEYS


def over_fewer_acts_than_were_signed(owner: Connection, path: Path) -> KeySet:
    """The last act is taken out from before the stamp."""
    appoint(owner, {"zoe": "REVIEWER"})
    write_stamped(owner, path, KEY)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-2], lines[-1]]))
    return KEYS


@pytest.mark.parametrize(
    "written",
    [
        unstamped,
        of_another_key,
        of_a_key_for_others,
        of_a_revoked_key,
        of_a_time_to_come,
        of_a_later_time_than_was_signed,
        over_fewer_acts_than_were_signed,
    ],
)
def test_file_whose_age_nobody_proves_releases_nothing(
    owner: Connection, people: Path, written: Callable[[Connection, Path], KeySet]
) -> None:
    switch = released(people)
    assert found_fault(people, switch) is None
    keys = written(owner, people)
    waits = found_fault(people, switch, keys=keys)
    assert waits is not None
    assert waits.is_awaited


def test_the_review_service_keeps_the_file_as_new_as_the_database(owner: Connection, tmp_path: Path) -> None:
    appoint(owner, {"on-call": "OPERATOR"})
    stamper = PeopleStamper(tmp_path / "kept", KEY.key_id, KEY.sign)
    before_ms = server_now_ms(owner)
    stamper.step(owner)
    kept = read_people(tmp_path / "kept")
    assert kept.stamp is not None
    assert kept.stamp.as_of_ms >= before_ms
    assert kept.is_stamped_by(KEY.public, is_signed)
    assert kept.registry == read_registry(owner)
    revoke(owner, "on-call", "OPERATOR")
    stamper.step(owner)
    assert read_people(tmp_path / "kept") == kept, "it is written every STAMP_INTERVAL_S"
    PeopleStamper(tmp_path / "kept", KEY.key_id, KEY.sign).step(owner)
    assert not read_people(tmp_path / "kept").registry.person("on-call").roles


def read_root(people: Path) -> str:
    return read_people(people).registry.root


@pytest.mark.parametrize("late_ms", [-SEEN_WITHIN_MS - 1, SEEN_WITHIN_MS + 1])
def test_a_release_that_came_at_another_time_than_it_says_is_not(people: Path, late_ms: int) -> None:
    switch, registry = released(people), read_people(people).registry
    found = release_fault(registry, switch, switch.thrown_at_ms + late_ms)
    assert found == "it says another time than the one at which it came"


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
    acts, stamp = lines[:-1], lines[-1]
    for edited in (
        acts[1:],
        [*acts[:2], *acts[3:]],
        [*acts, acts[-1]],
        [*acts[:-1], grown(acts[-1])],
        [*lines, stamp],
        [*acts[:-1], stamp, acts[-1]],
    ):
        people.write_text("\n".join(edited))
        with pytest.raises(PeopleFileRefused):
            read_people(people)


def grown(line: str) -> str:
    """The last act with another role in it."""
    act = json.loads(line)
    return json.dumps({**act, "content": act["content"].replace("REVIEWER", "OPERATOR")})
