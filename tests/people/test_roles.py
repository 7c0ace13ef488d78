import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.people.roles import Grant, GrantRefusal, Person, Role, grant_refusal, person

ADA = Person("ada", frozenset({Role.ADMIN}))
ANN = Person("ann", frozenset({Role.REVIEWER}))


def test_the_first_admin_may_be_named_by_anybody_and_then_only_admins_grant():
    nobody = Person("ada", frozenset())
    assert grant_refusal("ada", Role.ADMIN, nobody, has_admin=False) is None
    assert grant_refusal("ada", Role.REVIEWER, nobody, has_admin=False) is GrantRefusal.NOT_AN_ADMIN
    assert grant_refusal("bob", Role.ADMIN, nobody, has_admin=True) is GrantRefusal.NOT_AN_ADMIN
    assert grant_refusal("bob", Role.REVIEWER, ANN, has_admin=True) is GrantRefusal.NOT_AN_ADMIN
    assert grant_refusal("bob", Role.REVIEWER, ADA, has_admin=True) is None


@pytest.mark.parametrize("role", list(Role))
def test_nobody_changes_their_own_roles(role):
    assert grant_refusal("ada", role, ADA, has_admin=True) is GrantRefusal.OWN_ROLE


@pytest.mark.parametrize("name", ["", "a", "system:expiry", "-x", "two words", "x" * 65, "ann\n", "ánn"])
def test_a_name_is_plain(name):
    assert grant_refusal(name, Role.REVIEWER, ADA, has_admin=True) is GrantRefusal.NAME_MALFORMED


@given(st.lists(st.builds(Grant, st.sampled_from(Role), st.booleans()), max_size=20))
def test_the_latest_word_about_a_role_counts(grants):
    held = person("ann", grants).roles
    for role in Role:
        words = [grant.is_held for grant in grants if grant.role is role]
        assert (role in held) == (bool(words) and words[-1])
