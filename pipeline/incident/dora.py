"""Classification of an incident by DORA: Commission Delegated Regulation (EU) 2024/1772 (OJ L, 2024/1772, 25.6.2024).

It supplements Article 18 of Regulation (EU) 2022/2554. The articles, as they are applied here, each compared, on
2026-11-29, with what others have transcribed of the Official Journal, and not with the Journal itself:

- Article 8(1): an incident is major where it has affected critical services (Article 6) and either (a) the threshold of
  Article 9(5)(b) is met, or (b) two or more of the other thresholds of Article 9(1) to (6) are.
- Article 8(2): incidents that recur, at least twice within 6 months with the same apparent root cause, count together
  where they are major together; looked at monthly, and not by microenterprises.
- Article 9(1), clients, financial counterparts and transactions: any of (a) more than 10 % of all clients that use the
  service, (b) more than 100,000 clients, (c) more than 30 % of the financial counterparts, (d) transactions above 10 %
  of the daily average number, (e) an amount above 10 % of the daily average value, (f) clients or counterparts that
  were identified as relevant (Article 1(3)).
- Article 9(2), reputational impact: any of Article 2(a) to (d): media, repeated complaints, regulatory requirements
  that can't be met, clients or counterparts lost; or where the last two are likely.
- Article 9(3), duration and downtime: (a) longer than 24 hours, or (b) downtime longer than 2 hours of services that
  support critical or important functions. Article 3: from when it occurs until it is resolved; from its detection where
  that isn't known, or from when logs show it to have begun before.
- Article 9(4), geographical spread: an impact in two or more Member States (Article 4).
- Article 9(5), data losses: (a) an impact on availability, authenticity, integrity or confidentiality of data
  (Article 5) that harms business objectives or regulatory requirements; (b) a successful, malicious and unauthorised
  access to network and information systems, not covered by (a), that may lead to data losses.
- Article 9(6), economic impact: costs and losses above, or likely to be above, 100,000 euro (Article 7, which
  leaves out what is recovered, and what the business costs anyway).

Invariants
1. What isn't known is NOT_KNOWN, never NOT_MET, and says what a person must find out.
2. A threshold that the system's own figures meet is met, whatever a person answers.
3. Only what is known to be not met, or what a person answered, makes an incident not major.

This is not legal advice: whoever reports reads the regulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.alert import IncidentKind
from pipeline.domain.money import pounds_text
from pipeline.incident.incidents import EventKind, Incident
from pipeline.incident.radius import Radius

REGULATION: Final = "Commission Delegated Regulation (EU) 2024/1772"
CLIENTS_MAX: Final = 100_000
CLIENTS_PERCENT_MAX: Final = 10
TRANSACTIONS_PERCENT_MAX: Final = 10
HOUR_MS: Final = 3_600_000
DURATION_HOURS_MAX: Final = 24
DAY_MS: Final = 24 * HOUR_MS
THRESHOLDS_OF_MAJOR: Final = 2


class Answer(StrEnum):
    MET = "MET"
    NOT_MET = "NOT_MET"
    NOT_KNOWN = "NOT_KNOWN"


class Criterion(StrEnum):
    """In the regulation's order; Article 6 first, because nothing is major without it."""

    CRITICAL_SERVICES = "CRITICAL_SERVICES"
    CLIENTS = "CLIENTS"
    REPUTATION = "REPUTATION"
    DURATION = "DURATION"
    GEOGRAPHY = "GEOGRAPHY"
    DATA_LOSSES = "DATA_LOSSES"
    MALICIOUS_ACCESS = "MALICIOUS_ACCESS"
    ECONOMIC = "ECONOMIC"


ARTICLES: Final[Mapping[Criterion, str]] = {
    Criterion.CRITICAL_SERVICES: "Article 6",
    Criterion.CLIENTS: "Article 9(1)",
    Criterion.REPUTATION: "Article 9(2)",
    Criterion.DURATION: "Article 9(3)",
    Criterion.GEOGRAPHY: "Article 9(4)",
    Criterion.DATA_LOSSES: "Article 9(5)(a)",
    Criterion.MALICIOUS_ACCESS: "Article 9(5)(b)",
    Criterion.ECONOMIC: "Article 9(6)",
}
_COUNTED: Final = tuple(
    each for each in Criterion if each not in (Criterion.CRITICAL_SERVICES, Criterion.MALICIOUS_ACCESS)
)
"""The criteria of Article 8(1)(b)."""


class Word(NamedTuple):
    """A person's answer to a criterion, as they signed it."""

    answer: Answer
    by: str
    at_ms: int
    text: str


class Finding(NamedTuple):
    """What is known of one criterion.

    known: a sentence on what the system knows. open: what a person must find out; empty where nothing is left. word:
    the latest answer of a person.
    """

    criterion: Criterion
    article: str
    answer: Answer
    known: str
    open: Sequence[str]
    word: Word | None


class Class(StrEnum):
    MAJOR = "MAJOR"
    UNDECIDED = "UNDECIDED"  # what a person is yet to answer may make it major
    NOT_MAJOR = "NOT_MAJOR"


class Classification(NamedTuple):
    """recurring: ids of incidents of the same kind and scope within the 6 months before (Article 8(2))."""

    major: Class
    why: str
    findings: Sequence[Finding]
    recurring: Sequence[str]


class _Known(NamedTuple):
    answer: Answer
    known: str
    open: tuple[str, ...] = ()


def classify(incident: Incident, radius: Radius, recurring: Sequence[str], now_ms: int) -> Classification:
    words = _words(incident)
    known = {
        Criterion.CRITICAL_SERVICES: _critical(),
        Criterion.CLIENTS: _clients(radius),
        Criterion.REPUTATION: _reputation(),
        Criterion.DURATION: _duration(incident, now_ms),
        Criterion.GEOGRAPHY: _geography(radius),
        Criterion.DATA_LOSSES: _data_losses(incident),
        Criterion.MALICIOUS_ACCESS: _malicious_access(incident),
        Criterion.ECONOMIC: _economic(radius),
    }
    findings = [_finding(criterion, known[criterion], words.get(criterion)) for criterion in Criterion]
    major, why = _class_of({finding.criterion: finding.answer for finding in findings})
    return Classification(major, why, findings, recurring)


def _class_of(answers: Mapping[Criterion, Answer]) -> tuple[Class, str]:
    """Article 8(1)."""
    met = [each for each in _COUNTED if answers[each] is Answer.MET]
    unknown = [each for each in _COUNTED if answers[each] is Answer.NOT_KNOWN]
    access, critical = answers[Criterion.MALICIOUS_ACCESS], answers[Criterion.CRITICAL_SERVICES]
    if critical is Answer.NOT_MET:
        return Class.NOT_MAJOR, "no critical service was affected"
    if access is Answer.MET or len(met) >= THRESHOLDS_OF_MAJOR:
        why = _named([Criterion.MALICIOUS_ACCESS] if access is Answer.MET else met)
        if critical is Answer.MET:
            return Class.MAJOR, f"a critical service was affected, and met: {why}"
        return Class.UNDECIDED, f"met: {why}; whether a critical service was affected is yet to be answered"
    if access is Answer.NOT_KNOWN or len(met) + len(unknown) >= THRESHOLDS_OF_MAJOR:
        missing = [*unknown, *([Criterion.MALICIOUS_ACCESS] if access is Answer.NOT_KNOWN else [])]
        return Class.UNDECIDED, f"met: {_named(met)}; yet to be answered: {_named(missing)}"
    return Class.NOT_MAJOR, f"met: {_named(met)}, of two that a major incident meets"


def _finding(criterion: Criterion, known: _Known, word: Word | None) -> Finding:
    """A person answers what is not known, and may find more than the system does, but never less. Whether a service
    is critical is no figure of the system's, so there the person is right."""
    answer, still_open = known.answer, known.open
    if word is not None and (answer is not Answer.MET or criterion is Criterion.CRITICAL_SERVICES):
        answer, still_open = word.answer, ()
    return Finding(criterion, ARTICLES[criterion], answer, known.known, still_open, word)


def _words(incident: Incident) -> dict[Criterion, Word]:
    """The latest answer to each criterion."""
    found = {}
    for event in incident.events:
        if event.kind is EventKind.NOTED and event.criterion in set(Criterion) and event.answer in set(Answer):
            found[Criterion(event.criterion)] = Word(Answer(event.answer), event.actor, event.at_ms, event.text)
    return found


def _critical() -> _Known:
    # Article 6 speaks of services that support critical or important functions, of financial services that need
    # authorisation, and of a malicious access; whether the payments decided here are among them is the entity's own
    # register of functions to say.
    return _Known(
        Answer.MET,
        "The pipeline decides payments, which is taken for a critical service.",
    )


def _clients(radius: Radius) -> _Known:
    usual, said = radius.usual, [f"{radius.customers:,} paying customers and {radius.decisions:,} payments affected"]
    is_met = radius.customers > CLIENTS_MAX
    missing = ["how many financial counterparts (c), and whether any that is relevant (f), were affected"]
    if usual is None or not usual.decisions:
        missing.append("the daily average of payments: the audit log has less than a day before the incident")
    else:
        days_ms = usual.until_ms - usual.since_ms
        said.append(_shares(radius, usual.customers, usual.decisions, usual.amount_gbp_minor, days_ms))
        # Integers throughout: affected / (usual / days) > 10 %  <=>  affected * days * 100 > usual * 10.
        is_met |= radius.customers * 100 > usual.customers * CLIENTS_PERCENT_MAX
        is_met |= radius.decisions * days_ms * 100 > usual.decisions * DAY_MS * TRANSACTIONS_PERCENT_MAX
        is_met |= radius.worth_gbp_minor * days_ms * 100 > usual.amount_gbp_minor * DAY_MS * TRANSACTIONS_PERCENT_MAX
    if radius.worth_unknown:
        missing.append(
            f"the worth of payments in currencies that the policy has no rate for ({radius.worth_unknown:,})"
        )
    missing += radius.left_out
    return _Known(Answer.MET if is_met else Answer.NOT_KNOWN, "; ".join(said) + ".", tuple(missing))


def _shares(radius: Radius, customers: int, decisions: int, worth: int, days_ms: int) -> str:
    return (
        f"{_percent(radius.customers, customers)} of the {customers:,} customers"
        f" of the {days_ms / DAY_MS:.0f} days before, "
        f"{_percent(radius.decisions * days_ms, decisions * DAY_MS)} of a day's usual payments, "
        f"{_percent(radius.worth_gbp_minor * days_ms, worth * DAY_MS)} of their usual worth "
        f"({pounds_text(radius.worth_gbp_minor)})"
    )


def _reputation() -> _Known:
    return _Known(
        Answer.NOT_KNOWN,
        "Nothing of this is known to the pipeline.",
        ("whether media, complaints, regulators or lost clients show a reputational impact (Article 2)",),
    )


def _duration(incident: Incident, now_ms: int) -> _Known:
    end_ms = now_ms if incident.resolved is None else incident.resolved.at_ms
    hours = max(end_ms - incident.suspect_ms, 0) / HOUR_MS
    so_far = "" if incident.resolved is not None else " so far"
    known = f"{hours:.1f} hours{so_far}, from the first decision that is suspect."
    if end_ms - incident.suspect_ms > DURATION_HOURS_MAX * HOUR_MS:
        return _Known(Answer.MET, known)
    missing = ["whether a service was unavailable, wholly or in part, for more than 2 hours (b)"]
    if incident.resolved is None:
        missing.append("when it is resolved; after 24 hours this is met (a)")
    return _Known(Answer.NOT_KNOWN, known, tuple(missing))


def _geography(radius: Radius) -> _Known:
    paid_to = ", ".join(sorted(radius.countries)) or "none that is known"
    return _Known(
        Answer.NOT_KNOWN,
        f"Beneficiaries of the affected payments are in: {paid_to}. Where the clients are isn't known to the pipeline.",
        ("whether there was an impact in two or more Member States: clients, branches, other entities (Article 4)",),
    )


_INTEGRITY: Final = frozenset({IncidentKind.FORGERY, IncidentKind.AUDIT_LOG, IncidentKind.LEDGER})


def _data_losses(incident: Incident) -> _Known:
    if incident.kind in _INTEGRITY:
        known = "Records contradict each other or what is proved of them, so authenticity or integrity may be lost."
    else:
        known = "No alert of it says that data was lost, changed or disclosed."
    question = "whether availability, authenticity, integrity or confidentiality of data was harmed (Article 5)"
    return _Known(Answer.NOT_KNOWN, known, (question,))


def _malicious_access(incident: Incident) -> _Known:
    if incident.kind == IncidentKind.FORGERY:
        known = (
            "Somebody who is not proved to be ours has written records or acts; a credential or a key may be stolen."
        )
    else:
        known = "No alert of it speaks of access by strangers."
    question = "whether there was a successful, malicious and unauthorised access that may lead to data losses"
    return _Known(Answer.NOT_KNOWN, known, (question,))


def _economic(radius: Radius) -> _Known:
    known = f"The affected payments are worth {pounds_text(radius.worth_gbp_minor)}; what was lost of it isn't known."
    return _Known(
        Answer.NOT_KNOWN, known, ("whether costs and losses exceed, or are likely to exceed, 100,000 euro (Article 7)",)
    )


def _percent(part: int, whole: int) -> str:
    return "all" if not whole else f"{100 * part / whole:.1f} %"


def _named(criteria: Sequence[Criterion]) -> str:
    return ", ".join(f"{each} ({ARTICLES[each]})" for each in criteria) or "none"
