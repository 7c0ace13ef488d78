"""A plan: the payments that a thief hands in, what each is for, and what was bought before; and the plan as JSON.

Invariants
1. A plan says everything that its carrying out depends on, but for the world it is carried out in: `plan_of` of
   `plan_json` is the plan.
2. Acts are in the order in which they reach the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from models.artefact.strict import Json
from models.redteam.costs import Purchase, cost_minor
from pipeline.domain.payment import Channel, Transaction


class Role(StrEnum):
    """STEAL: its money is what the plan is after. PREPARE and NOISE are means to it, and never count as stolen."""

    STEAL = "STEAL"
    PREPARE = "PREPARE"
    NOISE = "NOISE"


class Act(NamedTuple):
    role: Role
    transaction: Transaction
    logged_at_ms: int
    is_said_honest: bool = False  # somebody gets it labelled honest where it is paid


class PlanRefused(ValueError):
    """A file is no plan; the message is one sentence."""


class Plan(NamedTuple):
    attack: str
    acts: tuple[Act, ...]
    purchases: Mapping[Purchase, int]

    @property
    def cost_minor(self) -> int:
        """Pence that the thief spends and doesn't get back."""
        return cost_minor(self.purchases)

    @property
    def accounts(self) -> frozenset[str]:
        return frozenset(act.transaction.account_id for act in self.acts)

    @property
    def beneficiaries(self) -> frozenset[str]:
        return frozenset(act.transaction.beneficiary_account_id for act in self.acts)


def plan_json(plan: Plan) -> dict[str, Json]:
    return {
        "attack": plan.attack,
        "cost_minor": plan.cost_minor,
        "purchases": {purchase.name: count for purchase, count in sorted(plan.purchases.items()) if count},
        "payments": [_act_json(act) for act in plan.acts],
    }


def plan_of(value: Json) -> Plan:
    """Raises PlanRefused."""
    try:
        whole = _object(value)
        bought, payments = _object(whole["purchases"]), whole["payments"]
        if not isinstance(payments, list):
            raise PlanRefused("its payments are no list")
        purchases = {Purchase[name]: _integer(count) for name, count in bought.items()}
        return Plan(str(whole["attack"]), tuple(_act_of(act) for act in payments), purchases)
    except PlanRefused:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise PlanRefused(f"it lacks {error}, or has it in another form") from error


def _act_json(act: Act) -> Json:
    fields: dict[str, Json] = dict(act.transaction._asdict())
    return {
        "role": act.role.value,
        "logged_at_ms": act.logged_at_ms,
        "is_said_honest": int(act.is_said_honest),
        **fields,
        "channel": act.transaction.channel.value,
        "segments": dict(sorted(act.transaction.segments.items())),
    }


def _act_of(value: Json) -> Act:
    written = _object(value)
    said = {name: written[name] for name in Transaction._fields} | {"channel": Channel(str(written["channel"]))}
    transaction = Transaction(**said)  # type: ignore[arg-type]  # the worker's decoder checks what it is told
    logged_at_ms, is_said_honest = _integer(written["logged_at_ms"]), bool(_integer(written["is_said_honest"]))
    return Act(Role(str(written["role"])), transaction, logged_at_ms, is_said_honest)


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise PlanRefused("it is no JSON object, or holds one of its parts in another form")
    return value


def _integer(value: Json) -> int:
    if not isinstance(value, int):
        raise PlanRefused("a number in it is no integer")
    return value
