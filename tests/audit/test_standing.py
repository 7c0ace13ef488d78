"""Alerts that are over some day. Invariants of pipeline/audit/standing.py."""

from __future__ import annotations

import pytest

from pipeline.alerts.catalogue import AlertCode
from pipeline.audit.standing import CODES, TOLD_AGAIN_S, Standing
from tests.records import NOON_MS


@pytest.mark.parametrize("code", sorted(CODES))
def test_1_process_calls_off_what_the_one_before_it_raised(code: AlertCode) -> None:
    [raised] = Standing().raised(code, "It is 7 minutes old.", NOON_MS, now_s=0.0)
    [ended] = Standing().ended(code, NOON_MS + 1)
    assert (raised.alert_id, True, NOON_MS + 1) == (ended.alert_id, ended.is_over, ended.raised_at_ms)


def test_2_it_is_said_to_be_over_once_for_each_raising() -> None:
    standing, code = Standing(), AlertCode.AUDIT_UNWITNESSED
    assert [1, 0] == [len(standing.ended(code, NOON_MS)) for _ in range(2)]
    standing.raised(code, "again", NOON_MS, now_s=0.0)
    assert [1, 0] == [len(standing.ended(code, NOON_MS)) for _ in range(2)]


@pytest.mark.parametrize("code", sorted(CODES))
def test_3_what_goes_on_is_told_again_each_hour_and_of_another_time_at_once(code: AlertCode) -> None:
    standing = Standing()

    def told(now_s: float, since_ms: int = NOON_MS) -> int:
        return len(standing.raised(code, "It goes on.", NOON_MS, since_ms=since_ms, now_s=now_s))

    assert [1, 0, 0, 1, 0] == [told(now_s) for now_s in (0.0, 1.0, TOLD_AGAIN_S - 1, TOLD_AGAIN_S, TOLD_AGAIN_S + 1)]
    assert 1 == told(TOLD_AGAIN_S + 2, NOON_MS + 1)
