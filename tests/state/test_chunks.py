"""A share of a batch in chunks, by which the length of a script is bounded."""

from __future__ import annotations

import itertools

import pytest

from pipeline.state.requests import CHUNK_EVENTS, chunks
from pipeline.state.windows import PartitionEvents
from tests.state.stores import payment


@pytest.mark.parametrize("count", [0, 1, CHUNK_EVENTS, CHUNK_EVENTS + 1, 200, 1_000, 4_097])
def test_chunks_are_few_and_even_and_cover_the_share(count: int) -> None:
    events = [payment(3 + 2 * place) for place in range(count)]  # what can't be decided has offsets too
    share = PartitionEvents(1, 2, 2 * count + 9, 0, events)
    made = list(chunks(share))
    sizes = [len(chunk.events) for chunk in made]
    assert [each for chunk in made for each in chunk.events] == events
    assert len(made) == max(-(-count // CHUNK_EVENTS), 1)
    assert max(sizes) <= CHUNK_EVENTS
    assert max(sizes) - min(sizes) < len(made)
    assert (made[0].first, made[-1].last) == (2, 2 * count + 9)
    assert all(before.last == after.first for before, after in itertools.pairwise(made))
    assert all(before.last == after.events[0].offset for before, after in itertools.pairwise(made))
