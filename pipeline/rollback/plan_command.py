"""`fraud rollback`: what is asked for on the command line, as plans, and what is shown of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from models.artefact.files import ModelRefused
from models.versions.loading_files import load_registered
from pipeline.alerts.catalogue import rollback_alert
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.audit.lookup_store import candidates_of
from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide.feeds.feed import FeedKind
from pipeline.decide.policy import parse_policy
from pipeline.domain.decision import Route
from pipeline.domain.log import Record, Source
from pipeline.incident.report_command import incident_of
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import server_now_ms
from pipeline.io.kafka.appender import Appender, TransactionalAppender
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, failures_named
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySetRefused, KeyUse
from pipeline.people.key_files import Identity
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.good_feed_files import accepted, good_feeds, require_published
from pipeline.replay.redecide import Basis, Good, RegimeMissing, Version
from pipeline.rollback.apply_service import (
    EXECUTOR_PATIENCE_S,
    AnotherIsApplied,
    Applied,
    Applier,
    NoSuchPlan,
    ProgressBroken,
    Topics,
    Writing,
)
from pipeline.rollback.derivation_store import Criteria, Derivation, criteria_text, good_of
from pipeline.rollback.ends_service import TopicEnds
from pipeline.rollback.incident_command import selection_of
from pipeline.rollback.plan_content_store import PlanRefused
from pipeline.rollback.plan_store import StoredPlan, is_plan_id, read_plan, read_plans
from pipeline.rollback.planning_service import Planner, Request
from pipeline.seals.proving import SealCheck
from pipeline.seals.seal_files import seal_check, sealer_of
from pipeline.terminal.connection import connected
from pipeline.terminal.decision_choice import the_one
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Advance

HOUR_MS: Final = 3_600_000
IDS_MAX: Final = 200_000
RATE_DEFAULT: Final = 500.0


class Asked(NamedTuple):
    """The request as the command was given it; None where an option was left out."""

    by: Identity
    reason: str
    good_model: str | None
    good_policy: Path | None
    model: str | None
    policy: str | None
    since: datetime | None
    until: datetime | None
    segment: str | None
    rule: str | None
    route: str | None
    outcome: str | None
    ids_file: Path | None
    basis: Basis
    incident: str | None = None
    good_feeds: tuple[Path, ...] = ()


def make_plan(settings: Settings, wire: WireFormat, asked: Asked, advance: Advance) -> StoredPlan:
    """The new plan. Failure says what is missing."""
    good, folder = _good(settings, asked)
    require_published(settings, good)
    archive = RegimeArchive.of(settings, folder)
    lifetime_ms = settings.rollback_plan_hours * HOUR_MS
    with (
        connected(settings) as connection,
        LogReader(settings.bootstrap_servers, "fraud-rollback", settings.kafka_options) as log,
    ):
        if asked.incident is not None:
            asked = _of_incident(connection, asked, asked.incident)
        criteria = _criteria(connection, asked)
        list_name = None if asked.ids_file is None else asked.ids_file.name
        request = Request(criteria, criteria_text(criteria, list_name, asked.incident), good, asked.reason, asked.by)
        topic = topic_ends(log, settings.topic("decisions.v1"))
        planner = Planner(connection, wire, archive.regime_of, topic, lifetime_ms)
        try:
            return planner.plan(request, str(uuid4()), server_now_ms(connection), advance)
        except PlanRefused as refusal:
            raise Failure(f"{refusal}.", "No plan was made.", FAILED_CHECK) from refusal
        except RegimeMissing as missing:
            what = f"A decision can't be made again: {missing}."
            raise Failure(what, "Put it into the archive, or give --good-model and --good-policy.") from missing
        except BrokerFailed as error:
            raise Failure(f"Kafka did not say where decisions.v1 ends: {error}.", "No plan was made.") from error


def apply_plan(
    settings: Settings,
    wire: WireFormat,
    plan_id: str,
    by: Identity,
    rate_per_s: float,
    advance: Advance,
    patience_s: float = EXECUTOR_PATIENCE_S,
) -> Applied:
    """Until all has ended, or SIGTERM or SIGINT, or `patience_s` without one more release. Failure where it is refused;
    run again, it goes on."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with (
        connected(settings) as connection,
        _apply_failures(plan_id),
        LogReader(settings.bootstrap_servers, "fraud-rollback", settings.kafka_options) as log,
    ):
        require_published(settings, good_of(find_plan(connection, plan_id).header))
        applier = _applier(settings, wire, connection, log, patience_s)
        answer = applier.apply(_plan_id(plan_id), by, rate_per_s, stopping, advance)
        if isinstance(answer, Applied) and answer.is_complete:
            told = rollback_alert(_plan_id(plan_id), answer.appended, by.name, server_now_ms(connection))
            publish = Appender.of(settings, "fraud-rollback").append
            AlertPublisher(publish, wire, settings.topic("alerts.v1")).publish([told])
    if not isinstance(answer, Applied):
        raise Failure(f"Refused: {answer}.", f"`fraud rollback show {plan_id}` shows the plan.", FAILED_CHECK)
    return answer


def find_plan(connection: Connection, plan_id: str) -> StoredPlan:
    with failures_named():
        plan = read_plan(connection, _plan_id(plan_id))
    if plan is None:
        raise _no_such(plan_id)
    return plan


def latest_plans(settings: Settings, limit: int) -> list[StoredPlan]:
    with connected(settings) as connection, failures_named():
        return read_plans(connection, limit)


def changing_count(settings: Settings, plan_id: str) -> int:
    """The number of records that the plan leads to."""
    with connected(settings) as connection:
        return find_plan(connection, plan_id).changing


def topic_ends(log: LogReader, topic: str) -> TopicEnds:
    return TopicEnds(
        topic,
        lambda: {partition: extent.high for partition, extent in log.extents(topic).items()},
        lambda starts: log.read(topic, starts),
    )


def proved_ends(log: LogReader, topic: str, check: SealCheck) -> TopicEnds:
    """Read only the records of which it is proved who wrote them, so that a forged reversal never counts as applied."""

    def read(starts: Mapping[int, int]) -> Iterator[Record]:
        for found in log.read_presented(topic, starts):
            if check.unproved(found) is None:
                yield Record(found.key, found.value, Source(found.partition, found.offset, found.timestamp_ms))

    return topic_ends(log, topic)._replace(read=read)


def _applier(
    settings: Settings,
    wire: WireFormat,
    connection: Connection,
    log: LogReader,
    patience_s: float = EXECUTOR_PATIENCE_S,
) -> Applier:
    decisions = proved_ends(log, settings.topic("decisions.v1"), seal_check(settings))
    topics = Topics(decisions, topic_ends(log, settings.topic("transactions.v1")))

    writing = Writing(partial(TransactionalAppender.of, settings), sealer_of(settings, KeyUse.REVERSALS).seal)
    archive = RegimeArchive.of(settings)
    derivation = Derivation(connection, wire, archive.regime_of)
    return Applier(connection, writing, derivation, topics, partial(server_now_ms, connection), patience_s)


@contextmanager
def _apply_failures(plan_id: str) -> Iterator[None]:
    again = f"Run `fraud rollback apply {plan_id}` again: it goes on where the topic stands."
    try:
        yield
    except NoSuchPlan as error:
        raise _no_such(plan_id) from error
    except AnotherIsApplied as error:
        raise Failure("Another plan is being applied.", "Wait until it is done.", FAILED_CHECK) from error
    except PlanRefused as refusal:
        hint = "Nothing was applied; whoever made the plan is to be asked."
        raise Failure(f"{refusal}.", hint, FAILED_CHECK) from refusal
    except RegimeMissing as missing:
        what = f"The plan can't be compared with what its good version says: {missing}."
        raise Failure(what, "Put it into FRAUD_POLICY_ARCHIVE or FRAUD_MODEL_REGISTRY.") from missing
    except BrokerFailed as error:
        raise Failure(f"Kafka did not take it all: {error}.", again) from error
    except KeySetRefused as refusal:
        raise Failure(f"Its reversals can't be sealed any more: {refusal}.", f"Give the next key. {again}") from refusal
    except ProgressBroken as error:
        what = "What stands on decisions.v1 under this plan's id is not what the plan leads to."
        raise Failure(what, "Nothing more was appended. Find out who writes there.", FAILED_CHECK) from error


def _no_such(plan_id: str) -> Failure:
    return Failure(f"There is no plan {plan_id}.", "`fraud rollback list` shows those that are.")


def _plan_id(text: str) -> str:
    if not is_plan_id(text.lower()):
        raise _no_such(text)
    return text.lower()


def _good(settings: Settings, asked: Asked) -> tuple[Good, Path]:
    """The versions to decide again under, and the folder of the policies."""
    if asked.good_model is None and asked.good_policy is None and not asked.good_feeds:
        raise Failure("Nothing says what is good.", "Give --good-model VERSION, --good-policy or --good-feed FILE.")
    model, policy, folder = None, None, settings.policy_archive
    if asked.good_model is not None:
        try:
            model = Version(asked.good_model, load_registered(settings.model_registry, asked.good_model).hash)
        except ModelRefused as refusal:
            raise Failure(f"{refusal}.", "Give a version of FRAUD_MODEL_REGISTRY.") from refusal
    if asked.good_policy is not None:
        policy, folder = _policy(asked.good_policy), asked.good_policy.parent
    feeds = good_feeds(settings, asked.good_feeds)
    return Good(model, policy, asked.basis, feeds.get(FeedKind.EXCHANGE_RATES), feeds.get(FeedKind.SANCTIONS)), folder


def _policy(path: Path) -> Version:
    if path.suffix != ".toml":
        raise Failure(f"{path} is no policy file.", "Give the path of a .toml file.")
    policy = accepted(path, POLICY_BYTES_MAX, parse_policy, "policy")
    return Version(policy.version, policy.sha256)


def _of_incident(connection: Connection, asked: Asked, wanted: str) -> Asked:
    """The request with what an incident says, where it says nothing itself. Failure says why nothing follows."""
    incident, now_ms = incident_of(connection, wanted)
    is_scope_chosen = not (asked.model is None and asked.segment is None)
    is_time_chosen = asked.since is not None and asked.until is not None
    found = selection_of(incident, now_ms, is_scope_chosen=is_scope_chosen, is_time_chosen=is_time_chosen)
    return asked._replace(
        model=asked.model or found.model,
        segment=asked.segment or found.segment,
        since=asked.since or found.since,
        until=asked.until or found.until,
        route=asked.route or Route.MODEL,
        incident=found.incident_id,
    )


def _criteria(connection: Connection, asked: Asked) -> Criteria:
    return Criteria(
        asked.model,
        asked.policy,
        _ms(asked.since),
        _ms(asked.until),
        _segment(asked.segment),
        asked.rule,
        asked.route,
        asked.outcome,
        None if asked.ids_file is None else _ids(connection, asked.ids_file),
    )


def _segment(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise Failure(f"{text} names no segment.", "Write it as NAME=VALUE, such as postcode_area=SW.")
    return name, value


def _ids(connection: Connection, path: Path) -> tuple[str, ...]:
    """The ids of decisions, from a file with an id of a decision or of a transaction on each line. What the audit log
    doesn't know names no decision. Failure where a transaction's id names several."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"The list {path} can't be read.", "Give a text file with an id on each line.") from error
    wanted = [line for line in lines if line]
    if not 1 <= len(wanted) <= IDS_MAX:
        raise Failure(f"The list {path} has {len(wanted):,} ids.", f"Give one with 1 to {IDS_MAX:,}.")
    found = (the_one(line, None, carrying) for line, carrying in candidates_of(connection, wanted).items())
    return tuple(dict.fromkeys(name for name in found if name is not None))


def _ms(at: datetime | None) -> int | None:
    return None if at is None else int(_utc(at).timestamp() * 1000)


def _utc(at: datetime) -> datetime:
    """A time without a zone is meant in UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
