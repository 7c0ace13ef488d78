"""`python -m ops.bench NAME` takes one measurement; it shows progress on stderr and ends stdout with one JSON object.

Every process that it starts writes its log into one folder. The folder is removed after a run that went well. It stays
where a run failed, and the last line on stderr names it. The exit code is 0 for a run that went well and 1 for one that
failed.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from ops.bench.rig.evidence import PARENT, carry_out, folder_for


class Bench(NamedTuple):
    family: str  # the folder that the bench is in
    what: str


BENCHES: Final = {
    "handbook": Bench("learned", "the Handbook's payments by a model of their first 30 %: fraud caught, week by week"),
    "handbook-rate": Bench(
        "speed", "the Fraud Detection Handbook's 1,754,155 payments through the real stack, flat out"
    ),
    "scoring": Bench("learned", "microseconds of a score with its exact reasons: in batches of 500, and alone"),
    "throughput": Bench("speed", "decisions a second: this worker, a plain Faust agent, the transport alone"),
    "traces": Bench("speed", "the worker with and without traces, in turns: its throughput and CPU a decision"),
    "latency": Bench("speed", "open loop at 1,000 payments a second, to the committed decision"),
    "shares": Bench("speed", "CPU a decision while two models share the payments, and of the look before each batch"),
    "seals": Bench("speed", "microseconds of CPU a decision to seal a batch, and to check it as a reader does"),
    "flat": Bench("speed", "cost a decision by number of accounts and of past payments; bytes an account"),
    "rebuild": Bench("speed", "the state from nothing and from an older RDB: minutes, payments a second"),
    "loss": Bench("loss", "kill -9, SIGSTOP, broker and Redis restarts, FLUSHALL: nothing lost, nothing twice"),
    "broker-away": Bench("loss", "the broker away for 15 s, 150 times, with two workers and a busy disk"),
    "state-loss": Bench(
        "loss", "failovers (managed, Sentinel, cluster), an older RDB, a full disk: nothing lost, nothing twice"
    ),
    "bad-input": Bench("bad_input", "hundreds of malformed records: never a crash, never an ALLOW"),
    "hostile": Bench("hostile", "payments made to hurt: payrolls, bursts, made-up payees, junk, beside ordinary ones"),
    "audit": Bench("audit", "decisions a second into the audit log, against a bare COPY; bytes a row"),
    "tamper": Bench("audit", "10,000 tamperings of the stored log by a superuser: each found and located offline"),
    "continued": Bench("audit", "a log of a million rows, checked before it goes on: seconds at once, and in all"),
    "chained": Bench("audit", "rows a second that the chaining of ledger, reviews and control follows; its cost"),
    "verify": Bench("audit", "100,000 decisions of the audit table, decided again: the same bytes"),
    "scale": Bench("scale", "1, 2 and 3 workers on three brokers and a Redis Cluster; the loss of any one process"),
    "determinism": Bench("loss", "the same log through other batches, restarts and hash seeds: the same bytes"),
    "afterlife-loss": Bench(
        "afterlife", "100,000 payments to their settlement under kill -9 of everything: each ends once, books whole"
    ),
    "executor": Bench("afterlife", "payments settled a second, against bare transactions that insert the same rows"),
    "production": Bench(
        "production", "the Compose files acted out, from nothing to a settled payment and an anchored decision"
    ),
    "recovery": Bench(
        "recovery", "PostgreSQL and Redis lost under load, put back, and reconciled with the rail: nothing paid twice"
    ),
    "alerts": Bench(
        "alerts", "10,000 alerts through sinks that fail one call in three, and kill -9: none lost, pages grouped"
    ),
    "drill": Bench("drills", "all ten drills, each in a lane of its own: seconds to see, trip, page and recover"),
    "breaker": Bench(
        "breaker", "20 years of simulated traffic: false trips, minutes to detect, each finding as a case"
    ),
    "breaker-fleet": Bench(
        "breaker", "four workers on the real stack: seconds until a trip routes all, and kill -9 amid every transition"
    ),
    "bias": Bench(
        "bias", "a quiet year without a false alert; minutes to see 40 % of a postcode blocked, days to see 5 %"
    ),
    "reasons": Bench(
        "reasons", "400,000 decisions without a reason of a kind that was wrong once; each counterfactual turns its own"
    ),
    "red-team": Bench(
        "models", "attacks on the shipped model, on each layer without it, and on weakened models, which are refused"
    ),
    "registry": Bench(
        "registry", "10,000 changes of one byte in a signed registry, and every whole forgery: none loads"
    ),
    "shadow": Bench(
        "models", "a challenger beside the worker, in turns: what it costs, and what one that tries to decide achieves"
    ),
    "rollback": Bench(
        "rollback", "10,000 decisions of a wrong model reversed under traffic and kill -9: the plan, and nothing else"
    ),
}


def main() -> None:
    arguments = _parser().parse_args()
    try:
        folder = folder_for(arguments.name, arguments.directory)
    except FileExistsError as refusal:
        sys.exit(f"{refusal}; a bench that goes well removes its folder, so give an empty one.")
    family, module_name = BENCHES[arguments.name].family, arguments.name.replace("-", "_")
    run = importlib.import_module(f"ops.bench.{family}.{module_name}").run
    if arguments.size:
        if "sizes" not in inspect.signature(run).parameters:
            sys.exit(f"The bench {arguments.name} takes no sizes.")
        run = partial(run, sizes=dict(arguments.size))
    sys.exit(carry_out(arguments.name, run, folder, is_quick=arguments.quick, is_kept=arguments.keep))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    told = "; ".join(f"{name}: {bench.what}" for name, bench in BENCHES.items())
    parser.add_argument("name", choices=BENCHES, help=told.replace("%", "%%"))  # argparse formats it
    parser.add_argument("--quick", action="store_true", help="make a small run that checks the bench, not the system")
    parser.add_argument(
        "--directory", type=Path, help=f"put the logs of all processes here, not in a new folder under {PARENT}"
    )
    parser.add_argument(
        "--size",
        type=_size,
        action="append",
        metavar="NAME=COUNT",
        help="change a size: of hostile, as ops.bench.hostile.attacks names them; accounts or payments of rebuild; "
        "warm or measured of scale; decisions, counterfactuals or counterfactual_s of reasons; years, weeks, lanes, "
        "harsh or seed of breaker; days, years, starts or seed of bias; budget, trials or seed of red-team",
    )
    parser.add_argument("--keep", action="store_true", help="keep that folder of a run that goes well, too")
    return parser


def _size(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    return name, int(count)


if __name__ == "__main__":
    main()
