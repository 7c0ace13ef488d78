"""Failures that a person can cause, each in a sentence with the fix; never a traceback."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from pipeline.io.addresses import shown_address

if TYPE_CHECKING:
    from pipeline.io.kafka.client import BrokerFailed

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FAILED_CHECK: Final = 1
UNUSABLE: Final = 2
"""Exit code for what stops a command before it could answer: usage, configuration, something out of reach."""


class Failure(Exception):
    """`what` is wrong and how to `fix` it: two short sentences for the person at the keyboard."""

    def __init__(self, what: str, fix: str, exit_code: int = UNUSABLE) -> None:
        super().__init__(f"{what} {fix}".strip())
        self.what, self.fix, self.exit_code = what, fix, exit_code


def failure_of(error: Exception) -> Failure | None:
    """The meaning of an exception for a person; None where it is a bug. The one place where adapters' failures that any
    command may meet become sentences."""
    if isinstance(error, Failure):
        return error
    from pipeline.io.health import PortUnavailable
    from pipeline.io.kafka.client import BrokerFailed

    if isinstance(error, BrokerFailed):
        return _broker_failure(error)
    if isinstance(error, PortUnavailable):
        return Failure(f"{error}.", f"Set {error.setting} or FRAUD_WEB_HOST to something free.")
    if isinstance(error, OSError):
        return _file_failure(error)
    return None


def _file_failure(error: OSError) -> Failure | None:
    """What the machine refuses about a file; None for an error about anything else, such as a connection."""
    if error.errno in _FULL:
        return Failure(f"Nothing more can be written ({error.strerror}).", "Make room, and run it again.")
    if error.filename is None:
        return None
    what = f"{error.filename} can't be used ({error.strerror})."
    return Failure(what, "Look whether it is there, and what you may do with it.")


def _broker_failure(error: BrokerFailed) -> Failure:
    from pipeline.io.kafka.client import BrokerAway, TopicMissing
    from pipeline.io.settings import Settings

    what = f"{str(error)[:1].upper()}{str(error)[1:]}."
    match error:
        case TopicMissing():
            return Failure(what, "Create the topics with `fraud topics create`.")
        case BrokerAway():
            return Failure(
                f"No Kafka broker answers at {Settings().bootstrap_servers}.",
                _start("one", "FRAUD_BOOTSTRAP_SERVERS"),
            )
    return Failure(what, "Look at the broker's log, and at what this user may do there.")


def redis_away(url: str) -> Failure:
    return Failure(
        f"Redis does not answer at {shown_address(url)}.",
        _start("it", "FRAUD_REDIS_URL"),
    )


def database_away(url: str) -> Failure:
    return Failure(
        f"PostgreSQL does not answer at {shown_address(url)}.",
        _start("it", "FRAUD_DATABASE_URL"),
    )


def owner_refused(url: str) -> Failure:
    """For commands that must log in as the database's owner."""
    return Failure(
        f"PostgreSQL does not answer at {shown_address(url)}, or not to this role.",
        "Start it, and set FRAUD_DATABASE_URL to its address, as the owner.",
    )


def _start(what: str, setting: str) -> str:
    """Say how to have a server: whoever started a stack names its file, and everybody else the address."""
    return f"Start {what} (`fraud stack embedded`) and name its stack.env by FRAUD_ENV_FILE, or set {setting}."
