"""The whole of what the database says about our roles, held against what the migrations made it say.

`python -m ops.access.catalogue URL` prints it for a migrated database; catalogue.txt holds that of this release, and a
test compares the two.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.io.postgres import Connection, opened, statements

RELEASED: Final = Path(__file__).with_name("catalogue.txt")


def catalogue(connection: Connection, roles: list[str]) -> list[str]:
    """Return a line for each fact, in an order that doesn't change. Raises psycopg's errors."""
    connection.execute("SET search_path = pg_catalog")
    found = connection.execute(statements("ops.access", "catalogue")["catalogue"], {"roles": roles}).fetchall()
    return sorted(line for (line,) in found)


def differences(connection: Connection, roles: list[str]) -> Iterator[str]:
    """Yield a sentence for each fact that no migration made, and for each that a migration made and that is gone."""
    released = set(RELEASED.read_text(encoding="utf-8").splitlines())
    found = set(catalogue(connection, roles))
    yield from (f"{line}: no migration says so" for line in sorted(found - released))
    yield from (f"{line}: a migration says so, and it isn't so any more" for line in sorted(released - found))


if __name__ == "__main__":
    from ops.access.foreign_database import OURS

    parser = argparse.ArgumentParser(prog="python -m ops.access.catalogue", description=__doc__.partition("\n")[0])
    parser.add_argument("url", metavar="URL", help="the address of a migrated database, in its owner's role")
    with opened(parser.parse_args().url, autocommit=True) as server:
        print("\n".join(catalogue(server, OURS)))
