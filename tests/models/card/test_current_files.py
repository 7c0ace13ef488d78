"""The card of today: from a registry's artefact, its signed evidence and its approvals, and from nothing unproved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.artefact.files import ModelRefused, golden_json, tables_json, write
from models.artefact.vectors import golden_vectors
from models.card.cards import CYCLONEDX, HTML, Cards, cards
from models.card.command import models_app
from models.card.current_files import current_facts
from models.card.facts import Occasion
from models.card.forms.cyclonedx import facts_of
from models.versions.artefact_files import digest_of
from models.versions.evidence import Evidence
from models.versions.evidence_files import file_evidence, write_evidence
from models.versions.registry_files import DirectoryRegistry
from models.versions.verify_command import verified
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey
from pipeline.keys.key_sets import key_set_text
from tests.models.card.given import SEEN, facts, payments, small_model
from tests.models.versions.given import VERSION as SHIPPED_VERSION
from tests.models.versions.given import keys_of, models_key

MADE = cards(facts())


def artefact(registry: Path, made: Cards = MADE, version: str = "small-1") -> None:
    model = small_model(version)
    golden = golden_json(golden_vectors(model, payments(50), SEEN))
    write(
        registry / version,
        tables_json(model),
        made.markdown,
        {
            "features": list(SEEN),
            "typical": dict.fromkeys(SEEN, 0),
            "training": {"source": "A test"},
            "metrics": {},
            "golden": golden,
            "approvals": [],
        },
        {HTML: made.html, CYCLONEDX: made.cyclonedx},
    )


def settings(registry: Path, key: SigningKey | None = None) -> Settings:
    return Settings(model_registry=registry, seal_keys=None if key is None else key_set_text(keys_of(key)))


def evidence(registry: Path, key: SigningKey, *, passed: bool, kind: str = "red-team") -> str:
    held = DirectoryRegistry(registry)
    found = Evidence(
        kind, "small-1", digest_of(held, "small-1"), 1_790_000_000_000, passed, ("too cheap",), {"cost_minor": 1}
    )
    return write_evidence(held, found, key)


def test_the_card_in_the_artefact_says_what_was_known_at_training(tmp_path: Path) -> None:
    artefact(tmp_path)
    held = facts_of((tmp_path / "small-1" / CYCLONEDX).read_bytes())
    assert (held.occasion, held.checks, held.approvals, held.digest) == (Occasion.TRAINING, None, None, None)


def test_todays_card_has_the_evidence_and_the_digest(tmp_path: Path) -> None:
    registry, key = tmp_path / "registry", models_key(tmp_path / "keys")
    artefact(registry)
    evidence(registry, key, passed=False)
    found = current_facts(settings(registry, key), "small-1")
    assert found.checks is not None
    assert [(check.kind, check.passed, check.findings) for check in found.checks] == [
        ("red-team", False, ("too cheap",))
    ]
    assert found.digest == digest_of(DirectoryRegistry(registry), "small-1")
    assert found.signature is not None
    assert "not signed" in found.signature
    assert (found.measurement, found.approvals) == (facts().measurement, None)
    assert "The check red-team failed: too cheap." in cards(found).markdown.decode()


def test_evidence_that_was_touched_refuses_the_card(tmp_path: Path) -> None:
    registry, key = tmp_path / "registry", models_key(tmp_path / "keys")
    artefact(registry)
    path = registry / evidence(registry, key, passed=False)
    path.write_bytes(path.read_bytes().replace(b'"passed":false', b'"passed":true'))
    with pytest.raises(ModelRefused):
        current_facts(settings(registry, key), "small-1")


def test_a_failed_check_whose_file_is_gone_stands_on_the_card_and_is_no_good_registry(
    tmp_path: Path, owner: Connection, database_url: str
) -> None:
    """Whoever may write to the registry takes it away, and reads three people a card on which all passed."""
    registry, key = tmp_path / "registry", models_key(tmp_path / "keys")
    artefact(registry)
    held, known = DirectoryRegistry(registry), settings(registry, key).model_copy(update={"database_url": database_url})
    digest = digest_of(held, "small-1")
    failed = Evidence("red-team", "small-1", digest, 1_790_000_000_000, False, ("too cheap",), {})
    name = file_evidence(owner, held, failed, key)
    file_evidence(owner, held, failed._replace(passed=True, findings=(), made_at_ms=server_now_ms(owner) + 1_000), key)
    assert faults(known) == {None}
    (registry / name).unlink()
    gone = f"'{name}' is gone from the registry; by the database's record it did not pass"
    found = current_facts(known, "small-1")
    assert [(check.passed, check.findings) for check in found.checks or ()] == [(False, (gone,)), (True, ())]
    text = cards(found).markdown.decode()
    assert "passed, and 1 run before it failed" in text
    assert "is gone from the registry" in text
    assert faults(known) == {f"'{name}', of which the database has a record, is gone"}
    away = known.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/none"})
    [fault] = faults(away)
    assert fault is not None
    assert fault.startswith("it isn't known whether any is gone: ")


def faults(known: Settings) -> set[str | None]:
    return {each.fault for each in verified(known, "small-1") if each.what == "evidence of small-1"}


def test_without_keys_no_evidence_is_believed(tmp_path: Path) -> None:
    registry, key = tmp_path / "registry", models_key(tmp_path / "keys")
    artefact(registry)
    evidence(registry, key, passed=True)
    found = current_facts(settings(registry), "small-1")
    assert (found.checks, found.occasion) == (None, Occasion.WITHOUT_KEYS)
    assert "says whose signatures count" in cards(found).markdown.decode()


def test_a_card_of_another_model_is_refused(tmp_path: Path) -> None:
    artefact(tmp_path, cards(facts(version="other")))
    with pytest.raises(ModelRefused, match="is about another model"):
        current_facts(settings(tmp_path), "small-1")


def test_a_byte_of_the_card_changed_refuses_it(tmp_path: Path) -> None:
    artefact(tmp_path)
    path = tmp_path / "small-1" / CYCLONEDX
    path.write_bytes(path.read_bytes().replace(b"A test", b"B test", 1))
    with pytest.raises(ModelRefused, match="SHA-256"):
        current_facts(settings(tmp_path), "small-1")


def test_the_first_version_has_a_card_that_says_what_is_not_known() -> None:
    found = current_facts(settings(Path("models/registry")), SHIPPED_VERSION)
    text = cards(found).markdown.decode()
    assert f"# Model {SHIPPED_VERSION}" in text
    if found.measurement is None:
        assert "Nothing was measured for this card" in text


@pytest.mark.parametrize(("form", "begins"), [("md", "# Model small-1"), ("html", "<!doctype html>"), ("json", "{")])
def test_the_command_prints_and_writes_each_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, begins: str
) -> None:
    artefact(tmp_path / "registry")
    monkeypatch.setenv("FRAUD_MODEL_REGISTRY", str(tmp_path / "registry"))
    printed = CliRunner().invoke(models_app, ["small-1", "--format", form])
    assert printed.exit_code == 0, printed.output
    assert printed.stdout.startswith(begins)
    out = tmp_path / f"card.{form}"
    written = CliRunner().invoke(models_app, ["small-1", "--format", form, "--out", str(out), "--json"])
    assert json.loads(written.stdout) == {"card": str(out), "version": "small-1", "format": form}
    assert out.read_text().startswith(begins)
    own = CliRunner().invoke(models_app, ["small-1", "--format", form, "--at-training", "--out", str(out)])
    assert own.exit_code == 0, own.output
    assert out.read_bytes() in MADE


def test_json_is_the_document_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact(tmp_path)
    monkeypatch.setenv("FRAUD_MODEL_REGISTRY", str(tmp_path))
    printed = CliRunner().invoke(models_app, ["small-1", "--json"]).stdout
    assert printed.count("\n") == 1
    assert json.loads(printed)["bomFormat"] == "CycloneDX"
