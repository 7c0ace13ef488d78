"""What silences cover, and what no silence does."""

from __future__ import annotations

import pytest

from pipeline.domain.alert import Severity
from pipeline.oncall.groups import NEVER_SILENCED, GroupKey
from pipeline.oncall.silences import Silence, silenced
from tests.records import NOON_MS


def silence(code: str = "*", scope: str = "*", severity: str = "*") -> Silence:
    return Silence("1", code, scope, severity, NOON_MS, NOON_MS + 60_000, "olga", "a planned test")


def of(code: str, scope: str = "all") -> GroupKey:
    return GroupKey(code, scope, Severity.CRITICAL)


@pytest.mark.parametrize("code", sorted(NEVER_SILENCED))
@pytest.mark.parametrize("pattern", ["*", "A*", "?*", None])
def test_no_silence_keeps_quiet_that_alerts_or_acts_are_forged(code: str, pattern: str | None) -> None:
    assert silenced([silence(pattern or code)], of(code), NOON_MS) is None


def test_silence_covers_its_code_scope_and_severity_from_its_beginning_to_before_its_end() -> None:
    one = silence("BREAKER_*", "segment:*", "CRITICAL")
    covered = of("BREAKER_TRIP", "segment:postcode_area=SW")
    assert [None, one, one, None] == [silenced([one], covered, NOON_MS + at_ms) for at_ms in (-1, 0, 59_999, 60_000)]
    assert not one.covers(of("BREAKER_TRIP"))
    assert not one.covers(covered._replace(severity=Severity.WARNING))


def test_bracket_in_a_pattern_stands_for_itself() -> None:
    """A silence of the scope as it is written covered others, and not that one."""
    one = silence(scope="segment:product=[EC1]")
    assert one.covers(of("BREAKER_TRIP", "segment:product=[EC1]"))
    assert not any(one.covers(of("BREAKER_TRIP", f"segment:product={name}")) for name in "EC1")
    assert silence(scope="segment:[!a]*").covers(of("BREAKER_TRIP", "segment:[!a]=1"))
    assert not silence(scope="segment:[!a]*").covers(of("BREAKER_TRIP", "segment:b=1"))
