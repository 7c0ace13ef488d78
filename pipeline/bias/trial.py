"""What a gate is told of a version: from what it answered beside the champion, or from what it decided itself.

Invariants
1. A version passes only where something could be judged, of the policy's declared segments where there are any, and
   nothing fares worse: what is not known is not fair. A segment may be too small in every sample; the policy's own
   minimum says so, and the figures say which were judged.
2. Beside the champion the two are compared on the same payments, so that honest differences between segments cancel: in
   no segment may the challenger stop more often than the champion by more than the policy lets pass, nor more falsely
   than it stops the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from models.artefact.strict import Json
from pipeline.bias.assessing import Assessment, Row, Verdict, exposed
from pipeline.bias.counting import is_of_customers
from pipeline.bias.settings import BiasSettings
from pipeline.bias.smallest import Sample, ratio_interval
from pipeline.bias.watching import MEASURES, Measure

FINDINGS_MAX = 200


class Trial(NamedTuple):
    passed: bool
    findings: tuple[str, ...]
    figures: Mapping[str, Json]


def judged_alone(assessment: Assessment, open_gaps: Sequence[str]) -> Trial:
    """Judge what a version decided itself. open_gaps: what the monitor has told and not called off."""
    gaps = assessment.gaps(Measure.FALSE_STOP)
    findings = [
        f"{each.scope} is stopped though honest at least {each.ratio_low:.2f} times as often as the rest"
        for each in gaps
    ]
    findings += [f"a gap is open: {gap}" for gap in open_gaps]
    judged = {
        each.scope
        for each in assessment.findings
        if each.measure is Measure.FALSE_STOP and each.verdict is not Verdict.NOT_ENOUGH_DATA
    }
    if not judged:
        findings.append("nothing could be judged: no segment has enough payments, or too few are known as honest")
    else:
        findings += _segments_unseen([each.scope for each in assessment.findings], judged)
    return _trial(findings, _figures(assessment))


def judged_beside(
    challenger: Mapping[str, Row],
    champion: Mapping[str, Row],
    assessment: Assessment,
    scopes: Sequence[str],
    settings: BiasSettings,
) -> Trial:
    """Judge a challenger on the payments that both answered. assessment: of the challenger's answers."""
    risk = settings.year_risk_percent / 100 / max(len(scopes) * MEASURES, 1)
    allowed = 100 / settings.ratio_floor_percent
    findings = []
    compared = set[str]()
    for scope in scopes:
        mine, its = challenger.get(scope), champion.get(scope)
        if mine is None or its is None or mine[0] < settings.minimum_sample:
            continue
        compared.add(scope)
        for measure in (Measure.BLOCK, Measure.ESCALATE, Measure.STOP):
            payments, events = exposed(mine, measure)
            _, usual = exposed(its, measure)
            low, _ = ratio_interval(Sample(payments, events, payments, usual), risk)
            if low > allowed:
                findings.append(
                    f"{scope} would meet {measure.name} at least {low:.2f} times as often as under the champion"
                )
    findings += [
        f"{each.scope} would be stopped though honest at least {each.ratio_low:.2f} times as often as the rest"
        for each in assessment.gaps(Measure.FALSE_STOP)
    ]
    if not compared:
        findings.append("nothing could be judged: no segment has enough payments that both answered")
    else:
        findings += _segments_unseen(scopes, compared)
    return _trial(findings, {**_figures(assessment), "segments_compared": len(compared)})


def _segments_unseen(scopes: Iterable[str], judged: Collection[str]) -> list[str]:
    """Return a finding where channels alone could be judged: of customers' segments nothing is known then."""
    declared = {scope for scope in scopes if is_of_customers(scope)}
    if not declared or not declared.isdisjoint(judged):
        return []
    return ["only channels could be judged: no segment that the policy declares has enough payments"]


def _trial(findings: Sequence[str], figures: Mapping[str, Json]) -> Trial:
    said = tuple(findings[:FINDINGS_MAX])
    if len(findings) > FINDINGS_MAX:
        said = (*said, f"and {len(findings) - FINDINGS_MAX} more")
    return Trial(not findings, said, figures)


def _figures(assessment: Assessment) -> dict[str, Json]:
    segments: list[Json] = [
        {
            "scope": each.scope,
            "measure": each.measure.name,
            "verdict": str(each.verdict),
            "payments": each.payments,
            "events": each.events,
            "rate_ppm": each.rate_ppm,
            "rest_rate_ppm": each.rest_rate_ppm,
            "ratio_low_milli": int(each.ratio_low * 1000),
            "ratio_high_milli": int(each.ratio_high * 1000),
            "smallest_ratio_milli": int(each.smallest_ratio * 1000),
        }
        for each in assessment.findings
        if each.payments
    ]
    return {
        "payments": assessment.payments,
        "stopped": assessment.stopped,
        "false_stops": assessment.false_stops,
        "known_honest": assessment.known_honest,
        "known_frauds": assessment.known_frauds,
        "judged": assessment.judged,
        "segments": segments,
    }
