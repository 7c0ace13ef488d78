"""A plan from an incident: its time, its scope and its model's answers, unless the request says otherwise."""

from __future__ import annotations

import contextlib
import json
from contextlib import closing

import pytest

from ops import cli
from pipeline.breaker.told_transitions import told_transition
from pipeline.domain.alert import IncidentKind
from pipeline.incident.incidents import AlertGroup, Incident
from pipeline.rollback.incident_command import selection_of
from pipeline.terminal.failures import Failure
from tests.incident.given import LOOKBACK_MS, MINUTE_MS, AlertTopic, as_read, caught_up, closed, held, tripped
from tests.known import environment_of
from tests.records import NOON_MS
from tests.rollback.scene import Scene
from tests.servers import url_as

NOW_MS = NOON_MS + 60 * MINUTE_MS


def incident(*scopes: str, kind: str = IncidentKind.MODEL) -> Incident:
    told = [tripped(scope) for scope in scopes]
    transitions = [transition for each in told if (transition := told_transition(each)) is not None]
    back = told_transition(closed(scopes[0], NOON_MS + 20 * MINUTE_MS))
    assert back is not None
    return Incident(
        "id",
        kind,
        NOON_MS,
        NOON_MS - LOOKBACK_MS,
        sorted(scopes),
        [as_read(each) for each in told],
        [AlertGroup("BREAKER_TRIP", len(told), NOON_MS, NOON_MS)],
        [*transitions, back],
        [],
        [],
    )


@pytest.mark.parametrize(
    ("scopes", "model", "segment"),
    [
        (["model:wrong-1"], "wrong-1", None),
        (["segment:postcode_area=SW"], None, "postcode_area=SW"),
        (["all"], None, None),
        (["all", "model:wrong-1", "segment:postcode_area=SW"], None, None),
    ],
)
def test_scope_and_time_are_the_incident_s(scopes, model, segment):
    found = selection_of(incident(*scopes), NOW_MS, is_scope_chosen=False)
    assert (model, segment) == (found.model, found.segment)
    since_ms, until_ms = (round(at.timestamp() * 1000) for at in (found.since, found.until))
    assert NOON_MS - LOOKBACK_MS == since_ms
    assert (NOON_MS + 20 * MINUTE_MS if len(scopes) == 1 else NOW_MS) == until_ms


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (incident("model:a", "segment:n=b"), "several scopes: model:a, segment:n=b"),
        (incident("channel:CARD"), "No option selects the scope channel:CARD"),
        (incident("segment:other"), "No option selects the scope segment:other"),
        (incident("all", kind=IncidentKind.LEDGER), "not about a model"),
    ],
)
def test_what_no_plan_follows_from_is_said(found, said):
    with pytest.raises(Failure, match=said):
        selection_of(found, NOW_MS, is_scope_chosen=False)


def test_plan_of_an_incident_with_times_between_which_all_was_well_says_which():
    """Nobody had resolved the incident of before, and what was decided rightly since would have been taken back."""
    found, again = incident("model:a"), tripped("model:a", NOON_MS + 50 * MINUTE_MS)
    told = told_transition(again)
    assert told is not None
    found = found._replace(alerts=[*found.alerts, as_read(again)], transitions=[*found.transitions, told])
    with pytest.raises(Failure, match=r"several times: all was well from .*12:20.* to .*12:40"):
        selection_of(found, NOW_MS, is_scope_chosen=False)
    chosen = selection_of(found, NOW_MS, is_scope_chosen=False, is_time_chosen=True)
    assert "a" == chosen.model


@pytest.mark.parametrize("scopes", [["model:a", "segment:n=b"], ["channel:CARD"], ["segment:other"]])
def test_a_scope_that_is_chosen_needs_none_of_the_incident(scopes):
    found = selection_of(incident(*scopes), NOW_MS, is_scope_chosen=True)
    assert (None, None) == (found.model, found.segment)


def test_a_plan_is_made_from_an_incident(
    stack, database_url, owner, connection, archive, desk, tmp_path, capsys, monkeypatch
):
    scene = Scene(stack, database_url, owner, connection, archive, tmp_path / "audit", desk, blocked=12, allowed=8)
    topic = AlertTopic(stack.bootstrap_servers, scene.prefix)
    topic.publish([tripped("model:blocks-all", NOON_MS + MINUTE_MS), held()])
    with closing(topic.service(url_as(database_url, "fraud_incident"))) as service:
        caught_up(service)
    ids = dict(owner.execute("SELECT kind, incident_id::text FROM control.incident").fetchall())
    for name, value in {**scene.environment, **environment_of(tmp_path / "people", "rae")}.items():
        monkeypatch.setenv(name, value)

    def plan(*words):
        capsys.readouterr()
        asked = ["rollback", "plan", "--good-model", "small-1", "--reason", "it blocked everybody", "--json", *words]
        with contextlib.chdir(tmp_path):
            code = cli.run(asked)
        return code, *capsys.readouterr()

    code, out, err = plan("--incident", ids["MODEL"][:8])
    assert code == 0, err
    made = json.loads(out)
    assert (12, 12) == (made["decisions"], made["changing"])
    assert ids["MODEL"] == made["criteria"]["incident"]
    assert ("blocks-all", "MODEL") == (made["criteria"]["model"], made["criteria"]["route"])
    before = "--since", "2025-11-25T11:00:00Z", "--until", "2025-11-25T11:00:01Z"
    code, _, err = plan("--incident", ids["MODEL"], *before)
    assert (code, "No decision in the audit log" in err) == (1, True), "the request goes first"
    code, _, err = plan("--incident", ids["AVAILABILITY"])
    assert (code, "not about a model" in err) == (1, True)
