"""The Compose files as Docker Compose reads them: merged, with their variables, one record a service.

Only what the files use is understood. Whatever else they come to say is refused, so that nothing is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

BASE: Final = "docker-compose.yml"
PRODUCTION: Final = "docker-compose.production.yml"
_VARIABLE: Final = re.compile(r"\$(?:\$|\{(\w+)(?::\?([^}]*))?\})")
_BY_TARGET: Final = ("volumes", "secrets", "configs", "tmpfs")
_REPLACED: Final = ("command", "entrypoint", "test", "profiles")
_KNOWN: Final = frozenset(
    {"build", "image", "user", "environment", "entrypoint", "command", "healthcheck", "depends_on", "restart"}
    | {
        "stop_grace_period",
        "deploy",
        "cpu_shares",
        "read_only",
        "cap_drop",
        "security_opt",
        "tmpfs",
        "volumes",
        "networks",
    }
    | {"ports", "secrets", "configs", "profiles", "logging", "cpu_shares"}
)


class FilesRefused(ValueError):
    """The files say something that can't be acted out, or ask for a variable that isn't set."""


class Replacement(list[Any]):
    """A list tagged !reset or !override: it stands instead of the other file's, not after it. Empty for a value that
    is taken away.
    """


class ComposeLoader(yaml.SafeLoader):
    """Knows those two tags."""


def _replacement(loader: yaml.SafeLoader, node: yaml.Node) -> Replacement | None:
    if not isinstance(node, yaml.SequenceNode):
        return None
    return Replacement(loader.construct_sequence(node, deep=True))


for _tag in ("!reset", "!override"):
    ComposeLoader.add_constructor(_tag, _replacement)


class Mount(NamedTuple):
    """A file or a volume at a place of the container's file system. source: a volume's name, or a path."""

    source: str
    target: str
    is_volume: bool


class HealthCheck(NamedTuple):
    """command: as the container runs it; a shell's is spelt out."""

    command: tuple[str, ...]
    timeout_s: float
    retries: int


class Service(NamedTuple):
    """What the files say of one service. after: the condition that each other service must meet before it starts."""

    name: str
    image: str
    user: tuple[int, int]
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...] | None
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    tmpfs: tuple[str, ...]
    networks: tuple[str, ...]
    after: Mapping[str, str]
    health: HealthCheck | None
    is_restarted: bool
    is_confined: bool


def read_file(path: Path) -> dict[str, Any]:
    """Read one file, its tags understood, nothing else done to it."""
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), ComposeLoader)  # noqa: S506 - a safe loader
    return found


def services(root: Path, names: Sequence[str], variables: Mapping[str, str]) -> dict[str, Service]:
    """Return the services that `docker compose up` starts from the files, by name. Raises FilesRefused."""
    merged: Any = {}
    for name in names:
        merged = _merged(merged, read_file(root / name), "")
    found = {name: stated for name, stated in merged["services"].items() if not stated.get("profiles")}
    whole = {**merged, "services": found}
    # A service that isn't started may ask for variables that nobody has set.
    return {name: _service(root, name, whole, variables) for name in found}


def internal_networks(root: Path, names: Sequence[str]) -> Mapping[str, bool]:
    """Return each network, and whether nobody on it reaches the world."""
    merged: Any = {}
    for name in names:
        merged = _merged(merged, read_file(root / name), "")
    return {name: bool((stated or {}).get("internal")) for name, stated in merged["networks"].items()}


def _merged(before: Any, after: Any, key: str) -> Any:
    if isinstance(after, Replacement) or after is None or key in _REPLACED:
        return list(after) if isinstance(after, Replacement) else after
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(name for name in after if name not in before)]
        return {name: _merged(before.get(name), after[name], name) if name in after else before[name] for name in keys}
    if isinstance(before, list) and isinstance(after, list):
        if key not in _BY_TARGET:
            return before + after
        by_target = {_target(entry): entry for entry in [*before, *after]}
        return list(by_target.values())
    return after


def _target(entry: Any) -> str:
    if isinstance(entry, dict):
        return str(entry["target"])
    source, _, target = str(entry).partition(":")
    return target if target.startswith("/") else source


def _service(root: Path, name: str, whole: Mapping[str, Any], variables: Mapping[str, str]) -> Service:
    stated = _filled(whole["services"][name], variables)
    if unknown := stated.keys() - _KNOWN:
        raise FilesRefused(f"{name} says {', '.join(sorted(unknown))}, which isn't acted out")
    environment = {key: str(value) for key, value in (stated.get("environment") or {}).items() if value is not None}
    return Service(
        name,
        str(stated["image"]),
        _user(name, stated),
        _words(stated.get("entrypoint")),
        _words(stated.get("command")),
        environment,
        tuple(_mounts(root, stated, whole, variables)),
        tuple(stated.get("tmpfs") or ()),
        tuple(stated.get("networks") or ()),
        {other: need["condition"] for other, need in (stated.get("depends_on") or {}).items()},
        _health(stated.get("healthcheck")),
        stated.get("restart") == "unless-stopped",
        bool(stated.get("read_only")) and stated.get("cap_drop") == ["ALL"],
    )


def _user(name: str, stated: Mapping[str, Any]) -> tuple[int, int]:
    user, _, group = str(stated.get("user", "")).partition(":")
    if not (user.isdigit() and group.isdigit()) or "0" in (user, group):
        raise FilesRefused(f"{name} runs as no numbered user and group of its own")
    return int(user), int(group)


def _words(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise FilesRefused(f"a command is written as a list, not as {value!r}")
    return tuple(map(str, value))


def _mounts(
    root: Path, stated: Mapping[str, Any], whole: Mapping[str, Any], variables: Mapping[str, str]
) -> list[Mount]:
    mounts = []
    for entry in stated.get("volumes") or ():
        source, _, target = entry.partition(":")
        if source not in whole["volumes"]:
            raise FilesRefused(f"{source} is no volume of the files")
        mounts.append(Mount(source, target, is_volume=True))
    for kind, folder in (("secrets", "/run/secrets/"), ("configs", "/")):
        for entry in stated.get(kind) or ():
            source = entry if isinstance(entry, str) else entry["source"]
            target = source if isinstance(entry, str) else entry["target"]
            path = root / _filled(whole[kind][source], variables)["file"]
            mounts.append(Mount(str(path), target if target.startswith("/") else folder + target, is_volume=False))
    return mounts


def _health(stated: Mapping[str, Any] | None) -> HealthCheck | None:
    if stated is None:
        return None
    how, *words = stated["test"]
    if how not in ("CMD", "CMD-SHELL"):
        raise FilesRefused(f"a health check begins with CMD or CMD-SHELL, not with {how}")
    command = ("/bin/sh", "-c", *words) if how == "CMD-SHELL" else tuple(words)
    return HealthCheck(command, _seconds(stated["timeout"]), int(stated["retries"]))


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+s", text):
        raise FilesRefused(f"{text} is no time in seconds")
    return float(text[:-1])


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, variables) for each in value]
    return _VARIABLE.sub(lambda match: _variable(match, variables), value) if isinstance(value, str) else value


def _variable(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match[1] is None:
        return "$"
    if not (found := variables.get(match[1])):
        raise FilesRefused(f"{match[1]} {match[2] or 'is not set'}")
    return found
