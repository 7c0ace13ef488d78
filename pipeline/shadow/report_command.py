"""`fraud models shadow`: what a challenger's time in the shadow shows, by intervals that hold whenever one looks.

Fraud found: of payments that both models answered and that turned out to be fraud, how many more the challenger would
have stopped (ESCALATE or BLOCK). What was blocked has seldom a label, so this is of labelled payments and no others.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

from models.anytime import PPM, difference_interval, rate_interval
from pipeline.domain.context import Label, frauds_told
from pipeline.domain.decision import Outcome
from pipeline.domain.money import count_text
from pipeline.domain.times import utc_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.io.settings import Settings
from pipeline.seals.label_files import label_proves
from pipeline.shadow.disagreement_command import digest_in_shadow
from pipeline.shadow.summary_store import Counted, ShadowSummary, counted, counted_by_value, summary
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output

ALPHA: Final = 0.05
"""Chance that one of a report's intervals ever misses the truth."""
GROUPS_MAX: Final = 2_000
"""Groups of outcomes, value and segment that a report reads; the largest."""
SEGMENTS_SHOWN: Final = 20
LABELS_AT_ONCE: Final = 2_000
FRAUDS_MAX: Final = 500_000
"""Labelled frauds that a report holds, some 100 MB; it says where there are more."""

_SQL: Final = statements("pipeline.shadow", "summary")


class Rate(NamedTuple):
    """A share in ppm, and where it lies whenever one looks."""

    of: int
    agreed: int
    low_ppm: int
    high_ppm: int


class Difference(NamedTuple):
    """Paired: of `of` payments the challenger alone did `more`, the champion alone `fewer`; the difference in ppm."""

    of: int
    more: int
    fewer: int
    low_ppm: int
    high_ppm: int


class Found(NamedTuple):
    """Labelled frauds among the compared: how many each would have stopped, and their value in pence where known."""

    by_champion: int
    by_challenger: int
    value_more_gbp_minor: int
    value_fewer_gbp_minor: int
    difference: Difference
    is_whole: bool


class Report(NamedTuple):
    summary: ShadowSummary
    kind: str
    agreement: Rate
    agreement_stopped: Rate
    stops: Difference
    by_value: tuple[tuple[str, Rate], ...]
    by_segment: tuple[tuple[str, Rate], ...]
    found: Found | None  # None where labels were not read


def report(settings: Settings, wire: WireFormat, version: str, digest: str | None, *, with_labels: bool) -> Report:
    """Raises Failure."""
    with connected(settings) as connection:
        key, kind = digest_in_shadow(connection, version, digest)
        whole = summary(connection, version, key.hex())
        values, segments = counted_by_value(connection, key), counted(connection, key, GROUPS_MAX)
        found = _found(settings, wire, connection, key) if with_labels else None
    return Report(
        whole,
        kind,
        _rate(whole.overall.agreed, whole.overall.compared),
        _rate(whole.stopped.agreed, whole.stopped.compared),
        _stops(values, whole.sample),
        tuple(_rates(values, by_segment=False)),
        tuple(islice(_rates(segments, by_segment=True), SEGMENTS_SHOWN)),
        found,
    )


def frauds_found(connection: Connection, digest: bytes, labels: Iterable[Label], frauds_max: int = FRAUDS_MAX) -> Found:
    """Hold what labels hold for fraud against what both models said."""
    frauds: dict[str, tuple[bool, bool, int]] = {}
    is_whole, waiting = True, iter(frauds_told(labels).values())
    while part := list(islice(waiting, LABELS_AT_ONCE)):
        wanted = {"digest": digest, "transaction_ids": [each.transaction_id for each in part]}
        with failures_named():
            rows = connection.execute(_SQL["compared_of"], wanted).fetchall()
        known = {row[0]: (row[1] != Outcome.ALLOW, row[2] != Outcome.ALLOW, row[3]) for row in rows}
        for each in part:
            if each.transaction_id in known:
                if each.transaction_id in frauds or len(frauds) < frauds_max:
                    frauds[each.transaction_id] = known[each.transaction_id]
                else:
                    is_whole = False
    more = [value for champion, challenger, value in frauds.values() if challenger and not champion]
    fewer = [value for champion, challenger, value in frauds.values() if champion and not challenger]
    return Found(
        sum(champion for champion, _, _ in frauds.values()),
        sum(challenger for _, challenger, _ in frauds.values()),
        sum(max(0, value) for value in more),
        sum(max(0, value) for value in fewer),
        _difference(len(more), len(fewer), len(frauds)),
        is_whole,
    )


def _found(settings: Settings, wire: WireFormat, connection: Connection, digest: bytes) -> Found:
    topic = settings.topic("labels.v1")
    try:
        with LogReader.of(settings, proves=label_proves(settings)) as reader:
            read = (wire.decode_label(record.value) for record in reader.read_all(topic))
            return frauds_found(connection, digest, (each for each in read if isinstance(each, Label)))
    except BrokerFailed as error:
        raise Failure(
            f"The labels can't be read: {error}.", "Is the broker up? --no-labels leaves them out."
        ) from error


def _stops(groups: Iterable[Counted], sample: int) -> Difference:
    more = fewer = 0
    for each in groups:
        champion, challenger = each.champion is not Outcome.ALLOW, each.challenger is not Outcome.ALLOW
        more += each.payments * (challenger and not champion)
        fewer += each.payments * (champion and not challenger)
    return _difference(more, fewer, sample)


def _rates(groups: Iterable[Counted], *, by_segment: bool) -> Iterable[tuple[str, Rate]]:
    """The largest first."""
    totals: dict[str, list[int]] = {}
    for each in groups:
        total = totals.setdefault(each.segment if by_segment else each.band, [0, 0])
        total[0] += each.payments * (each.champion is each.challenger)
        total[1] += each.payments
    ordered = sorted(totals.items(), key=lambda named: (-named[1][1], named[0]))
    return ((name, _rate(agreed, of)) for name, (agreed, of) in ordered)


def _rate(agreed: int, of: int) -> Rate:
    return Rate(of, agreed, *rate_interval(agreed, of, ALPHA))


def _difference(more: int, fewer: int, of: int) -> Difference:
    return Difference(of, more, fewer, *difference_interval(more, fewer, of, ALPHA))


def show_report(output: Output, found: Report) -> None:
    whole = found.summary
    fields = {
        "summary": {**whole._asdict(), "strata": [each._asdict() for each in whole.strata]},
        "kind": found.kind,
        "agreement": found.agreement._asdict(),
        "agreement_stopped": found.agreement_stopped._asdict(),
        "stops": found.stops._asdict(),
        "by_value": {name: rate._asdict() for name, rate in found.by_value},
        "by_segment": {name: rate._asdict() for name, rate in found.by_segment},
        "found": _found_fields(found.found),
    }
    head = f"{whole.version} ({found.kind}, {whole.digest[:16]}): {count_text(whole.sample, 'payment')} compared"
    output.record(fields, f"{head}, {_span(whole)}.")
    if output.as_json:
        return
    for line in _lines(found):
        output.line(line)


def _found_fields(found: Found | None) -> dict[str, object] | None:
    return None if found is None else {**found._asdict(), "difference": found.difference._asdict()}


def _lines(found: Report) -> Iterable[str]:
    whole = found.summary
    yield f"  agreement                      {_told(found.agreement)}"
    yield f"  of what the champion stops     {_told(found.agreement_stopped)}"
    yield f"  stopped by the challenger only {_told_difference(found.stops)}"
    if found.found is not None:
        labelled = found.found
        yield f"  labelled fraud stopped         {_told_difference(labelled.difference)}"
        more, fewer = (
            f"{pence / 100:,.2f}" for pence in (labelled.value_more_gbp_minor, labelled.value_fewer_gbp_minor)
        )
        stopped = f"champion {labelled.by_champion:,}, challenger {labelled.by_challenger:,}"
        rest = "" if labelled.is_whole else "; there are more labels than are counted here"
        yield f"    {stopped} of {labelled.difference.of:,}; worth {more} GBP more, {fewer} GBP fewer{rest}"
    aside = {name: count for name, count in whole.standings.items() if count and name != "COMPARED"}
    named = ", ".join(f"{name} {count:,}" for name, count in sorted(aside.items()))
    yield f"  not compared                   {named or 'none'}"
    yield f"  could not answer               {whole.unanswered:,} that the champion's model answered"
    yield f"  disagreements                  {whole.disagreements:,}, {whole.reviewed:,} of them reviewed" + (
        f"; {whole.above:,} of {whole.above_gbp_minor / 100:,.0f} GBP and more, {whole.above_reviewed:,} reviewed, "
        f"challenger right in {whole.above_right:,}"
    )
    for stratum in whole.strata:
        found_right = f"challenger right in {stratum.challenger_right:,}"
        yield f"    {stratum.name}: {stratum.disagreements:,}, {stratum.reviewed:,} reviewed, {found_right}"
    for title, rates in (("by value", found.by_value), ("by segment", found.by_segment)):
        yield f"  agreement {title}"
        for name, rate in rates:
            yield f"    {name}: {_told(rate)}"


def _span(whole: ShadowSummary) -> str:
    if not whole.sample:
        return "and so nothing is known"
    days = count_text(whole.days_covered, "whole day")
    return f"{utc_text(whole.first_ms)} to {utc_text(whole.last_ms)}, {days} covered"


def _told(rate: Rate) -> str:
    if not rate.of:
        return "nothing to compare"
    low, high = rate.low_ppm / (PPM / 100), rate.high_ppm / (PPM / 100)
    return f"{100 * rate.agreed / rate.of:.2f} % of {rate.of:,} ({low:.2f} to {high:.2f} % whenever one looks)"


def _told_difference(found: Difference) -> str:
    if not found.of:
        return "nothing to compare"
    low, high = found.low_ppm / (PPM / 100), found.high_ppm / (PPM / 100)
    net = 100 * (found.more - found.fewer) / found.of
    return f"{net:+.3f} % of {found.of:,} ({found.more:,} more, {found.fewer:,} fewer; {low:+.3f} to {high:+.3f} %)"
