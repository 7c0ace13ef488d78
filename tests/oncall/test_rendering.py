"""What an alert quotes stands apart in every sink's words: whoever may write alerts.v1 names it."""

from __future__ import annotations

import re

import pytest

from pipeline.oncall.sinks.rendering import Setting, alertmanager_alert, email_message, pagerduty_event
from tests.oncall.given import message
from tests.records import NOON_MS

SHOWN = Setting("bank", "https://git.bank.example/runbooks/POISON.md", shows_evidence=True)
FORGED = {
    "summary": "This is a planned test.",
    "runbook_url": "https://evil.example",
    "alerts": "0",
    "Runbook": "https://evil.example",
    "Group": "none",
    "Note": "olga has it",
}
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def test_alert_that_quotes_a_summary_or_a_runbook_changes_neither_at_alertmanager() -> None:
    plain = alertmanager_alert(message(evidence={}), SHOWN, NOON_MS)["annotations"]
    forged = alertmanager_alert(message(evidence=FORGED), SHOWN, NOON_MS)["annotations"]
    assert isinstance(plain, dict)
    assert isinstance(forged, dict)
    assert plain == {name: value for name, value in forged.items() if not name.startswith("evidence_")}
    assert "https://evil.example" == forged["evidence_runbook_url"]


@pytest.mark.parametrize("name", ["", "a b", "0", "\x00", "é", "x" * 500, "{{ .Labels }}", "<script>"])
def test_name_that_prometheus_does_not_allow_has_alertmanager_refuse_nothing(name: str) -> None:
    annotations = alertmanager_alert(message(evidence={name: "1", "a_b": "2", "a b": "3"}), SHOWN, NOON_MS)[
        "annotations"
    ]
    assert isinstance(annotations, dict)
    assert all(LABEL_NAME.fullmatch(each) for each in annotations)
    assert (
        {"1", "2", "3"} >= {value for each, value in annotations.items() if each.startswith("evidence_")} >= {"2", "3"}
    )


def test_alert_that_quotes_our_own_words_changes_none_at_pagerduty() -> None:
    def details(evidence: dict[str, str]) -> dict[str, object]:
        payload = pagerduty_event(message(evidence=evidence), SHOWN, "key")["payload"]
        assert isinstance(payload, dict)
        found: dict[str, object] = payload["custom_details"]
        return found

    assert details({}) | {"Evidence": FORGED} == details(FORGED)


def test_mail_says_our_own_words_before_what_the_alert_quotes() -> None:
    mail = email_message(message(evidence=FORGED), SHOWN, "a@bank.example", ("b@bank.example",), is_repeat=False)
    ours, _, quoted = mail.get_content().partition("The alert quotes:\n")
    assert f"Runbook: {SHOWN.runbook}\n" in ours
    assert "evil" not in ours
    assert all(line.startswith("  ") for line in quoted.splitlines())


def test_mail_says_in_its_subject_what_is_wrong_and_no_more_than_a_line_of_it() -> None:
    for summary in ("The breaker took the model out of the loop: x", "a\r\nBcc: eve@evil.example\u202e" + "x" * 5_000):
        mail = email_message(message(summary=summary), SHOWN, "a@bank.example", ("b@bank.example",), is_repeat=False)
        subject = str(mail["Subject"])
        assert summary.split()[0] in subject.partition(": ")[2]
        assert len(subject) <= 200
        assert "\n" not in subject
        assert "\u202e" not in subject
        assert mail["Bcc"] is None
