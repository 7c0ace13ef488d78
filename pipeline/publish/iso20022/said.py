"""The texts of a message with their places, and what is wrong with them."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.refusals import is_placeholder
from pipeline.publish.payment_source import Fault


class Text(NamedTuple):
    text: str
    line: int
    currency: str | None  # of an amount, as its attribute says it


class Said:
    """The texts of one block, by the names that the mapping asks for, and the faults that reading them finds.

    `path` and `line` are the block's own: a fault about something that is missing stands there.
    """

    def __init__(self, path: str, line: int) -> None:
        self.path, self.line = path, line
        self.texts: dict[str, list[Text]] = {}
        self.faults: list[Fault] = []
        self._told: set[str] = set()
        self._held: set[str] = set()

    def hold(self, name: str, line: int) -> None:
        """Note that an element that holds others begins. Where it does so twice, two would be read as one: a fault."""
        if name in self._held and name not in self._told:
            self._told.add(name)
            self.fault(name, "stands more than once where one is read", line)
        self._held.add(name)

    def one(self, name: str) -> Text | None:
        """The text of an element that there is at most one of; where there are more, a fault and the first of them."""
        found = self.texts.get(name)
        if found is None:
            return None
        if len(found) > 1 and name not in self._told:
            self._told.add(name)
            self.fault(name, "stands more than once where one is read", found[1].line)
        return found[0]

    def told(self, name: str) -> Text | None:
        """The text of such an element, but for the words that banks write where nothing is known."""
        found = self.one(name)
        return None if found is None or is_placeholder(found.text) else found

    def needed(self, name: str, why: str = "is missing") -> Text | None:
        found = self.one(name)
        if found is None:
            self.fault(name, why)
        return found

    def many(self, name: str) -> list[Text]:
        return self.texts.get(name, [])

    def fault(self, name: str, what: str, line: int | None = None) -> None:
        """`what`: a predicate of the element, without a full stop, that quotes no text of the message (I10)."""
        self.faults.append(
            Fault(self.line if line is None else line, f"{self.path}/{name}" if name else self.path, what)
        )
