"""PostgreSQL and Redis are lost while payments flow, put back from backups, and reconciled with the rail.

Payments, reviews and reversals flow through the worker and two executors, against a rail that misbehaves. Backups are
taken under that load; more is decided, paid and recalled; then both servers are killed and their files deleted. The
database is put back once from a base backup alone, once with the archived log behind it, and once together with the
topics, which were lost, too. Each time the executors
must notice it by themselves and pay nothing, `fraud executor restore` asks the rail, and everything goes on. In the end
an independent checker compares the topics, the ledger, upstream's announcements and the rail's own books, payment by
payment; the rail's statement is taken in, records are reconciled, and the audit log checks itself.
"""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from ops.bench.afterlife.afterlife_loss import open_accounts
from ops.bench.afterlife.check import Report, check
from ops.bench.afterlife.rig import POLL_S, AfterlifeRig, Still, open_rig
from ops.bench.recovery.copies import Copies, Means
from ops.bench.rig.database import positions
from ops.bench.rig.payments import outbound, paid
from ops.bench.rig.publisher import publish
from ops.bench.rig.services import audit_process, url_of, worker_process
from ops.bench.rig.stored import record_count
from ops.bench.rig.waiting import wait_committed, wait_until
from ops.rail.statement import ACCOUNT
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import connect
from pipeline.reconcile.comparison_store import record_offset

SEED: Final = 20_266
PAYMENTS: Final = 20_000
ACCOUNTS: Final = 1_000
RATE_PER_S: Final = 150
QUICK_RATE_PER_S: Final = 25
WAIT_S: Final = 600.0
REFUSING_S: Final = 8.0
"""How long executors are watched while they refuse to pay."""
SHARES: Final = {
    Means.BASE_BACKUP: (0.15, 0.3),
    Means.BACKUP_AND_LOG: (0.45, 0.6),
    Means.EVERYTHING: (0.75, 1.0),
}
"""Shares of the payments that are published when backups are taken, and when everything is lost."""
LAST: Final = 100
"""Payments that come when everything is back, some in every partition."""
MARKERS_MAX: Final = 1_000
"""Offsets that are searched for the last record of a partition."""
REASON: Final = "The disks of the database and of Redis were lost."


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    wire, count = WireFormat(), PAYMENTS // 10 if is_quick else PAYMENTS
    transactions = list(paid(count + LAST, accounts=ACCOUNTS, seed=SEED))
    records = [outbound(wire, transaction) for transaction in transactions]
    rate_per_s = QUICK_RATE_PER_S if is_quick else RATE_PER_S
    with open_rig(folder, records[:count], rate_per_s, partial(open_accounts, transactions)) as rig:
        act = _Act(say, rig, Copies(rig.stack, folder), 2 * count)
        act.copies.archive()
        losses = {means: act.lose_and_recover(means) for means in SHARES}
        # The group's offsets went with the topics. Reconciliation knows what was taken in once the worker has committed
        # anew, and that is once something comes.
        publish(rig.stack.bootstrap_servers, "transactions.v1", records[count:])
        in_log = record_count(rig.stack.bootstrap_servers, "transactions.v1")
        wait_committed(rig.stack.bootstrap_servers, in_log, WAIT_S, "deciding", meanwhile=rig.supervise)
        rig.come_to_rest()
        rig.sampler.thread.stop()
        rig.echo.thread.stop()
        say("checking every payment")
        with connect(rig.stack.database_url, "check") as connection:
            ids = [transaction.transaction_id for transaction in transactions]
            report = check(rig.stack.bootstrap_servers, connection, rig.rail_address, ids)
        differences = act.statements()
        is_reconciled, lines = rig.reconcile()
        act.copies.fraud("audit", "check", **_audit_settings(rig))
    for line in (*report.first_violations, *lines[-10:]):
        say(line)
    return _result(report, losses, differences, is_reconciled=is_reconciled)


def _result(
    report: Report, losses: dict[Means, dict[str, Any]], differences: int, *, is_reconciled: bool
) -> dict[str, object]:
    noticed = all(loss["noticed"] and not loss["paid_while_refusing"] for loss in losses.values())
    nothing_left = not any(loss["left_over"] for loss in losses.values())
    is_ok = not report.violations and noticed and nothing_left and not differences and is_reconciled
    return {
        "ok": is_ok,
        "payments": report.payments,
        "decisions": report.decisions,
        "reversals": report.reversals,
        "reviews": report.reviews,
        "losses": {str(means): loss for means, loss in losses.items()},
        "states": report.states,
        "rail": report.rail,
        "statement_differences": differences,
        "reconciliation_clean": is_reconciled,
        "violations": dict(report.violations),
    }


class _Act:
    def __init__(self, say: Callable[[str], None], rig: AfterlifeRig, copies: Copies, published_max: int) -> None:
        self._say, self._rig, self.copies, self._published_max = say, rig, copies, published_max

    def lose_and_recover(self, means: Means) -> dict[str, Any]:
        """One loss, from its backup to the first payment that is settled after it."""
        rig, (backup_share, loss_share) = self._rig, SHARES[means]
        self._flow_to(backup_share)
        took_s = self.copies.take()
        self._say(f"backups taken under load in {took_s:.1f} s")
        self._flow_to(loss_share)
        if means is Means.EVERYTHING:
            self._copy_all_topics()
        books = self._books()
        lost_at_s = self._lose()
        rig.feeder.pause()  # so that payments are left to settle when everything is back
        if means is Means.EVERYTHING:
            self.copies.lose_topics()
            self.copies.put_topics_back()
        self._say(f"everything lost; to be put back: {means}")
        self.copies.put_back(means)
        point_s = lost_at_s - self.copies.recovered_to_s()
        restored_s = time.time() - lost_at_s
        noticed, paid_meanwhile = self._refuse()
        self._refill()
        [*_, restored] = self.copies.fraud(
            "executor",
            "restore",
            "--reason",
            REASON,
            FRAUD_DATABASE_URL=url_of(rig.stack.database_url, "fraud_executor"),
            FRAUD_RAIL_URL=rig.rail_address,
        )
        caught_up_s = time.time() - lost_at_s
        self._go_on()
        settled_s = time.time() - lost_at_s
        self._say(f"{point_s:.1f} s of the ledger were lost; payments settle again after {settled_s:.1f} s")
        return {
            "backup_s": took_s,
            "paid_before": books,
            "recovery_point_s": round(point_s, 1),
            "database_back_after_s": round(restored_s, 1),
            "caught_up_after_s": round(caught_up_s, 1),
            "recovery_time_s": round(settled_s, 1),
            "noticed": noticed,
            "paid_while_refusing": paid_meanwhile,
            "records_heard_again": restored["records"],
            "payments_taken_over": restored["transfers_paid"],
            "recalls_taken_over": restored["recalls_known"],
            "left_over": restored["left_over"],
        }

    def statements(self) -> int:
        """Take the rail's statements in; how many differences are left after them."""
        rig, found = self._rig, 0
        with urllib.request.urlopen(f"{rig.rail_address}/v1/entries", timeout=30) as answer:  # noqa: S310
            currencies = {orjson.loads(line)[3] for line in answer.read().splitlines()}
        settings = {
            "FRAUD_DATABASE_URL": url_of(rig.stack.database_url, "fraud_reconcile"),
            "FRAUD_RAIL_ACCOUNT": ACCOUNT,
        }
        until_ms = int(time.time() * 1000) + 3_600_000
        for currency in sorted(currencies):
            path = rig.directory / f"statement-{currency}.xml"
            asked = f"currency={currency}&until_ms={until_ms}"
            with urllib.request.urlopen(f"{rig.rail_address}/v1/statement?{asked}", timeout=60) as answer:  # noqa: S310
                path.write_bytes(answer.read())
            said = self.copies.fraud_check("reconcile", "statement", str(path), **settings)
            # The first statement finds that other currencies have none yet; these differences heal as theirs come.
            found += sum(line["opened"] - line["closed"] for line in said if isinstance(line.get("opened"), int))
        self._say(f"statements of {len(currencies)} currencies taken in, {found} differences")
        return found

    def _flow_to(self, share: float) -> None:
        rig, wanted = self._rig, share * self._published_max
        wait_until(lambda: rig.feeder.published >= wanted, WAIT_S, "publishing", meanwhile=rig.supervise)

    def _copy_all_topics(self) -> None:
        """Copy the topics when nothing is under way: what comes after a copy is lost with them, payments and all."""
        rig, servers = self._rig, self._rig.stack.bootstrap_servers
        published = rig.feeder.pause()
        wait_committed(servers, published, WAIT_S, "deciding", meanwhile=rig.supervise)
        still = Still(rig.positions, rig.echo)
        wait_until(still, WAIT_S, "executing and auditing", every_s=POLL_S, meanwhile=rig.supervise)
        rig.echo.thread.stop()  # its producer, like the feeder's, belongs to the brokers that will be gone
        self._say(f"{self.copies.take_topics():,} records of the topics copied")

    def _lose(self) -> float:
        """Kill everything that uses the servers. What takes its place gets ports of its own, just before it starts:
        the old ones may be taken by then."""
        for process in (*self._rig.executors.values(), self._rig.worker, self._rig.audit):
            process.kill()
        return self.copies.lose()

    def _refuse(self) -> tuple[bool, int]:
        """Start the executors; whether each has noticed, and how many payments the rail made meanwhile."""
        rig = self._rig
        told = {slot: _times_told(each.log_path) for slot, each in rig.executors.items()}
        before = self._books()
        for slot in list(rig.executors):
            rig.executors[slot] = rig.executor(slot)
            rig.supervisor.start(rig.executors[slot])

        def have_noticed() -> bool:
            return all(_times_told(each.log_path) > told[slot] for slot, each in rig.executors.items())

        def keep_up() -> None:
            rig.supervisor.look_after(rig.executors.values())

        with contextlib.suppress(TimeoutError):  # the answer says so
            wait_until(have_noticed, WAIT_S, "noticing that the ledger was put back", meanwhile=keep_up)
        time.sleep(REFUSING_S)
        return have_noticed(), sum(self._books().values()) - sum(before.values())

    def _go_on(self) -> None:
        """Start the others, and wait until a payment is settled that was not before."""
        rig = self._rig
        rig.feeder.resume()
        rig.worker = worker_process(rig.directory, rig.stack.bootstrap_servers, rig.stack.redis_url)
        rig.supervisor.start(rig.worker)
        at = self._settled()
        wait_until(
            lambda: rig.feeder.has_ended or sum(self._settled().values()) > sum(at.values()),
            WAIT_S,
            "settling payments again",
            meanwhile=rig.supervise,
        )

    def _refill(self) -> None:
        """Have the audit log come to the end of decisions.v1: nothing is taken over that it doesn't hold."""
        rig = self._rig
        refilling = audit_process(rig.stack, rig.directory, options=("--refill",))
        refilling.start()
        ends = dict(_ends(rig.stack.bootstrap_servers))

        def is_full() -> bool:
            reached = positions(rig.stack.database_url, "audit")
            return all(reached.get(each, 0) >= end for each, end in ends.items())

        wait_until(is_full, WAIT_S, "refilling the audit log")
        refilling.stop()
        rig.audit = audit_process(rig.stack, rig.directory)
        rig.supervisor.start(rig.audit)

    def _settled(self) -> dict[int, int]:
        return positions(self._rig.stack.database_url, "executor-settled")

    def _books(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self._rig.rail_address}/v1/books", timeout=30) as answer:  # noqa: S310
            counts: dict[str, int] = orjson.loads(answer.read())["counts"]
            return counts


def _ends(bootstrap_servers: str) -> Iterator[tuple[int, int]]:
    """The offset after the last record of each partition of decisions.v1; commit markers may stand behind it."""
    with LogReader(bootstrap_servers, "recovery", {}) as log:
        for partition, (low, high) in log.extents("decisions.v1").items():
            first = max(low, high - MARKERS_MAX)
            taken = log.read_range("decisions.v1", partition, first, None, MARKERS_MAX, record_offset).taken
            if taken:
                yield partition, max(taken) + 1


def _times_told(log_path: Path) -> int:
    return log_path.read_text(errors="replace").count('"ledger_put_back"') if log_path.exists() else 0


def _audit_settings(rig: AfterlifeRig) -> dict[str, str]:
    return {
        "FRAUD_DATABASE_URL": url_of(rig.stack.database_url, "fraud_audit"),
        "FRAUD_AUDIT_DIRECTORY": str(rig.directory / "outside"),
        "FRAUD_AUDIT_KEY_FILE": str(rig.directory / "key"),
    }
