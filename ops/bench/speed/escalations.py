"""The rules of this release on sound traffic: the share of ESCALATE before and after, by cause.

`python -m ops.bench.speed.escalations [--accounts N] [--days N]` decides the generator's stream, without faults, by the
shipped policy and by the rules before it on the same payments, and prints one JSON object. Executions follow decisions:
what is allowed settles, what is blocked is refused, and a person looks at what is escalated and lets the honest pass.
The first 40 days are not counted: nobody has paid anybody then.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from models.artefact.files import load_champion
from models.simulator import TrafficSettings
from models.simulator.records import LabelledTransaction
from models.simulator.stream import traffic_events
from models.train.history import DEFAULT_POLICY
from pipeline.decide.event_features import EventRows
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.policy import Policy, parse_policy
from pipeline.decide.rules import hits_of
from pipeline.decide.verdict import Mode, Regime, Verdict, decide, regime
from pipeline.domain.context import Account, Label, RiskSignal
from pipeline.domain.decision import BreakerState, Outcome
from pipeline.domain.features import COLUMN, NONE, RATIO_PERCENT_MAX, Matrix, feature_matrix
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.payment import Transaction
from pipeline.state.context.facts import LogPlace
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import Windows

START_MS: Final = 1_767_225_600_000  # 2026-01-01
CHUNK: Final = 256
WARM_DAYS: Final = 40
DAY_MS: Final = 86_400_000
SETTLED_AFTER_MS: Final = 2_000
REVIEWED_AFTER_MS: Final = 3_600_000
MODES: Final = {
    "MODEL": Mode(BreakerState.CLOSED, "all", True),
    "FALLBACK": Mode(BreakerState.OPEN, "all", False),
}
_BEFORE: Final = {
    "is_unpaid_beneficiary": "is_new_beneficiary",
    "account_volume_minor_24h": "account_sum_minor_24h",
    "beneficiary_confirmed_frauds": "beneficiary_frauds_30d",
    "amount_percent_of_earlier_average_30d": "amount_percent_of_average_30d",
}
"""What the shipped rules read, and what those before them read in its place."""
CAUSES: Final = {
    "SOFT_NEW_PAYEE_HIGH_VALUE": "finding 9",
    "FALLBACK_NEW_PAYEE": "finding 9",
    "SOFT_VELOCITY": "finding 10",
    "SOFT_RISKY_BENEFICIARY": "finding 13",
    "FALLBACK_RISKY_BENEFICIARY": "finding 13",
    "FALLBACK_SUSPECTED_BENEFICIARY": "finding 13",
    "FALLBACK_UNUSUAL_AMOUNT": "finding 18",
}


@dataclass(slots=True)
class Counted:
    """Decisions of one route."""

    payments: int = 0
    before: int = 0
    after: int = 0
    more: Counter[str] = field(default_factory=Counter)  # escalated now only, by cause
    fewer: int = 0

    def count(self, before: Verdict, after: Verdict) -> None:
        was, is_now = before.outcome is Outcome.ESCALATE, after.outcome is Outcome.ESCALATE
        self.payments += 1
        self.before += was
        self.after += is_now
        self.fewer += was and not is_now
        if is_now and not was:
            added = set(after.rules_triggered) - set(before.rules_triggered)
            self.more[" and ".join(sorted({CAUSES.get(code, code) for code in added})) or "another"] += 1

    def told(self) -> dict[str, object]:
        def points(number: int) -> float:
            return round(100 * number / self.payments, 3)

        return {
            "payments": self.payments,
            "before_percent": points(self.before),
            "after_percent": points(self.after),
            "more_points_by_cause": {cause: points(count) for cause, count in self.more.most_common()},
            "fewer_points": points(self.fewer),
        }


class Stream:
    """Payments through windows and decisions, and what becomes of each."""

    def __init__(self, policy: Policy) -> None:
        model = load_champion(Path("models/registry"))
        self._after: Regime = regime(policy, model)
        self._before: Regime = regime(rules_before(), model)
        self._rows = EventRows(policy, shipped_feeds())
        self._windows, self._windows_before = Windows(), Windows()  # the latter without outcomes
        self._outcomes: list[tuple[int, int, PaymentOutcome]] = []
        self._waiting: list[tuple[LabelledTransaction, tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = []
        self._told = 0
        self.counted = {route: Counted() for route in MODES}

    def take(self, event: LabelledTransaction | Account | RiskSignal | Label) -> None:
        match event:
            case Label():
                for windows in self._windows, self._windows_before:
                    windows.label(event)
            case Account():
                for windows in self._windows, self._windows_before:
                    windows.upsert_account(event, LogPlace(event.updated_at_ms, 0))
            case RiskSignal():
                for windows in self._windows, self._windows_before:
                    windows.upsert_risk_signal(event, LogPlace(event.observed_at_ms, 0))
            case LabelledTransaction():
                self._pay(event)

    def _pay(self, labelled: LabelledTransaction) -> None:
        payment = labelled.transaction
        while self._outcomes and self._outcomes[0][0] <= payment.event_time_ms:
            self._windows.apply(heapq.heappop(self._outcomes)[2])
        event = self._rows.row(payment, payment.event_time_ms)
        if hits_of(self._after.rules.static_hard, np.array([event], dtype=np.int64)):
            return
        counted = self._event(payment, event[0])
        seen = self._windows.observe(counted), self._windows_before.observe(counted)
        self._waiting.append((labelled, event, *seen))
        if len(self._waiting) == CHUNK:
            self.settle()

    def settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        event = np.array([each[1] for each in waiting], dtype=np.int64)
        after = feature_matrix(event, np.array([each[2] for each in waiting], dtype=np.int64))
        before = feature_matrix(event, np.array([each[3] for each in waiting], dtype=np.int64))
        enter_percent_before(before)
        for route, mode in MODES.items():
            modes = [mode] * len(waiting)
            both = zip(waiting, decide(before, modes, self._before), decide(after, modes, self._after), strict=True)
            for (labelled, row, _, _), was, is_now in both:
                if labelled.transaction.event_time_ms >= START_MS + WARM_DAYS * DAY_MS:
                    self.counted[route].count(was, is_now)
                if route == "MODEL":
                    self._tell(labelled, row[0], is_now.outcome)

    def _tell(self, labelled: LabelledTransaction, amount_gbp_minor: int, outcome: Outcome) -> None:
        payment, self._told = labelled.transaction, self._told + 1
        is_made = outcome is Outcome.ALLOW or (outcome is Outcome.ESCALATE and not labelled.fraud)
        delay_ms = REVIEWED_AFTER_MS if outcome is Outcome.ESCALATE else SETTLED_AFTER_MS
        at_ms = payment.event_time_ms + delay_ms
        told = PaymentOutcome(
            payment.account_id,
            payment.beneficiary_account_id,
            OutcomeKind.MADE if is_made else OutcomeKind.WITHDRAWN,
            payment.event_time_ms,
            at_ms if is_made else NONE,
            amount_gbp_minor,
            self._told.to_bytes(16, "big"),
        )
        heapq.heappush(self._outcomes, (at_ms, self._told, told))

    def _event(self, t: Transaction, amount_gbp_minor: int) -> StateEvent:
        near = self._rows.is_near_limit(amount_gbp_minor)
        return StateEvent(
            0, t.transaction_id, b"", t.account_id, t.beneficiary_account_id, t.event_time_ms, t.event_time_ms,
            amount_gbp_minor, near, t.ip_address, t.device_id, True,
        )  # fmt: skip


def rules_before() -> Policy:
    """The shipped rules with what those before them read."""
    text = DEFAULT_POLICY.read_text(encoding="utf-8")
    for now, was in _BEFORE.items():
        text = text.replace(f'"{now}"', f'"{was}"')
    before = parse_policy(text.encode())
    added = {"SOFT_LATE", "SOFT_UNUSUAL_HOURS_LOGGED", "SOFT_EXCHANGE_RATE_OLD", "SOFT_SANCTIONS_LIST_OLD"}
    added |= {"SOFT_UNUSUAL_AMOUNT", "SOFT_UNUSUAL_AGAIN", "SOFT_RISKY_BENEFICIARY", "SOFT_DAILY_VOLUME_DATED_BACK"}
    soft = tuple(rule for rule in before.soft.rules if rule.code not in added)
    return before.model_copy(update={"soft": before.soft.model_copy(update={"rules": soft})})


def enter_percent_before(before: Matrix) -> None:
    """The ratio to the normal month as it was: of all that was attempted, and none to a month of nothing."""
    attempted, month = before[:, COLUMN["account_sum_minor_30d"]], before[:, COLUMN["account_normal_month_minor"]]
    divisor = np.where(month > 0, month, 1)
    percent = np.minimum((200 * attempted + divisor) // (2 * divisor), RATIO_PERCENT_MAX)
    before[:, COLUMN["account_volume_percent_of_normal_month"]] = np.where(month > 0, percent, NONE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the share of ESCALATE before and after, by cause.")
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=160)
    parser.add_argument("--seed", type=int, default=11)
    asked = parser.parse_args()
    stream = Stream(parse_policy(DEFAULT_POLICY.read_bytes()))
    settings = TrafficSettings(seed=asked.seed, accounts=asked.accounts, start_ms=START_MS, days=asked.days)
    for event in traffic_events(settings):
        stream.take(event)
    stream.settle()
    print(json.dumps({route: counted.told() for route, counted in stream.counted.items()}, indent=2))


if __name__ == "__main__":
    main()
