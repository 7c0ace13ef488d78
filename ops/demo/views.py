"""The views of the demonstration: live in a terminal, plain lines in a pipe, JSON objects for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ops.demo.meter import Snapshot
from pipeline.decide.decision_topics import Located
from pipeline.domain.decision import Outcome
from pipeline.domain.money import amount_text

LINE_EVERY_S: Final = 2.0
OUTCOME_STYLE: Final = {"ALLOW": "green", "BLOCK": "bold red", "ESCALATE": "yellow"}
STATE_STYLE: Final = {"CLOSED": "bold green", "HALF_OPEN": "bold yellow", "OPEN": "bold red", "UNKNOWN": "bold red"}
STORY_SHOWN: Final = 9


class Moment(NamedTuple):
    """The figures that are shown at one time."""

    second: float  # since the demonstration began
    breaker: str
    snapshot: Snapshot


class View(Protocol):
    def tell(self, second: float, sentence: str) -> None:
        """Tell a step of the story."""

    def show(self, moment: Moment) -> None: ...

    def close(self) -> None: ...


def view_for(*, as_json: bool) -> View:
    if as_json:
        return JsonView()
    return LiveView() if sys.stdout.isatty() else PlainView()


class LiveView:
    def __init__(self) -> None:
        self._console = Console()
        self._story: list[str] = []
        self._moment: Moment | None = None
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, redirect_stderr=False)
        self._live.start()

    def tell(self, second: float, sentence: str) -> None:
        self._story.append(f"{second:5.1f} s  {sentence}")
        self._live.update(self._page())

    def show(self, moment: Moment) -> None:
        self._moment = moment
        self._live.update(self._page())

    def close(self) -> None:
        if not self._live.is_started:
            return
        self._live.stop()
        for line in self._story:
            self._console.print(line, highlight=False)

    def _page(self) -> Group:
        story = Text("\n".join(self._story[-STORY_SHOWN:]))
        if self._moment is None:
            return Group(Panel(story, title="fraud demo", title_align="left"))
        return Group(
            _figures(self._moment),
            Panel(_latest(self._moment.snapshot.latest), title="latest decisions", title_align="left"),
            Panel(story, title="what happens", title_align="left"),
        )


class PlainView:
    def __init__(self) -> None:
        self._due_s = 0.0
        self._shown = ""

    def tell(self, second: float, sentence: str) -> None:
        print(f"{second:5.1f} s  {sentence}", flush=True)

    def show(self, moment: Moment) -> None:
        s = moment.snapshot
        if moment.second < self._due_s or not s.recent_outcomes:
            return
        self._due_s = moment.second + LINE_EVERY_S
        mix = "  ".join(f"{outcome} {share}" for outcome, share in _shares(s).items())
        speed = f"{s.per_second:4.0f}/s  {mix}  p50 {s.latency_ms_p50} ms  p99 {s.latency_ms_p99} ms"
        print(f"{moment.second:5.1f} s  {speed}  breaker {moment.breaker}", flush=True)
        if s.latest and (name := s.latest[-1].stored.decision.decision_id) != self._shown:
            self._shown = name
            print(f"         {_one_line(s.latest[-1])}", flush=True)

    def close(self) -> None:
        pass


class JsonView:
    def __init__(self) -> None:
        self._due_s = 0.0

    def tell(self, second: float, sentence: str) -> None:
        self._print({"event": "step", "second": round(second, 1), "sentence": sentence})

    def show(self, moment: Moment) -> None:
        if moment.second < self._due_s:
            return
        self._due_s = moment.second + LINE_EVERY_S
        s = moment.snapshot
        self._print(
            {
                "event": "moment",
                "second": round(moment.second, 1),
                "breaker": moment.breaker,
                "decisions": s.decisions,
                "per_second": round(s.per_second, 1),
                "outcomes": s.recent_outcomes,
                "latency_ms_p50": s.latency_ms_p50,
                "latency_ms_p99": s.latency_ms_p99,
            }
        )

    def close(self) -> None:
        pass

    def _print(self, fields: Mapping[str, object]) -> None:
        print(json.dumps(fields), flush=True)


def _figures(moment: Moment) -> Table:
    s = moment.snapshot
    table = Table(expand=True, title=f"fraud demo, second {moment.second:.0f}", title_justify="left")
    shares = _shares(s)
    for heading in ("decisions", "a second", *shares, "p50", "p99", "dead letters", "duplicates", "breaker"):
        table.add_column(heading, justify="right", style=OUTCOME_STYLE.get(heading, ""))
    table.add_row(
        f"{s.decisions:,}",
        f"{s.per_second:.0f}",
        *shares.values(),
        f"{s.latency_ms_p50} ms",
        f"{s.latency_ms_p99} ms",
        str(s.dead_letters),
        str(s.duplicates),
        Text(moment.breaker, style=STATE_STYLE.get(moment.breaker, "bold")),
    )
    return table


def _latest(decisions: tuple[Located, ...]) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    for width in (8, 9, 14):
        table.add_column(width=width, no_wrap=True)
    table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    for located in decisions:
        decision = located.stored.decision
        outcome = Text(decision.outcome, style=OUTCOME_STYLE[decision.outcome])
        amount = Text(amount_text(decision.snapshot.transaction), justify="right")
        table.add_row(outcome, decision.route, amount, decision.summary)
    return table


def _shares(s: Snapshot) -> dict[str, str]:
    """Return the shares of the outcomes in the last seconds."""
    total = max(sum(s.recent_outcomes.values()), 1)
    return {outcome.value: f"{100 * s.recent_outcomes.get(outcome, 0) / total:4.1f} %" for outcome in Outcome}


def _one_line(located: Located) -> str:
    decision = located.stored.decision
    amount = amount_text(decision.snapshot.transaction)
    return f"{decision.outcome} {amount} by {decision.route}: {decision.summary}"
