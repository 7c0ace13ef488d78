"""`fraud keys create dead-letter`: every key of the pipeline is made here, in a file that only its owner can read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.audit.key_files import create_signing_key
from pipeline.io.sealing import DeadLetterKey, create_key_file
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output


class Created(NamedTuple):
    """setting: the variable that makes a process use it; public: the half to hand on, None where there is none."""

    key_id: str
    path: Path
    setting: str
    public: Path | None
    advice: str


def create_dead_letter_key(path: Path) -> Created:
    """Its id stands in every dead letter sealed with it."""
    with _file_failures(path):
        create_key_file(path)
    key_id = DeadLetterKey.from_file(path).key_id
    return Created(key_id, path, "FRAUD_DEAD_LETTER_KEY_FILE", None, "and keep a copy safe")


def create_audit_key(path: Path) -> Created:
    """Its id stands in every head signed with it."""
    with _file_failures(path):
        key_id = create_signing_key(path).key_id
    public = path.with_name(f"{path.name}.pub")
    return Created(key_id, path, "FRAUD_AUDIT_KEY_FILE", public, f"and give {public} to those who verify")


def show_key(output: Output, created: Created) -> None:
    fields = {"key_id": created.key_id, "path": str(created.path), "setting": created.setting}
    if created.public is not None:
        fields["public"] = str(created.public)
    line = f"Key {created.key_id} stands in {created.path}. Set {created.setting}={created.path}, {created.advice}."
    output.record(fields, line)


@contextmanager
def _file_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise Failure(f"{error.filename} exists; a key is never overwritten.", "Give another path.") from error
    except OSError as error:
        raise Failure(f"{path} can't be written ({error.strerror}).", "Give a path in a folder of yours.") from error
