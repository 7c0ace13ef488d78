"""Become a container: `python container.py SPEC.json`, as root in namespaces of its own (mounts, processes, name).

The file system is the machine's, laid under the image's own files, and can't be written but where the Compose file
mounts a volume or memory. The process then gives up root for the service's user, with no capabilities and no way to new
ones, and becomes the service's command. It needs nothing of the project, because it runs before that is in place.
"""

import ctypes
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    words = [None if word is None else str(word).encode() for word in (source, target, kind)]
    if _LIBC.mount(*words, ctypes.c_ulong(flags), None if options is None else options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{source} on {target}: {os.strerror(number)}")


def lay_out(spec: dict[str, Any], root: Path) -> None:
    """Mount the image, then what the Compose file mounts into it, then forbid writing to the image."""
    layers = f"lowerdir=/,upperdir={spec['upper']},workdir={spec['work']}"
    mount("overlay", root, "overlay", 0, layers)
    mount("/dev", root / "dev", None, MS_BIND | MS_REC)
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for source, target in spec["image_mounts"]:
        bind(source, place(root, target, is_folder=True), is_read_only=True)
    inner = [(target, "memory", options) for target, options in spec["memory"]]
    inner += [(target, source, None) for source, target in spec["volumes"]]
    for target, source, options in sorted(inner):
        folder = place(root, target, is_folder=True)
        if source == "memory":
            mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
        else:
            mount(source, folder, None, MS_BIND)
    for source, target in spec["files"]:
        bind(source, place(root, target, is_folder=False), is_read_only=True)
    if spec["is_confined"]:
        mount("none", root, None, MS_REMOUNT | MS_RDONLY)


def place(root: Path, target: str, *, is_folder: bool) -> Path:
    path = root / target.lstrip("/")
    if is_folder:
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return path


def bind(source: str, target: Path, *, is_read_only: bool) -> None:
    mount(source, target, None, MS_BIND)
    if is_read_only:
        mount("none", target, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def main() -> None:
    if sys.argv[1:2] in ([], ["-h"], ["--help"]):
        print("usage: python container.py SPEC.json", __doc__, sep="\n\n")
        return
    spec = json.loads(Path(sys.argv[1]).read_text())
    root = Path(spec["root"])
    lay_out(spec, root)
    socket.sethostname(spec["name"])
    os.chroot(root)
    os.chdir(spec["folder"])
    user, group = spec["user"]
    command = ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", *spec["confinement"], "--", *spec["command"]]
    os.execve(command[0], command, spec["environment"])  # noqa: S606 - there is no shell, and that is the point


if __name__ == "__main__":
    main()
