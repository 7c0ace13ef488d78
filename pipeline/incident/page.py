"""The report on an incident as one HTML page: nothing is loaded from elsewhere, and it prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pipeline.domain.alert import IncidentKind
from pipeline.domain.money import money_text, pounds_text
from pipeline.domain.times import utc_text
from pipeline.incident.dora import REGULATION, Answer, Class, Finding
from pipeline.incident.incidents import Incident, IncidentState, Moment, timeline
from pipeline.incident.radius import Affected, Radius
from pipeline.incident.whole import Whole, cause_of, conditions_in, counts_of
from pipeline.web.html import badge, cards, document, escape, table

MOMENTS_MAX: Final = 1_000
"""Alerts, and as many moments of the breaker, that a browser still scrolls well; the JSON report has all that were
read. What people did is never left out: it is what the report is asked for."""
_STYLE: Final = """
<style>
.badge.OPEN, .badge.MAJOR, .badge.MET { background: var(--stop) }
.badge.ACKNOWLEDGED, .badge.UNDECIDED, .badge.NOT_KNOWN { background: var(--wait) }
.badge.RESOLVED, .badge.NOT_MAJOR, .badge.NOT_MET { background: var(--go) }
.moments td:nth-child(1), .moments td:nth-child(2) { font-variant-numeric: tabular-nums; white-space: nowrap }
.criteria td:nth-child(1) { width: 11rem }
.criteria ul { margin: .2rem 0; padding-left: 1.1rem }
</style>
"""


def page(whole: Whole) -> str:
    return document(f"Incident {whole.incident.incident_id}", _body(whole))


def _body(whole: Whole) -> Iterator[str]:
    incident, classification = whole.incident, whole.classification
    yield _STYLE
    yield f"<h1>Incident {badge(str(incident.state))} {badge(str(classification.major))}</h1>"
    yield f"<p>{escape(cause_of(incident))}</p>"
    known = f"as known at {utc_text(whole.read_at_ms)}. All times are UTC."
    yield f"<p class=soft><code>{escape(incident.incident_id)}</code>, {known}</p>"
    yield _cards(whole)
    yield "<h2>What it is</h2><div class=pairs>" + table(["", ""], _facts(incident)) + "</div>"
    yield "<h2>Blast radius so far</h2>" + "".join(_radius(whole.radius, incident))
    yield "<h2>Classification under DORA</h2>" + "".join(_classification(whole))
    yield "<h2>Timeline</h2>" + "".join(_timeline(incident))
    yield "<h2>What to do with what was decided</h2>" + _rollback(incident)


def _cards(whole: Whole) -> str:
    radius = whole.radius
    amounts: dict[str, int] = {}
    for share in radius.shares:
        amounts[share.currency] = amounts.get(share.currency, 0) + share.amount_minor
    hours = (whole.incident.resolved.at_ms if whole.incident.resolved else whole.read_at_ms) - whole.incident.first_ms
    return cards(
        {
            "decisions affected": f"{radius.decisions:,}",
            "customers": f"{radius.customers:,}",
            "amount": _amounts(amounts) or "none",
            "since the first alert": f"{max(hours, 0) / 3_600_000:.1f} h",
            "alerts": f"{sum(group.raised for group in whole.incident.groups):,}",
        }.items()
    )


def _facts(incident: Incident) -> Iterator[list[str]]:
    yield ["Kind", escape(incident.kind)]
    states = (f"{escape(scope)}: {escape(incident.state_of(scope))}" for scope in incident.scopes)
    is_of_model = incident.is_of_breaker
    yield ["Scopes, and the breaker there", "<br>".join(states)] if is_of_model else ["Scopes", _scopes(incident)]
    yield ["First alert", utc_text(incident.first_ms)]
    yield ["Decisions are suspect from", utc_text(incident.suspect_ms)]
    if counts := counts_of(incident):
        yield ["Counts that caused it", escape(", ".join(f"{name} {count:,}" for name, count in counts.items()))]
    for condition in conditions_in(incident):
        said = ", ".join(f"{name} {value}" for name, value in condition.items() if name != "condition")
        yield [f"Condition {escape(condition.get('condition', ''))}", escape(said)]
    raised = (f"{escape(group.code)}: {group.raised:,}" for group in incident.groups)
    yield ["Alerts", "<br>".join(raised)]
    acknowledged, resolved = incident.acknowledged, incident.resolved
    yield ["Acknowledged", "not yet" if acknowledged is None else _who(acknowledged.actor, acknowledged.at_ms)]
    yield ["Resolved", "not yet" if resolved is None else _who(resolved.actor, resolved.at_ms)]
    if incident.unproved:
        said = f"Events that are not proved to be their authors', and count as nothing: {len(incident.unproved)}."
        yield ["Not proved", f'<span class="bad">{said}</span>']


def _radius(radius: Radius, incident: Incident) -> Iterator[str]:
    if radius.groups:
        routes = _ROUTES_OF_BREAKER if incident.is_of_breaker else _ROUTES
        amounts: dict[tuple[str, str], dict[str, int]] = {}
        for share in radius.shares:
            amounts.setdefault((share.route, share.outcome), {})[share.currency] = share.amount_minor
        rows = [
            [routes.get(each.route, escape(each.route)), _outcome(each.outcome),
             f"{each.decisions:,}", f"{each.customers:,}", _amounts(amounts[each.route, each.outcome])]
            for each in radius.groups
        ]  # fmt: skip
        yield table(["Answered by", "Outcome", "Decisions", "Customers", "Amount"], rows, numbers=(2, 3, 4))
    yield "<div class=pairs>" + table(["", ""], _radius_facts(radius)) + "</div>"
    for sentence in radius.left_out:
        yield f'<p class="bad">{escape(sentence)}</p>'


def _radius_facts(radius: Radius) -> Iterator[list[str]]:
    yield ["First decision", _affected(radius.first)]
    yield ["Last decision", _affected(radius.last)]
    unknown = f"; decisions of no known worth: {radius.worth_unknown:,}" if radius.worth_unknown else ""
    yield ["Worth", f"{pounds_text(radius.worth_gbp_minor)}{unknown}"]
    countries = ", ".join(f"{escape(name)} {count:,}" for name, count in sorted(radius.countries.items()))
    yield ["Beneficiaries' countries", countries or "none"]
    read = ", ".join(f"partition {partition} to {offset:,}" for partition, offset in radius.audited_until.items())
    yield ["The audit log was read until", read or '<span class="bad">nothing is audited yet</span>']


def _classification(whole: Whole) -> Iterator[str]:
    classification = whole.classification
    yield f"<p>By {REGULATION}, Article 8: {badge(str(classification.major))} {escape(classification.why)}.</p>"
    if classification.major is Class.UNDECIDED:
        yield '<p class="bad">A person must answer what is open before it is known whether this must be reported.</p>'
    rows = [_criterion(each) for each in classification.findings]
    yield (
        '<div class="criteria lines">'
        + table(["Criterion", "Answer", "What is known", "Left to a person"], rows)
        + "</div>"
    )
    if classification.recurring:
        others = ", ".join(f"<code>{escape(other)}</code>" for other in classification.recurring)
        yield (
            f"<p>Incidents of this kind in its scopes in the 6 months before, which count together where they have one "
            f"root cause (Article 8(2)): {others}.</p>"
        )


def _criterion(finding: Finding) -> list[str]:
    left = "".join(f"<li>{escape(each)}</li>" for each in finding.open)
    word = finding.word
    said = "" if word is None else f"<p>{_who(word.by, word.at_ms)}: {escape(word.answer)}. {escape(word.text)}</p>"
    name = escape(str(finding.criterion).replace("_", " ").capitalize())
    none_left = "" if finding.answer is not Answer.NOT_KNOWN else "the answer"
    return [
        f"{name}<br><span class=soft>{escape(finding.article)}</span>",
        badge(str(finding.answer)),
        escape(finding.known),
        (f"<ul>{left}</ul>" if left else none_left) + said,
    ]


def _timeline(incident: Incident) -> Iterator[str]:
    moments = timeline(incident)
    told = list(_told(moments))
    if len(told) < len(moments):
        yield (
            f"<p class=soft>{len(moments) - len(told):,} of {len(moments):,} moments are not listed: of alerts, and of "
            f"the breaker, the first {MOMENTS_MAX:,} each are. What people did is listed whole.</p>"
        )
    unread = sum(group.raised for group in incident.groups) - len(incident.alerts)
    if unread > 0:
        yield f"<p class=soft>{unread:,} further alerts are counted above and not listed.</p>"
    rows = [
        [utc_text(each.at_ms), badge(each.source), escape(each.what), escape(each.who), escape(each.text)]
        for each in told
    ]
    yield (
        '<div class="lines moments">' + table(["When", "Told by", "What", "Who or where", "In words"], rows) + "</div>"
    )


def _told(moments: Iterable[Moment]) -> Iterator[Moment]:
    """Those that the page lists, in their order. A flood of alerts hides nobody's act."""
    listed: Counter[str] = Counter()
    for moment in moments:
        listed[moment.source] += 1
        if moment.source not in ("ALERT", "BREAKER") or listed[moment.source] <= MOMENTS_MAX:
            yield moment


def _rollback(incident: Incident) -> str:
    if incident.kind != IncidentKind.MODEL:
        return "<p>The alerts' runbooks say what to do; no plan of a rollback follows from this incident by itself.</p>"
    words = "" if incident.state is IncidentState.RESOLVED else " It changes nothing until another person applies it."
    command = f"fraud rollback plan --incident {incident.incident_id} --good-model VERSION --reason TEXT"
    return f"<p>To plan what to reverse: <code>{escape(command)}</code>.{words}</p>"


_ROUTES: Final[Mapping[str, str]] = {
    "MODEL": "the model",
    "FALLBACK": "the fallback rules, in the model's place",
    "GUARDRAIL": "a guardrail",
}
_ROUTES_OF_BREAKER: Final = {**_ROUTES, "MODEL": "the model, before it was taken out or on probation"}


def _outcome(outcome: str) -> str:
    return f'<span class="{escape(outcome)}">{escape(outcome)}</span>'


def _scopes(incident: Incident) -> str:
    return "<br>".join(escape(scope) for scope in incident.scopes)


def _affected(affected: Affected | None) -> str:
    if affected is None:
        return "none"
    place = f"decisions.v1[{affected.partition}] at {affected.offset:,}"
    return f"{utc_text(affected.at_ms)}, <code>{escape(affected.decision_id)}</code>, {place}"


def _amounts(amounts: Mapping[str, int]) -> str:
    return ", ".join(money_text(minor, currency) for currency, minor in sorted(amounts.items()))


def _who(name: str, at_ms: int) -> str:
    return f"{escape(name)}, {utc_text(at_ms)}"
