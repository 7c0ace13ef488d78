"""The interface that the embedded and the real stack share."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class StackFailure(Exception):
    """A stack could not be started. The message tells a person what is wrong and what to do."""


class Stack(Protocol):
    bootstrap_servers: str
    redis_url: str
    database_url: str

    def addresses(self) -> dict[str, str | int]: ...


OpenStack = Callable[[Path], AbstractContextManager[Stack]]
