"""`fraud config check`: everything a worker needs, looked at one by one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final, NamedTuple

from redis.exceptions import RedisError

from models.artefact.files import ModelRefused
from models.artefact.plain_files import read_plain
from models.versions.loading_files import load_champion_of
from pipeline.breaker.switch_topics import SwitchTopic
from pipeline.breaker.switches import forced_scopes
from pipeline.decide.feeds.changes import refusal_of_future
from pipeline.decide.feeds.feed import Feed, FeedKind, FeedRefused, parse_new_feed
from pipeline.decide.feeds.feed_files import feed_bytes, provide_feeds
from pipeline.decide.feeds.signature_files import signature_fault
from pipeline.decide.feeds.standing_files import require_at_start
from pipeline.decide.policy import POLICY_BYTES_MAX, FeedLimits, Policy, PolicyRefused, parse_new_policy
from pipeline.domain.money import count_text
from pipeline.io.addresses import shown_address
from pipeline.io.avro.schema_files import SCHEMAS, schema_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.client import BrokerFailed, TopicMissing
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.topic_settings import (
    LOG_APPEND_TIME,
    STAMPED_TOPICS,
    TIMESTAMP_TYPE,
    Clock,
    TopicsUnfit,
    clocks_of,
    partitioning_of,
    require_kept_context,
    require_kept_switches,
)
from pipeline.io.production import production_faults
from pipeline.io.redis.address import AddressRefused, parse_address
from pipeline.io.redis.servers import Server, servers
from pipeline.io.sealing import DeadLetterKey, KeyRefused
from pipeline.io.settings import Profile, Settings
from pipeline.oncall.routes_files import RoutesRefused, routes_of
from pipeline.seals.seal_files import worker_sealer
from pipeline.state.evictions import StateEvicted, evicting_policies, eviction_fault
from pipeline.state.persistence import persistence_in_words
from pipeline.state.shape import ShapeChanged, require_same
from pipeline.state.store import RedisState, StateAhead, StateReplaced, StateUnavailable
from pipeline.terminal.configuration import wire_format
from pipeline.terminal.failures import Failure, failure_of, redis_away
from pipeline.terminal.output import Output, coloured
from pipeline.traces.check_client import collector_answer

REDIS_TIMEOUT_S: Final = 3.0
REDIS_VERSION_MINIMUM: Final = (6, 2)
TOPICS: Final = (*STAMPED_TOPICS, "decisions.v1", "executions.v1", "transactions.dead.v1", "alerts.v1")
"""Topics that a worker reads or writes."""
PARTITIONED_TOPICS: Final = ("transactions.v1", "decisions.v1", "executions.v1")


class Finding(NamedTuple):
    what: str
    is_ok: bool
    detail: str
    fix: str = ""


def findings(settings: Settings) -> Iterator[Finding]:
    """The findings, in the order in which a worker would meet them."""
    checks: tuple[tuple[str, Callable[[Settings], str]], ...] = (
        ("profile", _profile),
        ("policy", _policy),
        ("policy archive", _archive),
        ("feeds", _feeds),
        ("model", _model),
        ("schemas", _schemas),
        ("dead-letter key", _key),
        ("seals", _seals),
        ("broker", _broker),
        ("clock", _clock),
        ("kept", _kept),
        ("switches", _switches),
        ("redis", _redis),
        ("state", _state),
        ("alerts", _alerts),
        ("traces", _traces),
    )
    for what, check in checks:
        try:
            yield Finding(what, True, check(settings))
        except (Failure, BrokerFailed) as error:
            failure = failure_of(error)
            assert failure is not None, "both have a sentence"
            yield Finding(what, False, failure.what, failure.fix)


def show_findings(output: Output, found: Iterator[Finding]) -> bool:
    """One line each; True when all is well."""
    is_sound = True
    for finding in found:
        mark = coloured("ok   ", "green") if finding.is_ok else coloured("WRONG", "red", is_bold=True)
        output.record(finding._asdict(), f"{mark} {finding.what:<16} {finding.detail} {finding.fix}".rstrip())
        is_sound &= finding.is_ok
    return is_sound


def _profile(settings: Settings) -> str:
    if faults := production_faults(settings, "worker"):
        raise Failure(f"{'. '.join(faults)}.", "A worker would not start.")
    held = f", secrets from {settings.secrets_from}" if settings.secrets_from else ""
    return f"{settings.profile}{held}"


def _seals(settings: Settings) -> str:
    key_id = worker_sealer(settings, lambda _: 0).key_id
    return f"decisions are sealed by the key {key_id}, which the key set trusts"


def _policy(settings: Settings) -> str:
    content = _policy_bytes(settings)
    try:
        policy = parse_new_policy(content)
    except PolicyRefused as refusal:
        raise Failure(f"{settings.policy_path} is refused: {refusal}.", "Correct the file.") from refusal
    return f"{policy.version} of {settings.policy_path}, sha256 {policy.sha256.hex()[:16]}"


def _archive(settings: Settings) -> str:
    wanted = hashlib.sha256(_policy_bytes(settings)).digest()
    files = sorted(settings.policy_archive.glob("*.toml"))
    if any(hashlib.sha256(read_plain(path, POLICY_BYTES_MAX)).digest() == wanted for path in files):
        return f"holds the running policy, among {len(files)}"
    raise Failure(
        f"{settings.policy_archive} doesn't hold the running policy, so its decisions could not be verified.",
        "Copy the policy file there, or set FRAUD_POLICY_ARCHIVE.",
    )


def _feeds(settings: Settings) -> str:
    try:
        policy: Policy | None = parse_new_policy(_policy_bytes(settings))
    except (PolicyRefused, Failure):  # a finding of its own; how old a feed may be is then nobody's word
        policy = None
    try:
        provide_feeds(settings)
    except OSError as error:
        raise Failure(f"{settings.feeds_path} can't be made ({error.strerror}).", "Set FRAUD_FEEDS_PATH.") from error
    return "; ".join(_feed(settings, policy, kind) for kind in FeedKind)


def _feed(settings: Settings, policy: Policy | None, kind: FeedKind) -> str:
    at_ms, too_old_hours = now_ms(), None if policy is None else policy.too_old_hours(kind)
    try:
        content = feed_bytes(settings, kind)
        feed = parse_new_feed(content, kind)
    except OSError as error:
        what = f"There is no feed of {kind} in {settings.feeds_path}."
        raise Failure(what, "Set FRAUD_FEEDS_PATH, and install one with `fraud feeds install`.") from error
    except FeedRefused as refusal:
        what = f"The feed of {kind} in {settings.feeds_path} is refused: {refusal}."
        raise Failure(what, "Install a good one with `fraud feeds install`.") from refusal
    future, fault = refusal_of_future(feed, at_ms), signature_fault(settings, feed, content)
    if fault is None and policy is not None and policy.feeds is not None:
        fault = _start_fault(settings, feed, content, policy.feeds, at_ms)
    hours = feed.age_hours(at_ms)
    if future is not None:
        fault = future.why
    elif fault is None and policy is not None and (too_old_hours is None or hours >= too_old_hours):
        fault = f"it is {hours} hours old, and by the policy too old from {too_old_hours} on"
    if fault is not None:
        what = f"The feed of {kind} in {settings.feeds_path} can't be relied upon: {fault}."
        raise Failure(what, "Install a good one with `fraud feeds install`.")
    return f"{kind} {feed.version}, {hours} hours old"


def _start_fault(settings: Settings, feed: Feed, content: bytes, limits: FeedLimits, at_ms: int) -> str | None:
    try:
        require_at_start(settings, feed, content, limits, at_ms)
    except (OSError, FeedRefused) as error:
        return f"no worker starts with it: {error}"
    return None


def _policy_bytes(settings: Settings) -> bytes:
    try:
        return read_plain(settings.policy_path, POLICY_BYTES_MAX)
    except OSError as error:
        raise Failure(f"The policy file {settings.policy_path} can't be read.", "Set FRAUD_POLICY_PATH.") from error


def _model(settings: Settings) -> str:
    try:
        model = load_champion_of(settings).model
    except ModelRefused as refusal:
        what = f"No model can be loaded from {settings.model_registry}: {refusal}."
        raise Failure(what, "Train one (`fraud models train`), or set FRAUD_MODEL_REGISTRY.") from refusal
    return f"{model.version}, {count_text(len(model.terms), 'term')}, sha256 {model.hash.hex()[:16]}"


def _schemas(settings: Settings) -> str:
    try:
        WireFormat(settings.framing, settings.confluent_ids)
        sizes = sum(len(schema_text(name)) for name in SCHEMAS)
    except (ValueError, OSError) as error:
        fix = "Set FRAUD_CONFLUENT_IDS to what `fraud schemas register` prints."
        raise Failure(f"The schemas can't be used: {error}.", fix) from error
    return f"{len(SCHEMAS)} schemas ({sizes:,} characters), written in {settings.framing} framing"


def _key(settings: Settings) -> str:
    try:
        if settings.dead_letter_key is not None:
            return DeadLetterKey.from_text(settings.dead_letter_key).key_id
        if settings.dead_letter_key_file is None:
            return "none set: dead letters keep only the hash of their payload"
        return DeadLetterKey.from_file(settings.dead_letter_key_file).key_id
    except KeyRefused as refusal:
        fix = "Make one with `fraud keys create dead-letter`, and set FRAUD_DEAD_LETTER_KEY_FILE."
        raise Failure(f"{str(refusal).capitalize()}.", fix) from refusal


def _broker(settings: Settings) -> str:
    _require_broker(settings)
    counts, missing = dict[str, int](), list[str]()
    with LogReader.of(settings) as log:
        for name in TOPICS:
            try:
                counts[name] = log.partition_count(settings.topic(name))
            except TopicMissing as failure:
                missing.append(failure.topic)
    if missing:
        raise Failure(f"There is no topic {', '.join(missing)}.", "Create the topics with `fraud topics create`.")
    counts = {name: counts[name] for name in PARTITIONED_TOPICS}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        what = f"The topics have different numbers of partitions ({found}), so an account is not on the same of each."
        raise Failure(what, "Make them anew with `fraud topics create`, under another FRAUD_TOPIC_PREFIX.")
    return f"{settings.bootstrap_servers}, {counts['transactions.v1']} partitions, chosen by {settings.partitioner}"


def _alerts(settings: Settings) -> str:
    if settings.profile is Profile.PRODUCTION and not settings.alert_secrets:
        return "not looked at: whoever has the secret alert_secrets, which the service of alerts has, checks its routes"
    try:
        routes = routes_of(settings)
    except RoutesRefused as refusal:
        what = f"The routes of alerts, {settings.alert_routes_path}, are refused: {refusal}."
        raise Failure(what, "Correct the file, or the secret alert_secrets; docs/alerting.md shows how.") from refusal
    beat = "no heartbeat" if routes.heartbeat is None else f"a heartbeat every {routes.heartbeat.every_ms // 1000} s"
    named = ", ".join(f"{sink.name} ({sink.kind})" for sink in routes.sinks.values())
    count = len(routes.routes)
    return f"{count} {'route' if count == 1 else 'routes'} to {named}; {beat}"


def _require_broker(settings: Settings) -> None:
    if not settings.bootstrap_servers.strip():
        raise Failure("FRAUD_BOOTSTRAP_SERVERS is empty.", "Write it as HOST:PORT, or unset it.")


def _clock(settings: Settings) -> str:
    _require_broker(settings)
    clocks = clocks_of(settings, (*STAMPED_TOPICS, "decisions.v1", "executions.v1"))
    is_production = settings.profile is Profile.PRODUCTION
    unfit = {Clock.UNSET, Clock.HISTORY, Clock.EMBEDDED} if is_production else {Clock.UNSET}
    if faults := [f"{name} has {clock}" for name, clock in clocks.items() if clock in unfit]:
        fix = f"Set {TIMESTAMP_TYPE}={LOG_APPEND_TIME} on it, as `fraud topics create` does."
        raise Failure(f"Publishers could move the log's time: {'; '.join(faults)}.", fix)
    told = sorted({clock for clock in clocks.values() if clock is not Clock.LOG})
    return "; ".join([f"{clock}: not for production" for clock in told]) or "every record is stamped by the broker"


def _kept(settings: Settings) -> str:
    _require_broker(settings)
    try:
        require_kept_context(settings)
    except TopicsUnfit as error:
        raise Failure(f"{error}.", "`fraud topics create` says what it should be.") from error
    return "what a rebuild reads is kept"


def _switches(settings: Settings) -> str:
    require_kept_switches(settings)
    with closing(SwitchTopic.of(settings, wire_format(settings), lambda: LogReader.of(settings))) as log:
        thrown = log.look()
    forced = sorted(forced_scopes(thrown))
    return f"{len(thrown.latest)} thrown, forced open: {', '.join(forced) or 'none'}"


def _redis(settings: Settings) -> str:
    url = settings.redis_url
    try:
        parse_address(url)
    except AddressRefused as error:
        raise Failure(f"FRAUD_REDIS_URL is no Redis address: {error}.", "Write it as redis://HOST:PORT/0.") from error
    try:
        found = servers(url, REDIS_TIMEOUT_S)
    except (RedisError, OSError, ValueError) as error:
        raise redis_away(url) from error
    for master in found.masters:
        _check_redis(master, never_evicts=settings.state_never_evicts)
    if found.unserved_slots:
        what = f"{found.unserved_slots:,} slots of the cluster at {shown_address(url)} are served by nobody."
        raise Failure(what, "Look at `CLUSTER NODES`: a master is away and has no replica.")
    kept = {persistence_in_words(master.facts) for master in found.masters}
    names = {master.name for master in found.masters}
    count = f" of {len(found.masters)} masters" if len(found.masters) > 1 else ""
    said = (f"{found.topology}{count}", *sorted(names), *sorted(kept), "noeviction")
    return f"{shown_address(url)}, {', '.join(said)}"


def _check_redis(master: Server, *, never_evicts: bool) -> None:
    """Raise Failure for a server that may not hold the state."""
    if master.version[:2] < REDIS_VERSION_MINIMUM:
        raise Failure(f"Redis at {master.place} is {master.facts['redis_version']}.", "Version 6.2 or later is needed.")
    policies = evicting_policies([master.facts], never_evicts=never_evicts)
    if (fault := eviction_fault(policies)) is not None:
        raise Failure(f"{fault} ({master.place}).", "Set maxmemory-policy to noeviction.")
    if master.moving_slots:
        what = f"{master.moving_slots} slots are on their way to or from {master.place}, key by key."
        raise Failure(what, "Let the move end first; with workers that decide, move slots atomically only (Valkey 9).")


def _traces(settings: Settings) -> str:
    if settings.otlp_endpoint is None:
        return "none: FRAUD_OTLP_ENDPOINT names no collector"
    answer = collector_answer(settings)
    notable, upstream = settings.trace_notable_per_s, settings.trace_upstream_per_s
    limits = f"a second {notable} notable ones and {upstream} that publishers ask for"
    return f"{settings.otlp_endpoint} {answer}; {settings.trace_share:.2%} of payments are traced, {limits}"


def _state(settings: Settings) -> str:
    """Compare what the state was built with, and what it may have lost since, with what a worker would ask of it."""
    partitions = partitioning_of(settings).partitions

    async def look() -> str:
        state = RedisState(
            settings.redis_url,
            label_delay_days=settings.label_delay_days,
            shards=settings.state_shards,
            prefix=settings.state_prefix,
            timeout_s=REDIS_TIMEOUT_S,
        )
        try:
            held = await state.held_shape()
            if held is None:
                return f"none yet under {settings.state_prefix}"
            require_same(held, state.shape(settings.topic("transactions.v1"), partitions, settings.partitioner.value))
            evictions = await state.evictions(never_evicts=settings.state_never_evicts)
            survey = await state.survey(await state.partitions())
        finally:
            await state.close()
        with LogReader.of(settings) as log:  # after the survey, as the log goes on
            ends = log.uncommitted_ends(settings.topic("transactions.v1"))
        if ahead := survey.ahead_of(ends):
            raise StateAhead(ahead, ends)
        for place in survey.replaced.items():
            raise StateReplaced(*place)
        if evictions.fault is not None:
            raise StateEvicted(evictions.fault)
        return (
            f"built as it is asked for, in {count_text(settings.state_shards, 'shard')}, under {settings.state_prefix}"
        )

    try:
        return asyncio.run(look())
    except (StateAhead, StateReplaced) as error:
        what = f"{str(error)[:1].upper()}{str(error)[1:]}."
        raise Failure(
            what, "Restore an older backup with --replace, or start with a new FRAUD_STATE_PREFIX."
        ) from error
    except StateUnavailable as error:
        raise redis_away(settings.redis_url) from error
    except ShapeChanged as error:
        what = f"{str(error)[:1].upper()}{str(error)[1:]}."
        raise Failure(what, "Set it so, or start with a new FRAUD_STATE_PREFIX.") from error
    except StateEvicted as error:
        fix = "Restore a backup with --replace, or start with a new FRAUD_STATE_PREFIX (docs/operations.md)."
        raise Failure(f"{error}.", fix) from error
