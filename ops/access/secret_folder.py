"""The secret files that follow from passwords alone, as docker-compose.production.yml wants them.

`fraud passwords create` makes them. Keys have commands of their own, and the bank signs its certificates.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Final

from ops.access.rights import SERVICES, Principal
from ops.access.roles import POSTGRES_OWNER, ROLES
from pipeline.terminal.failures import Failure

PASSWORD_BYTES: Final = 24
_AUTHORITY: Final = "/run/secrets/ca.pem"
_REDIS_RIGHTS: Final = "~* &* +@all -@admin -flushall -flushdb"


def kafka_password_file(principal: Principal) -> str:
    return f"kafka_password_{principal}"


def database_password_file(role: str) -> str:
    return f"postgres_password_{role}"


def make_secret_folder(folder: Path) -> list[str]:
    """Make the files that are missing, each readable by its owner only; return their names."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = [name for name in _password_files() if _is_made(folder / name, secrets.token_urlsafe(PASSWORD_BYTES))]
        return made + [name for name, content in _following(folder).items() if _is_made(folder / name, content)]
    except OSError as error:
        raise Failure(f"{folder} can't be written ({error.strerror}).", "Give a folder of yours.") from error


def _password_files() -> list[str]:
    roles = (POSTGRES_OWNER, *ROLES)
    return [*map(kafka_password_file, Principal), *map(database_password_file, roles), "redis_password"]


def _following(folder: Path) -> dict[str, str]:
    """Return the contents of the files that hold the folder's passwords, by file name."""
    redis = (folder / "redis_password").read_text().strip()
    found = {
        "redis_acl": f"user default off\nuser worker on #{hashlib.sha256(redis.encode()).hexdigest()} {_REDIS_RIGHTS}",
        "worker_redis_url": f"rediss://worker:{redis}@redis:6379/0?ssl_ca_certs={_AUTHORITY}",
        "owner_database_url": _database_url(folder, POSTGRES_OWNER),
    }
    for principal in SERVICES:
        service = principal.removeprefix("fraud-")
        password = (folder / kafka_password_file(principal)).read_text().strip()
        found[f"{service}_kafka_options"] = json.dumps(_kafka_options(principal, password), indent=2)
        if (role := f"fraud_{service}") in ROLES:
            found[f"{service}_database_url"] = _database_url(folder, role)
    return found


def _kafka_options(principal: Principal, password: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": principal,
        "sasl.password": password,
        "ssl.ca.location": _AUTHORITY,
    }


def _database_url(folder: Path, role: str) -> str:
    password = (folder / database_password_file(role)).read_text().strip()
    return f"postgresql://{role}:{password}@postgres:5432/fraud?sslmode=verify-full&sslrootcert={_AUTHORITY}"


def _is_made(path: Path, content: str) -> bool:
    """Make a file and return True; return False where it exists, because nothing is overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(content + "\n")
    return True
