"""The images of the Compose files, as far as they can be had without a registry: programs of the same major versions.

The images' own start-up scripts can't be had here. Each stands here in a few lines that do what the image documents:
Kafka's turns KAFKA_* into settings by the class that the image uses, PostgreSQL's lays out the files on first use and
lets its server be asked by POSTGRES_HOST_AUTH_METHOD, Redis' runs the command.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ops.stack.kafka.jars import java_executable, kafka_jars
from ops.stack.postgres import SYSTEM_FOLDER, PostgresMissing
from ops.stack.postgres_releases.programs import released_folder
from ops.stack.redis_server import system_executable
from ops.stack.versions import POSTGRES_MAJOR

PROJECT: Final = Path(__file__).parents[3]
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROBE: Final = "org.apache.kafka.tools.BrokerApiVersionsCommand"
_ACCOUNTS: Final = "root:x:0:0::/root:/bin/sh\nappuser:x:1000:1000::/:/bin/sh\nredis:x:999:1000::/data:/bin/sh\n" + (
    "postgres:x:70:70::/var/lib/postgresql:/bin/sh\n"
)


class Image(NamedTuple):
    """programs: files of the image, by path, which can be run. mounts: folders of the machine that stand in it.

    made_folders: those that the image makes, for the user that it gives them to; a new volume takes the owner over.
    """

    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    folder: str
    environment: Mapping[str, str]
    programs: Mapping[str, str]
    mounts: tuple[tuple[str, str], ...]
    made_folders: Mapping[str, int]


def image_of(name: str) -> Image:
    """Return the image that a service names. Raises KeyError for one that isn't known, and what the stacks raise."""
    return _IMAGES[name.partition("@")[0].rpartition(":")[0]]()


def _fraud() -> Image:
    """The Dockerfile's: the same entrypoint, command, folder and variables; the programs are the project's here."""
    packages = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    # The interpreter stands elsewhere than it was installed, so it is told where its own library is.
    where = "LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/project:/opt/packages"
    python = f'#!/bin/sh\n{where} exec /opt/python/bin/{Path(sys.executable).name} "$@"\n'
    fraud = f'#!/bin/sh\n{where} exec /opt/fraud/bin/python -m ops.cli "$@"\n'
    return Image(
        ("fraud",),
        ("worker", "run"),
        "/var/lib/fraud",
        {"PATH": f"/opt/fraud/bin:{_PATH}", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        {"/opt/fraud/bin/python": python, "/opt/fraud/bin/fraud": fraud},
        ((sys.base_prefix, "/opt/python"), (str(PROJECT), "/opt/project"), (str(packages), "/opt/packages")),
        {
            "/var/lib/fraud-audit": 10002,
            "/var/lib/fraud-rail": 10008,
            "/var/lib/fraud-witness": 10009,
            "/var/lib/fraud-feeds": 10001,
            "/var/lib/fraud-registry": 10012,
            "/var/lib/fraud-models": 10001,
            "/var/lib/fraud-people": 10004,
        },
    )


def _kafka() -> Image:
    run = "#!/bin/sh\nexec " + f'"{java_executable()}" $KAFKA_HEAP_OPTS $KAFKA_OPTS -cp "/opt/kafka/libs/*"'
    start = """#!/bin/sh
set -e
secrets=/etc/kafka/secrets
case "$KAFKA_ADVERTISED_LISTENERS" in *SSL://*)
  export KAFKA_SSL_KEYSTORE_LOCATION="$secrets/$KAFKA_SSL_KEYSTORE_FILENAME"
  export KAFKA_SSL_KEYSTORE_PASSWORD="$(cat "$secrets/$KAFKA_SSL_KEYSTORE_CREDENTIALS")"
  export KAFKA_SSL_KEY_PASSWORD="$(cat "$secrets/$KAFKA_SSL_KEY_CREDENTIALS")"
esac
if ! said="$(/opt/kafka/bin/kafka-run-class.sh kafka.docker.KafkaDockerWrapper setup --default-configs-dir \\
    /etc/kafka/docker --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1)"; then
  echo "$said" | grep -i "already formatted" || { echo "$said"; exit 1; }
fi
exec /opt/kafka/bin/kafka-run-class.sh kafka.Kafka /opt/kafka/config/server.properties
"""
    log = "Configuration:\n  Appenders: {Console: {name: STDOUT, PatternLayout: {pattern: '[%d] %p %m (%c)%n'}}}\n"
    log += "  Loggers: {Root: {level: INFO, AppenderRef: [{ref: STDOUT}]}, Logger: []}\n"
    return Image(
        (),
        ("/etc/kafka/docker/run",),
        "/",
        {"PATH": f"{Path(java_executable()).parent}:{_PATH}"},
        {
            "/etc/kafka/docker/run": start,
            "/etc/kafka/docker/server.properties": "",
            "/etc/kafka/docker/log4j2.yaml": log,
            "/etc/kafka/docker/tools-log4j2.yaml": log,
            "/opt/kafka/bin/kafka-run-class.sh": f'{run} "$@"\n',
            "/opt/kafka/bin/kafka-broker-api-versions.sh": f'{run} {_PROBE} "$@"\n',
        },
        ((str(kafka_jars()), "/opt/kafka/libs"),),
        {"/var/lib/kafka/data": 1000},
    )


def _redis() -> Image:
    server = f'#!/bin/sh\nexec {system_executable()} "$@"\n'
    return Image((), (), "/data", {"PATH": _PATH}, {"/usr/local/bin/redis-server": server}, (), {"/data": 999})


def _postgres() -> Image:
    start = """#!/bin/sh
set -e
export PGDATA=/var/lib/postgresql/data
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  pwfile="${POSTGRES_PASSWORD_FILE:+--pwfile=$POSTGRES_PASSWORD_FILE}"
  initdb --username="$POSTGRES_USER" $pwfile $POSTGRES_INITDB_ARGS
  printf '\\nhost all all all %s\\n' "$POSTGRES_HOST_AUTH_METHOD" >> "$PGDATA/pg_hba.conf"
  echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D "$PGDATA" postgres
fi
exec "$@" -c listen_addresses='*'
"""
    return Image(
        ("/usr/local/bin/docker-entrypoint.sh",),
        ("postgres",),
        "/",
        {"PATH": f"/opt/postgres/bin:{_psql_folder()}:{_PATH}", "PGDATA": "/var/lib/postgresql/data"},
        {"/usr/local/bin/docker-entrypoint.sh": start},
        ((str(released_folder(POSTGRES_MAJOR).parent), "/opt/postgres"),),
        {"/var/lib/postgresql/data": 70, "/var/run/postgresql": 70},
    )


def _psql_folder() -> Path:
    """Return the folder of a psql with TLS; the release that Maven brings is the server alone."""
    found = [*SYSTEM_FOLDER.glob("*/bin/psql"), *map(Path, filter(None, [shutil.which("psql")]))]
    if not found:
        raise PostgresMissing("psql is missing. Install it: apt-get install postgresql-client")
    return found[0].parent


def accounts() -> str:
    """Return the accounts that the images know, in the form of /etc/passwd."""
    return _ACCOUNTS


_IMAGES: Final = {
    "fraud-decision-pipeline": _fraud,
    "apache/kafka": _kafka,
    "redis": _redis,
    "postgres": _postgres,
}
