"""Secrets from files and from Vault: found, absent, refused, and never quoted."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.io import secrets
from pipeline.io.secrets import SECRET_BYTES_MAX, SecretsUnavailable, VaultAccess, source
from tests.io.vault_server import TOKEN, Vault, running_vault

SECRET = "correct horse battery staple"


@pytest.fixture
def vault() -> Iterator[Vault]:
    with running_vault() as vault:
        vault.secrets["secret/fraud/worker"] = {"redis_url": SECRET + "\n", "ttl": 3600}
        yield vault


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "VAULT_WAIT_S", 0.001)


def _private(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o400)


def test_file_is_read_without_the_line_end(tmp_path: Path) -> None:
    _private(tmp_path / "redis_url", f"{SECRET}\n".encode())
    assert source(f"file:{tmp_path}").read("redis_url") == SECRET


def test_file_that_is_not_there_is_no_secret(tmp_path: Path) -> None:
    assert source(f"file:{tmp_path}").read("redis_url") is None


@pytest.mark.parametrize("mode", [0o404, 0o420, 0o422, 0o440 | 0o001, 0o444, 0o602, 0o640 | 0o020, 0o666, 0o777])
def test_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    _private(tmp_path / "redis_url", SECRET.encode())
    (tmp_path / "redis_url").chmod(mode)
    _refuses(f"file:{tmp_path}", "others than its user may read or write")


OWN, GROUP = 10001, 20001


@pytest.mark.parametrize(
    ("mode", "owner", "group", "is_private"),
    [
        (0o400, OWN, OWN, True),
        (0o600, OWN, 0, True),
        (0o440, OWN, OWN, False),  # whoever else is in that group reads it
        (0o400, 10002, OWN, False),
        (0o440, 0, GROUP, True),  # as Kubernetes mounts it: root's, for the one group of the pod
        (0o440, 0, 30001, False),
        (0o444, 0, GROUP, False),
        (0o460, 0, GROUP, False),
    ],
)
def test_secret_is_its_process_s_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int, owner: int, group: int, *, is_private: bool
) -> None:
    monkeypatch.setattr(secrets.os, "geteuid", lambda: OWN)
    monkeypatch.setattr(secrets.os, "getegid", lambda: OWN)
    monkeypatch.setattr(secrets.os, "getgroups", lambda: [GROUP])
    found = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, group, 1, 0, 0, 0))
    if is_private:
        secrets.require_private(tmp_path, found)
        return
    with pytest.raises(SecretsUnavailable, match="others than its user"):
        secrets.require_private(tmp_path, found)


@pytest.mark.parametrize(
    ("content", "why"), [(b"\xff\xfe", "is no text"), (b"x" * (SECRET_BYTES_MAX + 1), "is longer than")]
)
def test_file_that_is_no_secret_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    _private(tmp_path / "redis_url", content)
    _refuses(f"file:{tmp_path}", why)


@pytest.mark.parametrize("name", ["audit_keys", "seal_keys"])
@pytest.mark.parametrize(("mode", "is_read"), [(0o444, True), (0o644, True), (0o664, False), (0o646, False)])
def test_key_set_is_read_by_all_and_written_by_nobody_else(
    tmp_path: Path, name: str, mode: int, *, is_read: bool
) -> None:
    (tmp_path / name).write_text("keys")
    (tmp_path / name).chmod(mode)
    if is_read:
        assert "keys" == source(f"file:{tmp_path}").read(name)
    else:
        with pytest.raises(SecretsUnavailable, match="others than its user may write"):
            source(f"file:{tmp_path}").read(name)


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    _refuses(f"file:{tmp_path / 'none'}", "there is no folder")


def test_vault_s_field_is_read_once_for_all(vault: Vault, token_file: Path) -> None:
    store = source(f"vault:{vault.address}", VaultAccess(token_file, None, None))
    assert (SECRET, None) == (store.read("redis_url"), store.read("database_url"))
    assert vault.requests == 1


def test_vault_s_field_that_is_no_text_is_no_secret(vault: Vault, token_file: Path) -> None:
    assert source(f"vault:{vault.address}", VaultAccess(token_file, None, None)).read("ttl") is None


def test_vault_path_that_is_not_there_holds_no_secret(vault: Vault, token_file: Path) -> None:
    del vault.secrets["secret/fraud/worker"]
    assert source(f"vault:{vault.address}", VaultAccess(token_file, None, None)).read("redis_url") is None


def test_vault_is_asked_in_its_namespace(vault: Vault, token_file: Path) -> None:
    vault.namespace = "payments"
    assert source(f"vault:{vault.address}", VaultAccess(token_file, None, "payments")).read("redis_url") == SECRET
    _refuses(f"vault:{vault.address}", "it answers 403", VaultAccess(token_file, None, None))


def test_vault_that_is_sealed_for_a_moment_is_asked_again(vault: Vault, token_file: Path) -> None:
    vault.failures = [503, 500]
    assert source(f"vault:{vault.address}", VaultAccess(token_file, None, None)).read("redis_url") == SECRET
    assert vault.requests == 3


def test_vault_that_stays_sealed_is_given_up(vault: Vault, token_file: Path) -> None:
    vault.failures = [503] * 100
    _refuses(f"vault:{vault.address}", "it answers 503", VaultAccess(token_file, None, None))
    assert secrets.VAULT_ATTEMPTS_MAX == vault.requests


def test_vault_s_refusal_is_final_and_quotes_no_token(vault: Vault, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("hvs.another")
    _refuses(f"vault:{vault.address}", "it answers 403", VaultAccess(wrong, None, None))
    assert vault.requests == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"data":{}}', b'{"data":{"data":null}}', b"\xff", b"x" * 70_000])
def test_vault_that_answers_something_else_is_refused(vault: Vault, token_file: Path, body: bytes) -> None:
    vault.body = body
    _refuses(f"vault:{vault.address}", "secret/fraud/worker", VaultAccess(token_file, None, None))


@pytest.mark.parametrize("content", ["", "\n", "two\nlines"])
def test_token_file_without_a_token_is_refused(vault: Vault, tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    _refuses(f"vault:{vault.address}", "holds no token", VaultAccess(path, None, None))


@pytest.mark.parametrize(
    "address",
    [
        "vault:http://vault.bank:8200/secret/fraud/worker",  # in the clear, over a network
        "vault:https://vault.bank:8200/secret",
        "vault:https://hvs.token@vault.bank:8200/secret/fraud/worker",
        "vault:ftp://vault.bank/secret/fraud/worker",
        "vault:",
        "file:",
        "environment:",
        "",
    ],
)
def test_address_that_can_t_be_used_is_refused(token_file: Path, address: str) -> None:
    _refuses(address, "secrets come from|Vault.s address", VaultAccess(token_file, None, None))


def test_vault_without_a_token_is_refused() -> None:
    _refuses("vault:https://vault.bank:8200/secret/fraud/worker", "no file with its token")


def _refuses(address: str, why: str, access: VaultAccess | None = None) -> None:
    with pytest.raises(SecretsUnavailable, match=why) as refused:
        source(address, access).read("redis_url")
    assert SECRET not in str(refused.value)
    assert "hvs." not in str(refused.value)
