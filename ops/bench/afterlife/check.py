"""The check of what became of every payment: topics, ledger rows and the rail's own books are compared with each other.

It shares no code with the executor beyond the ids. It states a second time what each decision, review and reversal asks
for, in terms of what may have become of a payment in the end.
"""

from __future__ import annotations

import hashlib
import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from ops.bench.rig.stored import Tail
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.identities import execution_id, posting_id, review_id
from pipeline.domain.refusals import Refusal
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.execute.ledger_admin_store import findings
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection

SHOWN_MAX: Final = 10
_ROUND: Final = re.compile(r":r[1-9][0-9]*-[0-9a-f]{8}$", re.ASCII)
_NOT_PAID: Final = frozenset({"INSUFFICIENT_FUNDS", "ACCOUNT_NOT_OPEN", "RAIL_REFUSED"})
_NOT_RECALLED: Final = frozenset({"BENEFICIARY_FUNDS_GONE", "RECALL_REFUSED", "PARTLY_RECALLED", "PART_RECALL_REFUSED"})


class Decided(NamedTuple):
    """The fields of a decision that are kept; the snapshots of 100,000 decisions would take half a gigabyte."""

    decision_id: str
    transaction_id: str
    outcome: Outcome


@dataclass(slots=True)
class RecordsTold:
    """The records of decisions.v1 about one payment, each once, in log order."""

    decided: Decided | None = None
    later: list[Reversal | ReviewOutcome] = field(default_factory=list)


class Execution(NamedTuple):
    state: str
    reasons: frozenset[str]
    payer: str
    payee: str
    currency: str
    amount_minor: int
    transaction_id: str = ""


@dataclass(slots=True)
class Report:
    payments: int = 0
    decisions: int = 0
    reversals: int = 0
    reviews: int = 0
    records: int = 0  # records of decisions.v1, repeats included
    audited: int = 0  # rows of the audit log
    states: dict[str, int] = field(default_factory=dict)
    rail: dict[str, Any] = field(default_factory=dict)
    violations: Counter[str] = field(default_factory=Counter)
    first_violations: list[str] = field(default_factory=list)

    def violate(self, code: str, detail: str) -> None:
        self.violations[code] += 1
        if len(self.first_violations) < SHOWN_MAX:
            self.first_violations.append(f"{code}: {detail}")


def check(bootstrap_servers: str, connection: Connection, rail_address: str, payment_ids: Sequence[str]) -> Report:
    report = Report(payments=len(set(payment_ids)))
    told = _told(bootstrap_servers, report)
    executions = _executions(connection)
    _check_each_payment(payment_ids, told, executions, report)
    _check_ledger(connection, report)
    _check_postings(connection, executions, report)
    _check_rail(connection, rail_address, executions, report)
    _check_notices(bootstrap_servers, executions, report)
    _check_audit(connection, report)
    report.states = dict(Counter(execution.state for execution in executions.values()))
    return report


def _told(bootstrap_servers: str, report: Report) -> dict[str, RecordsTold]:
    """Read the records of decisions.v1 by execution id."""
    wire, told, seen = WireFormat(), defaultdict[str, RecordsTold](RecordsTold), set[bytes]()
    executions: dict[str, str] = {}  # by decision: one comes before what is said about it
    for found in Tail(bootstrap_servers, "decisions.v1").news():
        report.records += 1
        digest = hashlib.blake2b(found.value, digest_size=16).digest()
        if digest in seen:
            continue
        seen.add(digest)
        record = wire.decode_decision_record(found.value)
        assert not isinstance(record, Refusal), "what stands on decisions.v1 can be read"
        if isinstance(record, Decision):
            executions[record.decision_id] = execution_id(record.snapshot.transaction)
        about = told[executions.get(record.decision_id, record.decision_id)]
        if not isinstance(record, Decision):
            about.later.append(record)
            report.reversals += isinstance(record, Reversal)
            report.reviews += isinstance(record, ReviewOutcome)
        elif about.decided is not None:
            report.violate("DECIDED_TWICE", record.transaction_id)
        else:
            about.decided = Decided(record.decision_id, record.transaction_id, record.outcome)
            report.decisions += 1
    return dict(told)


def _executions(connection: Connection) -> dict[str, Execution]:
    reasons: dict[str, set[str]] = defaultdict(set)
    for execution, reason in connection.execute(
        "SELECT execution_id::text, reason FROM ledger.transition WHERE reason IS NOT NULL"
    ).fetchall():
        reasons[execution].add(reason)
    rows = connection.execute(
        "SELECT execution_id::text, coalesce(state, 'NEW'), account_id, beneficiary_account_id, currency, amount_minor,"
        " transaction_id FROM ledger.execution_state"
    ).fetchall()
    return {name: Execution(state, frozenset(reasons[name]), *paid) for name, state, *paid in rows}


def _check_each_payment(
    payment_ids: Sequence[str], told: Mapping[str, RecordsTold], executions: Mapping[str, Execution], report: Report
) -> None:
    """Check that every payment was decided, every decision executed, and that each ended where its records may lead."""
    decided = {about.decided.transaction_id for about in told.values() if about.decided is not None}
    for missing in set(payment_ids) - decided:
        report.violate("NOT_DECIDED", missing)
    for strange in executions.keys() - told.keys():
        report.violate("EXECUTED_WITHOUT_DECISION", strange)
    for name, about in told.items():
        execution = executions.get(name)
        if execution is None:
            report.violate("NOT_EXECUTED", name)
        elif not _is_possible(about, execution):
            report.violate("WRONG_END", f"{name} is {execution.state} with {sorted(execution.reasons)}")


class End(NamedTuple):
    """A state that a payment may end in, and reasons; where there are any, the executor must have given one of them."""

    state: str
    excuses: frozenset[str] = frozenset()


_SETTLED, _HELD, _REFUSED = End("SETTLED"), End("HELD"), End("REFUSED")
_REVERSED, _RELEASED = End("REVERSED"), End("RELEASED")
_UNPAID, _KEPT = End("REFUSED", _NOT_PAID), End("SETTLED", _NOT_RECALLED)


def _is_possible(about: RecordsTold, execution: Execution) -> bool:
    return any(
        end.state == execution.state and (not end.excuses or end.excuses & execution.reasons) for end in ends(about)
    )


def ends(about: RecordsTold) -> frozenset[End]:
    """Return every end that the records allow, taken one after the other as they stand in the log."""
    assert about.decided is not None
    possible = _DECIDED[about.decided.outcome]
    for record in counting(about):
        possible = frozenset(after for before in possible for after in _after(before, record))
    return possible


def counting(about: RecordsTold) -> list[Reversal | ReviewOutcome]:
    """Return the records that count: each takes the place of the last one that did, beginning with the decision."""
    assert about.decided is not None
    word: Outcome | None = about.decided.outcome
    name = "DECISION", about.decided.decision_id
    rounds, counted = int(word == "ESCALATE"), list[Reversal | ReviewOutcome]()
    for record in about.later:
        if isinstance(record, ReviewOutcome):
            if word != "ESCALATE" or record.review_id != review_id(about.decided.decision_id, rounds):
                continue
            name, word = ("REVIEW", record.review_id), record.outcome
        else:
            if (str(record.replaces_kind), record.replaces_id) != name:
                continue
            name, word = ("REVERSAL", record.reversal_id), record.corrected_outcome
            rounds += word == "ESCALATE"
        counted.append(record)
    return counted


def _after(before: End, record: Reversal | ReviewOutcome) -> set[End]:
    if isinstance(record, ReviewOutcome):
        return _reviewed(before, record.outcome)
    return _reversed(before, record.corrected_outcome)


_DECIDED: Final = {
    "ALLOW": frozenset({_SETTLED, _UNPAID}),
    "ESCALATE": frozenset({_HELD, _UNPAID}),
    "BLOCK": frozenset({_REFUSED}),
}


def _reviewed(before: End, outcome: str) -> set[End]:
    if before.state != "HELD":
        return {before}  # the record came too late
    return {_SETTLED, _UNPAID} if outcome == "ALLOW" else {_REFUSED}


def _reversed(before: End, corrected: str | None) -> set[End]:
    if before.state == "RELEASED":
        return {before}
    kept = {_KEPT} if before.state == "SETTLED" else set[End]()
    match corrected:
        case "ALLOW":
            return {_SETTLED, _UNPAID}
        case "ESCALATE":
            return {_HELD, _UNPAID} | kept
        case "BLOCK":
            return {before} if before.state == "REFUSED" else {_REVERSED} | kept
        case _:
            return {_RELEASED} | kept


def _check_ledger(connection: Connection, report: Report) -> None:
    for finding in findings(connection):
        report.violate(finding.code, finding.detail)


def _check_postings(connection: Connection, executions: Mapping[str, Execution], report: Report) -> None:
    """Check the sums of the postings: what the payer is out of pocket, what is set aside, and what the payee has."""
    moved: dict[str, Counter[str]] = defaultdict(Counter)
    rows = connection.execute(
        "SELECT execution_id::text, source_account_id, destination_account_id, amount_minor FROM ledger.posting"
        " WHERE step <> 'FUND'"
    ).fetchall()
    for name, source, destination, amount_minor in rows:
        moved[name][source] -= amount_minor
        moved[name][destination] += amount_minor
    returned = _returned(connection)
    for name, execution in executions.items():
        expected = Counter[str]()
        if execution.state in ("HELD", "SETTLED"):
            out_minor = execution.amount_minor - (returned[name] if execution.state == "SETTLED" else 0)
            expected[execution.payer] -= out_minor
            expected[f"{execution.payer}/held" if execution.state == "HELD" else execution.payee] += out_minor
        found = {account: amount for account, amount in moved[name].items() if amount}
        if found != {account: amount for account, amount in expected.items() if amount}:
            report.violate("MONEY_ELSEWHERE", f"{name} is {execution.state}")


def _returned(connection: Connection) -> Counter[str]:
    """Return what was recalled in parts and is with the payer, by execution; a whole recall is none of these."""
    rows = connection.execute(
        "SELECT execution_id::text, step, amount_minor FROM ledger.posting"
        " WHERE step IN ('PART_RECALLED', 'REST_RECALLED') ORDER BY number"
    ).fetchall()
    returned: Counter[str] = Counter()
    for name, step, amount_minor in rows:
        returned[name] = 0 if step == "REST_RECALLED" else returned[name] + amount_minor
    return returned


def _check_rail(connection: Connection, rail_address: str, executions: Mapping[str, Execution], report: Report) -> None:
    """Check the rail's own entries: money is out for exactly what is settled, once, and as the decision said."""
    with urllib.request.urlopen(f"{rail_address}/v1/books", timeout=30) as answer:  # noqa: S310 - http, on loopback
        report.rail = orjson.loads(answer.read())
    with urllib.request.urlopen(f"{rail_address}/v1/entries", timeout=30) as answer:  # noqa: S310
        lines = answer.read().splitlines()
    owners = _owners_of_keys(connection)
    out: Counter[str] = Counter()
    out_minor: Counter[str] = Counter()
    returned = _returned(connection)
    for line in lines:
        key, debtor, creditor, currency, amount_minor, status, recalled_minor = orjson.loads(line)
        name = owners.get(key)
        if name is None:
            report.violate("RAIL_KNOWS_MORE", key)
            continue
        execution = executions[name]
        if (debtor, creditor, currency, amount_minor) != execution[2:6]:
            report.violate("RAIL_PAID_OTHERWISE", key)
        if status == "ACCEPTED":
            out[name] += 1
            out_minor[name] += amount_minor - recalled_minor
    for name, execution in executions.items():
        is_settled = execution.state == "SETTLED"
        expected_minor = execution.amount_minor - returned[name] if is_settled else 0
        if (out[name], out_minor[name]) != (int(is_settled), expected_minor):
            report.violate("RAIL_DIFFERS", f"{name} is {execution.state}, out {out[name]} times, {out_minor[name]}")
    _check_families(executions, out, report)


def _check_families(executions: Mapping[str, Execution], out: Counter[str], report: Report) -> None:
    """Check that of a payment and of those that it was published as anew at most one is out.

    They are one customer's wish. Each family goes by the id under which it came first.
    """
    families: Counter[tuple[str | int, ...]] = Counter()
    for name, execution in executions.items():
        families[_ROUND.sub("", execution.transaction_id), *execution[2:6]] += out[name]
    for family, times in families.items():
        if times > 1:
            report.violate("PAID_TWICE", f"{family[0]} is out {times} times")


def _owners_of_keys(connection: Connection) -> dict[str, str]:
    """Return the execution of every key that the rail may have been asked with: one for each SUBMIT of an execution."""
    rows = connection.execute(
        "SELECT execution_id::text, count(*) FROM ledger.transition WHERE step = 'SUBMIT' GROUP BY execution_id"
    ).fetchall()
    return {posting_id(name, "SUBMIT", attempt): name for name, count in rows for attempt in range(1, count + 1)}


def _check_notices(bootstrap_servers: str, executions: Mapping[str, Execution], report: Report) -> None:
    """Check that the last announcement of each execution is its state, and that repeats have the same bytes."""
    wire = WireFormat()
    digests: dict[str, bytes] = {}
    last: dict[str, tuple[int, str]] = {}
    for found in Tail(bootstrap_servers, "executions.v1").news():
        notice = wire.decode_execution(found.value)
        assert not isinstance(notice, Refusal), "what stands on executions.v1 can be read"
        digest = hashlib.blake2b(found.value, digest_size=16).digest()
        if digests.setdefault(notice.event_id, digest) != digest:
            report.violate("TOLD_DIFFERENTLY", notice.event_id)
        told = notice.sequence, notice.state
        last[notice.execution_id] = max(last.get(notice.execution_id, told), told)
    for name, execution in executions.items():
        if name not in last or last[name][1] != execution.state:
            report.violate("TOLD_WRONG", f"{name} is {execution.state}, told {last.get(name)}")


def _check_audit(connection: Connection, report: Report) -> None:
    """Check that every record of the topic, repeats included, stands in the audit log once."""
    row = connection.execute(
        "WITH kept AS (SELECT topic_partition, topic_offset FROM audit.ai_decision_log UNION ALL"
        " SELECT topic_partition, topic_offset FROM audit.reversal_log UNION ALL"
        " SELECT topic_partition, topic_offset FROM audit.review_log)"
        " SELECT count(*), count(DISTINCT (topic_partition, topic_offset)) FROM kept"
    ).fetchone()
    assert row is not None
    report.audited, places = row
    if not report.audited == places == report.records:
        report.violate("AUDIT_DIFFERS", f"{report.audited} rows of {places} places, {report.records} records")
