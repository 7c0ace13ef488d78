"""The folder of secrets: made once, closed to others, and enough for the production profile."""

import json
import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from ops.access.secret_owners import CONSUMERS, PUBLIC, USERS, wrongly_given
from ops.stack.certificates import issue
from pipeline.io.production import production_faults
from pipeline.io.settings import Profile, Settings
from tests.commands import Fraud
from tests.ops.stack.test_compose import PRODUCTION

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other users")
BANK = {"ca.pem", "rail_authority.pem", "rail_certificate.pem", "rail_key.pem"} | {
    f"{host}_{part}.pem" for host in ("redis", "postgres") for part in ("certificate", "key")
}
"""What the bank signs; the broker's key store is made of two more of its files."""
ALERTS = {"alert_routes.toml", "alert_secrets"}
"""What says who is told of alerts."""
KEYS = {
    "dead_letter_key", "audit_key", "audit_keys", "witness_key", "worker_seal_key", "review_seal_key",
    "executor_seal_key", "models_key", "seal_keys",
}  # fmt: skip


@pytest.fixture
def folder(fraud: Fraud, tmp_path: Path) -> Path:
    """The folder as docs/operations.md has it made."""
    made = tmp_path / "made"
    made.mkdir(mode=0o700)
    issue(made, ["kafka", "redis", "postgres"])
    for part in ("authority", "certificate", "key"):
        (made / f"rail_{part}.pem").write_text("of the bank's")
    (made / "alert_routes.toml").write_text("version = 1")
    (made / "alert_secrets").write_text('{"pager": "key"}')
    assert fraud("keys", "create", "dead-letter", made / "dead_letter_key").code == 0
    assert fraud("keys", "create", "audit", made / "audit_key").code == 0
    keys = (made / "audit_key.keys").rename(made / "audit_keys")
    assert fraud("keys", "create", "witness", made / "witness_key", "--set", keys).code == 0
    assert fraud("keys", "create", "decisions", made / "worker_seal_key").code == 0
    seal_keys = (made / "worker_seal_key.keys").rename(made / "seal_keys")
    assert fraud("keys", "create", "reviews", made / "review_seal_key", "--set", seal_keys).code == 0
    assert fraud("keys", "create", "reversals", made / "rollback_seal_key", "--set", seal_keys).code == 0
    assert fraud("keys", "create", "executions", made / "executor_seal_key", "--set", seal_keys).code == 0
    assert fraud("keys", "create", "models", made / "models_key", "--set", seal_keys).code == 0
    answer = fraud("passwords", "create", made)
    assert answer.code == 0
    assert "missing" not in answer.err
    return made


def test_folder_holds_what_the_compose_file_wants_of_it(folder: Path) -> None:
    assert set() == PRODUCTION["secrets"].keys() - {path.name for path in folder.iterdir()}


def test_what_is_missing_is_named(fraud: Fraud, tmp_path: Path) -> None:
    answer = fraud("passwords", "create", tmp_path / "new")
    assert answer.code == 0
    missing = set(answer.err.partition("for production: ")[2].strip(" .\n").split(", "))
    assert missing == BANK | ALERTS | KEYS | {"kafka_keystore.p12"}


def test_each_file_is_its_consumer_s_alone(folder: Path) -> None:
    assert [0o700] == [stat.S_IMODE(folder.stat().st_mode)]
    for path in folder.iterdir():
        found = path.stat()
        service = CONSUMERS.get(path.name)
        assert (found.st_uid, found.st_gid) == (USERS[service] if service else (0, 0)), path.name
        assert stat.S_IMODE(found.st_mode) == (0o444 if path.name in PUBLIC else 0o400), path.name
    assert [] == list(wrongly_given(folder))


def test_file_that_others_read_is_found(folder: Path) -> None:
    (folder / "audit_key").chmod(0o440)
    os.chown(folder / "redis_acl", 10001, 10001)
    found = sorted(wrongly_given(folder))
    assert ["audit_key has the mode 440, not 400", "redis_acl belongs to 10001:10001, not to redis"] == found


def test_files_of_somebody_who_may_not_give_them_away_are_refused(fraud: Fraud, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("ops.access.secret_owners.os.chown", refuse)
    answer = fraud("passwords", "create", tmp_path / "made")
    assert answer.code == 2
    assert "can't be given" in answer.err
    assert "--keep-owner" in answer.err
    assert fraud("passwords", "create", tmp_path / "made", "--keep-owner").code == 0


def test_link_to_another_file_is_refused(fraud: Fraud, folder: Path) -> None:
    (folder / "reader_password").symlink_to("/etc/shadow")
    answer = fraud("passwords", "create", folder)
    assert answer.code == 2
    assert "is no file of its own" in answer.err


def test_nothing_is_overwritten(fraud: Fraud, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "redis_password").unlink()
    assert "made" in fraud("passwords", "create", folder).out
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == after.keys()
    assert ["redis_password"] == [name for name in before if before[name] != after[name]]


@pytest.mark.parametrize(
    ("name", "holders"),
    [
        ("postgres_password_fraud_alerts", {"alerts_database_url"}),
        ("kafka_password_fraud-worker", {"worker_kafka_options"}),
        ("kafka_password_fraud-admin", {"admin_kafka_options", "kafka_jaas.conf"}),
        ("redis_password", {"redis_acl", "worker_redis_url"}),
    ],
)
def test_renewed_password_is_in_every_file_that_holds_it_and_no_other(
    fraud: Fraud, folder: Path, name: str, holders: set[str]
) -> None:
    """A stolen one that stands on in one of them lets its thief in, or its service out."""
    by_hand = folder / sorted(holders)[0]
    by_hand.write_text(by_hand.read_text().replace("\n", "  \n"))
    before = {path.name: path.read_text("latin-1") for path in folder.iterdir()}
    answer = fraud("passwords", "create", folder, "--renew", name)
    after = {path.name: path.read_text("latin-1") for path in folder.iterdir()}
    assert answer.code == 0
    assert before.keys() == after.keys()
    assert {name, *holders} == {each for each in before if before[each] != after[each]}
    old, new = (held[name].strip() for held in (before, after))
    assert not any(each in text for text in after.values() for each in (old, sha256(old.encode()).hexdigest()))
    assert all(new in after[each] or sha256(new.encode()).hexdigest() in after[each] for each in holders)
    assert "  \n" in after[by_hand.name], "what somebody wrote by hand stays"
    assert [] == list(wrongly_given(folder))


@pytest.mark.parametrize("name", ["kafka_keystore_password", "worker_database_url", "../ca.pem", "audit_key", "x"])
def test_what_is_no_renewable_password_is_not_renewed(fraud: Fraud, folder: Path, name: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    answer = fraud("passwords", "create", folder, "--renew", name)
    assert answer.code == 2
    assert "is no file of a password that can be renewed" in answer.err
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_nothing_is_renewed_where_a_file_holds_another_password_already(fraud: Fraud, folder: Path) -> None:
    (folder / "alerts_database_url").write_text("postgresql://fraud_alerts:other@postgres:5432/fraud")
    before = (folder / "postgres_password_fraud_alerts").read_text()
    answer = fraud("passwords", "create", folder, "--renew", "postgres_password_fraud_alerts")
    assert answer.code == 2
    assert "does not hold the password" in answer.err
    assert before == (folder / "postgres_password_fraud_alerts").read_text()


@pytest.mark.parametrize(
    "service", ["worker", "audit", "witness", "executor", "review", "reconcile", "incident", "bias", "alerts", "shadow"]
)
def test_services_start_in_production_with_what_it_holds(folder: Path, service: str) -> None:
    mounted = {
        secret["target"]: (folder / secret["source"]).read_text()
        for secret in PRODUCTION["services"][service]["secrets"]
        if isinstance(secret, dict)
    }
    mounted["kafka_options"] = json.loads(mounted["kafka_options"])
    keys = dict.fromkeys(KEYS, "key")
    files = {f"rail_{part}_file": f"/run/secrets/rail_{part}.pem" for part in ("authority", "certificate", "key")}
    sinks = {"alert_secrets": {"pager": "key"}}
    rail = {"rail_url": "https://rail.bank.example", **files}
    people = {"people_file": "/var/lib/fraud-people/people"}
    given = {**keys, **sinks, **rail, **mounted, **people}
    assert [] == production_faults(Settings(profile=Profile.PRODUCTION, **given), service)


def test_passwords_all_differ(folder: Path) -> None:
    passwords = [path.read_text() for path in folder.iterdir() if "_password" in path.name]
    assert len(passwords) == len(set(passwords))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("~fraud:*", "~*"),
        ("resetchannels", "&*"),
        (" -@dangerous", ""),
        ("user worker on", "user worker on nopass"),
        ("user worker on", "user worker on >another"),
        ("user default off", "user default on"),
        ("user default", "user mallory on nopass ~* +@all\nuser default"),
        ("+ping", "+@all"),
        ("+ping", "+ping (~* +@all)"),
    ],
)
def test_wildcard_in_redis_file_of_users_is_refused(fraud: Fraud, folder: Path, old: str, new: str) -> None:
    path = folder / "redis_acl"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    answer = fraud("passwords", "create", folder)
    assert answer.code == 2
    assert "Redis" in answer.err
