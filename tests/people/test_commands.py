"""`fraud people` as people type it: from nobody to a role, and the ways in which a key file is not one."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.io.postgres import Connection
from pipeline.people.key_files import (
    Claimed,
    IdentityRefused,
    create_identity,
    read_identity,
    write_private,
)
from tests.commands import Answer, Fraud
from tests.known import COST, PASSPHRASE
from tests.servers import url_as


@pytest.fixture
def people(fraud: Fraud, database_url: str, tmp_path: Path) -> Callable[..., Answer]:
    """The command by somebody, whose key is NAME.key, as the database's owner."""
    write_private(tmp_path / "passphrase", PASSPHRASE)
    fixed = {"identity_passphrase_file": tmp_path / "passphrase", "database_url": url_as(database_url, "fraud_owner")}

    def run(*arguments: object, by: str = "ada", **settings: object) -> Answer:
        return fraud("people", *arguments, identity_file=tmp_path / f"{by}.key", **{**fixed, **settings})

    return run


def created(people: Callable[..., Answer], tmp_path: Path, name: str) -> str:
    answer = people("create-key", name, tmp_path / f"{name}.key", "--json")
    assert answer.code == 0, answer.err
    return str(json.loads(answer.out)["key"])


def test_from_nobody_to_a_reviewer_and_back(people: Callable[..., Answer], owner: Connection, tmp_path: Path) -> None:
    created(people, tmp_path, "ada")
    key = created(people, tmp_path, "ann")
    assert stat.S_IMODE((tmp_path / "ann.key").stat().st_mode) == 0o600
    assert "there is no ADMIN yet" in people("grant", "ann", "REVIEWER").err
    first = people("first-admin", "--json")
    root = json.loads(first.out)["root"]
    assert (first.code, json.loads(first.out)["name"]) == (0, "ada")
    assert "named before" in people("first-admin", by="ann").err
    assert "that is no key of that person's" in people("register-key", "eve", key).err
    assert people("register-key", "ann", key).code == 0
    assert people("grant", "ann", "REVIEWER").out == "REVIEWER granted to ann by ada\n"
    assert "nobody changes their own roles" in people("grant", "ADA", "REVIEWER").err
    assert "written otherwise" in people("grant", "Ann", "REVIEWER").err
    assert "only an ADMIN" in people("grant", "eve", "REVIEWER", by="ann").err
    granted = [json.loads(line) for line in people("list", "--json").out.splitlines()]
    assert [(each["name"], each["role"]) for each in granted] == [("ada", "ADMIN"), ("ann", "REVIEWER")]
    keys = [json.loads(line) for line in people("keys", "--json").out.splitlines()]
    assert [each["name"] for each in keys] == ["ada", "ann"]
    assert people("verify", "--root", root).code == 0
    assert people("verify", "--root", "0" * 64).code == 1
    assert people("export", tmp_path / "people.jsonl").out == f"{tmp_path / 'people.jsonl'} holds 3 acts\n"
    assert people("revoke-key", keys[1]["key_id"], "--reason", "it was copied").code == 0
    assert "no such key" in people("revoke-key", keys[1]["key_id"], "--reason", "it was copied").err
    assert "revoked" in people("keys").out
    assert people("revoke", "ann", "REVIEWER").code == 0
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.signed_act SET signature = %s WHERE kind = 'ROLE_REVOKED'", [bytes(64)])
    found = people("verify")
    assert (found.code, "its signature is false" in found.out) == (1, True)


def test_a_registry_that_nobody_has_begun_is_called_so(people: Callable[..., Answer]) -> None:
    found = people("verify")
    assert (found.code, found.err) == (0, "0 signed acts and 0 rows looked at; nobody has begun the registry.\n")


def test_a_key_is_never_overwritten_and_wants_a_name_and_a_passphrase(
    people: Callable[..., Answer], tmp_path: Path
) -> None:
    created(people, tmp_path, "ada")
    again = people("create-key", "ada", tmp_path / "ada.key")
    assert (again.code, "can't be written" in again.err) == (2, True)
    assert "A name is 2 to 64" in people("create-key", "ádá", tmp_path / "other.key").err
    write_private(tmp_path / "short", "too short")
    short = people("create-key", "ada", tmp_path / "other.key", identity_passphrase_file=tmp_path / "short")
    assert "at least 12 characters" in short.err
    assert not (tmp_path / "other.key").exists()


def test_nobody_is_asked_where_nobody_is_there(fraud: Fraud, tmp_path: Path) -> None:
    answer = fraud("people", "create-key", "ada", tmp_path / "ada.key")
    assert (answer.code, "nobody can be asked for the passphrase" in answer.err.lower()) == (2, True)


def edited(path: Path, **changed: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.chmod(0o644), "others than its user"),
        (lambda path: path.write_text("x"), "holds no personal key"),
        (lambda path: path.write_text("[]"), "holds no personal key"),
        (lambda path: path.unlink(), "can't be read"),
        (lambda path: edited(path, name="eve"), "does not open"),
        (lambda path: edited(path, public="00" * 32), "does not open"),
        (lambda path: edited(path, sealed="00" * 48), "does not open"),
        (lambda path: edited(path, scrypt_cost=2**30), "a cost that no key has"),
        (lambda path: edited(path, scrypt_cost=2**14 + 1), "a cost that no key has"),
        (lambda path: edited(path, scrypt_cost=True), "a cost that no key has"),
        (lambda path: edited(path, kind="another"), "holds no personal key"),
    ],
)
def test_a_file_that_somebody_else_could_have_changed_is_no_key(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / "ann.key"
    create_identity(path, "ann", PASSPHRASE, COST)
    assert read_identity(path, lambda: PASSPHRASE).name == "ann"
    with pytest.raises(IdentityRefused, match="does not open"):
        read_identity(path, lambda: "another passphrase")
    spoil(path)
    with pytest.raises(IdentityRefused, match=said):
        read_identity(path, lambda: PASSPHRASE)


@pytest.mark.parametrize("text", ["", "x", "é", "A" * 128, "A" * 127, "=" * 128])
def test_what_nobody_printed_is_no_public_key(text: str) -> None:
    claimed = Claimed.of(text) if text == "A" * 128 else None  # a well-formed word that no key has signed
    if claimed is None:
        with pytest.raises(IdentityRefused):
            Claimed.of(text)
