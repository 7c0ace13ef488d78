"""`fraud models check`, by the command, with the registry, the database and the topic of labels that it reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.versions.evidence_files import filed_evidence
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics_command import create_topics
from pipeline.io.postgres import Connection
from pipeline.keys.key_sets import key_set_text
from tests.commands import Answer, Fraud
from tests.promotion.stage import CANDIDATE, Stage
from tests.records import POLICY_PATH
from tests.servers import unused_prefix, url_as

Check = Callable[..., Answer]


@pytest.fixture
def stage(tmp_path: Path, owner: Connection, database_url: str) -> Iterator[Stage]:
    stage = Stage(tmp_path, owner, database_url)
    yield stage
    stage.close()


@pytest.fixture
def check(stage: Stage, fraud: Fraud, stack: EmbeddedStack, tmp_path: Path) -> Check:
    (tmp_path / "keys").write_text(key_set_text(stage.keys))
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)

    def run(*arguments: object) -> Answer:
        return fraud(
            "models", "check", CANDIDATE, *arguments,
            bootstrap_servers=stack.bootstrap_servers, topic_prefix=prefix,
            database_url=url_as(stage.database_url, "fraud_incident"), model_registry=stage.archive.registry,
            seal_keys_file=tmp_path / "keys", models_key_file=tmp_path / "models.pem",
            policy_path=POLICY_PATH.resolve(),
        )  # fmt: skip

    return run


def test_what_it_finds_is_shown_and_filed_but_for_what_comes_too_early(stage: Stage, check: Check) -> None:
    shown = check()
    assert shown.code == 1, "not all has passed"
    assert "golden: passed\n" in shown.out
    assert "shadow: too early to say\n" in shown.out
    assert (
        "  It isn't known how small-2 did in shadow: it answered no payment beside the champion of now\n" in shown.out
    )
    assert filed_evidence(stage.registry, CANDIDATE, stage.keys) == []
    told = [json.loads(line) for line in check("--evidence", "--json").out.splitlines()]
    filed = filed_evidence(stage.registry, CANDIDATE, stage.keys)
    assert {each.evidence.kind: each.evidence.passed for each in filed} == {
        each["kind"]: each["passed"] for each in told if not each["is_early"]
    }


def test_without_the_key_of_models_nothing_is_filed(stage: Stage, check: Check, tmp_path: Path) -> None:
    (tmp_path / "models.pem").unlink()
    answer = check("--evidence")
    assert answer.code == 2
    assert "The evidence can't be written" in answer.err
    assert filed_evidence(stage.registry, CANDIDATE, stage.keys) == []


@pytest.mark.parametrize("kind", ["bias", "drift"])
def test_evidence_is_filed_in_the_role_that_may_where_the_address_leaves_it_open(
    stage: Stage, fraud: Fraud, stack: EmbeddedStack, tmp_path: Path, kind: str
) -> None:
    """The stacks' address does, and the reader's role may record nothing: so nobody could promote on them."""
    (tmp_path / "keys").write_text(key_set_text(stage.keys))
    stage.shadow(CANDIDATE)
    answer = fraud(
        "models", kind, CANDIDATE, "--evidence",
        bootstrap_servers=stack.bootstrap_servers, topic_prefix=unused_prefix(),
        database_url=url_as(stage.database_url, "{role}"), model_registry=stage.archive.registry,
        seal_keys_file=tmp_path / "keys", models_key_file=tmp_path / "models.pem", policy_path=POLICY_PATH.resolve(),
    )  # fmt: skip
    assert "refused" not in answer.err, answer.err
    assert [kind] == [each.evidence.kind for each in filed_evidence(stage.registry, CANDIDATE, stage.keys)]
