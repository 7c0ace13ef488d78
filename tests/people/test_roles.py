from pipeline.people.acts import REGISTRY_KINDS, ActKind
from pipeline.people.roles import Person, Role, is_name, is_same
from pipeline.people.verify_command import ROLES


def test_a_name_is_the_same_however_it_is_written():
    assert is_same("ana", "Ana")
    assert is_same("ana", "\uff41\uff2e\uff21")
    assert not is_same("ana", "anna")
    assert is_same("alice", "aIice")
    assert is_same("alice", "al1ce")
    assert is_same("bob", "b0b")
    assert is_same("arnold", "amold")
    assert is_same("walter", "vvalter")
    assert is_same("ana.berg", "ana_berg")
    assert is_same("ana-berg", "anaberg")
    assert is_same("ana", "ana.")
    assert is_same("ar.nold", "amold")
    assert not is_same("ana@one", "ana@two")
    assert is_name("ana.b_c@bank-1")
    assert not is_name("\uff41\uff2e\uff21")


def test_one_role_of_several_is_enough():
    ann = Person("ann", frozenset({Role.REVIEWER}))
    assert ann.holds(Role.SENIOR_REVIEWER, Role.REVIEWER)
    assert not ann.holds(Role.SENIOR_REVIEWER)
    assert not ann.holds()


ELSEWHERE = {ActKind.BREAKER_SWITCHED, ActKind.FEED_FORCED, ActKind.MODEL_APPROVED}
"""Acts that no row stands for: on a topic, beside a feed, in the registry of models."""


def test_every_act_that_a_row_stands_for_can_be_verified():
    """Without its roles, verifying would end at the first such row."""
    assert set(ActKind) - REGISTRY_KINDS - ELSEWHERE == ROLES.keys()
