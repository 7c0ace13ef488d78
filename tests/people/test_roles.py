from pipeline.people.roles import Person, Role, is_name, is_same


def test_a_name_is_the_same_however_it_is_written():
    assert is_same("ana", "Ana")
    assert is_same("ana", "\uff41\uff2e\uff21")
    assert not is_same("ana", "anna")
    assert is_same("alice", "aIice")
    assert is_same("alice", "al1ce")
    assert is_same("bob", "b0b")
    assert is_same("arnold", "amold")
    assert is_name("ana.b_c@bank-1")
    assert not is_name("\uff41\uff2e\uff21")


def test_one_role_of_several_is_enough():
    ann = Person("ann", frozenset({Role.REVIEWER}))
    assert ann.holds(Role.SENIOR_REVIEWER, Role.REVIEWER)
    assert not ann.holds(Role.SENIOR_REVIEWER)
    assert not ann.holds()
