"""`python -m ops.bench NAME`: one measurement; progress on stderr, one JSON object as the last line of stdout."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Final, NamedTuple


class Bench(NamedTuple):
    family: str  # the folder that it is in
    what: str


BENCHES: Final = {
    "handbook": Bench("speed", "the Fraud Detection Handbook's 1,754,155 payments through the real stack"),
    "throughput": Bench("speed", "decisions a second: this worker, a plain Faust agent, the transport alone"),
    "latency": Bench("speed", "open loop at 1,000 payments a second, to the committed decision"),
    "flat": Bench("speed", "cost a decision by number of accounts and of past payments; bytes an account"),
    "loss": Bench("loss", "kill -9, SIGSTOP, broker and Redis restarts, FLUSHALL: nothing lost, nothing twice"),
    "bad-input": Bench("bad_input", "hundreds of malformed records: never a crash, never an ALLOW"),
    "audit": Bench("audit", "decisions a second into the audit log, against a bare COPY; bytes a row"),
    "tamper": Bench("audit", "10,000 tamperings of the stored log by a superuser: each found and located offline"),
    "verify": Bench("audit", "100,000 decisions of the audit table, decided again: the same bytes"),
    "determinism": Bench("loss", "the same log through other batches, restarts and hash seeds: the same bytes"),
    "afterlife-loss": Bench(
        "afterlife", "100,000 payments to their settlement under kill -9 of everything: each ends once, books whole"
    ),
    "executor": Bench("afterlife", "payments settled a second, against bare transactions that insert the same rows"),
    "rollback": Bench(
        "rollback", "10,000 decisions of a wrong model reversed under traffic and kill -9: the plan, and nothing else"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    parser.add_argument(
        "name", choices=BENCHES, help="; ".join(f"{name}: {bench.what}" for name, bench in BENCHES.items())
    )
    parser.add_argument("--quick", action="store_true", help="a small run that checks the bench, not the system")
    arguments = parser.parse_args()
    family, module_name = BENCHES[arguments.name].family, arguments.name.replace("-", "_")
    module = importlib.import_module(f"ops.bench.{family}.{module_name}")
    run: Callable[..., dict[str, object]] = module.run
    result = run(say, is_quick=arguments.quick)
    print(json.dumps({"bench": arguments.name, "quick": arguments.quick, "cores": os.cpu_count(), **result}))
    sys.exit(0 if result.get("ok", True) else 1)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
