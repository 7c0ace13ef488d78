"""The end of the demonstration: what became of every record, how fast, what the breaker did, and decisions in full."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from ops.demo.aftermath import Aftermath, aftermath_json, aftermath_lines
from ops.demo.meter import Snapshot, percentile
from ops.demo.past import Past
from pipeline.decide.decision_topics import Located
from pipeline.explain.as_json import explanation_json
from pipeline.explain.explanation import explanation
from pipeline.explain.text_page import explanation_lines
from pipeline.replay.archive_files import RegimeArchive
from pipeline.terminal.output import Output, coloured


class BreakerChange(NamedTuple):
    second: float
    scope: str
    before: str
    after: str
    why: str


class Summary(NamedTuple):
    snapshot: Snapshot
    past: Past
    first_months_percent: Sequence[int]  # for each first decision, 30 days against the account's normal month
    first_paid_percent: int  # of the first decisions, those whose payee was paid before
    published: int
    offsets_in: int  # the records that the worker committed on transactions.v1
    distinct_decisions: int
    dead_letters: dict[str, int]  # by code, duplicates included
    latency_ms_p50: int
    latency_ms_p99: int
    first_decision_s: float
    changes: tuple[BreakerChange, ...]
    has_tripped: bool
    has_recovered: bool
    aftermath: Aftermath

    @property
    def accounted_for(self) -> int:
        return self.snapshot.decisions + sum(self.dead_letters.values())

    @property
    def is_whole(self) -> bool:
        """Return whether every record is a decision, a dead letter or a duplicate, and none stands twice (I1, I2)."""
        return (
            self.published == self.offsets_in == self.accounted_for
            and self.distinct_decisions == self.snapshot.decisions
        )

    @property
    def is_good(self) -> bool:
        return not self.lacking()

    def lacking(self) -> list[str]:
        """Return a sentence for each thing that was to be shown and wasn't; none where all went well."""
        after = self.aftermath
        tripped_early = (
            "The breaker had taken the good model out of the loop before it was to go wrong, and did not close again:"
            " it never went wrong on purpose, and nothing was there to take back."
        )
        late = "The breaker was not closed again when the time was over."
        is_executed = after.is_whole(self.snapshot.decisions, sum(self.dead_letters.values()))
        found = (
            (self.is_whole, "Not every record is accounted for."),
            (is_executed, "Not every decision was audited and executed once."),
            (after.undone is not None, tripped_early),
            (after.undone is None or self.has_tripped, "The breaker did not trip after the model had gone wrong."),
            (not self.has_tripped or self.has_recovered, late),
            (after.undone is None or after.undone.is_good, "What the wrong model decided was not all taken back."),
            (after.verified.is_good, "The audit log was not verified without findings."),
        )
        return [sentence for is_shown, sentence in found if not is_shown]


def show_summary(summary: Summary, examples: Sequence[Located], archive: RegimeArchive, *, as_json: bool) -> None:
    output = Output(as_json=as_json)
    explained = [
        explanation(each.stored, each.found.source.partition, each.found.source.offset, archive.regime_of)
        for each in examples
    ]
    if as_json:
        examples_json = [explanation_json(each) for each in explained]
        print(json.dumps({**_summary_json(summary), "examples": examples_json}), flush=True)
        return
    for each in explained:
        output.line("")
        output.line("-" * 100)
        for line in explanation_lines(each):
            output.line(line)
    if summary.aftermath.explained is not None:
        output.line("")
        output.line("-" * 100)
        output.line(
            coloured("One decision of the wrong model, taken back, as `fraud explain` tells it", None, is_bold=True)
        )
        output.line(str(summary.aftermath.explained).rstrip())
    output.line("-" * 100)
    for line in _lines(summary):
        output.line(line)
    for sentence in summary.lacking():
        output.line(coloured(sentence, "red", is_bold=True))
    if not summary.is_good:
        output.line("So it ends with 1. On a busy machine, or by chance, it may; another --seed is other traffic.")


def _lines(summary: Summary) -> list[str]:
    s = summary.snapshot
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(s.by_outcome.items()))
    routes = ", ".join(f"{count:,} {route}" for route, count in sorted(s.by_route.items()))
    dead = ", ".join(f"{count} {code}" for code, count in sorted(summary.dead_letters.items())) or "none"
    whole = coloured("holds", "green", is_bold=True) if summary.is_whole else coloured("BROKEN", "red", is_bold=True)
    latency = f"p50 {summary.latency_ms_p50} ms, p99 {summary.latency_ms_p99} ms"
    return [
        coloured("Summary", None, is_bold=True),
        f"  first explained decision after {summary.first_decision_s:.1f} s",
        f"  {summary.past.payments:,} payments of the {summary.past.days} days before it were counted, not decided",
        f"  {s.decisions:,} decisions: {outcomes}",
        f"  answered by: {routes}",
        f"  not decided: {dead}",
        f"  from publishing to reading the committed decision: {latency}",
        f"  {summary.offsets_in:,} records in = {s.decisions:,} decisions + {s.dead_letters:,} dead letters"
        f" + {s.duplicates:,} duplicates: {whole}",
        "  the breaker:",
        *(f"    {change.second:5.1f} s  {change.scope}: {change.before} to {change.after}. {change.why}"
          for change in summary.changes),
        *aftermath_lines(summary.aftermath, s.decisions, sum(summary.dead_letters.values())),
    ]  # fmt: skip


def _summary_json(summary: Summary) -> dict[str, object]:
    s = summary.snapshot
    return {
        "event": "summary",
        "first_decision_s": round(summary.first_decision_s, 2),
        "past": summary.past._asdict(),
        "first_decisions_month_percent_p50": percentile(summary.first_months_percent, 50),
        "first_decisions_paid_before_percent": summary.first_paid_percent,
        "published": summary.published,
        "offsets_in": summary.offsets_in,
        "decisions": s.decisions,
        "distinct_decisions": summary.distinct_decisions,
        "dead_letters": summary.dead_letters,
        "duplicates": s.duplicates,
        "is_whole": summary.is_whole,
        "outcomes": s.by_outcome,
        "routes": s.by_route,
        "latency_ms_p50": summary.latency_ms_p50,
        "latency_ms_p99": summary.latency_ms_p99,
        "breaker": [change._asdict() for change in summary.changes],
        "has_tripped": summary.has_tripped,
        "has_recovered": summary.has_recovered,
        **aftermath_json(summary.aftermath, s.decisions, sum(summary.dead_letters.values())),
        "lacking": summary.lacking(),
        "is_good": summary.is_good,
    }
