"""The whole demonstration, short, as a program sees it."""

import json
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "ops.cli", "demo", "--seconds", "20", "--rate", "100", "--json"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1100)
    logs = {path.name: path.read_text()[-1000:] for path in folder.glob("var/demo/run/*.log")}
    assert ended.returncode == 0, (ended.stderr, ended.stdout[-2000:], logs)
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def summary(events):
    return events[-1]


@pytest.fixture(scope="module")
def rollback(summary):
    return summary["rollback"]


def test_every_record_is_accounted_for(summary):
    """I1 and I2."""
    dead = sum(summary["dead_letters"].values())
    assert summary["published"] == summary["offsets_in"] == summary["decisions"] + dead
    assert summary["decisions"] == summary["distinct_decisions"]
    assert summary["duplicates"] > 0
    assert dead > summary["duplicates"], "broken records are among them"
    assert summary["is_whole"]


def test_it_starts_with_a_past(summary, events):
    """Accounts have made about a normal month's payments before the first decision that is shown."""
    assert summary["past"]["days"] == 30
    assert 5_000 <= summary["past"]["payments"] <= 20_000
    assert 60 <= summary["first_decisions_month_percent_p50"] <= 130
    assert summary["offsets_in"] < summary["past"]["payments"] + summary["published"], "the past is not decided"


def test_every_decision_is_audited_and_executed(summary):
    assert summary["audited"] == summary["decisions"] == sum(summary["executions"].values())
    assert summary["dead_letters_audited"] == sum(summary["dead_letters"].values())
    assert set(summary["executions"]) <= {"SETTLED", "HELD", "REFUSED", "REVERSED", "RELEASED"}
    assert summary["executions"]["SETTLED"] > 0
    assert summary["is_executed_whole"]


def test_the_breaker_trips_and_closes_again(summary):
    assert summary["has_tripped"]
    assert summary["has_recovered"]
    states = defaultdict(list)
    for change in summary["breaker"]:
        states[change["scope"]].append(change["after"])
    # The version's own trip ends with the version; whether segments trip in the same second is chance.
    version = states.pop(f"model:{summary['rollback']['criteria']['model']}", ["OPEN"])
    assert version[0] == "OPEN"
    assert states.pop("all") == ["CLOSED"]
    for seen in states.values():
        assert (seen[0], seen[-2:]) == ("OPEN", ["HALF_OPEN", "CLOSED"])


def test_all_three_routes_and_outcomes_are_shown(summary):
    assert set(summary["routes"]) == {"GUARDRAIL", "MODEL", "FALLBACK"}
    assert {example["outcome"] for example in summary["examples"]} == {"ALLOW", "BLOCK", "ESCALATE"}


def test_its_examples_are_made_again_byte_for_byte(summary):
    assert {example["verified"]["result"] for example in summary["examples"]} == {"IDENTICAL"}


def test_two_people_take_back_what_the_wrong_model_decided(rollback):
    assert rollback["criteria"] == {"model": f"{rollback['good_model_version']}-wrong"}
    assert (rollback["requested_by"], rollback["approved_by"]) == ("ana", "ben")
    assert rollback["own_plan_refused"] == "a plan is applied by another person than the one who made it"
    assert rollback["state"] == "COMPLETED"
    assert rollback["changing"] > 0
    assert rollback["appended"] == rollback["reversals_logged"] == rollback["changing"]


def test_what_was_given_back_is_decided_anew(rollback):
    released = rollback["blast_radius"]["by_disposition"]["RELEASE"]["decisions"]
    assert sum(rollback["decided_anew"].values()) == released > 0


def test_each_change_ends_where_it_should(rollback):
    ended = Counter()
    for settled in rollback["settled"]:
        ended[settled["before"], settled["after"], settled["state"]] += settled["decisions"]
    assert set(ended) <= {
        ("ALLOW", "BLOCK", "REVERSED"),
        ("ALLOW", "ESCALATE", "HELD"),
        ("BLOCK", "ALLOW", "RELEASED"),
        ("BLOCK", "ESCALATE", "RELEASED"),
        ("ESCALATE", "ALLOW", "SETTLED"),
        ("ESCALATE", "BLOCK", "REVERSED"),
    }
    assert ended.total() == rollback["changing"]


def test_the_books_are_whole_and_nothing_else_moved(rollback):
    """I6."""
    assert set(rollback["ledger_sums"].values()) == {0}
    assert rollback["findings"] == []
    assert rollback["postings_of_others"] == 0


def test_customers_funds_move_by_what_became_of_their_payments(rollback):
    """Recalled money is back, payments released or held wrongly have been paid, and held money is still theirs."""
    moved = Counter()
    for settled in rollback["settled"]:
        change = settled["before"], settled["after"]
        if change[0] == "ALLOW":
            moved[settled["currency"]] += settled["amount_minor"]
        elif change == ("ESCALATE", "ALLOW"):
            moved[settled["currency"]] -= settled["amount_minor"]
    for currency, amount_minor in rollback["paid_anew"].items():
        moved[currency] -= amount_minor
    before, after = rollback["funds_before"], rollback["funds_after"]
    assert {currency: after[currency] - before[currency] for currency in before} == {
        currency: moved[currency] for currency in before
    }


def test_one_customer_is_shown(rollback):
    before, after, shown = rollback["customer_before"], rollback["customer_after"], rollback["shown"]
    assert before["account_id"] == after["account_id"]
    assert before != after
    assert shown["before"] != shown["after"]


def test_the_reversed_decision_is_explained(summary, rollback):
    assert rollback["shown"]["decision_id"] in json.dumps(summary["explained"])


def test_the_audit_log_is_verified_from_its_export(summary):
    log = summary["audit_log"]
    records = summary["audited"] + summary["rollback"]["changing"] + summary["reviews"]
    assert log["rows"] == log["signed"] == records
    assert log["findings"] == 0


def test_it_tells_what_it_does(events):
    told = " ".join(event["sentence"] for event in events if event["event"] == "step")
    for expected in (
        "the worker counts them",
        "first explained decision",
        "GOES WRONG, on purpose",
        "rolled back",
        "the model decides again",
        "ana plans a rollback",
        "ben approves",
    ):
        assert expected in told
