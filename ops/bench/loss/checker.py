"""An independent check of the pipeline's records: it reads the topics and trusts nothing of the code that wrote them.

It reads framing by hand, and Avro with fastavro and the published .avsc files. Of the pipeline it uses only the pure
core: the policy and the fallback rules say what they would have answered to the features that were stored.

A checker goes on from where it stopped, so that a bench can check after every fault at the cost of the new records.
Check when the pipeline has nothing left to do, because a payment without an outcome counts as lost.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ops.bench.rig.stored import (
    Decision,
    IntakePosition,
    Letter,
    Tail,
    decision_of,
    letter_of,
    payment_digest,
    payment_of,
)
from pipeline.decide.policy import Policy, parse_policy
from pipeline.decide.verdict import Mode, decide, regime
from pipeline.domain.decision import BreakerState, Outcome, Route
from pipeline.domain.features import FEATURES

VIOLATIONS_SHOWN: Final = 20
DUPLICATE: Final = "DUPLICATE"
CONFLICT: Final = "TRANSACTION_ID_CONFLICT"
NAMESPACE: Final = uuid.UUID("8f0c9a3e-1f1b-5c52-9d7e-6c1a5f0e2b47")
"""The namespace of decision ids. It is published, so whoever knows a payment can compute its decision id."""
KEPT_MS: Final = 7 * 86_400_000
"""For so long, in the log's time, a transaction id stands for one payment; a payment that is older is late."""
_STRICTNESS: Final = {Outcome.ALLOW: 0, Outcome.ESCALATE: 1, Outcome.BLOCK: 2}


class Finding(StrEnum):
    LOST = "LOST"  # a payment without a decision, a dead letter or a recorded duplicate (I1)
    ACCOUNTED_TWICE = "ACCOUNTED_TWICE"  # two outcomes for one record (I1)
    INVENTED = "INVENTED"  # an outcome for a record that was never published (I1)
    SECOND_DECISION = "SECOND_DECISION"  # two decisions on one payment, or within 7 days on one transaction id (I2)
    WRONG_DECISION_ID = "WRONG_DECISION_ID"  # an id that doesn't follow from the payment (I2)
    ALTERED_PAYMENT = "ALTERED_PAYMENT"  # bytes other than those that were published
    WRONG_INPUT_HASH = "WRONG_INPUT_HASH"  # a hash that isn't the SHA-256 of the snapshot
    WRONG_KEY = "WRONG_KEY"  # a decision that is not keyed by its account
    FALSE_DUPLICATE = "FALSE_DUPLICATE"  # a recorded duplicate, although no equal payment was decided
    FALSE_CONFLICT = "FALSE_CONFLICT"  # a recorded conflict, although no other payment of that id was decided
    POLICY_UNKNOWN = "POLICY_UNKNOWN"  # a decision that names a policy that was never in force
    TOO_PERMISSIVE = "TOO_PERMISSIVE"  # a decision where the fallback rules would have been stricter (I4)
    UNEXPLAINED = "UNEXPLAINED"  # a decision without reasons or without a summary (I9)


class Violation(NamedTuple):
    finding: Finding
    position: IntakePosition
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """Counts since the checker's first look.

    Where nothing is missing, transactions = decisions + dead letters + duplicates.
    """

    transactions: int
    decisions: int
    dead_letters: Mapping[str, int]  # by code, duplicates left out
    duplicates: int
    routes: Mapping[str, int]
    breaker_states: Mapping[str, int]
    policies: int  # policies that decisions name
    judged_by_fallback: int  # decisions that were compared with the fallback rules' answers
    violations: Mapping[str, int]
    first_violations: tuple[Violation, ...]

    @property
    def is_whole(self) -> bool:
        return not self.violations

    def as_json(self) -> dict[str, object]:
        return {
            "transactions": self.transactions,
            "decisions": self.decisions,
            "dead_letters": dict(self.dead_letters),
            "duplicates": self.duplicates,
            "routes": dict(self.routes),
            "breaker_states": dict(self.breaker_states),
            "policies": self.policies,
            "judged_by_fallback": self.judged_by_fallback,
            "violations": dict(self.violations),
            "first_violations": [f"{v.finding} at {v.position}: {v.detail}" for v in self.first_violations],
        }


_Name = tuple[str, str]  # source system and transaction id


class _Published(NamedTuple):
    value_sha256: bytes
    body_sha256: bytes  # without framing
    name: _Name | None  # None where the bytes are no payment
    digest: bytes | None


class _Decided(NamedTuple):
    position: IntakePosition
    digest: bytes
    log_time_ms: int
    is_late: bool


class Checker:
    """Checks the topics. `policies` holds every policy file that was in force at some time."""

    def __init__(self, bootstrap_servers: str, prefix: str, policies: Iterable[Path]) -> None:
        self._policies = {hashlib.sha256(c).digest(): parse_policy(c) for c in (path.read_bytes() for path in policies)}
        self._transactions = Tail(bootstrap_servers, f"{prefix}transactions.v1")
        self._decisions = Tail(bootstrap_servers, f"{prefix}decisions.v1")
        self._letters = Tail(bootstrap_servers, f"{prefix}transactions.dead.v1")
        self._transactions_topic = f"{prefix}transactions.v1"
        self._published: dict[IntakePosition, _Published] = {}
        self._outcomes: dict[IntakePosition, str] = {}
        self._lost: set[IntakePosition] = set()
        self._decided: dict[_Name, list[_Decided]] = {}
        self._letter_codes: Counter[str] = Counter()
        self._routes: Counter[str] = Counter()
        self._states: Counter[str] = Counter()
        self._judged = 0
        self._policies_named: set[bytes] = set()
        self._counts: Counter[str] = Counter()
        self._violations: list[Violation] = []

    def allow_policy(self, content: bytes) -> None:
        """Add a policy that may be in force from now on."""
        self._policies[hashlib.sha256(content).digest()] = parse_policy(content)

    def check(self) -> Report:
        """Check everything published and written since the last check."""
        for message in self._transactions.news():
            payment = payment_of(message.value)
            body_sha256 = hashlib.sha256(payment.body).digest()
            value_sha256 = hashlib.sha256(message.value).digest()
            position = IntakePosition(message.partition, message.offset)
            self._published[position] = _Published(value_sha256, body_sha256, _name(payment.fields), payment.digest)
            self._lost.add(position)
        decisions = [decision_of(message.key, message.value) for message in self._decisions.news()]
        letters = [letter_of(message.value) for message in self._letters.news()]
        letters = [letter for letter in letters if letter.source_topic == self._transactions_topic]
        for decision in decisions:
            self._check_decision(decision)
        for letter in letters:
            self._account(letter.position, letter.code)
        for letter in letters:
            self._check_letter(letter)
        self._check_strictness(decisions)
        for position in self._lost:
            self._found(Finding.LOST, position, "no decision, dead letter or duplicate names it")
        self._lost.clear()
        return self._report()

    def _account(self, position: IntakePosition, outcome: str) -> None:
        if position not in self._published:
            self._found(Finding.INVENTED, position, outcome)
        if position in self._outcomes:
            self._found(Finding.ACCOUNTED_TWICE, position, f"{self._outcomes[position]} and {outcome}")
        self._outcomes[position] = outcome
        self._lost.discard(position)

    def _check_decision(self, decision: Decision) -> None:
        position, fields = decision.position, decision.fields
        self._account(position, f"decision {fields['outcome']}")
        self._routes[fields["route"]] += 1
        self._states[fields["breaker_state"]] += 1
        transaction_id = fields["transaction_id"]
        body_sha256 = hashlib.sha256(decision.payment_body).digest()
        self._check_identity(decision)
        published = self._published.get(position)
        names_its_payment = fields["transaction_id"] == decision.payment["transaction_id"]
        if not names_its_payment or (published is not None and published.body_sha256 != body_sha256):
            self._found(Finding.ALTERED_PAYMENT, position, transaction_id)
        if fields["input_hash"] != hashlib.sha256(decision.snapshot).digest():
            self._found(Finding.WRONG_INPUT_HASH, position, transaction_id)
        if not decision.key == fields["account_id"].encode() == decision.payment["account_id"].encode():
            self._found(Finding.WRONG_KEY, position, transaction_id)
        if not fields["summary"].strip() or not fields["reasons"] or not all(r["text"] for r in fields["reasons"]):
            self._found(Finding.UNEXPLAINED, position, transaction_id)

    def _check_identity(self, decision: Decision) -> None:
        position, fields, payment = decision.position, decision.fields, decision.payment
        name, log_time_ms = _name(payment), fields["source_timestamp_ms"]
        assert name is not None
        is_late = log_time_ms - payment["event_time_ms"] > KEPT_MS
        made = _Decided(position, payment_digest(payment), log_time_ms, is_late)
        before = self._decided.setdefault(name, [])
        for other in before:
            if _is_second(made, other):
                self._found(Finding.SECOND_DECISION, position, f"{fields['transaction_id']} at {other.position}")
        before.append(made)
        parts = [*name, made.digest.hex(), *(map(str, position) if is_late else ())]
        if fields["decision_id"] != str(uuid.uuid5(NAMESPACE, "\n".join(parts))):
            self._found(Finding.WRONG_DECISION_ID, position, fields["decision_id"])

    def _check_letter(self, letter: Letter) -> None:
        self._letter_codes[letter.code] += 1
        published = self._published.get(letter.position)
        if published is None:
            return
        if letter.payload_sha256 != published.value_sha256:
            self._found(Finding.ALTERED_PAYMENT, letter.position, letter.code)
        decided = [] if published.name is None else self._decided.get(published.name, [])
        if letter.code == DUPLICATE and all(each.digest != published.digest for each in decided):
            self._found(Finding.FALSE_DUPLICATE, letter.position, "no equal payment was decided")
        if letter.code == CONFLICT and all(each.digest == published.digest for each in decided):
            self._found(Finding.FALSE_CONFLICT, letter.position, "no other payment of this id was decided")

    def _check_strictness(self, decisions: Iterable[Decision]) -> None:
        """Check that no decision passes that the fallback rules would have stopped, where the model may not answer."""
        by_policy: dict[bytes, list[Decision]] = {}
        for decision in decisions:
            policy_hash = decision.fields["policy_hash"]
            self._policies_named.add(policy_hash)
            if policy_hash not in self._policies:
                self._found(Finding.POLICY_UNKNOWN, decision.position, policy_hash.hex())
            elif _is_governed_by_fallback(decision):
                by_policy.setdefault(policy_hash, []).append(decision)
        for policy_hash, judged in by_policy.items():
            self._judged += len(judged)
            for decision, strictest in zip(
                judged, _fallback_outcomes(self._policies[policy_hash], judged), strict=True
            ):
                outcome = Outcome(decision.fields["outcome"])
                if _STRICTNESS[outcome] < _STRICTNESS[strictest]:
                    by = f"{decision.fields['route']} while {decision.fields['breaker_state']}"
                    self._found(Finding.TOO_PERMISSIVE, decision.position, f"{outcome} by {by}, fallback {strictest}")

    def _found(self, finding: Finding, position: IntakePosition, detail: str) -> None:
        self._counts[finding] += 1
        if len(self._violations) < VIOLATIONS_SHOWN:
            self._violations.append(Violation(finding, position, detail))

    def _report(self) -> Report:
        codes = {code: count for code, count in sorted(self._letter_codes.items()) if code != DUPLICATE}
        return Report(
            transactions=len(self._published),
            decisions=sum(self._routes.values()),
            dead_letters=codes,
            duplicates=self._letter_codes[DUPLICATE],
            routes=dict(self._routes),
            breaker_states=dict(self._states),
            policies=len(self._policies_named),
            judged_by_fallback=self._judged,
            violations=dict(self._counts),
            first_violations=tuple(self._violations),
        )


def _is_governed_by_fallback(decision: Decision) -> bool:
    """Return whether the model must not have answered. In HALF_OPEN it answers a sample by design."""
    state = decision.fields["breaker_state"]
    return decision.fields["route"] == Route.FALLBACK or state not in (BreakerState.CLOSED, BreakerState.HALF_OPEN)


def _fallback_outcomes(policy: Policy, decisions: list[Decision]) -> list[Outcome]:
    """Return what the policy's guardrails and fallback rules answer to the stored features, without a model."""
    rows = [[decision.features[name] for name in FEATURES] for decision in decisions]
    mode = Mode(BreakerState.OPEN, "all", False)
    verdicts = decide(np.array(rows, dtype=np.int64), [mode] * len(rows), regime(policy, None))
    return [verdict.outcome for verdict in verdicts]


def _name(payment: Mapping[str, Any] | None) -> _Name | None:
    return None if payment is None else (payment["source_system"] or "", payment["transaction_id"])


def _is_second(made: _Decided, before: _Decided) -> bool:
    """Whether a payment must not have been decided, since another decision is on it, or holds its id."""
    if made.digest == before.digest:
        return not made.is_late
    return abs(made.log_time_ms - before.log_time_ms) <= KEPT_MS
