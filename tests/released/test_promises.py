"""Every version's decisions, models, policies and audit export: read, explained and verified to the byte."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.release.kept import Kept, differences, kept
from ops.release.promise import HASHES, RECORDS, hashes_of
from ops.release.told import TOLD, told_bytes

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if (path / HASHES).exists())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_promise_of_a_version_is_kept(version: str) -> None:
    report = kept(FOLDER / version)
    assert () == report.breaches
    assert report.decisions >= 100
    assert report.others > 0


def test_there_is_a_promise() -> None:
    assert VERSIONS


def explained(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gzip.decompress((folder / RECORDS).read_bytes()).splitlines()]
    return [line["explanation"] for line in lines if "explanation" in line]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_promise_holds_decisions_of_every_kind(version: str) -> None:
    told = explained(FOLDER / version)
    assert {"ALLOW", "BLOCK", "ESCALATE"} == {each["outcome"] for each in told}
    assert {"MODEL", "FALLBACK", "GUARDRAIL"} == {each["route"] for each in told}
    assert len({each["breaker_state"] for each in told}) >= 4
    assert any(-2 in each["snapshot"]["features"].values() for each in told)
    assert any(each["snapshot"]["transaction"]["currency"] != "GBP" for each in told)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(FOLDER / VERSIONS[-1], tmp_path / "promise")
    return tmp_path / "promise"


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> Kept:
    """The promise with its first decision changed, and its hashes as if it had been made so."""
    lines = [json.loads(line) for line in gzip.decompress((folder / RECORDS).read_bytes()).splitlines()]
    change(next(line for line in lines if "explanation" in line))
    (folder / RECORDS).write_bytes(gzip.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode()))
    hashes = {"format": 1, "sha256": dict(hashes_of(folder))}
    (folder / HASHES).write_text(json.dumps(hashes))
    return kept(folder)


def test_a_changed_byte_of_a_decision_is_a_breach(copied: Path) -> None:
    def flip(line: dict[str, Any]) -> None:
        line["value"] = line["value"][:-4] + ("0a" if line["value"][-4:-2] != "0a" else "0c") + line["value"][-2:]

    assert any("DIFFERS" in breach or "can't be read" in breach for breach in rewritten(copied, flip).breaches)


def test_another_word_is_a_breach(copied: Path) -> None:
    def reword(line: dict[str, Any]) -> None:
        line["explanation"]["summary"] += " Indeed."

    [breach] = rewritten(copied, reword).breaches
    assert "summary was" in breach


def retold(folder: Path, change: Callable[[dict[str, Any]], None], key: str) -> tuple[str, ...]:
    """The breaches of a promise whose first telling with that key is another one."""
    lines = [json.loads(line) for line in gzip.decompress((folder / TOLD).read_bytes()).splitlines()]
    change(next(line for line in lines if key in line))
    (folder / TOLD).write_bytes(told_bytes(iter(lines)))
    (folder / HASHES).write_text(json.dumps({"format": 1, "sha256": dict(hashes_of(folder))}))
    return kept(folder).breaches


@pytest.mark.parametrize("case", ["as decided", "as decided, paid", "BLOCK", "ESCALATE, paid", "ALLOW"])
def test_another_word_to_a_customer_is_a_breach(copied: Path, case: str) -> None:
    def reword(line: dict[str, Any]) -> None:
        line["customer"][case] += " Indeed."

    [breach] = retold(copied, reword, "customer")
    assert f"customer.{case} was" in breach


@pytest.mark.parametrize("field", ["outcome", "reason", "reviewed_by", "second_reviewer", "reviewed_at_ms"])
def test_a_review_that_says_something_else_is_a_breach(copied: Path, field: str) -> None:
    def reword(line: dict[str, Any]) -> None:
        line["record"][field] = "somebody"

    [breach] = retold(copied, reword, "record")
    assert f"record.{field} was 'somebody'" in breach


def test_a_promise_without_what_customers_were_told_is_a_breach(copied: Path) -> None:
    (copied / TOLD).unlink()
    assert "it does not hold what customers were told" in kept(copied).breaches


def test_a_record_of_which_nothing_is_told_is_a_breach(copied: Path) -> None:
    def forget(line: dict[str, Any]) -> None:
        del line["record"]

    [breach] = retold(copied, forget, "record")
    assert breach.startswith("nothing is held of what was told of the record at ")


def test_a_missing_policy_is_a_breach(copied: Path) -> None:
    for path in (copied / "policies").glob("*.toml"):
        path.unlink()
    assert "it holds no policy" in kept(copied).breaches


def test_a_promise_that_was_edited_is_a_breach(copied: Path) -> None:
    card = next((copied / "registry").glob("*/card.md"))
    card.write_text(card.read_text() + "Better than it says.\n")
    breaches = kept(copied).breaches
    assert f"registry/{card.parent.name}/card.md is not the file that was promised" in breaches
    assert any("is refused" in breach for breach in breaches)


def test_more_may_be_said_and_nothing_less() -> None:
    assert [] == list(differences({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": None}))
    assert [("a[0].b", 1, 2)] == list(differences({"a": [{"b": 1}]}, {"a": [{"b": 2}]}))
    assert [("a", 1, "absent")] == list(differences({"a": 1}, {}))
    assert [("a", 1, True)] == list(differences({"a": 1}, {"a": True}))
    assert [("a", [1], [1, 2])] == list(differences({"a": [1]}, {"a": [1, 2]}))
