"""The database, for a command that a person waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, connect
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure, database_away


@contextmanager
def connected(settings: Settings) -> Iterator[Connection]:
    """Tries once. Raises Failure, also for what the database refuses meanwhile."""
    try:
        with closing(connect(settings.database_url, "fraud-command")) as connection:
            yield connection
    except DatabaseUnavailable as error:
        raise database_away(settings.database_url) from error
    except DatabaseRefused as error:
        fix = "Use the FRAUD_DATABASE_URL of a role that may, and `fraud database migrate`."
        raise Failure(f"{str(error)[:1].upper()}{str(error)[1:]}.", fix) from error
