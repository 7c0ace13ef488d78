"""Backups of the state store: an RDB file of each master, and a manifest that says what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from ops.state.positions import Positions, asked, read_positions, read_replaced
from pipeline.io.addresses import shown_address
from pipeline.io.redis.servers import Servers, servers
from pipeline.io.redis.snapshot import Snapshot, SnapshotBroken, SnapshotForbidden, fetch_snapshot
from pipeline.io.settings import Settings
from pipeline.state.windows import LAYOUT
from pipeline.terminal.failures import Failure

FORMAT: Final = 2
MANIFEST: Final = "manifest.json"
NEEDED: Final = frozenset({"taken_at", "prefix", "shards", "label_delay_days", "positions", "shape"})
"""A restore compares these before it deletes anything, beside files, layout and format."""


class Backup(NamedTuple):
    folder: Path
    taken_at: str
    manifest: Mapping[str, Any]


def take_backup(settings: Settings, folder: Path) -> Backup:
    """Fetch the data of every master into a new folder inside `folder`. Raises Failure, RedisError or OSError."""
    found = servers(settings.redis_url)
    if (
        fault := asked(settings, lambda state: state.evictions(never_evicts=settings.state_never_evicts)).fault
    ) is not None:
        raise Failure(f"{fault}.", "A copy of it is worth nothing.")
    if replaced := read_replaced(settings):
        raise Failure(f"{replaced[0][:1].upper()}{replaced[0][1:]}.", "A copy of it is worth nothing.")
    shape = asked(settings, lambda state: state.held_shape())
    positions = read_positions(settings)
    taken_at = datetime.now(UTC)
    target = folder / taken_at.strftime("%Y%m%dT%H%M%SZ")
    target.mkdir(parents=True, mode=0o700)
    files = []
    for number, master in enumerate(found.masters):
        name = f"master-{number}.rdb"
        files.append(
            {
                "name": name,
                "server": master.place,
                "version": master.name,
                **_fetched(master.node, target / name)._asdict(),
            }
        )
    manifest = _manifest(settings, found, files, positions, taken_at) | {"shape": shape}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    at_ms = int(taken_at.timestamp() * 1000)
    asked(settings, lambda state: state.remember_backup(at_ms))
    return Backup(target, manifest["taken_at"], manifest)


def read_backup(folder: Path) -> Backup:
    """Read a backup, or the latest in a folder of backups, and check its files. Raises Failure."""
    if not (folder / MANIFEST).exists():
        inside = sorted(each.parent for each in folder.glob(f"*/{MANIFEST}"))
        if not inside:
            raise Failure(f"{folder} holds no backup.", "Name the folder that `fraud state backup` wrote to.")
        folder = inside[-1]
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        layout, kind = manifest["layout"], manifest["format"]
        wrong = [each["name"] for each in manifest["files"] if _sha256(folder / each["name"]) != each["sha256"]]
        if not manifest["files"] or NEEDED - manifest.keys():
            raise KeyError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(f"The backup in {folder} can't be read.", "Take another one.") from error
    if kind != FORMAT or layout != LAYOUT:
        what = f"The backup holds layout {layout} of the state, but this release keeps layout {LAYOUT}."
        raise Failure(what, "Restore it with the release that took it, or let the state be rebuilt from the log.")
    if wrong:
        raise Failure(f"{', '.join(wrong)} in {folder} is not what was written there.", "Take another backup.")
    return Backup(folder, manifest["taken_at"], manifest)


def _fetched(node: str, path: Path) -> Snapshot:
    try:
        return fetch_snapshot(node, path)
    except SnapshotForbidden as error:
        raise Failure(
            f"{shown_address(node)} doesn't give its data away ({error}).",
            "A managed service makes backups itself: have it take one every hour, and restore that (docs/state.md).",
        ) from error
    except SnapshotBroken as error:
        raise Failure(f"{shown_address(node)} failed on the way: {error}.", "Try again.") from error


def _manifest(
    settings: Settings, found: Servers, files: list[dict[str, Any]], positions: Positions, taken_at: datetime
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "taken_at": taken_at.isoformat(timespec="seconds"),
        "layout": LAYOUT,
        "prefix": settings.state_prefix,
        "shards": settings.state_shards,
        "label_delay_days": settings.label_delay_days,
        "topology": found.topology.value,
        "positions": {str(partition): offset for partition, offset in positions.items()},
        "files": files,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
