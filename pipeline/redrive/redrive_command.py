"""`fraud dead-letters redrive`: what was asked for on the command line, gathered and shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from models.artefact.plain_files import read_plain
from pipeline.decide.batch import Judge, TopicNames
from pipeline.decide.decision_topics import dead_letters
from pipeline.decide.feeds.feed import FeedRefused
from pipeline.decide.feeds.feed_files import provide_feeds, read_feeds
from pipeline.decide.policy import POLICY_BYTES_MAX, PolicyRefused, parse_policy
from pipeline.decide.verdict import regime
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.refusals import RefusalCode
from pipeline.domain.times import utc_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import server_now_ms
from pipeline.io.kafka.appender import TransactionalAppender
from pipeline.io.kafka.log_reader import Extent, LogReader
from pipeline.io.kafka.topic_settings import partitioning_of
from pipeline.io.sealing import DeadLetterKey, KeyRefused
from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity
from pipeline.redrive.redrive_service import AnotherRedrives, Ids, NotAnOperator, Redriven, Redriver, Topics
from pipeline.redrive.redrive_store import Request
from pipeline.redrive.selection import REDRIVABLE, Criteria, Fate, Place, is_selected, record_of
from pipeline.seals.seal_files import letter_proves
from pipeline.state.shape import ShapeChanged, require_same
from pipeline.state.store import RedisState, StateUnavailable
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure, redis_away
from pipeline.terminal.output import Output

GROUP = "fraud-rollback"
TRANSACTIONAL_ID = "fraud-rollback-redrive"
_PLACE = re.compile(r"([0-9]{1,10}):([0-9]{1,19})", re.ASCII)
_PLACE_CHARACTERS_MAX = 30  # of the longest place


class Asked(NamedTuple):
    """The request as the command was given it; None where an option was left out. A dry run has no author."""

    by: Identity | None
    reason: str
    codes: Sequence[str]
    places: Sequence[str]
    since: datetime | None
    until: datetime | None
    key_file: Path | None
    is_dry: bool


def redrive(settings: Settings, wire: WireFormat, asked: Asked) -> Iterator[Redriven]:
    """Yield the fate of each letter that was asked for, once it is certain. Failure says what is missing."""
    criteria, key = _criteria(asked), _key(settings, asked.key_file)
    topic = settings.topic("transactions.v1")
    letters = (
        found.letter
        for found in dead_letters(settings, wire, None, letter_proves(settings))
        if is_selected(found.letter, topic, criteria)
    )
    with (
        _failures(settings),
        connected(settings) as connection,
        LogReader(settings.bootstrap_servers, GROUP, settings.kafka_options, is_expiry_expected=True) as log,
    ):
        clock_ms = partial(server_now_ms, connection)
        redriver = Redriver(
            connection,
            lambda: TransactionalAppender.of(settings, TRANSACTIONAL_ID),
            wire,
            topics_of(settings, log),
            key,
            _ids(settings, wire, clock_ms),
            clock_ms,
        )
        request = Request(asked.by, asked.reason, _criteria_text(asked))
        found: set[Place] = set()
        for redriven in redriver.run(letters, request, is_dry=asked.is_dry):
            found.add(record_of(redriven.letter).place)
            yield redriven
    if criteria.places is not None and (missing := sorted(criteria.places - found)):
        places = ", ".join(f"{place.partition}:{place.offset}" for place in missing)
        raise Failure(f"No such letter is about {places}.", "`fraud dead-letters list` shows them.", FAILED_CHECK)


def topics_of(settings: Settings, log: LogReader) -> Topics:
    topic, decisions = settings.topic("transactions.v1"), settings.topic("decisions.v1")

    def ends() -> dict[int, int]:
        return {partition: extent.high for partition, extent in log.extents(topic).items()}

    def oldest_decision_ms(offsets: Mapping[int, int]) -> int | None:
        times = [_oldest_ms(log, decisions, each, extent, offsets) for each, extent in log.extents(decisions).items()]
        return min((time for time in times if time is not None), default=None)

    return Topics(
        topic,
        ends,
        lambda starts, name: log.read_headers(topic, starts, name),
        lambda place, name: log.header_at(topic, place.partition, place.offset, name),
        decisions,
        oldest_decision_ms,
    )


def _oldest_ms(log: LogReader, topic: str, partition: int, extent: Extent, offsets: Mapping[int, int]) -> int | None:
    """Return the log time of the partition's oldest record from its offset on; 0 where such records are gone."""
    first = offsets.get(partition, 0)
    if extent.high <= first:
        return None
    if extent.low > first:
        return 0
    return next((record.source.timestamp_ms for record in log.read(topic, {partition: first})), None)


def show_redriven(output: Output, redriven: Redriven, *, is_dry: bool) -> bool:
    """Show a letter's fate; return whether it was sent, or would be."""
    letter, fate = redriven
    is_sent = fate is Fate.REDRIVEN
    fields = {
        "code": letter.code,
        "source_partition": letter.source_partition,
        "source_offset": letter.source_offset,
        "source_timestamp_ms": letter.source_timestamp_ms,
        "fate": fate.name,
        "dry_run": is_dry,
    }
    said = "it would be decided again" if is_sent and is_dry else fate
    place = f"{letter.source_partition}:{letter.source_offset}"
    output.record(fields, f"{utc_text(letter.source_timestamp_ms)} {letter.code:<24} {place:<12} {said}")
    return is_sent


def _criteria(asked: Asked) -> Criteria:
    codes = frozenset(map(_code, asked.codes)) or frozenset({RefusalCode.POISON})
    places = frozenset(map(_place, asked.places)) or None
    if asked.since is not None and asked.until is not None and asked.until <= asked.since:
        raise Failure("No record lies between these times: --until is not after --since.", "Exchange them.")
    return Criteria(codes, places, _ms(asked.since), _ms(asked.until))


def _criteria_text(asked: Asked) -> dict[str, str]:
    """The request, as people read it."""
    said = {
        "codes": ", ".join(asked.codes) or RefusalCode.POISON,
        "places": ", ".join(asked.places),
        "since": "" if asked.since is None else asked.since.isoformat(),
        "until": "" if asked.until is None else asked.until.isoformat(),
    }
    return {name: text for name, text in said.items() if text}


def _code(text: str) -> RefusalCode:
    if text in REDRIVABLE:
        return RefusalCode(text)
    raise Failure(f"Letters with the code {text} can't be redriven.", f"Give one of {', '.join(sorted(REDRIVABLE))}.")


def _place(text: str) -> Place:
    found = _PLACE.fullmatch(text)
    if found is None:
        shown = text if len(text) <= _PLACE_CHARACTERS_MAX else f"{text[:_PLACE_CHARACTERS_MAX]}…"
        raise Failure(f"{shown!r} is no place.", "Write it as PARTITION:OFFSET, as `fraud dead-letters list` shows it.")
    return Place(int(found[1]), int(found[2]))


def _ms(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)


def _key(settings: Settings, key_file: Path | None) -> DeadLetterKey:
    """The key of the file that was given, or else of the settings."""
    try:
        if key_file is not None:
            return DeadLetterKey.from_file(key_file)
        if settings.dead_letter_key is not None:
            return DeadLetterKey.from_text(settings.dead_letter_key)
        if settings.dead_letter_key_file is not None:
            return DeadLetterKey.from_file(settings.dead_letter_key_file)
    except KeyRefused as refusal:
        what = f"{str(refusal)[:1].upper()}{str(refusal)[1:]}."
        raise Failure(what, "Give the file that `fraud keys create dead-letter` made.") from refusal
    raise Failure("Nothing opens the payloads.", "Give --open KEYFILE, or set FRAUD_DEAD_LETTER_KEY_FILE.")


def _appender(settings: Settings) -> TransactionalAppender:
    return TransactionalAppender.of(settings, TRANSACTIONAL_ID)


def _ids(settings: Settings, wire: WireFormat, clock_ms: Callable[[], int]) -> Ids:
    """What the worker's own code says about records, under the policy in force."""
    try:
        provide_feeds(settings)
        in_force = regime(parse_policy(read_plain(settings.policy_path, POLICY_BYTES_MAX)), None, read_feeds(settings))
    except (OSError, PolicyRefused, FeedRefused) as error:
        what = f"The policy {settings.policy_path}, or a feed in {settings.feeds_path}, can't be used: {error}."
        raise Failure(what, "`fraud config check` says more.") from error
    partitioning = partitioning_of(settings)
    topics = TopicNames(settings.topic("decisions.v1"), settings.topic("alerts.v1"))
    judge = Judge(in_force, wire, topics, "redrive", partitioning.of)

    def would_refuse(record: Record) -> bool:
        """As it would stand on the topic: on its key's partition, stamped now."""
        partition = partitioning.of(record.key) if record.key else 0
        return bool(judge.read([record._replace(source=Source(partition, 0, clock_ms()))]).refused)

    def release(records: Sequence[Record]) -> None:
        asyncio.run(_release(settings, judge, partitioning.partitions, records))

    return Ids(would_refuse, release)


async def _release(settings: Settings, judge: Judge, partitions: int, records: Sequence[Record]) -> None:
    """Give back the ids that the records hold as they stood; one that was refused holds none."""
    state = RedisState(
        settings.redis_url,
        label_delay_days=settings.label_delay_days,
        shards=settings.state_shards,
        prefix=settings.state_prefix,
        timeout_s=settings.redis_timeout_s,
    )
    try:
        if (held := await state.held_shape()) is not None:  # under other shards, the ids would be looked for in vain
            require_same(held, state.shape(settings.topic("transactions.v1"), partitions, settings.partitioner.value))
        for record in records:
            partition, offset, _ = record.source
            span = Span(partition, offset, offset + 1, offset)
            await state.release_claims(judge.state_events(judge.read([record]), [span]))
    finally:
        await state.close()


@contextmanager
def _failures(settings: Settings) -> Iterator[None]:
    try:
        yield
    except NotAnOperator as error:
        fix = "`fraud people list` shows who holds what, and whose keys are registered."
        raise Failure("Refused: only an OPERATOR redrives dead letters.", fix, FAILED_CHECK) from error
    except AnotherRedrives as error:
        raise Failure("Another command redrives.", "Wait until it is done.", FAILED_CHECK) from error
    except StateUnavailable as error:
        raise redis_away(settings.redis_url) from error
    except ShapeChanged as error:
        raise Failure(f"{str(error)[:1].upper()}{str(error)[1:]}.", "Set it so.") from error
