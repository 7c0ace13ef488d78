"""Every alert has one entry, everything that raises one uses it, and operations.md tells of each."""

from __future__ import annotations

import ast
import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from fastavro import parse_schema, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from pipeline.alerts.catalogue import CATALOGUE, ENDED_BY, AlertCode, alert, backup_alert, conflict_alert, over
from pipeline.alerts.encoding import alert_record
from pipeline.breaker.states import TRANSITIONS, Event
from pipeline.domain.alert import Alert, Severity
from pipeline.domain.decision import BreakerState
from pipeline.execute.saga import DOUBTFUL
from pipeline.io.avro.wire import WireFormat

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TRUSTED_AGAIN = (BreakerState.CLOSED, BreakerState.HALF_OPEN)


def test_every_code_has_an_entry() -> None:
    assert list(AlertCode) == list(CATALOGUE)


def test_operations_tells_of_every_alert_as_the_catalogue_does() -> None:
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| ([A-Z, ]+) \| (.+) \| \[runbook\]\(runbooks/([A-Z_]+)\.md\) \|$", OPERATIONS, re.MULTILINE
    )
    expected = [(code, ", ".join(each.severities), each.meaning, code) for code, each in CATALOGUE.items()]
    assert expected == [row for row in rows if row[0] in CATALOGUE]


@pytest.mark.parametrize("code", CATALOGUE)
def test_meaning_is_read_at_a_glance(code: AlertCode) -> None:
    """It is what a page begins with, and the first line of the runbook."""
    meaning = CATALOGUE[code].meaning
    assert len(meaning) <= 100
    assert meaning[0].isupper()
    assert meaning.endswith(".")
    assert ". " not in meaning, "one sentence"


@pytest.mark.parametrize(("before", "event"), TRANSITIONS)
def test_breaker_is_critical_where_the_model_is_out_of_the_loop(before: BreakerState, event: Event) -> None:
    is_trusted = TRANSITIONS[before, event] in TRUSTED_AGAIN
    severity = Severity.INFO if is_trusted else Severity.CRITICAL
    assert (severity,) == CATALOGUE[AlertCode(f"BREAKER_{event}")].severities


def test_every_code_is_raised_somewhere() -> None:
    derived = {f"BREAKER_{event}" for event in Event} | {f"EXECUTION_{state}" for state in DOUBTFUL}
    assert set(AlertCode) == derived | _named_in_the_source()


def _named_in_the_source() -> set[str]:
    """Return the codes that are used as AlertCode.NAME outside the table that lists them all."""
    found = set()
    for path in (ROOT / "pipeline").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name == "catalogue.py":
            tree.body = [each for each in tree.body if isinstance(each, ast.FunctionDef)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "AlertCode":
                found.add(node.attr)
    return found


def test_an_alert_that_is_not_in_the_catalogue_can_not_be_made() -> None:
    with pytest.raises(KeyError):
        alert("SURPRISE", "", "all", {}, 0)  # type: ignore[arg-type]


def test_a_severity_that_the_entry_does_not_allow_is_refused() -> None:
    with pytest.raises(AssertionError):
        alert(AlertCode.RECONCILIATION_GAPS, "", "all", {}, 0, Severity.INFO)
    with pytest.raises(AssertionError):
        alert(AlertCode.RECONCILIATION_GAP, "", "all", {}, 0)


def test_bytes_and_id_stay_as_they_have_always_been() -> None:
    """On-call's tools deduplicate by the id."""
    evidence = {"partition": "3", "offset": "7"}
    raised = alert(AlertCode.TRANSACTION_ID_CONFLICT, "It was refused.", "all", evidence, 1_764_072_000_000)
    assert "f8bfa8e5-2bf0-595c-8e26-b5c3389e4203" == raised.alert_id
    wire = WireFormat()
    record = alert_record(wire, "alerts.v1", raised)
    plain = raised._replace(code="TRANSACTION_ID_CONFLICT")
    assert (raised.alert_id.encode(), wire.encode(plain)) == (record.key, record.value)
    assert plain == wire.decode_alert(record.value)
    fields = ("alert_id", "raised_at_ms", "severity", "code", "summary", "scope", "evidence", "is_over")
    assert fields == Alert._fields


def test_word_that_it_is_over_has_the_id_of_its_alert() -> None:
    raised = backup_alert(None, 1_000)
    said = over(raised, 2_000)
    assert (raised.alert_id, True, 2_000) == (said.alert_id, said.is_over, said.raised_at_ms)
    assert said == WireFormat().decode_alert(WireFormat().encode(said))
    with pytest.raises(AssertionError):
        over(conflict_alert(3, 7, 1, 1_000), 2_000)


def test_alert_of_the_first_release_is_read_as_one_that_is_not_over() -> None:
    schema = json.loads((ROOT / "schemas" / "released" / "alert.v1" / "1.avsc").read_text())
    stream = BytesIO()
    raised = conflict_alert(3, 7, 1, 1_000)
    schemaless_writer(stream, parse_schema(schema), raised._asdict())
    framing = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
    assert raised == WireFormat().decode_alert(framing + stream.getvalue())


def test_what_ends_an_alert_is_an_alert_that_asks_for_nothing() -> None:
    for code, ends in ENDED_BY.items():
        assert (Severity.INFO,) != CATALOGUE[code].severities
        assert all((Severity.INFO,) == CATALOGUE[end].severities for end in ends)
