"""`fraud database migrate`: the migrations that are missing, applied."""

from __future__ import annotations

import psycopg

from ops.migrations.migrate import Migration, MigrationRefused, migrate
from pipeline.io.postgres import DatabaseRefused
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure, owner_refused
from pipeline.terminal.output import Output


def migrate_database(settings: Settings) -> list[Migration]:
    """What was applied."""
    try:
        return migrate(settings.database_url)
    except MigrationRefused as refusal:
        raise Failure(f"The database is left as it was: {refusal}.", "Put the files as they were applied.") from refusal
    except (psycopg.OperationalError, DatabaseRefused) as error:
        raise owner_refused(settings.database_url) from error


def show_migrations(output: Output, applied: list[Migration]) -> None:
    for migration in applied:
        fields = {"version": migration.version, "name": migration.name, "sha256": migration.sha256.hex()}
        output.record(fields, f"applied {migration.version:04} {migration.name}")
    if not applied:
        output.note("Nothing to apply: the database is up to date.")
