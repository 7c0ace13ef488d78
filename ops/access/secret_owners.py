"""The users of the Compose files' services, and the secret files that each of them alone may read.

Docker mounts a secret file with the owner and the mode that it has on the machine, so the files must have them there.
tests/ops/stack/test_compose.py holds that the Compose files say the same.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ops.access.rights import SERVICES, Principal
from ops.access.roles import POSTGRES_OWNER, ROLES

USERS: Final[Mapping[str, tuple[int, int]]] = {
    "worker": (10001, 10001),
    "audit": (10002, 10002),
    "executor": (10003, 10003),
    "review": (10004, 10004),
    "reconcile": (10005, 10005),
    "access": (10006, 10006),
    "topics": (10006, 10006),
    "roles": (10007, 10007),
    "migrate": (10007, 10007),
    "rail": (10008, 10008),
    "witness": (10009, 10009),
    "months": (10010, 10010),
    "incident": (10012, 10012),
    "alerts": (10013, 10013),
    "bias": (10015, 10015),
    "shadow": (10014, 10014),
    # The users that the images of the servers have.
    "kafka": (1000, 1000),
    "redis": (999, 1000),
    "postgres": (70, 70),
}
"""User and group of each service."""

PUBLIC: Final = frozenset({"ca.pem", "audit_keys", "seal_keys"})
"""Files that several services read, and that hold no secret."""

_SERVERS: Final[Mapping[str, str]] = {
    "kafka_keystore.p12": "kafka",
    "kafka_keystore_password": "kafka",
    "kafka_jaas.conf": "kafka",
    "kafka_client.properties": "kafka",
    "redis_acl": "redis",
    "redis_certificate.pem": "redis",
    "redis_key.pem": "redis",
    "redis_password_health": "redis",
    "postgres_certificate.pem": "postgres",
    "postgres_key.pem": "postgres",
    f"postgres_password_{POSTGRES_OWNER}": "postgres",
    "admin_kafka_options": "access",
    "owner_database_url": "roles",
    "partitions_database_url": "months",
    "worker_redis_url": "worker",
    "dead_letter_key": "worker",
    "worker_seal_key": "worker",
    "review_seal_key": "review",
    "executor_seal_key": "executor",
    "models_key": "incident",
    "audit_key": "audit",
    "witness_key": "witness",
    "alert_secrets": "alerts",
    "alert_routes.toml": "alerts",
    "rail_authority.pem": "executor",
    "rail_certificate.pem": "executor",
    "rail_key.pem": "executor",
}
CONSUMERS: Final[Mapping[str, str]] = {
    **_SERVERS,
    **{f"kafka_password_{principal}": "access" for principal in Principal},
    **{f"postgres_password_{role}": "roles" for role in ROLES},
    **{f"{principal.removeprefix('fraud-')}_kafka_options": principal.removeprefix("fraud-") for principal in SERVICES},
    **{
        f"{service}_database_url": service
        for service in ("audit", "executor", "review", "reconcile", "incident", "bias", "alerts", "shadow")
    },
}
"""The service that reads each file. A file that isn't named here is for people, and stays its maker's alone."""

_PRIVATE: Final = 0o400
_READABLE: Final = 0o444


class Given(NamedTuple):
    """A file of the folder: its service, None where people alone read it."""

    name: str
    service: str | None


class OwnersRefused(Exception):
    """The files can't be given to others. The message names the first."""


def give_files(folder: Path) -> list[Given]:
    """Give every file of the folder to its consumer, to be read by that user alone.

    Raises OwnersRefused: only root gives files away.
    """
    given = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise OwnersRefused(f"{path} is no file of its own")
        service = CONSUMERS.get(path.name)
        user, group = (os.geteuid(), os.getegid()) if service is None else USERS[service]
        try:
            path.chmod(_READABLE if path.name in PUBLIC else _PRIVATE)
            os.chown(path, user, group)
        except OSError as error:
            raise OwnersRefused(f"{path} can't be given to the user {user} ({error.strerror})") from error
        given.append(Given(path.name, service))
    return given


def missing_files(folder: Path) -> list[str]:
    """Return the files that a service needs and that aren't there, such as the bank's certificates."""
    return sorted(name for name in {*CONSUMERS, *PUBLIC} if not (folder / name).exists())


def wrongly_given(folder: Path) -> Iterator[str]:
    """Yield a sentence for each file that others than its consumer may read, or that its consumer may not."""
    for path in sorted(folder.iterdir()):
        found, service = path.stat(), CONSUMERS.get(path.name)
        mode, wanted = stat.S_IMODE(found.st_mode), _READABLE if path.name in PUBLIC else _PRIVATE
        if service is not None and (found.st_uid, found.st_gid) != USERS[service]:
            yield f"{path.name} belongs to {found.st_uid}:{found.st_gid}, not to {service}"
        if mode != wanted:
            yield f"{path.name} has the mode {mode:03o}, not {wanted:03o}"
