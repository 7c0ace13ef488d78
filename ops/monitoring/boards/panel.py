"""A board as a table of panels, each a title, what it says, and its queries."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The kinds of panels, as Grafana names them."""

    TIME_SERIES = "timeseries"
    NUMBER = "stat"
    BARS = "bargauge"
    TABLE = "table"


class Unit(StrEnum):
    """Units, as Grafana names them. Amounts are in minor units: currencies differ in how many make a whole one."""

    NONE = "none"
    SHARE = "percentunit"
    SECONDS = "s"
    PER_SECOND = "cps"
    MINOR = "locale"
    TIMES = "suffix: ×"


class Line(NamedTuple):
    """A query, and the legend of what it yields, in which {{label}} stands for a label's value."""

    query: str
    legend: str


class Panel(NamedTuple):
    """objective: from where on the number is good, in its unit; None where a number is neither good nor bad."""

    title: str
    says: str
    kind: Kind
    unit: Unit
    lines: tuple[Line, ...]
    objective: float | None = None


class Board(NamedTuple):
    name: str  # of the file, and of the address
    title: str
    panels: tuple[Panel, ...]
