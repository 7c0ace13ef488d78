"""A stack made ready for the `fraud` command.

Its database is migrated, its keys are made, a payment rail runs beside it, and a file holds the FRAUD_* settings that
it takes to use all that. All of it stands in one folder, which one process at a time holds.
"""

from __future__ import annotations

import fcntl
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from ops.access.roles import POSTGRES_OWNER
from ops.migrations.migrate import MigrationRefused, migrate
from ops.processes.servers import ServerFailed, free_port
from ops.rail.process import rail_process, rail_url
from ops.stack.stack import OpenStack, Stack, StackFailure
from pipeline.io.clock import now_ms
from pipeline.io.sealing import create_key_file
from pipeline.io.settings import ROLE_PLACEHOLDER
from pipeline.keys.key_files import create_signing_key, read_key_set, replace_key_set, set_path_beside
from pipeline.keys.key_sets import KeyUse, with_key
from pipeline.seals.seal_files import make_seal_keys

SETTINGS_FILE: Final = "stack.env"
LOCK_FILE: Final = "stack.lock"
_KEPT, _BEGUN_ANEW = "kept from one time to the next", "begun anew each time"
"""The kinds of stacks. A folder of one is never used for the other, which would remove its books or keep false ones."""
_WITHOUT_A_BROKER_MEANINGLESS: Final = ("postgres", "audit", "rail", "people")
"""Folders of files that refer to offsets of a log, or to a database that does; a broker that forgets everything makes
them all untrue."""


@dataclass(frozen=True, slots=True)
class ReadyStack:
    """A stack that is ready.

    addresses: those of the servers, with their process ids. settings: FRAUD_* variables, as settings_path holds them.
    """

    addresses: Mapping[str, str | int]
    settings: Mapping[str, str]
    settings_path: Path

    def exports(self) -> str:
        """Return the settings as lines for a shell to evaluate."""
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.settings.items())


@contextmanager
def made_ready(open_stack: OpenStack, directory: Path, *, is_kept: bool) -> Iterator[ReadyStack]:
    """Start everything, and stop it in the end; the file of settings exists for as long as the servers that it names.

    is_kept: whether the broker's log outlives a stop. Where it doesn't, the last run's database, audit log and books of
    the rail are removed. Raises StackFailure.
    """
    directory = directory.resolve()
    with ExitStack() as ending:
        ending.enter_context(_held_alone(directory, is_kept=is_kept))
        stack = ending.enter_context(open_stack(directory))
        try:
            migrate(stack.database_url)
            port = free_port()
            rail = rail_process(directory / "rail", port)
            ending.callback(rail.stop)
            rail.start()
        except (MigrationRefused, psycopg.OperationalError, ServerFailed) as failure:
            raise StackFailure(str(failure)) from failure
        addresses = {**stack.addresses(), "rail_url": rail_url(port), "rail_pid": rail.pid}
        settings = _settings(stack, directory, rail_url(port))
        yield ending.enter_context(_written(ReadyStack(addresses, settings, directory / SETTINGS_FILE)))


@contextmanager
def _held_alone(directory: Path, *, is_kept: bool) -> Iterator[None]:
    """Hold the folder alone, by a lock file.

    The file also says that the folder belongs to a stack, and of which kind, so that nothing else is ever removed.
    """
    lock_path = directory / LOCK_FILE
    is_ours = lock_path.exists()
    found = [name for name in _WITHOUT_A_BROKER_MEANINGLESS if (directory / name).exists()]
    if found and not is_ours:
        raise StackFailure(f"{directory / found[0]} is not of a stack. Give another --directory.")
    directory.mkdir(parents=True, exist_ok=True)
    with lock_path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as failure:
            raise StackFailure(f"Another stack runs in {directory}. End it, or give another --directory.") from failure
        lock.seek(0)
        kind, held_as = _KEPT if is_kept else _BEGUN_ANEW, lock.read()
        if held_as not in ("", kind):
            raise StackFailure(f"The stack in {directory} is {held_as}, this one {kind}. Give another --directory.")
        if not held_as:
            lock.write(kind)
            lock.flush()
        for name in found if not is_kept else ():
            shutil.rmtree(directory / name)
        yield


def _settings(stack: Stack, directory: Path, rail: str) -> dict[str, str]:
    signing_key_path, sealing_key_path = directory / "keys" / "audit.key", directory / "keys" / "dead-letters.key"
    signing_key_path.parent.mkdir(mode=0o700, exist_ok=True)
    if not signing_key_path.exists():
        create_signing_key(signing_key_path)
    key_set_path, witness_key_path = set_path_beside(signing_key_path), signing_key_path.with_name("witness.key")
    if not witness_key_path.exists():
        witness = create_signing_key(witness_key_path, KeyUse.WITNESS, with_set=False)
        replace_key_set(key_set_path, with_key(read_key_set(key_set_path), KeyUse.WITNESS, witness.public, now_ms()))
    if not sealing_key_path.exists():
        create_key_file(sealing_key_path)
    make_seal_keys(directory / "seals")
    (directory / "people").mkdir(mode=0o700, exist_ok=True)
    return {
        "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "FRAUD_REDIS_URL": stack.redis_url,
        # Every process comes to the database in its own role, as in production.
        "FRAUD_DATABASE_URL": stack.database_url.replace(f"//{POSTGRES_OWNER}@", f"//{ROLE_PLACEHOLDER}@", 1),
        "FRAUD_RAIL_URL": rail,
        "FRAUD_AUDIT_DIRECTORY": str(directory / "audit"),
        "FRAUD_AUDIT_KEY_FILE": str(signing_key_path),
        "FRAUD_AUDIT_KEYS_FILE": str(key_set_path),
        "FRAUD_WITNESS_KEY_FILE": str(witness_key_path),
        "FRAUD_WITNESS_DIRECTORY": str(directory / "witness"),
        "FRAUD_DEAD_LETTER_KEY_FILE": str(sealing_key_path),
        "FRAUD_SEAL_DIRECTORY": str(directory / "seals"),
        "FRAUD_FEEDS_PATH": str(directory / "feeds"),
        # The review service writes it. Without it no release of the breaker is heeded, and the first one thrown stays.
        "FRAUD_PEOPLE_FILE": str(directory / "people" / "people"),
    }


@contextmanager
def _written(ready: ReadyStack) -> Iterator[ReadyStack]:
    partial_path = ready.settings_path.with_suffix(".partial")
    partial_path.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in ready.settings.items()))
    partial_path.rename(ready.settings_path)
    try:
        yield ready
    finally:
        ready.settings_path.unlink(missing_ok=True)
