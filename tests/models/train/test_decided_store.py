"""The numbered invariants of models.train.decided_store: the audit log's snapshots are the examples."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from models.train.decided_store import fates_by, history_of, history_of_decisions
from models.train.history import HistoryRefused
from models.train.settled import DAY_MS
from models.train.topics import labels_of
from pipeline.domain.context import Label
from pipeline.domain.decision import Decision, Outcome, Route, StoredDecision
from pipeline.domain.features import COLUMN, FEATURES, UNKNOWN
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import connect
from tests.archive import stored
from tests.audit.conftest import bench
from tests.audit.logs import Bench, records, values
from tests.decisions import decision_of, review_of
from tests.servers import url_as

__all__ = ["bench"]

WIRE = WireFormat()
DELAY_MS = 7 * DAY_MS
SEEN = ("amount_gbp_minor", "ip_fraud_reports")
COUNT = 24
ALL = [decision_of(value) for value in values(COUNT)]
RELEASE = stored(values(1)[0]).release


def labels(frauds: Mapping[str, bool], after_days: int = 30):
    at_ms = ALL[0].snapshot.transaction.event_time_ms + after_days * DAY_MS
    known = [(Label(name, "", "", 0, fraud, at_ms, "test"), at_ms) for name, fraud in frauds.items()]
    return labels_of(known)


def as_stored(decisions: list[Decision], release: int = RELEASE) -> list[StoredDecision]:
    return [StoredDecision(decision, b"", b"", release, b"") for decision in decisions]


def allowed(number: int, **fields: object) -> Decision:
    decision = ALL[number]._replace(outcome=Outcome.ALLOW, route=Route.MODEL, transaction_id=f"tx-{number}")
    return decision._replace(**fields)  # type: ignore[arg-type]


def test_the_audit_log_is_read_with_what_people_made_of_it(bench: Bench) -> None:
    bench.open()
    bench.store(records(COUNT))
    counted: list[int] = []
    with connect(url_as(bench.owner_url, "fraud_reader"), "test") as connection:
        found = history_of_decisions(
            connection, WIRE, SEEN, labels({ALL[1].transaction_id: True}), DELAY_MS, counted.append
        )
    learnable = [each for each in ALL if each.route is not Route.GUARDRAIL]
    expected = {each.transaction_id for each in learnable if each.outcome is Outcome.ALLOW}
    assert found.labels["payments"] == len(learnable)
    assert len(found.known_at_ms) >= len(expected)
    assert found.labels["left_out_as_guardrail"] == COUNT - len(learnable)


def test_1_features_are_the_snapshots_own() -> None:
    decisions = [allowed(number) for number in range(6)]
    found = history_of(as_stored(decisions), fates_by([]), SEEN, labels({"tx-0": True}), DELAY_MS)
    in_order = sorted(decisions, key=lambda each: (each.source_partition, each.source_offset))
    assert found.examples.features.tolist() == [list(each.snapshot.features) for each in in_order]
    assert found.examples.fraud.tolist() == [each.transaction_id == "tx-0" for each in in_order]


def test_2_guardrails_unknown_values_and_earlier_feature_lists_teach_nothing() -> None:
    features = [*ALL[0].snapshot.features]
    features[COLUMN["ip_fraud_reports"]] = UNKNOWN
    lost = allowed(1, snapshot=ALL[0].snapshot._replace(features=tuple(features)))
    guarded = allowed(2, route=Route.GUARDRAIL, outcome=Outcome.BLOCK)
    earlier = as_stored([allowed(3)], release=1)
    found = history_of(
        [*as_stored([allowed(0), lost, guarded]), *earlier], fates_by([]), FEATURES, labels({"tx-0": True}), DELAY_MS
    )
    assert len(found.known_at_ms) == 1
    assert found.labels["left_out_as_unknown"] == 1
    assert found.labels["left_out_as_guardrail"] == 1
    assert found.labels["left_out_as_of_an_earlier_feature_list"] == 1


def test_what_a_late_start_leaves_unknown_keeps_out_only_those_who_read_it() -> None:
    late = [*ALL[0].snapshot.features]
    late[COLUMN["account_sum_minor_ever"]] = UNKNOWN
    decisions = as_stored([allowed(1, snapshot=ALL[0].snapshot._replace(features=tuple(late)))])
    reads = ("amount_gbp_minor",)
    found = history_of(decisions, fates_by([]), reads, labels({"tx-1": False}), DELAY_MS)
    assert (len(found.known_at_ms), found.labels["left_out_as_unknown"]) == (1, 0)
    with pytest.raises(HistoryRefused, match="of 1 something was not known"):
        history_of(decisions, fates_by([]), (*reads, "account_sum_minor_ever"), labels({"tx-1": False}), DELAY_MS)


def test_3_of_decisions_about_one_payment_the_first_teaches() -> None:
    again = allowed(0, fraud_probability_ppm=5)
    found = history_of(as_stored([allowed(0), again]), fates_by([]), SEEN, labels({"tx-0": False}), DELAY_MS)
    assert len(found.known_at_ms) == 1
    assert found.labels["left_out_as_decided_again"] == 1


def test_what_was_blocked_teaches_only_what_a_label_says() -> None:
    blocked = [allowed(number, outcome=Outcome.BLOCK) for number in (1, 2)]
    found = history_of(as_stored([allowed(0), *blocked]), fates_by([]), SEEN, labels({"tx-1": False}), DELAY_MS)
    assert found.examples.fraud.tolist() == [False, False]
    assert found.labels["left_out_as_stopped_and_unlabelled"] == 1


def test_what_a_person_released_was_let_through() -> None:
    escalated = allowed(1, outcome=Outcome.ESCALATE)
    released = review_of(escalated)._replace(outcome=Outcome.ALLOW)
    found = history_of(as_stored([allowed(0), escalated]), fates_by([released]), SEEN, labels({"tx-0": True}), DELAY_MS)
    assert found.examples.fraud.tolist() == [True, False]


def test_a_log_that_teaches_nothing_says_why() -> None:
    guarded = allowed(0, route=Route.GUARDRAIL)
    with pytest.raises(HistoryRefused, match="1 were a guardrail's"):
        history_of(as_stored([guarded]), fates_by([]), SEEN, labels({"tx-0": True}), DELAY_MS)


def test_3_payments_of_two_systems_under_one_id_teach_nothing() -> None:
    """A label names an id, and would make a fraud of the other system's payment, or clear it."""
    payment = ALL[1].snapshot.transaction._replace(source_system="cards")
    other = allowed(1, transaction_id="tx-0", snapshot=ALL[1].snapshot._replace(transaction=payment))
    decisions = [allowed(0), other, allowed(2), allowed(3)]
    found = history_of(as_stored(decisions), fates_by([]), SEEN, labels({"tx-0": True}), DELAY_MS)
    assert len(found.known_at_ms) == 2
    assert not found.examples.fraud.any()
    assert (found.labels["left_out_as_sharing_an_id"], found.labels["left_out_as_decided_again"]) == (2, 0)
