"""Whose clock stamps a topic's records, asked of a real broker; and who refuses which."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from ops.bench.rig.waiting import wait_until
from ops.stack.embedded import EmbeddedStack
from ops.stack.real import RealStack
from ops.stack.topics import TOPICS, TopicOutcome, create_topics
from pipeline.decide.check_command import findings
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.topic_settings import (
    STAMPED_TOPICS,
    Clock,
    TopicsUnfit,
    clocks_of,
    partitioning_of,
    require_kept_context,
    require_kept_switches,
    require_log_clock,
)
from pipeline.io.settings import Profile, Settings
from tests.servers import unused_prefix

OLD_MS = 1_522_540_800_000  # 2018-04-01
BY_HAND, STAMPED, HISTORY, DATED = "hand.", "stamped.", "history.", "dated."
MADE_S = 120.0
PRODUCTION = {"profile": Profile.PRODUCTION}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    with RealStack(tmp_path_factory.mktemp("clock")) as stack:
        create_topics(stack.bootstrap_servers, prefix=STAMPED, partitions=2)
        create_topics(stack.bootstrap_servers, prefix=HISTORY, partitions=2, is_history=True)
        admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
        made = [NewTopic(BY_HAND + topic.name, 3 if topic.name == "decisions.v1" else 2, 1) for topic in TOPICS]
        for future in admin.create_topics(made).values():
            future.result()
        names = {topic.topic for topic in made}
        wait_until(lambda: names <= admin.list_topics(timeout=MADE_S).topics.keys(), MADE_S, "making topics")
        yield stack


def settings_of(stack: RealStack, prefix: str, **changes: object) -> Settings:
    return Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=prefix, **changes)


@pytest.mark.real
@pytest.mark.parametrize(("prefix", "clock"), [(STAMPED, Clock.LOG), (HISTORY, Clock.HISTORY), (BY_HAND, Clock.UNSET)])
def test_a_topic_s_clock_is_what_it_was_made_with(real: RealStack, prefix: str, clock: Clock) -> None:
    assert dict.fromkeys(STAMPED_TOPICS, clock) == clocks_of(settings_of(real, prefix), STAMPED_TOPICS)


@pytest.mark.real
def test_production_refuses_every_clock_but_the_brokers(real: RealStack) -> None:
    require_log_clock(settings_of(real, STAMPED, **PRODUCTION))
    for prefix in (HISTORY, BY_HAND):
        require_log_clock(settings_of(real, prefix))
        with pytest.raises(TopicsUnfit, match="LogAppendTime in production"):
            require_log_clock(settings_of(real, prefix, **PRODUCTION))


@pytest.mark.real
@pytest.mark.parametrize(
    ("prefix", "in_development", "in_production"),
    [(STAMPED, True, True), (HISTORY, True, False), (BY_HAND, False, False)],
)
def test_config_check_says_so(real: RealStack, prefix: str, in_development: bool, in_production: bool) -> None:
    for is_ok, changes in ((in_development, {}), (in_production, PRODUCTION)):
        found = {finding.what: finding for finding in findings(settings_of(real, prefix, **changes))}
        assert is_ok is found["clock"].is_ok, found["clock"].detail


@pytest.mark.real
def test_a_topic_that_forgets_a_kill_switch_is_refused(real: RealStack) -> None:
    require_kept_switches(settings_of(real, STAMPED))
    with pytest.raises(TopicsUnfit, match="must be compact, or a kill switch is forgotten, but is delete"):
        require_kept_switches(settings_of(real, BY_HAND))
    for prefix, is_ok in ((STAMPED, True), (BY_HAND, False)):
        found = {finding.what: finding for finding in findings(settings_of(real, prefix))}
        assert is_ok is found["switches"].is_ok, found["switches"].detail


@pytest.mark.real
def test_topics_that_forget_what_a_rebuild_reads_are_refused(real: RealStack) -> None:
    """Reports that were deleted are none, and a compacted topic keeps one label of each payee."""
    for prefix in (STAMPED, HISTORY):
        require_kept_context(settings_of(real, prefix))
    with pytest.raises(TopicsUnfit, match=r"cleanup.policy of accounts.v1 must be compact, .* but is delete"):
        require_kept_context(settings_of(real, BY_HAND))
    admin = AdminClient({"bootstrap.servers": real.bootstrap_servers, "log_level": 2})
    for setting, wrong, kept in (
        ("cleanup.policy", "compact", "delete"),
        ("retention.ms", str(82 * 86_400_000), str(83 * 86_400_000)),
        ("retention.bytes", "1000000", "-1"),
        ("unclean.leader.election.enable", "true", "false"),
    ):
        for value in (wrong, kept):
            entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
            topic = ConfigResource(ResourceType.TOPIC, f"{STAMPED}labels.v1", incremental_configs=[entry])
            admin.incremental_alter_configs([topic])[topic].result()
            wait_until(partial(_is, admin, topic, setting, value), MADE_S, "a setting")
            if value is kept:
                require_kept_context(settings_of(real, STAMPED))
                continue
            with pytest.raises(TopicsUnfit, match=f"{setting} of labels.v1 must be"):
                require_kept_context(settings_of(real, STAMPED))
    for prefix, is_ok in ((STAMPED, True), (BY_HAND, False)):
        found = {finding.what: finding for finding in findings(settings_of(real, prefix))}
        assert is_ok is found["kept"].is_ok, found["kept"].detail


def _is(admin: AdminClient, topic: ConfigResource, setting: str, value: str) -> bool:
    return bool(admin.describe_configs([topic])[topic].result()[setting].value == value)


@pytest.mark.real
def test_a_topic_whose_writers_say_when_a_switch_was_thrown_is_refused_in_production(real: RealStack) -> None:
    """Whoever may write there could date a release back to before their revocation."""
    require_kept_switches(settings_of(real, STAMPED, **PRODUCTION))
    admin = AdminClient({"bootstrap.servers": real.bootstrap_servers, "log_level": 2})
    made = NewTopic(f"{DATED}breaker_switches.v1", 1, 1, config={"cleanup.policy": "compact"})
    admin.create_topics([made])[made.topic].result()
    wait_until(lambda: made.topic in admin.list_topics(timeout=MADE_S).topics, MADE_S, "making a topic")
    require_kept_switches(settings_of(real, DATED))
    with pytest.raises(TopicsUnfit, match="must be LogAppendTime in production"):
        require_kept_switches(settings_of(real, DATED, **PRODUCTION))


@pytest.mark.real
def test_topics_with_different_numbers_of_partitions_are_refused(real: RealStack) -> None:
    settings = settings_of(real, BY_HAND)
    (broker,) = [finding for finding in findings(settings) if finding.what == "broker"]
    assert not broker.is_ok
    with pytest.raises(TopicsUnfit, match="must be equal"):
        partitioning_of(settings)
    assert 2 == partitioning_of(settings_of(real, STAMPED)).partitions


@pytest.mark.real
def test_create_tells_history_from_what_the_broker_stamps(real: RealStack) -> None:
    for prefix, is_history in ((STAMPED, True), (HISTORY, False)):
        reports = create_topics(real.bootstrap_servers, prefix=prefix, partitions=2, is_history=is_history)
        differing = {report.name for report in reports if report.outcome is TopicOutcome.DIFFERS}
        assert {prefix + name for name in STAMPED_TOPICS} == differing


@pytest.mark.real
@pytest.mark.parametrize(("prefix", "is_stamped_now"), [(STAMPED, True), (HISTORY, False)])
def test_a_record_of_long_ago_is_stamped_by_the_log_or_kept_as_history(
    real: RealStack, prefix: str, is_stamped_now: bool
) -> None:
    settings = settings_of(real, prefix)
    publisher = BulkPublisher(settings)
    publisher.publish(settings.topic("transactions.v1"), b"key", b"value", OLD_MS)
    publisher.flush()
    with LogReader.of(settings) as log:
        (record,) = log.read_all(settings.topic("transactions.v1"))
    age_ms = time.time_ns() // 1_000_000 - record.source.timestamp_ms
    assert is_stamped_now is (age_ms < 600_000)
    assert is_stamped_now is (record.source.timestamp_ms != OLD_MS)


def test_the_embedded_broker_says_that_it_stamps_nothing_and_production_refuses_it(
    stack: EmbeddedStack, tmp_path: Path
) -> None:
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=prefix, redis_url=stack.redis_url)
    found = {finding.what: finding for finding in findings(settings)}
    assert found["clock"].is_ok
    assert "embedded broker" in found["clock"].detail
    with pytest.raises(TopicsUnfit, match="embedded broker"):
        require_log_clock(settings.model_copy(update=PRODUCTION))
