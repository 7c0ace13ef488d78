"""Payments that are dated back move no more than what the policy allows of two days."""

from pathlib import Path as File

import pytest

from models.artefact.files import load_champion
from pipeline.decide.verdict import regime
from pipeline.domain.decision import Outcome
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from tests.permissive.path import Path
from tests.permissive.world import DAY_MS, HOUR_MS, START_MS, Paid, Told, outcome_name
from tests.records import PAYMENT, feeds, policy

DAILY_MINOR = 20_000_000
AMOUNT_MINOR = 3_900_000
USUAL_DAYS = 40
HANDED_IN_MS = START_MS + (USUAL_DAYS + 20) * DAY_MS


@pytest.fixture
def path() -> Path:
    """The path of an account that pays its one payee as much every day, and is paid out each time."""
    path = Path(regime(policy(), load_champion(File("models/registry")), feeds()))
    for day in range(USUAL_DAYS):
        at_ms = START_MS + day * DAY_MS
        payment = paid(f"usual-{day}", at_ms, at_ms)
        path.run([payment])
        ids = payment.transaction.account_id, payment.transaction.beneficiary_account_id
        name = outcome_name(payment.transaction)
        made = PaymentOutcome(*ids, OutcomeKind.MADE, at_ms, at_ms + 1_000, AMOUNT_MINOR, name, order=day)
        path.run([Told(made, at_ms + 1_000)])
    return path


def paid(name: str, event_time_ms: int, log_time_ms: int) -> Paid:
    changes = {"transaction_id": name, "amount_minor": AMOUNT_MINOR, "beneficiary_opened_at_ms": None}
    return Paid(PAYMENT._replace(**changes, event_time_ms=event_time_ms), log_time_ms + 200)


def allowed_minor(path: Path, *days_back: int) -> int:
    """What is allowed of five payments dated at each of the days back, all of them handed in within the hour."""
    names = [f"dated-{place}-{number}" for place in range(len(days_back)) for number in range(5)]
    for place, back in enumerate(days_back):
        for number in range(5):
            log_time_ms = HANDED_IN_MS + place * 60_000 + number * 1_000
            dated_ms = log_time_ms if back == 0 else log_time_ms - back * DAY_MS + HOUR_MS
            path.run([paid(f"dated-{place}-{number}", dated_ms, log_time_ms)])
    return sum(AMOUNT_MINOR for name in names if path.decided[name].outcome is Outcome.ALLOW)


def test_a_days_volume_dated_back_over_a_week_is_allowed_once(path: Path) -> None:
    assert allowed_minor(path, 6, 5, 4, 3, 2, 1) <= DAILY_MINOR


def test_and_once_more_as_what_it_is(path: Path) -> None:
    assert DAILY_MINOR < allowed_minor(path, 6, 4, 2, 0) <= 2 * DAILY_MINOR


def test_one_day_that_reaches_the_log_late_is_allowed(path: Path) -> None:
    assert allowed_minor(path, 2) == 5 * AMOUNT_MINOR
