"""Each payment ends once and the books are whole, from the generator to the settled payment, with everything breaking.

100,000 payments, each published twice, flow through the worker and two executors, while every record of decisions.v1
is appended a second time, some decisions are reversed or reviewed, and the rail fails one request in seven. Meanwhile
processes and servers are killed at random, and the executor also at every boundary of its saga. Then an independent
checker compares the topics, the ledger's rows, upstream's announcements and the rail's own books, payment by payment.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, zip_longest
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from ops.bench.afterlife.check import Report, check
from ops.bench.afterlife.crashing_executor import STEPS
from ops.bench.afterlife.rig import CRASH_S, POLL_S, AfterlifeRig, open_rig
from ops.bench.rig.database import append_all
from ops.bench.rig.payments import START_MS, outbound, paid
from ops.processes.servers import ServerFailed
from pipeline.domain.payment import Transaction
from pipeline.execute.references import Opening
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import connect

SEED: Final = 20_264
PAYMENTS: Final = 100_000
RATE_PER_S: Final = 300
QUICK_RATE_PER_S: Final = 50
"""Rate of published records, half of which are repeats. It is low so that they flow for as long as the faults last."""
ACCOUNTS: Final = 3_000
SHORT_OF_MONEY_EVERY: Final = 12
"""One account in this many has half of what it spends, so that some payments are refused for want of funds."""
DELAY_S: Final = (0.3, 2.5)
RANDOM_KILLS: Final = 40
SERVER_FAULTS: Final = 4


class Fault(NamedTuple):
    name: str
    strike: Callable[[AfterlifeRig], bool]  # returns whether it struck; a crash waits until its boundary is reached


class Struck(NamedTuple):
    name: str
    has_struck: bool


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    wire, count = WireFormat(), PAYMENTS // 40 if is_quick else PAYMENTS
    transactions = list(paid(count, accounts=ACCOUNTS, seed=SEED))
    records = [outbound(wire, transaction) for transaction in transactions]
    rate_per_s = QUICK_RATE_PER_S if is_quick else RATE_PER_S
    with open_rig(folder, records, rate_per_s, partial(open_accounts, transactions)) as rig:
        struck = _strike_all(say, rig, is_quick=is_quick)
        say(f"{len(struck)} faults; waiting for everything to come to rest")
        rig.settle()
        rig.sampler.thread.stop()
        rig.echo.thread.stop()
        say("checking every payment")
        with connect(rig.stack.database_url, "check") as connection:
            ids = [transaction.transaction_id for transaction in transactions]
            report = check(rig.stack.bootstrap_servers, connection, rig.rail_address, ids)
        say("reconciling")
        is_reconciled, lines = rig.reconcile()
    for line in (*report.first_violations, *rig.sampler.wrong[:10], *lines[-10:]):
        say(line)
    result = _result(report, rig, struck)
    return {**result, "ok": result["ok"] and is_reconciled, "reconciliation_clean": is_reconciled}


def _result(report: Report, rig: AfterlifeRig, struck: Sequence[Struck]) -> dict[str, object]:
    return {
        "ok": not report.violations and not rig.sampler.wrong,
        "payments": report.payments,
        "published": rig.feeder.published,
        "decisions": report.decisions,
        "reversals": report.reversals,
        "reviews": report.reviews,
        "records_of_decisions_v1": report.records,
        "audited": report.audited,
        "faults": sum(each.has_struck for each in struck),
        "boundaries_not_reached": [each.name for each in struck if not each.has_struck],
        "ended_by_themselves": rig.supervisor.restarts,
        "states": report.states,
        "rail": report.rail,
        "samples": rig.sampler.samples,
        "samples_wrong": len(rig.sampler.wrong),
        "violations": dict(report.violations),
    }


def _strike_all(say: Callable[[str], None], rig: AfterlifeRig, *, is_quick: bool) -> list[Struck]:
    struck = []
    for fault in _faults(is_quick=is_quick):
        began = time.monotonic()
        has_struck = fault.strike(rig)
        struck.append(Struck(fault.name, has_struck))
        rig.supervise()
        took = f"{time.monotonic() - began:.1f} s; {rig.feeder.published:,} published"
        say(f"{fault.name}{'' if has_struck else ': not reached'} ({took})")
    return struck


def _faults(*, is_quick: bool) -> Iterator[Fault]:
    """Yield the faults, shuffled by a seed.

    Crashes at boundaries alternate with the other faults, so that all of them meet payments in flow.
    """
    random = Random(SEED)  # noqa: S311 - a schedule, seeded on purpose
    steps = list(STEPS)[:: 6 if is_quick else 1]
    crashes = [Fault(f"executor killed {step}", partial(_crash, step)) for step in steps]
    others = [*_kills(5 if is_quick else RANDOM_KILLS), *_server_faults(1 if is_quick else SERVER_FAULTS)]
    random.shuffle(crashes)
    random.shuffle(others)
    for pair in zip_longest(crashes, others):
        for fault in pair:
            if fault is not None:
                yield fault._replace(strike=partial(_after_a_while, random.uniform(*DELAY_S), fault.strike))


def _kills(count: int) -> list[Fault]:
    names = ("worker", "executor 0", "executor 1", "rail", "audit")
    return [
        Fault(f"kill -9 of {name}", partial(_kill, name)) for name, _ in zip(cycle(names), range(count), strict=False)
    ]


def _server_faults(count: int) -> list[Fault]:
    """List the faults of servers: kills of PostgreSQL, and half as many of each other kind."""
    others = [
        Fault("PostgreSQL restarted", _postgres_restart),
        Fault("broker kill -9 and started", _broker_kill),
        Fault("executor stopped past its session, then resumed", _zombie),
    ]
    return [Fault("PostgreSQL kill -9 and started", _postgres_kill)] * count + others * (count // 2)


def _after_a_while(delay_s: float, strike: Callable[[AfterlifeRig], bool], rig: AfterlifeRig) -> bool:
    time.sleep(delay_s)
    return strike(rig)


def _crash(step: str, rig: AfterlifeRig) -> bool:
    """Replace the executor of slot 0 by one that kills itself at `step`; then let it come back."""
    executor = rig.executors.pop(0)
    executor.kill()
    doomed = rig.executor(0, step)
    with contextlib.suppress(ServerFailed):  # it may be gone before its page answers
        doomed.start()
    deadline = time.monotonic() + CRASH_S
    while doomed.is_running and time.monotonic() < deadline:
        rig.supervise()
        time.sleep(POLL_S)
    has_struck = not doomed.is_running
    doomed.kill()
    rig.executors[0] = executor
    rig.supervisor.start(executor)
    return has_struck


def _kill(name: str, rig: AfterlifeRig) -> bool:
    process = rig.processes[name]
    process.kill()
    rig.supervisor.start(process)
    return True


def _postgres_kill(rig: AfterlifeRig) -> bool:
    assert rig.stack.postgres is not None
    rig.stack.postgres.kill()
    rig.stack.postgres.start()
    return True


def _postgres_restart(rig: AfterlifeRig) -> bool:
    assert rig.stack.postgres is not None
    rig.stack.postgres.stop()
    rig.stack.postgres.start()
    return True


def _broker_kill(rig: AfterlifeRig) -> bool:
    rig.stack.broker.kill()
    rig.stack.broker.start(deadline_s=BROKER_START_S)
    return True


BROKER_START_S: Final = 240.0
"""Time for a broker to start. It reads its log again, on a machine that others may keep busy."""
ZOMBIE_S: Final = 10.0
"""Time for which an executor is stopped: more than the group's session of 6 s, so another takes its partitions."""


def _zombie(rig: AfterlifeRig) -> bool:
    executor = rig.executors[1]
    executor.pause()
    time.sleep(ZOMBIE_S)
    executor.resume()
    return True


def open_accounts(transactions: Sequence[Transaction], database_url: str) -> None:
    """Open the accounts with twice what each spends, except those that are to be short of money."""
    spent: dict[tuple[str, str], int] = defaultdict(int)
    for transaction in transactions:
        spent[transaction.account_id, transaction.currency] += transaction.amount_minor
    openings = [
        Opening(*key, 0, total // 2 if number % SHORT_OF_MONEY_EVERY == 0 else total * 2)
        for number, (key, total) in enumerate(sorted(spent.items()))
    ]
    append_all(database_url, openings, START_MS)
