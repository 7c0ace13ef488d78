"""Which model answers a payment while a version is rolled out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.rollout.sharing import SHARE_PPM_ALL, Sharing, bucket_ppm, salt_key

KEY = salt_key("3f" * 32)
IDS = [f"tx-{number}" for number in range(20_000)]


def test_a_share_is_about_as_large_as_it_says() -> None:
    for share_ppm in (10_000, 100_000, 500_000):
        chosen = sum(Sharing(share_ppm, KEY).chooses(each) for each in IDS)
        # Binomial: five standard deviations of 20,000 payments.
        spread = 5 * (len(IDS) * share_ppm / 1e6 * (1 - share_ppm / 1e6)) ** 0.5
        assert abs(chosen - len(IDS) * share_ppm / 1e6) < spread


@given(st.text(max_size=64), st.integers(0, SHARE_PPM_ALL), st.integers(0, SHARE_PPM_ALL))
def test_a_growing_share_keeps_what_it_has(transaction_id: str, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert Sharing(less, KEY).chooses(transaction_id) <= Sharing(more, KEY).chooses(transaction_id)


@given(st.text(max_size=64))
def test_all_is_all_and_none_is_none(transaction_id: str) -> None:
    assert Sharing(SHARE_PPM_ALL, KEY).chooses(transaction_id)
    assert not Sharing(0, KEY).chooses(transaction_id)


def test_the_choice_is_for_ever_the_same() -> None:
    """Another worker, release or year: a decision's model can be told from the archived alias record."""
    assert [bucket_ppm(salt_key("salt"), name) for name in ("tx-1", "tx-2", "")] == [
        559_700,
        360_010,
        725_571,
    ]


def test_ids_that_one_salt_chooses_are_nothing_to_another() -> None:
    chosen = [each for each in IDS if Sharing(100_000, KEY).chooses(each)]
    again = sum(Sharing(100_000, salt_key("3f" * 31 + "40")).chooses(each) for each in chosen)
    assert again < len(chosen) / 5
