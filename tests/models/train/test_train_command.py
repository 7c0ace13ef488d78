"""`fraud models train`: the same bytes however it is run, its lineage, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.train import lineage
from models.train.history import HistoryRefused
from models.train.learn import Learner
from models.train.plan_files import default_plan, given_plan
from models.train.settled import DAY_MS
from models.train.train import history_of_file, train_history
from pipeline.publish.payment_files import NO_MAP
from tests.commands import Fraud
from tests.models.train.histories import COLUMNS, DAY_S, DAYS, PLAN, rows, written

ROOT = Path(__file__).parents[3]
FILES = ("manifest.json", "tables.json", "card.md")


def trained(folder: Path, history: Path, name: str, hash_seed: str, jobs: int) -> dict[str, bytes]:
    """Train in a process of its own."""
    out = folder / name
    command = [sys.executable, "-m", "ops.cli", "models", "train", str(history), "--version", "v1"]
    command += ["--out", str(out), "--plan", str(folder / "plan.toml"), "--jobs", str(jobs)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=800)
    return {each: (out / "v1" / each).read_bytes() for each in FILES}


@pytest.mark.timeout(900)
def test_two_processes_with_other_hash_seeds_and_jobs_write_the_same_bytes(tmp_path: Path) -> None:
    history = written(tmp_path / "history.csv")
    (tmp_path / "plan.toml").write_text(PLAN.replace("outer_bags = [1]", "outer_bags = [3]"))
    first = trained(tmp_path, history, "one", "0", jobs=1)
    assert first == trained(tmp_path, history, "two", "4711", jobs=2)


@pytest.mark.parametrize("version", ["my_model", "../v1", "aliases", "Champion", "", "v" * 33, "v1 "])
@pytest.mark.parametrize("words", [("train", "--plan", "plan.toml"), ("challenger",)], ids=lambda each: each[0])
def test_what_no_version_can_be_called_is_refused_before_anything_is_learned(
    fraud: Fraud, tmp_path: Path, words: tuple[str, ...], version: str
) -> None:
    """The artefact was written under that name, after all that learning took, and nothing could load it."""
    (tmp_path / "out").mkdir()
    verb, *options = words
    answer = fraud("models", verb, "history.csv", "--version", version, "--out", "out", *options)
    assert answer.code == 2
    assert "can be called so" in answer.err
    assert [] == list((tmp_path / "out").iterdir())
    assert not (tmp_path / "v1").exists()


def test_the_manifest_says_by_what_and_from_what_it_was_made(fraud: Fraud, tmp_path: Path) -> None:
    written(tmp_path / "history.csv")
    (tmp_path / "plan.toml").write_text(PLAN)
    answer = fraud("models", "train", "history.csv", "--version", "v1", "--out", "out", "--plan", "plan.toml")
    assert answer.code == 0, answer.err
    training = json.loads((tmp_path / "out/v1/manifest.json").read_bytes())["training"]
    assert training["parameters"]["monotone"] == {"beneficiary_risk_ppm_7d": 1}
    assert training["parameters"]["bins"] in (16, 64)
    assert [each["bins"] for each in training["choosing"]["tried"]] == [16, 64]
    assert training["labels"]["left_out_as_young"] > 0
    assert training["weighting"] == "none"
    assert training["code"]["sources_sha256"] == lineage.sources_sha256()
    assert set(training["libraries"]) == {"interpret-core", "numpy", "scikit-learn", "scipy", "python"}
    assert len(training["sha256"]) == 64


def test_settings_and_tables_come_from_the_first_part_alone(tmp_path: Path) -> None:
    """What is measured in the end is another history, and nothing of the model but its measures changes."""
    whole = rows()
    split_s = whole[int(len(whole) * 0.8 * (DAYS - 7) / DAYS)][1]
    changed = [(n, t, c, p, a + 11 if t > split_s + DAY_S else a, f) for n, t, c, p, a, f in whole]
    plan = default_plan(1, {"bins": (16, 64)}, {})
    learner = Learner(1, features=("amount_gbp_minor", "is_weekend"), monotone={}, pairs=1, outer_bags=1)
    plan = plan._replace(learner=learner, tried=(learner,), folds=2)
    tables = []
    for name, lines in (("a", whole), ("b", changed)):
        history = history_of_file(written(tmp_path / f"{name}.csv", lines), NO_MAP, 7 * DAY_MS)
        train_history(history, tmp_path / name, plan, "None known.")
        tables.append((tmp_path / name / "tables.json").read_bytes())
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("name", "lines", "why"),
    [
        ("one class", [(*row[:5], 0) for row in rows()], "at least 20 frauds"),
        ("all fraud", [(*row[:5], 1) for row in rows()], "honest payments"),
        ("too young", [row for row in rows() if row[1] < 5 * DAY_S], "none is known honest"),
        ("twice", [*rows(), rows()[0]], "one payment, one id"),
        ("frauds of the last days", [(*row[:5], int(row[1] > 34 * DAY_S)) for row in rows()], "at least 20 frauds"),
        ("no fraud to calibrate by", [(*row[:5], row[5] * (row[1] < 20 * DAY_S)) for row in rows()], "at least 20"),
        ("empty", [], "empty"),
    ],
)
def test_what_can_not_train_is_refused_in_a_sentence(
    fraud: Fraud, tmp_path: Path, name: str, lines: list[tuple[int, ...]], why: str
) -> None:
    written(tmp_path / "history.csv", lines)
    (tmp_path / "plan.toml").write_text(PLAN)
    answer = fraud("models", "train", "history.csv", "--version", "v1", "--out", "out", "--plan", "plan.toml")
    assert answer.code == 2, name
    assert why in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "out").exists()


def test_one_account_alone_can_teach(fraud: Fraud, tmp_path: Path) -> None:
    written(tmp_path / "history.csv", rows(accounts=1))
    (tmp_path / "plan.toml").write_text(PLAN)
    answer = fraud("models", "train", "history.csv", "--version", "v1", "--out", "out", "--plan", "plan.toml")
    assert answer.code == 0, answer.err


def test_a_history_in_which_nothing_differs_is_refused(tmp_path: Path) -> None:
    same = [(number, time_s, 1, 1, 500, fraud) for number, time_s, _, _, _, fraud in rows()]
    learner = Learner(1, features=("amount_gbp_minor",), monotone={}, pairs=0, outer_bags=1)
    plan = given_plan(1)._replace(learner=learner)
    history = history_of_file(written(tmp_path / "same.csv", same), NO_MAP, 7 * DAY_MS)
    with pytest.raises(HistoryRefused, match="nothing in it tells fraud from honest"):
        train_history(history, tmp_path / "v1", plan, "None known.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "topics", "history.csv"),
        (),
        ("history.csv", "--own-times"),
        ("history.csv", "--labels", "labels.csv"),
        ("--from", "topics", "--labels-final"),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(
    fraud: Fraud, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    answer = fraud("models", "train", "--version", "v1", *arguments)
    assert answer.code == 2
    assert "Say where" in answer.err or "says nothing" in answer.err


def test_a_plan_that_can_not_be_followed_is_said_before_anything_is_read(fraud: Fraud, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("colour = 3")
    answer = fraud("models", "train", "none.csv", "--version", "v1", "--plan", "plan.toml")
    assert answer.code == 2
    assert "unknown key 'colour'" in answer.err


def test_a_version_is_never_replaced(fraud: Fraud, tmp_path: Path) -> None:
    (tmp_path / "out" / "v1").mkdir(parents=True)
    answer = fraud("models", "train", "none.csv", "--version", "v1", "--out", "out")
    assert answer.code == 2
    assert "never changed" in answer.err


def test_the_hash_of_the_sources_follows_every_byte_of_them(tmp_path: Path) -> None:
    for folder in lineage.SOURCES:
        (tmp_path / folder).mkdir(parents=True)
    path = tmp_path / lineage.SOURCES[0] / "a.py"
    path.write_text("x = 1\n")
    before = lineage.sources_sha256(tmp_path)
    path.write_text("x = 2\n")
    assert lineage.sources_sha256(tmp_path) != before


def test_the_revision_and_a_changed_tree_are_told() -> None:
    found = lineage.code()
    assert found["revision"] == lineage.UNKNOWN_REVISION or len(str(found["revision"])) == 40
    assert found["is_changed_since"] in (True, False, None)


def test_columns_of_the_history_are_the_short_form() -> None:
    assert len(rows()[0]) == len(COLUMNS)
