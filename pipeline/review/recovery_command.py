"""`fraud review recoveries` and `fraud review close-recovery`: money that could not be had back."""

from __future__ import annotations

from pipeline.domain.money import money_text
from pipeline.domain.times import utc_text
from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity
from pipeline.review.recovery_store import (
    KEY_FORGOTTEN,
    Recovery,
    RecoveryRefusal,
    close_recovery,
    open_recoveries,
)
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output


def recoveries(settings: Settings, limit: int) -> list[Recovery]:
    with connected(settings) as connection:
        return open_recoveries(connection, limit)


def close(settings: Settings, wanted: str, by: Identity, reason: str, sequence: int | None) -> Recovery:
    """Failure where it is refused. `sequence`: of the case, where a payment has several."""
    with connected(settings) as connection:
        answer = close_recovery(connection, wanted, by, reason, settings.review_reason_characters_min, sequence)
    if isinstance(answer, RecoveryRefusal):
        raise Failure(f"Refused: {answer}.", "`fraud review recoveries` shows those that are open.", FAILED_CHECK)
    return answer


def show_recovery(output: Output, recovery: Recovery) -> None:
    """One line a case."""
    missing = money_text(recovery.missing_minor, recovery.currency)
    whole = money_text(recovery.amount_minor, recovery.currency)
    where = f"{missing} of {whole} is with {recovery.beneficiary_account_id}"
    if recovery.reason == KEY_FORGOTTEN:
        where = f"nobody knows whether {whole} is with {recovery.beneficiary_account_id}"
    line = f"{recovery.decision_id}  {where}, {recovery.reason}"
    output.record(recovery._asdict(), f"{line}, since {utc_text(recovery.opened_at_ms)}, case {recovery.sequence}")
