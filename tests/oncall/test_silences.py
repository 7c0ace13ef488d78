"""What silences cover, what no silence does, and who hears of one."""

from __future__ import annotations

from contextlib import closing

import pytest

from pipeline.domain.alert import Severity
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, connect
from pipeline.oncall.acts import SilenceWish
from pipeline.oncall.desk_store import append_silence, append_silence_end
from pipeline.oncall.groups import NEVER_SILENCED, GroupKey
from pipeline.oncall.silences import Silence, silence_alert, silenced
from tests.known import appoint, identity
from tests.oncall.stand import Stand
from tests.records import NOON_MS
from tests.servers import url_as


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


@pytest.mark.parametrize(
    ("code", "severity", "expected"),
    [
        ("*", "*", Severity.CRITICAL),
        ("BREAKER_TRIP", "*", Severity.CRITICAL),
        ("TIMESTAMP_MISSING", "*", Severity.WARNING),
        ("REGIME_CHANGED", "*", Severity.INFO),
        ("*", "WARNING", Severity.WARNING),
        ("NOT_OURS_YET", "*", Severity.CRITICAL),
        ("REGIME_CHANGED", "CRITICAL", Severity.INFO),  # which nothing has
    ],
)
def test_silence_is_told_to_whoever_would_be_called(code: str, severity: str, expected: Severity) -> None:
    assert expected is silence_alert(silence(code, severity=severity)).severity


def test_everybody_hears_of_a_silence_once_and_of_its_end(stand: Stand, owner: Connection) -> None:
    """By a stolen key of an OPERATOR everything was silenced for a week, and a trip was told to nobody."""
    appoint(owner, {"olga": "OPERATOR"})
    stand.routes(sinks='"pager", "hook"')
    silence_id = "0f0e0d0c-0000-4000-8000-000000000003"

    def told() -> list[tuple[str, str]]:
        return [(each.json["type"], each.json["data"]["code"]) for each in stand.hook.taken]

    with closing(connect(url_as(stand.database_url, "fraud_oncall"), "test")) as desk:
        ends_at_ms = server_now_ms(owner) + 10**6
        append_silence(desk, SilenceWish(silence_id, "*", "*", "*", ends_at_ms, "a planned test"), identity("olga"))
        [(began_at_ms,)] = owner.execute(
            "SELECT (extract(epoch FROM began_at) * 1000)::bigint FROM control.alert_silence"
        ).fetchall()
        known = Silence(silence_id, "*", "*", "*", began_at_ms, ends_at_ms, "olga", "a planned test")
        stand.forge(silence_alert(known)._replace(summary="Nothing to look at."), silence_alert(silence()))
        for _ in range(2):  # the second service tells nothing again
            with stand.service() as service:
                stand.run(service, lambda: bool(stand.pager.taken) and bool(stand.hook.taken))
                stand.turns(service, 12)
                assert [("alert.triggered", "ALERTS_SILENCED")] == told()
        assert "olga silenced * (*) until" in stand.hook.taken[0].json["data"]["summary"]
        with stand.service() as service:
            append_silence_end(desk, silence_id, identity("olga"))
            stand.run(service, lambda: told()[1:] == [("alert.resolved", "ALERTS_SILENCED")])
    assert ["trigger", "resolve"] == [each.json["event_action"] for each in stand.pager.taken]
