"""`fraud models`: from keys and three people to a champion, and what each command refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from models.artefact.strict import ModelRefused, canonical
from models.versions.act_command import trusted_now_ms
from models.versions.alias_files import alias_records
from models.versions.artefact_files import digest_of
from models.versions.evidence import Evidence
from models.versions.evidence_files import write_evidence
from models.versions.listing_command import lineage_lines
from models.versions.loading_files import load_champion_of, trust_of
from models.versions.locations import Alias
from models.versions.registry_files import DirectoryRegistry
from ops.bench.registry.scene import APPROVERS, FIRST, SECOND, SHIPPED, Book, copy_version, identity_settings
from pipeline.io.clock import now_ms
from pipeline.io.postgres import Connection
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import SigningKey
from pipeline.people.people_files import write_people
from pipeline.promotion.moves import MoveEvent
from pipeline.promotion.store import append_move
from pipeline.shadow.challenger_files import load_challenger
from pipeline.shadow.onnx_files import INPUT, OUTPUT, write_onnx
from pipeline.terminal.failures import Failure
from tests.commands import Fraud
from tests.servers import url_as


@pytest.fixture
def bank(fraud: Fraud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with two unsigned versions, keys and people."""
    registry = tmp_path / "registry"
    shutil.copytree(SHIPPED / FIRST, registry / FIRST)
    (registry / FIRST / "model.sig").unlink(missing_ok=True)
    copy_version(DirectoryRegistry(registry), FIRST, SECOND)
    write_people(tmp_path / "people", Book().acts)
    assert fraud("keys", "create", "models", tmp_path / "models.key").code == 0
    keys = (tmp_path / "models.key.keys").rename(tmp_path / "keys")
    assert fraud("keys", "create", "artefacts", tmp_path / "artefacts.key", "--set", keys).code == 0
    for name, value in {
        "MODEL_REGISTRY": registry,
        "MODEL_MEMORY": tmp_path / "memory",
        "PEOPLE_FILE": tmp_path / "people",
        "SEAL_KEYS_FILE": keys,
        "MODELS_KEY_FILE": tmp_path / "models.key",
        "ARTEFACTS_KEY_FILE": tmp_path / "artefacts.key",
    }.items():
        monkeypatch.setenv(f"FRAUD_{name}", str(value))
    acting(monkeypatch, tmp_path, "rita")
    return registry


def acting(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    for setting, value in identity_settings(folder, name).items():
        monkeypatch.setenv(setting, value)


def approved(fraud: Fraud, monkeypatch: pytest.MonkeyPatch, folder: Path, version: str) -> None:
    assert fraud("models", "sign", version).code == 0
    for name, role in APPROVERS:
        acting(monkeypatch, folder, name)
        answer = fraud("models", "approve", version, "--role", role.value)
        assert answer.code == 0, answer.err


def test_three_people_make_a_champion(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = fraud("models", "approve", FIRST, "--role", "RISK")
    assert (refused.code, "is not signed" in refused.err) == (1, True)
    refused = fraud("models", "begin", FIRST, "--reason", "the first one")
    assert (refused.code, "is not signed" in refused.err) == (1, True)
    approved(fraud, monkeypatch, tmp_path, FIRST)
    begun = fraud("models", "begin", FIRST, "--reason", "the first one")
    assert begun.out == f"{FIRST}: BEGUN, by erin, as record 1 of the history.\n"
    loaded = load_champion_of(Settings())
    assert (loaded.model.version, loaded.record and loaded.record.sequence) == (FIRST, 1)
    listed = [json.loads(line) for line in fraud("models", "list", "--json").out.splitlines()]
    assert [(each["version"], each["alias"], each["fault"]) for each in listed] == [
        (FIRST, "champion", None),
        (SECOND, None, None),
    ]
    approved_by = [f"{name} ({role}, on no evidence)" for name, role in sorted(APPROVERS)]
    assert listed[0]["approved"] == ", ".join(approved_by)
    shown = json.loads(fraud("models", "show", FIRST, "--json").out)
    assert [(each["event"], each["by"]) for each in shown["history"]] == [("BEGUN", "erin")]
    assert "data_sha256" in json.dumps(shown["training"]) or shown["training"]
    assert "\n  features: amount_gbp_minor, " in fraud("models", "show", FIRST).out
    again = fraud("models", "begin", FIRST, "--reason", "once more")
    assert (again.code, "has a champion" in again.err) == (1, True)


def test_lineage_is_told_in_lines_and_what_is_long_stands_in_json() -> None:
    lineage = {"features": ["a", "b"], "training": {"seed": 1, "by": {"kind": "given"}, "long": ["x" * 2_000]}}
    assert list(lineage_lines(lineage)) == [
        "features: a, b",
        "training.seed: 1",
        'training.by: {"kind": "given"}',
        "training.long: long; --json shows it",
    ]


def test_what_was_signed_is_not_signed_again_and_a_role_is_not_lent(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(fraud, monkeypatch, tmp_path, FIRST)
    again = fraud("models", "sign", FIRST)
    assert (again.code, "is signed already" in again.err) == (1, True)
    acting(monkeypatch, tmp_path, "rita")
    lent = fraud("models", "approve", FIRST, "--role", "COMPLIANCE")
    assert (lent.code, "you don't hold the role COMPLIANCE" in lent.err) == (1, True)
    twice = fraud("models", "approve", FIRST, "--role", "RISK")
    assert (twice.code, "is never written over" in twice.err) == (1, True)


def test_verify_tells_every_fault_apart(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "sign", SECOND).code == 0
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    good = fraud("models", "verify")
    assert (good.code, good.out.count(": good\n")) == (0, 8), good.out
    card = bank / SECOND / "card.md"
    card.write_bytes(card.read_bytes() + b" ")
    spoilt = fraud("models", "verify")
    assert spoilt.code == 1
    assert "the SHA-256 of 'card.md' is not the manifest's" in spoilt.out
    assert spoilt.out.count(": good\n") == 7
    assert fraud("models", "verify", FIRST).code == 0
    assert fraud("models", "verify", "../registry").code == 2


def test_a_version_that_was_ever_told_of_and_is_gone_is_a_fault(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it decided could not be decided again, and nothing said so."""
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    assert fraud("models", "retire", SECOND, "--reason", "it missed a kind of fraud").code == 0
    assert fraud("models", "sign", SECOND).code == 0
    assert fraud("models", "verify").code == 0
    shutil.rmtree(bank / SECOND)
    gone = fraud("models", "verify")
    assert gone.code == 1
    assert f"version {SECOND}: the registry has no version '{SECOND}'\n" in gone.out


def test_a_retired_version_stays_and_is_named_no_more(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    kept = fraud("models", "retire", FIRST, "--reason", "it is old")
    assert (kept.code, "is champion" in kept.err) == (1, True)
    assert fraud("models", "retire", SECOND, "--reason", "it missed a kind of fraud").code == 0
    assert (bank / SECOND / "tables.json").exists()
    assert "retired: it missed a kind of fraud" in fraud("models", "list").out
    assert fraud("models", "sign", SECOND).code == 0, "what is kept may be signed"
    refused = fraud("models", "approve", SECOND, "--role", "ENGINEERING")
    assert (refused.code, "was retired" in refused.err) == (1, True)


def test_a_version_is_put_on_trial_by_a_signed_record_and_the_trial_ends_by_another(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    refused = fraud("models", "try", SECOND, "--reason", "it finds more")
    assert (refused.code, "is not signed" in refused.err) == (1, True)
    assert fraud("models", "sign", SECOND).code == 0
    tried = fraud("models", "try", SECOND, "--reason", "it finds more")
    assert tried.out == f"{SECOND}: TRIED, by erin, as record 2 of the history.\n", tried.err
    assert load_challenger(Settings()).version == SECOND
    assert load_champion_of(Settings()).model.version == FIRST
    kept = fraud("models", "retire", SECOND, "--reason", "it is worse")
    assert (kept.code, "is challenger" in kept.err) == (1, True)
    assert fraud("models", "try", FIRST, "--reason", "nobody is on trial").code == 0
    assert load_challenger(Settings()).version == FIRST
    assert fraud("models", "retire", SECOND, "--reason", "it is worse").code == 0
    again = fraud("models", "try", SECOND, "--reason", "once more")
    assert (again.code, "was retired" in again.err) == (1, True)
    assert fraud("models", "verify").code == 0


def test_a_challenger_whose_key_was_revoked_is_named_anew_and_keeps_nobody_from_retiring(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    assert fraud("models", "sign", SECOND).code == 0
    assert fraud("models", "try", SECOND, "--reason", "it finds more").code == 0
    key_id = json.loads(fraud("keys", "list", "--set", tmp_path / "keys", "--json").out.splitlines()[0])["key_id"]
    assert fraud("keys", "revoke", key_id, "--set", tmp_path / "keys", "--reason", "it was copied").code == 0
    assert fraud("keys", "create", "models", tmp_path / "next.key", "--set", tmp_path / "keys").code == 0
    monkeypatch.setenv("FRAUD_MODELS_KEY_FILE", str(tmp_path / "next.key"))
    with pytest.raises(ModelRefused, match="does not count"):
        load_challenger(Settings())
    assert fraud("models", "confirm", "--reason", "the key was copied").code == 0
    named = fraud("models", "try", FIRST, "--reason", "nobody is on trial")
    assert named.code == 0, named.err
    assert load_challenger(Settings()).version == FIRST
    retired = fraud("models", "retire", SECOND, "--reason", "it is worse")
    assert retired.code == 0, retired.err


def test_a_champion_whose_key_was_revoked_is_confirmed_with_the_next(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    key_id = json.loads(fraud("keys", "list", "--set", tmp_path / "keys", "--json").out.splitlines()[0])["key_id"]
    assert fraud("keys", "revoke", key_id, "--set", tmp_path / "keys", "--reason", "it was copied").code == 0
    assert fraud("models", "verify").code == 1
    assert fraud("keys", "create", "models", tmp_path / "next.key", "--set", tmp_path / "keys").code == 0
    monkeypatch.setenv("FRAUD_MODELS_KEY_FILE", str(tmp_path / "next.key"))
    confirmed = fraud("models", "confirm", "--reason", "the key was copied")
    assert confirmed.code == 0, confirmed.err
    assert load_champion_of(Settings()).model.version == FIRST


def test_without_keys_nothing_is_signed(fraud: Fraud, bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAUD_SEAL_KEYS_FILE")
    (bank / "champion").write_text(f"{SECOND}\n")
    refused = fraud("models", "sign", FIRST)
    assert "No key set says which keys sign models" in refused.err
    listed = fraud("models", "list").out.splitlines()
    assert [line.split()[2] for line in listed] == ["unsigned", "champion,"]
    assert fraud("models", "verify").code == 0, "the files are whole"


def test_whoever_holds_no_role_retires_begins_and_confirms_nothing(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of the registry alone is not enough, and neither is a name."""
    approved(fraud, monkeypatch, tmp_path, FIRST)
    acting(monkeypatch, tmp_path, "nobody")
    for words in (("retire", SECOND), ("begin", FIRST), ("try", FIRST), ("confirm",)):
        refused = fraud("models", *words, "--reason", "because")
        assert (refused.code, "you hold none of the roles" in refused.err) == (1, True), words


def test_records_bear_the_databases_time_and_not_this_machines(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    approved(fraud, monkeypatch, tmp_path, FIRST)
    year_ms, true_ms = 366 * 86_400_000, now_ms()
    monkeypatch.setenv("FRAUD_DATABASE_URL", database_url)
    monkeypatch.setattr("models.versions.act_command.now_ms", lambda: true_ms + year_ms)
    for words in (("begin", FIRST), ("confirm",), ("try", FIRST), ("retire", SECOND)):
        answer = fraud("models", *words, "--reason", "because", "--json")
        assert answer.code == 0, answer.err
        assert abs(json.loads(answer.out)["at_ms"] - true_ms) < year_ms / 2, words


def test_an_approval_bears_the_databases_time(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """A signer's clock that runs ahead would void the approval for as long, or keep it in force for longer."""
    year_ms, true_ms = 366 * 86_400_000, now_ms()
    monkeypatch.setenv("FRAUD_DATABASE_URL", database_url)
    monkeypatch.setattr("models.versions.act_command.now_ms", lambda: true_ms + year_ms)
    approved(fraud, monkeypatch, tmp_path, FIRST)
    shown = json.loads(fraud("models", "show", FIRST, "--json").out)
    assert [abs(each["at_ms"] - true_ms) < year_ms / 2 for each in shown["approvals"]] == [True] * 3


def test_a_listing_says_on_what_each_approval_was_given(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fraud("models", "sign", FIRST).code == 0
    registry, key = DirectoryRegistry(bank), SigningKey.from_file(tmp_path / "models.key")
    failed = Evidence("bias", FIRST, digest_of(registry, FIRST), now_ms(), False, ("a gap",), {})
    write_evidence(registry, failed, key)
    answer = fraud("models", "approve", FIRST, "--role", "RISK", "--answer", "the feed was down")
    assert answer.code == 0, answer.err
    assert "rita (RISK, on the evidence of now)" in fraud("models", "list").out
    said = fraud("models", "show", FIRST).out
    assert "approved by rita as RISK on the evidence of now (" in said
    assert "answering: the feed was down" in said
    write_evidence(registry, failed._replace(passed=True, findings=()), key)
    assert "rita (RISK, on other evidence)" in fraud("models", "list").out
    [shown] = json.loads(fraud("models", "show", FIRST, "--json").out)["approvals"]
    assert shown["on"].startswith("on other evidence than there is now (")
    assert shown["grounds"]["answer"] == "the feed was down"
    assert "on other evidence than there is now (" in fraud("models", "card", FIRST).out


@pytest.mark.parametrize("version", ["nothing", "", ".", "../registry", "aliases", "Approvals", "challenger"])
@pytest.mark.parametrize(
    "words",
    [
        ("show",),
        ("verify",),
        ("sign",),
        ("card",),
        ("approve", "--role", "RISK"),
        ("begin", "--reason", "because"),
        ("try", "--reason", "because"),
    ],
)
def test_a_version_that_there_is_not_is_a_mistake_of_usage_and_no_check_that_failed(
    fraud: Fraud, bank: Path, words: tuple[str, ...], version: str
) -> None:
    verb, *options = words
    answer = fraud("models", verb, version, *options)
    assert (answer.code, answer.out) == (2, ""), answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("verb", ["bias", "drift"])
def test_a_report_without_its_database_ends_with_a_sentence(
    fraud: Fraud, bank: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("FRAUD_DATABASE_URL", "postgresql://127.0.0.1:1/fraud")
    answer = fraud("models", verb, FIRST)
    assert (answer.code, "PostgreSQL does not answer" in answer.err) == (2, True), answer.err


def test_in_production_the_time_is_the_databases_or_nobodys(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(profile=Profile.PRODUCTION, database_url="postgresql://127.0.0.1:1/fraud")
    with pytest.raises(Failure, match="PostgreSQL"):
        trusted_now_ms(settings)


def test_no_first_champion_is_named_where_the_records_of_others_were_taken_away(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emptied folder of aliases would let a version in that no gate has seen."""
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    assert fraud("models", "confirm", "--reason", "a key was changed").code == 0
    shutil.rmtree(bank / "aliases")
    again = fraud("models", "begin", FIRST, "--reason", "once more")
    assert (again.code, "whose records are gone" in again.err) == (1, True)


def test_a_registry_that_was_emptied_or_put_back_names_no_champion_by_the_back_door(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Connection, database_url: str
) -> None:
    """With aliases and history gone the registry looks new, and a version that no gate has seen could begin in it."""
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    shutil.copytree(bank / "aliases", tmp_path / "of-before")
    assert fraud("models", "confirm", "--reason", "a key was changed").code == 0
    trust = trust_of(Settings())
    assert trust is not None
    for record in alias_records(DirectoryRegistry(bank), trust.keys, Alias.CHAMPION):
        append_move(owner, record, MoveEvent.FOUND, "erin", "found", None)
    monkeypatch.setenv("FRAUD_DATABASE_URL", url_as(database_url, "fraud_incident"))
    shutil.rmtree(bank / "aliases")
    shutil.rmtree(bank / "history")
    begun = fraud("models", "begin", FIRST, "--reason", "the first one")
    assert (begun.code, "end with 0, and record 2 was in force" in begun.err) == (1, True), begun.err
    shutil.copytree(tmp_path / "of-before", bank / "aliases")
    confirmed = fraud("models", "confirm", "--reason", "a key was changed")
    assert (confirmed.code, "end with 1, and record 2 was in force" in confirmed.err) == (1, True), confirmed.err


def test_a_version_whose_move_has_only_begun_is_not_retired(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine has written the history, and not the alias yet."""
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    shutil.rmtree(bank / "aliases")
    kept = fraud("models", "retire", FIRST, "--reason", "it is old")
    assert (kept.code, "is being moved to" in kept.err) == (1, True)


def test_whoever_approves_answers_for_the_runs_that_failed(
    fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fraud("models", "sign", FIRST).code == 0
    registry, key = DirectoryRegistry(bank), SigningKey.from_file(tmp_path / "models.key")
    failed = Evidence("bias", FIRST, digest_of(registry, FIRST), now_ms(), False, ("a gap",), {})
    name = write_evidence(registry, failed, key)
    refused = fraud("models", "approve", FIRST, "--role", "RISK")
    assert "1 run of its checks failed" in refused.err
    assert name in refused.err
    answer = fraud("models", "approve", FIRST, "--role", "RISK", "--answer", "the feed was down")
    assert (answer.code, "answering for 1 run that failed" in answer.out) == (0, True), answer.err
    write_evidence(registry, failed._replace(passed=True, findings=()), key)
    anew = fraud("models", "approve", FIRST, "--role", "RISK", "--answer", "the feed was down", "--json")
    assert anew.code == 0, "on other evidence it is given anew at once"
    assert json.loads(anew.out)["evidence"] != ""


def onnx_challenger(folder: Path, version: str = "net-1") -> Path:
    """Write one that answers by two features; it needs no learning."""
    graph = helper.make_graph(
        [helper.make_node("Softmax", [INPUT], [OUTPUT], axis=1)],
        "challenger",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 2])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    features = ("amount_gbp_minor", "ip_fraud_reports")
    write_onnx(folder / version, made.SerializeToString(), features, {"learner": "none"})
    return folder / version


@pytest.fixture
def net(fraud: Fraud, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A challenger as ONNX beside a registry with a champion; erin acts."""
    approved(fraud, monkeypatch, tmp_path, FIRST)
    assert fraud("models", "begin", FIRST, "--reason", "the first one").code == 0
    monkeypatch.setenv("FRAUD_CHALLENGERS_PATH", str(tmp_path / "challengers"))
    return onnx_challenger(tmp_path / "challengers")


def test_a_challenger_as_onnx_is_signed_and_named_by_a_signed_record(fraud: Fraud, net: Path) -> None:
    """No command could name one: whoever set FRAUD_SHADOW_VERSION had any bytes of that name answer."""
    refused = fraud("models", "try", "net-1", "--reason", "it may find more")
    assert (refused.code, "is not signed" in refused.err) == (1, True)
    assert fraud("models", "sign", "net-1").code == 0
    assert sorted(each.name for each in net.iterdir()) == ["challenger.json", "model.onnx", "model.sig"]
    again = fraud("models", "sign", "net-1")
    assert (again.code, "is signed already" in again.err) == (1, True)
    tried = fraud("models", "try", "net-1", "--reason", "it may find more")
    assert tried.out == "net-1: TRIED, by erin, as record 2 of the history.\n", tried.err
    named = load_challenger(Settings())
    assert (named.version, named.kind) == ("net-1", "ONNX")
    listed = {each["version"]: each for each in map(json.loads, fraud("models", "list", "--json").out.splitlines())}
    assert listed["net-1"]["is_onnx"]
    assert (listed["net-1"]["alias"], listed["net-1"]["digest"]) == ("challenger", named.digest.hex())
    assert listed["net-1"]["signed_by"]
    assert not listed[FIRST]["is_onnx"]
    shown = fraud("models", "show", "net-1")
    assert "ONNX, never decides" in shown.out
    assert "made_of.learner: none" in shown.out
    assert fraud("models", "sign", SECOND).code == 0
    good = fraud("models", "verify")
    assert (good.code, "challenger net-1: good\n" in good.out) == (0, True), good.out
    assert fraud("models", "verify", "net-1").code == 0


@pytest.mark.parametrize("file", ["model.onnx", "challenger.json", "model.sig"])
def test_no_byte_of_a_challenger_as_onnx_changes_unseen(fraud: Fraud, net: Path, file: str) -> None:
    assert fraud("models", "sign", "net-1").code == 0
    assert fraud("models", "try", "net-1", "--reason", "it may find more").code == 0
    path = net / file
    content = path.read_bytes()
    path.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    assert fraud("models", "verify").code == 1
    if file != "model.sig":  # the record names what answers, whatever becomes of the signature since
        with pytest.raises(ModelRefused):
            load_challenger(Settings())
    assert fraud("models", "try", "net-1", "--reason", "it may find more").code == 1


def test_a_challenger_that_was_exchanged_whole_answers_nothing(fraud: Fraud, net: Path, tmp_path: Path) -> None:
    """Another model under the name, with a manifest that agrees with it and the old signature beside it."""
    assert fraud("models", "sign", "net-1").code == 0
    assert fraud("models", "try", "net-1", "--reason", "it may find more").code == 0
    signature = (net / "model.sig").read_bytes()
    shutil.rmtree(net)
    made = onnx_challenger(tmp_path / "challengers")
    manifest = json.loads((made / "challenger.json").read_bytes())
    (made / "challenger.json").write_bytes(canonical({**manifest, "made_of": {"learner": "another"}}))
    (made / "model.sig").write_bytes(signature)
    with pytest.raises(ModelRefused, match="not the model that the alias was moved to"):
        load_challenger(Settings())
    spoilt = fraud("models", "verify")
    assert (spoilt.code, "challenger net-1: the signature" in spoilt.out) == (1, True), spoilt.out


@pytest.mark.parametrize("version", ["net-1", SECOND])
def test_what_a_setting_names_answers_only_where_it_is_signed(fraud: Fraud, net: Path, version: str) -> None:
    settings = Settings(shadow_version=version)
    with pytest.raises(ModelRefused, match="is not signed"):
        load_challenger(settings)
    assert fraud("models", "sign", version).code == 0
    assert load_challenger(settings).version == version


def test_a_challenger_as_onnx_is_neither_approved_nor_promoted_nor_one_of_two(
    fraud: Fraud, net: Path, tmp_path: Path, bank: Path
) -> None:
    assert fraud("models", "sign", "net-1").code == 0
    refused = fraud("models", "approve", "net-1", "--role", "ENGINEERING")
    assert (refused.code, "has no version 'net-1'" in refused.err) == (2, True), refused.err
    (bank / "net-1").mkdir()
    (bank / "net-1" / "manifest.json").write_bytes(b"{}")
    twice = fraud("models", "try", "net-1", "--reason", "it may find more")
    assert (twice.code, "Two models have the version" in twice.err) == (1, True), twice.err
