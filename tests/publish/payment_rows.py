"""Sound payments in the columns of a file, for tests to spoil."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

START = datetime(2026, 7, 1, 9)

WHOLE = {
    "transaction_id": "tx-1",
    "account_id": "GB29-0001",
    "amount": "12.50",
    "currency": "GBP",
    "event_time": "2026-07-01T09:00:00Z",
    "beneficiary_account_id": "GB30-0002",
    "beneficiary_name": "Mira Holt",
    "beneficiary_country": "GB",
    "beneficiary_opened_at": "2020-02-03T00:00:00Z",
    "reference": "Rent, July",
    "channel": "FASTER_PAYMENT",
    "ip_address": "192.0.2.17",
    "device_id": "dev-1",
    "account_opened": "2015-01-01",
    "account_time_zone": "Europe/London",
    "segments": '{"postcode_area": "SW"}',
    "source_system": "core",
    "fraud": "0",
}
"""One payment of the whole form, as texts."""

SHORT = {
    "transaction_id": "1",
    "tx_time_s": "31",
    "customer_id": "596",
    "terminal_id": "3156",
    "amount_minor": "5716",
    "fraud": "0",
}
"""One payment of the short form, as texts."""


def csv_text(rows: Sequence[dict[str, Any]], separator: str = ",", end: str = "\n") -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(row.values())
    return text.getvalue()


def whole(count: int = 2, **changes: str | None) -> list[dict[str, Any]]:
    """`count` sound rows a minute apart; `changes` are made in the last one, and None leaves its column out of all."""
    rows: list[dict[str, Any]] = [
        WHOLE | {"transaction_id": f"tx-{n}", "event_time": f"{START + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ}"}
        for n in range(count)
    ]
    rows[-1] |= {name: value for name, value in changes.items() if value is not None}
    left_out = {name for name, value in changes.items() if value is None}
    return [{name: value for name, value in row.items() if name not in left_out} for row in rows]


def short(count: int = 2, **changes: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [SHORT | {"transaction_id": str(n), "tx_time_s": str(n)} for n in range(count)]
    rows[-1] |= changes
    return rows


def typed(columns: dict[str, Any], rows: int = 2) -> Any:
    """An Arrow table of sound rows in the short form, whose columns `columns` replaces or adds; None takes one away."""
    found: dict[str, Any] = {
        "transaction_id": pa.array(range(rows), pa.int64()),
        "tx_time_s": pa.array(range(rows), pa.int64()),
        "customer_id": pa.array([596] * rows, pa.int64()),
        "terminal_id": pa.array([3156] * rows, pa.int64()),
        "amount_minor": pa.array([5716] * rows, pa.int64()),
        "fraud": pa.array([0] * rows, pa.int8()),
    }
    found |= columns
    return pa.table({name: column for name, column in found.items() if column is not None})


def typed_whole(columns: dict[str, Any], rows: int = 2) -> Any:
    """An Arrow table of texts in the whole form, whose columns `columns` replaces or adds; None takes one away."""
    texts = whole(rows)
    found: dict[str, Any] = {name: pa.array([row[name] for row in texts], pa.string()) for name in texts[0]}
    found |= columns
    return pa.table({name: column for name, column in found.items() if column is not None})
