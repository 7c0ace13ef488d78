"""What the rail has under a key is read by checking: an answer of another shape says nothing."""

from __future__ import annotations

import pytest

from pipeline.execute.rail_client import KnownRecall, KnownTransfer, RailSilent, _known

NONSENSE = [
    ["ACCEPTED", "a", "b", "GBP", True],
    ["RECALLED", "key", True],
    ["ACCEPTED", "a", "b", "GBP", 1.0],
    ["ACCEPTED", "a", "b", "GBP", "1"],
    ["ACCEPTED", "a", "b", "GBP"],
    ["PAID", "a", "b", "GBP", 1],
    ["ACCEPTED", "key", 1],
    ["REFUSED", "a", None, "GBP", 1],
    {"status": "ACCEPTED"},
    "ACCEPTED",
    True,
    [],
]


@pytest.mark.parametrize("said", NONSENSE, ids=map(str, NONSENSE))
def test_an_answer_of_another_shape_is_none(said: object) -> None:
    with pytest.raises(RailSilent):
        _known("key", said)


def test_what_the_rail_has_is_read() -> None:
    assert _known("key", None) is None
    assert KnownTransfer("ACCEPTED", "a", "b", "GBP", 1) == _known("key", ["ACCEPTED", "a", "b", "GBP", 1])
    assert KnownRecall("RECALLED", "other", 1) == _known("key", ["RECALLED", "other", 1])
