"""µs of CPU a decision by number of accounts and by past payments, and bytes an account, on redis-server.

The table by accounts has N accounts with one payment each in 30 days, evenly, so that windows fill and drain as usual.
The table by past payments has a few accounts with that many payments each in the last 30 days. The measured payments
come to each account as often in every case, and a payee gets 3 payments a month however many its payers make. A third
table has payees as busy as the accounts.

A decision is all that a worker does with a payment except Kafka: reading, windows, judging, encoding. Its CPU is that
of Redis and of the deciding process, which runs the hot path compiled, as the image has it, where a C compiler is
found. The cases are measured in turns, a slice of each in a round, and the least of a case's slices counts, because
whatever else runs on the machine can only add.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import redis

from ops.bench.rig.commands import completed, with_settings
from ops.bench.speed.flat_cases import Case, Decider, Traffic, with_redis
from ops.compiled import compiled_tree_or_none, python_path
from ops.stack.redis_server import redis_url

SPREAD_MAX: Final = 0.2
ACCOUNT_BYTES_MAX: Final = 2048
HISTORIES: Final = (10, 1_000, 10_000)
HISTORY_ACCOUNTS: Final = 64
CASES_S_MAX: Final = 3_600
"""Time limit of the cases. A million accounts make a million payments before the first that is measured."""
PAYEES: Final = 15
PAYMENTS_A_PAYEE: Final = 3
PAYMENTS_A_MONTH: Final = 60
BYTES_ACCOUNTS: Final = {PAYEES: 40_000, PAYMENTS_A_MONTH: 4_000}
"""Number of beneficiaries that an account pays → number of accounts. Ids share their buckets, so few accounts would
bear the whole of them; with PAYMENTS_A_MONTH beneficiaries only windows and beneficiaries are looked at."""
_KINDS: Final = {
    "windows": "fraud:*{p0}[ap]:*",
    "beneficiaries": "fraud:*{p0}r:*",
    "ids": "fraud:*{s0}c:*",
    "shared": "fraud:*{s0}[bqs]:*",
}

Table = dict[str, dict[str, float]]


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    counts = (1_000, 2_000, 5_000) if is_quick else (1_000, 100_000, 1_000_000)
    histories = (10, 100) if is_quick else HISTORIES
    bytes_accounts = dict.fromkeys(BYTES_ACCOUNTS, 200) if is_quick else BYTES_ACCOUNTS
    tree = compiled_tree_or_none(say)
    measured = partial(_measured, say, folder, tree)
    accounts = measured("accounts", [_case(f"a{count}", count, 1, count * 5 // 4) for count in counts])
    past = measured(
        "histories", [_case(f"h{past}", HISTORY_ACCOUNTS, past, HISTORY_ACCOUNTS * past) for past in histories]
    )
    busy = measured(
        "histories-of-payees-too",
        [
            _case(f"b{past}", HISTORY_ACCOUNTS, past, HISTORY_ACCOUNTS * past, HISTORY_ACCOUNTS * 5)
            for past in histories
        ],
    )
    sizes = {
        f"{payees}_payees": with_redis(folder / f"sizes-{payees}", partial(_bytes_an_account, count, payees))
        for payees, count in bytes_accounts.items()
    }
    say(f"bytes an account: {sizes}")
    spreads = {"accounts": _spread(accounts, "sum"), "histories": _spread(past, "sum")}
    tables = {"accounts": accounts, "histories": past, "histories_of_payees_too": busy}
    return {
        "compiled": tree is not None,
        "us_a_decision_by_accounts": accounts,
        "us_a_decision_by_past_payments": past,
        "us_a_decision_by_past_payments_of_payees_too": busy,
        "spread": spreads,
        "spread_of_payees_too": _spread(busy, "sum"),
        "spread_of_the_store": {name: _spread(table, "store") for name, table in tables.items()},
        "bytes_an_account": sizes,
        "goal": {"spread_max": SPREAD_MAX, "account_bytes_max": ACCOUNT_BYTES_MAX},
        "ok": is_quick
        or (max(spreads.values()) <= SPREAD_MAX and sizes[f"{PAYEES}_payees"]["total"] <= ACCOUNT_BYTES_MAX),
    }


def _case(name: str, accounts: int, monthly: int, preload: int, payees: int | None = None) -> Case:
    """Make a case. A payee gets PAYMENTS_A_PAYEE payments a month, unless the number of `payees` is given."""
    payees = payees or accounts * monthly // PAYMENTS_A_PAYEE + 1
    return Case(name, accounts, monthly, max(PAYEES, monthly // PAYMENTS_A_PAYEE), payees, preload)


def _measured(say: Callable[[str], None], folder: Path, tree: Path | None, name: str, cases: list[Case]) -> Table:
    say(f"{name}: measuring {len(cases)} cases")
    command = [sys.executable, "-P", "-m", "ops.bench.speed.flat_cases", str(folder / name), json.dumps(cases)]
    environment = with_settings(python_path(tree) if tree is not None else {})
    done = completed(command, folder / f"{name}.log", timeout_s=CASES_S_MAX, environment=environment)
    if done.returncode:
        raise RuntimeError(f"measuring {name} ended with {done.returncode}")
    table: Table = json.loads(done.stdout.splitlines()[-1])
    for case, figures in table.items():
        say(f"{case}: {figures}")
    return table


def _spread(figures: Table, which: str) -> float:
    """Return how far the dearest case is above the cheapest, as a share of the cheapest."""
    sums = [figure[which] for figure in figures.values()]
    return round(max(sums) / min(sums) - 1, 3)


def _bytes_an_account(accounts: int, payees: int, port: int) -> dict[str, int]:
    """Measure after 60 payments in 30 days; `total` is everything except what accounts share."""
    case = Case("b", accounts, PAYMENTS_A_MONTH, payees, accounts * payees // 3, accounts * PAYMENTS_A_MONTH)
    asyncio.run(_load(redis_url(port), Traffic(case, 0)))
    with redis.Redis.from_url(redis_url(port)) as client:
        kinds = {kind: _bytes_of(client, pattern) // accounts for kind, pattern in _KINDS.items()}
    if payees != PAYEES:
        return {kind: kinds[kind] for kind in ("windows", "beneficiaries")}
    return kinds | {"total": kinds["windows"] + kinds["beneficiaries"] + kinds["ids"]}


async def _load(url: str, traffic: Traffic) -> None:
    decider = Decider(url, traffic.partition)
    try:
        for batch in traffic.batches(traffic.case.preload):
            await decider.count(batch)
    finally:
        await decider.close()


def _bytes_of(client: redis.Redis, pattern: str) -> int:
    """Measure by MEMORY USAGE, which counts the key, its entry in the table, and the allocator's rounding."""
    total, keys = 0, list(client.scan_iter(pattern, count=10_000))
    for begin in range(0, len(keys), 10_000):
        pipeline = client.pipeline(transaction=False)
        for key in keys[begin : begin + 10_000]:
            pipeline.memory_usage(key, samples=0)
        total += sum(pipeline.execute())
    return total
