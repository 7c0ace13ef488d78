"""A machine of our own to act Compose out on: its networks, and containers made of namespaces.

Everything stands in namespaces that the bench entered before (ops.bench.production.production), so that nothing is left
on the machine beneath when it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from ops.bench.production.compose_files import Service
from ops.bench.production.images import Image, accounts, image_of

CONTAINER: Final = Path(__file__).with_name("container.py")
CONFINEMENT: Final = ("--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
LAYERS: Final = "layers"
"""Folder of what the images add to the machine's file system, in memory: a layer can't lie within the one beneath."""
BORN_S: Final = 60.0
"""Time in which a container's file system is laid out, on a loaded machine."""
PATIENCE: Final = 4
"""Docker tries a check six times before it says that a service isn't well. What is awaited here gets one try that may
take longer: a busy machine needs as long as the files allow to start the check alone."""
EXEC_S_MAX: Final = 120.0
_layers: Final = itertools.count(1)
_SUBNET: Final = "10.89"


class MachineRefused(Exception):
    """Something that the machine needs can't be had. The message says what."""


class Networks:
    """A bridge for each network of the files, and one address on each for every service that is on it."""

    def __init__(self, networks: Sequence[str], services: Mapping[str, Service], outside: Mapping[str, str]) -> None:
        """outside: names of the world, such as the bank's rail, by the network through which they are reached."""
        self._places = {name: number for number, name in enumerate(networks, 1)}
        self._services, self._outside = services, outside
        self.addresses: dict[tuple[str, str], str] = {}
        for name, number in self._places.items():
            _ip("link", "add", f"br{number}", "type", "bridge")
            _ip("addr", "add", f"{self.gateway(name)}/24", "dev", f"br{number}")
            _ip("link", "set", f"br{number}", "up")
        for host, service in enumerate(services.values(), 2):
            self._connect(service, host)

    def gateway(self, network: str) -> str:
        """Return the machine's own address on a network, where the world begins."""
        return f"{_SUBNET}.{self._places[network]}.1"

    def address(self, service: str) -> str:
        """Return a service's address on the first of its networks."""
        return self.addresses[service, self._services[service].networks[0]]

    def hosts(self, service: Service) -> str:
        """Return what a service's name server tells it: those on its networks, and nobody else."""
        lines = ["127.0.0.1 localhost"]
        for (name, network), address in self.addresses.items():
            if network in service.networks:
                lines.append(f"{address} {name}")
        lines += [
            f"{self.gateway(network)} {name}" for name, network in self._outside.items() if network in service.networks
        ]
        return "\n".join(lines) + "\n"

    def _connect(self, service: Service, host: int) -> None:
        _ip("netns", "add", service.name)
        _ip("-n", service.name, "link", "set", "lo", "up")
        for at, network in enumerate(service.networks):
            number = self._places[network]
            here, there, address = f"v{host}x{number}", f"eth{at}", f"{_SUBNET}.{number}.{host}"
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", service.name)
            _ip("link", "set", here, "master", f"br{number}", "up")
            _ip("-n", service.name, "addr", "add", f"{address}/24", "dev", there)
            _ip("-n", service.name, "link", "set", there, "up")
            self.addresses[service.name, network] = address


class Done(NamedTuple):
    code: int | None  # None where it took too long, as Docker has it fail
    said: str


class Container:
    """One service of the files, as Docker would run it."""

    def __init__(self, service: Service, networks: Networks, folder: Path, volumes: Path) -> None:
        self.service, self._networks = service, networks
        self._folder, self._volumes = folder / LAYERS / service.name, volumes
        self.log_path = folder / f"{service.name}.log"
        self.image: Image = image_of(service.image)
        self.environment = {**self.image.environment, **service.environment, "HOSTNAME": service.name}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        """Return how it ended, or None while it runs."""
        return None if self._child is None else self._child.poll()

    @property
    def is_started(self) -> bool:
        return self._child is not None

    def start(self) -> None:
        spec = self._spec()
        path = Path(spec["root"]).with_name("spec.json")
        path.write_text(json.dumps(spec))
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - the command is ours
                [*_entering(self.service.name), sys.executable, "-ES", str(CONTAINER), str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, command: Sequence[str], timeout_s: float = EXEC_S_MAX) -> Done:
        """Run a command in the container, as its user and with its environment: `docker exec`."""
        user, group = self.service.user
        inside = ["nsenter", "--target", str(self._main().pid), "--mount", "--uts", "--net", "--pid", "--root"]
        inside += [
            "setpriv",
            f"--reuid={user}",
            f"--regid={group}",
            *CONFINEMENT,
            "--",
            "/usr/bin/env",
            "-i",
            f"--chdir={self.image.folder}",
        ]
        inside += [f"{name}={value}" for name, value in self.environment.items()]
        try:
            done = subprocess.run(  # noqa: S603 - the command is ours or the files'
                [*inside, *command], capture_output=True, text=True, timeout=timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Done(None, f"no answer within {timeout_s:g} s")
        return Done(done.returncode, (done.stdout + done.stderr).strip())

    def is_healthy(self, patience: int = PATIENCE) -> bool:
        """Run the health check of the files once; what has ended isn't healthy, or ends at that moment.

        patience: how many times as long as the files say it may take.
        """
        check = self.service.health
        assert check is not None, f"{self.service.name} has a health check"
        try:
            done = self.run(check.command, check.timeout_s * patience)
        except MachineRefused:
            return False
        with self.log_path.with_suffix(".health.log").open("a", encoding="utf-8") as log:
            log.write(f"{done.code} {done.said[-1000:]}\n")
        return done.code == 0

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its first process: `docker kill --signal`. Raises MachineRefused where that has ended."""
        self._signal(self._main(), number)

    def pause(self) -> None:
        """Stop every process in it, as `docker pause` does. Raises MachineRefused where it has ended."""
        self._send_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._send_all(signal.SIGCONT)

    def stop(self, grace_s: float = 20.0) -> None:
        if self._child is None or self._child.poll() is not None:
            return
        number = signal.SIGINT if self.service.name == "postgres" else signal.SIGTERM
        with contextlib.suppress(MachineRefused):  # it ends by itself
            self.resume()
            self.send(number)
        try:
            self._child.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def kill(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def _main(self) -> psutil.Process:
        """Return its first process. Raises MachineRefused where it has none, or gets none in time."""
        assert self._child is not None, "it was started"
        deadline = time.monotonic() + BORN_S
        while time.monotonic() < deadline and self._child.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                found = psutil.Process(self._child.pid).children()
                if found and str(CONTAINER) not in found[0].cmdline():
                    return found[0]
            time.sleep(0.02)
        raise MachineRefused(f"{self.service.name} isn't running: {self.tail()}")

    def _send_all(self, number: signal.Signals) -> None:
        main = self._main()
        self._signal(main, number)
        for process in _below(main):
            # A server's children come and go, also between their being listed and the signal.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _signal(self, main: psutil.Process, number: signal.Signals) -> None:
        try:
            main.send_signal(number)
        except psutil.NoSuchProcess as ended:
            raise MachineRefused(f"{self.service.name} has ended: {self.tail()}") from ended

    def tail(self, characters: int = 1500) -> str:
        return self.log_path.read_text(errors="replace")[-characters:] if self.log_path.exists() else ""

    def _spec(self) -> dict[str, Any]:
        layer = self._folder / f"layer-{next(_layers)}"
        for name in ("upper", "work", "root"):
            (layer / name).mkdir(parents=True)
        self._fill(layer / "upper")
        service, image = self.service, self.image
        words = [*(image.entrypoint if service.entrypoint is None else service.entrypoint)]
        words += image.command if service.command is None else service.command
        return {
            "name": service.name,
            "root": str(layer / "root"),
            "upper": str(layer / "upper"),
            "work": str(layer / "work"),
            "image_mounts": image.mounts,
            "memory": [_memory(each) for each in service.tmpfs],
            "volumes": [
                [str(self._volume(each.source, each.target)), each.target] for each in service.mounts if each.is_volume
            ],
            "files": [[each.source, each.target] for each in service.mounts if not each.is_volume],
            "folder": image.folder,
            "user": service.user,
            "is_confined": service.is_confined,
            "confinement": CONFINEMENT if service.is_confined else ["--clear-groups"],
            "environment": self.environment,
            "command": ["/usr/bin/env", *words],
        }

    def _fill(self, upper: Path) -> None:
        files = {**self.image.programs, "/etc/hosts": self._networks.hosts(self.service), "/etc/passwd": accounts()}
        files["/etc/group"] = accounts().replace(":/bin/sh", "")
        for path, text in files.items():
            target = upper / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(0o755)
        for path, user in self.image.made_folders.items():
            (upper / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            os.chown(upper / path.lstrip("/"), user, -1)
        for path in (self.image.folder, "/run/secrets", "/tmp"):  # noqa: S108 - in the container
            (upper / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (upper / "tmp").chmod(0o1777)

    def _volume(self, name: str, target: str) -> Path:
        """Return the folder of a volume; a new one belongs to whom the image gave the folder at its place."""
        folder = self._volumes / name
        if not folder.exists():
            folder.mkdir(parents=True)
            os.chown(folder, self.image.made_folders.get(target, 0), -1)
        return folder


def _below(main: psutil.Process) -> list[psutil.Process]:
    try:
        return main.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _entering(name: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{name}", "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]


def _memory(entry: str) -> list[str]:
    """Split `/folder:options`; Docker's memory can be written by anybody where it isn't said to be otherwise."""
    target, _, options = entry.partition(":")
    return [target, options or "mode=1777"]


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode != 0:
        raise MachineRefused(f"ip {' '.join(words)}: {done.stderr.strip()}")
