"""10,000 decisions of a wrong model are taken back while payments go on flowing, with kill -9 in the middle.

A model answers the wrong way round for a while: it blocks the payments that look most honest and allows those that look
least honest. A strict model takes its place, and a plan decides every wrong decision again. Its application is killed
three times, and the executor once, while a reviewer decides cases; the rail refuses one recall in ten, and some
beneficiaries have spent what they were paid, or half of it. Reversals of a plan that this one has overtaken are
appended all the same. Then the rollback is rolled back, and that once more. In the end everything is compared: the
plans with the topics, record by record, and decisions, ledger, announcements and the rail's books with each other,
payment by payment.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from models.simulator import TrafficSettings, transactions
from ops.bench.afterlife.check import Decided, RecordsTold, check, counting
from ops.bench.rig.database import append_all, open_payers
from ops.bench.rig.feeder import Feeder
from ops.bench.rig.payments import outbound
from ops.bench.rig.publisher import publish
from ops.bench.rig.services import url_of
from ops.bench.rig.stored import Tail, record_count
from ops.bench.rig.topics_io import Outbound
from ops.bench.rig.waiting import wait_committed, wait_until
from ops.bench.rollback.people import REVIEWER, Reviewing, append_stale
from ops.bench.rollback.scene import BAD, GOOD, Stage, open_stage
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.identities import reversal_id
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.payment import Decoded, Transaction
from pipeline.domain.refusals import Refusal
from pipeline.domain.reversal import Reversal
from pipeline.execute.references import Opening
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import connect
from pipeline.rollback.reversal import released_id

SEED: Final = 20_265
ACCOUNTS: Final = 5_000
DAYS_BACK: Final = 6
"""Days by which event time lies in the past. It is recent enough for payments that are given back to keep theirs, and
long enough ago for all that flows meanwhile to lie in the past, because a broker refuses records of the future."""
HOUR_MS: Final = 3_600_000
WARM_UP: Final = 1_500
WRONG: Final = 18_000
REVERSED_MIN: Final = 10_000
MEANWHILE_PER_S: Final = 60
MEANWHILE_MAX: Final = 20_000
APPLIED_PER_S: Final = 500
KILLED_AT: Final = (0.25, 0.5, 0.75)  # shares of the reversals
WAIT_S: Final = 400.0
PROBES_MAX: Final = 200
LAST: Final = 300
SPENDERS_MAX: Final = 120
OVERDRAFT_MINOR: Final = 10_000_000
"""Overdraft of beneficiaries who have spent what they were paid; no recall may draw on it."""
RECALL_OUTCOMES: Final = ("RECALLED", "RECALL_REFUSED", "BENEFICIARY_FUNDS_GONE", "PARTLY_RECALLED")


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    wrong, reversed_min = (WRONG // 15, REVERSED_MIN // 20) if is_quick else (WRONG, REVERSED_MIN)
    with open_stage(folder) as stage:
        act, reviewing = Act(say, stage), Reviewing(stage.stack, stage.people[REVIEWER])
        act.go_wrong(wrong)
        plan, stale = act.plan(), act.plan()
        act.spend(plan)
        with act.traffic(), reviewing.ending():
            applied = act.apply(plan, reviewing)
        act.append_stale(stale)
        after = act.rest()
        reported = stage.answer("report", plan["plan_id"], "--html", str(stage.directory / "report.html"))
        again = act.plan()
        back = act.roll_on(BAD)
        forth = act.roll_on(GOOD)
        stage.sampler.thread.stop()
        findings = act.findings([plan, back, forth])
        recalls, left = act.recalls(), act.still_wrong(again)
    changing = int(plan["changing"])
    findings |= {"STILL_WRONG": left} if left else {}
    missed = {outcome for outcome in RECALL_OUTCOMES if not recalls.get(outcome)}
    findings |= {f"NEVER_{outcome}": 1 for outcome in missed}
    return {
        "ok": not findings and changing >= reversed_min and not stage.sampler.wrong,
        "recalls": recalls,
        "reviewed_meanwhile": reviewing.decided,
        "stale_reversals": len(act.stale),
        "rolled_back": {name: back[name] for name in ("changing", "releases", "by_change")},
        "rolled_forth": {name: forth[name] for name in ("changing", "releases", "by_change")},
        "wrong_decisions": plan["decisions"],
        "reversed": changing,
        "by_change": {change: share["decisions"] for change, share in plan["blast_radius"]["by_change"].items()},
        "customers": plan["blast_radius"]["changing"]["customers"],
        **applied,
        "plan_s": plan["seconds"],
        "planned_per_s": round(plan["decisions"] / plan["seconds"]),
        "until_all_compensated_s": after,
        "payments_meanwhile": act.meanwhile,
        "second_plan_changes": again["changing"],  # payments whose recall failed, and nothing else
        "decided_anew": reported[0]["decided_anew"],
        "ledger_sums": reported[0]["ledger_sums"],
        "samples": stage.sampler.samples,
        "samples_wrong": len(stage.sampler.wrong),
        "violations": findings,
    }


class Act:
    """The steps of the bench, in the order in which `run` takes them."""

    def __init__(self, say: Callable[[str], None], stage: Stage) -> None:
        self._say, self._stage, self._wire = say, stage, WireFormat()
        self._servers = stage.stack.bootstrap_servers
        start_ms = (time.time_ns() // 1_000_000 // HOUR_MS - DAYS_BACK * 24) * HOUR_MS
        settings = TrafficSettings(seed=SEED, accounts=ACCOUNTS, start_ms=start_ms, days=30)
        self._payments: Iterator[Transaction] = (labelled.transaction for labelled in transactions(settings))
        self._published: list[str] = []
        self._decisions, self._counted = (Tail(self._servers, "decisions.v1") for _ in range(2))
        self._on_topic = 0
        self.meanwhile = 0
        self.stale: set[str] = set()

    def go_wrong(self, count: int) -> None:
        """Let the wrong model make at least `count` decisions, executed and audited; then let a good one decide."""
        self._publish(WARM_UP)
        self._wait_decided()
        scores = [each.score_micro for each in self._news() if each.fraud_probability_ppm >= 0]
        self._stage.add_models(scores)
        self._switch(BAD)
        self._publish(count)
        self._wait_decided()
        self._switch(GOOD)
        self._wait_until_all_done("executing and auditing the wrong decisions")
        self._say(f"{count:,} payments decided by {BAD}, executed and audited")

    def plan(self, good: str = GOOD) -> dict[str, Any]:
        began = time.monotonic()
        asked = ("--model", BAD, "--good-model", good, "--reason", "The model answered backwards.")
        [plan] = self._stage.answer("plan", *asked)
        seconds = time.monotonic() - began
        self._say(f"of {plan['decisions']:,} decisions {plan['changing']:,} would be otherwise ({seconds:.1f} s)")
        return {**plan, "seconds": round(seconds, 2)}

    def spend(self, plan: dict[str, Any]) -> None:
        """Let beneficiaries of payments that will be recalled spend all of it, or half; they have an overdraft.

        What a good model makes of that doesn't matter: money that is held for review is out of their hands, too.
        """
        rows = self._stage.rows(
            "SELECT DISTINCT ON (e.beneficiary_account_id) e.beneficiary_account_id, e.currency, e.amount_minor"
            " FROM control.rollback_plan_decision l JOIN ledger.execution e USING (decision_id)"
            " WHERE l.plan_id = %s AND l.disposition = 'REVERSE' AND l.outcome_after = 'BLOCK' AND l.state = 'SETTLED'"
            " AND e.amount_minor > 1 AND NOT EXISTS (SELECT FROM ledger.account a WHERE a.account_id ="
            " e.beneficiary_account_id) ORDER BY e.beneficiary_account_id, e.decision_id LIMIT %s",
            [plan["plan_id"], SPENDERS_MAX],
        )
        payments = list(islice(self._payments, len(rows)))
        openings = [Opening(payee, currency, OVERDRAFT_MINOR, 0) for payee, currency, _ in rows]
        append_all(self._stage.stack.database_url, openings, min(each.event_time_ms for each in payments))
        spending = [
            each._replace(account_id=payee, currency=currency, amount_minor=amount_minor // (1 + number % 2))
            for number, (each, (payee, currency, amount_minor)) in enumerate(zip(payments, rows, strict=True))
        ]
        publish(self._servers, "transactions.v1", [self._outbound(each) for each in spending])
        self._wait_decided()
        self._wait_until_all_done("executing what was spent")
        self._say(f"{len(spending)} beneficiaries have spent what they were paid, or half of it")

    def append_stale(self, plan: dict[str, Any]) -> None:
        """Append reversals of a plan that was made before another one was applied."""
        self.stale = append_stale(self._stage.stack, plan["plan_id"])
        self._say(f"{len(self.stale)} reversals of an overtaken plan appended")

    def roll_on(self, good: str) -> dict[str, Any]:
        """Plan once more under another model, apply it, and let everything come to rest."""
        plan = self.plan(good)
        rate = ("--rate", str(APPLIED_PER_S))
        [applied] = self._stage.answer("apply", plan["plan_id"], *rate) if plan["changing"] else [{"releases": {}}]
        self.rest()
        by_change = {change: share["decisions"] for change, share in plan["blast_radius"]["by_change"].items()}
        return {**plan, "releases": applied["releases"], "by_change": by_change}

    def still_wrong(self, plan: dict[str, Any]) -> int:
        """Count what a plan would change, other than payments whose recall has failed: those it would recall again."""
        query = (
            "SELECT count(*) FROM control.rollback_plan_decision WHERE plan_id = %s"
            " AND disposition IN ('REVERSE', 'RELEASE') AND NOT (replaces_kind = 'REVERSAL' AND state = 'SETTLED')"
        )
        return int(self._stage.rows(query, [plan["plan_id"]])[0][0])

    def recalls(self) -> dict[str, int]:
        """Count how recalls have ended, by payments."""
        rows = self._stage.rows(
            "SELECT coalesce(reason, 'RECALLED'), count(DISTINCT execution_id) FROM ledger.transition"
            " WHERE step IN ('RECALLED', 'REST_RECALLED', 'PART_RECALLED', 'GIVE_BACK', 'GIVE_BACK_PART', 'KEEP')"
            " GROUP BY 1 ORDER BY 1"
        )
        return dict(rows)

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """Let payments flow at a steady rate while the block runs."""
        payments = list(islice(self._payments, MEANWHILE_MAX))
        open_payers(self._stage.stack.database_url, payments)
        coming = [self._outbound(payment) for payment in payments]
        feeder = Feeder(self._stage.directory, self._servers, "transactions.v1", coming, MEANWHILE_PER_S)
        feeder.start()
        try:
            yield
        finally:
            self.meanwhile = feeder.stop()
        del self._published[len(self._published) - len(coming) + self.meanwhile :]
        self._payments = chain(payments[self.meanwhile :], self._payments)

    def apply(self, plan: dict[str, Any], reviewing: Reviewing) -> dict[str, Any]:
        """Apply the plan, by a process that is killed on the way and started again each time.

        Once the first share of the reversals stands, the reviewer begins: the others race them.
        """
        stage, changing, kills = self._stage, int(plan["changing"]), 0
        applying = stage.applying(plan["plan_id"], APPLIED_PER_S)
        began = time.monotonic()
        applying.start()
        for share in KILLED_AT:
            wait_until(partial(self._has_come_to, plan, share * changing), WAIT_S, "reversing", every_s=0.2)
            kills += applying.is_running
            applying.kill()
            reviewing.start()
            if share == KILLED_AT[1]:
                stage.executor.kill()
                stage.supervisor.start(stage.executor)
            self._say(f"kill -9 after {self._appended(plan):,} reversals")
            applying.start()
        wait_until(lambda: not applying.is_running, WAIT_S, "reversing")
        seconds = time.monotonic() - began
        self._say(f"{self._appended(plan):,} reversals appended in {seconds:.1f} s")
        return {"kills": kills, "apply_s": round(seconds, 1), "reversed_per_s": round(changing / seconds)}

    def rest(self) -> float:
        """Wait until everything is decided, executed and audited; return the seconds that this took.

        Each partition of transactions.v1 may end with a rollback's commit marker, which no worker's position passes.
        Payments after it therefore say when everything before was decided.
        """
        began = time.monotonic()
        self._publish(LAST)
        self._wait_decided()
        self._wait_until_all_done("executing and auditing everything")
        return round(time.monotonic() - began, 1)

    def findings(self, plans: Sequence[dict[str, Any]]) -> dict[str, int]:
        """Count all that is wrong; the result is empty where plans, topics, ledger, rail and announcements agree."""
        stage, ids = self._stage, [plan["plan_id"] for plan in plans]
        lines = stage.rows(
            "SELECT plan_id::text, decision_id::text, transaction_id, disposition, outcome_before, outcome_after"
            " FROM control.rollback_plan_decision WHERE plan_id = ANY(%s::uuid[])"
            " AND disposition IN ('REVERSE', 'RELEASE')",
            [ids],
        )
        expected = {
            reversal_id(plan_id, name): (before, None if what == "RELEASE" else after)
            for plan_id, name, _, what, before, after in lines
        }
        published = stage.rows(
            "SELECT r.decision_id::text, e.transaction_id, s.state FROM control.rollback_release r"
            " JOIN ledger.execution e USING (decision_id) JOIN ledger.execution_state s USING (execution_id)"
            " WHERE r.ending = 'PUBLISHED'"
        )
        released = Counter(released_id(name, decision) for decision, name, _ in published)
        records = [self._record(found.value) for found in Tail(self._servers, "decisions.v1").news()]
        reversals = [each for each in records if isinstance(each, Reversal)]
        found = {each.reversal_id: (each.reversed_outcome, each.corrected_outcome) for each in reversals}
        republished = self._republished()
        [(cases,)] = stage.rows("SELECT count(*) FROM review.review_case")
        counts = {
            "REVERSALS_TWICE": len(reversals) - len(found),
            "REVERSALS_OTHERWISE": sum(found.get(name) != pair for name, pair in expected.items()),
            "REVERSALS_BEYOND_THE_PLAN": len(found.keys() - expected.keys() - self.stale),
            "STALE_HEEDED": len(self.stale) - self._overtaken(),
            "PUBLISHED_UNRELEASED": sum(state != "RELEASED" for *_, state in published),
            "PAYMENTS_GIVEN_BACK_OTHERWISE": (republished - released).total() + (released - republished).total(),
            "CASES_OTHERWISE": abs(_escalations(records) - int(cases)),
        }
        with connect(url_of(stage.stack.database_url, "fraud_reader"), "check") as connection:
            report = check(self._servers, connection, stage.rail_address, [*self._published, *released])
        for line in (*report.first_violations, *stage.sampler.wrong[:10]):
            self._say(line)
        self._say(f"{report.payments:,} payments checked: {report.states}")
        return {name: count for name, count in {**counts, **report.violations}.items() if count}

    def _overtaken(self) -> int:
        """Count the stale reversals that the executor has ignored."""
        query = "SELECT count(*) FROM ledger.cause WHERE cause_id = ANY(%s::uuid[]) AND ignored = 'OVERTAKEN'"
        return int(self._stage.rows(query, [sorted(self.stale)])[0][0])

    def _republished(self) -> Counter[str]:
        """Count the payments on transactions.v1 whose id was made for a republished payment."""
        names = []
        for found in Tail(self._servers, "transactions.v1").news():
            decoded = self._wire.decode_transaction(found.value)
            assert isinstance(decoded, Decoded), "only payments are published here"
            names.append(decoded.transaction.transaction_id)
        return Counter(names) - Counter(self._published)

    def _publish(self, count: int) -> None:
        payments = list(islice(self._payments, count))
        open_payers(self._stage.stack.database_url, payments)
        publish(self._servers, "transactions.v1", [self._outbound(payment) for payment in payments])

    def _outbound(self, payment: Transaction) -> Outbound:
        self._published.append(payment.transaction_id)
        return outbound(self._wire, payment)

    def _switch(self, version: str) -> None:
        """Roll a model out, and publish payments one by one until it has decided one."""
        self._stage.name_champion(version)
        for _ in range(PROBES_MAX):
            self._publish(1)
            self._wait_decided()
            if any(each.model_version == version for each in self._news()):
                return
        raise TimeoutError(f"the worker did not take up {version}")

    def _wait_decided(self) -> None:
        in_log = record_count(self._servers, "transactions.v1")
        wait_committed(self._servers, in_log, WAIT_S, "deciding", meanwhile=self._stage.supervise)

    def _wait_until_all_done(self, what: str) -> None:
        wait_until(self._is_all_done, WAIT_S, what, every_s=1, meanwhile=self._stage.supervise)

    def _news(self) -> list[Decision]:
        """Return the decisions since the last call."""
        records = [self._record(found.value) for found in self._decisions.news()]
        return [each for each in records if isinstance(each, Decision)]

    def _record(self, value: bytes) -> DecisionRecord:
        record = self._wire.decode_decision_record(value)
        assert not isinstance(record, Refusal), "what stands on decisions.v1 can be read"
        return record

    def _has_come_to(self, plan: dict[str, Any], due: float) -> bool:
        return self._appended(plan) >= due

    def _appended(self, plan: dict[str, Any]) -> int:
        query = "SELECT coalesce(max(appended), 0) FROM control.rollback_progress WHERE plan_id = %s"
        return int(self._stage.rows(query, [plan["plan_id"]])[0][0])

    def _is_all_done(self) -> bool:
        """Return whether every decision on the topic is in the audit log and its execution has come to rest."""
        [(unexecuted,)] = self._stage.rows(
            "SELECT count(*) FROM audit.ai_decision_log d LEFT JOIN ledger.execution_state s USING (execution_id)"
            " WHERE s.state IS NULL OR s.state NOT IN"
            " ('SETTLED', 'HELD', 'REFUSED', 'REVERSED', 'RELEASED')"
        )
        return not unexecuted and self._are_positions_at_the_end()

    def _are_positions_at_the_end(self) -> bool:
        """Return whether audit, executor and review have stored as many records as the topic holds."""
        self._on_topic += sum(1 for _ in self._counted.news())
        [(audited,)] = self._stage.rows(
            "SELECT (SELECT count(*) FROM audit.ai_decision_log) + (SELECT count(*) FROM audit.reversal_log)"
            " + (SELECT count(*) FROM audit.review_log)"
        )
        rows = self._stage.rows(
            "SELECT consumer, array_agg(next_offset ORDER BY partition) FROM control.consumer_position"
            " WHERE topic = 'decisions.v1' AND consumer IN ('audit', 'review', 'executor-settled') GROUP BY consumer"
        )
        return int(audited) == self._on_topic and len(rows) == 3 and len({tuple(offsets) for _, offsets in rows}) == 1


def _escalations(records: list[DecisionRecord]) -> int:
    """Count the cases that there must be: one for each decision, or reversal that counts, that escalates."""
    told: dict[str, RecordsTold] = {}
    for record in records:
        about = told.setdefault(record.decision_id, RecordsTold())
        if isinstance(record, Decision):
            about.decided = Decided(record.decision_id, record.transaction_id, record.outcome)
        else:
            about.later.append(record)
    count = 0
    for about in told.values():
        assert about.decided is not None, "a decision comes before what is said about it"
        corrected = [each.corrected_outcome for each in counting(about) if isinstance(each, Reversal)]
        count += [about.decided.outcome, *corrected].count(Outcome.ESCALATE)
    return count
