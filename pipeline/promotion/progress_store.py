"""How a rollout goes, from the audit log, the breaker's transitions and the labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from models.versions.aliases import AliasRecord
from pipeline.breaker.answer_counts import ALL, model_scope
from pipeline.domain.context import Label, frauds_told
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection
from pipeline.io.settings import Settings
from pipeline.promotion.moves import began, is_shared
from pipeline.promotion.stop_rule import Progress, Trip
from pipeline.promotion.store import FRAUDS_MAX, read_arms, read_trips
from pipeline.seals.label_files import label_proves

GROUP: Final = "fraud-incident"
"""Of the incident service's credentials on the broker, which people who move the champion have too."""


def progress_of(connection: Connection, records: Sequence[AliasRecord], frauds: Sequence[str]) -> Progress:
    """Return how the rollout under way goes. Raises DatabaseRefused, DatabaseUnavailable."""
    latest, first = records[-1], began(records)
    assert is_shared(latest), "a rollout is under way"
    assert latest.previous_digest is not None, "a share leaves the rest to a version"
    candidate, champion = read_arms(
        connection,
        (latest.digest, latest.previous_digest),
        share_since_ms=latest.at_ms,
        began_ms=first.at_ms,
        frauds=frauds,
    )
    return Progress(latest.share_ppm, latest.at_ms, candidate, champion, trips_of(connection, records))


def trips_of(connection: Connection, records: Sequence[AliasRecord]) -> list[Trip]:
    """Return what the breaker did to a candidate since its rollout began; cheap, whatever was decided since.

    Raises DatabaseRefused, DatabaseUnavailable.
    """
    return read_trips(connection, (ALL, model_scope(records[-1].version)), began(records).at_ms)


def frauds_on_topic(settings: Settings, wire: WireFormat) -> list[str]:
    """Return the ids of payments that labels hold for fraud, the latest FRAUDS_MAX.

    Raises BrokerFailed.
    """
    with LogReader.of_service(settings, GROUP, is_expiry_expected=True, proves=label_proves(settings)) as reader:
        return frauds_of(wire.decode_label(record.value) for record in reader.read_all(settings.topic("labels.v1")))


def frauds_of(labels: Iterable[Label | Refusal]) -> list[str]:
    """Return ids in the order of their labels; a label that can't be read says nothing."""
    told = frauds_told(each for each in labels if not isinstance(each, Refusal))
    return list(dict.fromkeys(transaction_id for _, transaction_id in told))[-FRAUDS_MAX:]
