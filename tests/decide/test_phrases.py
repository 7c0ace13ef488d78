"""What is rounded before it is put into words is told in the same words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.phrases import PHRASES, compared, fact_of, with_typical
from pipeline.domain.features import FEATURES, NONE, UNKNOWN

ROUNDED = [name for name, phrase in PHRASES.items() if phrase.rounded is not None]
DAY_MS = 86_400_000


def test_some_are_rounded():
    assert "account_ms_since_last" in ROUNDED


@pytest.mark.parametrize("name", ROUNDED)
@given(value=st.one_of(st.integers(0, 200_000), st.integers(0, 3 * DAY_MS), st.integers(0, 10**12)))
def test_a_value_and_the_value_it_is_rounded_to_are_told_in_the_same_words(name, value):
    phrase = PHRASES[name]
    rounded = phrase.rounded(value)
    assert 0 <= rounded <= value
    assert phrase.fact(rounded) == phrase.fact(value)
    assert phrase.rounded(rounded) == rounded


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_tells_none_unknown_and_a_value_apart(name):
    none, unknown, known = (fact_of(name, value) for value in (NONE, UNKNOWN, 1))
    assert len({none, unknown, known}) == 3
    assert unknown.endswith(" is not known"), "so that what can't be had is never taken for what isn't there"
    assert not any(text.endswith(".") or text[0].isupper() for text in (none, unknown, known))


@pytest.mark.parametrize("name", [name for name in FEATURES if name.startswith(("account_count", "account_sum"))])
def test_what_counts_attempts_says_so(name):
    assert " attempted " in fact_of(name, 3)
    assert " attempted " in fact_of(name, UNKNOWN)


def test_nothing_is_said_to_be_over_a_limit_that_is_not_known():
    fact = fact_of("account_volume_minor_24h", UNKNOWN)
    assert compared("account_volume_minor_24h", fact, UNKNOWN, 20_000_000) == fact
    assert with_typical("account_volume_minor_24h", fact, UNKNOWN, 5) == fact
