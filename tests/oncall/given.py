"""Alerts, groups and routes that the tests of on-call start from."""

from __future__ import annotations

from pipeline.alerts.catalogue import AlertCode, alert, conflict_alert
from pipeline.domain.alert import Alert, Severity
from pipeline.oncall.groups import Group, key_of, opened
from pipeline.oncall.messages import Message, MessageKind, message_about
from pipeline.oncall.routes_files import parse_routes
from pipeline.oncall.routing import Routes
from tests.records import NOON_MS

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "xoxb-1-secret"
SECRETS = {"pager": ROUTING_KEY, "hook": SIGNING, "slack": TOKEN, "mail": "pass word"}
GROUP_ID = "11111111-2222-3333-4444-555555555555"


def conflict(number: int = 1) -> Alert:
    return conflict_alert(0, number, 1, NOON_MS)


def trip(scope: str = "all", at_ms: int = NOON_MS) -> Alert:
    return alert(AlertCode.BREAKER_TRIP, "The breaker took the model out.", scope, {"at": str(at_ms)}, at_ms)


def good(scope: str = "all", at_ms: int = NOON_MS) -> Alert:
    return alert(AlertCode.BREAKER_PROBE_GOOD, "The model is back.", scope, {"at": str(at_ms)}, at_ms)


def group(first: Alert | None = None, group_id: str = GROUP_ID) -> Group:
    raised = first or conflict()
    return opened(group_id, key_of(raised), raised, NOON_MS)


def message(
    kind: MessageKind = MessageKind.TRIGGERED, sink: str = "pager", number: int = 1, **about: object
) -> Message:
    return message_about(group(), sink, number, kind, NOON_MS)._replace(**about)  # type: ignore[arg-type]


def routes_text(
    pager: str = "http://127.0.0.1:1",
    manager: str = "http://127.0.0.1:2",
    slack: str = "http://127.0.0.1:3",
    hook: str = "http://127.0.0.1:4/hook",
    mail: str = "127.0.0.1:25",
    *,
    sinks: str = '"pager", "alertmanager", "slack", "hook", "mail"',
    more: str = "",
    wait_s: float = 0.0,
    rate: float = 100.0,
) -> str:
    """All five sinks, told of everything; `more` goes into the route."""
    return f"""
version = 1
group_wait_s = {wait_s}
runbooks = "https://git.bank.example/runbooks"

[[sinks]]
name = "pager"
kind = "pagerduty"
url = "{pager}"
secret = "pager"

[[sinks]]
name = "alertmanager"
kind = "alertmanager"
url = "{manager}"

[[sinks]]
name = "slack"
kind = "slack"
url = "{slack}"
secret = "slack"
channel = "C123"
messages_per_second = {rate}

[[sinks]]
name = "hook"
kind = "webhook"
url = "{hook}"
secret = "hook"

[[sinks]]
name = "mail"
kind = "email"
server = "{mail}"
sender = "fraud@bank.example"
recipients = ["oncall@bank.example", "lead@bank.example"]
encryption = "none"

[[routes]]
severities = ["INFO", "WARNING", "CRITICAL"]
sinks = [{sinks}]
{more}
"""


def routes(text: str | None = None) -> Routes:
    return parse_routes((text or routes_text()).encode(), SECRETS, is_production=False)


WARNING = Severity.WARNING
