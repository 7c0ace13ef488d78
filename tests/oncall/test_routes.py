"""The file of routes: every fault is named, and every alert has somebody to tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from pipeline.alerts.catalogue import CATALOGUE, AlertCode, alert
from pipeline.domain.alert import Severity
from pipeline.oncall.groups import GroupKey, key_of
from pipeline.oncall.routes_files import RoutesRefused, address_fault, parse_routes
from tests.oncall.given import SECRETS, SIGNING, routes, routes_text
from tests.records import NOON_MS

FOLDER = Path("pipeline/oncall/routes")
EVERY = '["INFO", "WARNING", "CRITICAL"]'


def refusal(text: str, secrets: dict[str, str] = SECRETS, *, is_production: bool = False) -> str:
    with pytest.raises(RoutesRefused) as refused:
        parse_routes(text.encode(), secrets, is_production=is_production)
    return str(refused.value)


@pytest.mark.parametrize("code", AlertCode)
def test_every_alert_of_the_catalogue_has_a_route(code: AlertCode) -> None:
    for severity in CATALOGUE[code].severities:
        key = key_of(alert(code, "", "segment:E1", {}, NOON_MS, severity))
        assert routes().route_of(key).sinks


FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "no TOML": (lambda text: text + "[[", "it is no TOML"),
    "a word too much": (lambda text: text + "colour = 1", "colour"),
    "no catch-all": (lambda text: text.replace(EVERY, '["CRITICAL"]'), "no route takes every INFO alert"),
    "a catch-all with a scope": (lambda text: text + 'scopes = ["all"]', "no route takes every CRITICAL alert"),
    "an unknown sink": (lambda text: text.replace('"pager", "alert', '"phone", "alert'), "the sink phone, which there"),
    "an unknown secret": (lambda text: text.replace('secret = "hook"', 'secret = "gone"'), "has no gone"),
    "two of a name": (lambda text: text.replace('name = "hook"', 'name = "slack"'), "two sinks have one name"),
    "a user in an address": (
        lambda text: text.replace("http://127.0.0.1:4", "http://me:x@127.0.0.1:4"),
        "holds a user",
    ),
    "another scheme": (lambda text: text.replace("http://127.0.0.1:4", "file:///etc"), "is not written https"),
    "a line break": (lambda text: text.replace("127.0.0.1:4/hook", "127.0.0.1:4/\\r\\nhook"), "is no address"),
    "mail to nobody": (lambda text: text.replace('"oncall@bank.example", "lead@bank.example"', ""), "recipients"),
    "a header in an address": (lambda text: text.replace("oncall@bank", "a@b\\nBcc: c@bank"), "recipients"),
    "escalations that go back": (
        lambda text: text + 'escalations = [{after_s = 9, sinks = ["hook"]}, {after_s = 5, sinks = ["hook"]}]',
        "do not come one after the other",
    ),
    "a heartbeat to Slack": (lambda text: text + '[heartbeat]\nsinks = ["slack"]', "can't watch for a heartbeat"),
    "no channel": (lambda text: text.replace('channel = "C123"', ""), "names no channel"),
}


@pytest.mark.parametrize(("spoil", "said"), FAULTS.values(), ids=FAULTS)
def test_fault_is_refused_in_words(spoil: Callable[[str], str], said: str) -> None:
    assert said in refusal(spoil(routes_text()))


@pytest.mark.parametrize("secret", ["short", "whsec_short", "whsec_!!!!", SIGNING + "\n", ""])
def test_secret_of_a_webhook_is_checked_and_never_quoted(secret: str) -> None:
    said = refusal(routes_text(), SECRETS | {"hook": secret})
    assert "hook" in said
    assert len(secret) < 6 or secret not in said


def test_routing_key_is_checked() -> None:
    assert "no routing key of 32 characters" in refusal(routes_text(), SECRETS | {"pager": "too-short"})


def test_production_asks_for_https_two_sinks_a_heartbeat_and_tls_of_mail() -> None:
    said = refusal(routes_text(sinks='"pager"'), is_production=True)
    for part in ("is http, which anybody", "one sink", "there is no heartbeat", "goes without TLS"):
        assert part in said


def test_the_example_for_production_is_one() -> None:
    secrets = {"pagerduty-fraud": "0" * 32, "siem": SIGNING, "slack-bot": "xoxb-1", "smtp": "word"}
    content = (FOLDER / "production.toml").read_text().replace("/run/secrets/ca.pem", "pyproject.toml")
    read = parse_routes(content.encode(), secrets, is_production=True)
    assert 1.0 == read.sinks["slack"].messages_per_second, "a message a second a channel"


def in_production(channel: str, *, warning: str = '"slack", "hook"') -> str:
    """Two sinks of Slack, the other in this channel, and a webhook."""
    return f"""
version = 1
sinks = [
    {{ name = "slack", kind = "slack", secret = "slack", channel = "C1" }},
    {{ name = "other", kind = "slack", secret = "slack", channel = "{channel}" }},
    {{ name = "hook", kind = "webhook", url = "https://siem.bank.example/x", secret = "hook" }},
]
routes = [
    {{ severities = ["CRITICAL"], sinks = ["slack", "other"] }},
    {{ severities = ["WARNING", "INFO"], sinks = [{warning}] }},
]
heartbeat = {{ sinks = ["hook"] }}
"""


def test_two_names_for_one_place_are_one_sink() -> None:
    assert parse_routes(in_production("C2").encode(), SECRETS, is_production=True).routes
    for channel in ("C1", "#c1"):
        assert "several for one place" in refusal(in_production(channel), is_production=True)


def test_somebody_is_told_in_production_of_each_sink_that_is_late() -> None:
    said = refusal(in_production("C2", warning='"slack"'), is_production=True)
    assert "nobody would be told that the sink slack can't be reached: the route of WARNING" in said
    assert "the sink hook can't" not in said, "Slack is told of that"


def test_sink_at_the_place_that_can_t_be_reached_is_not_told_of_it() -> None:
    read = parse_routes(in_production("C1").encode(), SECRETS, is_production=False)
    key = GroupKey("ALERT_NOT_DELIVERED", "sink:slack", Severity.CRITICAL)
    assert ("hook",) == read.told(key, ["slack", "other", "hook"])


@pytest.mark.parametrize("name", ["default.toml", "compose.toml"])
def test_the_files_for_development_need_no_secret(name: str) -> None:
    assert parse_routes((FOLDER / name).read_bytes(), {}, is_production=False).heartbeat is not None


@pytest.mark.parametrize("code", ["100% OFF", "../../logout?now#", "A B", "<script>", "é", "a//b"])
def test_made_up_code_leads_to_no_other_page_and_is_part_of_an_address(code: str) -> None:
    """Alertmanager refused every alert that it was told again together with one whose code has a percent sign."""
    begins, ends = "https://git.bank.example/runbooks/", ".md"
    found = routes().runbook_of(code)
    assert found.startswith(begins)
    assert re.fullmatch(r"([A-Za-z0-9_.~-]|%[0-9A-F]{2})+", found.removeprefix(begins))
    assert code == unquote(found.removeprefix(begins).removesuffix(ends))


def test_sink_is_never_told_that_it_can_t_be_reached() -> None:
    key = GroupKey("ALERT_NOT_DELIVERED", "sink:slack", Severity.CRITICAL)
    assert ("pager", "hook") == routes().told(key, ["pager", "slack", "hook"])


@pytest.mark.parametrize(
    ("address", "is_production", "is_fault"),
    [
        ("https://a.example/x?y=1", True, False),
        ("http://a.example/", False, False),
        ("http://a.example/", True, True),
        ("https://", True, True),
        ("https://a:0/", True, True),
        ("https://a:99999/", True, True),
        ("https://user@a/", False, True),
        ("https://a/#x", False, True),
        ("https://a b/", False, True),
        ("ftp://a/", False, True),
        ("//a/", False, True),
    ],
)
def test_address_is_checked(address: str, is_production: bool, is_fault: bool) -> None:
    assert is_fault == (address_fault(address, is_production=is_production) is not None)
