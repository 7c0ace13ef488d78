"""The bank's rail, as the process that the executor talks to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.processes.servers import ServerProcess, free_port
from ops.rail.misbehaviour import Misbehaviour
from ops.rail.process import rail_process, rail_url


@pytest.fixture(scope="session")
def rail_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Provide a rail that behaves, for tests that don't look at its books, which hold every test's transfers."""
    port = free_port()
    process = rail_process(tmp_path_factory.mktemp("rail"), port)
    process.start()
    yield rail_url(port)
    process.stop()


@pytest.fixture
def rail_of(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start rails of the test's own, which may misbehave, and stop all of them after the test."""
    started: list[ServerProcess] = []

    def start(misbehaviour: Misbehaviour | None = None) -> str:
        port = free_port()
        process = rail_process(tmp_path / f"rail-{port}", port, misbehaviour)
        started.append(process)
        process.start()
        return rail_url(port)

    yield start
    for process in started:
        process.stop()
