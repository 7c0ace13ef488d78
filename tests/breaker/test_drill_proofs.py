"""Consents to live drills, attacked: what whoever may write the topic can pass off as a drill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.breaker.proofs_files import SwitchProof, drill_fault, signed_switch
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.drills.consents import Consent, LiveDrill, confirmation, consent_of, consent_text, proposal
from pipeline.io.postgres import Connection
from pipeline.keys.key_sets import KeySet
from pipeline.people.act_store import read_registry, registry_acts
from pipeline.people.people_files import write_people
from pipeline.people.registry import Expected, Registry
from pipeline.people.store import revoke_key
from tests.known import appoint, identity, revoke

MINUTE_MS = 60_000
LIVE = LiveDrill("0a1b2c3d", "slow-model", "all", 60, 0, 0, "pager", "the quarterly drill of the fourth quarter")


@pytest.fixture
def registry(owner: Connection) -> Registry:
    appoint(owner, {"ann": "OPERATOR", "bob": "OPERATOR", "rev": "REVIEWER"})
    return read_registry(owner)


def consented(registry: Registry, first: str = "ann", second: str = "bob", **changed: object) -> Consent:
    live = LIVE._replace(from_ms=registry.latest_ms + 1, until_ms=registry.latest_ms + 60 * MINUTE_MS)
    live = live._replace(**changed)
    at_ms = registry.latest_ms + 1

    def signed(expected: Expected):  # type: ignore[no-untyped-def]
        return identity(expected.name).sign(expected.kind, expected.subject, at_ms, registry.root)

    return Consent(live, first, signed(proposal(live, first)), second, signed(confirmation(live, second)))


def begun(registry: Registry, consent: Consent, by: str = "ann", **changed: object) -> BreakerSwitch:
    live, at_ms = consent.live, registry.latest_ms + 2
    wanted = BreakerSwitch(
        live.scope,
        SwitchPosition.FORCED_OPEN,
        7,
        at_ms,
        by,
        live.reason,
        False,
        drill=live.drill_id,
        ends_at_ms=at_ms + live.open_s * 1000,
        consent=consent_text(consent),
    )
    return signed_switch(wanted._replace(**changed), identity(by), registry.root)


def fault(registry: Registry, switch: BreakerSwitch, late_ms: int = 0) -> str | None:
    return drill_fault(registry, switch, switch.thrown_at_ms + late_ms)


def test_a_drill_that_two_people_consented_to_is_proved(registry: Registry, owner: Connection, tmp_path: Path) -> None:
    switch = begun(registry, consented(registry))
    assert fault(registry, switch) is None
    write_people(tmp_path / "people.jsonl", registry_acts(owner))
    assert SwitchProof(tmp_path / "people.jsonl", lambda: KeySet({})).fault(switch, switch.thrown_at_ms) is None
    assert SwitchProof(None, lambda: KeySet({})).fault(switch, switch.thrown_at_ms) is not None


def test_a_consent_is_read_as_it_was_written(registry: Registry) -> None:
    consent = consented(registry)
    assert consent_of(consent_text(consent)) == consent
    for text in ("", "null", "[]", "{}", "x" * 100_000, '{"live": {}}', consent_text(consent)[:-1]):
        assert consent_of(text) is None
    typed = json.loads(consent_text(consent))
    typed["live"]["open_s"] = True
    assert consent_of(json.dumps(typed)) is None


@pytest.mark.parametrize("second", ["ann", "Ann", "aNN"])
def test_one_person_under_two_names_is_one(registry: Registry, second: str) -> None:
    consent = consented(registry)
    both = consent._replace(confirmed_by=second, confirmed=consented(registry, "ann", "ann").confirmed)
    assert fault(registry, begun(registry, both)) == "one person has consented twice"


def test_one_signature_stands_for_one_person(registry: Registry) -> None:
    consent = consented(registry)
    mine = identity("ann").sign(
        confirmation(consent.live, "bob").kind,
        confirmation(consent.live, "bob").subject,
        registry.latest_ms + 1,
        registry.root,
    )
    assert fault(registry, begun(registry, consent._replace(confirmed=mine))) is not None
    assert fault(registry, begun(registry, consent._replace(confirmed=consent.proposed))) is not None


def test_who_is_no_operator_consents_to_nothing(registry: Registry) -> None:
    assert "did not hold the role" in str(fault(registry, begun(registry, consented(registry, second="rev"))))


def test_somebody_else_begins_nothing(registry: Registry, owner: Connection) -> None:
    appoint(owner, {"cay": "OPERATOR"})
    registry = read_registry(owner)
    assert "none of the two" in str(fault(registry, begun(registry, consented(registry), by="cay")))


@pytest.mark.parametrize(
    "changed",
    [
        {"drill_id": "ffffffff"},
        {"drill": "failing-model"},
        {"open_s": 900},
        {"pages": "nobody"},
        {"reason": "quite another reason"},
    ],
)
def test_what_was_not_consented_to_is_not_proved(registry: Registry, changed: dict[str, object]) -> None:
    consent = consented(registry)
    other = consent._replace(live=consent.live._replace(**changed))
    assert "says otherwise" in str(fault(registry, begun(registry, other)))


@pytest.mark.parametrize(
    "changed",
    [
        {"drill": "ffffffff"},
        {"scope": "model:m1"},
        {"reason": "quite another reason"},
        {"ends_at_ms": 2**62},
    ],
)
def test_a_record_says_what_was_consented_to(registry: Registry, changed: dict[str, object]) -> None:
    assert fault(registry, begun(registry, consented(registry), **changed)) is not None


def test_a_record_without_a_consent_is_not_proved(registry: Registry) -> None:
    for text in ("", "{}", "null"):
        assert (
            fault(registry, begun(registry, consented(registry))._replace(consent=text)) == "its consent can't be read"
        )


def test_a_drill_under_another_sequence_is_not_proved(registry: Registry) -> None:
    switch = begun(registry, consented(registry))
    assert fault(registry, switch._replace(sequence=8)) == "what was signed says otherwise"


def test_a_consent_counts_in_its_time_only(registry: Registry) -> None:
    early = consented(registry, from_ms=registry.latest_ms + 30 * MINUTE_MS)
    assert fault(registry, begun(registry, early)) == "its time has not come"
    late = consented(registry, from_ms=registry.latest_ms - 9, until_ms=registry.latest_ms)
    assert fault(registry, begun(registry, late)) == "its time is over"
    switch = begun(registry, consented(registry))
    assert fault(registry, switch, late_ms=50 * MINUTE_MS) == "it says another time than the one at which it came"
    assert fault(registry, switch, late_ms=70 * MINUTE_MS) == "its time is over"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"drill": "redis-lost"}, "takes a server away"),
        ({"drill": "nothing"}, "there is no drill"),
        ({"scope": "model:m1"}, "trips all"),
        ({"drill": "one-postcode"}, "begins with segment:"),
        ({"open_s": 29}, "30 to 900 seconds"),
        ({"open_s": 901}, "30 to 900 seconds"),
        ({"drill_id": "unproved"}, "its id is none"),
        ({"until_ms": 2**50}, "24 hours"),
        ({"pages": ""}, "nobody is named"),
        ({"reason": " " * 20}, "a reason has"),
    ],
)
def test_what_nobody_can_consent_to_is_refused_though_two_people_signed_it(
    registry: Registry, changed: dict[str, object], why: str
) -> None:
    assert why in str(fault(registry, begun(registry, consented(registry, **changed))))


def test_who_has_left_since_consents_to_nothing(registry: Registry, owner: Connection) -> None:
    switch = begun(registry, consented(registry))
    revoke(owner, "bob", "OPERATOR")
    left = read_registry(owner)
    later = begun(left, consented(registry), by="ann")
    assert fault(left, later) == "bob: no OPERATOR any more"
    assert fault(left, switch) is None, "what was begun before stands"


def test_who_has_lost_their_key_since_consents_to_nothing(registry: Registry, owner: Connection) -> None:
    assert revoke_key(owner, identity("bob").key_id, "lost", identity("ada")) is None
    left = read_registry(owner)
    assert fault(left, begun(left, consented(registry), by="ann")) == "bob: the key has been revoked since"
