"""`fraud review`: what people do with cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE
from pipeline.domain.money import money_text
from pipeline.domain.times import utc_text
from pipeline.io.filing import server_now_ms
from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity
from pipeline.review.case_store import CaseFile
from pipeline.review.cases import CaseEvent, JudgedOutcome, Judgement, Kind, ReviewRefusal, ReviewRules, needs_second
from pipeline.review.desk_store import Acted, NoSuchCase, ReviewDesk, SeveralDecisions
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import OUTCOME_COLOUR, Output, coloured

MINUTE_MS: Final = 60_000
T = TypeVar("T")


def claim(settings: Settings, wanted: str, by: Identity) -> Acted:
    return _acted(settings, wanted, lambda desk: desk.claim(wanted, by))


def release(settings: Settings, wanted: str, by: Identity) -> Acted:
    return _acted(settings, wanted, lambda desk: desk.release(wanted, by))


def decide(settings: Settings, wanted: str, outcome: JudgedOutcome, by: Identity, reason: str) -> Acted:
    return _acted(settings, wanted, lambda desk: desk.judge(wanted, by, Judgement(outcome, reason)))


def open_cases(settings: Settings, limit: int) -> list[CaseFile]:
    with _desk(settings) as desk:
        return desk.open_cases(limit)


def rounds(settings: Settings, wanted: str) -> list[CaseFile]:
    with _desk(settings) as desk, _found(wanted):
        return desk.rounds(wanted)


def show_case(output: Output, file: CaseFile, rules: ReviewRules) -> None:
    """One line a case."""
    case, at = file.case, file.standing
    eyes = "two people" if needs_second(case, rules) else "one person"
    who = f" by {at.first.actor}" if at.first is not None else ""
    head = f"{case.decision_id} round {case.round} {coloured(f'{at.state:<8}', 'yellow', is_bold=True)}{who}"
    line = f"{head}  {amount(file)} until {utc_text(case.expires_at_ms)}, {eyes}. {file.summary}"
    output.record(case_json(file, rules), line)


def show_events(output: Output, file: CaseFile) -> None:
    if output.as_json:
        return
    for event in file.events:
        output.line(f"  {utc_text(event.at_ms)} {event.kind:<9} {event.actor}{_judged(event)}")


def show_customer(output: Output, file: CaseFile) -> None:
    """Where the customer's text is: it follows from all that became of the decision, which a case is a part of."""
    if not output.as_json:
        output.line(f"  what the customer may be told: `fraud explain {file.case.decision_id}`")


def show_act(output: Output, acted: Acted, rules: ReviewRules) -> None:
    output.record(case_json(acted.file, rules), _SENTENCE[acted.event.kind](acted))


def case_json(file: CaseFile, rules: ReviewRules) -> Mapping[str, object]:
    at = file.standing
    return {
        **file.case._asdict(),
        "state": at.state,
        "needs_second": needs_second(file.case, rules),
        "summary": file.summary,
        "events": [event._asdict() for event in file.events],
    }


def amount(file: CaseFile) -> str:
    case = file.case
    return "amount unknown" if case.amount_minor == NONE else money_text(case.amount_minor, case.currency)


def rules_of(settings: Settings) -> ReviewRules:
    return ReviewRules(
        settings.review_four_eyes_gbp_minor,
        settings.review_claim_minutes * MINUTE_MS,
        settings.review_reason_characters_min,
    )


_SENTENCE: Final[Mapping[Kind, Callable[[Acted], str]]] = {
    Kind.CLAIMED: lambda acted: f"Claimed until {utc_text(acted.event.claimed_until_ms or 0)}.",
    Kind.RELEASED: lambda _: "Given back.",
    Kind.PROPOSED: lambda acted: f"{_outcome(acted.event)} proposed; a SENIOR_REVIEWER confirms by deciding the same.",
    Kind.DECLINED: lambda _: "Declined: the case is open again.",
    Kind.DECIDED: lambda acted: f"Decided: {_outcome(acted.event)}.",
}


@contextmanager
def _desk(settings: Settings) -> Iterator[ReviewDesk]:
    with connected(settings) as connection:
        yield ReviewDesk(connection, rules_of(settings), partial(server_now_ms, connection))


@contextmanager
def _found(wanted: str) -> Iterator[None]:
    try:
        yield
    except NoSuchCase as error:
        fix = "`fraud review list` shows what is open; a fresh escalation appears within a second."
        raise Failure(f"There is no case of {wanted}.", fix) from error
    except SeveralDecisions as error:
        what = f"Several decisions are about a transaction with the id {wanted}: {', '.join(error.decision_ids)}."
        raise Failure(what, f"`fraud review show {wanted}` shows their cases. Give the id of the decision.") from error


def _acted(settings: Settings, wanted: str, act: Callable[[ReviewDesk], Acted | ReviewRefusal]) -> Acted:
    with _desk(settings) as desk, _found(wanted):
        answer = act(desk)
    if isinstance(answer, ReviewRefusal):
        raise Failure(f"Refused: {answer}.", f"`fraud review show {wanted}` shows the case.", FAILED_CHECK)
    return answer


def _outcome(event: CaseEvent) -> str:
    assert event.outcome is not None, "a judgement has an outcome"
    return coloured(event.outcome, OUTCOME_COLOUR[event.outcome], is_bold=True)


def _judged(event: CaseEvent) -> str:
    outcome = f" {_outcome(event)}" if isinstance(event.outcome, Outcome) else ""
    return f"{outcome}  {event.reason}" if event.reason else outcome
