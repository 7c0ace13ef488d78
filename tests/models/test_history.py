"""History files become the examples that serving would have seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]
import pytest

from models.artefact.files import load_champion
from models.artefact.scoring import score
from models.simulator import LabelledTransaction, TrafficSettings, traffic_events, transactions
from models.train.history import DEFAULT_POLICY, HistoryRefused, events_of, examples_of, labelled_payments, read
from pipeline.decide.policy import parse_policy
from pipeline.decide.verdict import Mode, decide, regime
from pipeline.domain.context import Label
from pipeline.domain.decision import BreakerState, Outcome
from pipeline.domain.features import COLUMN, FEATURES, NONE
from pipeline.domain.payment import Transaction
from pipeline.publish.payment_source import Unreadable

DAY_S = 86_400
REGISTRY = Path("models/registry")


def short_rows() -> dict[str, list[int]]:
    """Return a history in reverse: one card at one terminal, a payment a day for 20 days, the first five fraud."""
    numbers = list(range(20))[::-1]
    return {
        "transaction_id": numbers,
        "tx_time_s": [number * DAY_S for number in numbers],
        "customer_id": [7] * 20,
        "terminal_id": [3] * 20,
        "amount_minor": [1_000 + number for number in numbers],
        "fraud": [int(number < 5) for number in numbers],
    }


@pytest.fixture(params=["history.parquet", "history.csv"])
def short_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / str(request.param)
    table = pa.table(short_rows())
    if path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        pa_parquet.write_table(table, path)
    return path


def test_short_form_is_read_in_time_order(short_file: Path) -> None:
    examples = read(short_file)
    assert examples.features[:, COLUMN["amount_gbp_minor"]].tolist() == list(range(1_000, 1_020))
    assert examples.fraud.tolist() == [number < 5 for number in range(20)]
    assert examples.features[:, COLUMN["account_count_7d"]].tolist() == [min(number, 6) + 1 for number in range(20)]


def test_label_windows_ask_seven_days_back(short_file: Path) -> None:
    examples = read(short_file)
    labelled = examples.features[:, COLUMN["beneficiary_labelled_30d"]].tolist()
    frauds = examples.features[:, COLUMN["beneficiary_frauds_30d"]].tolist()
    assert labelled == [max(number - 6, 0) for number in range(20)]
    assert frauds == [min(max(number - 6, 0), 5) for number in range(20)]
    assert examples.features[:7, COLUMN["beneficiary_risk_ppm_30d"]].tolist() == [NONE] * 7


def test_labels_of_a_file_come_days_after_their_payments(short_file: Path) -> None:
    stream = list(events_of(short_file))
    first = next(place for place, event in enumerate(stream) if isinstance(event, Label))
    assert [isinstance(event, LabelledTransaction) for event in stream[:first]] == [True] * 3
    assert sum(isinstance(event, Label) for event in stream) == 5


def test_full_form_gives_the_features_of_the_payments_themselves(tmp_path: Path) -> None:
    paid = list(transactions(TrafficSettings(seed=3, accounts=200, start_ms=1_790_812_800_000, days=5)))
    names = [name for name in Transaction._fields if name not in ("segments", "source_system")]
    columns = {name: [getattr(each.transaction, name) for each in paid] for name in names}
    path = tmp_path / "history.parquet"
    pa_parquet.write_table(pa.table({**columns, "fraud": [each.fraud for each in paid]}), path)
    without = {"segments": {}}  # no column holds them
    found = [each.transaction._replace(**without) for each in labelled_payments(path)]
    assert found == [each.transaction._replace(**without) for each in paid]
    assert read(path).features.tolist() == examples_of(events_of(path)).features.tolist()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [({"fraud": [0]}, "lacks the column"), (short_rows() | {"amount_minor": [-1] * 20}, "Row 1, column")],
)
def test_file_that_is_no_history_is_refused(tmp_path: Path, columns: dict[str, list[int]], reason: str) -> None:
    path = tmp_path / "history.parquet"
    pa_parquet.write_table(pa.table(columns), path)
    with pytest.raises((HistoryRefused, Unreadable), match=reason):
        read(path)


def test_unreadable_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "history.parquet").write_text("no")
    with pytest.raises(Unreadable, match="is not what its name says"):
        read(tmp_path / "history.parquet")
    with pytest.raises(HistoryRefused, match="empty"):
        examples_of([])


def test_a_history_of_which_guardrails_block_everything_is_refused_in_a_sentence() -> None:
    """It ended in a traceback: there was no last payment to say until when labels are known."""
    settings = TrafficSettings(seed=3, accounts=100, start_ms=1_764_072_000_000, days=1, fraud_share=0.02)
    paid = [each for each in traffic_events(settings) if isinstance(each, LabelledTransaction)][:50]
    unsaid = [each._replace(transaction=each.transaction._replace(reference=None)) for each in paid]
    with pytest.raises(HistoryRefused, match="block every payment"):
        examples_of(unsaid)


def test_what_a_static_guardrail_blocks_teaches_nothing() -> None:
    settings = TrafficSettings(seed=3, accounts=200, start_ms=1_790_812_800_000, days=3, guardrail_share=0.2)
    stream = list(traffic_events(settings))
    examples = examples_of(stream)
    paid = [each.transaction for each in stream if isinstance(each, LabelledTransaction)]
    sound = [t for t in paid if t.beneficiary_country != "KP" and t.reference is not None and t.currency != "XPT"]
    assert len(sound) < len(paid)
    assert examples.event_time_ms.tolist() == [t.event_time_ms for t in sound]
    assert (examples.features[:, COLUMN["amount_gbp_minor"]] > 0).all()


def test_shipped_champion_tells_fraud_from_honest_traffic_of_another_seed() -> None:
    settings = TrafficSettings(seed=11, accounts=800, start_ms=1_790_812_800_000, days=12, fraud_share=0.05)
    examples = examples_of(traffic_events(settings))
    probability = score(load_champion(REGISTRY), examples.features).fraud_probability_ppm
    blocked = probability >= 800_000
    assert blocked[examples.fraud].mean() > 0.3
    assert blocked[~examples.fraud].mean() < 0.005


def test_shipped_champion_never_falls_with_fraud_reports() -> None:
    features = np.zeros((40, len(FEATURES)), dtype=np.int64)
    features[:, COLUMN["ip_fraud_reports"]] = np.arange(40)
    scores = score(load_champion(REGISTRY), features)
    assert (np.diff(scores.score_micro) >= 0).all()


def test_shipped_champion_gives_reasons_in_words() -> None:
    """A takeover pays a new payee whose account is hours old, at night, from a reported address."""
    takeover = {
        "amount_gbp_minor": 180_000, "account_age_days": 2_000, "beneficiary_age_hours": 6, "local_minute_of_day": 130,
        "account_count_1h": 4, "account_sum_minor_1h": 700_000, "account_count_24h": 4,
        "account_sum_minor_24h": 700_000,
        "account_count_7d": 11, "account_count_30d": 40, "account_sum_minor_30d": 900_000,
        "account_ms_since_last": 200_000, "account_distinct_beneficiaries_24h": 4,
        "account_normal_month_minor": 200_000, "is_new_beneficiary": 1, "ip_fraud_reports": 3,
        "device_fraud_reports": 2, "amount_percent_of_average_30d": 800, "account_volume_percent_of_normal_month": 450,
    }  # fmt: skip
    features = np.zeros((1, len(FEATURES)), dtype=np.int64)
    for name, value in takeover.items():
        features[0, COLUMN[name]] = value
    policy = parse_policy(DEFAULT_POLICY.read_bytes())
    mode = Mode(BreakerState.CLOSED, "all", True)
    verdict = decide(features, [mode], regime(policy, load_champion(REGISTRY)))[0]
    assert verdict.outcome is Outcome.BLOCK
    assert verdict.summary.startswith("Blocked because ")
    assert sum(reason.contribution_micro or 0 for reason in verdict.reasons) > 3_000_000
