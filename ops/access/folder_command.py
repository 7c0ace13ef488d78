"""`fraud passwords create`: the folder of secret files, made, and each file given to the service that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ops.access.foreign_redis import acl_faults
from ops.access.secret_folder import make_secret_folder
from ops.access.secret_owners import USERS, Given, OwnersRefused, give_files, missing_files
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output


class Made(NamedTuple):
    """given: every file that has its consumer's owner now; empty where owners are kept."""

    folder: Path
    made: list[str]
    given: list[Given]
    missing: list[str]


def made_folder(folder: Path, renewed: Sequence[str] = (), *, is_owner_kept: bool) -> Made:
    made = make_secret_folder(folder, renewed)
    for fault in acl_faults((folder / "redis_acl").read_text()):
        raise Failure(f"{fault}.", f"Remove {folder / 'redis_acl'}, and run this again.")
    if is_owner_kept:
        return Made(folder, made, [], missing_files(folder))
    try:
        folder.chmod(0o700)
        return Made(folder, made, give_files(folder), missing_files(folder))
    except (OwnersRefused, OSError) as error:
        fix = "Run it as root, or with --keep-owner where another program hands the secrets out."
        raise Failure(f"{error}.", fix) from error


def show_folder(output: Output, result: Made) -> None:
    for name in result.made:
        output.record({"made": str(result.folder / name)}, f"made {result.folder / name}")
    for given in result.given:
        if given.service is not None:
            user = USERS[given.service][0]
            fields = {"given": str(result.folder / given.name), "service": given.service, "user": user}
            output.record(fields, f"given to {given.service} ({user}): {given.name}")
    if result.missing:
        output.note(f"Still missing, for production: {', '.join(result.missing)}.")
