"""What is shown of a plan: in the terminal, as JSON, and as a page that loads nothing."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from ops import cli
from pipeline.decide.feeds.feed import FeedKind
from pipeline.rollback.page import LINES_MAX, page
from pipeline.rollback.report_command import report_of
from tests.known import environment_of
from tests.records import POLICY_PATH, feed_content
from tests.rollback.scene import Scene

LOADING = re.compile(r"https?:|//|url\(|@import|<script|<link|<img|<iframe|\ssrc=|\son[a-z]+=", re.IGNORECASE)


@pytest.fixture
def scene(stack, database_url, owner, connection, archive, desk, tmp_path):
    return Scene(stack, database_url, owner, connection, archive, tmp_path / "audit", desk, blocked=12, allowed=8)


@pytest.fixture
def fraud(scene, capsys, monkeypatch, tmp_path):
    """The command in this process, with the scene's settings; exit code, stdout, stderr."""

    def run(*arguments, by="rae"):
        for name, value in {**scene.environment, **environment_of(tmp_path / "people", by)}.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()  # what the scene has logged
        with contextlib.chdir(tmp_path):
            code = cli.run(["rollback", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


class Balanced(HTMLParser):
    """Fails where a tag that was opened is not closed in its turn."""

    VOID = ("meta", "html", "title")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_a_page_loads_nothing_and_is_sound(scene, fraud, tmp_path):
    scene.apply()
    code, out, _ = fraud("report", scene.plan_id, "--html", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    parser = Balanced()
    parser.feed(text)
    assert (code, out, parser.open) == (0, "", [])
    assert LOADING.search(text) is None
    for said in (scene.plan_id, "rae", "abe", "COMPLETED", "20 reversals", "it went wrong", "Blocked because"):
        assert said.replace("20 reversals", "reversals of the plan") in text


def test_what_people_wrote_is_text_on_the_page(scene):
    report = report_of(scene.settings, scene.plan_id)
    hostile = '<script>alert("x")</script>'
    header = report.plan.header._replace(reason=hostile, requested_by=hostile, criteria={hostile: hostile})
    lines = [line._replace(why=hostile, transaction_id=hostile) for line in scene.lines()]
    text = page(report._replace(plan=report.plan._replace(header=header), lines=lines))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_page_of_a_large_plan_says_what_it_leaves_out(scene):
    [line] = scene.lines()[:1]
    text = page(report_of(scene.settings, scene.plan_id)._replace(lines=[line] * (LINES_MAX + 1)))
    assert f"The first {LINES_MAX:,} of {LINES_MAX + 1:,}" in text
    assert text.count(line.transaction_id) == LINES_MAX


def test_the_json_report_has_every_line(scene, fraud):
    scene.apply()
    code, out, _ = fraud("report", scene.plan_id, "--json")
    head, *lines = map(json.loads, out.splitlines())
    assert (code, len(lines), head["state"], head["appended"], head["is_intact"]) == (0, 20, "COMPLETED", 20, True)
    assert head["releases"] == {"PUBLISHED": 12}
    assert [line["decision_id"] for line in lines] == [line.decision_id for line in scene.lines()]
    assert (head["requested_by"], head["approved_by"]) == ("rae", "abe")


def test_a_report_counts_what_the_audit_log_holds(scene):
    scene.apply()
    records = [one.value for one in scene.news("decisions.v1")]
    scene.audited.append([records[0]])  # one of them twice, as a broker that was killed may keep it
    report = report_of(scene.settings, scene.plan_id)
    assert (report.logged, report.logged_distinct) == (21, 20)
    assert {(each.after, each.state) for each in report.settled} == {("ALLOW", "RELEASED"), ("BLOCK", "REVERSED")}


def test_an_altered_plan_is_reported_so(scene, owner, fraud):
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.rollback_plan_decision SET why = 'other' WHERE position = 3")
    code, out, _ = fraud("show", scene.plan_id)
    assert code == 0
    assert "it was altered" in out


def test_plan_show_list_and_apply_by_command(scene, fraud):
    asked = ["--route", "MODEL", "--good-model", "small-1", "--reason", "it went wrong again"]
    code, out, _ = fraud("plan", *asked, "--json")
    plan = json.loads(out)
    assert (code, plan["decisions"], plan["changing"]) == (0, 20, 20)
    assert plan["criteria"] == {"route": "MODEL"}
    _, listed, _ = fraud("list")
    assert listed.splitlines()[0].startswith(plan["plan_id"])
    asked = plan["plan_id"], "--rate", "1000", "--wait", "0"
    code, out, _ = fraud("apply", *asked, by="abe")
    assert (code, out.startswith("All 20 reversals stand on decisions.v1")) == (1, True)
    assert "not released by the executor yet, so not published: 12 payments" in out
    scene.hear()
    code, out, _ = fraud("apply", *asked, by="abe")
    assert (code, "published anew: 12 payments" in out) == (0, True)
    _, shown, _ = fraud("show", plan["plan_id"])
    assert "COMPLETED" in shown
    assert "ALLOW to BLOCK: 8 decisions" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "--reason", "x", "--model", "m"], "Nothing says what is good."),
        (
            ["plan", "--reason", "x", "--good-model", "small-1"],
            "Nothing says which decisions are meant.",
        ),
        (["plan", "--reason", "x", "--good-model", "gone", "--model", "m"], "Give a version of"),
        (["plan", "--reason", "x", "--good-model", "small-1", "--segment", "SW"], "NAME=VALUE"),
        (["plan", "--reason", "x", "--good-model", "small-1", "--list", "gone.txt"], "can't be read"),
        (["plan", "--reason", "x", "--good-feed", "gone.toml", "--model", "m"], "gone.toml can't be read"),
        (["plan", "--reason", "x", "--good-feed", POLICY_PATH.resolve(), "--model", "m"], "can't be used"),
        (["show", "no-plan"], "There is no plan no-plan."),
        (["apply", "00000000-0000-4000-8000-000000000000"], "There is no plan"),
        (["report", "00000000-0000-4000-8000-000000000000"], "Nothing says where the report goes."),
    ],
)
def test_what_a_person_can_get_wrong_is_one_sentence(fraud, arguments, said):
    code, out, err = fraud(*arguments)
    assert (code in (1, 2), out, len(err.splitlines())) == (True, "", 1)
    assert said in err


def test_who_may_not_plan_is_told_so(fraud):
    asked = "plan", "--reason", "x", "--good-model", "small-1", "--route", "MODEL"
    code, _, err = fraud(*asked, by="abe")
    assert (code, "only a ROLLBACK_REQUESTER" in err.replace("Only", "only")) == (1, True)


def test_the_requester_is_told_that_another_applies(scene, fraud):
    code, _, err = fraud("apply", scene.plan_id)
    assert code == 1
    assert "only a ROLLBACK_APPROVER applies a plan" in err


def test_a_list_of_ids_may_name_transactions(scene, fraud, tmp_path):
    first, second, *_ = scene.lines()
    (tmp_path / "ids.txt").write_text(f"{first.transaction_id}\n\n{second.decision_id.upper()}\n{first.decision_id}\n")
    asked = ["--good-model", "small-1", "--reason", "these"]
    code, out, _ = fraud("plan", "--list", tmp_path / "ids.txt", *asked, "--json")
    assert (code, json.loads(out)["decisions"]) == (0, 2)


def test_a_good_feed_must_be_kept_and_there_is_one_of_a_kind(scene, fraud, tmp_path):
    path = tmp_path / "late.toml"
    path.write_bytes(feed_content(FeedKind.SANCTIONS).replace(b'version = "', b'version = "late-', 1))
    asked = "plan", "--reason", "the list came late", "--route", "MODEL", "--good-feed", path
    code, _, err = fraud(*asked)
    assert (code, "late.toml is not in the archive of feeds" in err) == (2, True)
    shutil.copy(path, scene.archive.policies / "late.toml")
    code, _, err = fraud(*asked, "--good-feed", path)
    assert (code, "Two feeds of sanctions are given" in err) == (2, True)
    code, out, err = fraud(*asked, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["good_feeds"]["sanctions"].partition(" ")[2].startswith("late-")
