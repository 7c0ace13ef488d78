"""`fraud state`. Each command imports what it needs when it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from pipeline.domain.money import count_text
from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.failures import Failure, redis_away
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

state_app = typer.Typer()

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Where backups go; each makes a folder of its own there.")
]
T = TypeVar("T")


@state_app.command("backup")
def backup(folder: Folder, as_json: Json = False) -> None:
    """Copy the state to files, as of one instant a server. Workers go on meanwhile.

    A restored copy reads the rest of the log by itself, because the positions stand in it.
    """
    from ops.state.backup import take_backup

    settings = settings_from_environment()
    taken = _asked(settings.redis_url, lambda: take_backup(settings, folder))
    size = sum(file["size"] for file in taken.manifest["files"])
    fields = {"folder": str(taken.folder), **taken.manifest}
    count = len(taken.manifest["files"])
    Output(as_json=as_json).record(fields, f"{taken.folder}: {count_text(count, 'file')}, {size / 2**20:,.1f} MiB")


BREAKER_LEFT_OUT: Final = (
    "The breaker's state is no part of it: where the servers hold none, the breaker starts over, and the fallback"
    " decides until the model has proved itself. If the kill switch was thrown, see that it still is"
    " (`fraud breaker show`)."
)


@state_app.command("restore")
def restore(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A backup, or a folder of them: the latest.")
    ] = None,
    is_from_audit: Annotated[
        bool, typer.Option("--from-audit", help="Count anew what the audit table has and the log no longer has.")
    ] = False,
    is_replacing: Annotated[bool, typer.Option("--replace", help="Delete the state that is there first.")] = False,
    server: Annotated[
        Path | None, typer.Option("--server", metavar="PATH", help="A redis-server of the target's version.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy a backup into the state store, whatever its topology. Stop the workers first.

    Workers that start afterwards read the rest of the log. The breaker's state is left out: the model proves itself
    anew, and what a person forced open stays so. Without a backup, --from-audit gives back what accounts did before the
    log begins.
    """
    if (folder is None) != is_from_audit:
        raise Failure("Say what to restore from.", "Name a FOLDER, or say --from-audit.")
    if folder is None:
        _restore_audited(Output(as_json=as_json), is_replacing=is_replacing)
        return
    from ops.state.backup import read_backup
    from ops.state.restore import restore_backup

    settings, found = settings_from_environment(), read_backup(folder)
    done = _asked(settings.redis_url, lambda: restore_backup(settings, found, is_replacing=is_replacing, server=server))
    fields = {
        "folder": str(found.folder),
        "taken_at": found.taken_at,
        "keys": done.keys,
        "positions": {str(partition): offset for partition, offset in done.positions.items()},
    }
    Output(as_json=as_json).record(
        fields,
        f"Restored, as of {found.taken_at}: {count_text(done.keys, 'key')}. {BREAKER_LEFT_OUT} Start the workers.",
    )


def _restore_audited(output: Output, *, is_replacing: bool) -> None:
    from ops.state.restore import restore_audited

    settings = settings_from_environment()
    done = _asked(settings.redis_url, lambda: restore_audited(settings, is_replacing=is_replacing))
    for partition, (payments, position, is_whole) in sorted(done.items()):
        fields = {"partition": partition, "payments": payments, "position": position, "is_whole": is_whole}
        known = "whole" if is_whole else "UNKNOWN before its first decision there, or after its last"
        output.record(fields, f"partition {partition}: {count_text(payments, 'payment')} up to {position:,}, {known}")
    output.record(
        {"partitions": len(done)},
        f"Restored: {count_text(len(done), 'partition')}. {BREAKER_LEFT_OUT} Start the workers.",
    )


@state_app.command("status")
def status(as_json: Json = False) -> None:
    """Show the servers, the positions and the age of the backup.

    Exit 1 where partitions are lost, or the latest copy is older than FRAUD_STATE_BACKUP_ALERT_MINUTES.
    """
    from ops.state.status import read_status, show_status

    settings = settings_from_environment()
    found = _asked(settings.redis_url, lambda: read_status(settings))
    is_young = show_status(Output(as_json=as_json), found, settings.state_backup_alert_minutes)
    raise typer.Exit(0 if is_young else 1)


def _asked(url: str, ask: Callable[[], T]) -> T:
    from redis.exceptions import RedisError

    from pipeline.state.store import StateUnavailable

    try:
        return ask()
    except Failure:
        raise
    except (RedisError, StateUnavailable, TimeoutError) as error:
        raise redis_away(url) from error
    except OSError as error:
        raise Failure(f"A file can't be had: {error.strerror or error}.", "Name another folder.") from error
