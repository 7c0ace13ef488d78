"""The secret files that docker-compose.production.yml wants and that follow from passwords and certificates.

`fraud passwords create` makes them. Keys have commands of their own, and the bank signs its certificates.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificates

from ops.access.foreign_redis import DEFAULT_RIGHTS, HEALTH_RIGHTS, WORKER_RIGHTS
from ops.access.rights import ADMINISTRATOR, BROKER, Principal
from ops.access.roles import POSTGRES_OWNER, ROLES
from pipeline.io.production import DATABASE_ROLES
from pipeline.terminal.failures import Failure

PASSWORD_BYTES: Final = 24
_OF_KEYSTORE: Final = "kafka_keystore_password"
_NAMED_SO: Final = (
    "Give a file's name, such as kafka_password_fraud-worker or postgres_password_fraud_alerts; for the broker's key "
    "store remove kafka_keystore.p12 and its password."
)
KAFKA_SECRETS: Final = "/etc/kafka/secrets"
_AUTHORITY: Final = "/run/secrets/ca.pem"
_PLAIN_LOGIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM_LOGIN: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"


def kafka_password_file(principal: str) -> str:
    return f"kafka_password_{principal}"


def database_password_file(role: str) -> str:
    return f"postgres_password_{role}"


def make_secret_folder(folder: Path, renewed: Sequence[str] = ()) -> list[str]:
    """Make the files that are missing, each readable by its owner only; return their names.

    renewed: passwords that somebody else may have. Each gets another one, in every file that holds it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = [changed for name in dict.fromkeys(renewed) for changed in _renewed(folder, name)]
        made += [name for name in _password_files() if _is_made(folder / name, secrets.token_urlsafe(PASSWORD_BYTES))]
        made += [name for name, content in _following(folder).items() if _is_made(folder / name, content)]
        return made + _keystore(folder)
    except OSError as error:
        raise Failure(f"{folder} can't be written ({error.strerror}).", "Give a folder of yours.") from error


def _password_files() -> list[str]:
    users, roles = (*Principal, ADMINISTRATOR, BROKER), (POSTGRES_OWNER, *ROLES)
    servers = ("redis_password", "redis_password_health", _OF_KEYSTORE)
    return [*map(kafka_password_file, users), *map(database_password_file, roles), *servers]


def _renewed(folder: Path, name: str) -> list[str]:
    """Put another password into the file and into those that follow from it, which keep whatever else they say."""
    if name not in _password_files() or name == _OF_KEYSTORE:
        raise Failure(f"{name!r} is no file of a password that can be renewed.", _NAMED_SO)
    if not (folder / name).exists():
        raise Failure(f"{folder / name} is not there.", "Without --renew this makes what is missing.")
    old, new = _held(folder, name), secrets.token_urlsafe(PASSWORD_BYTES)
    changed = {name: f"{new}\n"}
    for follower, content in _following(folder).items():
        path = folder / follower
        if path.exists() and _with_other(content, old, new) != content:
            found = path.read_text()
            changed[follower] = _with_other(found, old, new)
            if changed[follower] == found:
                what = f"{path} does not hold the password that stands in {folder / name}, so nothing was renewed."
                raise Failure(what, f"Remove {path}, and run this again.")
    for changed_name, content in changed.items():
        _replace(folder / changed_name, content)
    return list(changed)


def _with_other(content: str, old: str, new: str) -> str:
    """Redis' file of users holds a password's digest."""
    return content.replace(old, new).replace(_sha256(old), _sha256(new))


def _following(folder: Path) -> dict[str, str]:
    """Return the contents of the files that hold the folder's passwords, by file name."""
    redis, health = (_held(folder, name) for name in ("redis_password", "redis_password_health"))
    broker, admin = (_held(folder, kafka_password_file(user)) for user in (BROKER, ADMINISTRATOR))
    found = {
        "redis_acl": "\n".join(
            [
                f"user default {DEFAULT_RIGHTS}",
                f"user worker on #{_sha256(redis)} {WORKER_RIGHTS}",
                f"user health on #{_sha256(health)} {HEALTH_RIGHTS}",
            ]
        ),
        "worker_redis_url": f"rediss://worker:{redis}@redis:6379/0?ssl_ca_certs={_AUTHORITY}",
        "owner_database_url": _database_url(folder, POSTGRES_OWNER),
        "partitions_database_url": _database_url(folder, DATABASE_ROLES["partitions"]),
        # For people: no service opens accounts, or answers alerts.
        "treasurer_database_url": _database_url(folder, DATABASE_ROLES["bookkeeper"]),
        "oncall_database_url": _database_url(folder, DATABASE_ROLES["oncall"]),
        "kafka_jaas.conf": _broker_login(broker, admin),
        "kafka_client.properties": _client_properties(broker),
        "admin_kafka_options": json.dumps(_kafka_options(ADMINISTRATOR, admin, "PLAIN"), indent=2),
    }
    for principal in Principal:
        service = principal.removeprefix("fraud-")
        options = _kafka_options(principal, _held(folder, kafka_password_file(principal)), "SCRAM-SHA-512")
        found[f"{service}_kafka_options"] = json.dumps(options, indent=2)
        if (role := f"fraud_{service}") in ROLES:
            found[f"{service}_database_url"] = _database_url(folder, role)
    return found


def _kafka_options(user: str, password: str, mechanism: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password,
        "ssl.ca.location": _AUTHORITY,
    }


def _broker_login(broker: str, admin: str) -> str:
    """Return how the broker knows itself and its administrator, before anybody can make users on it."""
    users = f'user_{BROKER}="{broker}"\n    user_{ADMINISTRATOR}="{admin}"'
    plain = f'  {_PLAIN_LOGIN} required\n    username="{BROKER}" password="{broker}"\n    {users};'
    return f"KafkaServer {{\n{plain}\n  {_SCRAM_LOGIN} required;\n}};"


def _client_properties(broker: str) -> str:
    """Return the settings of the broker's health check, which the broker's own user makes."""
    lines = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": f'{_PLAIN_LOGIN} required username="{BROKER}" password="{broker}";',
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": f"{KAFKA_SECRETS}/ca.pem",
    }
    return "\n".join(f"{name}={value}" for name, value in lines.items())


def _keystore(folder: Path) -> list[str]:
    """Make the broker's key store of its certificate and key, where those are there; return its name."""
    name, sources = "kafka_keystore.p12", [folder / f"kafka_{part}.pem" for part in ("certificate", "key")]
    if (folder / name).exists() or not all(source.exists() for source in sources):
        return []
    try:
        certificate, *chain = load_pem_x509_certificates(sources[0].read_bytes())
        key = load_pem_private_key(sources[1].read_bytes(), None)
        protection = BestAvailableEncryption(_held(folder, _OF_KEYSTORE).encode())
        content = pkcs12.serialize_key_and_certificates(b"kafka", key, certificate, chain, protection)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        what = f"{sources[0]} and {sources[1]} make no key store ({type(error).__name__})."
        raise Failure(what, "Give a certificate and its unencrypted key, in PEM.") from None
    return [name] if _is_made(folder / name, content) else []


def _database_url(folder: Path, role: str) -> str:
    password = _held(folder, database_password_file(role))
    return f"postgresql://{role}:{password}@postgres:5432/fraud?sslmode=verify-full&sslrootcert={_AUTHORITY}"


def _held(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _replace(path: Path, content: str) -> None:
    """Put other content into a file, at once and as its owner's."""
    before, partial = path.stat(), path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    _is_made(partial, content.encode())
    os.chown(partial, before.st_uid, before.st_gid)
    partial.chmod(stat.S_IMODE(before.st_mode))
    partial.replace(path)


def _is_made(path: Path, content: str | bytes) -> bool:
    """Make a file and return True; return False where it exists, because nothing is overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode() + b"\n")
    return True
