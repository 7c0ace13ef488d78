"""What a committed batch adds to the worker's metrics."""

from __future__ import annotations

from collections import Counter

from prometheus_client import REGISTRY

from pipeline.decide import metrics
from pipeline.decide.batch import Judged
from pipeline.decide.feeds.feed import NO_FEEDS, FeedKind
from pipeline.decide.verdict import regime
from pipeline.domain.decision import Outcome
from pipeline.domain.log import Record, Source
from tests.records import NOON_MS, feeds, policy

POLICY = policy()
IN_FORCE = regime(POLICY, None, feeds())


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def records(*ages_ms: int) -> list[Record]:
    return [Record(b"account", b"", Source(0, offset, NOON_MS - age_ms)) for offset, age_ms in enumerate(ages_ms)]


def counted(judged: Judged, *ages_ms: int) -> None:
    metrics.count_batch(judged, records(*ages_ms), NOON_MS, IN_FORCE.currencies)


def test_every_record_s_age_counts_and_not_a_sample_a_batch() -> None:
    before = value("fraud_decision_age_seconds_bucket", le="0.2"), value("fraud_decision_age_seconds_count")
    counted(Judged(), 5, 150, 200, 201, 9_000, -30)
    after = value("fraud_decision_age_seconds_bucket", le="0.2"), value("fraud_decision_age_seconds_count")
    assert (4, 6) == tuple(now - then for now, then in zip(after, before, strict=True))  # type: ignore[operator]


def test_amounts_are_summed_by_outcome_and_currency() -> None:
    metrics.begin_currencies(IN_FORCE)
    names = {"outcome": "BLOCK", "currency": "EUR"}
    before = value("fraud_decided_payments_total", **names), value("fraud_decided_amount_minor_total", **names)
    worth = (Outcome.BLOCK, "EUR")
    counted(Judged(currencies=Counter({worth: 2}), amounts_minor=Counter({worth: 1234})))
    after = value("fraud_decided_payments_total", **names), value("fraud_decided_amount_minor_total", **names)
    assert (2, 1234) == tuple(now - then for now, then in zip(after, before, strict=True))  # type: ignore[operator]


def test_a_currency_that_a_publisher_makes_up_makes_no_series() -> None:
    before = value("fraud_decided_payments_total", outcome="BLOCK", currency="other") or 0
    made_up = Counter({(Outcome.BLOCK, f"Q{chr(65 + number)}Q"): 1 for number in range(26)})
    counted(Judged(currencies=made_up, amounts_minor=made_up))
    assert before + 26 == value("fraud_decided_payments_total", outcome="BLOCK", currency="other")
    assert value("fraud_decided_payments_total", outcome="BLOCK", currency="QAQ") is None
    assert value("fraud_decided_amount_minor_total", outcome="BLOCK", currency="other") is None


def test_series_are_there_before_anything_is_counted() -> None:
    assert value("fraud_decisions_total", outcome="ALLOW", route="GUARDRAIL") is not None
    assert value("fraud_dead_letters_total", code="LABEL_UNMATCHED") is not None


def test_without_a_figure_reviewers_are_taken_to_handle_nothing() -> None:
    metrics.tell_review_capacity(POLICY)
    assert value("fraud_review_capacity_cases_per_second") == 240 / 3600
    metrics.tell_review_capacity(POLICY.model_copy(update={"reviewing": None}))
    assert value("fraud_review_capacity_cases_per_second") == 0


def test_the_moment_and_the_limit_of_each_feed_are_told() -> None:
    metrics.tell_feeds(IN_FORCE)
    for kind in FeedKind:
        feed = feeds().of(kind)
        assert feed is not None
        assert value("fraud_feed_as_of_timestamp_seconds", kind=kind) == feed.as_of_ms / 1000
        assert value("fraud_feed_too_old_seconds", kind=kind) == 168 * 3600
    metrics.tell_feeds(regime(POLICY, None, NO_FEEDS))
    assert {value("fraud_feed_as_of_timestamp_seconds", kind=kind) for kind in FeedKind} == {0}, "of 1970: too old"
