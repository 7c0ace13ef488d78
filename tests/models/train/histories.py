"""A labelled history in the short form, as a file, for tests that read it in several ways."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Final

DAYS: Final = 40
ACCOUNTS: Final = 40
A_DAY: Final = 80
DAY_S: Final = 86_400
COLUMNS: Final = ("transaction_id", "tx_time_s", "customer_id", "terminal_id", "amount_minor", "fraud")


def rows(*, accounts: int = ACCOUNTS, seed: int = 1) -> list[tuple[int, ...]]:
    """Return payments in order; one in eight is fraud, mostly over a large amount."""
    rng = random.Random(seed)
    times_s = sorted(rng.sample(range(DAYS * DAY_S), DAYS * A_DAY))  # no two at once: the log orders such by partition
    found = []
    for number, time_s in enumerate(times_s):
        fraud = rng.random() < 1 / 8
        amount = rng.randrange(20_000, 60_000) if fraud and rng.random() < 0.8 else rng.randrange(500, 30_000)
        found.append((number, time_s, rng.randrange(accounts), rng.randrange(20), amount, int(fraud)))
    return found


def written(path: Path, lines: list[tuple[int, ...]] | None = None) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows() if lines is None else lines)
    return path


PLAN: Final = """
features = ["amount_gbp_minor", "account_count_7d", "beneficiary_risk_ppm_7d", "is_weekend"]
folds = 2
[monotone]
beneficiary_risk_ppm_7d = "rising"
[grid]
bins = [16, 64]
pairs = [1]
outer_bags = [1]
learning_rate = [0.1]
"""
