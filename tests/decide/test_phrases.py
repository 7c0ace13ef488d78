"""What is rounded before it is put into words is told in the same words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.phrases import PHRASES

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
