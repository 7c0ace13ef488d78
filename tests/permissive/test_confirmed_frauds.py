"""A payee with confirmed frauds is looked at while the model decides, and whatever time a payment claims."""

from pathlib import Path as File

import pytest

from models.artefact.files import load_champion
from pipeline.decide.verdict import regime
from pipeline.domain.context import Label
from pipeline.domain.decision import Outcome, Route
from pipeline.state.context.facts import LogPlace
from tests.permissive.path import Path
from tests.permissive.world import DAY_MS, HOUR_MS, START_MS, Paid, Stated
from tests.records import PAYMENT, feeds, policy

MULE = "GB47-MULE"


def paid(name: str, at_ms: int, **changes: object) -> Paid:
    log_time_ms = changes.pop("log_time_ms", at_ms)
    assert isinstance(log_time_ms, int)
    payment = PAYMENT._replace(
        transaction_id=name, event_time_ms=at_ms, beneficiary_opened_at_ms=at_ms - 400 * DAY_MS, amount_minor=2_500
    )
    return Paid(payment._replace(**changes), log_time_ms + 200)


@pytest.fixture
def path() -> Path:
    """The path after an account's quiet month, and six frauds at the mule that were confirmed within hours."""
    path = Path(regime(policy(), load_champion(File("models/registry")), feeds()))
    path.run([paid(f"quiet-{day}", START_MS - (40 - day) * DAY_MS, account_id="victim") for day in range(30)])
    for number in range(6):
        fraud = paid(f"fraud-{number}", START_MS + number, account_id=f"payer-{number}", beneficiary_account_id=MULE)
        path.run([fraud])
        t = fraud.transaction
        ids = t.transaction_id, t.account_id, t.beneficiary_account_id
        label = Label(*ids, t.event_time_ms, True, START_MS + HOUR_MS, "desk")
        path.run([Stated(label, LogPlace(START_MS + HOUR_MS, number))])
    return path


@pytest.mark.parametrize(("hours", "days_back"), [(2, 0), (48, 0), (197, 5), (197, 6)])
@pytest.mark.parametrize("amount_minor", [20_000, 90_000])
def test_a_payment_to_a_payee_with_confirmed_frauds_is_not_allowed(
    path: Path, hours: int, days_back: int, amount_minor: int
) -> None:
    now_ms = START_MS + hours * HOUR_MS
    changes = {"account_id": "victim", "beneficiary_account_id": MULE, "amount_minor": amount_minor}
    path.run([paid("asked", now_ms - days_back * DAY_MS, **changes, log_time_ms=now_ms)])
    found = path.decided["asked"]
    assert found.route is Route.MODEL
    assert found.outcome is not Outcome.ALLOW
