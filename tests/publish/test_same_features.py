"""One file, read twice: by the command that publishes, and by training. The features are the same."""

from __future__ import annotations

import csv
import heapq
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]
import pytest

from models.simulator import LabelledTransaction, TrafficEvent, TrafficSettings, transactions
from models.train.history import examples_of, read
from ops.stack.topics import create_topics
from pipeline.domain.context import Label
from pipeline.domain.features import FEATURES
from pipeline.domain.money import minor_digits
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from tests.archive import WIRE

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SETTINGS = TrafficSettings(seed=5, accounts=100, start_ms=1_782_864_000_000, days=12, fraud_share=0.1)


def as_people_write(labelled: LabelledTransaction) -> dict[str, Any]:
    """Return a payment with its amount in major units, and its times as people read them."""
    fields: dict[str, Any] = labelled.transaction._asdict()
    digits = minor_digits(fields["currency"])
    opened_ms = fields.pop("beneficiary_opened_at_ms")
    return {
        "amount": Decimal(fields.pop("amount_minor")).scaleb(-digits),
        "event_time": EPOCH + timedelta(milliseconds=fields.pop("event_time_ms")),
        "beneficiary_opened_at": None if opened_ms is None else EPOCH + timedelta(milliseconds=opened_ms),
        "account_opened": (EPOCH + timedelta(days=fields.pop("account_opened_epoch_day"))).date(),
        "segments": json.dumps(fields.pop("segments")),
        "channel": str(fields.pop("channel")),
        "fraud": labelled.fraud,
        **fields,
    }


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    at = table.schema.get_field_index("amount")
    amount = pa.array([row["amount"] for row in rows], pa.decimal128(20, 4))
    pa_parquet.write_table(table.set_column(at, "amount", amount), path)


def write_integers(path: Path, rows: list[dict[str, Any]]) -> None:
    pa_parquet.write_table(pa.Table.from_pylist(rows), path)


def rows_of() -> list[dict[str, Any]]:
    return [as_people_write(each) for each in transactions(SETTINGS)]


def short_rows() -> list[dict[str, Any]]:
    """Payments of few customers at few terminals, many of them within one second."""
    names = ("transaction_id", "tx_time_s", "customer_id", "terminal_id", "amount_minor", "fraud")
    times = sorted(n * 7919 % 1_000_000 // 3600 * 3600 for n in range(600))
    return [
        dict(zip(names, (599 - n, at_s, n % 7, n % 5, 100 + n, int(n % 11 == 0)), strict=True))
        for n, at_s in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("name", "write", "rows"),
    [
        ("payments.csv", write_csv, rows_of),
        ("payments.parquet", write_parquet, rows_of),
        ("short.csv", write_csv, short_rows),
        ("short.parquet", write_integers, short_rows),
    ],
)
def test_serving_and_training_see_the_same(fraud, stack, tmp_path: Path, name: str, write: Any, rows: Any) -> None:
    path, prefix = tmp_path / name, f"same-{name}."
    written = rows()
    write(path, written)
    create_topics(stack.bootstrap_servers, prefix=prefix, partitions=1)
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=prefix)
    environment = {"bootstrap_servers": settings.bootstrap_servers, "topic_prefix": prefix}
    answer = fraud("payments", "publish", path, "--labels", **environment)
    assert answer.code == 0, answer
    served, trained = examples_of(published(settings, written)), read(path)
    assert len(served.fraud) > 400
    assert served.fraud.sum() > 20
    differing = np.argwhere(served.features != trained.features)
    assert [] == [
        (int(row), FEATURES[column], int(served.features[row, column]), int(trained.features[row, column]))
        for row, column in differing
    ]
    assert served.fraud.tolist() == trained.fraud.tolist()


def published(settings: Settings, written: list[dict[str, Any]]) -> Iterator[TrafficEvent]:
    """Yield the topics' payments in the file's order, which each partition keeps, and each label when it came."""
    places = {_id_of(row): number for number, row in enumerate(written)}
    with LogReader.of(settings) as log:
        records = list(log.read_all(settings.topic("transactions.v1")))
        labels = [WIRE.decode_label(each.value) for each in log.read_all(settings.topic("labels.v1"))]
    payments = [(each.source, WIRE.decode_transaction(each.value)) for each in records]
    assert all(isinstance(each, Label) for each in labels)
    by_log = [places[each.transaction.transaction_id] for _, each in sorted(payments, key=lambda pair: pair[0][:2])]
    partitions = [source.partition for source, _ in sorted(payments, key=lambda pair: pair[0][:2])]
    assert by_log == [place for _, place in sorted(zip(partitions, by_log, strict=True))]
    in_file = [each for _, each in sorted(payments, key=lambda pair: places[pair[1].transaction.transaction_id])]
    frauds = {label.transaction_id for label in labels}
    paid = [LabelledTransaction(each.transaction, each.transaction.transaction_id in frauds, "") for each in in_file]
    yield from heapq.merge(sorted(labels, key=time_of), paid, key=time_of)


def _id_of(row: dict[str, Any]) -> str:
    number = row["transaction_id"]
    return f"hb-{number:09d}" if isinstance(number, int) else number


def time_of(event: Label | LabelledTransaction) -> int:
    return event.labelled_at_ms if isinstance(event, Label) else event.transaction.event_time_ms
