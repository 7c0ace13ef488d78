"""The sections that show what was measured: overall, by segment, by threshold, by probability, and between groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from models.card.content.blocks import Block, Code, Figure, Inline, Paragraph, Subheading, Table
from models.card.content.texts import share, shown_metric
from models.card.drawings import measure_plots
from models.card.drawings.measure_plots import Dot
from models.card.facts import CardFacts, Fairness, FairnessVerdict, Measurement, Slice
from models.card.standing import is_missed
from models.card.words import (
    NOT_ENOUGH,
    between,
    counted,
    estimated,
    percent,
    pounds,
    share_word,
    slice_value,
    times,
)

_SEGMENT_TITLES: Final = {"channel": "By channel", "amount": "By amount in pounds"}


def quality(facts: CardFacts) -> Iterator[Block]:
    found = facts.measurement
    if found is not None:
        overall = found.overall
        yield Paragraph(
            [
                f"On {overall.payments:,} payments that are later than all that it learned from, {overall.frauds:,} of "
                f"them frauds; blocked from a probability of {share_word(found.block_at_ppm)} on. Shares have 95 % "
                f"intervals by Wilson, average precision by {found.resamples} bootstrap resamples."
            ]
        )
        yield Table(("measure", "value"), [[[name], [value]] for name, value in overall_figures(found)])
    else:
        yield Paragraph(
            ["Nothing was measured for this card: only the manifest's figures are known, without intervals."]
        )
    if facts.metrics:
        yield Subheading("The manifest's figures")
        rows: list[list[Sequence[Inline]]] = [
            [[Code(name)], [shown_metric(name, value)]] for name, value in sorted(facts.metrics.items())
        ]
        yield Table(("figure", "value"), rows, (1,))
    yield Paragraph(
        [
            "Why these measures: fraud is rare, so accuracy would be high for a model that finds none. Average "
            "precision judges the ranking where the frauds are; the share of fraud caught and of honest payments "
            "stopped judge the decision, by number and by money, and calibration judges whether the probability that a "
            "policy compares with a threshold means what it says."
        ]
    )


def overall_figures(found: Measurement) -> list[tuple[str, str]]:
    overall = found.overall
    return [
        ("average precision", estimated(overall.average_precision)),
        ("frauds blocked", counted(overall.caught)),
        (
            "value of fraud blocked",
            f"{pounds(overall.caught_minor)} of {pounds(overall.fraud_minor)}, "
            f"{share(overall.caught_minor, overall.fraud_minor)}",
        ),
        ("honest payments blocked", counted(overall.stopped)),
        ("value of honest payments blocked", pounds(overall.stopped_minor)),
        ("frauds among the blocked", counted(overall.precise)),
        ("payments blocked", counted(overall.blocked)),
    ]


def segments(found: Measurement | None) -> Iterator[Block]:
    if found is None:
        yield Paragraph(["Not measured, so not known."])
        return
    names = dict.fromkeys(each.segment for each in found.slices)
    yield Paragraph(
        [
            "Blocked and stopped at the same threshold as above. Average precision needs 20 frauds. A segment is shown "
            "where the history's payments carry it: "
            + ("this one declares none." if not set(names) - set(_SEGMENT_TITLES) else "these are all that there are.")
        ]
    )
    overall = found.overall.caught
    for name in names:
        parts = [each for each in found.slices if each.segment == name]
        yield Subheading(_SEGMENT_TITLES.get(name, f"By {name}"))
        dots = [
            Dot(slice_value(each.value), each.caught.ppm, each.caught.low_ppm, each.caught.high_ppm,
                is_missed(each, found)) for each in parts
        ]  # fmt: skip
        title = f"Share of frauds blocked by {name}, with 95 % intervals"
        svg = measure_plots.intervals(title, dots, overall.ppm, f"overall {percent(overall.ppm)}")
        yield Figure(f"caught by {name}", title, svg)
        yield _slices_table(name, parts)


def _slices_table(name: str, parts: Sequence[Slice]) -> Table:
    head = (
        name,
        "payments",
        "frauds",
        "frauds blocked",
        "value of fraud blocked",
        "honest blocked",
        "average precision",
    )
    return Table(
        head,
        [
            [
                [slice_value(each.value)],
                [f"{each.payments:,}"],
                [f"{each.frauds:,}"],
                [between(each.caught)],
                [f"{pounds(each.caught_minor)} of {pounds(each.fraud_minor)}"],
                [between(each.stopped)],
                [estimated(each.average_precision)],
            ]
            for each in parts
        ],
        (1, 2),
    )


def thresholds(found: Measurement | None) -> Iterator[Block]:
    if found is None:
        yield Paragraph(["Not measured, so not known."])
        return
    yield Paragraph(
        [
            f"Fraud caught against honest payments stopped, on the measured payments, by the probability from which "
            f"the model would block. {share_word(found.block_at_ppm)} is in force."
        ]
    )
    svg = measure_plots.trade_off(found.thresholds, found.overall.fraud_minor, found.block_at_ppm)
    yield Figure("trade-off", "Fraud value caught against honest value stopped", svg)
    head = (
        "blocked from",
        "frauds caught",
        "value of fraud caught",
        "share of it",
        "honest stopped",
        "value of honest stopped",
    )
    rows = [
        [
            [share_word(each.at_ppm)],
            [f"{each.caught.part:,} ({percent(each.caught.ppm)})"],
            [pounds(each.caught_minor)],
            [share(each.caught_minor, found.overall.fraud_minor)],
            [f"{each.stopped.part:,} ({percent(each.stopped.ppm)})"],
            [pounds(each.stopped_minor)],
        ]
        for each in found.thresholds
    ]
    yield Table(head, rows, (0, 1, 2, 3, 4, 5))


def calibration(found: Measurement | None) -> Iterator[Block]:
    if found is None:
        yield Paragraph(["Not measured, so not known."])
        return
    yield Paragraph(
        [
            "Where the interval of what was fraud holds the mean probability that the model said, nothing speaks "
            "against the probability. A bin without payments says nothing."
        ]
    )
    svg = measure_plots.reliability(found.reliability)
    yield Figure("calibration", "Probability that was said against the share of fraud that was found", svg)
    rows = []
    for each in found.reliability:
        low, high = each.observed.low_ppm, each.observed.high_ppm
        is_held = low is not None and high is not None and each.mean_ppm is not None and low <= each.mean_ppm <= high
        rows.append(
            [
                [f"{share_word(each.from_ppm)} to {share_word(each.below_ppm)}"],
                [f"{each.payments:,}"],
                [percent(each.mean_ppm) if each.payments else "none"],
                [counted(each.observed)],
                ["" if not each.payments else "yes" if is_held else "no"],
            ]
        )
    yield Table(("probability", "payments", "mean said", "share that was fraud", "holds"), rows, (1, 2))


def fairness(found: Measurement | None) -> Iterator[Block]:
    if found is None or not found.fairness:
        reason = "no payment of the history declares a segment" if found else "nothing was measured for this card"
        yield Paragraph([f"Not known: {reason}. Before use, measure it on payments that declare their segments."])
        return
    floor = times(found.fairness_floor_ppm)
    yield Paragraph(
        [
            "An honest payment that is blocked is the harm. The ratio is the false-positive rate of all others over "
            f"that of the group: below 1 the group is stopped more often, and the floor is {floor}. Intervals are "
            "corrected for the number of groups. A verdict is given only where the whole interval lies on one side "
            f"of the floor; “{NOT_ENOUGH}” is an answer."
        ]
    )
    for each in found.fairness:
        yield Subheading(f"By {each.segment}: {each.verdict}")
        yield from _fairness_of(each, found.fairness_floor_ppm)


def _fairness_of(fairness: Fairness, floor_ppm: int) -> Iterator[Block]:
    dots = [
        Dot(group.value, group.ratio_ppm, group.ratio_low_ppm, group.ratio_high_ppm,
            group.verdict is FairnessVerdict.BELOW) for group in fairness.groups
    ]  # fmt: skip
    title = f"Ratio of false-positive rates by {fairness.segment}"
    svg = measure_plots.intervals(title, dots, floor_ppm, f"floor {times(floor_ppm)}", is_ratio=True)
    yield Figure(f"fairness by {fairness.segment}", title, svg)
    rows = [
        [
            [group.value],
            [counted(group.outcome)],
            [counted(group.false_positive)],
            [_ratio(group.ratio_ppm, group.ratio_low_ppm, group.ratio_high_ppm)],
            [str(group.verdict)],
        ]
        for group in fairness.groups
    ]
    yield Table((fairness.segment, "blocked", "honest blocked", "ratio", "verdict"), rows)
    least = times(fairness.least_over_greatest_ppm)
    yield Paragraph([f"The lowest false-positive rate over the highest: {least}, as counted, whatever chance did."])


def _ratio(ppm: int | None, low_ppm: int | None, high_ppm: int | None) -> str:
    return NOT_ENOUGH if ppm is None else f"{times(ppm)} ({times(low_ppm)} to {times(high_ppm)})"
