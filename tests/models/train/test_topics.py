"""The numbered invariants of models.train.topics: the history on the topics is what the pipeline saw, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.artefact.files import load
from models.train.history import Examples, HistoryRefused
from models.train.settled import DAY_MS, UNLABELLED
from models.train.topics import (
    Fate,
    decided_of,
    fates_of,
    history_of_topics,
    known_until_ms,
    labels_of,
    payments_of,
    refuse_late,
    shared_ids,
    statements_of,
    truth_of,
)
from models.train.train import history_of_file
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.decision import Outcome
from pipeline.domain.features import COLUMN, FEATURES, NONE
from pipeline.domain.log import Record, Source
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.publish.payment_files import NO_MAP
from tests.commands import Fraud
from tests.decisions import DECISION, reversal_of, review_of
from tests.models.train.histories import PLAN, written
from tests.records import NOON_MS, PAYMENT

WIRE = WireFormat()
DELAY_MS = 7 * DAY_MS


def paid(offset: int, payment: Transaction, at_ms: int = NOON_MS) -> Record:
    return Record(payment.account_id.encode(), WIRE.encode_transaction(payment), Source(0, offset, at_ms))


def label(fraud: bool, at_ms: int, transaction_id: str = "tx-1") -> Label:
    return Label(transaction_id, "GB29-1", "payee", NOON_MS, fraud, at_ms, "analyst")


def test_1_a_copy_and_a_conflict_are_left_out_and_counted() -> None:
    other = PAYMENT._replace(amount_minor=PAYMENT.amount_minor + 1)
    found, left_out = payments_of([paid(0, PAYMENT), paid(1, PAYMENT), paid(2, other)], WIRE)
    assert [each.transaction for each in found] == [PAYMENT]
    assert left_out == {"left_out_as_refused": 0, "left_out_as_copies": 1, "left_out_as_conflicts": 1}


def test_3_what_can_not_be_decided_is_left_out_and_counted() -> None:
    garbage = Record(b"a", b"\xc3\x01 is no payment", Source(0, 0, NOON_MS))
    from_the_future = PAYMENT._replace(transaction_id="tx-late", event_time_ms=NOON_MS + DAY_MS)
    found, left_out = payments_of([garbage, paid(1, from_the_future), paid(2, PAYMENT)], WIRE)
    assert [each.transaction for each in found] == [PAYMENT]
    assert left_out["left_out_as_refused"] == 2


def test_2_a_statement_counts_from_the_later_of_its_own_time_and_its_records() -> None:
    value = WIRE.encode(label(True, NOON_MS))
    [found] = statements_of([Record(b"payee", value, Source(0, 0, NOON_MS + DAY_MS))], "labels.v1", WIRE.decode_label)
    assert found.at_ms(at_own_times=False) == NOON_MS + DAY_MS
    assert found.at_ms(at_own_times=True) == NOON_MS


def test_what_the_pipeline_would_refuse_is_no_statement() -> None:
    value = WIRE.encode(label(True, NOON_MS))
    under_another_key = Record(b"another payee", value, Source(0, 0, NOON_MS + DAY_MS))
    from_the_future = Record(b"payee", value, Source(0, 1, NOON_MS - DAY_MS))
    assert not list(statements_of([under_another_key, from_the_future], "labels.v1", WIRE.decode_label))


def test_a_withdrawal_says_that_nothing_is_known() -> None:
    records = [Record(b"GB29-1", None, Source(0, 0, NOON_MS))]
    [account] = statements_of(records, "accounts.v1", WIRE.decode_account)
    assert account.event == Account("GB29-1", NOON_MS, None)
    records = [Record(b"DEVICE:phone", None, Source(0, 0, NOON_MS))]
    [signal] = statements_of(records, "risk_signals.v1", WIRE.decode_risk_signal)
    assert signal.event == RiskSignal(RiskSignalKind.DEVICE, "phone", 0, NOON_MS)


def test_of_labels_the_one_with_the_latest_own_time_holds_whenever_it_came() -> None:
    cleared, confirmed = label(False, 2), label(True, 1)
    for order in ([(cleared, 5), (confirmed, 9)], [(confirmed, 9), (cleared, 5)]):
        assert labels_of(order).by_payment == {"tx-1": cleared}
        assert labels_of(order).known_at_ms == {"tx-1": 5}


def test_what_is_said_again_was_known_when_it_was_first_said() -> None:
    for order in ([(label(True, 1), 2), (label(True, 8), 9)], [(label(True, 8), 9), (label(True, 1), 2)]):
        assert labels_of(order).known_at_ms == {"tx-1": 2}
    turned_back = [(label(True, 1), 2), (label(False, 4), 5), (label(True, 8), 9)]
    assert labels_of(turned_back).known_at_ms == {"tx-1": 9}


def test_4_a_log_that_lacks_its_beginning_teaches_no_feature_that_looks_back() -> None:
    looking_back = ("amount_gbp_minor", "amount_percent_of_earlier_average_ever")
    refuse_late([0, 0], looking_back)
    refuse_late([0, 7], ("amount_gbp_minor", "ip_fraud_reports"))
    with pytest.raises(HistoryRefused, match="no longer holds its first payments, so amount_percent_of_earlier"):
        refuse_late([0, 7], looking_back)


def test_3_a_payment_without_a_decision_teaches_nothing_where_there_are_decisions() -> None:
    """It may have been stopped by a decision that the topic no longer has, and would pass for honest."""
    times_ms, nobody = np.arange(3, dtype=np.int64), np.zeros(3, dtype=np.bool_)
    examples = Examples(np.zeros((3, len(FEATURES)), dtype=np.int64), nobody, times_ms)
    kept, ids = decided_of(examples, ["tx-0", "tx-1", "tx-2"], {"tx-1": Fate(False, NONE)})
    assert (ids, kept.event_time_ms.tolist()) == (["tx-1"], [1])
    with pytest.raises(HistoryRefused, match="on none of its payments"):
        decided_of(examples, ["tx-0", "tx-1", "tx-2"], {"another": Fate(False, NONE)})


def test_3_an_id_that_two_systems_gave_is_found() -> None:
    assert shared_ids([("a", None), ("b", "cards"), ("a", "cards"), ("b", "cards"), ("c", None)]) == {"a"}


def test_what_people_made_of_a_decision_decides_whether_a_payment_was_stopped() -> None:
    stopped = DECISION._replace(outcome=Outcome.ESCALATE)
    assert fates_of([stopped]) == {stopped.transaction_id: Fate(True, stopped.fraud_probability_ppm)}
    released = review_of(stopped)._replace(outcome=Outcome.ALLOW)
    assert not fates_of([released, stopped])[stopped.transaction_id].stopped
    blocked = DECISION._replace(outcome=Outcome.BLOCK)
    taken_back = reversal_of(blocked)._replace(corrected_outcome=Outcome.ALLOW)
    assert not fates_of([blocked, taken_back])[blocked.transaction_id].stopped


def test_the_first_decision_about_a_payment_holds() -> None:
    again = DECISION._replace(outcome=Outcome.BLOCK, fraud_probability_ppm=1)
    assert not fates_of([DECISION, again])[DECISION.transaction_id].stopped


def test_truth_is_unlabelled_where_nothing_is_known() -> None:
    truth = truth_of(["tx-1", "tx-2"], labels_of([(label(True, 4), 5)]), {"tx-2": Fate(True, 900_000)})
    assert truth.label.tolist() == [1, UNLABELLED]
    assert truth.stopped.tolist() == [False, True]
    assert truth.probability_ppm.tolist() == [NONE, 900_000]


def test_labels_are_known_as_far_as_the_last_one_came() -> None:
    """A feed of labels that has stopped must not make frauds of since then honest."""
    assert known_until_ms(labels_of([(label(True, 4), 5), (label(True, 7, "tx-2"), 8)])) == 8
    with pytest.raises(HistoryRefused, match="nothing says that anybody labels"):
        known_until_ms(labels_of([]))


@pytest.fixture
def settings(stack: EmbeddedStack, request: pytest.FixtureRequest) -> Settings:
    prefix = f"{request.node.name[:60]}."
    create_topics(stack.bootstrap_servers, prefix=prefix)
    return Settings(bootstrap_servers=stack.bootstrap_servers, redis_url=stack.redis_url, topic_prefix=prefix)


def published(fraud: Fraud, settings: Settings, path: Path) -> None:
    names = ("bootstrap_servers", "redis_url", "topic_prefix")
    answer = fraud("payments", "publish", path, "--labels", **{name: getattr(settings, name) for name in names})
    assert answer.code == 0, answer.err


def test_topics_give_the_features_and_the_truth_of_the_file(fraud: Fraud, settings: Settings, tmp_path: Path) -> None:
    path = written(tmp_path / "history.csv")
    published(fraud, settings, path)
    by_topics = history_of_topics(settings, WIRE, FEATURES, DELAY_MS, lambda _: None, at_own_times=True)
    by_file = history_of_file(path, NO_MAP, DELAY_MS)
    common = min(len(by_topics.known_at_ms), len(by_file.known_at_ms))
    assert common > 1_000
    for theirs, ours in zip(by_topics.examples.rows(0, common), by_file.examples.rows(0, common), strict=True):
        assert np.array_equal(theirs, ours)
    assert by_topics.labels["undecided"] == by_topics.labels["payments"]


def test_label_windows_and_truth_wait_as_long_as_the_state_that_serves(
    fraud: Fraud, settings: Settings, tmp_path: Path
) -> None:
    published(fraud, settings, written(tmp_path / "history.csv"))
    slow = settings.model_copy(update={"label_delay_days": 14})
    history = history_of_topics(slow, WIRE, FEATURES, DELAY_MS, lambda _: None, at_own_times=True)
    assert history.labels["delay_ms"] == 14 * DAY_MS
    times_ms = history.examples.event_time_ms
    is_checked = history.examples.features[:, COLUMN["beneficiary_labelled_30d"]] > 0
    assert is_checked.any()
    assert (times_ms[is_checked] >= times_ms[0] + 14 * DAY_MS).all()


def test_replayed_topics_are_refused_unless_they_are_called_so(
    fraud: Fraud, settings: Settings, tmp_path: Path
) -> None:
    published(fraud, settings, written(tmp_path / "history.csv"))
    with pytest.raises(HistoryRefused, match="say --own-times"):
        history_of_topics(settings, WIRE, FEATURES, DELAY_MS, lambda _: None)


def test_the_command_trains_from_topics_as_from_their_file(fraud: Fraud, settings: Settings, tmp_path: Path) -> None:
    path = written(tmp_path / "history.csv")
    published(fraud, settings, path)
    (tmp_path / "plan.toml").write_text(PLAN)
    common = ("--version", "v1", "--plan", "plan.toml", "--json")
    answer = fraud("models", "train", "--from", "topics", "--own-times", "--out", "by-topics", *common)
    assert answer.code == 0, answer.err
    model = load(tmp_path / "by-topics" / "v1")
    assert any("amount_gbp_minor" in term.features for term in model.terms)
    answer = fraud("models", "train", path, "--out", "by-file", *common)
    assert answer.code == 0, answer.err


def test_an_empty_topic_trains_nothing_and_says_why(fraud: Fraud, settings: Settings) -> None:
    answer = fraud(
        "models", "train", "--from", "topics", "--version", "v1",
        bootstrap_servers=settings.bootstrap_servers, topic_prefix=settings.topic_prefix,
    )  # fmt: skip
    assert answer.code != 0
    assert "can't train a model" in answer.err
