"""The places where the model fails: known by what was measured, and said in sentences that name the figure."""

from __future__ import annotations

from collections.abc import Iterator

from models.card.content.blocks import Block, Listing, Paragraph, Subheading, Table
from models.card.content.texts import share
from models.card.facts import CardFacts, FairnessVerdict, FraudKind, Measurement
from models.card.standing import CHECK_KINDS, is_kind_missed, is_missed, is_stopped_more, newest_checks
from models.card.words import between, percent, pounds, share_word, slice_value


def failures(facts: CardFacts) -> Iterator[Block]:
    """Yield what was found, then the fraud kinds' table, then what its maker says of its limits."""
    yield Listing([[sentence] for sentence in failure_sentences(facts)])
    if (found := facts.measurement) is not None:
        yield from _kinds(found)
    yield Subheading("What its maker says of its limits")
    yield Paragraph([facts.limits])
    yield Paragraph(
        [
            "A value that isn't known has an entry of its own in each table, which is 0 where the training had no such "
            "case. New schemes and drift are what monitoring, the circuit breaker and the fallback rules are for."
        ]
    )


def failure_sentences(facts: CardFacts) -> list[str]:
    """Return what is known to go wrong, in order: money missed, kinds, segments, probability, groups, checks."""
    found = facts.measurement
    if found is None:
        return ["Its failures aren't known: nothing was measured for this card.", *_of_checks(facts)]
    return [
        *_money_missed(found),
        *(_kind_sentence(kind) for kind in found.kinds if is_kind_missed(kind, found)),
        *_of_segments(found),
        *_of_calibration(found),
        *_of_fairness(found),
        *_of_checks(facts),
    ]


def _money_missed(found: Measurement) -> Iterator[str]:
    overall = found.overall
    missed, frauds = overall.fraud_minor - overall.caught_minor, overall.caught.whole - overall.caught.part
    yield (
        f"Blocking from {share_word(found.block_at_ppm)} on, it lets {frauds:,} of {overall.frauds:,} frauds pass, "
        f"worth {pounds(missed)} ({share(missed, overall.fraud_minor)} of the value of fraud), unless a guardrail or a "
        "person stops them."
    )


def _kind_sentence(kind: FraudKind) -> str:
    return (
        f"It misses more of {kind.kind} than of other frauds, or most of it: it blocks {between(kind.caught)} of "
        f"{kind.frauds:,}, and {pounds(kind.fraud_minor - kind.caught_minor)} of them pass."
    )


def _of_segments(found: Measurement) -> Iterator[str]:
    for part in found.slices:
        place = f"{part.segment} {slice_value(part.value)}"
        if is_missed(part, found):
            yield f"It finds less fraud where {place}: it blocks {between(part.caught)} of {part.frauds:,} frauds."
        if is_stopped_more(part, found):
            yield f"It stops more honest payments where {place}: {between(part.stopped)} of them."


def _of_calibration(found: Measurement) -> Iterator[str]:
    for each in found.reliability:
        low, high, mean = each.observed.low_ppm, each.observed.high_ppm, each.mean_ppm
        if low is None or high is None or mean is None or low <= mean <= high:
            continue
        way = "too low" if mean < low else "too high"
        yield (
            f"Its probability is {way} between {share_word(each.from_ppm)} and {share_word(each.below_ppm)}: it says "
            f"{percent(mean)} on average, and {between(each.observed)} were fraud."
        )


def _of_fairness(found: Measurement) -> Iterator[str]:
    for fairness in found.fairness:
        for group in fairness.groups:
            if group.verdict is FairnessVerdict.BELOW:
                yield (
                    f"It stops honest payments of {fairness.segment} {group.value} more often than the floor allows: "
                    f"{between(group.false_positive)}."
                )


def _of_checks(facts: CardFacts) -> Iterator[str]:
    newest = newest_checks(facts)
    for kind, check in sorted(newest.items()):
        if not check.passed:
            yield f"The check {kind} failed: {'; '.join(check.findings) or 'its evidence gives no reason'}."
    missing = [kind for kind in CHECK_KINDS if kind not in newest]
    if facts.checks is None:
        yield "What attacks, bias monitoring and shadow running find isn't known to this card."
    elif missing:
        yield f"Nothing is known of these checks: {', '.join(missing)}."


def _kinds(found: Measurement) -> Iterator[Block]:
    yield Subheading("By kind of fraud")
    if not found.kinds:
        yield Paragraph(["The history doesn't say of what kind a fraud was, so which kinds it misses isn't known."])
        return
    rows = [
        [
            [kind.kind or "(not said)"],
            [f"{kind.frauds:,}"],
            [between(kind.caught)],
            [f"{pounds(kind.caught_minor)} of {pounds(kind.fraud_minor)}"],
            [between(kind.alerted)],
        ]
        for kind in found.kinds
    ]
    alerted = f"among the top {found.alerted_per_mille} per mille"
    yield Table(("kind", "frauds", "blocked", "value blocked", alerted), rows, (1,))
