"""`fraud review` and `fraud person`: the service that keeps cases, and what people do with them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Final, TypeVar

import structlog

from pipeline.domain.decision import Outcome
from pipeline.domain.decision_records import DecisionRecord
from pipeline.domain.features import UNKNOWN
from pipeline.domain.log import RecordUndecodable
from pipeline.domain.money import money_text
from pipeline.domain.times import utc_text
from pipeline.io import logs
from pipeline.io.avro.wire import WireFormat
from pipeline.io.health import health_pages
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.positioned_log import LogUnavailable, PositionedLog
from pipeline.io.postgres import (
    Connection,
    DatabaseRefused,
    DatabaseUnavailable,
    PositionMoved,
    Positions,
    connect,
    failures_named,
)
from pipeline.io.settings import Settings
from pipeline.people.roles import Role
from pipeline.people.store import Granted, change_role, read_grants
from pipeline.review.case_store import CaseFile
from pipeline.review.cases import CaseEvent, JudgedOutcome, Judgement, Kind, ReviewRefusal, ReviewRules, needs_second
from pipeline.review.desk_store import Acted, NoSuchCase, ReviewDesk
from pipeline.review.service import CONSUMER, GROUP, ReviewService, ReviewTopics
from pipeline.terminal.failures import FAILED_CHECK, Failure, without_password
from pipeline.terminal.output import OUTCOME_COLOUR, Output, coloured

HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000
RETRY_S: Final = 0.5
T = TypeVar("T")

log = structlog.get_logger("review")


def run_review(settings: Settings, wire: WireFormat) -> None:
    """Until SIGTERM or SIGINT. Failure where it can't start, or must give up its place."""
    logs.configure(settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    topic, options = settings.topic("decisions.v1"), settings.kafka_options
    positions = Positions(CONSUMER, topic)
    held = _Held(settings)
    source: PositionedLog[DecisionRecord] = PositionedLog(
        settings.bootstrap_servers,
        topic,
        wire.decode_decision_record,
        GROUP,
        slot=settings.worker_slot,
        positions=lambda partitions: positions.read(held.connection(), partitions),
        options=options,
    )
    appender = Appender(settings.bootstrap_servers, f"{GROUP}-{settings.worker_slot}", options)
    expiry_ms = settings.review_expiry_hours * HOUR_MS
    service = ReviewService(source, appender, wire, ReviewTopics(topic), expiry_ms, now_ms)
    try:
        with health_pages(settings.web_host, settings.web_port, lambda: service.is_ready), closing(source):
            _keep_running(service, held, stopping)
    except OSError as error:
        what = f"{settings.web_host}:{settings.web_port}, for the health pages, can't be had ({error.strerror})."
        raise Failure(what, "Set FRAUD_WEB_PORT or FRAUD_WEB_HOST to something free.") from error
    except (LogUnavailable, RecordUndecodable, DatabaseRefused, PositionMoved) as error:
        raise Failure(f"The review service gives up its place: {error}.", "Its log says more.") from error
    except DatabaseUnavailable as error:
        raise database_away(settings) from error


def claim(settings: Settings, wanted: str, by: str) -> Acted:
    return _acted(settings, wanted, lambda desk: desk.claim(wanted, by))


def release(settings: Settings, wanted: str, by: str) -> Acted:
    return _acted(settings, wanted, lambda desk: desk.release(wanted, by))


def decide(settings: Settings, wanted: str, outcome: JudgedOutcome, by: str, reason: str) -> Acted:
    return _acted(settings, wanted, lambda desk: desk.judge(wanted, by, Judgement(outcome, reason)))


def open_cases(settings: Settings, limit: int) -> list[CaseFile]:
    with _desk(settings) as desk:
        return desk.open_cases(limit)


def rounds(settings: Settings, wanted: str) -> list[CaseFile]:
    with _desk(settings) as desk, _found(wanted):
        return desk.rounds(wanted)


def grant(settings: Settings, name: str, role: Role, by: str, *, is_held: bool) -> None:
    """Failure where the grant is refused, by the rules or by the database's rights."""
    with connected(settings) as connection, failures_named():
        refusal = change_role(connection, name, role, by, is_held=is_held)
    if refusal is not None:
        raise Failure(f"Refused: {refusal}.", "`fraud person list` shows who holds what.", FAILED_CHECK)


def grants(settings: Settings) -> list[Granted]:
    with connected(settings) as connection, failures_named():
        return list(read_grants(connection))


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


def show_act(output: Output, acted: Acted, rules: ReviewRules) -> None:
    output.record(case_json(acted.file, rules), _SENTENCE[acted.event.kind](acted))


def show_grant(output: Output, granted: Granted) -> None:
    at = granted.granted_at.isoformat(timespec="seconds")
    fields = {**granted._asdict(), "granted_at": at}
    verb = "granted to" if granted.is_held else "revoked from"
    output.record(fields, f"{at} {granted.role} {verb} {granted.name} by {granted.granted_by}")


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
    return "amount unknown" if case.amount_minor == UNKNOWN else money_text(case.amount_minor, case.currency)


def rules_of(settings: Settings) -> ReviewRules:
    return ReviewRules(
        settings.review_four_eyes_gbp_minor,
        settings.review_claim_minutes * MINUTE_MS,
        settings.review_reason_characters_min,
    )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def connected(settings: Settings) -> Iterator[Connection]:
    """For a command that a person waits for: tries once."""
    try:
        with closing(connect(settings.database_url, "fraud-command")) as connection:
            yield connection
    except DatabaseUnavailable as error:
        raise database_away(settings) from error
    except DatabaseRefused as error:
        fix = "Use the FRAUD_DATABASE_URL of a role that may, and `fraud database migrate`."
        raise Failure(f"{str(error)[:1].upper()}{str(error)[1:]}.", fix) from error


def database_away(settings: Settings) -> Failure:
    return Failure(
        f"PostgreSQL does not answer at {without_password(settings.database_url)}.",
        "Start it, and set FRAUD_DATABASE_URL to its address.",
    )


_SENTENCE: Final[Mapping[Kind, Callable[[Acted], str]]] = {
    Kind.CLAIMED: lambda acted: f"Claimed until {utc_text(acted.event.claimed_until_ms or 0)}.",
    Kind.RELEASED: lambda _: "Given back.",
    Kind.PROPOSED: lambda acted: f"{_outcome(acted.event)} proposed; a SENIOR_REVIEWER confirms by deciding the same.",
    Kind.DECLINED: lambda _: "Declined: the case is open again.",
    Kind.DECIDED: lambda acted: f"Decided: {_outcome(acted.event)}.",
}


class _Held:
    """The service's connection, made anew after it was lost."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Connection | None = None

    def connection(self) -> Connection:
        if self._connection is None or self._connection.closed:
            settings = self._settings
            self._connection = connect(settings.database_url, GROUP, patience_s=settings.database_patience_s)
        return self._connection

    def drop(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _keep_running(service: ReviewService, held: _Held, stopping: threading.Event) -> None:
    """Connects again while the database comes and goes; DatabaseUnavailable once the patience is over."""
    while not stopping.is_set():
        try:
            service.run(held.connection(), stopping)
        except DatabaseUnavailable as error:
            log.warning("database_lost", why=str(error))
            held.drop()
            stopping.wait(RETRY_S)
    held.drop()


@contextmanager
def _desk(settings: Settings) -> Iterator[ReviewDesk]:
    with connected(settings) as connection:
        yield ReviewDesk(connection, rules_of(settings), now_ms)


@contextmanager
def _found(wanted: str) -> Iterator[None]:
    try:
        yield
    except NoSuchCase as error:
        fix = "`fraud review list` shows what is open; a fresh escalation appears within a second."
        raise Failure(f"There is no case of {wanted}.", fix) from error


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
