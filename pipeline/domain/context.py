"""Context of payments, as values: accounts, risk signals, labels, and people's switches of the circuit breaker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pipeline.domain.enums import FastStrEnum


class Account(NamedTuple):
    """A value of `accounts.v1`; fields in the order of `schemas/account.v1.avsc`. The newest `updated_at_ms` wins."""

    account_id: str
    updated_at_ms: int
    normal_month_gbp_minor: int | None  # None where none is declared; it takes an earlier one back


class RiskSignalKind(FastStrEnum):
    IP_ADDRESS = "IP_ADDRESS"
    DEVICE = "DEVICE"


class RiskSignal(NamedTuple):
    """A value of `risk_signals.v1`; fields in the order of `schemas/risk_signal.v1.avsc`. The newest wins."""

    kind: RiskSignalKind
    entity: str  # the address or the device
    fraud_reports: int
    observed_at_ms: int

    @property
    def key(self) -> str:
        """The key of its record: the kind goes in front, as a device may be named like an address.

        The key of an address holds it in its canonical spelling (`canonical_ip_address`); compaction compares bytes.
        """
        return signal_key(self.kind, self.entity)


def signal_key(kind: RiskSignalKind, entity: str) -> str:
    return f"{kind}:{entity}"


class Label(NamedTuple):
    """The truth about a payment, as a value of `labels.v1`; fields in the order of `schemas/label.v1.avsc`."""

    transaction_id: str
    account_id: str
    beneficiary_account_id: str
    event_time_ms: int  # of the payment
    fraud: bool
    labelled_at_ms: int
    labelled_by: str


def frauds_told(labels: Iterable[Label]) -> dict[tuple[str, str], Label]:
    """Return the payments that labels hold for fraud, by account and id, in the order in which that was said last.

    As for features: the later in the log holds, but for one that takes a fraud back and was made before the one that it
    takes back. A queue that stood still must not undo what people have found out since.
    """
    found: dict[tuple[str, str], Label] = {}
    for label in labels:
        payment = label.account_id, label.transaction_id
        before = found.get(payment)
        if label.fraud:
            found.pop(payment, None)
            is_later = before is None or label.labelled_at_ms >= before.labelled_at_ms
            found[payment] = label if is_later or before is None else before
        elif before is not None and label.labelled_at_ms >= before.labelled_at_ms:
            del found[payment]
    return found


class SwitchPosition(FastStrEnum):
    FORCED_OPEN = "FORCED_OPEN"  # the model stays out until somebody releases the scope
    RELEASED = "RELEASED"  # the model goes on probation, and the breaker goes on by itself from there


class BreakerSwitch(NamedTuple):
    """A person's word on a scope of the breaker, as a value of `breaker_switches.v1`; the highest sequence wins.

    Fields in the order of `schemas/breaker_switch.v1.avsc`.
    """

    scope: str
    position: SwitchPosition
    sequence: int  # above that of every switch before it, whatever its scope
    thrown_at_ms: int
    thrown_by: str
    reason: str
    accepts_shift: bool  # how the model answers now is its new normal; only with RELEASED
    act: str = ""  # what its person signed; empty of one that nobody proved
    signature: bytes = b""
    evidence: str = ""  # of a login session, as JSON
    drill: str = ""  # the id of a drill on the live breaker; empty of a kill switch or a release
    ends_at_ms: int = 0  # of a drill: when its open period ends, whoever is still there
    consent: str = ""  # of a drill: what two people signed, as JSON


class BreakerHour(NamedTuple):
    """What the model answered within an hour, by scope, as a value of `breaker_hours.v1`.

    Fields in the order of `schemas/breaker_hour.v1.avsc`. counts: six of each of the scopes, in their order: allowed,
    blocked, escalated, failed, the sum of the fraud probabilities in millionths, that of their squares. excluded:
    scopes, or `*` for every one, in which an incident touched the hour, so that it says nothing of what is usual.
    doubts: two of each of the scopes: what the model escalated by itself, and of how many answers that is known; empty
    where it was not counted, which is unknown and not zero.
    """

    start_ms: int
    scopes: list[str]
    counts: list[int]
    excluded: list[str]
    doubts: list[int]
