"""`fraud topics create`: the topics, as they should be."""

from __future__ import annotations

from ops.stack.topics import TopicOutcome, TopicReport, TopicsFailed, create_topics
from pipeline.io.kafka.client import require_broker
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output, coloured


def created_topics(
    settings: Settings, partitions: int, replication_factor: int, *, is_history: bool
) -> list[TopicReport]:
    require_broker(settings.bootstrap_servers, settings.kafka_options)
    try:
        return create_topics(
            settings.bootstrap_servers,
            partitions=partitions,
            prefix=settings.topic_prefix,
            replication_factor=replication_factor,
            is_history=is_history,
            client_settings={**settings.kafka_options, "log_level": "2"},
        )
    except TopicsFailed as failure:
        raise Failure(
            str(failure).rstrip(".") + ".", "Look at the broker's log, and at whether this user may create topics."
        ) from failure


def show_topics(output: Output, reports: list[TopicReport]) -> bool:
    """True when every topic is as it should be."""
    if any(report.outcome is TopicOutcome.TOUCHED for report in reports):
        output.note("The embedded broker has no settings of topics: records keep their publishers' timestamps.")
    for report in reports:
        colour = "red" if report.outcome is TopicOutcome.DIFFERS else "green"
        line = f"{coloured(f'{report.outcome:<8}', colour)} {report.name}  {'; '.join(report.differences)}".rstrip()
        output.record({"topic": report.name, "outcome": report.outcome, "differences": list(report.differences)}, line)
    return all(report.outcome is not TopicOutcome.DIFFERS for report in reports)
