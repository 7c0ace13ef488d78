"""The folder of secrets: made once, closed to others, and enough for the production profile."""

import json
import stat
from pathlib import Path

import pytest

from pipeline.io.production import production_faults
from pipeline.io.settings import Profile, Settings
from tests.commands import Fraud
from tests.ops.stack.test_compose import PRODUCTION

MADE_OTHERWISE = {  # certificates, keys, and what names the administrator
    "ca.pem", "kafka_keystore.p12", "kafka_keystore_password", "kafka_jaas.conf", "kafka_client.properties",
    "admin_kafka_options", "redis_certificate.pem", "redis_key.pem", "postgres_certificate.pem", "postgres_key.pem",
    "registry_jaas.conf", "dead_letter_key", "audit_key", "rail_authority.pem", "rail_certificate.pem", "rail_key.pem",
}  # fmt: skip


@pytest.fixture
def folder(fraud: Fraud, tmp_path: Path) -> Path:
    assert fraud("passwords", "create", tmp_path / "made").code == 0
    return tmp_path / "made"


def test_folder_holds_what_the_compose_file_wants_of_it(folder: Path) -> None:
    wanted = PRODUCTION["secrets"].keys() - MADE_OTHERWISE
    assert set() == wanted - {path.name for path in folder.iterdir()}


def test_nobody_else_reads_it(folder: Path) -> None:
    assert [0o700] == [stat.S_IMODE(folder.stat().st_mode)]
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_nothing_is_overwritten(fraud: Fraud, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "redis_password").unlink()
    assert "made" in fraud("passwords", "create", folder).out
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == after.keys()
    assert ["redis_password"] == [name for name in before if before[name] != after[name]]


@pytest.mark.parametrize("service", ["worker", "audit", "executor", "review", "reconcile"])
def test_services_start_in_production_with_what_it_holds(folder: Path, service: str) -> None:
    mounted = {
        secret["target"]: (folder / secret["source"]).read_text()
        for secret in PRODUCTION["services"][service]["secrets"]
        if isinstance(secret, dict)
    }
    mounted["kafka_options"] = json.loads(mounted["kafka_options"])
    keys = {"dead_letter_key": "key", "audit_key": "key"}
    files = {f"rail_{part}_file": f"/run/secrets/rail_{part}.pem" for part in ("authority", "certificate", "key")}
    rail = {"rail_url": "https://rail.bank.example", **files}
    assert [] == production_faults(Settings(profile=Profile.PRODUCTION, **keys, **rail, **mounted), service)


def test_passwords_all_differ(folder: Path) -> None:
    passwords = [path.read_text() for path in folder.iterdir() if "_password" in path.name]
    assert len(passwords) == len(set(passwords))
