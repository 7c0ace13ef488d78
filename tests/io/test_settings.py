"""The settings know where secrets come from and which of them stand in the open, and show none."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.io.secret_settings import SECRET_NAMES
from pipeline.io.settings import EnvFileMissing, Settings
from tests.io.vault_server import TOKEN, running_vault

PASSWORD = "correct-horse"
KAFKA = {"security.protocol": "SASL_SSL", "sasl.username": "fraud-worker", "sasl.password": PASSWORD}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a folder of secrets, and work in a directory that has no .env file."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "kafka_options").write_text(json.dumps(KAFKA))
    (folder / "redis_url").write_text(f"rediss://:{PASSWORD}@redis:6379/0")
    for path in folder.iterdir():
        path.chmod(0o400)
    return folder


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("FRAUD_SECRETS_FROM", f"file:{folder}")
    settings = Settings()
    assert settings.kafka_options == KAFKA
    assert f"rediss://:{PASSWORD}@redis:6379/0" == settings.redis_url
    assert frozenset() == settings.plain_secrets


def test_secrets_come_from_vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with running_vault() as vault:
        vault.secrets["secret/fraud/worker"] = {"kafka_options": json.dumps(KAFKA), "audit_key": "pem"}
        monkeypatch.setenv("FRAUD_SECRETS_FROM", f"vault:{vault.address}")
        monkeypatch.setenv("FRAUD_VAULT_TOKEN_FILE", str(tmp_path / "token"))
        settings = Settings()
    assert (KAFKA, "pem") == (settings.kafka_options, settings.audit_key)


def test_secrets_in_the_environment_and_in_dotenv_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("fraud_redis_url", f"redis://:{PASSWORD}@redis:6379/0")
    (tmp_path / ".env").write_text(f"FRAUD_DEAD_LETTER_KEY={PASSWORD}\n")
    assert frozenset({"redis_url", "dead_letter_key"}) == Settings().plain_secrets


@pytest.mark.parametrize("said", ["[]", '["audit_key"]'])
def test_environment_can_t_say_that_it_holds_no_secret(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("FRAUD_PLAIN_SECRETS", said)
    monkeypatch.setenv("FRAUD_REDIS_URL", f"redis://:{PASSWORD}@redis:6379/0")
    assert "redis_url" in Settings().plain_secrets


def test_secret_that_is_no_json_is_refused_without_being_quoted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "kafka_options").write_text(f"sasl.password={PASSWORD}")
    (folder / "kafka_options").chmod(0o400)
    monkeypatch.setenv("FRAUD_SECRETS_FROM", f"file:{folder}")
    with pytest.raises(Exception, match="kafka_options is no JSON object") as refused:
        Settings()
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "prefix", ["", "a{b}", "fraud}", "fraud*", "fraud?", "[f]raud", "two words", "fraud\n", "é", "a" * 65]
)
def test_a_prefix_that_would_be_a_hash_tag_or_a_pattern_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="state_prefix"):
        Settings(state_prefix=prefix)


def test_settings_that_are_shown_show_no_secret() -> None:
    headers = {"authorization": PASSWORD}
    structured = {"kafka_options": KAFKA, "alert_secrets": {"pager": PASSWORD}, "otlp_headers": headers}
    shown = repr(Settings(**{name: structured.get(name, PASSWORD) for name in SECRET_NAMES}))
    assert PASSWORD not in shown
    assert [] == [name for name in SECRET_NAMES if f"{name}=" in shown]


def test_secret_of_the_wrong_kind_is_not_quoted() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(kafka_options=PASSWORD)
    assert PASSWORD not in str(refused.value)


def test_named_file_goes_before_dotenv_and_the_environment_before_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("FRAUD_TOPIC_PREFIX=dotenv.\nFRAUD_WORKER_SLOT=1\nFRAUD_LOG_LEVEL=ERROR\n")
    (tmp_path / "stack.env").write_text("FRAUD_TOPIC_PREFIX=named.\nFRAUD_WORKER_SLOT=2\n")
    monkeypatch.setenv("FRAUD_ENV_FILE", str(tmp_path / "stack.env"))
    monkeypatch.setenv("FRAUD_TOPIC_PREFIX", "environment.")
    settings = Settings()
    assert ("environment.", 2, "ERROR") == (settings.topic_prefix, settings.worker_slot, settings.log_level)


def test_secret_in_a_named_file_stands_in_the_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "stack.env").write_text(f"FRAUD_REDIS_URL=redis://:{PASSWORD}@redis:6379/0\n")
    monkeypatch.setenv("FRAUD_ENV_FILE", str(tmp_path / "stack.env"))
    assert frozenset({"redis_url"}) == Settings().plain_secrets


def test_named_file_that_is_not_there_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FRAUD_ENV_FILE", str(tmp_path / "stack.env"))
    with pytest.raises(EnvFileMissing, match=r"stack\.env"):
        Settings()


def test_role_is_put_in_only_where_the_address_leaves_it_open() -> None:
    left_open = Settings(database_url="postgresql://{role}@127.0.0.1/fraud")
    named = Settings(database_url="postgresql://fraud_audit@127.0.0.1/fraud")
    assert left_open.as_role("fraud_executor").database_url == "postgresql://fraud_executor@127.0.0.1/fraud"
    assert named.as_role("fraud_executor") == named
